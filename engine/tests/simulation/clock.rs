//! The clock of a history: it moves when the simulation moves it, and somebody sets it forward and back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use relight_engine::clock::Clock;

use super::gates::Gates;

/// The time that all processes share: what the clock shows, and how long it has been going.
#[derive(Clone)]
pub(crate) struct Time(Arc<Mutex<(Timestamp, Duration)>>);

/// What somebody waits for: a moment, or an interval that is over when either hand says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nap {
    pub(crate) length: SignedDuration,
    pub(crate) until: Timestamp,
    pub(crate) elapsed: Option<Duration>,
}

impl Time {
    pub(crate) fn morning() -> Self {
        let morning = "2026-11-20T08:00:00Z".parse().expect("a time");
        Time(Arc::new(Mutex::new((morning, Duration::ZERO))))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.hands().0
    }

    fn hands(&self) -> (Timestamp, Duration) {
        *self.0.lock().expect("no panic while the time is held")
    }

    /// Lets the time pass, also for what asks the runtime for it.
    pub(crate) async fn pass(&self, by: SignedDuration) {
        let (now, elapsed) = self.hands();
        let by = by.max(SignedDuration::from_millis(1));
        let passed = Duration::try_from(by).expect("time passes forward");
        *self.0.lock().expect("no panic while the time is held") = (now + by, elapsed + passed);
        tokio::time::advance(passed).await;
    }

    /// Sets what the clock shows.
    pub(crate) fn set(&self, by: SignedDuration) {
        let (now, elapsed) = self.hands();
        *self.0.lock().expect("no panic while the time is held") = (now + by, elapsed);
    }

    /// Returns how long a nap lasts still; zero when it is over.
    pub(crate) fn left(&self, nap: &Nap) -> SignedDuration {
        let (now, elapsed) = self.hands();
        let wall = nap.until.duration_since(now);
        let own = nap
            .elapsed
            .map(|end| SignedDuration::try_from(end.saturating_sub(elapsed)).expect("a length that was one"));
        own.map_or(wall, |own| own.min(wall)).max(SignedDuration::ZERO)
    }
}

/// The clock of one process: whoever waits stands at a gate.
pub(crate) struct ProcessClock {
    pub(crate) time: Time,
    pub(crate) gates: Gates,
    pub(crate) process: usize,
}

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    fn elapsed(&self) -> Duration {
        self.time.hands().1
    }

    async fn sleep_until(&self, until: Timestamp) {
        let length = until.duration_since(self.now());
        if length > SignedDuration::ZERO {
            self.gates.sleep(self.process, Nap { length, until, elapsed: None }).await;
        }
    }

    async fn sleep(&self, length: Duration) {
        let (now, elapsed) = self.time.hands();
        if !length.is_zero() {
            let signed = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
            let until = now.saturating_add(signed).unwrap_or(Timestamp::MAX);
            let nap = Nap { length: signed, until, elapsed: Some(elapsed.saturating_add(length)) };
            self.gates.sleep(self.process, nap).await;
        }
    }
}

pub(crate) const fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

pub(crate) const fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_secs(60 * minutes)
}
