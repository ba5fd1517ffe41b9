//! The service as the operating system runs it: what is written for its supervisor, and what that hears.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::sealed::Sealed;

/// How long the service may take to begin, and to say once more that it is alive.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn systemd_takes_the_unit_that_is_written() {
    let world = Sealed::new();
    let unit = world.relight(["serve", "--install", "--print", "--for", "systemd"]).run().succeeds();
    assert!(unit.contains("Type=notify\n") && unit.contains("WatchdogSec=120\n"), "{unit}");
    let said = world.relight(["serve", "--install", "--for", "systemd"]).run();
    assert!(said.to_string().contains("systemctl --user enable --now relight"), "{}", said.to_string());
    let place = world.path("home/.config/systemd/user/relight.service");
    assert_eq!(fs::read_to_string(&place).expect("the unit"), unit);

    // Once more is nothing more; one that somebody changed is left alone.
    world.relight(["serve", "--install", "--for", "systemd"]).run().succeeds();
    fs::write(&place, "[Unit]\n").expect("a unit");
    let refused = world.relight(["serve", "--install", "--for", "systemd"]).run().ends_with(2);
    assert_eq!((refused.as_str(), fs::read_to_string(&place).expect("the unit").as_str()), ("", "[Unit]\n"));

    fs::write(&place, &unit).expect("a unit");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--user", "--man=no"]).arg(&place).env("XDG_RUNTIME_DIR", world.path("."));
    match verify.output() {
        Ok(verified) => {
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && !said.contains("relight.service"), "{said}");
        }
        Err(_) => println!("skipped: systemd-analyze is not installed"),
    }
}

#[test]
fn the_other_supervisors_get_theirs() {
    let world = Sealed::new();
    let print = |of: &str| world.relight(["serve", "--install", "--print", "--for", of]).run().succeeds();
    let (plist, task) = (print("launchd"), print("windows"));
    for (text, words) in [
        (&plist, ["<string>serve</string>", "<key>KeepAlive</key>"]),
        (&task, ["<Arguments>serve</Arguments>", "<RestartOnFailure>"]),
    ] {
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        // Python reads XML, and property lists as well.
        let file = world.write("described.xml", text);
        let read = "import sys, plistlib, xml.dom.minidom as m; m.parse(sys.argv[1]); b = open(sys.argv[1], 'rb').read(); b'plist' in b and plistlib.loads(b)";
        let ran = Command::new("python3").args(["-c", read]).arg(file).output().expect("python3");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let lab = world.relight(["serve", "--install", "--lab"]).run().to_string();
    assert!(lab.contains("a service of a lab is not installed"), "{lab}");
}

/// A supervisor that listens as systemd does.
#[test]
fn the_supervisor_hears_that_the_service_is_ready_alive_and_ends() {
    let world = Sealed::new();
    let place = world.path("notify");
    let heard = UnixDatagram::bind(&place).expect("a socket");
    heard.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let hear = || {
        let mut bytes = [0; 256];
        let count = heard.recv(&mut bytes).expect("a word");
        String::from_utf8_lossy(&bytes[..count]).trim().to_owned()
    };
    let service = world.in_lab(["serve"]).env("NOTIFY_SOCKET", &place).spawn();
    assert_eq!(hear(), "READY=1");
    // At each look at the journal, so that a worker that hangs is found.
    assert_eq!([hear(), hear(), hear()], ["WATCHDOG=1"; 3]);
    service.signal("TERM");
    let deadline = Instant::now() + PATIENCE;
    while hear() != "STOPPING=1" {
        assert!(Instant::now() < deadline, "it does not say that it ends");
    }
    service.end().succeeds();
}

/// Whoever stays for one door only leaves when it is shut; whatever the system would do is offered as a command.
#[test]
fn somebody_stays_until_what_is_open_is_closed() {
    let world = Sealed::new();
    let ran = world.in_lab(["run", "rescue", "vm=web-01", "--yes", "within=1m", "disable_after=5m"]);
    let said = ran.run().to_string();
    // What a child left open is told, too.
    for line in [
        "VM Connect to web-01 on hq-node2 stays open until",
        "Nobody sees to it: no `relight serve --lab` runs here. Have it done by one of these:",
        "  relight serve --lab --until-closed    # stays here until nothing is open",
    ] {
        assert!(said.contains(line), "{said}");
    }
    world.in_lab(["serve", "--until-closed"]).run().succeeds();
    assert!(world.in_lab(["leases"]).run().to_string().contains("Nothing is open."));
}
