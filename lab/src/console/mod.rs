//! The console port of the nodes: a listener per reachable address, there only while the port is open.
//!
//! Owns the reading of what comes in first. What is open and who may connect to what is the state's to
//! say.

mod network;
mod pdu;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub(crate) use network::{claim_network, moves_low_ports};
pub use pdu::{Pdu, PduError};

use crate::{ConsoleVisit, NextBytes, listeners::Door, state::Site};

/// How long a visitor may stay silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// The console port of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Console;

impl Door for Console {
    async fn receive(self, visitor: TcpStream, at: SocketAddr, site: Arc<Site>) {
        receive(visitor, at, site).await;
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
