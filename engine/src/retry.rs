//! How often and how long to try again. Says nothing about whether it is safe.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::value::Span;

/// Exponential delays with full jitter, a cap, and two ends: attempts and overall time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The most attempts, the first included; at least 1.
    pub attempts: u32,
    /// The longest time between the first attempt and the last.
    pub within: Duration,
    /// The upper bound of the first delay; doubles with each attempt.
    pub base: Duration,
    /// The upper bound of any delay. A pause that the service asked for may be longer.
    pub cap: Duration,
    /// What happens when the policy ends.
    pub then: Exhausted,
}

/// What happens when a [`RetryPolicy`] ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// The run parks with the reason; a person mends the cause and resumes it.
    #[default]
    Park,
    /// The script gets the error and may catch it.
    Throw,
}

impl Default for RetryPolicy {
    /// Six attempts within ten minutes, 1 s doubling to at most 60 s, then park.
    fn default() -> Self {
        RetryPolicy {
            attempts: 6,
            within: Duration::from_secs(600),
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            then: Exhausted::Park,
        }
    }
}

/// What a script may change of the policy for one call: `#{ retry: #{ attempts: 5, within: "10m" } }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryOptions {
    /// The most attempts, the first included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The longest time between the first attempt and the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// What happens afterwards: `park` or `throw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Exhausted>,
}

/// How the wishes for one call are written.
pub(crate) const EXAMPLE: &str =
    "write for example retry: #{ attempts: 5, within: \"10m\", then: \"throw\" }";

impl RetryOptions {
    /// Reads the wishes of a call and returns them as they are recorded.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub(crate) fn read(value: &Value) -> Result<Value, String> {
        if !value.is_object() {
            return Err(format!("`{value}` is no map"));
        }
        let options: RetryOptions = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
        if options.attempts == Some(0) {
            return Err("there is at least 1 attempt".to_owned());
        }
        serde_json::to_value(options).map_err(|e| e.to_string())
    }
}

impl RetryPolicy {
    /// Returns this policy with a call's own wishes applied.
    #[must_use]
    pub fn with(self, options: &RetryOptions) -> Self {
        RetryPolicy {
            attempts: options.attempts.unwrap_or(self.attempts).max(1),
            within: options.within.map_or(self.within, Span::get),
            then: options.then.unwrap_or(self.then),
            ..self
        }
    }

    /// Returns how long to wait after the `failed`-th failed attempt, or nothing when the policy ends.
    ///
    /// `spent` is the time since the first attempt began, `asked` the pause that the service wants
    /// (it always wins over our own), and `jitter` a number in `0.0..=1.0`. Pure: a restart that
    /// knows the count and the start goes on where the last process was.
    pub fn delay(
        &self,
        failed: u32,
        spent: Duration,
        asked: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let bound = self.base.saturating_mul(1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
        let own = bound.min(self.cap).mul_f64(jitter.clamp(0.0, 1.0));
        let delay = asked.unwrap_or(own);
        (spent.saturating_add(delay) <= self.within).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn wrong_wishes_are_refused() {
        for (wishes, says) in [
            (json!(42), "no map"),
            (json!({ "attemps": 3 }), "unknown field"),
            (json!({ "attempts": "3" }), "invalid type"),
            (json!({ "attempts": 0 }), "at least 1"),
            (json!({ "attempts": -1 }), "invalid value"),
            (json!({ "within": "soon" }), "is not a duration"),
            (json!({ "within": 10 }), "invalid type"),
            (json!({ "then": "give up" }), "unknown variant"),
        ] {
            assert!(RetryOptions::read(&wishes).expect_err(says).contains(says), "{wishes}");
        }
        assert!(RetryOptions::read(&json!({ "attempts": 2, "within": "1h 30m", "then": "throw" })).is_ok());
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let policy = RetryPolicy { attempts: 20, within: S(9999), ..RetryPolicy::default() };
        let delays: Vec<u64> =
            (1..9).filter_map(|n| policy.delay(n, S(0), None, 1.0)).map(|d| d.as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_the_service_asks_for_wins_even_over_the_cap() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(1, S(0), Some(S(293)), 0.5), Some(S(293)));
    }

    #[test]
    fn both_ends_hold() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(6, S(0), None, 0.0), None);
        assert_eq!(policy.delay(1, S(599), None, 1.0), Some(S(1)));
        assert_eq!(policy.delay(1, S(600), None, 1.0), None);
        assert_eq!(policy.delay(1, S(400), Some(S(293)), 1.0), None);
    }

    proptest! {
        #[test]
        fn a_delay_never_leaves_its_bounds(failed in 0u32..100, spent in 0u64..2000, jitter in -1.0f64..2.0) {
            let policy = RetryPolicy::default();
            if let Some(delay) = policy.delay(failed, S(spent), None, jitter) {
                prop_assert!(delay <= policy.cap);
                prop_assert!(S(spent) + delay <= policy.within);
            }
        }
    }
}
