//! `net::forward`: a port of this machine that leads to a port of a host, for the rest of the run.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use relight_engine::event::Stream;
use relight_engine::{Attached, Reopen};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use super::counted::{Counted, Counts};
use super::{ATTEMPT, Dialer};
use crate::prelude::*;

/// Opens a port of this machine, on the loopback address alone, and passes every connection on to a port of a host, until
/// the run is over or put away. A run that goes on elsewhere opens the same port there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Address or name of the host.
    address: String,
    /// Port of the host.
    port: u16,
    /// Port of this machine; a free one when left out.
    #[serde(default)]
    local_port: Option<u16>,
}

/// An open forward.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Forwarding {
    /// Address of this machine to connect to.
    address: String,
    /// Port of this machine to connect to.
    port: u16,
    /// Where connections lead.
    to: String,
}

/// `net::forward`.
pub(crate) struct Forward(pub(crate) Dialer);

/// The task that takes connections. It ends when it is told to, and gives up what it carries.
pub(crate) struct Listening {
    stop: Arc<tokio::sync::Notify>,
    task: Mutex<JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.get_mut().abort();
    }
}

impl Attached for Forward {
    type Args = Args;
    type Recipe = Forwarding;
    type Live = Listening;

    const NAME: &'static str = "net::forward";
    const SUMMARY: &'static str =
        "Opens a port of this machine that leads to a port of a host, for the rest of the run.";
    const EFFECTS: &'static [Effect] = &[Effect::NetForward];
    const REOPEN: Reopen = Reopen::WithRun;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Reach the console of a VM from this machine.",
                r#"let console = vmconnect::enable("web-01");
                   let forward = net::forward(console.addresses[1], console.port);
                   net::tcp_probe(forward.address, forward.port).open"#,
            )
            .on("edge")
            .gives(json!(true)),
        ]
    }

    async fn open(
        &self,
        cx: &Cx,
        args: &Args,
        again: Option<&Forwarding>,
    ) -> Result<(Forwarding, Listening)> {
        let wanted = again.map(|recipe| recipe.port).or(args.local_port).unwrap_or_default();
        let taken = |e: io::Error| {
            Error::rejected(format!("port {wanted} of this machine cannot be opened")).because(e).hint(
                "end whatever listens there, then resume the run; or name another port with #{ local_port }",
            )
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).await.map_err(taken)?;
        let here = listener.local_addr().map_err(taken)?;
        let recipe = Forwarding {
            address: here.ip().to_string(),
            port: here.port(),
            to: format!("{}:{}", args.address, args.port),
        };
        let stop = Arc::new(tokio::sync::Notify::new());
        let carrier = Arc::new(Carrier {
            dial: self.0.clone(),
            address: args.address.clone(),
            port: args.port,
            cx: cx.clone(),
            counts: Counts::default(),
        });
        let task = Mutex::new(tokio::spawn(listen(listener, stop.clone(), carrier)));
        Ok((recipe, Listening { stop, task }))
    }

    async fn close(&self, _: &Cx, live: &Listening) {
        live.stop.notify_one();
        // A task that was aborted has nothing more to say.
        let _ = (&mut *live.task.lock().await).await;
    }
}

/// What one forward's connections share.
struct Carrier {
    dial: Dialer,
    address: String,
    port: u16,
    cx: Cx,
    /// Of the connections that are over.
    counts: Counts,
}

async fn listen(listener: TcpListener, stop: Arc<tokio::sync::Notify>, carrier: Arc<Carrier>) {
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
                connections.spawn(carry(carrier.clone(), visitor, taken));
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
    let (there, back) = carrier.counts.get();
    let told = format!("closed after {taken} connections, {there} bytes there and {back} back\n");
    carrier.cx.output(Stream::Stderr, told.as_bytes());
}

/// Carries one connection until both ends are done with it.
async fn carry(carrier: Arc<Carrier>, mut visitor: TcpStream, number: u64) {
    let (address, port) = (&carrier.address, carrier.port);
    let said = match carrier.dial.dial(address, port, ATTEMPT).await {
        Err(error) => format!("connection {number}: {address}:{port} does not answer: {error}\n"),
        Ok(stream) => {
            // What is carried is as often as not small and waited for; who cannot have that has it slower.
            let _ = (visitor.set_nodelay(true), stream.set_nodelay(true));
            let connection = Connection { carrier: &carrier, counts: Counts::default() };
            let mut host = Counted { stream, counts: &connection.counts };
            let carried = copy_bidirectional(&mut visitor, &mut host).await;
            let (there, back) = connection.counts.get();
            let how = carried.err().map_or_else(|| "is over".to_owned(), |e| format!("broke off ({e})"));
            format!("connection {number} {how}: {there} bytes there and {back} back\n")
        }
    };
    carrier.cx.output(Stream::Stderr, said.as_bytes());
}

/// One connection. What it carried counts also when it is given up.
struct Connection<'a> {
    carrier: &'a Carrier,
    counts: Counts,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.carrier.counts.add(&self.counts);
    }
}
