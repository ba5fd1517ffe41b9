//! SSH through Azure Relay: our own session beside OpenSSH's client, which comes by `relight proxy` through the same relay.
//!
//! The relay is the lab's, in this process; the server is a real `sshd`. Without one this program says so and measures
//! nothing. The delay lies behind the relay, half of it each way.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Table, Times, folder, is_quick, middle, runtime, show, time};
use jiff::Timestamp;
use relight_engine::clock::{Clock, ScaledClock};
use relight_lab::{Guest, Lab, LabConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::unbounded_channel;

/// How much is carried each way.
const BULK: usize = 64 << 20;
/// The delays of a round trip.
const DELAYS: [u64; 2] = [0, 80];
/// What our own session must reach of OpenSSH's rate.
const GOAL_RATE: f64 = 0.9;
/// How many tunnels idle.
const IDLE: usize = 100;

fn main() {
    let Some(sshd) = ["/usr/sbin/sshd", "/usr/bin/sshd"].iter().map(Path::new).find(|path| path.is_file())
    else {
        println!("nothing is measured: there is no OpenSSH server here");
        return;
    };
    let runtime = runtime();
    let site = runtime.block_on(Site::start(sshd));
    let rounds = if is_quick() { 1 } else { 5 };
    let mut table = Table::new("SSH through Azure Relay");
    for delay in DELAYS {
        let at = runtime.block_on(delayed(site.sshd, Duration::from_millis(delay / 2)));
        site.lab.serve_guest(Guest { machine: "db-01".into(), port: 22, at });
        let first = |describe: &dyn Fn(&str) -> Command| {
            let mut times = Times::default();
            for _ in 0..rounds * 2 {
                times.push(time(|| succeed(&mut describe("true"), None)).1);
            }
            times
        };
        let (own, theirs) = (first(&|command| site.own(command)), first(&|command| site.openssh(command)));
        table.note(
            format!("first answer, {delay} ms"),
            format!("{} beside {}", show(own.median()), show(theirs.median())),
        );
        for (way, command, input) in
            [("down", site.sends(), None), ("up", "cat > /dev/null".to_owned(), Some(site.bulk()))]
        {
            let rate = |describe: &dyn Fn(&str) -> Command| {
                let took = time(|| succeed(&mut describe(&command), input.as_deref())).1;
                BULK as f64 / took.as_secs_f64() / 1e6
            };
            // In pairs, so that what else the machine does meets both.
            let pairs: Vec<(f64, f64)> =
                (0..rounds).map(|_| (rate(&|c| site.own(c)), rate(&|c| site.openssh(c)))).collect();
            let [own, theirs]: [Vec<f64>; 2] =
                [pairs.iter().map(|p| p.0).collect(), pairs.iter().map(|p| p.1).collect()];
            let ratios: Vec<f64> = pairs.iter().map(|(own, theirs)| own / theirs).collect();
            table.note(
                format!("{way}, {delay} ms"),
                format!("{:.0} MB/s beside {:.0} MB/s", middle(&own), middle(&theirs)),
            );
            let ratio = middle(&ratios);
            table.goal("  ratio", format!("{ratio:.2}"), "0.9", ratio >= GOAL_RATE);
        }
    }
    idle(&site, &mut table);
    table.print();
}

/// Holds tunnels open that carry nothing, and says what they cost.
fn idle(site: &Site, table: &mut Table) {
    let count = if is_quick() { 3 } else { IDLE };
    let tunnels: Vec<Running> = (0..count).map(|_| Running(site.proxy().spawn().unwrap())).collect();
    std::thread::sleep(Duration::from_secs(if is_quick() { 2 } else { 15 }));
    let pids: Vec<u32> = tunnels.iter().map(|tunnel| tunnel.0.id()).collect();
    let (Some(before), Some(memory)) = (ticks(&pids), pss(&pids)) else {
        return table.note("idle tunnels", "n/a");
    };
    let watched = Duration::from_secs(if is_quick() { 1 } else { 60 });
    std::thread::sleep(watched);
    let used = ticks(&pids).unwrap_or(before) - before;
    let share = used as f64 * 10.0 / watched.as_secs_f64() / 10.0;
    table.note(
        format!("{count} idle tunnels, a process each"),
        format!("{:.1} MB each, {share:.2} % of one core in all", memory as f64 / 1024.0 / count as f64),
    );
}

/// Returns the processor time of processes, in hundredths of a second.
fn ticks(pids: &[u32]) -> Option<u64> {
    let one = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    pids.iter().map(one).sum()
}

/// Returns the memory of processes in KB, what they share counted once.
fn pss(pids: &[u32]) -> Option<u64> {
    let one = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    pids.iter().map(one).sum()
}

struct Site {
    lab: Lab,
    folder: tempfile::TempDir,
    sshd: SocketAddr,
    _server: Running,
}

/// A process that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    async fn start(sshd: &Path) -> Self {
        let now = Timestamp::now();
        let clock = ScaledClock { origin: now, began: now, speed: 240 };
        let config = LabConfig { speed: 240, ..LabConfig::new(Arc::new(move || clock.now())) };
        let lab = Lab::start(config).await.unwrap();
        let folder = folder();
        let card = json!({
            "descriptor": lab.descriptor(),
            "clock": {"origin": now, "began": now, "speed": 240, "until": now},
            "serves": true,
        });
        fs::write(folder.path().join("lab.json"), card.to_string()).unwrap();
        fs::write(folder.path().join("bulk"), bulk()).unwrap();
        for name in ["host_key", "user_key"] {
            let mut made = Command::new("ssh-keygen");
            made.args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(folder.path().join(name));
            succeed(&mut made, None);
        }
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let place = folder.path().display();
        let config = format!(
            "ListenAddress {at}\nHostKey {place}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n\
             AuthorizedKeysFile {place}/user_key.pub\nMaxStartups 200\n"
        );
        fs::write(folder.path().join("sshd_config"), config).unwrap();
        let _ = fs::create_dir_all("/run/sshd");
        let mut server = Command::new(sshd);
        server.args(["-D", "-e", "-f"]).arg(folder.path().join("sshd_config"));
        let server = Running(server.stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(at).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let site = Site { lab, folder, sshd: at, _server: server };
        site.lab.serve_guest(Guest { machine: "db-01".into(), port: 22, at });
        let key = fs::read_to_string(site.path("host_key.pub")).unwrap();
        let script = format!(
            "/*---\ntitle = \"Let in\"\neffects = [\"azure:write\", \"ssh\"]\n---*/\nlet m = arc::machine(\"db-01\");\n\
             arm::register(\"Microsoft.HybridConnectivity\"); arc::endpoint_create(m); arc::service_configure(m);\n\
             ssh::trust(m, [\"{}\"])\n",
            key.trim()
        );
        fs::write(site.path("let-in.rhai"), script).unwrap();
        tokio::task::block_in_place(|| {
            succeed(site.relight(&["run"]).arg(site.path("let-in.rhai")), None);
            fs::write(site.path("config"), site.config()).unwrap();
        });
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Describes a call of the command.
    fn relight(&self, args: &[&str]) -> Command {
        let mut call = Command::new(env!("CARGO_BIN_EXE_relight"));
        call.arg(args[0]).arg(format!("--lab={}", self.path("lab.json").display())).args(&args[1..]);
        call.env("RELIGHT_STATE", self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("SSH_AUTH_SOCK");
        call.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        call
    }

    fn own(&self, command: &str) -> Command {
        let mut call = self.relight(&["connect", "-i"]);
        call.arg(self.path("user_key")).arg(format!("{}@db-01", user())).args(["--", command]);
        call
    }

    fn openssh(&self, command: &str) -> Command {
        let mut call = Command::new("ssh");
        call.arg("-F").arg(self.path("config")).args(["db", command]);
        call.env("RELIGHT_STATE", self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("SSH_AUTH_SOCK");
        call.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        call
    }

    /// Describes a tunnel whose input stays open.
    fn proxy(&self) -> Command {
        let mut call = self.relight(&["proxy", "db-01"]);
        call.stdin(Stdio::piped());
        call
    }

    fn config(&self) -> String {
        let place = self.folder.path().display();
        let program = env!("CARGO_BIN_EXE_relight");
        format!(
            "Host db\n  HostName db-01\n  User {}\n  IdentityFile {place}/user_key\n  IdentitiesOnly yes\n  BatchMode yes\n  \
             StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  \
             ProxyCommand {program} proxy --lab={place}/lab.json %h %p\n",
            user()
        )
    }

    fn sends(&self) -> String {
        format!("cat {}", self.path("bulk").display())
    }

    fn bulk(&self) -> Vec<u8> {
        fs::read(self.path("bulk")).unwrap()
    }
}

/// Bytes that do not shrink.
fn bulk() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(BULK);
    while bytes.len() < BULK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs something that must succeed.
fn succeed(call: &mut Command, input: Option<&[u8]>) {
    if input.is_some() {
        call.stdin(Stdio::piped());
    }
    let mut child = call.spawn().unwrap();
    std::thread::scope(|scope| {
        if let (Some(bytes), Some(mut pipe)) = (input, child.stdin.take()) {
            scope.spawn(move || pipe.write_all(bytes));
        }
        let status = child.wait().unwrap();
        assert!(status.success(), "{call:?}: {status}");
    });
}

/// Opens a port that leads to another one, with a delay each way and room for all that is under way.
async fn delayed(to: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = tokio::net::TcpStream::connect(to).await else { continue };
            for stream in [&near, &far] {
                let _ = stream.set_nodelay(true);
            }
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(late(near_in, far_out, delay));
            tokio::spawn(late(far_in, near_out, delay));
        }
    });
    at
}

/// Carries bytes one way, each a while after it came.
async fn late(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
) {
    let (send, mut queue) = unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if send.send((tokio::time::Instant::now() + delay, bytes[..count].to_vec())).is_err() {
            return;
        }
    }
}
