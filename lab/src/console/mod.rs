//! The console port of the nodes: a listener per reachable address, there only while the port is open.
//!
//! Owns the sockets and the reading of what comes in first. What is open and who may connect to what is the state's to
//! say.

mod network;
mod pdu;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex as StdMutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

pub(crate) use network::claim_network;
pub use pdu::{Pdu, PduError};

use crate::{ConsoleVisit, NextBytes, state::Site};

/// How long a visitor may stay silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// The listeners of a lab.
#[derive(Default)]
pub(crate) struct Consoles {
    open: Mutex<BTreeMap<SocketAddr, JoinHandle<()>>>,
    /// A copy of the handles that can be used without waiting, for dropping.
    aborts: StdMutex<Vec<AbortHandle>>,
}

impl Consoles {
    /// Opens and closes listeners until they are those that the state wants. Afterwards closed ports refuse at once.
    pub(crate) async fn reconcile(&self, site: &Arc<Site>) {
        let mut open = self.open.lock().await;
        let wanted = site.state().open_consoles();
        let stale: Vec<SocketAddr> = open.keys().filter(|at| !wanted.contains(at)).copied().collect();
        for at in stale {
            if let Some(task) = open.remove(&at) {
                task.abort();
                let _ = task.await;
            }
        }
        let missing: BTreeSet<SocketAddr> = wanted.into_iter().filter(|at| !open.contains_key(at)).collect();
        for at in missing {
            // Someone else's socket may be in the way; the next reconciliation tries again.
            let Ok(listener) = TcpListener::bind(at).await else {
                continue;
            };
            open.insert(at, tokio::spawn(listen(listener, at, Arc::downgrade(site))));
        }
        *self.aborts.lock().unwrap_or_else(PoisonError::into_inner) =
            open.values().map(JoinHandle::abort_handle).collect();
    }

    /// Closes all listeners and waits for them.
    pub(crate) async fn close(&self) {
        for (_, task) in std::mem::take(&mut *self.open.lock().await) {
            task.abort();
            let _ = task.await;
        }
    }

    /// Closes all listeners soon.
    pub(crate) fn abandon(&self) {
        self.aborts.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(AbortHandle::abort);
    }
}

async fn listen(listener: TcpListener, at: SocketAddr, site: Weak<Site>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Some(site) = site.upgrade() else {
            return;
        };
        tokio::spawn(receive(stream, at, site));
    }
}

/// Reads what a visitor has to say, writes the visit down and closes.
async fn receive(mut stream: TcpStream, address: SocketAddr, site: Arc<Site>) {
    let at = (site.state().now)();
    let mut first = Vec::new();
    let pdu = read_pdu(&mut stream, &mut first).await;
    let visit = match pdu {
        Ok(pdu) => {
            let next = read_next(&mut stream).await;
            let (vm, problem) = site.state().console_for(address.ip(), &pdu.blob);
            ConsoleVisit { at, address, blob: Some(pdu.blob), vm, valid: problem.is_none(), problem, next }
        }
        Err(e) => {
            let next = classify(&first);
            ConsoleVisit {
                at,
                address,
                blob: None,
                vm: None,
                valid: false,
                problem: Some(e.to_string()),
                next,
            }
        }
    };
    site.state().visits.push(visit);
    let _ = stream.shutdown().await;
}

async fn read_pdu(stream: &mut TcpStream, first: &mut Vec<u8>) -> Result<Pdu, PduError> {
    let mut missing = pdu::missing(first)?;
    while missing > 0 {
        let mut chunk = vec![0; missing];
        match timeout(PATIENCE, stream.read(&mut chunk)).await {
            Ok(Ok(count)) if count > 0 => first.extend_from_slice(&chunk[..count]),
            _ => return Err(PduError::Truncated { got: first.len() }),
        }
        missing = pdu::missing(first)?;
    }
    Pdu::parse(first)
}

async fn read_next(stream: &mut TcpStream) -> NextBytes {
    let mut next = [0; 64];
    match timeout(PATIENCE, stream.read(&mut next)).await {
        Ok(Ok(count)) => classify(&next[..count]),
        _ => NextBytes::Nothing,
    }
}

fn classify(bytes: &[u8]) -> NextBytes {
    match bytes {
        [] => NextBytes::Nothing,
        [0x16, 0x03, ..] => NextBytes::TlsClientHello,
        [0x03, 0x00, ..] => NextBytes::X224,
        _ => NextBytes::Other,
    }
}
