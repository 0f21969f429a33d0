//! `docker run -it`: somebody at a terminal.

use crate::engine::LONG;
use crate::engine::{Settings, Terminal};
use crate::{WAIT, support::until};

/// Ends what runs in the foreground.
const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

fn await_sleep(terminal: &Terminal) {
    let runs = || terminal.container().processes().iter().any(|process| process.name == "sleep");
    until(LONG, "sleep runs", || runs().then_some(()));
}

fn shell() -> Terminal {
    let mut terminal = Settings::new(&["bash", "--norc"]).env("PS1", "$UID> ").at_terminal();
    let greeting = terminal.await_text("1000> ");
    assert!(!greeting.contains("job control"), "{greeting}");
    terminal
}

/// Behaviours: 52, 54.
#[test]
fn a_shell_has_job_control_and_ends_with_its_status() {
    let mut terminal = shell();
    terminal.enter("sleep 1000\r");
    terminal.await_text("sleep 1000\r\n");
    await_sleep(&terminal);
    terminal.enter(CTRL_Z);
    terminal.await_text("Stopped");
    terminal.await_text("1000> ");
    terminal.enter("kill %1; wait; fg; echo flags $-; exit 5\r");
    terminal.await_text("flags himBHs");
    assert_eq!(terminal.container().ended().status, 5);
}

/// Behaviours: 53.
#[test]
fn ctrl_c_ends_what_the_shell_runs_and_not_the_shell() {
    let mut terminal = shell();
    terminal.enter("sleep 1000; echo status $?\r");
    await_sleep(&terminal);
    terminal.enter(CTRL_C);
    terminal.await_text("1000> ");
    terminal.enter("exit 6\r");
    assert_eq!(terminal.container().ended().status, 6);
}

/// Behaviours: 53.
#[test]
fn one_ctrl_c_is_one_sigint() {
    let script = format!("trap 'echo interrupted' INT; trap 'echo \"and asked\"; exit 3' USR1; echo up; {WAIT}");
    let mut terminal = Settings::script(&script).at_terminal();
    terminal.await_text("up\r\n");
    terminal.enter(CTRL_C);
    terminal.await_text("interrupted\r\n");
    // Long enough for a second one to be heard by a shell that looks ten times a second.
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.container().kill("SIGUSR1");
    assert_eq!(terminal.await_text("and asked").matches("interrupted").count(), 0);
    assert_eq!(terminal.container().ended().status, 3);
}

/// Behaviours: 54.
#[test]
fn a_resized_terminal_is_told_to_the_service() {
    let script = format!("trap 'stty size; exit 4' WINCH; echo up; {WAIT}");
    let mut terminal = Settings::script(&script).at_terminal();
    terminal.await_text("up\r\n");
    terminal.resize(33, 101);
    terminal.await_text("33 101\r\n");
    assert_eq!(terminal.container().ended().status, 4);
}
