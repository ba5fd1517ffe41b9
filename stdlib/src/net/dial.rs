//! How ports of hosts are reached: directly, or along routes that an embedder lays (the lab does).

use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

/// Where a connection really goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To where it says.
    Direct,
    /// To another address.
    Via(SocketAddr),
    /// Nowhere: as if no packet ever came back.
    Nowhere,
}

type Plan = Arc<dyn Fn(&str, u16) -> Route + Send + Sync>;

/// Connects to ports of hosts.
#[derive(Clone)]
pub struct Dialer(Option<Plan>);

impl Dialer {
    /// Connects to where it is told.
    pub fn direct() -> Self {
        Dialer(None)
    }

    /// Asks `plan` where a host and port really are.
    pub fn routed(plan: impl Fn(&str, u16) -> Route + Send + Sync + 'static) -> Self {
        Dialer(Some(Arc::new(plan)))
    }

    /// Connects, within a limit of real time.
    ///
    /// # Errors
    /// What the operating system says, or `TimedOut`.
    pub async fn dial(&self, host: &str, port: u16, limit: Duration) -> Result<TcpStream> {
        let route = self.0.as_ref().map_or(Route::Direct, |plan| plan(host, port));
        let connect = async {
            match route {
                Route::Direct => TcpStream::connect((host.trim_matches(['[', ']']), port)).await,
                Route::Via(address) => TcpStream::connect(address).await,
                Route::Nowhere => Err(Error::new(ErrorKind::TimedOut, "no answer")),
            }
        };
        tokio::time::timeout(limit, connect)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, "no answer")))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Dialer(routed)" } else { "Dialer(direct)" })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn routes_decide_where_a_connection_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dialer = Dialer::routed(move |host, port| match (host, port) {
            ("10.0.0.1", 2179) => Route::Via(address),
            ("127.0.0.1", _) => Route::Direct,
            _ => Route::Nowhere,
        });
        let limit = Duration::from_secs(5);
        assert!(dialer.dial("10.0.0.1", 2179, limit).await.is_ok());
        assert!(dialer.dial("127.0.0.1", address.port(), limit).await.is_ok());
        assert_eq!(dialer.dial("10.0.0.2", 2179, limit).await.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
