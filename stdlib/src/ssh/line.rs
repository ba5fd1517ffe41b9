//! A session that is opened again when its connection is gone.

use std::sync::Arc;

use futures::future::BoxFuture;
use relight_engine::Result;
use tokio::sync::Mutex;

use super::session::Session;

/// Opens a session.
type Open = Box<dyn Fn() -> BoxFuture<'static, Result<Session>> + Send + Sync>;

/// A way to a machine: one session at a time, and another one once that is gone.
///
/// What was under way in a session that is gone has failed; who asks again gets the next one.
pub struct Line {
    open: Open,
    current: Mutex<Arc<Session>>,
}

impl Line {
    /// Opens the first session.
    ///
    /// # Errors
    /// Whatever keeps it from being opened.
    pub async fn open(
        open: impl Fn() -> BoxFuture<'static, Result<Session>> + Send + Sync + 'static,
    ) -> Result<Line> {
        let first = open().await?;
        Ok(Line { open: Box::new(open), current: Mutex::new(Arc::new(first)) })
    }

    /// Returns the session, opened again if its connection is gone.
    ///
    /// # Errors
    /// Whatever keeps it from being opened again.
    pub async fn session(&self) -> Result<Arc<Session>> {
        let mut current = self.current.lock().await;
        if current.is_closed() {
            *current = Arc::new((self.open)().await?);
        }
        Ok(current.clone())
    }

    /// Ends the session in good order.
    pub async fn close(&self) {
        self.current.lock().await.close().await;
    }
}
