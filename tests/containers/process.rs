//! PID 1 of a real container: signals, statuses, orphans, health.

use crate::engine::{Container, LONG, Process, Settings};
use crate::support::until;
use crate::{LISTEN, WAIT};
use bollard::models::HealthStatusEnum::{self, HEALTHY, UNHEALTHY};

/// Behaviours: 9.
#[test]
fn docker_stop_asks_the_service_and_returns_its_status() {
    let container = Settings::script(&format!("trap 'echo leaving; exit 7' TERM; echo up; {WAIT}")).start();
    container.await_text("up\n");
    let ended = container.stop();
    assert_eq!((ended.status, ended.stdout.as_str()), (7, "up\nleaving\n"), "{}", ended.stderr);
}

#[test]
fn the_end_of_a_service_that_a_signal_ended_is_128_and_its_number() {
    let container = Settings::script("echo up; exec sleep 1000").start();
    container.await_text("up\n");
    assert_eq!(container.stop().status, 128 + 15);
    assert_eq!(Settings::script("kill -KILL $$").run().status, 128 + 9);
}

/// Behaviours: 23.
#[test]
fn signals_of_docker_kill_reach_the_service_real_time_ones_too() {
    let traps = "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'echo rt; exit' RTMIN+3";
    let container = Settings::script(&format!("{traps}; echo up; {WAIT}")).start();
    for (signal, said) in [("SIGUSR1", "up\n"), ("SIGHUP", "up\nusr1\n"), ("SIGRTMIN+3", "up\nusr1\nhup\n")] {
        container.await_text(said);
        container.kill(signal);
    }
    assert_eq!(container.ended().success(), "up\nusr1\nhup\nrt\n");
}

/// Twenty children whose parents end at once.
const ORPHANS: &str = "for i in {1..20}; do (exec -a orphan sleep 1000 & ) ; done; echo up";

/// Ends them all.
const END: &str = "for process in /proc/[0-9]*; do
    read -r line <$process/cmdline; [[ $line == orphan* ]] && kill ${process#/proc/}; done 2>/dev/null; true";

fn pid(processes: &[Process], name: &str) -> String {
    let found = processes.iter().find(|process| process.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {processes:?}")).pid.clone()
}

/// How many processes beside the service are ours; a zombie would be one.
fn adopted(container: &Container) -> usize {
    let processes = container.processes();
    let own = pid(&processes, "dl-entry");
    processes.iter().filter(|process| process.parent == own).count() - 1
}

/// Sees the orphans come to us, and go without a trace.
fn assert_reaped(container: &Container) {
    container.await_text("up\n");
    until(LONG, "the orphans are ours", || (adopted(container) == 20).then_some(()));
    container.exec("0:0", &["bash", "-c", END]).success();
    until(LONG, "no orphan and no zombie is left", || (adopted(container) == 0).then_some(()));
    assert!(container.processes().iter().all(|process| !process.state.starts_with('Z')));
}

/// Behaviours: 11.
#[test]
fn orphans_are_reaped_and_docker_top_shows_no_zombie() {
    let container = Settings::script(&format!("{ORPHANS}; {WAIT}")).start();
    assert_reaped(&container);
    let metrics = "exec 3<>/dev/tcp/127.0.0.1/9190; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let said = container.exec("0:0", &["bash", "-c", metrics]).success();
    assert!(said.lines().any(|line| line.contains("orphan") && line.ends_with(" 20")), "{said}");
}

/// Behaviours: 21, 112.
#[test]
fn under_the_engines_own_init_orphans_are_still_ours_and_the_status_is_the_services() {
    let script = format!("trap 'exit 9' TERM; cat /proc/$PPID/stat; {ORPHANS}; {WAIT}");
    let container = Settings::script(&script).init().start();
    assert_reaped(&container);
    let (said, _) = container.said();
    assert!(!said.starts_with("1 ") && said.contains("(dl-entry)"), "{said}");
    assert_eq!(container.stop().status, 9);
}

/// Behaviours: 103, 104.
#[test]
fn in_somebody_elses_pid_namespace_a_stop_leaves_the_others_alone() {
    let other = Settings::script(&format!("trap 'echo hit' TERM HUP INT; echo up; {WAIT}")).start();
    other.await_text("up\n");
    // What does not hear SIGTERM is killed when its time is up; the others are not.
    let deaf = format!("trap '' TERM; (exec sleep 1000 &); cat /proc/$PPID/stat; echo up; {WAIT}");
    let container = Settings::script(&deaf).env("DL_STOP_TIMEOUT", "1s").beside(&other).start();
    container.await_text("up\n");
    let ended = container.stop();
    assert!(ended.status == 128 + 9 && !ended.stdout.starts_with("1 "), "{ended:?}");
    other.exec("0:0", &["true"]).success();
    assert!(other.is_running());
    assert_eq!(other.said().0, "up\n");
}

fn await_health(container: &Container, wanted: HealthStatusEnum) {
    until(LONG, &format!("the container is {wanted}"), || (container.health() == Some(wanted)).then_some(()));
}

#[test]
fn the_images_healthcheck_follows_the_service() {
    let script = format!("until [ -e /tmp/listen ]; do sleep 0.1; done; {LISTEN}");
    let container = Settings::script(&script).env("DEMO_PORT", "8080").start();
    await_health(&container, UNHEALTHY);
    container.exec("0:0", &["touch", "/tmp/listen"]).success();
    await_health(&container, HEALTHY);
}

/// Behaviours: 108.
#[test]
fn docker_exec_asks_for_health_as_any_user() {
    let script = format!("until [ -e /tmp/listen ]; do sleep 0.1; done; {LISTEN}");
    let settings = Settings::script(&script).env("DEMO_PORT", "8080").strict();
    let container = settings.tmpfs("/run/dl").tmpfs("/tmp").start();
    let ask = |user: &str, what: &str| container.exec(user, &["dl-entry", "health", what]).status;
    for user in ["0:0", "1000:1000", "4711:4711"] {
        until(LONG, "live", || (ask(user, "live") == 0).then_some(()));
        assert_eq!(ask(user, "ready"), 1, "{user}");
    }
    container.exec("0:0", &["touch", "/tmp/listen"]).success();
    for user in ["0:0", "1000:1000", "4711:4711"] {
        until(LONG, "ready", || (ask(user, "ready") == 0).then_some(()));
    }
}
