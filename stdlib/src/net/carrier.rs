//! A port of this machine that leads elsewhere: it takes connections and carries each to the far side.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use relight_engine::event::Stream;
use relight_engine::{Cx, Error, Result};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use super::counted::{Counted, Counts};

/// Where a port is looked for when nobody names one. A run that goes on elsewhere opens the same port again, so it is
/// none of those that an operating system gives to whoever asks for any: from 32768 on Linux, from 49152 elsewhere.
const OURS: RangeInclusive<u16> = 20_000..=32_767;
/// How many of them are tried before the operating system is asked for one.
const TRIES: usize = 64;

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
        let listener = bind(port).await.map_err(taken)?;
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

async fn bind(port: u16) -> io::Result<TcpListener> {
    if port == 0 {
        for _ in 0..TRIES {
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, any_of_ours())).await {
                return Ok(listener);
            }
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

fn any_of_ours() -> u16 {
    let [low, high, ..] = *Uuid::new_v4().as_bytes();
    OURS.start() + u16::from_le_bytes([low, high]) % (OURS.end() - OURS.start() + 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Far for Nowhere {
        type Stream = TcpStream;

        fn name(&self) -> String {
            "nowhere".into()
        }

        async fn dial(&self) -> Result<TcpStream> {
            Err(Error::rejected("nothing is there"))
        }
    }

    #[tokio::test]
    async fn a_port_that_nobody_named_is_never_given_to_another_by_chance() {
        let mut first = None;
        for _ in 0..20 {
            let carrier = Carrier::open(0, Nowhere, |_| ()).await.unwrap();
            assert!(OURS.contains(&carrier.at().port()), "{}", carrier.at());
            carrier.close().await;
            first.get_or_insert(carrier.at());
        }
        // Where the run goes on, the same port is opened by its number.
        let again = Carrier::open(first.unwrap().port(), Nowhere, |_| ()).await.unwrap();
        assert_eq!(Some(again.at()), first);
    }
}
