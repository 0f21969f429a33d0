//! The command line: what can be said, and the rules for what is said without a subcommand.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::environment::arguments::words_taken;

/// Configures, starts and supervises one service of a container image, from environment variables alone.
#[derive(Debug, Parser)]
#[command(
    name = "dl-entry",
    version,
    max_term_width = 100,
    after_help = "\
Without a subcommand, dl-entry runs the image's service; options are the service's own:
  docker run IMAGE                      the service
  docker run IMAGE --verbose            the service, with an argument
  docker run IMAGE id                   another program, supervised, without the contract

Every setting is an environment variable: `dl-entry explain` lists them.

Exit status: the service's own, or 128+n when signal n ended it, and of dl-entry itself
  64   usage: command line, or no such service or file
  65   a template, or a rendered file that is not what it must be
  66   a secret file that cannot be read
  69   a dependency that did not answer in time, or a task that failed
  70   a bug in dl-entry
  71   the system refused something
  73   a file or folder that cannot be written
  77   root cannot be given up
  78   the environment does not fulfil the service's contract
  126  the program cannot be executed
  127  the program does not exist"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// One subcommand each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service of this image: validate, render, drop root, wait, supervise
    #[command(after_help = "\
Examples:
  dl-entry run --service trino
  dl-entry run -- --some-option-of-the-service
  dl-entry run --exec                   be replaced by the service at the end (it becomes PID 1)")]
    Run(Run),
    /// Validate the environment and write nothing: exit 0, 78 with every problem listed, 65 (template) or 66 (secret
    /// file)
    #[command(
        name = "check-env",
        after_help = "\
Examples:
  dl-entry check-env                                             this environment, this image's service
  dl-entry check-env --service nessie --env-file prod.env        anywhere: the file is the environment
  dl-entry check-env --service nessie --env-file prod.env --format json --strict"
    )]
    CheckEnv(CheckEnv),
    /// Show or write the files the service would get
    #[command(after_help = "\
Examples:
  dl-entry render --service trino --env-file prod.env            print them, secrets redacted
  dl-entry render --root /tmp/out                                write them below a folder, mode 0600
  dl-entry render --diff                                         what a restart would change
  dl-entry render --root /tmp/out --diff                         what `--root /tmp/out` would change

--diff exits with 0 whether anything differs or not; where nothing does, an empty line is all it prints.")]
    Render(Render),
    /// Ask the running dl-entry: exit 0 if yes, 1 if not, and one line why
    #[command(after_help = "\
Examples:
  HEALTHCHECK CMD [\"/usr/local/bin/dl-entry\", \"health\"]
  dl-entry health live")]
    Health(HealthArgs),
    /// Wait until every dependency answers: exit 0, or 69 naming each that does not
    #[command(after_help = "\
Examples:
  dl-entry wait tcp://db:5432 http://nessie:19120/api/v2/config --timeout 60s
  dl-entry wait 'postgres://nessie@db/nessie?password-file=/run/secrets/db' s3+http://KEY:SECRET@minio:9000/lakehouse")]
    Wait(WaitArgs),
    /// Explain the service's variables: type, default, meaning, present value and where it came from
    #[command(after_help = "\
Examples:
  dl-entry explain --service trino
  dl-entry explain TRINO_QUERY_MAX_MEMORY")]
    Explain(Explain),
    /// Make the service's data where there is none, and end: for an init container, or before a restore
    #[command(
        name = "init-data",
        after_help = "\
Examples:
  dl-entry init-data                    a complete cluster, made here or found: exit 0
  dl-entry init-data --enforce          an error where there is one already"
    )]
    InitData(InitData),
    /// Make the roles and databases of a new cluster: Patroni runs this as its `post_bootstrap`
    #[command(name = "post-bootstrap", hide = true)]
    PostBootstrap(PostBootstrap),
    /// List the services this binary knows
    #[command(after_help = "Example:\n  dl-entry services")]
    Services,
    /// Run any program supervised, root dropped, without a contract
    #[command(after_help = "Example:\n  dl-entry init -- bash -c 'id; sleep 10'")]
    Init(Init),
    /// Any other first word: that program, as `init` runs it
    #[command(external_subcommand)]
    Program(Vec<OsString>),
}

#[derive(Debug, Args)]
pub struct InitData {
    /// Service whose data it is; default: DL_SERVICE, or the image's /etc/dl-entry/service
    #[arg(long)]
    pub service: Option<String>,
    /// Data that is there already is an error
    #[arg(long)]
    pub enforce: bool,
}

#[derive(Debug, Args)]
pub struct PostBootstrap {
    /// Roles, databases and how the server is reached, as JSON; `run` has rendered it
    pub file: PathBuf,
    /// Patroni's URL of the server, which is not needed
    pub url: Option<String>,
}

#[derive(Debug, Default, Args)]
pub struct Run {
    /// Service to run; default: DL_SERVICE, or the image's /etc/dl-entry/service
    #[arg(long)]
    pub service: Option<String>,
    /// Be replaced by the service at the end, instead of supervising it (DL_EXEC=1)
    #[arg(long)]
    pub exec: bool,
    /// Arguments for the service, after its own
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct From {
    /// Service to look at; default: DL_SERVICE, or the image's /etc/dl-entry/service
    #[arg(long)]
    pub service: Option<String>,
    /// File in Docker's env-file format: these files are the environment, and nothing else is
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CheckEnv {
    #[command(flatten)]
    pub from: From,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Unknown variables of the service are errors (DL_STRICT=1)
    #[arg(long)]
    pub strict: bool,
    /// Arguments the service would get
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct Render {
    #[command(flatten)]
    pub from: From,
    /// Write below this folder, every file readable by its owner alone
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Print the files, secrets redacted (the default)
    #[arg(long, conflicts_with = "diff")]
    pub stdout: bool,
    /// Print a unified diff against what is there (below --root), secrets redacted
    #[arg(long)]
    pub diff: bool,
}

#[derive(Debug, Args)]
pub struct HealthArgs {
    #[arg(value_enum, default_value_t = Question::Ready)]
    pub question: Question,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Question {
    Live,
    Ready,
    Startup,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// tcp://host:port, http(s)://…, postgres://user@host/db, s3+http(s)://key:secret@host/bucket, etcd://…, dns://…,
    /// file:///…
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// How long all of them may take; default: DL_WAIT_TIMEOUT, or 5m
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
}

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    pub from: From,
    /// One variable; default: all
    pub variable: Option<String>,
}

#[derive(Debug, Args)]
pub struct Init {
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

impl Command {
    /// A program that is a word for the image's own service is that service. `words` is asked only where there
    /// is one.
    pub fn or_service(self, words: impl FnOnce() -> Vec<String>) -> Command {
        let Command::Program(arguments) = self else { return self };
        match words_taken(&arguments, &words()) {
            0 => Command::Program(arguments),
            _ => Command::Run(Run { arguments, ..Run::default() }),
        }
    }
}

/// The command line as clap shall read it: an option that is not ours means `run --`.
pub fn normalized(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let ours = ["-h", "--help", "-V", "--version"];
    let first = arguments.get(1).and_then(|first| first.to_str()).unwrap_or_default();
    let option = first.starts_with('-') && !ours.contains(&first);
    if first == "--" {
        arguments.insert(1, "run".into());
    } else if option {
        arguments.splice(1..1, ["run".into(), "--".into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_and_the_services_own_words_are_arguments_of_the_service() {
        assert_eq!(normalized(words("dl-entry -x y")), words("dl-entry run -- -x y"));
        assert_eq!(normalized(words("dl-entry --help")), words("dl-entry --help"));
        assert_eq!(normalized(words("dl-entry -- a")), words("dl-entry run -- a"));
        assert_eq!(normalized(words("dl-entry bash -c x")), words("dl-entry bash -c x"));
        assert_eq!(normalized(words("dl-entry")), words("dl-entry"));
        let run = |line: &str| match command(line) {
            Command::Run(run) => Some(run.arguments),
            _ => None,
        };
        assert_eq!(run("dl-entry server /data --help"), Some(words("server /data --help")));
        assert_eq!(run("dl-entry minio server /d"), Some(words("minio server /d")));
        assert_eq!(run("dl-entry minio --version"), None);
        assert_eq!(words_taken(&words("minio server /d"), &server()), 2);
        assert_eq!(words_taken(&words("/d server"), &server()), 0);
        assert_eq!(words_taken(&words("minio"), &server()), 0);
        assert_eq!(words_taken(&words("org.example.Main --port 1"), &["org.example.*".into()]), 1);
        assert_eq!(words_taken(&words("com.example.Main"), &["org.example.*".into()]), 0);
    }

    #[test]
    fn a_word_that_is_no_subcommand_is_a_program() {
        assert!(matches!(command("dl-entry bash -c x"), Command::Program(program) if program == words("bash -c x")));
    }

    fn server() -> Vec<String> {
        vec!["server".to_owned(), "minio server".to_owned()]
    }

    fn command(line: &str) -> Command {
        Cli::try_parse_from(words(line)).unwrap().command.unwrap().or_service(server)
    }
}
