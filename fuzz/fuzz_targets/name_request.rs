//! Any request to the name service, over any /etc/passwd and /etc/group.
#![no_main]

use dl_entry::identity::name_service::protocol::{HEADER, LONGEST_KEY, answer, groups, key_length, question, users};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; HEADER], Vec<u8>, String, String)| {
    let (header, key, passwd, group) = input;
    assert!(key_length(&header).is_none_or(|length| length <= LONGEST_KEY));
    let Some(question) = question(&header, &key) else { return };
    let (users, groups): (Vec<_>, Vec<_>) = (users(&passwd).collect(), groups(&group).collect());
    let answer = answer(&question, &users, &groups);
    assert_eq!(answer[..4], 2_i32.to_ne_bytes());
    assert!(answer.len() <= 64 + passwd.len() + 8 * group.len());
});
