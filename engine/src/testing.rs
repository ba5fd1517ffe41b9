//! For who keeps runs in a [`Journal`](crate::journal::Journal) of their own: what every journal promises, as checks.
//!
//! ```no_run
//! # use relight_engine::{journal::MemoryJournal, testing};
//! # async fn demo() {
//! testing::prove(async || MemoryJournal::new()).await;
//! # }
//! ```

pub use crate::journal::contract::{PROMISES, Promise, killed, prove, prove_killed, write_until_killed};
