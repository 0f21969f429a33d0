//! How undeclared secrets are recognised: by the name of their key or the text around them.
//!
//! Pure text. A name is judged by its words, so that `keyStorePassword` and `key-store.password` are the same; what
//! only names, counts or locates a secret is none, as operators need to see it.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode_str;

use crate::secrets::is_too_short;
use crate::value::split_words;

/// How a name ends that is a password's, whatever the value looks like.
const PASSWORDS: [&str; 5] = ["password", "passwords", "passwd", "passphrase", "pwd"];

/// How other names of secrets end.
const ENDINGS: [&str; 12] = [
    "secret",
    "token",
    "tokens",
    "credential",
    "credentials",
    "apikey",
    "secretkey",
    "privatekey",
    "accountkey",
    "storagekey",
    "connectionstring",
    "signature",
];

/// Last words that alone say it.
const WORDS: [&str; 2] = ["authorization", "sig"];

/// Prefixes that make `key` a secret: other keys are columns, identifiers, paths.
const BEFORE_KEY: [&str; 22] = [
    "account",
    "api",
    "auth",
    "credential",
    "credentials",
    "customer",
    "decryption",
    "encryption",
    "hmac",
    "json",
    "keystore",
    "license",
    "master",
    "private",
    "sas",
    "secret",
    "session",
    "shared",
    "signing",
    "state",
    "storage",
    "truststore",
];

/// Services in which the access key is a user's name.
const NAMES_BY_ACCESS_KEY: [&str; 3] = ["aws", "s3", "minio"];

/// Words of a switch or of a number about secrets.
const SWITCHES: [&str; 12] =
    ["allow", "check", "disable", "enable", "ignore", "max", "min", "require", "skip", "use", "validate", "verify"];

/// Last words of what only says where something is or what it is called.
const ABOUT: [&str; 7] = ["enabled", "file", "files", "name", "path", "type", "url"];

/// Whether a key of this name and with this value is to be kept to oneself: `quarkus.mail.password=…`,
/// `x.secret-key=…`. A switch or a small number is only where a password is asked for.
pub(crate) fn is_secret(key: &str, value: &str) -> bool {
    let harmless = || {
        let number = value.len() < 8 && value.bytes().all(|byte| byte.is_ascii_digit());
        // Where Nessie finds the secret.
        let reference = value.starts_with("urn:nessie-secret:");
        number || reference || value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
    };
    let words = words(key);
    !value.is_empty() && (names_a_password(&words) || names_a_secret(&words, key) && !harmless())
}

fn names_a_password(words: &[String]) -> bool {
    words.last().is_some_and(|last| PASSWORDS.iter().any(|ending| last.ends_with(ending)))
}

fn names_a_secret(words: &[String], key: &str) -> bool {
    let from_end = |index: usize| words.iter().rev().nth(index).map_or("", String::as_str);
    let has = |word: &str| words.iter().any(|other| other == word);
    let (last, before) = (from_end(0), from_end(1));
    let part = key.rsplit('.').next().unwrap_or(key);
    if self::words(part).iter().any(|word| SWITCHES.contains(&word.as_str())) {
        return false;
    }
    match (before, last) {
        // Whether Trino hands them out.
        ("refresh", "tokens") => false,
        ("access", "key") | (_, "accesskey") => {
            from_end(2) == "secret" || !NAMES_BY_ACCESS_KEY.iter().any(|whose| has(whose))
        }
        ("store", "key") => ["key", "trust"].contains(&from_end(2)),
        (before, "key") if BEFORE_KEY.contains(&before) => true,
        // A secret of Nessie's, whose name the operator chooses: `my-secrets.trust-store.key`.
        (_, "key") => part == "key" && ["secret", "secrets", "credentials"].iter().any(|word| has(word)),
        ("credentials" | "key", "json") | ("connection", "string") | ("secret", "id") | ("http", "headers") => true,
        (_, "headers") => has("otlp"),
        (_, last) if ENDINGS.iter().any(|ending| last.ends_with(ending)) || WORDS.contains(&last) => true,
        (_, last) => has("jaas") && !ABOUT.contains(&last),
    }
}

/// The words of a name in lower case, without what only says which one or that its value follows.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let characters: Vec<char> = name.chars().collect();
    for (index, &c) in characters.iter().enumerate() {
        let neighbour = |index: Option<usize>| index.and_then(|index| characters.get(index)).copied().unwrap_or(' ');
        let (before, after) = (neighbour(index.checked_sub(1)), neighbour(Some(index + 1)));
        let begins = c.is_uppercase() && (before.is_lowercase() || before.is_uppercase() && after.is_lowercase());
        match words.last_mut() {
            _ if !c.is_alphanumeric() => {}
            Some(word) if before.is_alphanumeric() && !begins => word.extend(c.to_lowercase()),
            _ => words.push(c.to_lowercase().collect()),
        }
    }
    let says_nothing = |word: &String| word == "value" || word.bytes().all(|byte| byte.is_ascii_digit());
    while words.last().is_some_and(says_nothing) {
        words.pop();
    }
    words
}

/// The secrets inside a text: a URL's password, `password=…` in one or in connection properties, `-D…Password=…`,
/// `"password": "…"` in JSON, YAML and headers, `--password …`, a private key. As they stand there, and without percent
/// encoding. Takes a time that grows with the text and no faster, whatever it holds.
pub(crate) fn secrets_within(text: &str) -> Vec<String> {
    within(text).into_iter().map(|within| within.secret.into_owned()).collect()
}

/// A secret inside a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Within<'t> {
    pub secret: Cow<'t, str>,
    /// The secret with what stands around it, for one that is a word: `password=nessie`.
    pub place: Option<Cow<'t, str>>,
}

/// Secrets in the order they were found in, each once: a text may have one in every second word.
#[derive(Default)]
struct Found<'t> {
    list: Vec<Within<'t>>,
    seen: HashSet<Within<'t>>,
}

impl<'t> Extend<Within<'t>> for Found<'t> {
    fn extend<I: IntoIterator<Item = Within<'t>>>(&mut self, found: I) {
        let (list, seen) = (&mut self.list, &mut self.seen);
        list.extend(found.into_iter().filter(|within| seen.insert(within.clone())));
    }
}

/// The secrets inside a text, and where they stand.
pub(crate) fn within(text: &str) -> Vec<Within<'_>> {
    let mut found = Found::default();
    found.extend(text.split("://").skip(1).filter_map(password_of_url));
    found.extend(password_of_oracle(text));
    found.extend(named_secrets(text));
    if text.contains("-D") {
        let words = split_words(text).unwrap_or_default();
        let secrets = words.iter().filter_map(|word| secret_property(word));
        found.extend(secrets.map(Within::into_owned));
    }
    found.extend(private_keys(text));
    let decoded = found.list.iter().filter_map(|within| percent_decoded(&within.secret)).map(whole);
    let decoded: Vec<Within> = decoded.collect();
    found.extend(decoded);
    found.list
}

fn whole<'t>(secret: impl Into<Cow<'t, str>>) -> Within<'t> {
    Within { secret: secret.into(), place: None }
}

impl Within<'_> {
    fn into_owned<'o>(self) -> Within<'o> {
        let owned = |text: Cow<str>| Cow::Owned(text.into_owned());
        Within { secret: owned(self.secret), place: self.place.map(owned) }
    }
}

/// What must be kept to oneself of a value whose place says where it begins: all of `around`, where the value alone is
/// too short to be found.
fn kept<'t>(value: &'t str, around: &'t str) -> Option<Within<'t>> {
    let kept = if is_too_short(value) { around } else { value };
    let place = (value.len() <= super::LONGEST_WORD).then_some(around.into());
    (!value.is_empty() && !is_too_short(kept)).then_some(Within { secret: kept.into(), place })
}

/// `user:password@host`, the rest of a URL.
fn password_of_url(rest: &str) -> Option<Within<'_>> {
    let word = rest.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>')).next()?;
    let authority = word.split(['/', '?', '#']).next()?;
    let port =
        |host: &str| host.rsplit_once(':').is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let at = match authority.rfind('@') {
        // A password that is not percent-encoded may contain a slash.
        None if !port(authority) => word.rfind('@'),
        at => at,
    }?;
    let (_, password) = word[..at].split_once(':')?;
    kept(password, &word[..=at])
}

/// `jdbc:oracle:thin:user/password@…`
fn password_of_oracle(text: &str) -> Option<Within<'_>> {
    let (_, rest) = text.split_once("jdbc:oracle:")?;
    let (user_and_password, _) = rest.split_once(':')?.1.split_once('@')?;
    kept(user_and_password.split_once('/')?.1, user_and_password)
}

/// No name of a secret is longer.
const LONGEST_NAME: usize = 128;
/// A secret may hold what looks like further ones, which are looked at so many times: each may be as long as the text.
const MOST_WITHIN: usize = 2;

/// `name=value`, `name: value` and `--name value`, with what may belong to the value and without.
fn named_secrets(text: &str) -> Vec<Within<'_>> {
    let mut found = Vec::new();
    // Each is judged once, with its name and value.
    let mut seen = HashSet::new();
    let (mut end_of_value, mut within) = (0, 0);
    for (index, separator) in text.bytes().enumerate().filter(|(_, byte)| matches!(byte, b'=' | b':' | b'-')) {
        let Some(named) = named_value(text, index, separator) else { continue };
        within = if index < end_of_value { within + 1 } else { 0 };
        if within <= MOST_WITHIN {
            let value = named.value(text);
            let end = named.start + value.len();
            end_of_value = end_of_value.max(end);
            if seen.insert((separator, &text[named.begin..end])) {
                found.extend(named.secrets(text, value));
            }
        }
    }
    found
}

/// The place of a value whose name says that it may be a secret.
struct Named<'t> {
    name: &'t str,
    /// Where the name begins.
    begin: usize,
    /// Where the value begins, after a quote.
    start: usize,
    /// The closing mark of a value that begins with one, and whether the opening one was escaped.
    quote: Option<char>,
    is_escaped: bool,
    is_mapping: bool,
}

/// The value that the separator at `index` names.
fn named_value(text: &str, index: usize, separator: u8) -> Option<Named<'_>> {
    let after = index + 1;
    let (begin, name, start) = match separator {
        b'-' => option(text, index)?,
        b'=' => {
            let (begin, name) = name_before(text, index)?;
            let spaced = text[..index].ends_with([' ', '\t']);
            let blanks = if spaced { blanks(&text[after..]) } else { 0 };
            (begin, name, after + blanks)
        }
        _ => {
            let (begin, name) = name_before(text, index)?;
            let blanks = blanks(&text[after..]);
            // `host:port`, `urn:x:y`.
            let apart = blanks > 0 || text[after..].starts_with(['"', '\'', '\\']);
            apart.then_some((begin, name, after + blanks))?
        }
    };
    let escapes = text[start..].bytes().take(8).take_while(|byte| *byte == b'\\').count();
    let quote = text[start + escapes..].chars().next().filter(|c| matches!(c, '"' | '\''));
    let start = if quote.is_some() { start + escapes + 1 } else { start };
    Some(Named { name, begin, start, quote, is_escaped: quote.is_some() && escapes > 0, is_mapping: separator == b':' })
}

impl<'t> Named<'t> {
    fn value(&self, text: &'t str) -> &'t str {
        let rest = &text[self.start..];
        let ends = |c: char| match self.quote {
            Some(quote) => c == quote,
            None if self.is_mapping => matches!(c, '\n' | '\r' | '"' | '\''),
            None => c.is_whitespace() || matches!(c, '&' | ';' | '"' | '\''),
        };
        let mut escaped = false;
        let end = rest.find(|c: char| {
            let ends = ends(c) && !escaped;
            escaped = c == '\\' && !escaped && self.quote.is_some() && !self.is_escaped;
            ends
        });
        let value = &rest[..end.unwrap_or(rest.len())];
        if self.quote.is_some() { value.trim_end_matches('\\') } else { value.trim_end() }
    }

    fn secrets(&self, text: &'t str, value: &'t str) -> Vec<Within<'t>> {
        let value = credentials(value);
        let nothing = self.is_mapping
            && self.quote.is_none()
            && (matches!(value.split([',', '}', ' ']).next(), Some("null" | "~"))
                || value.starts_with(['{', '[', '|', '>', '&', '*', '!']));
        if nothing || !is_secret(self.name, value) {
            return vec![];
        }
        let begin = value.as_ptr() as usize - text.as_ptr() as usize;
        let marks: &[char] = if self.is_mapping { &[',', '#', '}', ']', ';', ' '] } else { &[',', '#'] };
        let around = |value: &'t str| &text[self.begin..begin + value.len()];
        let shorter = value.split(marks).next().filter(|_| self.quote.is_none());
        let shorter = shorter.filter(|shorter| *shorter != value && !is_too_short(shorter));
        let found = [Some(value), shorter].into_iter().flatten();
        found.filter_map(|value| kept(value, around(value))).collect()
    }
}

/// Without the scheme (RFC 9110, 11.1): `Bearer …`.
fn credentials(value: &str) -> &str {
    let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
    let known = ["basic", "bearer", "digest", "token", "apikey"];
    if known.iter().any(|known| scheme.eq_ignore_ascii_case(known)) { rest.trim_start() } else { value }
}

/// The name that ends before `index`, in quotes or not, where it may be a secret's.
fn name_before(text: &str, index: usize) -> Option<(usize, &str)> {
    let before = text[..index].trim_end_matches([' ', '\t']);
    let end = before.strip_suffix(['"', '\'']).map_or(before, |inner| inner.trim_end_matches('\\')).len();
    let length = text.as_bytes()[..end].iter().rev().take(LONGEST_NAME).take_while(|byte| is_of_name(**byte)).count();
    let name = &text[end - length..end];
    may_name_a_secret(name).then_some((end - length, name))
}

/// The option whose first dash is at `index`, and where its value begins: in the next word, of a list or a line.
fn option(text: &str, index: usize) -> Option<(usize, &str, usize)> {
    if text[..index].bytes().next_back().is_some_and(is_of_name) {
        return None;
    }
    let rest = &text[index..];
    let length = rest.bytes().take(LONGEST_NAME).take_while(|byte| is_of_name(*byte)).count();
    let name = rest[..length].trim_start_matches('-');
    let between = rest[length..].bytes().take(32).take_while(|byte| b" \t\r\n,\"'\\-".contains(byte)).count();
    let between = &rest[length..length + between];
    // The last quote, and the dash of a password that begins with one, are the value's.
    let separator = between.trim_end_matches(['-', '"', '\'', '\\']).len();
    let list = between[..separator].ends_with('-');
    let apart = separator > 0 || between.len() > separator && list;
    (apart && may_name_a_secret(name)).then_some((index, name, index + length + separator))
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether it is worth taking the name apart.
fn may_name_a_secret(name: &str) -> bool {
    const STEMS: [&str; 11] =
        ["pass", "pwd", "secret", "token", "credential", "key", "string", "sig", "auth", "headers", "jaas"];
    let name = name.as_bytes();
    let begins =
        |rest: &[u8], stem: &&str| rest.len() >= stem.len() && rest[..stem.len()].eq_ignore_ascii_case(stem.as_bytes());
    (0..name.len().saturating_sub(2)).any(|start| STEMS.iter().any(|stem| begins(&name[start..], stem)))
}

/// The value of `-Dname=value`, one argument of java.
fn secret_property(word: &str) -> Option<Within<'_>> {
    let (name, value) = word.strip_prefix("-D")?.split_once('=')?;
    is_secret(name, value).then(|| kept(value, word))?
}

/// PEM blocks (RFC 7468) that hold a private key, each to its end, or to where the next one begins.
fn private_keys(text: &str) -> Vec<Within<'_>> {
    let mut found = Vec::new();
    let frames: Vec<(usize, bool)> = text
        .match_indices("-----")
        .filter_map(|(index, dashes)| {
            let after = &text[index + dashes.len()..];
            after.starts_with("BEGIN ").then_some((index, true)).or(after.starts_with("END ").then_some((index, false)))
        })
        .collect();
    for (position, (start, begins)) in frames.iter().enumerate() {
        let label: &str = label(&text[*start..]);
        if !begins || !label.ends_with("PRIVATE KEY-----") {
            continue;
        }
        let end = match frames.get(position + 1) {
            Some((next, true)) => *next,
            Some((next, false)) => next + self::label(&text[*next..]).len(),
            None => text.len(),
        };
        found.push(whole(&text[*start..end]));
    }
    found
}

/// `-----BEGIN RSA PRIVATE KEY-----`, at the beginning of a text.
fn label(text: &str) -> &str {
    let dashes =
        text.bytes().enumerate().skip(5).take(64).find(|(index, _)| text.as_bytes()[*index..].starts_with(b"-----"));
    dashes.map_or("", |(index, _)| &text[..index + 5])
}

/// Without percent encoding; `None` where there is none.
fn percent_decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (decoded != text && !is_too_short(&decoded)).then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests;
