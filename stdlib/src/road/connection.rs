//! A connection to a port of a machine, whichever road it took.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::relay::{Lost, Tunnel};

/// A stream of bytes to a port of a machine.
pub struct Connection(Way);

enum Way {
    Relay(Tunnel),
    Direct(TcpStream),
}

impl Connection {
    pub(crate) fn through(tunnel: Tunnel) -> Self {
        Connection(Way::Relay(tunnel))
    }

    pub(crate) fn direct(stream: TcpStream) -> Self {
        Connection(Way::Direct(stream))
    }

    /// Returns why it broke off, when it did and anybody knows: the network of an address tells nothing.
    pub fn lost(&self) -> Option<&str> {
        match &self.0 {
            Way::Relay(tunnel) => tunnel.lost(),
            Way::Direct(_) => None,
        }
    }

    /// Returns what will say so also when the connection itself is in other hands.
    pub fn lost_later(&self) -> Lost {
        match &self.0 {
            Way::Relay(tunnel) => tunnel.lost_later(),
            Way::Direct(_) => Lost::default(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            Way::Relay(tunnel) => Pin::new(tunnel).poll_read(cx, into),
            Way::Direct(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match &mut self.0 {
            Way::Relay(tunnel) => Pin::new(tunnel).poll_write(cx, bytes),
            Way::Direct(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            Way::Relay(tunnel) => Pin::new(tunnel).poll_flush(cx),
            Way::Direct(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            Way::Relay(tunnel) => Pin::new(tunnel).poll_shutdown(cx),
            Way::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
