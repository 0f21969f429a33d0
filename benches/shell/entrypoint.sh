#!/bin/sh
# The pattern dl-entry replaces, as the platform's first images had it: demand, substitute, exec. It checks no type,
# escapes nothing and drops no root.
set -e
: "${QUARKUS_DATASOURCE_USERNAME:?is required}"
: "${QUARKUS_DATASOURCE_PASSWORD:?is required}"
: "${QUARKUS_DATASOURCE_JDBC_URL:?is required}"
: "${QUARKUS_HTTP_PORT:=19120}" "${QUARKUS_HTTP_HOST:=0.0.0.0}" "${QUARKUS_MANAGEMENT_PORT:=9000}"
: "${NESSIE_VERSION_STORE_TYPE:=JDBC2}" "${NESSIE_SERVER_DEFAULT_BRANCH:=main}" "${QUARKUS_LOG_LEVEL:=INFO}"
export QUARKUS_HTTP_PORT QUARKUS_HTTP_HOST QUARKUS_MANAGEMENT_PORT NESSIE_VERSION_STORE_TYPE \
    NESSIE_SERVER_DEFAULT_BRANCH QUARKUS_LOG_LEVEL
mkdir -p "$CONFIG"
envsubst <"$TEMPLATES/application.properties.in" >"$CONFIG/application.properties"
envsubst <"$TEMPLATES/jvm.options.in" >"$CONFIG/jvm.options"
exec "$JAVA_HOME/bin/java" "@$CONFIG/jvm.options" -jar nessie.jar
