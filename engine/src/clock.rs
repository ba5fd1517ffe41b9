//! The only now: time is an argument everywhere else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

/// Where the engine gets the time from, and how it waits.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Returns once [`now`](Self::now) has reached `until`; at once when it already has.
    async fn sleep_until(&self, until: Timestamp);
}

/// The wall clock of the machine.
///
/// A wait is re-read against the wall clock every few seconds, so that a laptop which slept or a
/// clock that jumped wakes a run late by seconds, not by the length of the jump.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The longest single timer of [`SystemClock`] and [`ScaledClock`], in real time.
const LONGEST_NAP: Duration = Duration::from_secs(5);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep_until(&self, until: Timestamp) {
        while let Some(left) = time_left(self.now(), until) {
            tokio::time::sleep(left.min(LONGEST_NAP)).await;
        }
    }
}

/// A clock that runs a fixed number of times faster than the wall clock, for the lab.
///
/// Two processes that agree on `origin`, `began` and `speed` read the same time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaledClock {
    /// What this clock showed when the wall clock showed `began`.
    pub origin: Timestamp,
    /// The wall-clock time at which this clock showed `origin`.
    pub began: Timestamp,
    /// Seconds of this clock per second of the wall clock; at least 1.
    pub speed: u32,
}

#[async_trait]
impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        let real = Timestamp::now().duration_since(self.began);
        let speed = i32::try_from(self.speed.max(1)).unwrap_or(i32::MAX);
        self.origin.saturating_add(real.saturating_mul(speed)).unwrap_or(Timestamp::MAX)
    }

    async fn sleep_until(&self, until: Timestamp) {
        while let Some(left) = time_left(self.now(), until) {
            let real = (left / self.speed.max(1)).max(Duration::from_millis(1));
            tokio::time::sleep(real.min(LONGEST_NAP)).await;
        }
    }
}

/// A clock that moves only when told to, for tests.
///
/// With [`jumping`](Self::jumping), whoever waits moves it: the time jumps to the end of the wait.
/// That suits a single run; with several, step it by hand.
#[derive(Clone, Debug)]
pub struct SteppedClock {
    now: Arc<Mutex<Timestamp>>,
    moved: Arc<Notify>,
    jumps: bool,
}

impl SteppedClock {
    /// Makes a clock that stands at `start` until [`set`](Self::set) or [`advance`](Self::advance).
    pub fn new(start: Timestamp) -> Self {
        SteppedClock { now: Arc::new(Mutex::new(start)), moved: Arc::new(Notify::new()), jumps: false }
    }

    /// Makes a clock that jumps to the end of whatever is waited for.
    pub fn jumping(start: Timestamp) -> Self {
        SteppedClock { jumps: true, ..SteppedClock::new(start) }
    }

    /// Moves the clock forward and wakes whoever is due.
    pub fn advance(&self, by: Duration) {
        let now = self.now();
        self.set(
            now.saturating_add(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)).unwrap_or(now),
        );
    }

    /// Sets the clock, backward too, and wakes whoever is due.
    pub fn set(&self, to: Timestamp) {
        *self.now.lock().expect("no panic while the time is held") = to;
        self.moved.notify_waiters();
    }
}

#[async_trait]
impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().expect("no panic while the time is held")
    }

    async fn sleep_until(&self, until: Timestamp) {
        if self.jumps {
            if self.now() < until {
                self.set(until);
            }
            // Let the tasks that wait for the same moment run before this one goes on.
            tokio::task::yield_now().await;
            return;
        }
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.now() >= until {
                return;
            }
            moved.await;
        }
    }
}

/// Returns what is left until `until`, or nothing when it has passed.
fn time_left(now: Timestamp, until: Timestamp) -> Option<Duration> {
    Duration::try_from(until.duration_since(now)).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stepped_clock_wakes_who_is_due_and_nobody_else() {
        let start = Timestamp::UNIX_EPOCH;
        let clock = SteppedClock::new(start);
        let soon = clock.clone();
        let woken =
            tokio::spawn(async move { soon.sleep_until(start + SignedDuration::from_secs(10)).await });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!woken.is_finished());
        clock.advance(Duration::from_secs(1));
        woken.await.expect("the sleeper wakes");
    }

    #[tokio::test]
    async fn a_jumping_clock_never_goes_back() {
        let clock = SteppedClock::jumping(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100));
        clock.sleep_until(Timestamp::UNIX_EPOCH).await;
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100));
    }

    #[test]
    fn two_scaled_clocks_agree() {
        let clock = ScaledClock { origin: Timestamp::UNIX_EPOCH, began: Timestamp::now(), speed: 60 };
        let other = clock;
        assert!(clock.now().duration_since(other.now()).abs() < SignedDuration::from_secs(6));
    }
}
