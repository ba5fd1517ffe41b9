//! Ctrl-C and the system's word to end: once to park what runs, twice to leave at once.

use relight_engine::Engine;
use tokio::task::AbortHandle;

use crate::exit::Exit;
use crate::platform::{self, Asked};
use crate::report::Reporter;
use crate::supervisor;

/// What Ctrl-C means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// A person wants the run to stay where it is, until a person resumes it.
    Park,
    /// A service ends: its runs go on with the next one.
    HandBack,
}

/// Watches for interrupts as long as it lives.
pub(crate) struct Interrupts(AbortHandle);

impl Interrupts {
    /// Begins to watch. At the first interrupt the engine puts away what it drives, and `said` is shown;
    /// at the second the process ends. What was recorded is on the disk either way.
    ///
    /// Only a person's Ctrl-C can mean [`Means::Park`]: what the system ends is handed back.
    pub(crate) fn watch(engine: &Engine, reporter: &Reporter, means: Means, said: &'static str) -> Self {
        let (engine, reporter) = (engine.clone(), reporter.clone());
        let watching = tokio::spawn(async move {
            let asked = platform::interrupted().await;
            match (asked, means) {
                (Asked::ByPerson, Means::Park) => engine.interrupt(),
                _ => engine.hand_back(),
            }
            if means == Means::HandBack {
                supervisor::stopping();
            }
            reporter.say(match asked {
                Asked::ByPerson => format!("{said}; Ctrl-C once more leaves at once."),
                Asked::BySystem => format!("{said}."),
            });
            platform::interrupted().await;
            reporter.clear();
            std::process::exit(Exit::Left.code().into());
        });
        Interrupts(watching.abort_handle())
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.0.abort();
    }
}
