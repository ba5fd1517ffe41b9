//! Both journals, proven as that of an embedding program is: through the public door.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use relight_engine::journal::{Around, Journal, MemoryJournal, SqliteJournal};
use relight_engine::testing::{self, JournalRuns, MemoryRuns};

/// Names the database to the writer.
const PLACE: &str = "PROMISES_JOURNAL";

#[tokio::test]
async fn the_journal_in_memory_keeps_every_promise() {
    testing::prove(async || MemoryJournal::new()).await;
}

#[tokio::test]
async fn the_journal_in_a_database_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    testing::prove(async || {
        count.set(count.get() + 1);
        SqliteJournal::open(&folder.path().join(format!("{}.db", count.get()))).unwrap()
    })
    .await;
    assert_eq!(count.get(), testing::PROMISES.len());
}

/// Loses every text that it is to keep.
struct Forgetful(MemoryJournal);

#[async_trait]
impl Around for Forgetful {
    fn behind(&self) -> &dyn Journal {
        &self.0
    }

    async fn keep(&self, _: &str) -> relight_engine::Result<()> {
        Ok(())
    }
}

#[tokio::test]
#[should_panic(expected = "2 promises are not kept:\ntexts_go_with_the_last_run_that_names_them: ")]
async fn a_journal_that_breaks_a_promise_is_told_which() {
    testing::prove(async || Forgetful(MemoryJournal::new())).await;
}

/// Not a test by itself: the process that the one below kills.
#[tokio::test]
async fn writer() {
    if let Some(place) = std::env::var_os(PLACE) {
        testing::write_until_killed(&SqliteJournal::open(&PathBuf::from(place)).unwrap()).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_outlives_whoever_wrote_it() {
    for count in [1, 7, 40] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("journal.db");
        let mut writer = Command::new(std::env::current_exe().unwrap());
        writer.args(["--exact", "writer", "--nocapture"]).env(PLACE, &place);
        let acknowledged = testing::killed(writer, count);
        testing::prove_killed(&SqliteJournal::open(&place).unwrap(), acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_read_one_entry_at_a_time_keep_every_promise() {
    testing::prove_logs(async || MemoryRuns::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_of_a_journal_keep_every_promise() {
    testing::prove_logs(async || JournalRuns::new(Arc::new(MemoryJournal::new()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_of_a_database_keep_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    testing::prove_logs(async || {
        count.set(count.get() + 1);
        let journal = SqliteJournal::open(&folder.path().join(format!("{}.db", count.get()))).unwrap();
        JournalRuns::new(Arc::new(journal))
    })
    .await;
    assert_eq!(count.get(), testing::LOG_PROMISES.len());
}
