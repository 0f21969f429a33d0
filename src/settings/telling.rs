//! What gives a secret away that no contract declares: the name of its key, or the shape of the text around it.
//!
//! Pure text. A name is judged by its words, so that `keyStorePassword` and `key-store.password` are the same; what only
//! names, counts or locates a secret is none, as operators need to see it.

use percent_encoding::percent_decode_str;

use crate::redact::SHORTEST_SECRET;
use crate::value::split_words;

/// How a name ends that is a password's, whatever the value looks like.
const PASSWORDS: [&str; 5] = ["password", "passwords", "passwd", "passphrase", "pwd"];

/// How other names of secrets end.
const ENDINGS: [&str; 12] = [
    "secret",
    "token",
    "tokens",
    "credential",
    "credentials",
    "apikey",
    "secretkey",
    "privatekey",
    "accountkey",
    "storagekey",
    "connectionstring",
    "signature",
];

/// Last words that alone say it.
const WORDS: [&str; 2] = ["authorization", "sig"];

/// What stands before `key` where it is a secret: other keys are columns, identifiers, paths.
const BEFORE_KEY: [&str; 22] = [
    "account",
    "api",
    "auth",
    "credential",
    "credentials",
    "customer",
    "decryption",
    "encryption",
    "hmac",
    "json",
    "keystore",
    "license",
    "master",
    "private",
    "sas",
    "secret",
    "session",
    "shared",
    "signing",
    "state",
    "storage",
    "truststore",
];

/// Whose access key is the name of a user.
const NAMES_BY_ACCESS_KEY: [&str; 3] = ["aws", "s3", "minio"];

/// Words of a switch or of a number about secrets.
const SWITCHES: [&str; 12] =
    ["allow", "check", "disable", "enable", "ignore", "max", "min", "require", "skip", "use", "validate", "verify"];

/// Last words of what only says where something is or what it is called.
const ABOUT: [&str; 7] = ["enabled", "file", "files", "name", "path", "type", "url"];

/// Whether a key of this name and with this value is to be kept to oneself: `quarkus.mail.password=…`,
/// `x.secret-key=…`. A switch or a small number is only where a password is asked for.
pub(crate) fn is_secret(key: &str, value: &str) -> bool {
    let harmless = || {
        let number = value.len() < 8 && value.bytes().all(|byte| byte.is_ascii_digit());
        // Where Nessie finds the secret.
        let reference = value.starts_with("urn:nessie-secret:");
        number || reference || value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
    };
    let words = words(key);
    !value.is_empty() && (names_a_password(&words) || names_a_secret(&words, key) && !harmless())
}

fn names_a_password(words: &[String]) -> bool {
    words.last().is_some_and(|last| PASSWORDS.iter().any(|ending| last.ends_with(ending)))
}

fn names_a_secret(words: &[String], key: &str) -> bool {
    let from_end = |index: usize| words.iter().rev().nth(index).map_or("", String::as_str);
    let has = |word: &str| words.iter().any(|other| other == word);
    let (last, before) = (from_end(0), from_end(1));
    let part = key.rsplit('.').next().unwrap_or(key);
    if self::words(part).iter().any(|word| SWITCHES.contains(&word.as_str())) {
        return false;
    }
    match (before, last) {
        // Whether Trino hands them out.
        ("refresh", "tokens") => false,
        ("access", "key") | (_, "accesskey") => {
            from_end(2) == "secret" || !NAMES_BY_ACCESS_KEY.iter().any(|whose| has(whose))
        }
        ("store", "key") => ["key", "trust"].contains(&from_end(2)),
        (before, "key") if BEFORE_KEY.contains(&before) => true,
        // A secret of Nessie's, whose name the operator chooses: `my-secrets.trust-store.key`.
        (_, "key") => part == "key" && ["secret", "secrets", "credentials"].iter().any(|word| has(word)),
        ("credentials" | "key", "json") | ("connection", "string") | ("secret", "id") | ("http", "headers") => true,
        (_, "headers") => has("otlp"),
        (_, last) if ENDINGS.iter().any(|ending| last.ends_with(ending)) || WORDS.contains(&last) => true,
        (_, last) => has("jaas") && !ABOUT.contains(&last),
    }
}

/// The words of a name in lower case, without what only says which one or that its value follows.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let characters: Vec<char> = name.chars().collect();
    for (index, &c) in characters.iter().enumerate() {
        let neighbour = |index: Option<usize>| index.and_then(|index| characters.get(index)).copied().unwrap_or(' ');
        let (before, after) = (neighbour(index.checked_sub(1)), neighbour(Some(index + 1)));
        let begins = c.is_uppercase() && (before.is_lowercase() || before.is_uppercase() && after.is_lowercase());
        match words.last_mut() {
            _ if !c.is_alphanumeric() => {}
            Some(word) if before.is_alphanumeric() && !begins => word.extend(c.to_lowercase()),
            _ => words.push(c.to_lowercase().collect()),
        }
    }
    let says_nothing = |word: &String| word == "value" || word.bytes().all(|byte| byte.is_ascii_digit());
    while words.last().is_some_and(says_nothing) {
        words.pop();
    }
    words
}

/// The secrets inside a text: a URL's password, `password=…` in one or in connection properties, `-D…Password=…`, a
/// private key. As they stand there, and without percent encoding.
pub(crate) fn secrets_within(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let urls = text.match_indices("://").map(|(index, mark)| &text[index + mark.len()..]);
    found.extend(urls.filter_map(password_of_url));
    found.extend(password_of_oracle(text));
    found.extend(text.match_indices('=').flat_map(|(index, _)| secret_parameter(text, index)));
    if text.contains("-D") {
        let words = split_words(text).unwrap_or_default();
        found.extend(words.iter().filter_map(|word| secret_property(word)));
    }
    found.extend(private_keys(text));
    let decoded: Vec<String> = found.iter().filter_map(|secret| percent_decoded(secret)).collect();
    found.extend(decoded);
    found
}

/// What must be kept to oneself of a value whose place says where it begins: all of `around`, where the value alone is
/// too short to be found.
fn kept(value: &str, around: &str) -> Option<String> {
    let kept = if value.len() < SHORTEST_SECRET { around } else { value };
    (!value.is_empty() && kept.len() >= SHORTEST_SECRET).then(|| kept.to_owned())
}

/// `user:password@host`, the rest of a URL.
fn password_of_url(rest: &str) -> Option<String> {
    let word = rest.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>')).next()?;
    let word = word.split("://").next()?;
    let authority = word.split(['/', '?', '#']).next()?;
    let port =
        |host: &str| host.rsplit_once(':').is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let at = match authority.rfind('@') {
        // Who does not encode a password may have a slash in it.
        None if !port(authority) => word.rfind('@'),
        at => at,
    }?;
    let (_, password) = word[..at].split_once(':')?;
    kept(password, &word[..=at])
}

/// `jdbc:oracle:thin:user/password@…`
fn password_of_oracle(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("jdbc:oracle:")?;
    let (user_and_password, _) = rest.split_once(':')?.1.split_once('@')?;
    kept(user_and_password.split_once('/')?.1, user_and_password)
}

/// `name=value` around the equals sign at `index`: with what may belong to it, and without.
fn secret_parameter(text: &str, index: usize) -> Vec<String> {
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begin = text[..index].trim_end_matches(belongs).len();
    let after = &text[index + 1..];
    let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
    let value = match quote {
        Some(quote) => after[1..].split(quote).next().unwrap_or_default(),
        None => {
            after.split(|c: char| c.is_whitespace() || matches!(c, '&' | ';' | '"' | '\'')).next().unwrap_or_default()
        }
    };
    if !is_secret(&text[begin..index], value) {
        return vec![];
    }
    let whole = &text[begin..index + 1 + quote.map_or(0, char::len_utf8) + value.len()];
    let shorter =
        value.split([',', '#']).next().filter(|shorter| *shorter != value && shorter.len() >= SHORTEST_SECRET);
    kept(value, whole).into_iter().chain(shorter.map(str::to_owned)).collect()
}

/// The value of `-Dname=value`, one argument of java.
fn secret_property(word: &str) -> Option<String> {
    let (name, value) = word.strip_prefix("-D")?.split_once('=')?;
    is_secret(name, value).then(|| kept(value, word))?
}

/// PEM blocks (RFC 7468) that hold a private key.
fn private_keys(text: &str) -> impl Iterator<Item = String> {
    text.match_indices("-----BEGIN ").filter_map(|(start, _)| {
        let block = &text[start..];
        let label = block.lines().next()?.trim_end();
        let end =
            block.find("-----END ").map_or(block.len(), |end| end + block[end..].lines().next().unwrap_or("").len());
        label.contains("PRIVATE KEY-----").then(|| block[..end].to_owned())
    })
}

/// Without percent encoding; `None` where there is none.
fn percent_decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (decoded != text && decoded.len() >= SHORTEST_SECRET).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
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
            include_str!("../../services/nessie/keys.tsv"),
            include_str!("../../services/trino/keys.tsv"),
            include_str!("../../services/trino/catalog-keys.tsv"),
        ];
        let keys = tables.iter().flat_map(|table| table.lines()).filter(|line| !line.starts_with('#'));
        let keys = keys.filter_map(|line| line.split('\t').next());
        let secrets: std::collections::BTreeSet<&str> =
            keys.filter(|key| is_secret(key.trim_end_matches('*'))).collect();
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
        ] {
            assert_eq!(secrets_within(text), [""; 0], "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_looked_through(text in "(\\PC|[=:/@%&;,#\"' \n-]|password=|://|-D|-----BEGIN ){0,40}") {
            secrets_within(&text);
            words(&text);
        }
    }
}
