//! Ctrl-C: once to park what runs, twice to leave at once.

use relight_engine::Engine;
use tokio::task::AbortHandle;

use crate::exit::Exit;
use crate::platform;
use crate::report::Reporter;

/// Watches for interrupts as long as it lives.
pub(crate) struct Interrupts(AbortHandle);

impl Interrupts {
    /// Begins to watch. At the first interrupt the engine parks what it drives, and `said` is shown;
    /// at the second the process ends. What was recorded is on the disk either way.
    pub(crate) fn watch(engine: &Engine, reporter: &Reporter, said: &'static str) -> Self {
        let (engine, reporter) = (engine.clone(), reporter.clone());
        let watching = tokio::spawn(async move {
            platform::interrupted().await;
            engine.interrupt();
            reporter.say(said);
            platform::interrupted().await;
            std::process::exit(Exit::Left as i32);
        });
        Interrupts(watching.abort_handle())
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.0.abort();
    }
}
