//! Any text is of a type or is not, and what a value is shown as is that value again.
#![no_main]

use dl_entry::value::{Exists, JsonShape, ValueType};
use libfuzzer_sys::fuzz_target;

fn types() -> Vec<ValueType> {
    let text = || ValueType::Text { pattern: None, accepted: None, min_length: 0 };
    vec![
        ValueType::Bool,
        ValueType::Int { min: None, max: None },
        ValueType::Duration { min: None, max: None },
        ValueType::Url { schemes: vec!["http".into(), "s3".into()] },
        ValueType::Host,
        ValueType::Hostport { port: Some(80) },
        ValueType::List { item: Box::new(text()) },
        ValueType::Words,
        ValueType::Path { exists: Exists::Unchecked },
        ValueType::Identifier,
        ValueType::Version,
        ValueType::Json { shape: JsonShape::Any },
        ValueType::Yaml,
        ValueType::Properties,
        text(),
    ]
}

fuzz_target!(|input: (u8, String)| {
    let (choice, text) = input;
    let types = types();
    let kind = &types[usize::from(choice) % types.len()];
    let Ok(value) = kind.parse(&text) else { return };
    let shown = kind.show(&value);
    if matches!(kind, ValueType::Bool | ValueType::Int { .. } | ValueType::Duration { .. } | ValueType::Hostport { .. })
    {
        assert_eq!(kind.parse(&shown).as_ref(), Ok(&value), "{kind:?} {text:?} shown as {shown:?}");
    }
});
