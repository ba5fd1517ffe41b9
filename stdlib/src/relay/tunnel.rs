//! A WebSocket as a stream of bytes, kept alive.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// How often something is sent although there is nothing to say: the relay drops what is silent for about 120 s.
const PING: Duration = Duration::from_secs(30);
/// How long to wait for the answer before the connection counts as lost.
const PONG: Duration = Duration::from_secs(30);
/// How long what is on its way here may take, once we are done.
const LINGER: Duration = Duration::from_secs(5);
/// The most bytes of a frame.
const FRAME: usize = 64 * 1024;
/// How much may wait in each direction.
const BUFFER: usize = 512 * 1024;

/// Why a connection broke off, once it did. Clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<OnceLock<String>>);

impl Lost {
    /// Returns why, when it did.
    pub fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// A connection to a port of a machine, as a stream of bytes.
///
/// It ends like a connection ends; [`lost`](Self::lost) says when that was not in order.
pub struct Tunnel {
    near: DuplexStream,
    lost: Lost,
    carrying: JoinHandle<()>,
}

impl Tunnel {
    /// Carries bytes over a WebSocket.
    pub(crate) fn over<S>(socket: WebSocketStream<S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (near, mut far) = tokio::io::duplex(BUFFER);
        let lost = Lost::default();
        let told = lost.clone();
        let carrying = tokio::spawn(async move {
            // Whoever reads the end finds the reason there already: `far` is dropped after this.
            if let Err(why) = carry(socket, &mut far).await {
                let _ = told.0.set(why);
            }
        });
        Tunnel { near, lost, carrying }
    }

    /// Returns why the connection broke off, when it did.
    pub fn lost(&self) -> Option<&str> {
        self.lost.get()
    }

    /// Returns what will say so also when the connection itself is in other hands.
    pub fn lost_later(&self) -> Lost {
        self.lost.clone()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

/// Carries bytes both ways until one side ends.
async fn carry<S>(socket: WebSocketStream<S>, far: &mut DuplexStream) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, mut received) = socket.split();
    let (mut said, mut heard) = tokio::io::split(far);
    let is_closing = AtomicBool::new(false);
    let there = async {
        let mut bytes = vec![0; FRAME];
        let mut pings = interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                count = said.read(&mut bytes) => match count {
                    Ok(count @ 1..) => Message::Binary(Bytes::copy_from_slice(&bytes[..count])),
                    _ => break,
                },
                _ = pings.tick() => Message::Ping(Bytes::new()),
            };
            sender.send(message).await.map_err(|e| e.to_string())?;
        }
        // There is no half of a close: it ends both ways. What is on its way here already still comes.
        is_closing.store(true, Ordering::Relaxed);
        let _ = sender.send(Message::Close(None)).await;
        tokio::time::sleep(LINGER).await;
        Ok(())
    };
    let back = async {
        loop {
            let message = match timeout(PING + PONG, received.next()).await {
                Ok(Some(Ok(message))) => message,
                // Whoever was told that we are done may leave without a word.
                Ok(None | Some(Err(_))) if is_closing.load(Ordering::Relaxed) => return Ok(()),
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(None) => return Err("the connection ended without a word".to_owned()),
                Err(_) => return Err(format!("nothing was heard for {} s", (PING + PONG).as_secs())),
            };
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(frame) => return closed(frame),
                _ => continue,
            };
            if heard.write_all(&bytes).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}

/// Reads why the other side closed: in order (1000, 1001) or not.
fn closed(frame: Option<CloseFrame>) -> Result<(), String> {
    let Some(frame) = frame else { return Ok(()) };
    match u16::from(frame.code) {
        1000 | 1001 => Ok(()),
        1008 => Err(format!("the relay ended it: its credentials are over ({})", frame.reason)),
        code => Err(format!("the relay ended it with {code} ({})", frame.reason)),
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_read(cx, bytes)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.near).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    use super::*;

    type Relay = WebSocketStream<DuplexStream>;

    async fn tunnel() -> (Tunnel, Relay) {
        let (here, there) = tokio::io::duplex(1 << 16);
        let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        (Tunnel::over(socket), WebSocketStream::from_raw_socket(there, Role::Server, None).await)
    }

    #[tokio::test]
    async fn frames_mean_nothing() {
        let (mut tunnel, mut relay) = tunnel().await;
        for message in
            [Message::binary("one ".as_bytes()), Message::text("two "), Message::binary("three".as_bytes())]
        {
            relay.send(message).await.unwrap();
        }
        let mut heard = [0; 13];
        tunnel.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"one two three");
        let bulk = vec![7; 3 * FRAME];
        let sent = bulk.clone();
        let writing = tokio::spawn(async move {
            tunnel.write_all(&sent).await.unwrap();
            tunnel
        });
        let mut arrived = Vec::new();
        while arrived.len() < bulk.len() {
            let Message::Binary(bytes) = relay.next().await.unwrap().unwrap() else { continue };
            assert!(bytes.len() <= FRAME);
            arrived.extend_from_slice(&bytes);
        }
        assert_eq!(arrived, bulk);
        assert_eq!(writing.await.unwrap().lost(), None);
    }

    #[tokio::test]
    async fn what_is_on_its_way_comes_though_we_are_done() {
        let (mut tunnel, mut relay) = tunnel().await;
        tunnel.shutdown().await.unwrap();
        relay.send(Message::binary("last words".as_bytes())).await.unwrap();
        let mut heard = String::new();
        let answered = async { while let Some(Ok(_)) = relay.next().await {} };
        let (read, ()) = tokio::join!(tunnel.read_to_string(&mut heard), answered);
        assert_eq!((read.unwrap(), heard.as_str(), tunnel.lost()), (10, "last words", None));
    }

    #[tokio::test]
    async fn an_end_in_order_is_told_from_one_that_is_none() {
        for (code, says) in
            [(1000, None), (1001, None), (1008, Some("credentials are over")), (1011, Some("1011"))]
        {
            let (mut tunnel, mut relay) = tunnel().await;
            let frame = CloseFrame { code: CloseCode::from(code), reason: "so".into() };
            relay.send(Message::Close(Some(frame))).await.unwrap();
            assert_eq!(tunnel.read(&mut [0; 1]).await.unwrap(), 0);
            match (tunnel.lost(), says) {
                (None, None) => {}
                (Some(lost), Some(says)) => assert!(lost.contains(says), "{code}: {lost}"),
                (lost, _) => panic!("{code}: {lost:?}"),
            }
        }
        let (mut tunnel, relay) = tunnel().await;
        drop(relay);
        assert_eq!(tunnel.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(tunnel.lost().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_kept_and_a_dead_one_is_told() {
        // The relay drops what is silent for 120 s. Whoever reads its frames answers the pings among them.
        let (mut tunnel, mut relay) = tunnel().await;
        let mut pings = 0;
        let silent = async {
            while let Some(Ok(message)) = relay.next().await {
                pings += u32::from(message.is_ping());
            }
        };
        let both = async {
            let mut byte = [0; 1];
            tokio::join!(silent, tunnel.read(&mut byte))
        };
        let ended = timeout(Duration::from_secs(600), both).await;
        assert!(ended.is_err() && tunnel.lost().is_none(), "{ended:?}");
        assert!((19..=20).contains(&pings), "{pings}");

        let (mut tunnel, _deaf) = self::tunnel().await;
        let began = Instant::now();
        assert_eq!(tunnel.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(began.elapsed().as_secs(), 60);
        assert_eq!(tunnel.lost(), Some("nothing was heard for 60 s"));
    }
}
