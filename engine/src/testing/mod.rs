//! For who keeps runs in a way of their own: what is promised about it, as checks.
//!
//! A [`Journal`](crate::journal::Journal) keeps all runs, and the engine does the rest:
//!
//! ```no_run
//! # use relight_engine::{journal::MemoryJournal, testing};
//! # async fn demo() {
//! testing::prove(async || MemoryJournal::new()).await;
//! # }
//! ```
//!
//! A [`RunLog`](crate::log::RunLog) is the log of one run, where something else than a journal drives runs:
//!
//! ```no_run
//! # use relight_engine::testing::{self, MemoryRuns};
//! # async fn demo() {
//! testing::prove_logs(async || MemoryRuns::new()).await;
//! # }
//! ```

mod cuts;
mod journal_runs;
mod log_promises;
mod memory_runs;

pub use self::journal_runs::JournalRuns;
pub use self::log_promises::{LOG_PROMISES, LogPromise, Runs, prove_logs};
pub use self::memory_runs::MemoryRuns;
pub use crate::journal::contract::{PROMISES, Promise, killed, prove, prove_killed, write_until_killed};
