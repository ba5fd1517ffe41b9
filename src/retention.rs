//! How long runs that are over are kept, and taking them away.
//!
//! Owns: the rules, and doing it in pieces so that nothing else waits. Does not own: which runs are needed
//! ([`Journal::prunable`](relight_engine::journal::Journal::prunable)).

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::journal::{PruneFilter, Summary};
use relight_engine::{Engine, Error, Result, RunId, Span};

use crate::config;
use crate::exported::export_into;
use crate::platform;

/// How many runs go in one transaction: others wait a few milliseconds for it.
const PIECE: usize = 100;
/// How many accounts of ticks go in one transaction.
const TICKS: usize = 1000;
/// The folder below that of the runs in which each run that was started over the API has its own.
pub(crate) const FILES: &str = "files";
/// How often a service looks.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// When it looks again after something went wrong.
const AGAIN: Duration = Duration::from_secs(3600);

/// How long runs that are over are kept. One goes when all that is said here holds for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// It ended longer ago.
    pub(crate) older_than: Option<Span>,
    /// It is not one of the newest.
    pub(crate) keep: Option<usize>,
    /// It is of this runbook.
    pub(crate) runbook: Option<String>,
    /// Where it is exported to before it goes.
    pub(crate) export: Option<PathBuf>,
}

impl Rules {
    /// Returns the rules of a configuration, if it has any.
    pub(crate) fn of(config: &config::Retention) -> Option<Rules> {
        let config::Retention { older_than, keep, export } = config.clone();
        (older_than.is_some() || keep.is_some()).then_some(Rules { older_than, keep, runbook: None, export })
    }

    /// Returns which runs are meant at a time.
    pub(crate) fn filter(&self, now: Timestamp) -> PruneFilter {
        let mut filter = PruneFilter::all().keeping(self.keep.unwrap_or(0)).at_most(PIECE);
        filter.before = self.older_than.map(|age| now.saturating_sub(age.get()).unwrap_or(Timestamp::MIN));
        filter.runbook.clone_from(&self.runbook);
        filter
    }
}

/// Takes away what is kept for long enough, a piece at a time: runs with the folders of their files below `state`, and what became of the
/// ticks of schedules. Returns how many runs those were.
///
/// # Errors
/// `Storage`; `Rejected` when a run cannot be exported: it stays then, and so do those behind it.
pub(crate) async fn apply(engine: &Engine, rules: &Rules, state: &Path) -> Result<u64> {
    let now = engine.clock().now();
    let filter = rules.filter(now);
    if let Some(folder) = &rules.export {
        make(folder)?;
    }
    let mut count = 0;
    loop {
        let piece = engine.journal().prunable(&filter).await?;
        for run in &piece {
            if let Some(folder) = &rules.export {
                export_into(folder, engine, &run.id).await?;
            }
        }
        let ids: Vec<RunId> = piece.into_iter().map(|run| run.id).collect();
        let gone = engine.journal().prune(&ids, now).await?;
        if gone.is_empty() {
            break;
        }
        count += gone.len() as u64;
    }
    if let (Some(before), None) = (filter.before, &rules.runbook) {
        while engine.journal().prune_ticks(before, TICKS).await? == TICKS {}
    }
    sweep_files(engine, state).await?;
    Ok(count)
}

/// Removes the folders of the files of runs that were pruned, whoever did that and whatever came in between.
async fn sweep_files(engine: &Engine, state: &Path) -> Result<()> {
    let Ok(folders) = std::fs::read_dir(state.join(FILES)) else { return Ok(()) };
    for folder in folders.filter_map(std::result::Result::ok) {
        let Ok(run) = folder.file_name().into_string() else { continue };
        if engine.journal().pruned(&RunId::from(run)).await?.is_none() {
            continue;
        }
        if let Err(error) = std::fs::remove_dir_all(folder.path()) {
            tracing::warn!("the files of a run that was pruned stay in {}: {error}", folder.path().display());
        }
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    platform::make_private_folder(folder)
        .map_err(|e| Error::rejected(format!("failed to make the folder {}", folder.display())).because(e))
}

/// Calls `tell` for every run that would go, the oldest first.
///
/// # Errors
/// `Storage`, and whatever `tell` fails with.
pub(crate) async fn rehearse<E: From<Error>>(
    engine: &Engine,
    rules: &Rules,
    mut tell: impl FnMut(&Summary) -> std::result::Result<(), E>,
) -> std::result::Result<u64, E> {
    let mut filter = rules.filter(engine.clock().now());
    let mut count = 0;
    loop {
        let piece = engine.journal().prunable(&filter).await?;
        let Some(last) = piece.last() else { return Ok(count) };
        count += piece.len() as u64;
        piece.iter().try_for_each(&mut tell)?;
        filter = filter.after(last);
    }
}

/// Applies the rules at once and then once a day, for as long as it is polled.
pub(crate) async fn keep_tidy(engine: &Engine, rules: &Rules, state: &Path) {
    loop {
        let pause = match apply(engine, rules, state).await {
            Ok(0) => DAY,
            Ok(count) => {
                tracing::info!("{count} runs were pruned");
                DAY
            }
            Err(error) => {
                tracing::warn!("runs cannot be pruned: {error:?}");
                AGAIN
            }
        };
        engine.clock().sleep(pause).await;
    }
}
