//! What a program that embeds the engine is promised, seen from outside it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use relight_engine::journal::{Journal, SqliteJournal};

/// Returns a program of `examples/`, which stands beside the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is not there: `cargo build --examples` makes it", program.display());
    program
}

/// Waits, on the machine's clock, until the run has begun a step, and with that recorded the end of the one before.
///
/// Killed between its request and the record of it, a step would rightly be asked about.
async fn until_step(orders: &Path, run: &str, step: u32) {
    let patience = Instant::now() + Duration::from_secs(30);
    let journal = SqliteJournal::open(orders).unwrap();
    while journal.run(&run.into()).await.unwrap().is_none_or(|run| run.step < step) {
        assert!(Instant::now() < patience, "step {step} of {run} does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_shortest_durable_program_goes_on_after_it_was_killed() {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(example("durable"));
    command.current_dir(place.path()).stdout(Stdio::piped());
    let mut first = command.spawn().unwrap();
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "lamp is shipped");
    until_step(&place.path().join("orders.db"), "order-1", 2).await;
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(said.next().is_none());

    let second = command.output().unwrap();
    let said = String::from_utf8(second.stdout).unwrap();
    assert_eq!(said.lines().next(), Some("bulb is shipped"), "{said}");
    assert!(said.contains("Succeeded"), "{said}");
    let third = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(third.starts_with("Ended"), "a run that is over is not run again: {third}");
}

/// A program that serves orders, and what it prints.
struct Shop {
    program: Child,
    said: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Shop {
    fn open(folder: &Path) -> Shop {
        let mut command = Command::new(example("http"));
        let mut program = command.current_dir(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(program.stdout.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        let address = first.strip_prefix("listening on ").unwrap().to_owned();
        Shop { program, said, address }
    }

    /// Returns the status and the text of an answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim_end().to_owned())
    }

    fn says(&mut self) -> Option<String> {
        self.said.next().map(Result::unwrap)
    }

    /// Asks how an order stands until it is over.
    fn outcome(&self, path: &str) -> String {
        let begun = Instant::now();
        loop {
            let (_, stands) = self.ask("GET", path, "");
            if stands == "succeeded" || begun.elapsed() > Duration::from_secs(60) {
                return stands;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

#[tokio::test]
async fn an_order_over_http_is_one_run_however_often_it_is_sent_and_whatever_kills_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut shop = Shop::open(folder.path());
    assert_eq!(shop.ask("GET", "/orders/4711", "").0, 404);
    assert_eq!(shop.ask("POST", "/orders/4711", "lamp").0, 202);
    assert_eq!(shop.ask("POST", "/orders/4711", "lamp").0, 202);
    assert_eq!(shop.says().unwrap(), "shipped lamp");
    let (status, stands) = shop.ask("GET", "/orders/4711", "");
    assert!(status == 200 && stands != "succeeded", "{status} {stands}");
    let (status, refused) = shop.ask("POST", "/orders/47.1", "lamp");
    assert_eq!((status, refused.as_str()), (400, "`47.1` cannot be the id of a run"));
    until_step(&folder.path().join("orders.db"), "4711", 2).await;
    drop(shop);

    let mut shop = Shop::open(folder.path());
    assert_eq!(shop.says().unwrap(), "shipped the bill for lamp");
    assert_eq!(shop.outcome("/orders/4711"), "succeeded");
    assert_eq!(shop.ask("POST", "/orders/4711", "lamp"), (202, "succeeded".to_owned()));
    // Nothing of the old order stands before what the next one prints.
    assert_eq!(shop.ask("POST", "/orders/4712", "bulb").0, 202);
    assert_eq!(shop.says().unwrap(), "shipped bulb");
}
