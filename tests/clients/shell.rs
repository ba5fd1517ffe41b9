//! A person at a terminal: `relight connect` in a real one (tmux), on a real SSH server behind the lab's relay.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::openssh::{Machine, user};
use super::{LOOK, PATIENCE, program};

/// A terminal of 80 columns and 24 rows.
struct Terminal<'a> {
    machine: &'a Machine,
    name: String,
}

impl<'a> Terminal<'a> {
    /// Opens a terminal in which `relight connect` runs, and afterwards says how it ended and what became of the terminal.
    fn open(machine: &'a Machine) -> Self {
        let name =
            format!("relight-{}-{}", std::process::id(), machine.folder.display()).replace(['/', '.'], "-");
        let terminal = Terminal { machine, name };
        let place = machine.place();
        let connect = format!(
            "{} connect '{place}' -i {}/user_key {}@db-01; echo \"ended with $?\"; stty -a | grep -o ' -\\?icanon'; exec cat",
            env!("CARGO_BIN_EXE_relight"),
            machine.folder.display(),
            user(),
        );
        // Its server sometimes ends before it has begun, when the machine is busy.
        let begin = || terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", "-s", "t", &connect]);
        let opened = (0..5).map(|_| begin()).find(|said| !said.contains("exited unexpectedly"));
        assert_eq!(opened.as_deref(), Some(""));
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let home = self.machine.site.sealed.path("home");
        let mut call = Command::new("tmux");
        call.args(["-L", &self.name, "-f", "/dev/null"])
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .env("LANG", "C.UTF-8")
            .env("SHELL", "/bin/sh")
            .env("HOME", home)
            .env("RELIGHT_STATE", self.machine.site.sealed.path("state"));
        let output = call.stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", "t"], keys].concat());
    }

    /// Waits until the screen shows something.
    fn shows(&self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.tmux(&["capture-pane", "-p", "-t", "t"]);
            if screen.contains(wanted) {
                return screen;
            }
            assert!(Instant::now() < deadline, "`{wanted}` is not shown:\n{screen}");
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_works_in_a_shell_and_gets_the_terminal_back() {
    let Some(_) = program("tmux", &["tmux"]) else { return };
    let Some(machine) = Machine::start().await else { return };
    machine.enable();

    // Nobody has said by which key the machine is known: no is no, and yes is remembered.
    let terminal = Terminal::open(&machine);
    terminal.shows("Is it this one? [yes/no]");
    terminal.press(&["no", "Enter"]);
    terminal.shows("ended with 255");
    drop(terminal);
    let terminal = Terminal::open(&machine);
    terminal.shows("Is it this one? [yes/no]");
    terminal.press(&["yes", "Enter"]);

    terminal.press(&["PS1='ready> '", "Enter"]);
    terminal.shows("\nready>");
    terminal.press(&["echo $((40 + 2)) $TERM; stty size", "Enter"]);
    let screen = terminal.shows("24 80");
    assert!(screen.contains("\n42 "), "{screen}");
    terminal.tmux(&["resize-window", "-t", "t", "-x", "100", "-y", "30"]);
    terminal.press(&["clear; while ! stty size | grep -q '30 100'; do sleep 0.1; done; echo grown", "Enter"]);
    terminal.shows("grown\nready>");
    // Ctrl-C is the machine's, not ours.
    terminal.press(&["clear; echo begun; sleep 600", "Enter"]);
    terminal.shows("begun\n");
    terminal.press(&["C-c"]);
    terminal.press(&["echo on", "Enter"]);
    terminal.shows("\non\n");
    terminal.press(&["exit 5", "Enter"]);
    let screen = terminal.shows("ended with 5");
    assert!(terminal.shows("icanon").contains(" icanon"), "{screen}");
    drop(terminal);

    // Known by now. A shell that does not answer is left; the terminal is given back.
    let terminal = Terminal::open(&machine);
    terminal.press(&["PS1='ready> '", "Enter"]);
    terminal.shows("\nready>");
    terminal.press(&["sleep 600", "Enter", "~", "."]);
    terminal.shows("ended with 255");
    let screen = terminal.shows("icanon");
    assert!(screen.contains(" icanon") && !screen.contains("-icanon"), "{screen}");
    drop(terminal);

    // Killed, and cut off.
    for end in ["TERM", "cut"] {
        let terminal = Terminal::open(&machine);
        terminal.press(&["PS1='ready> '", "Enter"]);
        terminal.shows("\nready>");
        match end {
            "cut" => machine.site.lab.drop_connections(),
            signal => {
                let pattern = format!("relight connect --lab={}", machine.site.card.display());
                let killed =
                    Command::new("pkill").args([&format!("-{signal}"), "-f", &pattern]).status().unwrap();
                assert!(killed.success());
            }
        }
        terminal.shows("ended with 255");
        let screen = terminal.shows("icanon");
        assert!(screen.contains(" icanon") && !screen.contains("-icanon"), "{end}: {screen}");
    }
    machine.site.is_content();
}
