//! Somebody who is told things over HTTP on this machine, and answers as the test wants.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that a request is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came in one request.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// What becomes of a request.
#[derive(Clone)]
pub(crate) enum Fate {
    /// This is the answer, with what stands after the status line and before the body.
    Answer(&'static str),
    /// The connection ends without one.
    Close,
    /// Nothing comes, for as long as the test lasts.
    Silence,
    /// Called when the connection is there, before the request is read; then it ends.
    AtConnection(Arc<dyn Fn() + Send + Sync>),
    /// Called when the request was read; then it ends.
    AtRequest(Arc<dyn Fn() + Send + Sync>),
}

pub(crate) const TAKEN: Fate = Fate::Answer("204 No Content\r\n");

#[derive(Default)]
struct Seen {
    told: Vec<Told>,
    /// What becomes of the next requests; those behind them are taken.
    fates: VecDeque<Fate>,
    held: Vec<TcpStream>,
}

/// A server that takes requests, and remembers them.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Receiver {
    pub(crate) fn start(fates: impl IntoIterator<Item = Fate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new((
            Mutex::new(Seen { fates: fates.into_iter().collect(), ..Seen::default() }),
            Condvar::new(),
        ));
        let own = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = own.clone();
                std::thread::spawn(move || answer(stream, &seen));
            }
        });
        Receiver { port, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.seen.0.lock().expect("no panic").told.clone()
    }

    /// Waits until what was told is enough.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut is_enough: impl FnMut(&[Told]) -> bool) -> Vec<Told> {
        let (lock, changed) = &*self.seen;
        let guard = lock.lock().expect("no panic");
        let (seen, late) =
            changed.wait_timeout_while(guard, PATIENCE, |seen| !is_enough(&seen.told)).expect("no panic");
        assert!(!late.timed_out(), "waited too long until {what}: {:#?}", seen.told);
        seen.told.clone()
    }
}

fn answer(mut stream: TcpStream, (seen, changed): &(Mutex<Seen>, Condvar)) {
    let fate = seen.lock().expect("no panic").fates.pop_front().unwrap_or(TAKEN);
    if let Fate::AtConnection(call) = &fate {
        return call();
    }
    let Some(told) = read(&mut stream) else { return };
    {
        let mut seen = seen.lock().expect("no panic");
        seen.told.push(told);
        if let Fate::Silence = fate {
            seen.held.push(stream.try_clone().expect("a socket"));
        }
    }
    match fate {
        Fate::Answer(answer) => {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.trim_end(), ""));
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
        Fate::AtRequest(call) => call(),
        Fate::Close | Fate::Silence | Fate::AtConnection(_) => {}
    }
    changed.notify_all();
}

fn read(stream: &mut TcpStream) -> Option<Told> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let length =
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Told { path, headers, body: String::from_utf8(body).ok()?, at: Instant::now() })
}
