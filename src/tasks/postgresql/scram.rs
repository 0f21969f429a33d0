//! Passwords as PostgreSQL keeps them (`SCRAM-SHA-256$…`, documentation of pg_authid; RFC 5802), so that none is ever
//! sent in clear or written to a log.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// A new verifier, with a salt of its own.
pub fn verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

/// Whether a verifier is this password's. Another kind of verifier (md5) never is.
pub fn is_of(verifier: &str, password: &str) -> bool {
    stored_key(verifier, password).unwrap_or(false)
}

fn stored_key(verifier: &str, password: &str) -> Option<bool> {
    let (count_and_salt, keys) = verifier.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (count, salt) = count_and_salt.split_once(':')?;
    let (stored, _) = keys.split_once(':')?;
    let (salt, stored) = (STANDARD.decode(salt).ok()?, STANDARD.decode(stored).ok()?);
    let count: NonZeroU32 = count.parse().ok()?;
    let normal = stringprep::saslprep(password);
    let bytes = normal.as_deref().map_or(password.as_bytes(), str::as_bytes);
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, &salt, bytes, &mut salted);
    let client_key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salted), b"Client Key");
    let ours = digest::digest(&digest::SHA256, client_key.as_ref());
    Some(ours.as_ref() == stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_of_its_password_and_of_no_other() {
        for password in ["secret", "ünïcødé", "'; DROP ROLE x; --", "a\u{a0}b"] {
            let made = verifier(password);
            assert!(is_of(&made, password), "{password}");
            assert!(!is_of(&made, "other"));
        }
        assert!(!is_of("md5aabb", "secret"));
        assert!(!is_of("SCRAM-SHA-256$0:x$y:z", "secret"));
    }
}
