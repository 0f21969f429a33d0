#!/bin/sh
# Makes keys.tsv: services/spark/keys.sh 3.5=/opt/spark-3.5.7 4.0=/opt/spark-4.0.1 4.1=/opt/spark-4.1.2 >services/spark/keys.tsv
#
# Each version is asked for its registry (Keys.java) by a JDK it runs on. Families of keys that no registry has are below.
set -eu

opens='--add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED'
opens="$opens --add-opens=java.base/java.nio=ALL-UNNAMED --add-exports=java.base/sun.nio.ch=ALL-UNNAMED"

families='spark.app.name spark.master spark.submit.deployMode spark.home spark.hadoop.* spark.hive.* spark.executorEnv.*
spark.sql.catalog.* spark.ssl.* spark.rpc.io.* spark.shuffle.io.* spark.files.io.* spark.yarn.* spark.mesos.*
spark.kubernetes.driverEnv.* spark.kubernetes.driver.label.* spark.kubernetes.driver.annotation.*
spark.kubernetes.driver.secrets.* spark.kubernetes.driver.secretKeyRef.* spark.kubernetes.driver.volumes.*
spark.kubernetes.driver.service.* spark.kubernetes.executor.label.* spark.kubernetes.executor.annotation.*
spark.kubernetes.executor.secrets.* spark.kubernetes.executor.secretKeyRef.* spark.kubernetes.executor.volumes.*
spark.kubernetes.node.selector.* spark.kubernetes.driver.node.selector.* spark.kubernetes.executor.node.selector.*
spark.kubernetes.authenticate.* spark.driver.resource.* spark.executor.resource.* spark.task.resource.*
spark.worker.resource.* spark.metrics.conf.* spark.sql.legacy.* spark.deploy.* spark.org.apache.spark.ui.*
spark.plugins.* spark.openlineage.* spark.nessie.* spark.sql.iceberg.* spark.sql.warehouse.dir'

ask() {
    for home; do
        # shellcheck disable=SC2086
        java $opens -cp "${home#*=}/jars/*" "$(dirname "$0")/Keys.java" "${home#*=}/jars" 2>/dev/null |
            sed "s/^/${home%%=*}\t/"
    done
}

printf '# Keys of spark-defaults.conf, from the registries of Spark (ConfigEntry, SparkConf, SQLConf); keys.sh makes it.\n'
printf 'key'
for home; do printf '\t%s' "${home%%=*}"; done
printf '\tnote\n'
versions=$(for home; do printf '%s ' "${home%%=*}"; done)
{
    for home; do
        for key in $families; do printf '%s\t%s\t+\t\n' "${home%%=*}" "$key"; done
    done
    ask "$@"
} | awk -F '\t' -v versions="$versions" '
        BEGIN { count = split(versions, version, " ") }
        # A family has them all.
        $2 ~ /^spark\.(yarn|mesos|sql\.legacy|deploy)\.[^*]/ { next }
        { cells[$2, $1] = cells[$2, $1] == "" || $3 != "+" ? $3 : cells[$2, $1]; keys[$2]; if ($4 != "") note[$2] = $4 }
        END {
            for (key in keys) {
                line = key
                for (i = 1; i <= count; i++) line = line "\t" (cells[key, version[i]] == "" ? "o" : cells[key, version[i]])
                print line "\t" note[key]
            }
        }' | LC_ALL=C sort
