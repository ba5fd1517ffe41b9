//! Where a command reads from and writes to.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::{
    guest::Computer,
    machine::{Trouble, User},
};

/// What a command reads. Whoever reads takes it away from the others.
#[derive(Clone)]
pub(crate) struct Input(Arc<AsyncMutex<Source>>);

struct Source {
    /// What was read and not used.
    left: Vec<u8>,
    more: Option<Arc<Queue>>,
}

/// What is still to come from outside.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<(VecDeque<Vec<u8>>, bool)>,
    news: Notify,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, (VecDeque<Vec<u8>>, bool)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, bytes: Vec<u8>) {
        self.waiting().0.push_back(bytes);
        self.news.notify_one();
    }

    /// Says that nothing more comes.
    pub(crate) fn close(&self) {
        self.waiting().1 = true;
        self.news.notify_one();
    }

    /// Forgets what nobody has read.
    pub(crate) fn clear(&self) {
        self.waiting().0.clear();
    }

    /// Returns what comes next; `None` at the end. One at a time may wait.
    pub(crate) async fn pop(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some(bytes) = waiting.0.pop_front() {
                    return Some(bytes);
                }
                if waiting.1 {
                    return None;
                }
            }
            self.news.notified().await;
        }
    }
}

impl Input {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Input(Arc::new(AsyncMutex::new(Source { left: bytes, more: None })))
    }

    pub(crate) fn from(more: Arc<Queue>) -> Self {
        Input(Arc::new(AsyncMutex::new(Source { left: Vec::new(), more: Some(more) })))
    }

    /// Returns what comes next; nothing at the end.
    pub(crate) async fn some(&self) -> Vec<u8> {
        let mut source = self.0.lock().await;
        if !source.left.is_empty() {
            return std::mem::take(&mut source.left);
        }
        match &source.more {
            Some(more) => more.pop().await.unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Returns everything that is still to come.
    pub(crate) async fn all(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let some = self.some().await;
            if some.is_empty() {
                return all;
            }
            all.extend_from_slice(&some);
        }
    }

    /// Returns the next line with its end; nothing at the end.
    pub(crate) async fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        loop {
            let some = self.some().await;
            let end = some.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let rest = some[end.unwrap_or(some.len())..].to_vec();
            line.extend_from_slice(&some[..some.len() - rest.len()]);
            if end.is_some() || some.is_empty() {
                self.0.lock().await.left = rest;
                return line;
            }
        }
    }
}

/// Where a command writes.
#[derive(Clone)]
pub(crate) enum Output {
    Nowhere,
    Buffer(Arc<Mutex<Vec<u8>>>),
    /// Appends to a file that is there.
    File {
        computer: Arc<Computer>,
        user: User,
        path: String,
    },
    Stream(Arc<dyn Sink>),
}

/// Something outside that takes bytes.
pub(crate) trait Sink: Send + Sync {
    /// Returns once the bytes are on their way.
    fn take(&self, bytes: Vec<u8>) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Lost>> + Send + '_>>;
}

/// Nobody reads any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

/// Why something could not be written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unwritten {
    Lost,
    Disk(Trouble),
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unwritten::Lost => f.write_str("Broken pipe"),
            Unwritten::Disk(trouble) => trouble.fmt(f),
        }
    }
}

impl Output {
    pub(crate) fn buffer() -> (Self, Arc<Mutex<Vec<u8>>>) {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        (Output::Buffer(Arc::clone(&buffer)), buffer)
    }

    pub(crate) async fn write(&self, bytes: &[u8]) -> Result<(), Unwritten> {
        match self {
            Output::Nowhere => Ok(()),
            Output::Buffer(buffer) => {
                buffer.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
                Ok(())
            }
            Output::File { computer, user, path } => {
                let now = computer.seconds();
                computer.disk.files().write(user, path, None, bytes, now).map_err(Unwritten::Disk)
            }
            Output::Stream(sink) => sink.take(bytes.to_vec()).await.map_err(|Lost| Unwritten::Lost),
        }
    }
}

/// Takes what a buffer holds.
pub(crate) fn taken(buffer: &Arc<Mutex<Vec<u8>>>) -> Vec<u8> {
    std::mem::take(&mut *buffer.lock().unwrap_or_else(PoisonError::into_inner))
}
