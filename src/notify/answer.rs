//! What an attempt came to, and when the next one is due. Decides without a socket and without a clock.

use std::time::Duration;

use jiff::Timestamp;
use relight_engine::RetryPolicy;
use relight_engine::journal::{CameTo, Delivery};

/// How long a notification is tried.
pub(crate) const WITHIN: Duration = Duration::from_secs(3 * 24 * 3600);
/// The longest pause between two attempts, unless the receiver asks for a longer one.
const LONGEST: Duration = Duration::from_secs(3600);
/// The bound of the first pause.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause that a receiver gets when it asks for one.
const ASKED: Duration = Duration::from_secs(12 * 3600);
/// The longest rest of a receiver that fails: whatever waits for it is not sent one by one into nothing.
const REST: Duration = Duration::from_secs(300);

/// What a receiver made of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has it.
    Taken,
    /// Not now; perhaps later.
    NotNow {
        /// Why, without any secret.
        because: String,
        /// The pause that it asks for.
        asked: Option<Duration>,
    },
    /// Never, as it is.
    Refused {
        /// Why, without any secret.
        because: String,
    },
}

impl Answer {
    pub(super) fn not_now(because: impl Into<String>) -> Self {
        Answer::NotNow { because: because.into(), asked: None }
    }

    /// Returns what a status says. A request that is wrong is wrong the next time too; everything else may be mended: an address or
    /// a right that is missing by a person, the rest by waiting.
    pub(super) fn of_status(status: u16, word: Option<&str>, asked: Option<Duration>) -> Self {
        let because = match word {
            Some(word) => format!("it answered {status} {word}"),
            None => format!("it answered {status}"),
        };
        match status {
            200..=299 => Answer::Taken,
            400 | 405 | 406 | 411 | 413..=415 | 422 | 431 => Answer::Refused { because },
            300..=399 => {
                Answer::not_now(format!("{because}: it wants the request elsewhere, which is not followed"))
            }
            _ => Answer::NotNow { because, asked },
        }
    }

    /// Returns what becomes of a delivery at which this was the answer. `jitter` is a number in `0.0..=1.0`.
    pub(super) fn comes_to(&self, delivery: &Delivery, now: Timestamp, jitter: f64) -> CameTo {
        let (because, asked) = match self {
            Answer::Taken => return CameTo::Delivered,
            Answer::Refused { because } => return CameTo::GivenUp { because: because.clone() },
            Answer::NotNow { because, asked } => (because.clone(), asked.map(|asked| asked.min(ASKED))),
        };
        let since = delivery.first.unwrap_or(now);
        let spent = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let mut policy = RetryPolicy::default();
        (policy.attempts, policy.within, policy.base, policy.cap) = (u32::MAX, WITHIN, FIRST, LONGEST);
        // At least half of the pause: whoever fails at once is not asked again at once.
        match policy.delay(delivery.attempts, spent, asked, 0.5 + jitter / 2.0) {
            Some(pause) => {
                CameTo::Later { until: now.saturating_add(pause).unwrap_or(Timestamp::MAX), because }
            }
            None => CameTo::GivenUp { because: format!("not delivered within 3 days; last: {because}") },
        }
    }
}

/// Returns how long a receiver rests that has failed so often in a row.
pub(super) fn rest(failures: u32) -> Duration {
    FIRST.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(REST)
}

#[cfg(test)]
mod tests {
    use relight_engine::journal::{
        Journal, MemoryJournal, Notification, Occasion, OwnerId, Subscription, Taking,
    };

    use super::*;

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// A delivery that was taken so often, first at zero.
    async fn taken(times: u32) -> Delivery {
        let journal = MemoryJournal::new();
        journal.outbox().subscribe(&[Subscription::new("ops")]).await.unwrap();
        journal.outbox().notify(&Notification::new(Occasion::Failed, &["x"], t(0), "x")).await.unwrap();
        let owner = OwnerId::fresh();
        let mut taken = None;
        for _ in 0..times {
            taken = journal.outbox().take(&Taking::new("ops", &owner, t(0), t(0))).await.unwrap();
        }
        taken.unwrap()
    }

    fn pause(came_to: CameTo, now: Timestamp) -> i64 {
        match came_to {
            CameTo::Later { until, .. } => until.duration_since(now).as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn pauses_grow_up_to_an_hour_and_end_after_three_days() {
        let answer = Answer::of_status(503, None, None);
        let mut pauses = Vec::new();
        for times in [1, 2, 3, 5, 10, 11, 50] {
            pauses.push(pause(answer.comes_to(&taken(times).await, t(60), 1.0), t(60)));
        }
        assert_eq!(pauses, [1, 2, 4, 16, 512, 1024, 3600]);
        assert_eq!(pause(answer.comes_to(&taken(20).await, t(60), 0.0), t(60)), 1800);
        let end = answer.comes_to(&taken(80).await, t(3 * 24 * 3600), 1.0);
        let CameTo::GivenUp { because } = end else { panic!("{end:?}") };
        assert_eq!(because, "not delivered within 3 days; last: it answered 503");
    }

    #[tokio::test]
    async fn a_receiver_that_asks_for_a_pause_gets_it() {
        let delivery = taken(1).await;
        let asks = |seconds| Answer::of_status(429, None, Some(Duration::from_secs(seconds)));
        assert_eq!(pause(asks(90).comes_to(&delivery, t(1), 0.3), t(1)), 90);
        assert_eq!(pause(asks(u64::MAX).comes_to(&delivery, t(1), 0.3), t(1)), 12 * 3600);
    }

    #[test]
    fn only_what_is_wrong_with_the_request_is_final() {
        for status in [200, 202, 204] {
            assert_eq!(Answer::of_status(status, None, None), Answer::Taken);
        }
        for status in [400, 413, 422] {
            let refused = Answer::Refused { because: format!("it answered {status} invalid_blocks") };
            assert_eq!(Answer::of_status(status, Some("invalid_blocks"), None), refused);
        }
        for status in [301, 401, 403, 404, 408, 410, 425, 429, 500, 502, 503] {
            assert!(matches!(Answer::of_status(status, None, None), Answer::NotNow { .. }), "{status}");
        }
    }

    #[test]
    fn a_receiver_that_fails_rests_for_longer_and_longer() {
        let rests: Vec<u64> = [1, 2, 3, 7, 40].into_iter().map(|failures| rest(failures).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 64, 300]);
    }
}
