//! dl-entry's own settings: the `DL_*` variables.
//!
//! envy reads them, but only as optional texts: left to deserialize numbers it would stop at the first mistake and
//! print the value. Each text is then read as its type, and all mistakes are reported together.

use std::path::{Component, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::did_you_mean::{edit_distance, tolerance};
use crate::environment::Environment;
use crate::health;
use crate::identity::name_service;
use crate::report::Problem;
use crate::value::{Exists, Value, ValueType};

/// dl-entry's own settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// `DL_SERVICE`: the service to run, where the image does not say.
    pub service: Option<String>,
    /// `DL_RUN_DIR`: where rendered files go.
    pub run_dir: Option<PathBuf>,
    /// `DL_LOG_FORMAT`: `text` or `json`.
    pub log_format: String,
    /// `DL_LOG_LEVEL`: `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// `DL_HEALTH_ADDR`: address of the health endpoints, or `off`.
    pub health_addr: String,
    /// `DL_WAIT_TIMEOUT`: how long all dependencies may take together.
    pub wait_timeout: Duration,
    /// `DL_STOP_TIMEOUT`: how long stopping may take altogether, to the last SIGKILL.
    pub stop_timeout: Option<Duration>,
    /// `DL_STOP_SUCCESS`: statuses of the service that become 0 where it was asked to stop.
    pub stop_success: Vec<u8>,
    /// `DL_EXEC`: be replaced by the service instead of supervising it.
    pub exec: bool,
    /// `DL_STRICT`: unknown variables of the service are errors.
    pub strict: bool,
    /// `DL_ALLOW_INSECURE`: well-known secrets and insecure settings are warnings.
    pub allow_insecure: bool,
    /// `DL_NAME_SERVICE`: whether a uid without an entry in /etc/passwd gets a name: `auto`, `on` or `off`.
    pub name_service: name_service::Mode,
    /// `DL_USER_NAME`: that name.
    pub user_name: Option<String>,
    /// `DL_SECRETS_DIR`: where secret files named like variables are.
    pub secrets_dir: Option<PathBuf>,
}

/// Where the health endpoints listen unless told otherwise.
pub const HEALTH_ADDR: &str = "0.0.0.0:9190";

/// The texts as they come; the field names are the variables' without the prefix.
#[derive(Debug, Default, Deserialize)]
struct Texts {
    service: Option<String>,
    run_dir: Option<String>,
    log_format: Option<String>,
    log_level: Option<String>,
    health_addr: Option<String>,
    wait_timeout: Option<String>,
    stop_timeout: Option<String>,
    stop_success: Option<String>,
    exec: Option<String>,
    strict: Option<String>,
    allow_insecure: Option<String>,
    name_service: Option<String>,
    user_name: Option<String>,
    secrets_dir: Option<String>,
}

/// One of these, for `explain`.
#[derive(Debug)]
pub struct About {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
}

const fn about(name: &'static str, default: &'static str, meaning: &'static str) -> About {
    About { name, default, meaning }
}

/// All of them, as README.md has them.
pub const SETTINGS: [About; 14] = [
    about("DL_SERVICE", "the image's /etc/dl-entry/service", "Service to run."),
    about("DL_RUN_DIR", "/run/dl", "Where rendered files go; below the temporary folder where that cannot be written."),
    about("DL_LOG_FORMAT", "text", "Form of the log on stderr: text, or json for machines."),
    about("DL_LOG_LEVEL", "info", "Least level that is logged: error, warn, info, debug or trace."),
    about("DL_HEALTH_ADDR", HEALTH_ADDR, "Address of /livez, /readyz, /startupz and /metrics, or off."),
    about("DL_WAIT_TIMEOUT", "5m", "How long all dependencies may take together."),
    about("DL_STOP_TIMEOUT", "the stop ladder's own times", "How long a whole stop may take, to the last SIGKILL."),
    about("DL_STOP_SUCCESS", "none", "Statuses that become 0 where the service was asked to stop: 143,130."),
    about("DL_EXEC", "false", "Be replaced by the service once its dependencies answer."),
    about("DL_STRICT", "false", "Unknown variables of the service are errors."),
    about("DL_ALLOW_INSECURE", "false", "Well-known secrets and insecure settings are warnings."),
    about(
        "DL_NAME_SERVICE",
        "auto",
        "Give a uid without an entry in /etc/passwd a name: auto (in a container), on or off.",
    ),
    about("DL_USER_NAME", "shusr, or uid and the number", "That name."),
    about("DL_SECRETS_DIR", "/run/secrets", "Where secret files named like variables are."),
];

impl Own {
    /// Reads them all; what is wrong keeps its default and is reported.
    pub fn load(environment: &Environment) -> (Own, Vec<Problem>) {
        let mut problems = Vec::new();
        let texts = texts(environment, &mut problems);
        let mut reader = Reader { problems };
        let duration = ValueType::Duration { min: None, max: None };
        let path = ValueType::Path { exists: Exists::Unchecked };
        let own = Own {
            service: texts.service.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
            run_dir: reader.run_dir(&path, texts.run_dir),
            log_format: reader.choice("DL_LOG_FORMAT", &["text", "json"], texts.log_format, "text"),
            log_level: reader.choice(
                "DL_LOG_LEVEL",
                &["error", "warn", "info", "debug", "trace"],
                texts.log_level,
                "info",
            ),
            health_addr: reader.address("DL_HEALTH_ADDR", texts.health_addr),
            wait_timeout: reader
                .duration("DL_WAIT_TIMEOUT", &duration, texts.wait_timeout)
                .unwrap_or(Duration::from_secs(300)),
            stop_timeout: reader.duration("DL_STOP_TIMEOUT", &duration, texts.stop_timeout),
            stop_success: reader.statuses("DL_STOP_SUCCESS", texts.stop_success),
            exec: reader.flag("DL_EXEC", texts.exec),
            strict: reader.flag("DL_STRICT", texts.strict),
            allow_insecure: reader.flag("DL_ALLOW_INSECURE", texts.allow_insecure),
            name_service: match reader
                .choice("DL_NAME_SERVICE", &["auto", "on", "off"], texts.name_service, "auto")
                .as_str()
            {
                "on" => name_service::Mode::On,
                "off" => name_service::Mode::Off,
                _ => name_service::Mode::Auto,
            },
            user_name: reader.text("DL_USER_NAME", &user_name(), texts.user_name),
            secrets_dir: reader.text("DL_SECRETS_DIR", &path, texts.secrets_dir).map(PathBuf::from),
        };
        (own, reader.problems)
    }
}

/// As useradd(8) takes one: it becomes a line of /etc/passwd, or as good as one.
fn user_name() -> ValueType {
    ValueType::Text {
        pattern: Some("[A-Za-z_][A-Za-z0-9_.-]{0,31}".to_owned()),
        accepted: Some("a letter or _, then letters, digits, _, . and -, 32 in all at most".to_owned()),
        min_length: 0,
    }
}

fn texts(environment: &Environment, problems: &mut Vec<Problem>) -> Texts {
    let mut pairs = Vec::new();
    for (name, value) in environment.iter() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("DL_")) else { continue };
        if !SETTINGS.iter().any(|known| known.name == name) {
            let nearest =
                SETTINGS.iter().map(|known| known.name).find(|known| edit_distance(name, known) <= tolerance(name, 2));
            let hint = nearest.map_or_else(String::new, |nearest| format!(": did you mean {nearest}?"));
            problems
                .push(Problem::warning(name, format!("is not a setting of dl-entry{hint}")).from_source("environment"));
            continue;
        }
        match value.to_str() {
            Some("") => {}
            Some(text) => pairs.push((name.to_owned(), text.to_owned())),
            None => problems.push(Problem::error(name, "is not UTF-8 text").from_source("environment")),
        }
    }
    // Optional texts cannot fail to be read.
    envy::prefixed("DL_").from_iter(pairs).unwrap_or_default()
}

struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn value(&mut self, name: &str, kind: &ValueType, text: Option<String>) -> Option<Value> {
        let read = kind.parse(&text?);
        let report = |why: crate::value::Rejection| {
            self.problems.push(Problem::error(name, why.what).accepted(why.accepted).from_source("environment"));
        };
        read.map_err(report).ok()
    }

    fn text(&mut self, name: &str, kind: &ValueType, text: Option<String>) -> Option<String> {
        self.value(name, kind, text).map(|value| value.to_string())
    }

    /// Rendered files go where the path says, also below another root.
    fn run_dir(&mut self, kind: &ValueType, text: Option<String>) -> Option<PathBuf> {
        let path = PathBuf::from(self.text("DL_RUN_DIR", kind, text)?);
        if path.components().any(|part| part == Component::ParentDir) {
            let problem = Problem::error("DL_RUN_DIR", "goes up again with ..");
            self.problems.push(problem.accepted("an absolute path without ..").from_source("environment"));
            return None;
        }
        Some(path)
    }

    fn choice(&mut self, name: &str, values: &[&str], text: Option<String>, default: &str) -> String {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let kind = ValueType::Enum { values, synonyms: Default::default() };
        self.text(name, &kind, text).unwrap_or_else(|| default.to_owned())
    }

    fn duration(&mut self, name: &str, kind: &ValueType, text: Option<String>) -> Option<Duration> {
        match self.value(name, kind, text) {
            Some(Value::Duration(millis)) => Some(Duration::from_millis(millis)),
            _ => None,
        }
    }

    fn address(&mut self, name: &str, text: Option<String>) -> String {
        let Some(text) = text else { return HEALTH_ADDR.to_owned() };
        let address = text.trim();
        if address.eq_ignore_ascii_case("off") {
            return "off".to_owned();
        }
        let message = match health::addresses(address) {
            Ok(addresses) if addresses.iter().all(|address| address.port() != 0) => return address.to_owned(),
            Ok(_) => "has port 0, at which nobody could ask",
            Err(_) => "is not an address and a port",
        };
        let problem = Problem::error(name, message);
        self.problems.push(problem.accepted(health::ACCEPTED_ADDRESSES).from_source("environment"));
        HEALTH_ADDR.to_owned()
    }

    fn statuses(&mut self, name: &str, text: Option<String>) -> Vec<u8> {
        let statuses: Result<Vec<u8>, _> =
            text.iter().flat_map(|text| text.split(',')).map(|status| status.trim().parse()).collect();
        let report = |_| {
            let problem = Problem::error(name, "is not a list of exit statuses");
            self.problems.push(problem.accepted("numbers from 0 to 255: 143,130").from_source("environment"));
        };
        statuses.map_err(report).unwrap_or_default()
    }

    fn flag(&mut self, name: &str, text: Option<String>) -> bool {
        matches!(self.value(name, &ValueType::Bool, text), Some(Value::Bool(true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_and_no_value_is_printed() {
        let environment = Environment::from_pairs([
            ("DL_LOG_FORMAT", "xml"),
            ("DL_WAIT_TIMEOUT", "60"),
            ("DL_STOP_SUCCESS", "143,256"),
            ("DL_EXEC", "maybe"),
            ("DL_HELTH_ADDR", "off"),
            ("DL_RUN_DIR", "/run/../etc"),
            ("DL_STRICT", "yes"),
            ("DL_SERVICE", ""),
        ]);
        let (own, problems) = Own::load(&environment);
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{} {}", problem.variable, problem.message)).collect();
        assert_eq!(
            lines,
            [
                "DL_HELTH_ADDR is not a setting of dl-entry: did you mean DL_HEALTH_ADDR?",
                "DL_RUN_DIR goes up again with ..",
                "DL_LOG_FORMAT is not a known choice",
                "DL_WAIT_TIMEOUT is a duration without its unit",
                "DL_STOP_SUCCESS is not a list of exit statuses",
                "DL_EXEC is neither true nor false",
            ]
        );
        assert!(own.strict && own.service.is_none() && own.log_format == "text");
        assert_eq!(own.wait_timeout, Duration::from_secs(300));
    }

    #[test]
    fn the_health_address_is_one_that_can_be_listened_at_or_off() {
        let load = |text: &str| {
            let (own, problems) = Own::load(&Environment::from_pairs([("DL_HEALTH_ADDR", text)]));
            (own.health_addr, problems.into_iter().map(|problem| problem.to_string()).collect::<String>())
        };
        for (text, address) in [(" :9190 ", ":9190"), ("OFF", "off"), (" off ", "off"), ("[::1]:80", "[::1]:80")] {
            assert_eq!(load(text), (address.to_owned(), String::new()), "{text:?}");
        }
        let problem = "DL_HEALTH_ADDR is not an address and a port\n     accepted: 0.0.0.0:9190, [::]:9190, \
                       127.0.0.1:9190, :9190 (ports from 1 to 65535) or off\n     from: environment";
        for text in ["foo", "0.0.0.0:99999", "9190", "foo:80"] {
            assert_eq!(load(text), (HEALTH_ADDR.to_owned(), problem.to_owned()), "{text:?}");
        }
        let problem = problem.replace("is not an address and a port", "has port 0, at which nobody could ask");
        for text in ["0.0.0.0:0", "[::]:0", ":0", "localhost:00"] {
            assert_eq!(load(text), (HEALTH_ADDR.to_owned(), problem.clone()), "{text:?}");
        }
    }
}
