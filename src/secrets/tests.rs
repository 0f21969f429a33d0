use super::*;
use crate::render::format::Format;
use proptest::prelude::*;

fn redacted(secrets: &[(&str, &str)], text: &str) -> String {
    let list = Secrets::default();
    secrets.iter().for_each(|(name, value)| list.add(name, value.as_bytes()));
    list.redact(text).into_owned()
}

#[test]
fn a_secret_is_replaced_by_its_name() {
    let text = redacted(&[("PASSWORD", "hunter22")], "login with hunter22, again hunter22!");
    assert_eq!(text, "login with ‹redacted:PASSWORD›, again ‹redacted:PASSWORD›!");
}

#[test]
fn a_secret_that_is_hardly_more_than_an_escape_is_found_in_a_url() {
    let secret = r"cc\u0001\\";
    for spelling in ["cc%5Cu0001%5C%5C", "%63%63%5C%75%30%30%30%31%5C%5C", secret, r"cc\\u0001\\\\"] {
        assert_eq!(redacted(&[("S", secret)], &format!("<{spelling}>")), "<‹redacted:S›>", "{spelling}");
    }
}

#[test]
fn percent_signs_of_escapes_beside_others_are_found_in_a_url() {
    for secret in [r"\%3D%25%72R2%", "ab%%41cd", "ab%25%41cd", "ab%25%25%41cd"] {
        let all: String = secret.bytes().map(percent_encode_byte).collect();
        let marks = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        for spelling in [secret, &all, &marks, &utf8_percent_encode(&marks, NON_ALPHANUMERIC).to_string()] {
            assert_eq!(redacted(&[("S", secret)], &format!("<{spelling}>")), "<‹redacted:S›>", "{spelling}");
        }
    }
}

#[test]
fn a_text_without_secrets_is_not_copied() {
    let secrets = Secrets::default();
    secrets.add("PASSWORD", b"hunter22");
    assert!(matches!(secrets.redact("nothing % here \\ & '"), Cow::Borrowed(_)));
}

#[test]
fn values_under_four_bytes_are_left_alone() {
    assert_eq!(redacted(&[("PIN", "abc")], "abc"), "abc");
    assert_eq!(redacted(&[("PIN", "abcd")], "abcd"), "‹redacted:PIN›");
}

#[test]
fn the_longest_secret_wins_and_overlapping_ones_leave_nothing() {
    let secrets = [("SHORT", "pass"), ("LONG", "password1")];
    assert_eq!(redacted(&secrets, "password1 pass"), "‹redacted:LONG› ‹redacted:SHORT›");
    let overlapping = [("LEFT", "abcd"), ("RIGHT", "cdefgh")];
    assert_eq!(redacted(&overlapping, "<abcdefgh>"), "<‹redacted:RIGHT›>");
}

#[test]
fn a_clone_is_the_same_list() {
    let secrets = Secrets::default();
    secrets.clone().add("PASSWORD", b"hunter22");
    assert_eq!(secrets.redact("hunter22"), "‹redacted:PASSWORD›");
    assert_eq!(format!("{secrets:?}"), "Secrets(1)");
}

#[test]
fn a_basic_authorization_header_shows_nothing_of_the_password() {
    // admin:hunter22! in base64
    let text = redacted(&[("PASSWORD", "hunter22!")], "Authorization: Basic YWRtaW46aHVudGVyMjIh.");
    assert_eq!(text, "Authorization: Basic YWRtaW46‹redacted:PASSWORD›.");
}

#[test]
fn a_document_stays_one_whatever_a_secret_is_called() {
    let secrets = Secrets::default();
    ["true", "source", "4711", "null"].iter().for_each(|secret| secrets.add("S", secret.as_bytes()));
    let document = serde_json::json!({"ok": true, "source": ["the source", 4711, 12, null], "a": {"b": "nullify"}});
    let expected = serde_json::json!(
        {"ok": true, "source": ["the ‹redacted:S›", "‹redacted:S›", 12, null], "a": {"b": "‹redacted:S›ify"}}
    );
    assert_eq!(secrets.redact_json(&document), expected);
}

/// Whether these take a time that a start can do with, one after the other; each took minutes once.
fn within_seconds(work: impl FnOnce()) {
    let begun = std::time::Instant::now();
    work();
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_long_secret_of_any_kind_is_found_in_linear_time() {
    let random: String =
        (0..1 << 16).map(|index: u32| format!("{:02x}", index.wrapping_mul(2_654_435_769) >> 24)).collect();
    let lines: String = (0..4_000).map(|index| format!("the line {index} of a very long secret {index}\n")).collect();
    let many = ["\\".repeat(20_000), "\\".repeat(1 << 17), "a".repeat(1 << 17), "%41".repeat(40_000), lines, random];
    for secret in
        many.into_iter().chain(["\\u0041", "&amp;", "''", "ab\n", "ä€"].map(|part| part.repeat((1 << 17) / part.len())))
    {
        let begun: String = secret.chars().take(20).collect();
        within_seconds(|| {
            let secrets = Secrets::default();
            secrets.add("S", secret.as_bytes());
            let text = format!("before {secret} after");
            let left = secrets.redact(&text).into_owned();
            assert!(left == "before ‹redacted:S› after", "{begun:?} {left:.100}");
            let encoded = base64(secret.as_bytes(), STANDARD, true);
            let left = secrets.redact(&encoded).into_owned();
            assert!(left == "‹redacted:S›", "{begun:?} {left:.100}");
            let json = serde_json::to_string(&secret).unwrap();
            let left = secrets.redact(&json).into_owned();
            assert!(left.len() < 30, "{begun:?} {left:.100}");
        });
    }
}

#[test]
fn a_long_text_of_any_kind_is_filtered_in_linear_time() {
    let secrets = Secrets::default();
    let few = ["\\".repeat(100), "a".repeat(31) + "b", "a".repeat(1000) + "b", "%41&+'\\".repeat(9), "hunter22".into()];
    few.iter().for_each(|secret| secrets.add("S", secret.as_bytes()));
    (0..10_000).for_each(|index| secrets.add("S", format!("aaaaaaaa{index:05}").as_bytes()));
    for part in ["\\", "a", "%&+'\\", "%25", "\\u005c", "&amp;", "hunter2", "QUFB\n", "ä", "{{{}}}", "aaaaaaaa"] {
        within_seconds(|| drop(secrets.redact(&part.repeat((1 << 17) / part.len()))));
    }
}

#[test]
fn a_part_of_a_long_secret_is_found() {
    let secret: String = (0..100).map(|index: u32| char::from_u32(0x4e00 + index).unwrap()).collect();
    let cut: String = secret.chars().take(70).collect();
    let left = redacted(&[("S", &secret)], &cut);
    assert_eq!(left.chars().filter(|character| secret.contains(*character)).count(), 6, "{left}");
}

#[test]
fn the_lines_of_a_key_are_found_when_indented_or_in_a_diff() {
    let key = "-----BEGIN KEY-----\nMC4CAQAwBQYDK2Vw\nBCIEIJ7rSomething\n-----END KEY-----\n";
    let diff = "+    -----BEGIN KEY-----\n+    MC4CAQAwBQYDK2Vw\n+    BCIEIJ7rSomething\n";
    let expected = "+    -----BEGIN KEY-----\n+    ‹redacted:KEY›\n+    ‹redacted:KEY›\n";
    assert_eq!(redacted(&[("KEY", key)], diff), expected);
}

#[test]
fn base64_broken_into_lines_is_found() {
    let secret = "x".repeat(70);
    let encoded = base64(secret.as_bytes(), STANDARD, true);
    let wrapped = format!("{}\n  {}", &encoded[..76], &encoded[76..]);
    assert_eq!(redacted(&[("S", &secret)], &wrapped), "‹redacted:S›");
}

#[test]
fn bytes_that_are_no_text_are_found() {
    let secrets = Secrets::default();
    secrets.add("RAW", b"ab\xff\xfecd");
    for shown in ["ab\u{fffd}\u{fffd}cd", "ab%FF%fecd", r"ab\xff\xfecd", r"ab\377\376cd", r"ab\u00ff\u00fecd"] {
        assert_eq!(secrets.redact(shown), "‹redacted:RAW›", "{shown}");
    }
}

/// Whether nothing is left of a value but marks that may stand for each other.
fn is_of_marks(value: &str) -> bool {
    fold(value, Reading::Escaped).units.len() < SHORTEST_SECRET
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64(value: &[u8], alphabet: &[u8; 64], padded: bool) -> String {
    let mut encoded = String::new();
    for group in value.chunks(3) {
        let bits = group.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        (0..=group.len()).for_each(|index| encoded.push(alphabet[bits >> (18 - 6 * index) & 63].into()));
        if padded {
            (group.len()..3).for_each(|_| encoded.push('='));
        }
    }
    encoded
}

fn percent(value: &str, upper: bool, plus: bool) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b' ' if plus => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
            _ if upper => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    encoded
}

fn xml(value: &str, numbers: bool) -> String {
    let mut encoded = String::new();
    for character in value.chars() {
        match character {
            '&' => encoded.push_str("&amp;"),
            '<' => encoded.push_str("&lt;"),
            '>' => encoded.push_str("&gt;"),
            '"' => encoded.push_str("&quot;"),
            '\'' => encoded.push_str("&#39;"),
            _ if numbers => encoded.push_str(&format!("&#x{:X};", u32::from(character))),
            _ => encoded.push(character),
        }
    }
    encoded
}

/// As `java.util.Properties.store` writes them.
fn properties(value: &str) -> String {
    let mut encoded = String::new();
    for character in value.chars() {
        match character {
            '\n' => encoded.push_str("\\n"),
            '\t' => encoded.push_str("\\t"),
            '\r' => encoded.push_str("\\r"),
            ' ' | '=' | ':' | '#' | '!' | '\\' => encoded.extend(['\\', character]),
            '!'..='~' => encoded.push(character),
            _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|u| encoded.push_str(&format!("\\u{u:04X}"))),
        }
    }
    encoded
}

fn doubled(value: &str, quote: char) -> String {
    value.replace(quote, &format!("{quote}{quote}"))
}

fn octal(value: &str) -> String {
    value.bytes().map(|byte| format!("\\{byte:03o}")).collect()
}

fn all_encodings(value: &str) -> Vec<String> {
    let json = serde_json::to_string(value).unwrap();
    let json_in_json = serde_json::to_string(&json).unwrap();
    let mut encodings = vec![
        value.to_owned(),
        percent(value, true, false),
        percent(value, false, true),
        xml(value, false),
        xml(value, true),
        properties(value),
        json[1..json.len() - 1].to_owned(),
        json_in_json[3..json_in_json.len() - 3].to_owned(),
        value.escape_debug().to_string(),
        value.escape_unicode().to_string(),
        octal(value),
        value.bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
        value.bytes().map(|byte| format!("{byte:02x}")).collect(),
        value.replace('\'', r"'\''"),
        value.replace('\'', r#"'"'"'"#),
    ];
    encodings.extend(['\'', '"', '$', '%'].map(|quote| doubled(value, quote)));
    for alphabet in [STANDARD, URL_SAFE] {
        encodings.extend([true, false].map(|padded| base64(value.as_bytes(), alphabet, padded)));
    }
    encodings
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Behaviours: 84.
    #[test]
    fn no_encoding_of_a_secret_survives(value in "[^\0]{4,24}|[ -~]{4,24}|[\\\\'\"$%&+{} \n]{4,12}") {
        let secrets = Secrets::default();
        secrets.add("S", value.as_bytes());
        let encodings = if is_of_marks(&value) { vec![value.clone()] } else { all_encodings(&value) };
        for encoded in encodings {
            let text = format!("(\u{2039}{encoded}\u{203a})");
            // A quote at its end or beginning may be taken for one around it.
            let mark = "‹redacted:S›";
            let left = ["'", "\""].iter().fold(secrets.redact(&text).into_owned(), |left, quote| {
                left.replace(&format!("{mark}{quote}"), mark).replace(&format!("{quote}{mark}"), mark)
            });
            prop_assert_eq!(left, "(\u{2039}‹redacted:S›\u{203a})", "{:?} as {:?}", value, text);
        }
    }

    /// Only the format's own text around the value remains.
    #[test]
    fn no_format_of_ours_writes_a_secret_that_is_not_found(
        value in "[^\0]{4,24}|[ -~]{4,24}|[\\\\$ {}:A-C]{4,12}|[a-z]{6}\\$\\{[a-z]{6}| [a-z]{8} "
    ) {
        let secrets = Secrets::default();
        secrets.add("S", value.as_bytes());
        for format in Format::ALL {
            let Ok(escaped) = format.escape(&value) else { continue };
            let redacted = secrets.redact(&escaped).into_owned();
            // A quote at its end is one with the quote around it.
            let kept = redacted.trim_matches(|c| matches!(c, '\'' | '"'));
            prop_assert!(kept == "‹redacted:S›", "{:?} in {:?} is {:?}", value, format, redacted);
            if is_of_marks(&value) {
                continue;
            }
            let more = format.escape(&format!(" {value}<${value} ")).unwrap_or_default();
            let left = secrets.redact(&more).replace("‹redacted:S›", "\0");
            // Two that end and begin with marks may touch.
            let touch = value.ends_with(|c: char| c.is_ascii_punctuation() || c == ' ');
            let once = left.matches('\0').count() == 1 && !touch;
            prop_assert!(!left.contains(&value) && !once, "{:?} {:?}", format, left);
        }
    }

    #[test]
    fn base64_of_a_secret_among_other_bytes_does_not_survive(
        before in prop::collection::vec(any::<u8>(), 0..7),
        value in prop::collection::vec(any::<u8>(), 4..24),
        after in prop::collection::vec(any::<u8>(), 0..7),
    ) {
        let secrets = Secrets::default();
        secrets.add("S", &value);
        let whole = [&before[..], &value, &after].concat();
        for alphabet in [STANDARD, URL_SAFE] {
            let encoded = base64(&whole, alphabet, true);
            let redacted = secrets.redact(&encoded).into_owned();
            let (left, right) = redacted.split_once("‹redacted:S›").expect(&encoded);
            // The remaining characters belong to the bytes around the secret and contain no bit of it.
            prop_assert!(left.len() <= before.len() * 8 / 6, "{redacted}");
            let kept = right.trim_end_matches('=').len();
            prop_assert!(kept <= (after.len() * 8).div_ceil(6), "{redacted}");
        }
    }

    #[test]
    fn any_text_can_be_filtered(value in "[^\0]{4,8}", text in "\\PC{0,200}|[\\\\%&#x0-9a-f;u{}']{0,200}") {
        let secrets = Secrets::default();
        secrets.add("S", value.as_bytes());
        prop_assert!(!secrets.redact(&text).contains(&value));
    }
}
