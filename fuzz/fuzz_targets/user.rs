//! Any user in the form of `docker run --user`, against any /etc/passwd and /etc/group.
#![no_main]

use dl_entry::identity::user_spec::parse_user;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, String, String)| {
    let (spec, passwd, group) = input;
    let Ok(identity) = parse_user(&spec, &passwd, &group) else { return };
    // 4294967295 is "no change" to the kernel, and what lies beyond would wrap around to root.
    assert!(identity.uid < u32::MAX && identity.gid < u32::MAX);
    let user = spec.split(':').next().unwrap();
    if passwd.is_empty() && !user.is_empty() {
        assert_eq!(user.parse::<u32>(), Ok(identity.uid));
        assert!(user.bytes().all(|byte| byte.is_ascii_digit()), "{user:?}");
    }
});
