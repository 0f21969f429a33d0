use super::*;

const TERM: Event = Event::Asked(libc::SIGTERM, Asking::First);
const AGAIN: Event = Event::Asked(libc::SIGTERM, Asking::Again);
const SAME: Event = Event::Asked(libc::SIGTERM, Asking::Same);
const ENDED: Exit = Exit::Code(3);

fn run(rungs: usize, events: &[Event]) -> (State, Vec<Action>) {
    events.iter().fold((State::Running, vec![]), |(state, mut done), event| {
        let (next, actions) = step(state, *event, rungs);
        done.extend(actions);
        (next, done)
    })
}

#[test]
fn signals_are_forwarded_while_the_service_runs_and_while_it_stops() {
    let (state, actions) = run(1, &[Event::Signal(1), TERM, Event::Signal(40)]);
    assert_eq!(state, State::Stopping { rung: 0 });
    assert_eq!(actions, [Action::Forward(1), Action::BeginRung(0), Action::Forward(40)]);
}

#[test]
fn a_second_request_to_stop_and_a_deadline_go_to_the_next_rung_and_the_last_is_kill() {
    let (state, actions) = run(2, &[TERM, AGAIN, Event::Deadline]);
    assert_eq!(state, State::Stopping { rung: 2 });
    assert_eq!(actions, [Action::BeginRung(0), Action::BeginRung(1), Action::Kill, Action::Deadline(None)]);
}

#[test]
fn a_request_that_fails_goes_to_the_next_rung_at_once() {
    assert_eq!(run(2, &[TERM, Event::RequestFailed]).1, [Action::BeginRung(0), Action::BeginRung(1)]);
}

#[test]
fn without_a_ladder_signals_pass_through_and_only_term_has_a_deadline() {
    let (state, actions) = run(0, &[Event::Asked(libc::SIGINT, Asking::First), TERM, SAME, Event::Deadline]);
    assert_eq!(state, State::Stopping { rung: 0 });
    let (int, term) = (Action::Forward(libc::SIGINT), Action::Forward(libc::SIGTERM));
    let limit = Action::DeadlineOfStop;
    assert_eq!(actions, [int, term, limit, term, limit, Action::Kill, Action::Deadline(None)]);
}

/// Behaviours: 103.
#[test]
fn what_is_left_gets_term_then_kill_and_then_nothing_more_is_waited_for() {
    let (state, actions) = run(1, &[Event::MainEnded(ENDED), Event::Deadline, Event::Deadline]);
    assert_eq!(state, State::Done(ENDED));
    let (first, then) = (Action::DeadlineInStop(STRAGGLER_TIME), Action::Deadline(Some(STRAGGLER_TIME)));
    assert_eq!(actions, [Action::ClearOut(libc::SIGTERM), first, Action::ClearOut(libc::SIGKILL), then]);
    assert_eq!(run(1, &[Event::MainEnded(ENDED), Event::NobodyLeft]).0, State::Done(ENDED));
}

#[test]
fn only_a_second_request_to_stop_kills_what_is_left_at_once() {
    let left = |events: &[Event]| run(1, &[&[Event::MainEnded(ENDED)], events].concat()).0;
    assert_eq!(left(&[TERM, SAME]), State::Clearing { exit: ENDED, killed: false });
    assert_eq!(left(&[TERM, AGAIN]), State::Clearing { exit: ENDED, killed: true });
}

#[test]
fn what_nobody_may_signal_is_not_waited_for() {
    assert_eq!(run(1, &[Event::MainEnded(ENDED), Event::NobodyHears]).0, State::Done(ENDED));
}

#[test]
fn requests_to_stop_within_a_second_are_one() {
    assert_eq!(run(2, &[TERM, SAME, SAME]).0, State::Stopping { rung: 0 });
    let first = Instant::now();
    let after = |millis: u64| Asking::after(Some(first), first + Duration::from_millis(millis));
    assert_eq!([Asking::after(None, first), after(0), after(999)], [Asking::First, Asking::Same, Asking::Same]);
    assert_eq!(after(1000), Asking::Again);
}

#[test]
fn the_last_rung_has_the_rest_of_the_stop_and_those_before_it_their_time_or_their_share() {
    let seconds = Duration::from_secs;
    let rung = |within: u64| StopRung { action: StopAction::Signal(libc::SIGTERM), within: seconds(within) };
    let ladder = [rung(270), rung(30)];
    for (left, first, last) in [(None, 270, 30), (Some(600), 270, 600), (Some(300), 270, 300), (Some(100), 90, 100)] {
        assert_eq!(time_of_first(&ladder, left.map(seconds)), seconds(first), "{left:?}");
        assert_eq!(time_of_first(&ladder[1..], left.map(seconds)), seconds(last), "{left:?}");
    }
    assert_eq!(time_of_first(&[rung(0), rung(0)], Some(Duration::ZERO)), Duration::ZERO);
}

/// Behaviours: 17, 32.
#[test]
fn after_its_end_the_services_process_id_means_nothing() {
    let again = Event::MainEnded(Exit::Code(9));
    let (state, actions) = run(1, &[Event::MainEnded(ENDED), again, Event::Signal(libc::SIGUSR1), Event::NobodyLeft]);
    assert_eq!(state, State::Done(ENDED));
    assert!(!actions.iter().any(|action| matches!(action, Action::Forward(_))), "{actions:?}");
}

/// Behaviours: 8.
#[test]
fn a_status_becomes_0_only_where_the_stop_was_asked_for() {
    let killed = Exit::Signal { number: libc::SIGTERM, core: false };
    assert_eq!(Ending { exit: killed, asked: true }.status(&[143]), 0);
    assert_eq!(Ending { exit: killed, asked: true }.status(&[]), 143);
    assert_eq!(Ending { exit: killed, asked: false }.status(&[143]), 143);
    assert_eq!(Ending { exit: Exit::Code(1), asked: true }.status(&[143]), 1);
}

/// Behaviours: 3, 10.
#[test]
fn statuses_are_the_services_own_or_128_and_the_signal() {
    assert_eq!(Exit::Code(7).status(), 7);
    assert_eq!(Exit::Signal { number: 15, core: false }.status(), 143);
    assert_eq!(Exit::Signal { number: 40, core: true }.status(), 168);
    assert_eq!(Exit::Signal { number: 11, core: true }.to_string(), "was ended by SIGSEGV, and left a core dump");
}
