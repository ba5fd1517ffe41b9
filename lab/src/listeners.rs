//! Listeners that come and go with the world: whoever knows what shall be open says so, and they follow.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex as StdMutex, PoisonError, Weak},
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Mutex,
    task::{AbortHandle, JoinHandle},
};

use crate::state::Site;

/// What becomes of whoever connects.
pub(crate) trait Door: Clone + Eq + Send + Sync + 'static {
    /// Returns whether nobody is let through, as if every packet were dropped on the way.
    fn is_silent(&self) -> bool {
        false
    }

    /// Receives a visitor at an address.
    fn receive(self, visitor: TcpStream, at: SocketAddr, site: Arc<Site>) -> impl Future<Output = ()> + Send;
}

/// The open listeners of one kind.
pub(crate) struct Listeners<D> {
    open: Mutex<BTreeMap<SocketAddr, (D, JoinHandle<()>)>>,
    /// A copy of the handles that can be used without waiting, for dropping.
    aborts: StdMutex<Vec<AbortHandle>>,
}

impl<D> Default for Listeners<D> {
    fn default() -> Self {
        Listeners { open: Mutex::default(), aborts: StdMutex::default() }
    }
}

impl<D: Door> Listeners<D> {
    /// Opens and closes listeners until they are those that are wanted. Afterwards closed ports refuse at once.
    pub(crate) async fn reconcile(&self, site: &Arc<Site>, wanted: impl FnOnce() -> BTreeMap<SocketAddr, D>) {
        let mut open = self.open.lock().await;
        let wanted = wanted();
        let is_stale = |(at, (door, _)): &(&SocketAddr, &(D, JoinHandle<()>))| wanted.get(at) != Some(door);
        let stale: Vec<SocketAddr> = open.iter().filter(is_stale).map(|(at, _)| *at).collect();
        for at in stale {
            if let Some((_, task)) = open.remove(&at) {
                task.abort();
                let _ = task.await;
            }
        }
        for (at, door) in wanted {
            if open.contains_key(&at) {
                continue;
            }
            // Someone else's socket may be in the way; the next reconciliation tries again.
            let Ok(listener) = bind(at, door.is_silent()) else { continue };
            let task = match door.is_silent() {
                true => tokio::spawn(stay_silent(listener, at)),
                false => tokio::spawn(listen(listener, at, door.clone(), Arc::downgrade(site))),
            };
            open.insert(at, (door, task));
        }
        *self.aborts.lock().unwrap_or_else(PoisonError::into_inner) =
            open.values().map(|(_, task)| task.abort_handle()).collect();
    }

    /// Closes all listeners and waits for them.
    pub(crate) async fn close(&self) {
        for (_, (_, task)) in std::mem::take(&mut *self.open.lock().await) {
            task.abort();
            let _ = task.await;
        }
    }

    /// Closes all listeners soon.
    pub(crate) fn abandon(&self) {
        self.aborts.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(AbortHandle::abort);
    }
}

fn bind(at: SocketAddr, is_silent: bool) -> std::io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(if is_silent { 0 } else { 1024 })
}

/// Lets nobody through: the queue of the listener is full, and the system drops whatever comes on top of it.
async fn stay_silent(_listener: TcpListener, at: SocketAddr) {
    let _first = TcpStream::connect(at).await;
    std::future::pending::<()>().await;
}

async fn listen<D: Door>(listener: TcpListener, at: SocketAddr, door: D, site: Weak<Site>) {
    loop {
        let Ok((visitor, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let Some(site) = site.upgrade() else { return };
        tokio::spawn(door.clone().receive(visitor, at, site));
    }
}
