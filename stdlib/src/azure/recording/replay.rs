//! Replays recorded exchanges: the state machine must ask for exactly what the recorded client asked for, and come to
//! the value that the recorded client read.

use reqwest::Url;
use serde_json::Value;

use super::{Recorded, Recording};
use crate::azure::lro::{FinalState, Lro, Started, Step};
use crate::azure::wire::{Method, Response, same_origin};

impl Recorded {
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

    fn url(&self) -> Result<Url, String> {
        self.url.parse().map_err(|e| format!("`{}` is no address: {e}", self.url))
    }

    /// Returns whether this is a read of an address.
    fn reads(&self, url: &Url) -> bool {
        self.method == "GET" && self.url().is_ok_and(|own| is_same(&own, url))
    }
}

/// What replaying came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Writes that were accepted.
    pub operations: usize,
    /// Those of them that were done at once.
    pub immediate: usize,
    /// How often an operation was asked about.
    pub polls: usize,
    /// Operations whose recording ends before they do.
    pub cut_off: Vec<String>,
}

impl Recording {
    /// Replays every operation of the recording.
    ///
    /// # Errors
    /// Where we would have asked for something else than the recorded client did, or read something else from the answers.
    pub fn replay(&self) -> Result<Replayed, Vec<String>> {
        let mut replayed = Replayed::default();
        let all = 0..self.exchanges.len();
        let problems: Vec<String> = all
            .filter_map(|at| {
                let problem = replay(&self.exchanges, at, &mut replayed).err()?;
                Some(format!("[{at}]: {problem}"))
            })
            .collect();
        if problems.is_empty() { Ok(replayed) } else { Err(problems) }
    }
}

/// Replays the operation that starts at `at`.
///
/// Which later exchanges belong to it: GETs of an address that the operation itself named or of the resource, in order,
/// until the operation ends. A retry of the same poll after a passing trouble belongs to it too. Other requests in
/// between (of a test that does several things at once) are passed over.
fn replay(exchanges: &[Recorded], at: usize, tally: &mut Replayed) -> Result<(), String> {
    let first = &exchanges[at];
    let method = Method::parse(&first.method).ok_or_else(|| format!("unknown method {}", first.method))?;
    let (url, response) = (first.url()?, first.response());
    // What Graph or a directory answers to its own clients is not Azure Resource Manager's.
    if method.is_read() || !response.is_success() || !is_resource_manager(&url) {
        return Ok(());
    }
    tally.operations += 1;
    let later = &exchanges[at + 1..];
    let statuses = addresses(&url, &response, "azure-asyncoperation");
    let mut locations = addresses(&url, &response, "location");
    let mut lro = match Lro::start(method, &url, FinalState::Unset, &response, None) {
        Ok(Started::Done(value)) => {
            tally.immediate += 1;
            return match value == *response.json() {
                true => Ok(()),
                false => Err(format!("done with {value}, and the answer was {}", response.json())),
            };
        }
        Ok(Started::Pending(lro, _)) => *lro,
        Err(error) => return Err(format!("refused: {error}")),
    };
    let mut followed = 0;
    for (index, exchange) in later.iter().enumerate() {
        let wanted = lro.next_request();
        if !exchange.reads(&wanted.url) {
            // The same request once more means that the recorded client began anew.
            if exchange.method == first.method && exchange.url == first.url {
                return Err(format!("still waits for {} when the recording has moved on", wanted.url.path()));
            }
            continue;
        }
        tally.polls += 1;
        followed = index + 1;
        let answer = exchange.response();
        locations.extend(addresses(&url, &answer, "location"));
        let stored = serde_json::to_value(&lro).map_err(|e| e.to_string())?;
        let restored: Lro = serde_json::from_value(stored).map_err(|e| e.to_string())?;
        match restored.handle_response(&answer) {
            Step::Wait(next, ..) | Step::Final(next) => lro = *next,
            Step::Done(value) => {
                let read = Read { statuses, locations, asked: &later[..=index], next: later.get(index + 1) };
                return read.gives(method, &url, &value);
            }
            Step::Failed(error) => {
                let said = exchange.body.to_string().to_ascii_lowercase();
                let is_failure = ["\"failed\"", "\"canceled\"", "\"cancelled\"", "\"error\""]
                    .iter()
                    .any(|w| said.contains(w));
                return if is_failure { Ok(()) } else { Err(format!("failed without a reason: {error}")) };
            }
        }
    }
    // Recordings end where their test ended. A client that asked elsewhere instead knew better than we do.
    let asked_for = lro.next_request().url;
    let was_asked = later.iter().any(|e| e.reads(&asked_for));
    let elsewhere =
        later[followed..].iter().filter_map(|e| e.url().ok()).find(|url| is_status(url, &asked_for));
    if let Some(other) = elsewhere.filter(|_| !was_asked) {
        return Err(format!(
            "waits for {}, where the recorded client asked for {}",
            asked_for.path(),
            other.path()
        ));
    }
    tally.cut_off.push(format!("[{at}] {method} {}", url.path()));
    Ok(())
}

/// What the recorded client had been told and asked when the operation was over.
struct Read<'a> {
    statuses: Vec<Url>,
    locations: Vec<Url>,
    asked: &'a [Recorded],
    /// Only the client's own next request: later ones may read the address for another reason.
    next: Option<&'a Recorded>,
}

impl Read<'_> {
    /// Compares a result with what the recorded client read.
    fn gives(&self, method: Method, url: &Url, value: &Value) -> Result<(), String> {
        if let Some(unread) = self.next.filter(|e| self.locations.iter().any(|l| e.reads(l))) {
            let said = unread.response();
            if said.is_success() && said.json() != value {
                return Err(format!("did not read `Location`: {value} instead of {}", said.json()));
            }
        }
        let last = self.asked.last().ok_or("nothing was asked")?;
        let expected = match method {
            Method::Put | Method::Patch => {
                let read = self.asked.iter().rev().find(|e| e.reads(url));
                read.map(|e| e.body.clone()).ok_or("the resource was not read")?
            }
            Method::Post if self.statuses.iter().all(|s| !last.reads(s)) => last.body.clone(),
            _ => last.body.get("properties").cloned().unwrap_or_default(),
        };
        match *value == expected {
            true => Ok(()),
            false => Err(format!("came to {value} instead of {expected}")),
        }
    }
}

fn addresses(url: &Url, response: &Response, header: &str) -> Vec<Url> {
    response.header(header).and_then(|target| url.join(target).ok()).into_iter().collect()
}

fn is_resource_manager(url: &Url) -> bool {
    url.host_str() == Some("management.azure.com")
}

/// Returns whether a recorded request is the one that we want to send.
///
/// Azure CLI's recordings rename deployments in requests and not in headers: one other segment of a status address may
/// differ.
fn is_same(recorded: &Url, wanted: &Url) -> bool {
    if recorded == wanted {
        return true;
    }
    let segments = |url: &Url| url.path().split('/').map(str::to_ascii_lowercase).collect::<Vec<_>>();
    let (ours, theirs) = (segments(wanted), segments(recorded));
    let differ: Vec<_> = ours.iter().zip(&theirs).filter(|(a, b)| a != b).collect();
    let is_renamed = match differ.as_slice() {
        [] => true,
        // Status and result of one operation are two addresses.
        [(ours, theirs)] => {
            !(ours.contains("operation") && theirs.contains("operation")) && is_status(recorded, wanted)
        }
        _ => false,
    };
    same_origin(recorded, wanted)
        && ours.len() == theirs.len()
        && recorded.query() == wanted.query()
        && is_renamed
}

/// Returns whether an address could be the status of the operation that we follow under another address.
fn is_status(url: &Url, ours: &Url) -> bool {
    let last = |url: &Url| url.path_segments().and_then(|mut s| s.next_back().map(str::to_ascii_lowercase));
    same_origin(url, ours) && last(url) == last(ours) && url.path().to_ascii_lowercase().contains("operation")
}

#[cfg(test)]
mod tests {
    //! `RELIGHT_RECORDINGS` names the folder. Named and missing, it is a failure; a checkout without one says on stderr that
    //! nothing was replayed, and replays the exchanges that stand here.

    use std::path::{Path, PathBuf};

    use serde_json::json;

    use super::*;
    use crate::azure::client::Exchange;
    use crate::azure::recording::Scrubber;

    fn folder() -> Option<PathBuf> {
        if let Some(named) = std::env::var_os("RELIGHT_RECORDINGS") {
            return Some(named.into());
        }
        let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/recordings");
        usual.is_dir().then_some(usual)
    }

    /// The same as a recording of ours: with other names, and without what is said to others than Azure Resource Manager.
    fn scrubbed(recording: &Recording) -> Recording {
        let mut scrubber = Scrubber::default();
        let ours = recording.exchanges.iter().filter(|it| is_resource_manager(&it.url().unwrap()));
        let exchanges = ours.map(|recorded| {
            let (url, answer) = (recorded.url().unwrap(), recorded.response());
            let method = Method::parse(&recorded.method).unwrap();
            let request = Some(&recorded.request);
            scrubber.exchange(&Exchange { method, url: &url, request, answer: &answer, step: None })
        });
        Recording { source: String::new(), exchanges: exchanges.collect() }
    }

    #[test]
    fn recorded_operations_come_to_what_their_clients_read() {
        let Some(folder) = folder() else {
            eprintln!("no recordings here: RELIGHT_RECORDINGS names a folder of them");
            return;
        };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "json"))
            .collect();
        paths.sort_unstable();
        assert!(!paths.is_empty(), "there is no recording in {}", folder.display());
        let mut problems = Vec::new();
        let mut operations = 0;
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap();
            let recording: Recording = serde_json::from_str(&text).unwrap();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match recording.replay() {
                Ok(replayed) => {
                    println!("{name}: {replayed:?}");
                    operations += replayed.operations;
                    let scrubbed = scrubbed(&recording).replay();
                    let counts = |it: &Replayed| (it.operations, it.immediate, it.polls, it.cut_off.len());
                    assert_eq!(
                        scrubbed.as_ref().map(counts),
                        Ok(counts(&replayed)),
                        "{name}, with other names"
                    );
                }
                Err(found) => problems.extend(found.into_iter().map(|problem| format!("{name} {problem}"))),
            }
        }
        assert!(operations > 0, "nothing was accepted in any recording");
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    /// The shape of a recorded run command of Compute: status and `Location` differ by their query, and only `Location` has
    /// the value. It stands here so that a checkout without recordings replays something.
    fn run_command() -> Vec<Recorded> {
        let status = "https://management.azure.com/subscriptions/s/providers/Microsoft.Compute/locations/westus/operations/1?p=7&api-version=2022-11-01";
        let location = status.replace("&api", "&monitor=true&api");
        let value = json!({"value": [{"code": "ProvisioningState/succeeded", "message": "hello"}]});
        let exchanges = json!([
            {"method": "POST", "url": "https://management.azure.com/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v/runCommand?api-version=2022-11-01",
             "status": 202, "headers": {"azure-asyncoperation": status, "location": location}, "body": null},
            {"method": "GET", "url": status, "status": 200, "headers": {}, "body": {"status": "Succeeded", "properties": {"output": value}}},
            {"method": "GET", "url": location, "status": 200, "headers": {}, "body": value},
        ]);
        serde_json::from_value(exchanges).expect("exchanges")
    }

    #[test]
    fn a_run_command_comes_to_what_its_location_says() {
        let recording = Recording { source: String::new(), exchanges: run_command() };
        for recording in [scrubbed(&recording), recording] {
            let replayed = recording.replay().unwrap();
            assert_eq!((replayed.operations, replayed.polls, replayed.cut_off.len()), (1, 2, 0));
        }
    }

    #[test]
    fn a_replay_notices_what_is_wrong() {
        let exchanges = run_command();
        let (asked, rest) = exchanges[1..].split_at(1);
        let output = asked[0].body["properties"].clone();
        let mut read = Read {
            statuses: vec![asked[0].url().unwrap()],
            locations: vec![rest[0].url().unwrap()],
            asked,
            next: rest.first(),
        };
        let gives = |read: &Read<'_>, value| read.gives(Method::Post, &exchanges[0].url().unwrap(), value);
        let problem = gives(&read, &output).unwrap_err();
        assert!(problem.contains("did not read `Location`"), "{problem}");
        read.next = None;
        assert!(gives(&read, &output).is_ok());
        let problem = gives(&read, &json!(1)).unwrap_err();
        assert!(problem.contains("came to 1"), "{problem}");

        let mut foreign = run_command();
        foreign[0].headers.insert("azure-asyncoperation".into(), json!("https://evil.example/operations/1"));
        let problem = replay(&foreign, 0, &mut Replayed::default()).unwrap_err();
        assert!(problem.contains("refused"), "{problem}");
    }
}
