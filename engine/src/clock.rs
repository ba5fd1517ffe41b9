//! The only now: time is an argument everywhere else.
//!
//! A clock has two hands. [`now`](Clock::now) is the wall clock: it names moments that other processes
//! and people understand, and somebody may set it forward or back. [`elapsed`](Clock::elapsed) only
//! ever goes on, and means something within one process alone. A moment (a deadline, a schedule) is
//! compared with the first; an interval (the pause before a retry, the time between two looks) is over
//! when either hand says so, so that a clock that is set back by an hour does not hold up everything
//! that polls for an hour, and a machine that slept does not wait its pauses out again.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

/// Where the engine gets the time from, and how it waits.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Returns how long this clock has been going, counted from any moment before its first use.
    /// Never goes back, whatever becomes of [`now`](Self::now).
    fn elapsed(&self) -> Duration;

    /// Returns once [`now`](Self::now) has reached `until`; at once when it already has.
    async fn sleep_until(&self, until: Timestamp);

    /// Returns once `length` has passed on either hand; at once when it is zero.
    async fn sleep(&self, length: Duration);
}

/// An interval of one process, measured on both hands of a clock.
///
/// Made from a moment (`check_at`, the end of a pause), it is over when the moment has come, and at the
/// latest when as much time has passed as was left when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    until: Timestamp,
    elapsed: Duration,
}

impl Interval {
    /// Starts an interval that ends at a moment.
    pub fn until(clock: &dyn Clock, until: Timestamp) -> Self {
        let left = time_left(clock.now(), until).unwrap_or_default();
        Interval { until, elapsed: clock.elapsed().saturating_add(left) }
    }

    /// Starts an interval of a length.
    pub fn of(clock: &dyn Clock, length: Duration) -> Self {
        let until = clock.now().saturating_add(length).unwrap_or(Timestamp::MAX);
        Interval { until, elapsed: clock.elapsed().saturating_add(length) }
    }

    /// Returns the moment at which it ends.
    pub fn end(&self) -> Timestamp {
        self.until
    }

    /// Returns how much of it is left; zero when it is over.
    pub fn left(&self, clock: &dyn Clock) -> Duration {
        let wall = time_left(clock.now(), self.until).unwrap_or_default();
        wall.min(self.elapsed.saturating_sub(clock.elapsed()))
    }

    /// Returns whether it is over.
    pub fn is_over(&self, clock: &dyn Clock) -> bool {
        self.left(clock).is_zero()
    }
}

/// The clock of the machine.
///
/// A wait is measured anew every few seconds, so that a laptop which slept or a clock that jumped
/// wakes a run late by seconds, not by the length of the jump.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The longest single timer of [`SystemClock`] and [`ScaledClock`], in real time.
const LONGEST_NAP: Duration = Duration::from_secs(5);

/// From when this process counts.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        BEGAN.elapsed()
    }

    async fn sleep_until(&self, until: Timestamp) {
        while let Some(left) = time_left(self.now(), until) {
            tokio::time::sleep(left.min(LONGEST_NAP)).await;
        }
    }

    async fn sleep(&self, length: Duration) {
        let interval = Interval::of(self, length);
        while !interval.is_over(self) {
            tokio::time::sleep(interval.left(self).min(LONGEST_NAP)).await;
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

    fn elapsed(&self) -> Duration {
        BEGAN.elapsed().saturating_mul(self.speed.max(1))
    }

    async fn sleep_until(&self, until: Timestamp) {
        while let Some(left) = time_left(self.now(), until) {
            self.nap(left).await;
        }
    }

    async fn sleep(&self, length: Duration) {
        let interval = Interval::of(self, length);
        while !interval.is_over(self) {
            self.nap(interval.left(self)).await;
        }
    }
}

impl ScaledClock {
    /// Sleeps for one timer's length, or for what is left when that is less.
    async fn nap(&self, left: Duration) {
        let real = (left / self.speed.max(1)).max(Duration::from_millis(1));
        tokio::time::sleep(real.min(LONGEST_NAP)).await;
    }
}

/// A clock that moves only when told to, for tests.
///
/// With [`jumping`](Self::jumping), whoever waits moves it: the time jumps to the end of the wait.
/// That suits a single run; with several, step it by hand, to the end of the
/// [`first_wait`](Self::first_wait).
#[derive(Clone, Debug)]
pub struct SteppedClock {
    hands: Arc<Mutex<Hands>>,
    moved: Arc<Notify>,
    jumps: bool,
}

#[derive(Debug)]
struct Hands {
    now: Timestamp,
    elapsed: Duration,
    /// When each of those who wait goes on, on the second hand.
    waits: BTreeMap<u64, Duration>,
    /// How many have waited so far.
    waited: u64,
}

impl SteppedClock {
    /// Makes a clock that stands at `start` until [`set`](Self::set) or [`advance`](Self::advance).
    pub fn new(start: Timestamp) -> Self {
        let hands = Hands { now: start, elapsed: Duration::ZERO, waits: BTreeMap::new(), waited: 0 };
        SteppedClock { hands: Arc::new(Mutex::new(hands)), moved: Arc::new(Notify::new()), jumps: false }
    }

    /// Makes a clock that jumps to the end of whatever is waited for.
    pub fn jumping(start: Timestamp) -> Self {
        SteppedClock { jumps: true, ..SteppedClock::new(start) }
    }

    /// Lets time pass, and wakes whoever is due.
    pub fn advance(&self, by: Duration) {
        {
            let mut hands = self.hands();
            hands.now = hands.now.saturating_add(by).unwrap_or(Timestamp::MAX);
            hands.elapsed = hands.elapsed.saturating_add(by);
        }
        self.moved.notify_waiters();
    }

    /// Moves the clock to a time, and wakes whoever is due. Forward, that time passes; backward, it
    /// is what a person or a time server does to a wall clock, and no time passes.
    pub fn set(&self, to: Timestamp) {
        match time_left(self.now(), to) {
            Some(left) => self.advance(left),
            None => {
                self.hands().now = to;
                self.moved.notify_waiters();
            }
        }
    }

    /// Returns how much time has to pass before the first of those who wait goes on; nothing when
    /// nobody waits.
    pub fn first_wait(&self) -> Option<Duration> {
        let hands = self.hands();
        hands.waits.values().min().map(|end| end.saturating_sub(hands.elapsed))
    }

    /// Returns how many wait for it to go on.
    pub fn sleepers(&self) -> usize {
        self.hands().waits.len()
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().expect("no panic while the time is held")
    }

    /// Notes that somebody waits, until what is returned goes away.
    fn waiting(&self, left: Duration) -> Waiting<'_> {
        let mut hands = self.hands();
        let (end, number) = (hands.elapsed.saturating_add(left), hands.waited);
        hands.waited += 1;
        hands.waits.insert(number, end);
        Waiting { clock: self, number }
    }

    /// Returns once there is nothing left to wait for. Jumping, that is as soon as the clock has moved.
    async fn wait(&self, left: impl Fn() -> Duration) {
        if self.jumps {
            self.advance(left());
            // Let the tasks that wait for the same moment run before this one goes on.
            tokio::task::yield_now().await;
            return;
        }
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let left = left();
            if left.is_zero() {
                return;
            }
            let _waiting = self.waiting(left);
            moved.await;
        }
    }
}

/// Somebody who waits for a stepped clock.
struct Waiting<'a> {
    clock: &'a SteppedClock,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.clock.hands().waits.remove(&self.number);
    }
}

#[async_trait]
impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        self.hands().now
    }

    fn elapsed(&self) -> Duration {
        self.hands().elapsed
    }

    async fn sleep_until(&self, until: Timestamp) {
        self.wait(|| time_left(self.now(), until).unwrap_or_default()).await;
    }

    async fn sleep(&self, length: Duration) {
        let interval = Interval::of(self, length);
        self.wait(|| interval.left(self)).await;
    }
}

/// Returns what is left until `until`, or nothing when it has passed.
fn time_left(now: Timestamp, until: Timestamp) -> Option<Duration> {
    Duration::try_from(until.duration_since(now)).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[tokio::test]
    async fn a_stepped_clock_wakes_who_is_due_and_nobody_else() {
        let start = Timestamp::UNIX_EPOCH;
        let clock = SteppedClock::new(start);
        assert_eq!(clock.sleepers(), 0);
        let soon = clock.clone();
        let woken =
            tokio::spawn(async move { soon.sleep_until(start + SignedDuration::from_secs(10)).await });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!woken.is_finished());
        assert_eq!(clock.sleepers(), 1);
        clock.advance(Duration::from_secs(1));
        woken.await.expect("the sleeper wakes");
        assert_eq!(clock.sleepers(), 0);
    }

    #[tokio::test]
    async fn a_stepped_clock_says_who_goes_on_first() {
        let clock = SteppedClock::new(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.first_wait(), None);
        let mut waits: Vec<_> =
            [30, 10].map(|seconds| Box::pin(clock.sleep(Duration::from_secs(seconds)))).into();
        for wait in &mut waits {
            assert!(futures::poll!(wait).is_pending());
        }
        clock.advance(Duration::from_secs(4));
        assert_eq!(clock.first_wait(), Some(Duration::from_secs(6)));
        waits.pop();
        assert_eq!(clock.first_wait(), Some(Duration::from_secs(26)), "who went away does not wait");
    }

    #[tokio::test]
    async fn a_jumping_clock_never_goes_back() {
        let clock = SteppedClock::jumping(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100));
        clock.sleep_until(Timestamp::UNIX_EPOCH).await;
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100));
    }

    #[tokio::test]
    async fn an_interval_is_over_in_its_time_though_the_clock_is_set_back() {
        let clock = SteppedClock::new(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(10));
        let minute = Interval::until(&clock, clock.now() + SignedDuration::from_mins(1));
        let sleeper = clock.clone();
        let woken = tokio::spawn(async move { sleeper.sleep(Duration::from_secs(60)).await });
        tokio::task::yield_now().await;
        clock.set(clock.now() - SignedDuration::from_hours(1));
        clock.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert_eq!(minute.left(&clock), Duration::from_secs(1));
        assert!(!woken.is_finished());
        clock.advance(Duration::from_secs(1));
        assert!(minute.is_over(&clock));
        woken.await.expect("the sleeper wakes");
    }

    #[test]
    fn an_interval_is_over_when_its_moment_has_come() {
        // The machine slept: the wall clock went on and the process did not.
        let clock = SteppedClock::new(Timestamp::UNIX_EPOCH);
        let interval = Interval { until: clock.now(), elapsed: Duration::from_secs(60) };
        assert!(interval.is_over(&clock));
    }

    #[test]
    fn two_scaled_clocks_agree() {
        let clock = ScaledClock { origin: Timestamp::UNIX_EPOCH, began: Timestamp::now(), speed: 60 };
        let other = clock;
        assert!(clock.now().duration_since(other.now()).abs() < SignedDuration::from_secs(6));
    }
}
