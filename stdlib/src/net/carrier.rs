//! A port of this machine that leads elsewhere: it takes connections and carries each to the far side.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use relight_engine::event::Stream;
use relight_engine::{Cx, Error, Result};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinHandle, JoinSet};

use super::counted::{Counted, Counts};

/// Where connections lead.
pub trait Far: Send + Sync + 'static {
    /// A connection to it.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin;

    /// Returns what people call it.
    fn name(&self) -> String;

    /// Connects to it.
    fn dial(&self) -> impl Future<Output = Result<Self::Stream>> + Send;
}

/// A port that takes connections until it is closed or dropped; what it carries ends with it.
pub struct Carrier {
    at: SocketAddr,
    stop: Arc<Notify>,
    task: Mutex<JoinHandle<()>>,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.task.get_mut().abort();
    }
}

impl Carrier {
    /// Opens a port on the loopback address alone: a free one when `port` is 0. `say` hears of each connection that
    /// is over, and of the end of all.
    ///
    /// # Errors
    /// `Rejected` when the port is taken.
    pub async fn open(
        port: u16,
        far: impl Far,
        say: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Carrier> {
        let taken = |e: io::Error| {
            Error::rejected(format!("port {port} of this machine cannot be opened")).because(e)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(taken)?;
        let at = listener.local_addr().map_err(taken)?;
        let stop = Arc::new(Notify::new());
        let all = Arc::new(All { far, say: Box::new(say), counts: Counts::default() });
        let task = Mutex::new(tokio::spawn(listen(listener, stop.clone(), all)));
        Ok(Carrier { at, stop, task })
    }

    /// Returns where it listens.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Takes no more connections, and gives up those that it carries.
    pub async fn close(&self) {
        self.stop.notify_one();
        // A task that was aborted has nothing more to say.
        let _ = (&mut *self.task.lock().await).await;
    }
}

/// Opens a port for the rest of a step's run.
pub(crate) async fn for_step(cx: &Cx, port: u16, far: impl Far) -> Result<Carrier> {
    let own = cx.clone();
    let say = move |said: String| own.output(Stream::Stderr, format!("{said}\n").as_bytes());
    Carrier::open(port, far, say).await.map_err(|error| {
        error.hint(
            "end whatever listens there, then resume the run; or name another port with #{ local_port }",
        )
    })
}

/// What one port's connections share.
struct All<F> {
    far: F,
    say: Box<dyn Fn(String) + Send + Sync>,
    /// Of the connections that are over.
    counts: Counts,
}

async fn listen<F: Far>(listener: TcpListener, stop: Arc<Notify>, all: Arc<All<F>>) {
    let mut connections = JoinSet::new();
    let mut taken = 0u64;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            () = stop.notified() => break,
        };
        match accepted {
            Ok((visitor, _)) => {
                taken += 1;
                connections.spawn(carry(all.clone(), visitor, taken));
            }
            // Out of descriptors, or a visitor that left before it was let in: the next may do better.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    drop(listener);
    connections.shutdown().await;
    if taken == 0 {
        return;
    }
    let (there, back) = all.counts.get();
    (all.say)(format!("closed after {taken} connections, {there} bytes there and {back} back"));
}

/// Carries one connection until both ends are done with it.
async fn carry<F: Far>(all: Arc<All<F>>, mut visitor: TcpStream, number: u64) {
    let said = match all.far.dial().await {
        Err(error) => format!("connection {number}: {} does not answer: {error}", all.far.name()),
        Ok(stream) => {
            // What is carried is as often as not small and waited for; who cannot have that has it slower.
            let _ = visitor.set_nodelay(true);
            let connection = Connection { all: &all, counts: Counts::default() };
            let mut host = Counted { stream, counts: &connection.counts };
            let carried = copy_bidirectional(&mut visitor, &mut host).await;
            let (there, back) = connection.counts.get();
            let how = carried.err().map_or_else(|| "is over".to_owned(), |e| format!("broke off ({e})"));
            format!("connection {number} {how}: {there} bytes there and {back} back")
        }
    };
    (all.say)(said);
}

/// One connection. What it carried counts also when it is given up.
struct Connection<'a, F> {
    all: &'a All<F>,
    counts: Counts,
}

impl<F> Drop for Connection<'_, F> {
    fn drop(&mut self) {
        self.all.counts.add(&self.counts);
    }
}
