//! ARM's token buckets: how many requests one principal may send per subscription.

use jiff::Timestamp;

/// The kinds of request that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    Reads,
    Writes,
    Deletes,
}

impl Budget {
    /// Returns the budget that a method draws from.
    pub(crate) fn of(method: &str) -> Self {
        match method {
            "GET" | "HEAD" => Budget::Reads,
            "DELETE" => Budget::Deletes,
            _ => Budget::Writes,
        }
    }

    /// Returns the last word of the header that tells what is left.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Budget::Reads => "reads",
            Budget::Writes => "writes",
            Budget::Deletes => "deletes",
        }
    }

    fn size(self) -> f64 {
        if self == Budget::Reads { 250.0 } else { 200.0 }
    }

    fn per_second(self) -> f64 {
        if self == Budget::Reads { 25.0 } else { 10.0 }
    }
}

/// The three buckets of one principal.
#[derive(Debug)]
pub(crate) struct Buckets([Bucket; 3]);

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Option<Timestamp>,
}

impl Buckets {
    pub(crate) fn full() -> Self {
        Self([Budget::Reads, Budget::Writes, Budget::Deletes].map(|b| Bucket { left: b.size(), at: None }))
    }

    /// Takes one request out of a bucket and returns how many are left, or how many seconds to wait.
    pub(crate) fn take(&mut self, budget: Budget, now: Timestamp) -> Result<u32, u32> {
        let bucket = &mut self.0[budget as usize];
        let passed = bucket.at.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
        bucket.left = (bucket.left + passed * budget.per_second()).min(budget.size());
        bucket.at = Some(now);
        if bucket.left < 1.0 {
            // Azure says whole seconds; one more than exact keeps an obedient client clear of a second refusal.
            return Err(((1.0 - bucket.left) / budget.per_second()).ceil() as u32 + 1);
        }
        bucket.left -= 1.0;
        Ok(bucket.left as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_bucket_empties_and_refills() {
        let mut buckets = Buckets::full();
        let start = Timestamp::UNIX_EPOCH;
        for left in (0..200).rev() {
            assert_eq!(buckets.take(Budget::Writes, start), Ok(left));
        }
        assert_eq!(buckets.take(Budget::Writes, start), Err(2));
        assert_eq!(buckets.take(Budget::Reads, start), Ok(249), "reads are counted apart");
        assert_eq!(buckets.take(Budget::Writes, start + SignedDuration::from_secs(1)), Ok(9));
    }
}
