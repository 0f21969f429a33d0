//! The list of buckets an operator asks for, as text: names, anonymous policies and versioning.

use std::net::Ipv4Addr;

use super::{Bucket, BucketPolicy};

/// `name[:policy][:versioning]`, separated by commas, semicolons or blanks, as Bitnami's image takes them.
pub fn parse_buckets(text: &str) -> Result<Vec<Bucket>, String> {
    let is_separator = |character: char| matches!(character, ',' | ';') || character.is_whitespace();
    let mut buckets: Vec<Bucket> = Vec::new();
    for entry in text.split(is_separator).filter(|entry| !entry.is_empty()) {
        let bucket = parse_bucket(entry)?;
        if buckets.iter().any(|other| other.name == bucket.name) {
            return Err(format!("bucket `{}` is listed twice", bucket.name));
        }
        buckets.push(bucket);
    }
    Ok(buckets)
}

fn parse_bucket(entry: &str) -> Result<Bucket, String> {
    let mut words = entry.split(':');
    let name = words.next().unwrap_or_default().to_owned();
    check_bucket_name(&name)?;
    let mut bucket = Bucket { name, policy: BucketPolicy::Unset, versioning: false };
    for word in words {
        match (word, policy_named(word)) {
            ("versioned" | "versioning", _) => bucket.versioning = true,
            (_, Some(policy)) if bucket.policy == BucketPolicy::Unset => bucket.policy = policy,
            (_, Some(_)) => return Err(format!("bucket `{}` has two policies", bucket.name)),
            (_, None) => {
                return Err(format!(
                    "bucket `{}`: `{word}` is neither a policy nor `versioning`\n\
                     policies are none, private, download, readonly, upload, writeonly, public and readwrite",
                    bucket.name
                ));
            }
        }
    }
    Ok(bucket)
}

fn policy_named(word: &str) -> Option<BucketPolicy> {
    Some(match word {
        "none" | "private" => BucketPolicy::Private,
        "download" | "readonly" | "read-only" => BucketPolicy::Download,
        "upload" | "writeonly" | "write-only" => BucketPolicy::Upload,
        "public" | "readwrite" | "read-write" => BucketPolicy::Public,
        _ => return None,
    })
}

/// "Bucket naming rules", Amazon S3 User Guide, and the stricter ones of MinIO, which refuses `.-` and `minio`.
pub fn check_bucket_name(name: &str) -> Result<(), String> {
    const PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
    const SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
    let is_edge = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let wrong = if !(3..=63).contains(&name.len()) {
        format!("has {} characters", name.chars().count())
    } else if let Some(odd) = name.chars().find(|&one| !is_edge(one) && one != '-' && one != '.') {
        format!("has a `{}`", odd.escape_default())
    } else if !name.starts_with(is_edge) || !name.ends_with(is_edge) {
        "begins or ends with a dot or hyphen".to_owned()
    } else if let Some(pair) = ["..", ".-", "-."].iter().find(|pair| name.contains(**pair)) {
        format!("has `{pair}` in it")
    } else if name.parse::<Ipv4Addr>().is_ok() {
        "is an IP address".to_owned()
    } else if name == "minio" {
        "is reserved by MinIO".to_owned()
    } else if let Some(prefix) = PREFIXES.iter().find(|prefix| name.starts_with(**prefix)) {
        format!("begins with `{prefix}`, which is reserved")
    } else if let Some(suffix) = SUFFIXES.iter().find(|suffix| name.ends_with(**suffix)) {
        format!("ends with `{suffix}`, which is reserved")
    } else {
        return Ok(());
    };
    Err(format!(
        "bucket name `{}` {wrong}\na bucket name has 3 to 63 lower-case letters, digits, dots and hyphens, and begins \
         and ends with a letter or digit",
        name.escape_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(name: &str, policy: BucketPolicy, versioning: bool) -> Bucket {
        Bucket { name: name.to_owned(), policy, versioning }
    }

    #[test]
    fn buckets_are_written_as_bitnami_takes_them() {
        let parsed =
            parse_buckets("lake:public,raw:download;logs:upload:versioned plain \n own:none:versioning").unwrap();
        let wanted = [
            bucket("lake", BucketPolicy::Public, false),
            bucket("raw", BucketPolicy::Download, false),
            bucket("logs", BucketPolicy::Upload, true),
            bucket("plain", BucketPolicy::Unset, false),
            bucket("own", BucketPolicy::Private, true),
        ];
        assert_eq!(parsed, wanted);
        assert_eq!(parse_buckets(" ,; ").unwrap(), []);
    }

    #[test]
    fn a_bucket_list_with_a_mistake_is_refused_with_its_reason() {
        let cases = [
            ("lake,lake", "bucket `lake` is listed twice"),
            ("lake:public:none", "bucket `lake` has two policies"),
            (
                "lake:publik",
                "bucket `lake`: `publik` is neither a policy nor `versioning`\n\
             policies are none, private, download, readonly, upload, writeonly, public and readwrite",
            ),
            (
                "Lake",
                "bucket name `Lake` has a `L`\n\
             a bucket name has 3 to 63 lower-case letters, digits, dots and hyphens, and begins and ends with a \
             letter or digit",
            ),
        ];
        for (text, told) in cases {
            assert_eq!(parse_buckets(text).unwrap_err(), told);
        }
    }

    #[test]
    fn bucket_names_follow_the_rules_of_aws_and_minio() {
        let longest = "a".repeat(63);
        for name in ["abc", "lake-house", "a.b.c", "123", "1.2.3", longest.as_str()] {
            check_bucket_name(name).unwrap();
        }
        let too_long = "a".repeat(64);
        let wrong = [
            ("ab", "has 2 characters"),
            (too_long.as_str(), "has 64 characters"),
            ("", "has 0 characters"),
            ("lake_house", "has a `_`"),
            ("lakehäuser", "has a `\\u{e4}`"),
            ("lake\nhouse", "has a `\\n`"),
            ("-lake", "begins or ends with a dot or hyphen"),
            ("lake.", "begins or ends with a dot or hyphen"),
            ("la..ke", "has `..` in it"),
            ("la.-ke", "has `.-` in it"),
            ("10.0.0.1", "is an IP address"),
            ("minio", "is reserved by MinIO"),
            ("xn--lake", "begins with `xn--`, which is reserved"),
            ("lake-s3alias", "ends with `-s3alias`, which is reserved"),
        ];
        for (name, reason) in wrong {
            let told = check_bucket_name(name).unwrap_err();
            assert!(told.lines().next().unwrap().ends_with(reason), "{told}");
        }
    }
}
