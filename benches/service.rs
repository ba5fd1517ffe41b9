//! What the service costs whoever asks it, beside a server that does nothing, and how long a run stands still when its service is killed.
//!
//! Services and the bare server are processes of their own, so that nobody shares a runtime with those who ask. The bare server is
//! made of the same library and answers with as many bytes.
#![allow(clippy::unwrap_used)]

mod common;

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Table, Times, folder, is_quick, runtime, show};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

const BARE: &str = "RELIGHT_BENCH_BARE";
/// What stands before the address of a service on its standard error.
const LISTENING: &str = "listening at ";
/// How many ask at the same time.
const ASKING: usize = 8;

fn main() {
    if let Ok(bytes) = std::env::var(BARE) {
        return runtime().block_on(answer_nothing(bytes.parse().unwrap()));
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = folder();
    let runtime = runtime();
    runtime.block_on(async {
        let mut table = Table::new("The service");
        requests(&mut table, place.path()).await;
        takeover(&mut table, place.path()).await;
        table.print();
    });
}

/// A child that says where it listens, and is killed with this.
struct Listening(Child, String);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Listening {
    /// Starts one, and reads what stands behind some words on its standard error.
    fn start(mut command: Command, words: &str) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines.find_map(|line| Some(line.unwrap().split_once(words)?.1.trim().to_owned()));
        // Whoever is not read stands still once the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Listening(child, url.unwrap())
    }
}

fn relight(place: &Path) -> Command {
    let mut relight = Command::new(env!("CARGO_BIN_EXE_relight"));
    relight.env("RELIGHT_STATE", place.join("state")).env("RELIGHT_LIBRARY", place).current_dir(place);
    relight
}

fn serve(place: &Path) -> Listening {
    let mut serve = relight(place);
    serve.args(["serve", "--lab", "--listen", "127.0.0.1:0"]);
    Listening::start(serve, LISTENING)
}

/// A lab that several services share, in which time goes as it does here.
fn lab(place: &Path) -> Listening {
    let mut lab = relight(place);
    lab.args(["lab", "--speed", "1"]);
    Listening::start(lab, "The lab is at ")
}

/// Whoever asks a service.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    async fn get(&self, path: &str) -> Bytes {
        let answer =
            self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.bytes().await.unwrap()
    }

    async fn begin(&self, runbook: &str) -> String {
        let url = format!("{}/v1/runs", self.url);
        let asked = self.http.post(url).bearer_auth(&self.token).json(&json!({ "runbook": runbook }));
        let run: Value = asked.send().await.unwrap().json().await.unwrap();
        run["id"].as_str().unwrap().to_owned()
    }

    async fn show(&self, run: &str) -> Value {
        serde_json::from_slice(&self.get(&format!("/v1/runs/{run}")).await).unwrap()
    }
}

fn client(place: &Path, service: &Listening) -> Client {
    let mut create = relight(place);
    create.args(["token", "create", &format!("bench-{}", service.0.id()), "--role", "admin", "--lab"]);
    let token = String::from_utf8(create.output().unwrap().stdout).unwrap().trim().to_owned();
    Client { http: reqwest::Client::new(), url: service.1.clone(), token }
}

/// Requests per second and how long each took.
async fn asked(client: &Client, path: &str, times: usize) -> (f64, Times) {
    let began = Instant::now();
    let asking: Vec<_> = (0..ASKING)
        .map(|_| {
            let (client, path) = (client.clone(), path.to_owned());
            tokio::spawn(async move {
                let mut took = Vec::with_capacity(times / ASKING);
                for _ in 0..times / ASKING {
                    let began = Instant::now();
                    client.get(&path).await;
                    took.push(began.elapsed());
                }
                took
            })
        })
        .collect();
    let mut all = Times::default();
    for one in asking {
        one.await.unwrap().into_iter().for_each(|took| all.push(took));
    }
    (times as f64 / began.elapsed().as_secs_f64(), all)
}

async fn requests(table: &mut Table, place: &Path) {
    std::fs::write(
        place.join("quick.rhai"),
        "/*---\ntitle = \"Quick\"\n---*/\nfor n in 0..5 { note(\"here\") }",
    )
    .unwrap();
    let (runs, times) = if is_quick() { (5, 80) } else { (200, 8_000) };
    let _lab = lab(place);
    let service = serve(place);
    let client = client(place, &service);
    let mut run = String::new();
    for _ in 0..runs {
        run = client.begin("quick").await;
    }
    while client.show(&run).await["status"] != "succeeded" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (what, path) in [
        ("what it is", "/v1/about".to_owned()),
        ("one run with its steps", format!("/v1/runs/{run}")),
        ("20 runs", "/v1/runs?limit=20".to_owned()),
    ] {
        let bytes = client.get(&path).await.len();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(BARE, bytes.to_string());
        let bare = Listening::start(command, LISTENING);
        let beside = Client { url: bare.1.clone(), ..client.clone() };
        // In turn, so that what else the machine does hits both.
        let (mut ours, mut theirs) = ((0.0, Times::default()), (0.0, Times::default()));
        for _ in 0..3 {
            for (client, best) in [(&beside, &mut theirs), (&client, &mut ours)] {
                let (rate, times) = asked(client, &path, times).await;
                if rate > best.0 {
                    *best = (rate, times);
                }
            }
        }
        let spread = |(rate, times): &(f64, Times)| {
            format!("{rate:.0}/s, p50 {}, p99 {}", show(times.median()), show(times.at(99)))
        };
        table.note(
            format!("{what}, {bytes} bytes, {ASKING} at a time"),
            format!("{}; bare {} ({:.2} x)", spread(&ours), spread(&theirs), ours.0 / theirs.0),
        );
    }
}

/// Answers every request with so many bytes.
async fn answer_nothing(bytes: usize) {
    let body = Bytes::from(vec![b'x'; bytes]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    eprintln!("{LISTENING}http://{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let body = body.clone();
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(move |_| {
                let body = http_body_util::Full::new(body.clone());
                async move { Ok::<_, Infallible>(hyper::Response::new(body)) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// Two services on one database: one drives a run and is killed.
async fn takeover(table: &mut Table, place: &Path) {
    let place = &place.join("two");
    std::fs::create_dir_all(place).unwrap();
    std::fs::write(place.join("ticks.rhai"), "/*---\ntitle = \"Ticks\"\n---*/\nloop { wait(\"100ms\"); }")
        .unwrap();
    let mut times = Times::default();
    let _lab = lab(place);
    let mut leader = serve(place);
    for round in 0..if is_quick() { 1 } else { 10 } {
        let client = client(place, &leader);
        let run = client.begin("ticks").await;
        while client.show(&run).await["seq"].as_u64().unwrap() < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let next = serve(place);
        let other = Client { url: next.1.clone(), ..client };
        let epoch = other.show(&run).await["epoch"].clone();
        // It looks for what is left behind once a second: each kill comes in another part of that.
        tokio::time::sleep(Duration::from_millis(1_000 + 97 * round)).await;
        leader.0.kill().unwrap();
        let killed = Instant::now();
        while other.show(&run).await["epoch"] == epoch {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times.push(killed.elapsed());
        let stop = format!("{}/v1/runs/{run}/stop", other.url);
        other.http.post(stop).bearer_auth(&other.token).json(&json!({})).send().await.unwrap();
        leader = next;
    }
    table.note(
        "a run whose service is killed goes on with another after",
        format!("p50 {}, at most {}", show(times.median()), show(times.at(100))),
    );
}
