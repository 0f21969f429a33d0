//! No line holds a secret, in any spelling a library might give it.
#![no_main]

use dl_entry::secrets::Secrets;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, String, String)| {
    let (secret, before, after) = input;
    // Nothing but marks may be read in several ways: only as it stands is it found.
    let letters = secret.chars().filter(|character| character.is_alphanumeric()).count();
    if letters < 4 || secret.contains('\0') {
        return;
    }
    let secrets = Secrets::default();
    secrets.add("S", secret.as_bytes());
    let json = serde_json_string(&secret);
    let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for spelling in [&secret, &json, &hexadecimal, &percent] {
        // Half an escape before it would be one with what is escaped; as it stands, it is found all the same.
        let apart = if spelling == &secret { "" } else { "\n" };
        let redacted = secrets.redact(&format!("{before}{apart}{spelling}{apart}{after}")).into_owned();
        // The mark and what stands beside it may look like the secret by chance; a NUL does not.
        let seen = redacted.replace("‹redacted:S›", "\0");
        assert!(!seen.contains(spelling.as_str()), "{spelling:?} in {redacted:?}");
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
