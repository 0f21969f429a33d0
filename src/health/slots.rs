//! Which connections to keep when all slots are taken.
//!
//! Decides, and closes nothing itself. Whoever has sent a whole request is answered; of the others, the oldest makes
//! way for a newcomer: connections that are held open and say nothing, or say it slowly, keep nobody from being
//! answered.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Connections that are answered at the same time, where descriptors allow it.
const MOST: usize = 64;

/// The connections there are, the oldest first.
#[derive(Debug)]
pub(super) struct Seats {
    taken: Vec<Rc<Seat>>,
    most: usize,
}

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
    /// As many as leave half of `spare` descriptors to others.
    pub(super) fn within(spare: usize) -> Seats {
        Seats { taken: Vec::new(), most: (spare / 2).clamp(2, MOST) }
    }

    /// As many of them may come from outside this container: a crowd there leaves `dl-entry health` its place.
    fn most_from_elsewhere(&self) -> usize {
        self.most - self.most.div_ceil(8)
    }

    /// A seat for a newcomer, from somebody else's where there is none; `None` where everybody waits for an answer.
    pub(super) fn take(&mut self, local: bool) -> Option<Rc<Seat>> {
        let from_elsewhere = self.taken.iter().filter(|seat| !seat.local).count();
        let elsewhere_is_full = !local && from_elsewhere >= self.most_from_elsewhere();
        if elsewhere_is_full || self.taken.len() >= self.most {
            let makes_way = |seat: &Rc<Seat>| seat.stage() != Stage::Asked && !(elsewhere_is_full && seat.local);
            let oldest = self.taken.iter().position(makes_way)?;
            self.taken.remove(oldest).taken_away.notify_one();
        }
        let seat = Rc::new(Seat { local, stage: Cell::new(Stage::New), taken_away: Notify::new() });
        self.taken.push(Rc::clone(&seat));
        Some(seat)
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, seat: &Rc<Seat>) {
        self.taken.retain(|other| !Rc::ptr_eq(other, seat));
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
        let mut seats = Seats::within(1024);
        let crowd = taken(&mut seats, true, MOST);
        crowd[0].enter(Stage::Asked);
        crowd[2].enter(Stage::Answered);
        taken(&mut seats, true, 2);
        assert_eq!(crowd.iter().map(|seat| is_gone(seat)).collect::<Vec<_>>()[..4], [false, true, true, false]);
        assert_eq!(seats.taken.len(), MOST);
        seats.taken.iter().for_each(|seat| seat.enter(Stage::Asked));
        assert!(seats.take(true).is_none());
        seats.leave(&crowd[0]);
        assert!(seats.take(true).is_some());
    }

    #[test]
    fn seats_follow_the_descriptors_there_are_and_one_of_eight_is_for_who_is_here() {
        let seats = |spare| (Seats::within(spare).most, Seats::within(spare).most_from_elsewhere());
        assert_eq!([992, 128, 32, 0].map(seats), [(64, 56), (64, 56), (16, 14), (2, 1)]);
    }

    #[test]
    fn a_crowd_from_elsewhere_leaves_room_for_who_is_here() {
        let mut seats = Seats::within(1024);
        let local = seats.take(true).unwrap();
        taken(&mut seats, false, 1000);
        assert_eq!(seats.taken.len(), 57);
        seats.taken.iter().for_each(|seat| seat.enter(Stage::Asked));
        local.enter(Stage::New);
        assert!(seats.take(false).is_none(), "who is here does not make way for them");
        assert_eq!(taken(&mut seats, true, 7).len(), 7);
        assert!(!is_gone(&local));
    }

    #[test]
    fn a_crowd_that_is_here_makes_way_for_who_comes_from_elsewhere() {
        let mut seats = Seats::within(1024);
        let crowd = taken(&mut seats, true, MOST);
        assert!(seats.take(false).is_some());
        assert!(is_gone(&crowd[0]));
    }
}
