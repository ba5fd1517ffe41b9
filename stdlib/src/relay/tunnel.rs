//! A WebSocket as a stream of bytes, kept alive.

use std::io;
use std::pin::Pin;
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
/// The most bytes of a frame.
const FRAME: usize = 64 * 1024;
/// How much may wait in each direction.
const BUFFER: usize = 512 * 1024;

/// A connection to a port of a machine, as a stream of bytes.
///
/// It ends like a connection ends; [`lost`](Self::lost) says when that was not in order.
pub struct Tunnel {
    near: DuplexStream,
    lost: Arc<OnceLock<String>>,
    carrying: JoinHandle<()>,
}

impl Tunnel {
    /// Carries bytes over a WebSocket.
    pub(super) fn over<S>(socket: WebSocketStream<S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (near, mut far) = tokio::io::duplex(BUFFER);
        let lost = Arc::<OnceLock<String>>::default();
        let told = lost.clone();
        let carrying = tokio::spawn(async move {
            // Whoever reads the end finds the reason there already: `far` is dropped after this.
            if let Err(why) = carry(socket, &mut far).await {
                let _ = told.set(why);
            }
        });
        Tunnel { near, lost, carrying }
    }

    /// Returns why the connection broke off, when it did.
    pub fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
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
        // There is no half of a close: it ends both ways.
        let _ = sender.send(Message::Close(None)).await;
        Ok(())
    };
    let back = async {
        loop {
            let message = match timeout(PING + PONG, received.next()).await {
                Ok(Some(Ok(message))) => message,
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
