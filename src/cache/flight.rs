//! Equal questions of one caller that are under way at one time are asked once.
//!
//! Who comes first asks; who comes while it is under way waits, unless a write has begun since:
//! then its answer could be one from before that write. If who asks goes away, one of those who wait
//! asks for all of them; if what came is nothing to share, each asks for itself, at once: one after
//! the other they would wait for every failure of a store in trouble.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::entry::Entry;
use super::generation::Seen;
use super::key::Key;

#[derive(Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Key, Flight>>>);

struct Flight {
    seen: Seen,
    landed: watch::Receiver<Option<Arrived>>,
}

/// What came of a flight.
#[derive(Clone)]
pub(super) enum Arrived {
    Answer(Arc<Entry>),
    /// An answer for the one who asked only.
    NothingToShare,
}

/// What to do with a question.
pub(super) enum Boarding {
    /// Ask, and tell those who wait.
    Asks(Pilot),
    /// Somebody asks the same.
    Waits(Passenger),
}

/// Who asks. Dropped without an answer, it leaves those who wait to ask for themselves.
pub(super) struct Pilot {
    flights: Arc<Mutex<HashMap<Key, Flight>>>,
    key: Key,
    lands: watch::Sender<Option<Arrived>>,
    landed: watch::Receiver<Option<Arrived>>,
}

pub(super) struct Passenger(watch::Receiver<Option<Arrived>>);

impl Flights {
    pub(super) fn board(&self, key: Key, seen: &Seen) -> Boarding {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(&key)
            && flight.seen == *seen
        {
            return Boarding::Waits(Passenger(flight.landed.clone()));
        }
        let (lands, landed) = watch::channel(None);
        let seen = seen.clone();
        let flight = Flight {
            seen,
            landed: landed.clone(),
        };
        flights.insert(key, flight);
        Boarding::Asks(Pilot {
            flights: Arc::clone(&self.0),
            key,
            lands,
            landed,
        })
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.0.lock().len()
    }
}

impl Pilot {
    pub(super) fn land(self, arrived: Arrived) {
        self.lands.send_replace(Some(arrived));
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // A later one may have taken the place.
        let same = |flight: &Flight| self.landed.same_channel(&flight.landed);
        if flights.get(&self.key).is_some_and(same) {
            flights.remove(&self.key);
        }
    }
}

impl Passenger {
    /// What came of it, or `None` when who asked went away.
    ///
    /// Cancel safety: safe.
    pub(super) async fn arrives(mut self) -> Option<Arrived> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::Instant;

    use super::super::entry::Heads;
    use super::super::generation::Generations;
    use super::super::scope::Scope;
    use super::*;

    const KEY: Key = Key(7);

    fn entry(seen: &Seen) -> Arc<Entry> {
        Arc::new(Entry {
            seen: seen.clone(),
            head: Heads::default().kept(&http::HeaderMap::new()).unwrap(),
            body: Bytes::from_static(b"answer"),
            kept_at: Instant::now(),
            fresh_until: Instant::now(),
            ends: None,
        })
    }

    fn asks(boarding: Boarding) -> Pilot {
        match boarding {
            Boarding::Asks(pilot) => pilot,
            Boarding::Waits(_) => panic!("somebody asks already"),
        }
    }

    fn waits(boarding: Boarding) -> Passenger {
        match boarding {
            Boarding::Waits(passenger) => passenger,
            Boarding::Asks(_) => panic!("nobody asks"),
        }
    }

    #[tokio::test]
    async fn who_comes_while_it_is_asked_gets_the_same_answer() {
        let (flights, generations) = (
            Flights::default(),
            Generations::new(std::time::Duration::ZERO),
        );
        let seen = generations.see(&[Scope::World.slot()]);
        let pilot = asks(flights.board(KEY, &seen));
        let passenger = waits(flights.board(KEY, &seen));
        pilot.land(Arrived::Answer(entry(&seen)));
        let arrived = passenger.arrives().await.unwrap();
        assert!(matches!(arrived, Arrived::Answer(entry) if entry.body == "answer"));
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn who_comes_after_a_write_began_does_not_wait_for_an_answer_from_before_it() {
        let (flights, generations) = (
            Flights::default(),
            Generations::new(std::time::Duration::ZERO),
        );
        let slots = [Scope::World.slot()];
        let before = asks(flights.board(KEY, &generations.see(&slots)));
        generations.begin(&slots);
        let after = asks(flights.board(KEY, &generations.see(&slots)));
        drop(before);
        assert_eq!(flights.count(), 1, "the later one is still under way");
        drop(after);
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn if_who_asks_goes_away_those_who_wait_are_told() {
        let (flights, generations) = (
            Flights::default(),
            Generations::new(std::time::Duration::ZERO),
        );
        let seen = generations.see(&[Scope::World.slot()]);
        let pilot = asks(flights.board(KEY, &seen));
        let passenger = waits(flights.board(KEY, &seen));
        drop(pilot);
        assert!(passenger.arrives().await.is_none());
        asks(flights.board(KEY, &seen));
    }
}
