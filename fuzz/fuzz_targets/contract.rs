//! Any text is a contract or is refused with a reason.
#![no_main]

use dl_entry::contract::Contract;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(reason) = Contract::from_toml(text) {
        assert!(!reason.is_empty());
    }
});
