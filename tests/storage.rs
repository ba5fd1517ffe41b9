//! Disks that are full, gone, read-only or wrong, and clocks that jump: the run stops rather than lies, and goes on
//! once it is mended.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::SignedDuration;
use relight_engine::Driven;
use relight_engine::clock::Clock;
use relight_engine::event::{Park, RunEnd};

use crate::support::stage::{Ended, Stage, ended};
use crate::support::world::{FLAGSHIP, Ran, World, minutes, repeated};

const SPEED: u32 = 300;
const RUN: [&str; 3] = ["run", FLAGSHIP, "vm=web-01"];

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"))
}

/// A storage error: its code, what failed, and what to do.
#[track_caller]
fn assert_storage(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(5), "{ended:?}");
    let text = ended.err.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing: Vec<&&str> = words.iter().filter(|word| !text.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} is missing in:\n{}", ended.err);
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
}

/// Goes on until the run is over, and asserts that nothing was lost or done twice.
#[track_caller]
fn assert_goes_on(stage: &Stage) {
    let run = stage.newest(FLAGSHIP).expect("the run is still there");
    let run = run["id"].as_str().expect("an id");
    let ended = stage.relight(&["runs", "resume", run]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_done_once(stage);
}

#[track_caller]
fn assert_done_once(stage: &Stage) {
    assert_eq!(repeated(&stage.lab.ledger()), Vec::<String>::new());
    assert_eq!(stage.lab.ledger().iter().filter(|entry| entry.effect).count(), 1);
    assert_eq!(stage.rdp_files().len(), 1);
    assert_eq!(stage.complaints(), Vec::<String>::new());
}

/// Makes a run that died half-way, and closes its database properly.
fn half_way(stage: &Stage, record: u64) {
    let dead = stage.crashes_after(record, &RUN);
    assert_eq!(dead.code, None, "{dead:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_folder_in_place_of_the_database() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        assert_eq!(stage.relight(&["runs"]).code, Some(0));
        let database = stage.database();
        let aside = database.with_extension("aside");
        half_way(&stage, 5);
        fs::rename(&database, &aside).expect("moved");
        fs::create_dir(&database).expect("a folder");
        let refused = stage.relight(&RUN);
        assert_storage(&refused, &["relight.db"]);
        assert!(
            refused.err.contains("help:") || refused.err.contains("hint"),
            "no next step:\n{}",
            refused.err
        );
        assert_storage(&stage.relight(&["runs"]), &["relight.db"]);
        assert!(stage.lab.ledger().is_empty(), "nothing is sent without a journal");
        fs::remove_dir(&database).expect("removed");
        fs::rename(&aside, &database).expect("moved back");
        assert_goes_on(&stage);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_state_folder_that_cannot_be_made() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        stage.sealed.write("state", "a file in place of the folder");
        let refused = stage.relight(&RUN);
        assert_storage(&refused, &["state", "RELIGHT_STATE"]);
        assert!(stage.lab.ledger().is_empty());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_is_read_only() {
    if is_root() {
        println!(
            "skipped: root writes to read-only files; `a_folder_in_place_of_the_database` covers this for root"
        );
        return;
    }
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        half_way(&stage, 5);
        let state = stage.state();
        let set = |mode| fs::set_permissions(&state, fs::Permissions::from_mode(mode)).expect("permissions");
        let set_file = |mode| {
            fs::set_permissions(stage.database(), fs::Permissions::from_mode(mode)).expect("permissions")
        };
        set_file(0o400);
        set(0o500);
        let refused = stage.relight(&RUN);
        set(0o700);
        set_file(0o600);
        assert_storage(&refused, &["relight.db"]);
        assert!(stage.lab.ledger().is_empty());
        assert_goes_on(&stage);
    });
}

/// A process whose files may not grow any further: what it cannot record it does not do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_fills_up_at_any_moment() {
    let mut refused_points = 0;
    let mut limits: Vec<u64> = (0..12).map(|step| 40 + 25 * step).collect();
    limits.push(4096);
    let mut was_done = false;
    for limit in limits {
        let stage = Stage::new(SPEED).await;
        tokio::task::block_in_place(|| {
            // The tables are there before the disk is full.
            assert_eq!(stage.relight(&["runs"]).code, Some(0));
            let plain = stage.command(&RUN);
            // `ulimit -f` counts blocks of 512 bytes; the signal that would kill is ignored, so that writes fail.
            let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"");
            let mut limited = Command::new("/bin/sh");
            limited.args(["-c", &script]).arg(plain.get_program()).args(plain.get_args()).env_clear();
            limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
            limited.current_dir(plain.get_current_dir().expect("a folder"));
            limited
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped());
            let first = ended(limited.spawn().expect("a shell starts"));
            match first.code {
                Some(0) => {
                    assert_done_once(&stage);
                    was_done = true;
                }
                Some(5) => {
                    refused_points += 1;
                    assert!(!first.err.contains("panicked"), "{}", first.err);
                    match stage.newest(FLAGSHIP) {
                        Some(_) => assert_goes_on(&stage),
                        None => {
                            assert!(stage.lab.ledger().is_empty(), "limit {limit}: sent without a record");
                            assert_eq!(stage.relight(&RUN).code, Some(0));
                            assert_done_once(&stage);
                        }
                    }
                }
                _ => panic!("limit {limit}: neither done nor a storage error: {first:?}"),
            }
        });
    }
    println!("storage: the disk was full at {refused_points} points");
    assert!(refused_points >= 3 && was_done, "the limits miss the run: {refused_points}, {was_done}");
}

/// A real full disk, where one can be made.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk() {
    let stage = Stage::new(SPEED).await;
    let state = stage.sealed.path("state");
    fs::create_dir(&state).expect("a folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&state).output();
    if !mounted.is_ok_and(|mount| mount.status.success()) {
        println!(
            "skipped: no file system can be mounted here; `a_disk_that_fills_up_at_any_moment` covers this"
        );
        return;
    }
    /// Lets go of the file system even when the test fails.
    struct Mounted<'a>(&'a Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    let _mounted = Mounted(&state);
    tokio::task::block_in_place(|| {
        half_way(&stage, 6);
        let ballast = state.join("ballast");
        // Fills whatever is left.
        let _ = fs::write(&ballast, vec![0; 2 << 20]);
        let run = stage.newest(FLAGSHIP).map(|run| run["id"].as_str().expect("an id").to_owned());
        let refused = stage.relight(&["runs", "resume", run.as_deref().unwrap_or("none")]);
        if refused.code == Some(0) {
            println!("the run fitted into what was left");
            assert_done_once(&stage);
            return;
        }
        assert_storage(&refused, &[]);
        fs::remove_file(&ballast).expect("removed");
        assert_goes_on(&stage);
    });
}

/// Damages one page of the database after another: found and named, never run on as if nothing were wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_damaged_database() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        half_way(&stage, 20);
        let database = stage.database();
        let run = stage.newest(FLAGSHIP).expect("the run")["id"].as_str().expect("an id").to_owned();
        settle_log(&database);
        let intact = fs::read(&database).expect("the database");
        let (mut found, mut harmless, mut wrong) = (0, 0, Vec::new());
        let sent = stage.lab.ledger().len();
        let pages = intact.len() / 4096;
        for page in 0..pages {
            let mut damaged = intact.clone();
            // The middle of the page and its end, where its cells are.
            for at in [64, 2048, 3000, 4000, 4080] {
                damaged[page * 4096 + at] ^= 0x55;
            }
            restore(&database, &damaged);
            let exported = stage.relight(&["runs", "export", &run]);
            let shown = stage.relight(&["runs", "show", &run]);
            for ended in [&exported, &shown] {
                match ended.code {
                    Some(5) => {
                        found += 1;
                        if ended.err.contains("panicked") {
                            wrong.push(format!("page {page}: {}", ended.err));
                        }
                    }
                    // A page that this command does not read; or the id is not found any more.
                    Some(0 | 2) => harmless += 1,
                    other => wrong.push(format!("page {page}: {other:?} {}", ended.err)),
                }
            }
            if exported.code == Some(0) {
                // What is handed out as intact must be.
                let file = stage.sealed.write("export.json", &exported.out);
                let verified = stage.relight(&["runs", "verify", &file.to_string_lossy()]);
                if verified.code != Some(0) {
                    wrong.push(format!("page {page}: exported what does not verify: {}", verified.err));
                }
            }
        }
        println!(
            "storage: {pages} pages damaged in turn, {found} commands found it, {harmless} did not meet it"
        );
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(found > 0, "no damage was found");
        assert_eq!(stage.lab.ledger().len(), sent, "something was sent");
        restore(&database, &intact);
        assert_goes_on(&stage);
    });
}

/// Changes one record's text inside an otherwise sound database: the chain names it, and nothing is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_record_that_somebody_changed() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        half_way(&stage, 12);
        let database = stage.database();
        let run = stage.newest(FLAGSHIP).expect("the run")["id"].as_str().expect("an id").to_owned();
        settle_log(&database);
        let intact = fs::read(&database).expect("the database");
        let sent = stage.lab.ledger().len();
        // The name of the VM, as the recorded argument has it.
        let mut damaged = intact.clone();
        let mut changed = 0;
        for at in 0..damaged.len() - 6 {
            if &damaged[at..at + 6] == b"web-01" {
                damaged[at..at + 6].copy_from_slice(b"web-02");
                changed += 1;
            }
        }
        assert!(changed > 0, "the text is in the database");
        restore(&database, &damaged);
        let refused = stage.relight(&["runs", "resume", &run]);
        assert_storage(&refused, &["record", "damaged", "backup"]);
        assert_eq!(stage.lab.ledger().len(), sent, "something was sent");
        restore(&database, &intact);
        assert_goes_on(&stage);
    });
}

/// The log's end is torn, as a power cut tears it: what was acknowledged before is there, and the run goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_torn_log() {
    let mut torn_points = 0;
    for cut in [1, 100, 2000, 4096, 9000] {
        let stage = Stage::new(SPEED).await;
        tokio::task::block_in_place(|| {
            half_way(&stage, 9);
            let log = stage.state().join("relight.db-wal");
            let bytes = fs::read(&log).unwrap_or_default();
            if bytes.len() as u64 > cut {
                torn_points += 1;
                fs::write(&log, &bytes[..bytes.len() - cut as usize]).expect("written");
                // What a power cut tears was not acknowledged, so that nobody had noted it.
                let _ = fs::remove_file(stage.state().join("relight.db-mark"));
            }
            match stage.newest(FLAGSHIP) {
                // Nothing was sent yet, so that losing the tail of the log loses no effect.
                Some(_) => assert_goes_on(&stage),
                None => assert!(stage.lab.ledger().is_empty()),
            }
        });
    }
    println!("storage: the log was torn at {torn_points} points");
    assert!(torn_points > 0);
}

/// Brings everything into the one file, so that it can be copied.
fn settle_log(database: &Path) {
    let connection = rusqlite::Connection::open(database).expect("the database");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
}

fn restore(database: &Path, bytes: &[u8]) {
    for ending in ["db-wal", "db-shm", "db-mark"] {
        let _ = fs::remove_file(database.with_extension(ending));
    }
    fs::write(database, bytes).expect("written");
}

// ---- clocks ---------------------------------------------------------------------------------------

/// The clock jumps ahead or back while a run waits: late or early by the jump, never twice, never stuck.
#[tokio::test]
async fn a_clock_that_jumps() {
    let mut offenders = Vec::new();
    let jumps: [(&str, i64); 7] = [
        ("a minute ahead", 60),
        ("ten minutes ahead", 600),
        ("an hour ahead", 3600),
        ("nine hours ahead", 9 * 3600),
        ("a minute back", -60),
        ("an hour back", -3600),
        ("a day back", -24 * 3600),
    ];
    for (name, seconds) in jumps {
        for record in [6, 10, 14, 20] {
            let world = World::new().await.on_disk();
            world.restarts_at_once();
            let run =
                world.engine().prepare(&world.request(FLAGSHIP, &[("vm", "web-01")])).await.expect("a run");
            let engine = world.engine_with_jump(record, seconds);
            let mut ran = Ran { run: run.clone(), driven: engine.run(&run).await.expect("driven") };
            for _ in 0..4 {
                if !matches!(ran.driven, Driven::Parked(Park::Exhausted { .. } | Park::Waiting, _)) {
                    break;
                }
                ran = world.resume(&run).await;
            }
            let repeated = repeated(&world.lab.ledger());
            // Who sleeps past the lease finds the console closed, and is told so.
            if let (Driven::Ended(RunEnd::Failed { failure, .. }), true) = (&ran.driven, seconds > 8 * 3600)
                && failure.message.contains("closed again")
                && repeated.is_empty()
            {
                continue;
            }
            if !ran.succeeded() || !repeated.is_empty() {
                offenders.push(format!("{name} at record {record}: {:?} {repeated:?}", ran.driven));
                continue;
            }
            let deadline = world.leases().await.iter().map(|lease| lease.deadline).max();
            world.keep_until(deadline.unwrap_or(world.clock.now()) + minutes(60)).await;
            if !world.leases().await.is_empty() || !world.open_ports().is_empty() {
                offenders.push(format!("{name} at record {record}: {:?} stays open", world.open_ports()));
            }
        }
    }
    println!("storage: the clock jumped {} times", jumps.len() * 4);
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

impl World {
    /// A process during which somebody sets the clock, right after a record.
    fn engine_with_jump(&self, record: u64, seconds: i64) -> relight_engine::Engine {
        let clock = self.clock.clone();
        let left = std::sync::atomic::AtomicU64::new(record);
        self.builder()
            .journal(self.journal.clone())
            .observer(std::sync::Arc::new(move |notice: &relight_engine::Notice| {
                if notice.seq.is_some() && left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                    clock.set(clock.now() + SignedDuration::from_secs(seconds));
                }
            }))
            .build()
            .expect("an engine")
    }
}

/// A laptop that slept through the deadline closes what is open as soon as it wakes.
#[tokio::test]
async fn a_deadline_that_passed_in_sleep_is_kept_on_waking() {
    let world = World::new().await.on_disk();
    let ran = world.run(FLAGSHIP, &[("vm", "web-01"), ("disable_after", "30m")]).await;
    assert!(ran.succeeded());
    world.clock.advance(Duration::from_secs(3 * 24 * 3600));
    let troubles = world.keep_until(world.clock.now() + minutes(10)).await;
    assert_eq!(troubles, Vec::<String>::new());
    assert_eq!(world.leases().await, []);
    assert_eq!(world.open_ports(), Vec::<String>::new());
}
