//! Word of what was written, for whoever waits until something is due.

use std::sync::Arc;

use tokio::sync::watch;

use crate::event::Event;

/// Tells that something was written by which something may have become due: a run that was prepared, put away or
/// is over, a signal, a lease, a schedule, a process that is gone.
///
/// What was told while nobody listened is heard by whoever began to listen before.
#[derive(Clone, Debug)]
pub struct News(Arc<watch::Sender<()>>);

impl Default for News {
    fn default() -> Self {
        News(Arc::new(watch::Sender::new(())))
    }
}

impl News {
    /// Tells everybody who listens.
    pub fn tell(&self) {
        self.0.send_replace(());
    }

    /// Tells it if one of the events may have made something due. Most say only how far a step has come.
    pub(super) fn tell_of(&self, events: &[Event]) {
        let is_news = |event: &Event| {
            matches!(event, Event::Parked { .. } | Event::Finished { .. }) || !event.effected().is_empty()
        };
        if events.iter().any(is_news) {
            self.tell();
        }
    }

    /// Begins to listen.
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// Hears of news.
#[derive(Debug)]
pub struct Listener(watch::Receiver<()>);

impl Listener {
    /// Returns once there is news since this was called last, or since listening began.
    pub async fn hear(&mut self) {
        if self.0.changed().await.is_err() {
            // Whoever told is gone.
            std::future::pending::<()>().await;
        }
    }
}
