//! No line holds a secret, in any spelling a library might give it.
#![no_main]

use dl_entry::redact::Secrets;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, String, String)| {
    let (secret, before, after) = input;
    if secret.len() < 4 {
        return;
    }
    let secrets = Secrets::default();
    secrets.add("S", secret.as_bytes());
    let json = serde_json_string(&secret);
    let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for spelling in [&secret, &json, &hexadecimal, &percent] {
        let redacted = secrets.redact(&format!("{before}{spelling}{after}")).into_owned();
        // What the surroundings hold already, or the mark that stands in its place, is nobody's secret.
        let innocent = before.contains(spelling.as_str())
            || after.contains(spelling.as_str())
            || "‹redacted:S›".contains(spelling.as_str());
        assert!(innocent || !redacted.contains(spelling.as_str()), "{spelling:?} in {redacted:?}");
    }
});

/// As the smallest JSON writer has it.
fn serde_json_string(text: &str) -> String {
    let escaped = text.chars().map(|character| match character {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        control if (control as u32) < 0x20 => format!("\\u{:04x}", control as u32),
        other => other.to_string(),
    });
    escaped.collect()
}
