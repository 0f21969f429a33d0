//! PostgreSQL: a cluster made from the environment, kept as it says, and never half there.

use crate::service::{LONG, Service};
use crate::support::{Running, descendants, free_port, require_root, until};
use nix::sys::signal::{Signal, kill};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PASSWORD: &str = "correct horse battery";
/// Quotes of every kind, what ends a statement, and what ends a body of dollar quotes.
const HOSTILE: &str = r#"it's "x" $$; DROP ROLE nessie; -- ü漢🐘 \"#;
/// Its row is the last one.
pub const LAST_SCRIPT: &str = "10-last.sql";

/// The users of a container: nobody has the service's number, and its name comes from `dl-entry`.
const NAMESPACE: &str = "mount -t tmpfs -o mode=755 none /run; mkdir -m 1777 /run/nscd; exec \"$0\" \"$@\"";

pub struct Postgresql {
    pub service: Service,
    port: u16,
    data: PathBuf,
    nessie_password: String,
}

impl Postgresql {
    /// The platform's environment, and what differs between a container and this machine.
    pub fn new(test: &str) -> Postgresql {
        require_root("PostgreSQL runs as the user of a container, in a namespace");
        let mut service = Service::new("postgresql", test);
        let (port, volume) = (free_port(), service.own_folder("volume"));
        let (data, socket) = (volume.join("data"), service.own_folder("socket"));
        service.set("POSTGRES_PASSWORD", PASSWORD).set("POSTGRES_DB", "main").set("POSTGRES_EXTENSIONS", "pg_trgm");
        service.set("NESSIE_DB", "Nessie's \"db\"").set("NESSIE_USER", "nes;sie").set("NESSIE_PASSWORD", HOSTILE);
        service.set("PGDATA", data.display()).set("POSTGRES_EPHEMERAL", "yes").set("POSTGRESQL_PORT_NUMBER", port);
        service.set("POSTGRES_LISTEN_ADDRESSES", "127.0.0.1").set("POSTGRES_SOCKET_DIR", socket.display());
        // What a crash test needs is not that the machine survives one.
        service.set("POSTGRES_INITDB_ARGS", "--no-sync").set("DL_NAME_SERVICE", "on");
        Postgresql { service, port, data, nessie_password: HOSTILE.to_owned() }
    }

    /// The same with ten scripts, each of which says that it has run.
    pub fn with_scripts(test: &str) -> Postgresql {
        let mut server = Postgresql::new(test);
        let folder = server.service.own_folder("initdb.d");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("01-first.sql", "CREATE TABLE steps (name text PRIMARY KEY); INSERT INTO steps VALUES ('01');");
        for number in 2..10 {
            match number % 2 {
                0 => write(&format!("{number:02}.sql"), &format!("INSERT INTO steps VALUES ('{number:02}');")),
                _ => write(
                    &format!("{number:02}.sh"),
                    &format!("psql -v ON_ERROR_STOP=1 -qc \"INSERT INTO steps VALUES ('{number:02}')\"; sleep 0.1"),
                ),
            }
        }
        write(LAST_SCRIPT, "INSERT INTO steps VALUES ('10');");
        server.service.set("POSTGRES_INIT_SCRIPTS", folder.display());
        server
    }

    pub fn start_in_namespace(&self) -> Running {
        self.in_namespace(&["run", "--service", "postgresql"])
    }

    fn in_namespace(&self, arguments: &[&str]) -> Running {
        Postgresql::as_process_1(&self.service, arguments)
    }

    /// As process 1 of a namespace of its own, which shares the network.
    pub fn as_process_1(service: &Service, arguments: &[&str]) -> Running {
        let inner = service.command(arguments);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", NAMESPACE]);
        command.arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Running::start(command)
    }

    pub fn ready(&self) -> Running {
        let mut running = self.start_in_namespace();
        self.service.await_ready(&mut running);
        running
    }

    /// Signals `dl-entry`, which is process 1 of the namespace; at first there is none yet.
    pub fn end(running: &Running, signal: Signal) {
        let first = descendants(running.pid()).into_iter().next();
        // It may have ended by itself, or not begun.
        let _ = kill(first.unwrap_or(running.pid()), signal);
    }

    /// Stops it as a container runtime does. What it printed.
    pub fn stop(running: Running) -> String {
        Postgresql::end(&running, Signal::SIGTERM);
        let ended = running.ended(LONG);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        ended.stdout + &ended.stderr
    }

    pub fn rotate(&mut self, password: &str) {
        self.nessie_password = password.to_owned();
        self.service.set("NESSIE_PASSWORD", password);
    }

    /// How far the initialisation has come.
    pub fn stage(&self) -> String {
        let journal = std::fs::read_to_string(self.data.join(".dl-init/journal.json")).unwrap_or_default();
        let stage = journal.split("\"stage\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let otherwise = if self.data.join("PG_VERSION").exists() { "served" } else { "not begun" };
        stage.unwrap_or(otherwise).to_owned()
    }

    fn psql(&self, user: &str, password: &str, database: &str, statement: &str) -> String {
        let mut command = Command::new("psql");
        command.args(["-XAtq", "-h", "127.0.0.1", "-U", user, "-d", database, "-c", statement]);
        command.env("PGPASSWORD", password).env("PGPORT", self.port.to_string()).stdin(Stdio::null());
        let output = command.output().expect("psql: apt-get install postgresql-client");
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        told.trim().to_owned()
    }

    /// The superuser's answer.
    pub fn query(&self, database: &str, statement: &str) -> String {
        self.psql("postgres", PASSWORD, database, statement)
    }

    /// The answer of the platform's role, in its database.
    fn nessie(&self, statement: &str) -> String {
        self.psql("nes;sie", &self.nessie_password, "Nessie's \"db\"", statement)
    }

    pub fn assert_complete(&self) {
        assert_eq!(self.query("main", "SELECT count(*), max(name) FROM steps"), "10|10");
        assert_eq!(self.query("main", "SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'"), "pg_trgm");
        assert_eq!(self.nessie("CREATE TEMP TABLE t (a int); SELECT current_user"), "nes;sie");
        assert!(!self.data.join(".dl-init").exists());
    }
}

#[test]
fn hostile_names_and_passwords_are_only_names_and_passwords_and_no_secret_is_told() {
    let server = Postgresql::with_scripts("hostile");
    let running = server.ready();
    server.assert_complete();
    assert_eq!(server.query("main", "SELECT count(*) FROM pg_authid WHERE rolpassword !~ '^SCRAM'"), "0");
    let told = Postgresql::stop(running);
    assert!(told.contains("role nes;sie: created"), "{told}");
    assert!(!told.contains("DROP ROLE") && !told.contains(PASSWORD) && !told.contains("SCRAM-SHA-256$"), "{told}");
}

#[test]
fn a_second_start_changes_only_what_the_environment_changed() {
    let mut server = Postgresql::with_scripts("again");
    let first = Postgresql::stop(server.ready());
    assert!(first.contains("database main: created"), "{first}");
    let second = Postgresql::stop(server.ready());
    assert!(!second.contains("created") && !second.contains("changed"), "{second}");
    server.rotate("another horse");
    server.service.set("POSTGRES_RECONCILE", "dry-run");
    let mut running = server.start_in_namespace();
    running.await_text(LONG, "not done: role nes;sie: password changed");
    Postgresql::end(&running, Signal::SIGTERM);
    running.ended(LONG);
    server.service.set("POSTGRES_RECONCILE", "on");
    let running = server.ready();
    server.assert_complete();
    let third = Postgresql::stop(running);
    assert!(third.contains("role nes;sie: password changed") && !third.contains("created"), "{third}");
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_the_first_goes_on() {
    let mut server = Postgresql::with_scripts("twice");
    let running = server.ready();
    server.service.health = free_port();
    let health = format!("127.0.0.1:{}", server.service.health);
    server.service.set("DL_HEALTH_ADDR", health);
    let other_run = server.service.own_folder("other-run");
    server.service.set("DL_RUN_DIR", other_run.display());
    let refused = server.start_in_namespace().ended(LONG);
    assert_eq!(refused.code(), 78, "{}", refused.stderr);
    assert!(refused.stderr.contains("another server runs on this data folder"), "{}", refused.stderr);
    server.assert_complete();
    Postgresql::stop(running);
}

#[test]
fn a_script_that_fails_ends_the_start_and_the_next_one_begins_again() {
    let server = Postgresql::with_scripts("failing");
    let script = server.service.folder.join("initdb.d/05.sh");
    let good = std::fs::read_to_string(&script).unwrap();
    std::fs::write(&script, "exit 7").unwrap();
    let failed = server.start_in_namespace().ended(LONG);
    assert_eq!(failed.code(), 69, "{}", failed.stderr);
    assert!(failed.stderr.contains("05.sh ended with status 7"), "{}", failed.stderr);
    assert_eq!(server.stage(), "scripts");
    std::fs::write(&script, good).unwrap();
    let running = server.ready();
    server.assert_complete();
    let told = Postgresql::stop(running);
    assert!(told.contains("interrupted in the script 05.sh: it begins again"), "{told}");
}

#[test]
fn what_looks_like_another_cluster_keeps_a_new_one_from_being_made() {
    let mut server = Postgresql::new("evidence");
    let old = server.service.own_folder("volume/18/docker/global");
    std::fs::write(old.join("../PG_VERSION"), "18\n").unwrap();
    let refused = server.start_in_namespace().ended(LONG);
    assert_eq!(refused.code(), 78, "{}", refused.stderr);
    assert!(refused.stderr.contains("18/docker (a cluster of PostgreSQL 18)"), "{}", refused.stderr);
    assert_eq!(server.stage(), "not begun");
    server.service.set("POSTGRES_INIT_BESIDE_DATA", "yes");
    Postgresql::stop(server.ready());
}

#[test]
fn a_cluster_of_another_version_is_left_alone() {
    let server = Postgresql::new("version");
    Postgresql::stop(server.ready());
    std::fs::write(server.data.join("PG_VERSION"), "12\n").unwrap();
    let refused = server.start_in_namespace().ended(LONG);
    assert_eq!(refused.code(), 78, "{}", refused.stderr);
    assert!(refused.stderr.contains("12"), "{}", refused.stderr);
}

#[test]
fn a_pid_file_that_names_a_process_of_another_kind_is_stale() {
    let server = Postgresql::with_scripts("stale");
    Postgresql::stop(server.ready());
    // Process 1 of the next start is `dl-entry`, as in every container.
    std::fs::write(server.data.join("postmaster.pid"), "1\n/elsewhere\n").unwrap();
    let running = server.ready();
    server.assert_complete();
    let told = Postgresql::stop(running);
    assert!(told.contains("postmaster.pid of process 1 is left from a server that is gone"), "{told}");
}

#[test]
fn scripts_of_every_start_run_each_time_before_it_is_ready() {
    let mut server = Postgresql::new("every-start");
    let folder = server.service.own_folder("startdb.d");
    let script = "CREATE TABLE IF NOT EXISTS starts (at timestamptz); INSERT INTO starts VALUES (now());";
    std::fs::write(folder.join("1.sql"), script).unwrap();
    server.service.set("POSTGRES_START_SCRIPTS", folder.display());
    for starts in ["1", "2"] {
        let running = server.ready();
        assert_eq!(server.query("main", "SELECT count(*) FROM starts"), starts);
        Postgresql::stop(running);
    }
}

#[test]
fn sighup_renders_anew_and_the_server_reads_it_and_a_lost_file_changes_nothing() {
    let mut server = Postgresql::new("reload");
    let rules = server.service.own_folder("secrets").join("rules");
    std::fs::write(&rules, "host all nobody 192.0.2.0/24 reject").unwrap();
    server.service.set("POSTGRES_HBA_EXTRA_FILE", rules.display());
    let mut running = server.ready();
    assert_eq!(server.query("main", "SELECT 1"), "1");
    std::fs::write(&rules, "host template1 all 127.0.0.1/32 reject").unwrap();
    Postgresql::end(&running, Signal::SIGHUP);
    until(LONG, "the new rule", || server.query("template1", "SELECT 1").contains("pg_hba.conf rejects").then_some(()));
    std::fs::remove_file(&rules).unwrap();
    Postgresql::end(&running, Signal::SIGHUP);
    running.await_text(LONG, "SIGHUP is not passed on, and nothing has changed");
    assert!(server.query("template1", "SELECT 1").contains("pg_hba.conf rejects"));
    Postgresql::stop(running);
}

#[test]
fn a_full_disk_and_a_folder_that_cannot_be_written_end_the_start_with_the_reason() {
    let mut server = Postgresql::with_scripts("full");
    let small = server.service.own_folder("small");
    mount("tmpfs", &small, "size=24m,mode=777");
    server.service.set("PGDATA", small.join("data").display());
    let full = server.start_in_namespace().ended(LONG);
    umount(&small);
    assert_ne!(full.code(), 0, "{}", full.stderr);
    assert!((full.stdout + &full.stderr).contains("No space left on device"));
    mount("tmpfs", &small, "ro,mode=755");
    let closed = server.start_in_namespace().ended(LONG);
    umount(&small);
    assert_eq!(closed.code(), 73, "{}", closed.stderr);
    assert!(closed.stderr.contains("read-only"), "{}", closed.stderr);
}

#[test]
fn a_data_folder_of_somebody_else_is_given_to_the_server_by_root() {
    let server = Postgresql::with_scripts("owner");
    std::fs::create_dir_all(&server.data).unwrap();
    std::os::unix::fs::chown(&server.data, Some(999), Some(999)).unwrap();
    std::fs::set_permissions(&server.data, std::fs::Permissions::from_mode(0o2770)).unwrap();
    let running = server.ready();
    server.assert_complete();
    Postgresql::stop(running);
}

fn mount(kind: &str, at: &std::path::Path, options: &str) {
    let mounted = Command::new("mount").args(["-t", kind, "-o", options, "none"]).arg(at).status().unwrap();
    assert!(mounted.success(), "mount {} failed", at.display());
}

fn umount(at: &std::path::Path) {
    assert!(Command::new("umount").arg(at).status().unwrap().success(), "umount {} failed", at.display());
}

#[test]
fn init_data_makes_a_complete_cluster_and_ends_and_enforce_refuses_one_that_is_there() {
    let server = Postgresql::with_scripts("init-data");
    let ended = server.in_namespace(&["init-data", "--service", "postgresql"]).ended(LONG);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(server.stage(), "served");
    let again = server.in_namespace(&["init-data", "--service", "postgresql"]).ended(LONG);
    assert_eq!(again.code(), 0, "{}", again.stderr);
    let enforced = server.in_namespace(&["init-data", "--service", "postgresql", "--enforce"]).ended(LONG);
    assert_eq!(enforced.code(), 78, "{}", enforced.stderr);
    assert!(enforced.stderr.contains("holds a cluster of PostgreSQL"), "{}", enforced.stderr);
    let running = server.ready();
    server.assert_complete();
    Postgresql::stop(running);
}
