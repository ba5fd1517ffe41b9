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
fn launchd_gets_an_agent() {
    let world = Sealed::new();
    let plist = world.relight(["serve", "--install", "--print", "--for", "launchd"]).run().succeeds();
    for words in ["<string>serve</string>", "<string>--env-file</string>", "<key>KeepAlive</key>"] {
        assert!(plist.contains(words), "{plist}");
    }
    let file = world.write("relight.plist", &plist);
    let read = "import sys, plistlib; plistlib.load(open(sys.argv[1], 'rb'))";
    let ran = Command::new("python3").args(["-c", read]).arg(file).output().expect("python3");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let lab = world.relight(["serve", "--install", "--lab"]).run().to_string();
    assert!(lab.contains("a service of a lab is not installed"), "{lab}");
}

#[test]
fn windows_gets_a_script_that_makes_a_service() {
    let world = Sealed::new();
    let printed = world.relight(["serve", "--install", "--print", "--for", "windows"]).run().succeeds();
    for words in [
        "New-Service -Name relight ",
        " serve --as-service --env-file ",
        "start= delayed-auto obj= $account",
        "sc.exe failure relight reset= 3600 actions= restart/5000/restart/5000/restart/60000",
        "sc.exe failureflag relight 1",
        "@('RELIGHT_STATE=",
    ] {
        assert!(printed.contains(words), "{words} is not in\n{printed}");
    }
    let said = world.relight(["serve", "--install", "--for", "windows"]).run().to_string();
    assert!(said.contains("powershell -ExecutionPolicy Bypass -File"), "{said}");
    // Its PowerShell takes a file that says nothing about it for one in an old encoding.
    let written = fs::read_to_string(world.path("home/relight-service.ps1")).expect("the script");
    assert_eq!(written.strip_prefix('\u{feff}'), Some(printed.as_str()));
}

/// Nobody reads the standard error of some services, and some have no environment of their own.
#[test]
fn a_service_takes_its_environment_from_a_file_and_writes_its_log_to_one() {
    let world = Sealed::new();
    let (variables, log) = (world.path("service.env"), world.path("logs/serve.log"));
    let serve = || {
        let files = ["--env-file".as_ref(), variables.as_os_str(), "--log".as_ref(), log.as_os_str()];
        world.in_lab(["serve", "--until-closed"]).args(files)
    };
    serve().run().succeeds();
    let said = fs::read_to_string(&log).expect("the log");
    assert!(said.contains("INFO serving the runs in"), "{said}");
    fs::write(&variables, "RELIGHT_LOG_FORMAT=json\n").expect("variables");
    serve().run().succeeds();
    let said = fs::read_to_string(&log).expect("the log");
    assert!(said.contains("{\"timestamp\":"), "{said}");
    // What is wrong is in the log, too, without the line: that may hold a secret.
    fs::write(&variables, "A=b\ntoken-of-mine\n").expect("variables");
    let refused = serve().run();
    assert!(!refused.to_string().contains("NAME=VALUE"), "{}", refused.to_string());
    refused.ends_with(2);
    let said = fs::read_to_string(&log).expect("the log");
    assert!(said.contains("line 2 of") && !said.contains("token-of-mine"), "{said}");
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
