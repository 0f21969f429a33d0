//! Secrets that are words of what everybody may read: names, defaults, paths, and what dl-entry says itself.
//!
//! Such a secret cannot be kept out of a text without spoiling it, and a text with a hole tells the word. So it is
//! refused; and where the operator insists, or no contract knows it, nothing looks for it: `masked_view` hides the
//! values that are it. Pure: texts in, verdicts out.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::registry::Package;
use crate::environment::dl_settings::SETTINGS;
use crate::packed::Packed;
use crate::report::{Problem, Severity};
use crate::secrets;
use crate::settings::{Settings, Source};

/// The words of the contracts, the templates and the program, one a line; `build.rs` collects them.
static OURS: Packed = include!(concat!(env!("OUT_DIR"), "/words.rs"));

/// Takes the secrets that are words out of those that are looked for, and reports those that a contract or a key of the
/// service's knows for secrets.
pub(crate) fn set_apart(package: &Package, settings: &mut Settings, problems: &mut Vec<Problem>, allowed: bool) {
    let words = words(package, settings);
    let same = same_values(settings);
    let is_open = |value: &str| secrets::is_too_short(value) || words.contains(value) || same.contains_key(value);
    let (open, secrets): (Vec<_>, Vec<_>) =
        std::mem::take(&mut settings.secrets).into_iter().partition(|(_, value)| is_open(value));
    let names: BTreeMap<&str, &str> = open.iter().map(|(name, value)| (value.as_str(), name.as_str())).collect();
    let places =
        settings.places.drain(..).filter_map(|(value, place)| Some(((*names.get(value.as_str())?).to_owned(), place)));
    settings.secrets = secrets.into_iter().chain(places).collect();
    settings.open = open;
    let known: BTreeSet<&str> = problems.iter().map(|problem| problem.variable.as_str()).collect();
    let declared: BTreeSet<&str> = secret_names(settings).collect();
    let unsafe_ones: BTreeMap<&str, &str> = settings
        .open
        .iter()
        .filter(|(name, value)| !secrets::is_too_short(value) && declared.contains(name.as_str()))
        .filter(|(name, _)| !known.contains(name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let service = &package.contract.service.name;
    let found: Vec<Problem> = unsafe_ones
        .into_iter()
        .map(|(name, value)| {
            let what = match same.get(value) {
                Some(other) => format!("is not a safe secret: it is the same as {other}"),
                None => format!("is not a safe secret: it is a word of the names, paths or messages of {service}"),
            };
            let accepted = "a secret of your own; DL_ALLOW_INSECURE=1 lets this one pass";
            let problem = Problem::error(name, what).accepted(accepted);
            Problem { severity: if allowed { Severity::Warning } else { Severity::Error }, ..problem }
        })
        .collect();
    problems.extend(found);
}

/// The values that are no words of ours and stand in none of these texts.
pub(crate) fn without_words(values: Vec<String>, texts: &[&str]) -> Vec<String> {
    let short: BTreeSet<&str> = values
        .iter()
        .map(String::as_str)
        .filter(|value| !secrets::is_too_short(value) && value.len() <= secrets::LONGEST_WORD)
        .collect();
    let words = match short.is_empty() {
        true => BTreeSet::new(),
        false => occurring(&short, &[&[OURS.text().as_str()][..], texts].concat()),
    };
    values.into_iter().filter(|value| !words.contains(value)).collect()
}

/// The secrets that stand somewhere in a text that anybody may read.
fn words(package: &Package, settings: &Settings) -> BTreeSet<String> {
    let could_be = |value: &&String| {
        !secrets::is_too_short(value)
            && value.len() <= secrets::LONGEST_WORD
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/:-".contains(&byte))
    };
    let secrets: BTreeSet<&str> =
        settings.secrets.iter().map(|(_, value)| value).filter(could_be).map(String::as_str).collect();
    if secrets.is_empty() {
        return BTreeSet::new();
    }
    let public = public_texts(settings);
    let ours = OURS.text();
    let mut texts: Vec<&str> = vec![&ours];
    texts.extend(public.iter().map(String::as_str));
    // Of words put together, the places are looked at where they may be so: there is a lot to read.
    let is_compound = |value: &&str| !value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if secrets.iter().any(is_compound) {
        texts.push(&package.text);
        texts.extend(package.files.values().map(String::as_str));
    }
    occurring(&secrets, &texts)
}

/// Which of some values stand in one of the texts. There are few secrets that could be words, and each is short.
fn occurring(values: &BTreeSet<&str>, texts: &[&str]) -> BTreeSet<String> {
    let occurs = |value: &&&str| texts.iter().any(|text| text.contains(**value));
    values.iter().filter(occurs).map(|value| (*value).to_owned()).collect()
}

/// Names, defaults and paths of this environment.
fn public_texts(settings: &Settings) -> Vec<String> {
    let mut texts: Vec<String> = SETTINGS.iter().map(|about| format!("{} {}", about.name, about.default)).collect();
    for setting in &settings.settings {
        texts.push(setting.name.clone());
        let path = setting.shown.starts_with('/') || setting.source == Source::Default;
        texts.extend((path && !setting.secret).then(|| setting.shown.clone()));
        texts.extend(if let Source::File(path) = &setting.source { Some(path.display().to_string()) } else { None });
    }
    texts.extend(settings.context.get("etc").map(ToString::to_string));
    texts
}

/// Variables that are secrets as a whole. A default is another one's value, which is reported by that one's name.
fn secret_names(settings: &Settings) -> impl Iterator<Item = &str> {
    let given = settings.settings.iter().filter(|setting| setting.secret && setting.source != Source::Default);
    given.map(|setting| setting.name.as_str())
}

/// Values of settings that are none of the secrets: a user's name, a database's.
fn same_values(settings: &Settings) -> BTreeMap<String, String> {
    let declared: BTreeSet<&str> = secret_names(settings).collect();
    let secrets = settings.secrets.iter().filter(|(name, _)| declared.contains(name.as_str()));
    let secrets: BTreeSet<&str> = secrets.map(|(_, value)| value.as_str()).collect();
    let given = settings.settings.iter().filter(|setting| !setting.secret && setting.source != Source::Default);
    let open = given.filter(|setting| secrets.contains(setting.shown.as_str()));
    open.map(|setting| (setting.shown.clone(), setting.name.clone())).collect()
}
