//! The beginning of RDP: a connection request, and which security the server wants.
//!
//! ```text
//! TPKT 3, 0, length | X.224 length, code | 0, 0, 0, 0, class | cookie, CRLF | negotiation 1, flags, 8, 0, protocols
//! ```

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest request.
const MOST: usize = 1024;

/// Answers the request of an RDP client, and hangs up at what comes behind it: there is no desktop.
pub(crate) async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[..2] != [3, 0] || !(11..=MOST).contains(&length) {
        return Ok(());
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    if let Some(answer) = confirm(&body) {
        stream.write_all(&answer).await?;
        // The client goes on with TLS.
        let _ = stream.read_u8().await;
    }
    stream.shutdown().await
}

/// Returns the confirmation of a request, if it is one.
fn confirm(body: &[u8]) -> Option<[u8; 19]> {
    // 0xe0 is a connection request.
    if usize::from(*body.first()?) != body.len() - 1 || body.get(1)? & 0xf0 != 0xe0 {
        return None;
    }
    let asked =
        body.len().checked_sub(8).and_then(|at| body.get(at..)).filter(|tail| tail[..4] == [1, 0, 8, 0]);
    let protocols = asked.map_or(0, |tail| u32::from_le_bytes([tail[4], tail[5], tail[6], tail[7]]));
    // The strongest that was offered: network level authentication, TLS, or RDP's own.
    let chosen = [2, 1].into_iter().find(|bit| protocols & u32::from(*bit) != 0).unwrap_or(0);
    Some([3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 2, 0x1f, 8, 0, chosen, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_confirmed_and_anything_else_is_not() {
        let (mut here, there) = tokio::io::duplex(256);
        let serving = tokio::spawn(answer(there));
        here.write_all(&[3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0])
            .await
            .expect("as prepared");
        let mut said = [0; 19];
        here.read_exact(&mut said).await.expect("as prepared");
        assert_eq!((said[5], said[11], said[15]), (0xd0, 2, 2));
        drop(here);
        let _ = serving.await.expect("as prepared");
        assert_eq!(confirm(&[6, 0xf0, 0, 0, 0, 0, 0]), None);
        assert_eq!(confirm(&[]), None);
    }
}
