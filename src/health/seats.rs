//! Who stays connected when there is no room for everybody.
//!
//! Decides, and closes nothing itself. Whoever has sent a whole request is answered; of the others, the oldest makes way
//! for a newcomer: connections that are held open and say nothing, or say it slowly, keep nobody from being answered.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Connections that are answered at the same time.
const MOST: usize = 64;
/// As many of them may come from outside this container: a crowd there leaves `dl-entry health` its place.
const MOST_FROM_ELSEWHERE: usize = 56;

/// The connections there are, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Seats(Vec<Rc<Seat>>);

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    local: bool,
    stage: Cell<Stage>,
    taken_away: Notify,
}

/// How far a connection has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not asked yet.
    New,
    /// Its request is whole and not answered yet.
    Asked,
    /// It may ask again.
    Answered,
}

impl Seats {
    /// A seat for a newcomer, from somebody else's where there is none; `None` where everybody waits for an answer.
    pub(super) fn take(&mut self, local: bool) -> Option<Rc<Seat>> {
        let from_elsewhere = self.0.iter().filter(|seat| !seat.local).count();
        let elsewhere_is_full = !local && from_elsewhere >= MOST_FROM_ELSEWHERE;
        if elsewhere_is_full || self.0.len() >= MOST {
            let makes_way = |seat: &Rc<Seat>| seat.stage() != Stage::Asked && !(elsewhere_is_full && seat.local);
            let oldest = self.0.iter().position(makes_way)?;
            self.0.remove(oldest).taken_away.notify_one();
        }
        let seat = Rc::new(Seat { local, stage: Cell::new(Stage::New), taken_away: Notify::new() });
        self.0.push(Rc::clone(&seat));
        Some(seat)
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, seat: &Rc<Seat>) {
        self.0.retain(|other| !Rc::ptr_eq(other, seat));
    }
}

impl Seat {
    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// Ends when somebody else has this seat.
    pub(super) async fn taken_away(&self) {
        self.taken_away.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn taken(seats: &mut Seats, local: bool, count: usize) -> Vec<Rc<Seat>> {
        (0..count).map(|_| seats.take(local).unwrap()).collect()
    }

    fn is_gone(seat: &Seat) -> bool {
        seat.taken_away().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_who_has_not_asked_makes_way_and_there_are_never_more() {
        let mut seats = Seats::default();
        let crowd = taken(&mut seats, true, MOST);
        crowd[0].enter(Stage::Asked);
        crowd[2].enter(Stage::Answered);
        taken(&mut seats, true, 2);
        assert_eq!(crowd.iter().map(|seat| is_gone(seat)).collect::<Vec<_>>()[..4], [false, true, true, false]);
        assert_eq!(seats.0.len(), MOST);
        seats.0.iter().for_each(|seat| seat.enter(Stage::Asked));
        assert!(seats.take(true).is_none());
        seats.leave(&crowd[0]);
        assert!(seats.take(true).is_some());
    }

    #[test]
    fn a_crowd_from_elsewhere_leaves_room_for_who_is_here() {
        let mut seats = Seats::default();
        let local = seats.take(true).unwrap();
        taken(&mut seats, false, 1000);
        assert_eq!(seats.0.len(), MOST_FROM_ELSEWHERE + 1);
        seats.0.iter().for_each(|seat| seat.enter(Stage::Asked));
        local.enter(Stage::New);
        assert!(seats.take(false).is_none(), "who is here does not make way for them");
        assert_eq!(taken(&mut seats, true, 7).len(), 7);
        assert!(!is_gone(&local));
    }

    #[test]
    fn a_crowd_that_is_here_makes_way_for_who_comes_from_elsewhere() {
        let mut seats = Seats::default();
        let crowd = taken(&mut seats, true, MOST);
        assert!(seats.take(false).is_some());
        assert!(is_gone(&crowd[0]));
    }
}
