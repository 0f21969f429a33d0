//! Signature Version 4 in headers (AWS, "Authenticating Requests: Using the Authorization Header").
//!
//! Pure: the time is given.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use url::Url;

use crate::plan::S3Target;
use crate::text::RESERVED;

/// `RESERVED`, for a path, where the slashes stay.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// The headers that make a request AWS's: date, hash of the body, signature. `Host` is signed too, and sent by `http`.
pub(super) fn signed_headers(
    server: &S3Target,
    method: &str,
    url: &Url,
    body: &[u8],
    now: SystemTime,
) -> Vec<(String, String)> {
    let moment = timestamp(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let body_hash = hex(&Sha256::digest(body));
    let mut headers = vec![
        ("host".to_owned(), authority(url)),
        ("x-amz-content-sha256".to_owned(), body_hash.clone()),
        ("x-amz-date".to_owned(), moment.clone()),
    ];
    let authorization = authorization(server, method, url, &headers, &body_hash, &moment);
    headers.remove(0);
    headers.push(("authorization".to_owned(), authorization));
    headers
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// `headers` must have lower-case names and be sorted by them.
fn authorization(
    server: &S3Target,
    method: &str,
    url: &Url,
    headers: &[(String, String)],
    body_hash: &str,
    moment: &str,
) -> String {
    let day = &moment[..8];
    let scope = format!("{day}/{}/s3/aws4_request", server.region);
    let signed = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let listed: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let (path, query) = (canonical_path(url), canonical_query(url));
    let canonical = format!("{method}\n{path}\n{query}\n{listed}\n{signed}\n{body_hash}");
    let to_sign = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let secret = format!("AWS4{}", server.secret_key);
    let parts = [day, &server.region, "s3", "aws4_request", &to_sign];
    let signature = parts.iter().fold(secret.into_bytes(), |key, part| keyed_hash(&key, part));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={signed},Signature={}",
        server.access_key,
        hex(&signature)
    )
}

fn canonical_path(url: &Url) -> String {
    let decoded: Vec<u8> = percent_decode_str(url.path()).collect();
    percent_encoding::percent_encode(&decoded, RESERVED_IN_PATH).to_string()
}

fn canonical_query(url: &Url) -> String {
    let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs: Vec<_> = url.query_pairs().map(|(name, value)| (encode(&name), encode(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn keyed_hash(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes keys of any length (RFC 2104 section 3): this cannot fail.
    let Ok(mut hash) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("a key of any length is a key") };
    hash.update(text.as_bytes());
    hash.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20130524T000000Z`.
fn timestamp(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = crate::text::utc(seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::s3::tests::server;

    fn signature_of(method: &str, url: &str, extra: &[(&str, &str)], body: &str) -> String {
        let url = Url::parse(url).unwrap();
        let body_hash = hex(&Sha256::digest(body));
        let own = [("host", authority(&url)), ("x-amz-content-sha256", body_hash.clone())];
        let date = [("x-amz-date", timestamp(1_369_353_600))];
        let extra = extra.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let all = own.into_iter().chain(date).chain(extra).map(|(name, value)| (name.to_owned(), value));
        let mut headers: Vec<(String, String)> = all.collect();
        headers.sort();
        let header = authorization(&server(""), method, &url, &headers, &body_hash, "20130524T000000Z");
        header.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// "Examples: Signature Calculations in AWS Signature Version 4", Amazon S3 API Reference.
    #[test]
    fn the_signatures_are_those_aws_published() {
        const HOST: &str = "https://examplebucket.s3.amazonaws.com";
        let get_object = signature_of("GET", &format!("{HOST}/test.txt"), &[("range", "bytes=0-9")], "");
        assert_eq!(get_object, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        let put_headers = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let put_object = signature_of("PUT", &format!("{HOST}/test$file.text"), &put_headers, "Welcome to Amazon S3.");
        assert_eq!(put_object, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
        let lifecycle = signature_of("GET", &format!("{HOST}/?lifecycle"), &[], "");
        assert_eq!(lifecycle, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
        let list = signature_of("GET", &format!("{HOST}/?prefix=J&max-keys=2"), &[], "");
        assert_eq!(list, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    }

    #[test]
    fn days_become_dates_across_leap_years_and_centuries() {
        let told = [0, 951_827_696, 1_369_353_600, 1_709_251_199, 4_107_542_400].map(timestamp);
        let dates =
            ["19700101T000000Z", "20000229T123456Z", "20130524T000000Z", "20240229T235959Z", "21000301T000000Z"];
        assert_eq!(told, dates);
    }
}
