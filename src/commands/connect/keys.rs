//! What is typed, and what is said: between standard input and output and something that runs on a machine.

use relight_stdlib::ssh::{Ended, Input, Running, Said};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much is read at a time.
const PIECE: usize = 32 * 1024;

/// Passes standard input on, and what is said to standard output and error, until what runs has ended.
pub(super) async fn carry(mut running: Running) -> Ended {
    let input = running.input();
    tokio::select! {
        () = hear(&mut running) => {}
        () = type_all(&input) => {}
    }
    running.ended().clone()
}

/// Writes down what is said until it ends.
pub(super) async fn hear(running: &mut Running) {
    let (mut out, mut err) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(said) = running.next().await {
        let written = match said {
            Said::Out(bytes) => write(&mut out, &bytes).await,
            Said::Err(bytes) => write(&mut err, &bytes).await,
            _ => true,
        };
        // Whoever read it has seen enough, as in a pipe to `head`.
        if !written {
            return;
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    to.write_all(bytes).await.is_ok() && to.flush().await.is_ok()
}

/// Passes standard input on to its end, and waits.
async fn type_all(input: &Input) {
    let mut typed = tokio::io::stdin();
    let mut bytes = vec![0; PIECE];
    while let Ok(count @ 1..) = typed.read(&mut bytes).await {
        if !input.send(bytes[..count].to_vec()).await {
            break;
        }
    }
    input.end().await;
    std::future::pending().await
}
