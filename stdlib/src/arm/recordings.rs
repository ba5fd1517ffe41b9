//! Replays recorded exchanges: the state machine must ask for exactly what the recorded client asked for.
//!
//! `RELIGHT_RECORDINGS` may name another folder of the same format.

use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::lro::{FinalState, Lro, Started, Step};
use super::wire::{Method, Response, same_origin};

#[derive(Deserialize)]
struct Recording {
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    method: String,
    url: String,
    status: u16,
    headers: serde_json::Map<String, Value>,
    body: Value,
}

impl Exchange {
    fn response(&self) -> Response {
        let headers = self.headers.iter().filter_map(|(name, value)| {
            let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
            Some((name.as_str(), value.as_str()?))
        });
        let body = match &self.body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        Response::new(self.status, headers, body.as_bytes())
    }

    fn url(&self) -> Option<Url> {
        self.url.parse().ok()
    }
}

/// What one replayed operation came to.
#[derive(Default)]
struct Tally {
    files: usize,
    operations: usize,
    immediate: usize,
    polls: usize,
    refused: usize,
    cut_off: usize,
}

fn folder() -> PathBuf {
    std::env::var_os("RELIGHT_RECORDINGS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/recordings"), PathBuf::from)
}

/// Replays the operation that starts at `at`.
///
/// Which later exchanges belong to it: GETs of an address that the operation itself named or of the resource, in order,
/// until the operation ends. A retry of the same poll after a passing trouble belongs to it too. Other requests in
/// between (of a test that does several things at once) are passed over.
fn replay(exchanges: &[Exchange], at: usize, tally: &mut Tally) -> Result<(), String> {
    let first = &exchanges[at];
    let (Some(method), Some(url)) = (Method::parse(&first.method), first.url()) else {
        return Ok(());
    };
    let response = first.response();
    if method.is_read() || !response.is_success() {
        return Ok(());
    }
    tally.operations += 1;
    let mut lro = match Lro::start(method, &url, FinalState::Unset, &response, None) {
        Ok(Started::Done(_)) => {
            tally.immediate += 1;
            return Ok(());
        }
        Ok(Started::Pending(lro, _)) => *lro,
        Err(error) => {
            // Right only when the recording's scrubbing (or a service) moved the address to another host.
            let named = ["azure-asyncoperation", "operation-location", "location"]
                .iter()
                .filter_map(|h| response.header(h));
            let is_foreign = named.filter_map(|t| url.join(t).ok()).any(|t| !same_origin(&url, &t));
            tally.refused += 1;
            return if is_foreign { Ok(()) } else { Err(format!("refused: {error}")) };
        }
    };
    for exchange in &exchanges[at + 1..] {
        let wanted = lro.next_request();
        if exchange.method != "GET" || !exchange.url().is_some_and(|url| is_same(&url, &wanted.url)) {
            // The same request once more means that the recorded client began anew.
            let is_restart = exchange.method == first.method && exchange.url == first.url;
            if is_restart {
                return Err(format!("still waits for {} when the recording has moved on", wanted.url.path()));
            }
            continue;
        }
        tally.polls += 1;
        let stored = serde_json::to_value(&lro).map_err(|e| e.to_string())?;
        let restored: Lro = serde_json::from_value(stored).map_err(|e| e.to_string())?;
        match restored.handle_response(&exchange.response()) {
            Step::Wait(next, ..) | Step::Final(next) => lro = *next,
            Step::Done(_) => return Ok(()),
            Step::Failed(error) => {
                let said = exchange.body.to_string().to_ascii_lowercase();
                let is_failure = ["\"failed\"", "\"canceled\"", "\"cancelled\"", "\"error\""]
                    .iter()
                    .any(|w| said.contains(w));
                return if is_failure { Ok(()) } else { Err(format!("failed without a reason: {error}")) };
            }
        }
    }
    let asked_for = lro.next_request().url;
    // Recordings end where their test ended; that is fine unless the address occurs nowhere at all after a later poll.
    let was_polled =
        exchanges[at + 1..].iter().filter_map(Exchange::url).any(|url| is_same(&url, &asked_for));
    let others = exchanges[at + 1..].iter().filter_map(Exchange::url).any(|u| is_status(&u, &asked_for));
    if !was_polled && others {
        return Err(format!("waits for {}, which the recorded client never asked for", asked_for.path()));
    }
    tally.cut_off += 1;
    Ok(())
}

/// Returns whether a recorded request is the one that we want to send.
///
/// Azure CLI's recordings rename deployments in requests and not in headers: one other segment of a status address may
/// differ.
fn is_same(recorded: &Url, wanted: &Url) -> bool {
    if recorded == wanted {
        return true;
    }
    let segments = |url: &Url| url.path().split('/').map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (segments(wanted), segments(recorded));
    let differ = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
    is_status(recorded, wanted)
        && ours.len() == theirs.len()
        && recorded.query() == wanted.query()
        && differ == 1
}

/// Returns whether an address could be the status of the operation that we follow under another address.
fn is_status(url: &Url, ours: &Url) -> bool {
    let last = |url: &Url| url.path_segments().and_then(|mut s| s.next_back().map(str::to_ascii_lowercase));
    same_origin(url, ours) && last(url) == last(ours) && url.path().to_ascii_lowercase().contains("operation")
}

#[test]
fn recorded_operations_are_followed_as_their_clients_did() {
    let Ok(entries) = std::fs::read_dir(folder()) else {
        println!("skipped: no recordings in {}", folder().display());
        return;
    };
    let mut tally = Tally::default();
    let mut problems = Vec::new();
    for path in entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let recording: Recording = serde_json::from_str(&text).unwrap();
        tally.files += 1;
        for at in 0..recording.exchanges.len() {
            if let Err(problem) = replay(&recording.exchanges, at, &mut tally) {
                problems.push(format!("{} [{at}]: {problem}", path.display()));
            }
        }
    }
    println!(
        "replayed {} recordings: {} accepted writes ({} done at once, {} foreign addresses refused, {} cut off by the end), {} polls",
        tally.files, tally.operations, tally.immediate, tally.refused, tally.cut_off, tally.polls
    );
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
