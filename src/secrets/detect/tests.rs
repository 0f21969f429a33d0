use super::*;

fn is_secret(key: &str) -> bool {
    super::is_secret(key, "some value")
}

#[test]
fn the_words_of_a_key_say_whether_it_is_a_secret() {
    for key in [
        "quarkus.mail.password",
        "quarkus.datasource.\"lake\".password",
        "quarkus.oidc.credentials.client-secret.value",
        "quarkus.oidc.credentials.jwt.key",
        "quarkus.vault.authentication.app-role.secret-id",
        "quarkus.otel.exporter.otlp.headers",
        "nessie.catalog.service.adls.default-options.account.secret",
        "nessie.version.store.persist.cache-invalidations.valid-tokens[0]",
        "my-secrets.trust.key",
        "dl.s3-trust-store.key",
        "bigquery.credentials-key",
        "azure.access-key",
        "exchange.gcs.json-key",
        "exchange.azure.connection-string",
        "elasticsearch.aws.secret-key",
        "http-event-listener.connect-http-headers",
        "openlineage-event-listener.transport.api-key",
        "kafka.sasl.jaas.config",
        "x.db.pwd",
        "x.apikey",
        "javax.net.ssl.keyStorePassword",
        "PWD",
        "sslpassword",
        "AccountKey",
        "SharedAccessKey",
        "OAuthAccessToken",
        "APIKey",
        "AWS_SECRET_ACCESS_KEY",
        "sig",
    ] {
        assert!(is_secret(key), "{key} {:?}", words(key));
    }
    for key in [
        "quarkus.oidc.token.issuer",
        "quarkus.oidc.credentials.jwt.key-file",
        "quarkus.http.cors.access-control-allow-credentials",
        "quarkus.http.cors.exposed-headers",
        "quarkus.datasource.credentials-provider",
        "exchange.s3.aws-access-key",
        "x.secret-type",
        "x.token-endpoint",
        "x.access-key-id",
        "x.password.path",
        "x.password-file",
        "x.credentials-uri",
        "x.token.enabled",
        "gcs.use-access-token",
        "kafka.sasl.jaas.config.path",
        "ai.max-tokens",
        "sort-key",
        "user",
        "AWS_ACCESS_KEY_ID",
        "GPG_KEY",
        "sslkey",
    ] {
        assert!(!is_secret(key), "{key} {:?}", words(key));
    }
}

#[test]
fn a_switch_or_a_count_is_no_secret_but_a_password_is_always_one() {
    for value in ["true", "FALSE", "30", "", "urn:nessie-secret:quarkus:x"] {
        assert!(!super::is_secret("x.token", value), "{value}");
    }
    assert!(super::is_secret("x.token", "12345678"));
    assert!(super::is_secret("x.password", "true") && super::is_secret("x.password", "123"));
    assert!(!super::is_secret("x.password", ""));
}

/// Every key that a table names, so that a new one is decided about.
#[test]
fn of_all_keys_of_the_services_these_are_secrets() {
    let tables = [
        include_str!("../../../services/nessie/keys.tsv"),
        include_str!("../../../services/postgresql/keys.tsv"),
        include_str!("../../../services/trino/keys.tsv"),
        include_str!("../../../services/trino/catalog-keys.tsv"),
    ];
    let keys = tables.iter().flat_map(|table| table.lines()).filter(|line| !line.starts_with('#'));
    let keys = keys.filter_map(|line| line.split('\t').next());
    let secrets: std::collections::BTreeSet<&str> = keys.filter(|key| is_secret(key.trim_end_matches('*'))).collect();
    let expected = [
        "gcs.json-key",
        "hive.metastore.glue.aws-secret-key",
        "hive.metastore.thrift.client.ssl.key-password",
        "hive.metastore.thrift.client.ssl.trust-certificate-password",
        "http-client.http-proxy.password",
        "http-client.https.automatic-shared-secret",
        "http-client.key-store-password",
        "http-client.trust-store-password",
        "http-server.authentication.oauth2.client-secret",
        "http-server.authentication.oauth2.refresh-tokens.secret-key",
        "http-server.authentication.oauth2.state-key",
        "http-server.https.automatic-shared-secret",
        "http-server.https.keymanager.password",
        "http-server.https.keystore.key",
        "http-server.https.keystore.password",
        "http-server.https.truststore.key",
        "iceberg.jdbc-catalog.connection-password",
        "iceberg.nessie-catalog.authentication.token",
        "iceberg.rest-catalog.http-headers",
        "iceberg.rest-catalog.oauth2.credential",
        "iceberg.rest-catalog.oauth2.token",
        "iceberg.snowflake-catalog.password",
        "internal-communication.https.keystore.key",
        "internal-communication.https.truststore.key",
        "internal-communication.shared-secret",
        "jetty.https.keystore.password",
        "nessie.catalog.service.adls.default-options.sas-token",
        "nessie.catalog.service.adls.file-systems.*.sas-token",
        "nessie.catalog.service.gcs.buckets.*.auth-credentials-json",
        "nessie.catalog.service.gcs.buckets.*.client-lib-token",
        "nessie.catalog.service.gcs.buckets.*.decryption-key",
        "nessie.catalog.service.gcs.buckets.*.encryption-key",
        "nessie.catalog.service.gcs.buckets.*.oauth2-token",
        "nessie.catalog.service.gcs.default-options.auth-credentials-json",
        "nessie.catalog.service.gcs.default-options.client-lib-token",
        "nessie.catalog.service.gcs.default-options.decryption-key",
        "nessie.catalog.service.gcs.default-options.encryption-key",
        "nessie.catalog.service.gcs.default-options.oauth2-token",
        "nessie.catalog.service.s3.access-key.secret",
        "nessie.catalog.service.s3.default-options.access-key.secret",
        "nessie.catalog.service.s3.key-store.password",
        "nessie.catalog.service.s3.trust-store.password",
        "nessie.version.store.persist.cache-invalidations.valid-tokens*",
        "protocol.spooling.shared-secret-key",
        "s3.aws-secret-key",
        "s3.http-proxy.password",
        "s3.sse.customer-key",
        "web-ui.shared-secret",
    ];
    assert_eq!(Vec::from_iter(secrets), expected);
}

#[test]
fn a_secret_inside_another_value_is_found() {
    for (text, secrets) in [
        ("jdbc:postgresql://db/x?user=a&password=hunter22", vec!["hunter22"]),
        ("jdbc:sqlserver://db:1433;user=a;password=hunter22;encrypt=true", vec!["hunter22"]),
        ("jdbc:oracle:thin:scott/tiger22@//db:1521/x", vec!["tiger22"]),
        ("http://u:hunter33@nessie:19120/api", vec!["hunter33"]),
        ("http://a:1,http://u:hunter44@b:2/x@y", vec!["hunter44"]),
        ("mongodb://u:hunt%40r4@h,i/db?x=1", vec!["hunt%40r4", "hunt@r4"]),
        ("http://u:with/slash@host/x", vec!["with/slash"]),
        ("http://a:b@host/x", vec!["a:b@"]),
        ("jdbc:mysql://db/x?password=abc", vec!["password=abc"]),
        ("-Xmx1g '-Djavax.net.ssl.keyStorePassword=first two;3' -ea", vec!["first", "first two;3"]),
        ("-Da.b=c -Djdk.token=hunter&22", vec!["hunter", "hunter&22"]),
        ("ScramLoginModule required username=\"u\" password=\"with blank\";", vec!["with blank"]),
        ("AccountName=x;AccountKey=abcd==;EndpointSuffix=y", vec!["abcd=="]),
        ("a=b\napi-key=hunter55,c=d#e", vec!["hunter55,c=d#e", "hunter55"]),
        (r#"{"user":"a","password":"hunter66","x":1}"#, vec!["hunter66"]),
        (r#"{"password" : "hunt\"er77" }"#, vec![r#"hunt\"er77"#]),
        (r#""{\"client_secret\":\"hunter88\"}""#, vec!["hunter88"]),
        ("user: a\npassword: hunter99 # it\nb: c", vec!["hunter99 # it", "hunter99"]),
        ("{user: a, password: hunter10}", vec!["hunter10}", "hunter10"]),
        ("  'token': 'hunter11'", vec!["hunter11"]),
        ("Authorization: Bearer hunter12", vec!["hunter12"]),
        ("-H \"X-Api-Key: hunter13\" -H 'Proxy-Authorization: Basic aHVudGVyMTQ='", vec!["hunter13", "aHVudGVyMTQ="]),
        ("connect --user a --password hunter15 --verbose", vec!["hunter15"]),
        ("connect --password 'hunter 16'", vec!["hunter 16"]),
        (r#"["--password", "hunter17", "-x"]"#, vec!["hunter17"]),
        ("- --client-secret\n- hunter18\n- -x", vec!["hunter18"]),
        ("password = hunter19\nuser = x", vec!["hunter19"]),
        (
            r#"{"private_key": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"}"#,
            vec![
                r"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n",
                r"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
            ],
        ),
        (
            "cert\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----",
            vec!["-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"],
        ),
    ] {
        assert_eq!(secrets_within(text), secrets, "{text}");
    }
}

#[test]
fn nothing_is_found_where_nothing_is() {
    for text in [
        "http://nessie:19120/api@2?user=a&tokenType=x",
        "http://[::1]:9000/x",
        "https://user@host/x",
        "jdbc:postgresql://db/x?sslmode=require&sslkey=/a/b",
        "-Xmx1g -Dfile.encoding=UTF-8 -Dx.token.enabled=true -XX:+UseG1GC",
        "a@b:c://",
        "password=",
        "= == ://@ ://:@",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "urn:nessie-secret:quarkus:x",
        "{\"password\": null, \"token\": {\"a\": 1}, \"secret\":\"\"}",
        "token: 30\nsecret:\n  name: x",
        "--password-file /run/secrets/x --verify-token true --max-tokens 12345678",
        "a --password",
    ] {
        assert_eq!(secrets_within(text), [""; 0], "{text}");
    }
}

#[test]
fn a_text_of_any_kind_is_looked_through_in_linear_time_and_room() {
    let parts = [
        "a=",
        "password=",
        "password: ",
        "\"password\":\"",
        "--password ",
        "-",
        "://",
        "://u:p@",
        "://a:b",
        "-D",
        "-Da=",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN ",
        "-----",
        "jdbc:oracle:",
        "authorization: bearer ",
        "password",
        "ä=",
        "a.b-",
        "\\\"token\\\":",
        " ",
        "secret-key=",
        "%70assword=",
        "- ",
    ];
    for part in parts {
        let text = part.repeat((1 << 18) / part.len());
        let begun = std::time::Instant::now();
        let room: usize = secrets_within(&text).iter().map(String::len).sum();
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{part} {:?}", begun.elapsed());
        assert!(room <= 2 << 20, "{part} {room}");
    }
}

#[test]
fn a_secret_that_a_text_has_many_times_is_kept_once() {
    for part in ["{\"password\":\"", "password=hunter22 ", "http://u:hunter22@h ", "--token hunter22 "] {
        let text = part.repeat((1 << 20) / part.len());
        let found = within(&text);
        assert!(found.len() < 10, "{part} {}", found.len());
    }
}

proptest::proptest! {
    #[test]
    fn any_text_can_be_looked_through(text in "(\\PC|[=:/@%&;,#\"' \n-]|password=|://|-D|-----BEGIN ){0,40}") {
        secrets_within(&text);
        words(&text);
    }
}
