//! One budget per subscription, principal and kind of request, shared by all runs of a process.
//!
//! Azure Resource Manager gives each principal a token bucket per subscription. This is the same bucket, kept on our
//! side: it says how long a request should wait so that Azure never has to refuse it. It has no clock and never sleeps.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::wire::Method;

/// Which bucket a request draws from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// The subscription, in lower case; empty at tenant level.
    pub subscription: String,
    /// Who asks.
    pub principal: String,
    /// What is asked.
    pub kind: Kind,
}

/// The three kinds of requests that Azure counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Read,
    Write,
    Delete,
}

impl Kind {
    /// Returns the kind of a method. A POST counts as a write.
    pub fn of(method: Method) -> Self {
        match method {
            Method::Get | Method::Head => Kind::Read,
            Method::Delete => Kind::Delete,
            Method::Put | Method::Patch | Method::Post => Kind::Write,
        }
    }

    /// Returns how many requests a full bucket holds, and how many come back each second.
    ///
    /// The documented limits of 2024: per region, subscription and principal.
    pub fn limits(self) -> (f64, f64) {
        match self {
            Kind::Read => (250.0, 25.0),
            Kind::Write | Kind::Delete => (200.0, 10.0),
        }
    }

    /// Returns the header that says what is left of the bucket.
    pub fn header(self) -> &'static str {
        match self {
            Kind::Read => "x-ms-ratelimit-remaining-subscription-reads",
            Kind::Write => "x-ms-ratelimit-remaining-subscription-writes",
            Kind::Delete => "x-ms-ratelimit-remaining-subscription-deletes",
        }
    }
}

#[derive(Debug)]
struct Level {
    /// What is left; below zero while requests wait for their turn.
    tokens: f64,
    /// Until when it is filled up; ahead of the clock while Azure wants silence, since nothing comes back meanwhile.
    at: Timestamp,
    /// What the clock showed last.
    seen: Timestamp,
}

/// The buckets of a process.
#[derive(Debug, Default)]
pub struct Pacer {
    levels: HashMap<Bucket, Level>,
}

impl Pacer {
    /// Takes one request out of a bucket and returns how long it has to wait for its turn.
    pub fn reserve(&mut self, bucket: &Bucket, now: Timestamp) -> Duration {
        let (_, rate) = bucket.kind.limits();
        let level = self.level(bucket, now);
        level.tokens -= 1.0;
        let queue =
            if level.tokens < 0.0 { Duration::from_secs_f64(-level.tokens / rate) } else { Duration::ZERO };
        let silence = Duration::try_from(level.at.duration_since(now)).unwrap_or_default();
        silence.saturating_add(queue)
    }

    /// Gives back a request that was reserved and not sent.
    pub fn release(&mut self, bucket: &Bucket, now: Timestamp) {
        let (capacity, _) = bucket.kind.limits();
        let level = self.level(bucket, now);
        level.tokens = (level.tokens + 1.0).min(capacity);
    }

    /// Learns what Azure says is left. Believed only when it is less than we thought.
    pub fn handle_remaining(&mut self, bucket: &Bucket, remaining: f64, now: Timestamp) {
        let level = self.level(bucket, now);
        level.tokens = level.tokens.min(remaining.max(0.0));
    }

    /// Learns that Azure refused a request for load: the bucket is empty for everybody who draws from it, and stays so
    /// for the pause. Whoever waited for its end goes one by one.
    pub fn handle_refusal(&mut self, bucket: &Bucket, pause: Duration, now: Timestamp) {
        let until = now.saturating_add(SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX));
        let level = self.level(bucket, now);
        level.tokens = level.tokens.min(0.0);
        level.at = level.at.max(until.unwrap_or(Timestamp::MAX));
    }

    /// Returns a bucket, filled up to now. A clock that goes back takes the bucket's times along.
    fn level(&mut self, bucket: &Bucket, now: Timestamp) -> &mut Level {
        let (capacity, rate) = bucket.kind.limits();
        let fresh = || Level { tokens: capacity, at: now, seen: now };
        let level = self.levels.entry(bucket.clone()).or_insert_with(fresh);
        if now < level.seen {
            level.at = level.at.saturating_sub(level.seen.duration_since(now)).unwrap_or(now);
        }
        level.seen = now;
        if now > level.at {
            let passed = now.duration_since(level.at).as_secs_f64();
            level.tokens = (level.tokens + passed * rate).min(capacity);
            level.at = now;
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(kind: Kind) -> Bucket {
        Bucket { subscription: "s".into(), principal: "p".into(), kind }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    #[test]
    fn six_hundred_writes_take_forty_seconds() {
        let mut pacer = Pacer::default();
        let last = (0..600).map(|_| pacer.reserve(&bucket(Kind::Write), at(0))).max();
        assert_eq!(last, Some(Duration::from_secs(40)));
        assert_eq!(pacer.reserve(&bucket(Kind::Read), at(0)), Duration::ZERO, "reads are counted apart");
    }

    #[test]
    fn a_refusal_silences_everybody_until_it_is_over() {
        let mut pacer = Pacer::default();
        pacer.handle_refusal(&bucket(Kind::Read), Duration::from_secs(293), at(0));
        assert_eq!(pacer.reserve(&bucket(Kind::Read), at(93_000)), Duration::from_millis(200_040));
        assert_eq!(pacer.reserve(&bucket(Kind::Read), at(293_000)), Duration::from_millis(80));
    }

    #[test]
    fn whoever_waited_for_a_refusal_to_be_over_goes_one_by_one() {
        let mut pacer = Pacer::default();
        pacer.handle_refusal(&bucket(Kind::Write), Duration::from_secs(60), at(0));
        let turns: Vec<u128> =
            (0..4).map(|_| pacer.reserve(&bucket(Kind::Write), at(1000)).as_millis()).collect();
        assert_eq!(turns, [59_100, 59_200, 59_300, 59_400]);
    }

    #[test]
    fn azure_is_believed_only_when_it_has_less() {
        let mut pacer = Pacer::default();
        pacer.handle_remaining(&bucket(Kind::Read), 11_999.0, at(0));
        assert_eq!(pacer.reserve(&bucket(Kind::Read), at(0)), Duration::ZERO);
        pacer.handle_remaining(&bucket(Kind::Read), 0.0, at(0));
        assert_eq!(pacer.reserve(&bucket(Kind::Read), at(0)), Duration::from_millis(40));
        pacer.release(&bucket(Kind::Read), at(0));
        assert_eq!(pacer.reserve(&bucket(Kind::Read), at(0)), Duration::from_millis(40));
    }

    #[test]
    fn setting_the_clock_back_makes_no_silence_longer() {
        let mut pacer = Pacer::default();
        pacer.handle_refusal(&bucket(Kind::Read), Duration::from_secs(60), at(3_600_000));
        let turn = pacer.reserve(&bucket(Kind::Read), at(0));
        assert_eq!(turn, Duration::from_millis(60_040));
    }

    proptest! {
        /// Whatever the arrivals, no window ever sees more than a full bucket plus what came back in it.
        #[test]
        fn no_window_exceeds_the_bucket(gaps in prop::collection::vec(0i64..400, 1..900)) {
            let (capacity, rate) = Kind::Write.limits();
            let mut pacer = Pacer::default();
            let mut now = 0;
            let mut sent: Vec<f64> = Vec::new();
            for gap in gaps {
                now += gap / 8;
                let wait = pacer.reserve(&bucket(Kind::Write), at(now));
                sent.push(now as f64 / 1000.0 + wait.as_secs_f64());
            }
            for first in (0..sent.len()).step_by(7) {
                for last in (first..sent.len()).step_by(5) {
                    let (count, window) = ((last - first + 1) as f64, sent[last] - sent[first]);
                    prop_assert!(count <= capacity + rate * window + 1.0 + 1e-6, "{count} in {window} s");
                }
            }
            prop_assert!(sent.is_sorted_by(|a, b| *a <= b + 1e-6), "nobody is overtaken");
        }

        #[test]
        fn a_clock_that_jumps_does_no_harm(times in prop::collection::vec(-1_000_000i64..1_000_000, 1..50)) {
            let mut pacer = Pacer::default();
            for time in times {
                prop_assert!(pacer.reserve(&bucket(Kind::Read), at(time)) < Duration::from_secs(5));
            }
        }
    }
}
