//! A value amid others in a file of any format comes back from our own parser as it was, or is refused.
#![no_main]

use dl_entry::render::format::Format;
use libfuzzer_sys::fuzz_target;

/// Where values stand in a file of the format.
fn surrounded(format: Format, value: &str) -> String {
    match format {
        Format::JvmOptions => format!("-Xmx1g\n-Dkey={value}\n-ea\n"),
        Format::Yaml => format!("a: 1\nlist:\n  - key: {value}\n    z: 2\n"),
        Format::Json => format!("{{\"a\": 1, \"key\": {value}, \"z\": 2}}"),
        Format::Xml => format!("<c><p name=\"{value}\">{value}</p></c>"),
        Format::PgHba => format!("host all {value} 10.0.0.0/8 scram-sha-256\nlocal all all peer\n"),
        Format::Pgpass => format!("{value}:5432:*:user:{value}\nhost:1:db:u:p\n"),
        Format::PostgresqlConf => format!("a = 1\nkey = {value}\nz = 2\n"),
        Format::Plain => value.to_owned(),
        _ => format!("a=1\nkey={value}\nz=2\n"),
    }
}

fn entries(format: Format, value: &str) -> Vec<(String, String)> {
    let text = surrounded(format, value);
    let text = format!("{}{text}", format.prelude(&text).unwrap_or_default());
    let parsed = format.parse(&text).expect("what was escaped is read");
    parsed.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fuzz_target!(|input: (u8, String)| {
    let (choice, value) = input;
    let format = Format::ALL[usize::from(choice) % Format::ALL.len()];
    // A text nobody meant as a file of the format is refused or read, and never a panic.
    let _ = format.parse(&value);
    let _ = format.escape_key(&value);
    if value.contains("dlvx") {
        return;
    }
    let Ok(escaped) = format.escape(&value) else { return };
    let meant = entries(format, &format.escape("dlvx").unwrap());
    let meant: Vec<_> = meant.into_iter().map(|(key, text)| (key, text.replace("dlvx", &value))).collect();
    assert_eq!(entries(format, &escaped), meant, "{format:?}");
});
