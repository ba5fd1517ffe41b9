//! `net::read`: reads what a port says by itself.

use relight_engine::event::Stream;
use tokio::io::AsyncReadExt;

use super::{ATTEMPT, Dialer};
use crate::prelude::*;

/// How long to listen unless a script says otherwise, in real time.
const WITHIN: Duration = Duration::from_secs(10);
/// How much of what is read becomes part of the value.
const BEGINNING: usize = 4 << 10;

/// Connects to a port and reads what it says by itself: a greeting, a log, a serial console behind a terminal server.
/// Sends nothing. What is read is shown as it comes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Address or name of the host.
    address: String,
    /// Port.
    port: u16,
    /// How long to read; 10 seconds when left out.
    #[serde(default)]
    within: Option<Span>,
    /// Text at which reading ends.
    #[serde(default)]
    up_to: Option<String>,
}

/// What a port said.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Heard {
    /// Beginning of what was read, 4 KiB at most.
    text: String,
    /// How much was read.
    bytes: u64,
    /// Why reading ended.
    ended: Ended,
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// The text came for which it waited.
    Found,
    /// The other side closed the connection.
    Closed,
    /// The time was over.
    Time,
}

/// `net::read`.
pub(crate) struct Read(pub(crate) Dialer);

impl Operation for Read {
    type Args = Args;
    type Output = Heard;

    const NAME: &'static str = "net::read";
    const SUMMARY: &'static str = "Reads what a port says by itself, and shows it as it comes.";
    const EFFECTS: &'static [Effect] = &[Effect::NetProbe];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "A console says nothing before it is spoken to.",
                r#"let console = vmconnect::enable("web-01");
                   let address = net::first_reachable(console.addresses, console.port);
                   net::read(address, console.port, #{ within: "1s" }).bytes"#,
            )
            .on("edge")
            .gives(json!(0)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Heard>> {
        let mut stream = self.0.dial(&args.address, args.port, ATTEMPT).await.map_err(|e| {
            let what =
                format!("{}:{} does not answer", crate::azure::wire::shortened(&args.address, 80), args.port);
            Error::new(ErrorKind::Unsent, what).because(e)
        })?;
        let over = tokio::time::sleep(args.within.map_or(WITHIN, Span::get));
        tokio::pin!(over);
        let mut heard = Reading::new(args.up_to.as_deref().unwrap_or_default());
        let mut piece = vec![0; 16 << 10];
        let ended = loop {
            tokio::select! {
                read = stream.read(&mut piece) => match read {
                    // A connection that breaks off says no more than one that ends.
                    Ok(0) | Err(_) => break Ended::Closed,
                    Ok(length) => {
                        cx.output(Stream::Stdout, &piece[..length]);
                        if heard.push(&piece[..length]) {
                            break Ended::Found;
                        }
                    }
                },
                () = &mut over => break Ended::Time,
                () = cx.cancelled() => return Err(Error::new(ErrorKind::Unsent, "reading was interrupted")),
            }
        };
        let text = String::from_utf8_lossy(&heard.beginning).into_owned();
        Ok(Outcome::done(Heard { text, bytes: heard.bytes, ended }))
    }
}

/// What was read by now, as far as it is needed.
struct Reading<'a> {
    until: &'a [u8],
    /// The last bytes, in which the text may begin.
    last: Vec<u8>,
    beginning: Vec<u8>,
    bytes: u64,
}

impl<'a> Reading<'a> {
    fn new(until: &'a str) -> Self {
        Reading { until: until.as_bytes(), last: Vec::new(), beginning: Vec::new(), bytes: 0 }
    }

    /// Takes the next piece, and returns whether the text has come.
    fn push(&mut self, piece: &[u8]) -> bool {
        self.bytes += piece.len() as u64;
        let room = BEGINNING.saturating_sub(self.beginning.len()).min(piece.len());
        self.beginning.extend_from_slice(&piece[..room]);
        if self.until.is_empty() {
            return false;
        }
        self.last.extend_from_slice(piece);
        let found = self.last.windows(self.until.len()).any(|window| window == self.until);
        let rest = self.last.len().saturating_sub(self.until.len());
        self.last.drain(..rest);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_the_pieces_part() {
        let said = b"ready\r\nnode-1 login: ";
        for size in 1..said.len() {
            let mut reading = Reading::new("login:");
            let found = said.chunks(size).position(|piece| reading.push(piece));
            assert_eq!(found, Some(19 / size), "{size}");
        }
        let mut reading = Reading::new("");
        assert!(!reading.push(&[b'x'; 3 * BEGINNING]));
        assert_eq!((reading.bytes, reading.beginning.len()), (3 * BEGINNING as u64, BEGINNING));
    }
}
