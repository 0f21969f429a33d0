//! Any head of a request to the health endpoints has an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|head: &[u8]| {
    let status = dl_entry::health::status_of(head);
    assert!([200, 400, 405, 505].contains(&status), "{status}");
});
