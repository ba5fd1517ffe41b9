//! Folders to a real SSH server and back, through the lab's relay.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::openssh::{Machine, bulk, digest};
use super::session::{EFFECTS, said, signing_in};
use super::{LOOK, PATIENCE};

/// Makes a folder with files of many sizes, empty folders, and what cannot be carried.
fn fill(folder: &Path) -> BTreeMap<String, String> {
    fs::create_dir_all(folder.join("deep/er/est")).unwrap();
    fs::create_dir_all(folder.join("empty")).unwrap();
    let mut sums = BTreeMap::new();
    for n in 0..40 {
        let name = match n % 3 {
            0 => format!("deep/er/{n}"),
            1 => format!("deep/with space {n}"),
            _ => format!("ü{n}"),
        };
        let bytes = bulk(n * n * 700);
        fs::write(folder.join(&name), &bytes).unwrap();
        sums.insert(name, digest(&bytes));
    }
    symlink("/etc/passwd", folder.join("link")).unwrap();
    symlink("/etc", folder.join("deep/folder-link")).unwrap();
    sums
}

/// Returns the files of a folder with their digests. Nothing else may be in it but folders.
fn sums(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            assert!(!kind.is_symlink(), "{entry:?}");
            if kind.is_dir() {
                left.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                found.insert(name, digest(&fs::read(entry.path()).unwrap()));
            }
        }
    }
    found
}

fn value(out: &str) -> Value {
    let begins = out.find("\n{").map_or(0, |at| at + 1);
    serde_json::from_str(&out[begins..]).unwrap_or_else(|e| panic!("{e}: {out}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_carried_both_ways() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let near = machine.site.sealed.work().join("conf");
    let expected = fill(&near);
    let far = machine.folder.join("far");
    fs::create_dir(&far).unwrap();
    fs::write(far.join("stays"), "theirs").unwrap();
    let session = signing_in(&machine);
    let text = format!(
        "{session}
         let up = ssh::upload(db, \"conf\", \"{0}\", #{{ mode: \"0640\" }});
         let again = ssh::upload(db, \"conf\", \"{0}\");
         let down = ssh::download(db, \"{0}\", \"back\");
         let twice = ssh::download(db, \"{0}/\", \"back\");
         #{{ up: up, again: again.resumed_at, down: down, twice: twice.resumed_at }}",
        far.display()
    );
    let out = machine.script("folders", &EFFECTS, &text, &[]);
    let value = value(&out);
    let whole: u64 = (0..40).map(|n| n * n * 700).sum();
    assert_eq!(value["up"]["bytes"], whole);
    assert_eq!((&value["up"]["resumed_at"], &value["again"]), (&json!(0), &json!(whole)));
    assert_eq!((&value["down"]["resumed_at"], &value["twice"]), (&json!(0), &json!(whole + 6)));
    let skipped = json!([
        {"path": "deep/folder-link", "why": "a link"},
        {"path": "link", "why": "a link"},
    ]);
    assert_eq!(value["up"]["skipped"], skipped);
    let listed: BTreeMap<String, String> = value["up"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["path"].as_str().unwrap().to_owned(), file["sha256"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(listed, expected);

    let mut there = sums(&far);
    assert_eq!(there.remove("stays").as_deref(), Some(digest(b"theirs").as_str()));
    assert_eq!(there, expected);
    assert!(far.join("empty").is_dir() && far.join("deep/er/est").is_dir());
    assert_eq!(fs::metadata(far.join("ü2")).unwrap().permissions().mode() & 0o777, 0o640);
    let time = |file: &Path| fs::metadata(file).unwrap().mtime();
    assert_eq!(time(&far.join("ü2")), time(&near.join("ü2")));

    let back = machine.site.sealed.work().join("back");
    let mut here = sums(&back);
    assert!(here.remove("stays").is_some());
    assert_eq!(here, expected);
    assert_eq!(fs::metadata(&back).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(back.join("ü2")).unwrap().permissions().mode() & 0o777, 0o600);
    // The record names each file that is here now, in whatever order they came.
    let named: BTreeSet<&str> = out.lines().filter_map(|line| line.strip_prefix("back/")).collect();
    let carried = expected.keys().map(String::as_str).chain(["stays"]);
    assert_eq!(named, carried.collect(), "{out}");
    machine.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_of_a_folder_cannot_be_had_is_skipped_and_said() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let far = machine.folder.join("far");
    fs::create_dir_all(far.join("sub")).unwrap();
    fs::write(far.join("sub/file"), "one").unwrap();
    symlink("/etc", far.join("sub/etc")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(far.join("socket")).unwrap();
    // Where somebody has put a link in the place of a folder, nothing goes through it.
    let work = machine.site.sealed.work();
    let elsewhere = machine.folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(work.join("trap")).unwrap();
    symlink(&elsewhere, work.join("trap/sub")).unwrap();
    let session = signing_in(&machine);
    let text = format!(
        "{session}
         let said = [];
         for to in [\"trap\", \"file\", \"../out\"] {{
             try {{ ssh::download(db, \"{0}\", to); }} catch (e) {{ said.push(e.message); }}
         }}
         #{{ skipped: ssh::download(db, \"{0}\", \"back\").skipped, said: said }}",
        far.display()
    );
    fs::write(work.join("file"), "a file").unwrap();
    let output = machine.run_script("odd", &EFFECTS, &text, &[]);
    let (code, out, err) = said(&output);
    // A path that leads out of the run's folder is a mistake of the runbook's.
    assert_eq!(code, Some(3), "{out}{err}");
    assert!(err.contains("`../out` is outside the run's folder"), "{err}");
    let text = text.replace(", \"../out\"]", "]");
    let out = machine.script("odd", &EFFECTS, &text, &[]);
    let value = value(&out);
    assert_eq!(
        value["skipped"],
        json!([
            {"path": "socket", "why": "neither a file nor a folder"},
            {"path": "sub/etc", "why": "a link"},
        ])
    );
    assert_eq!(value["said"], json!(["`trap/sub` cannot be written here", "`file` cannot be written here"]));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    machine.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_goes_on_where_it_was_after_a_connection_that_breaks() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let work = machine.site.sealed.work();
    let near = work.join("conf");
    let mut expected = fill(&near);
    for n in 0..6 {
        let bytes = bulk((8 << 20) + n);
        fs::write(near.join(format!("z{n}")), &bytes).unwrap();
        expected.insert(format!("z{n}"), digest(&bytes));
    }
    let far = machine.folder.join("far");
    let session = signing_in(&machine);
    let upload = format!("{session}ssh::upload(db, \"conf\", \"{}\").resumed_at", far.display());
    let download = format!("{session}ssh::download(db, \"{}\", \"back\").resumed_at", far.display());
    for (name, text, folder) in [("upload", upload, far.clone()), ("download", download, work.join("back"))] {
        let whole = format!("/*---\ntitle = \"{name}\"\neffects = {EFFECTS:?}\n---*/\n{text}\n");
        let file = machine.site.sealed.write(&format!("work/{name}.rhai"), &whole);
        let run = machine.relight(&["run", &machine.place()]).arg(file).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while size(&folder) < 12 << 20 {
            assert!(Instant::now() < deadline, "nothing is carried");
            std::thread::sleep(LOOK / 10);
        }
        machine.site.lab.drop_connections();
        let (code, out, err) = said(&run.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{name}: {err}");
        let resumed: u64 = out.lines().last().unwrap().parse().unwrap_or_else(|e| panic!("{e}: {out}"));
        assert!(resumed >= 1 << 20, "{name}: {resumed}");
        assert_eq!(sums(&folder), expected, "{name}");
    }
    machine.site.is_content();
}

/// A real full disk, where one can be made: the run is put away, and goes on where it was once there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_here_parks_the_run() {
    let Some(machine) = Machine::start().await else { return };
    let small = machine.site.sealed.work().join("small");
    fs::create_dir(&small).unwrap();
    let mount = |args: &[&str]| {
        let mounted = Command::new("mount").args(args).arg(&small).output();
        mounted.is_ok_and(|mount| mount.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"]) {
        println!("skipped: no file system can be mounted here");
        return;
    }
    /// Lets go of the file system even when the test fails.
    struct Mounted<'a>(&'a Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    let _mounted = Mounted(&small);
    machine.enable();
    machine.trust("host_key.pub");
    let bytes = bulk(5 << 20);
    fs::write(machine.folder.join("big"), &bytes).unwrap();
    let text = format!(
        "{}ssh::download(db, \"{}/big\", \"small/big\").resumed_at",
        signing_in(&machine),
        machine.folder.display()
    );
    let (code, _, err) = said(&machine.run_script("full", &EFFECTS, &text, &[]));
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("there is no room here for `small/big`") && err.contains("make room"), "{err}");
    assert!(mount(&["-o", "remount,size=16m"]));
    let output = machine.relight(&["runs", "resume", "@last", &machine.place()]).output().unwrap();
    let (code, out, err) = said(&output);
    assert_eq!(code, Some(0), "{err}");
    let resumed: u64 = out.lines().last().unwrap().parse().unwrap_or_else(|e| panic!("{e}: {out}"));
    assert!(resumed >= 1 << 20, "{resumed}");
    assert_eq!(digest(&fs::read(small.join("big")).unwrap()), digest(&bytes));
}

/// How large all files below a folder are together.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.path().is_dir() {
        true => size(&entry.path()),
        false => entry.metadata().map_or(0, |about| about.len()),
    });
    sizes.sum()
}
