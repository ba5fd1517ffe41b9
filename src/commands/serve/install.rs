//! `relight serve --install`: has the operating system run the service, and start it again when it ends.

mod windows;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::ValueEnum;
use relight_engine::{Error, Result};

use crate::args::Global;
use crate::{platform, terminal};

/// Who runs services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Supervisor {
    /// Linux: a unit of the user
    Systemd,
    /// macOS: an agent of the user
    Launchd,
    /// Windows: a service with an account of its own
    Windows,
}

/// What it runs.
struct Service {
    /// The program.
    program: String,
    /// What it is given after `serve`.
    args: Vec<String>,
    /// The folder of the state, the only one it must be able to write to.
    state: String,
    /// The folder with its configuration.
    config: String,
    /// The file with its environment.
    environment: String,
}

impl Supervisor {
    /// Returns the one of this system.
    pub(super) fn of_this_system() -> Self {
        match env::consts::OS {
            "macos" => Supervisor::Launchd,
            "windows" => Supervisor::Windows,
            _ => Supervisor::Systemd,
        }
    }

    /// Prints the description of the service, or writes it where the supervisor looks for it and says what to type next.
    ///
    /// # Errors
    /// `Invalid` for a lab, when this program or its folders cannot be named, and when there is such a file that says otherwise.
    pub(super) fn install(self, state: &Path, global: &Global, prints: bool) -> Result<()> {
        if global.lab.is_some() {
            return Err(Error::invalid("a service of a lab is not installed").hint("leave --lab out"));
        }
        let config = platform::config_folder()
            .ok_or_else(|| Error::invalid("there is no folder for configuration").hint("set HOME"))?;
        let program =
            env::current_exe().map_err(|e| Error::invalid("this program has no path").because(e))?;
        let text = |path: &Path| match path.to_str() {
            Some(text) => Ok(text.to_owned()),
            None => {
                Err(Error::invalid(format!("{} is no text that a service file can hold", path.display())))
            }
        };
        // The service starts in another folder.
        let whole = |path: &Path| match std::path::absolute(path) {
            Ok(path) => text(&path),
            Err(e) => Err(Error::invalid(format!("{} cannot be found", path.display())).because(e)),
        };
        let mut args = Vec::new();
        for (name, path) in [("--library", &global.library), ("--config", &global.config)] {
            if let Some(path) = path {
                args.extend([name.to_owned(), whole(path)?]);
            }
        }
        let service = Service {
            program: text(&program)?,
            args,
            state: whole(state)?,
            config: text(&config)?,
            environment: text(&config.join("service.env"))?,
        };
        let description = self.describe(&service);
        if prints {
            let mut out = terminal::out();
            return write!(out, "{description}")
                .map_err(|e| Error::storage("it cannot be printed").because(e));
        }
        let place = self.place()?;
        // Windows' own PowerShell takes a file without the mark for one in the system's code page.
        let mark = if self == Supervisor::Windows { "\u{feff}" } else { "" };
        write_new(&place, &format!("{mark}{description}"))?;
        terminal::say(format!("Wrote {}. Now:", place.display()));
        for line in self.next(&place, &service) {
            terminal::say(format!("  {line}"));
        }
        Ok(())
    }

    fn describe(self, service: &Service) -> String {
        match self {
            Supervisor::Systemd => systemd(service),
            Supervisor::Launchd => launchd(service),
            Supervisor::Windows => windows::script(service),
        }
    }

    /// Returns the file in which it looks for the description.
    fn place(self) -> Result<PathBuf> {
        let home =
            env::home_dir().ok_or_else(|| Error::invalid("there is no home folder").hint("set HOME"))?;
        let config = env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        Ok(match self {
            Supervisor::Systemd => config.join("systemd/user/relight.service"),
            Supervisor::Launchd => home.join("Library/LaunchAgents/relight.plist"),
            // Run once: any place will do.
            Supervisor::Windows => home.join("relight-service.ps1"),
        })
    }

    /// Returns what is left to be typed.
    fn next(self, place: &Path, service: &Service) -> Vec<String> {
        let place = place.display();
        match self {
            Supervisor::Systemd => vec![
                format!("# what signs in, such as AZURE_CLIENT_ID=.., belongs into {}", service.environment),
                "systemctl --user daemon-reload".to_owned(),
                "systemctl --user enable --now relight".to_owned(),
                "loginctl enable-linger    # so that it runs while nobody is signed in".to_owned(),
            ],
            Supervisor::Launchd => vec![format!("launchctl bootstrap gui/$(id -u) {place}")],
            Supervisor::Windows => vec![
                "# in PowerShell, as an administrator; read it first".to_owned(),
                format!("powershell -ExecutionPolicy Bypass -File \"{place}\""),
            ],
        }
    }
}

/// Writes a file where there is none, or one that says the same.
fn write_new(place: &Path, text: &str) -> Result<()> {
    let shown = place.display();
    match fs::read_to_string(place) {
        Ok(there) if there == text => return Ok(()),
        Ok(_) => {
            return Err(Error::invalid(format!("{shown} is there already, and says otherwise")).hint(
                "compare it with `relight serve --install --print`, and remove the one that is wrong",
            ));
        }
        Err(_) => {}
    }
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(place, text))
        .map_err(|e| Error::storage(format!("{shown} cannot be written")).because(e))
}

/// A unit with readiness and a watchdog. It is killed when it has not said for two minutes that it is alive; closings have
/// a minute and a half to be handed back when it is stopped.
fn systemd(service: &Service) -> String {
    let words = |words: &[String]| words.iter().map(|word| in_systemd(word)).collect::<Vec<_>>().join(" ");
    let command = [vec![service.program.clone(), "serve".to_owned()], service.args.clone()].concat();
    format!(
        "[Unit]\n\
         Description=Relight: runs, schedules and what is open\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={}\n\
         Environment={}\n\
         EnvironmentFile=-{}\n\
         Restart=always\n\
         RestartSec=5\n\
         WatchdogSec=120\n\
         TimeoutStopSec=90\n\
         NoNewPrivileges=yes\n\
         UMask=0077\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        words(&command),
        in_systemd(&format!("RELIGHT_STATE={}", service.state)),
        service.environment.replace('%', "%%"),
    )
}

/// Writes a word of a command line or of an environment as systemd reads it.
fn in_systemd(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,@+%".contains(c);
    if escaped.chars().all(is_plain) { escaped } else { format!("\"{escaped}\"") }
}

/// An agent that is begun when the user signs in, and again when it ends.
fn launchd(service: &Service) -> String {
    let reads = ["--env-file".to_owned(), service.environment.clone()];
    let command = [&[service.program.clone(), "serve".to_owned()], &*service.args, &reads].concat();
    let words: String =
        command.iter().map(|word| format!("        <string>{}</string>\n", in_xml(word))).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n    \
         <key>Label</key>\n    <string>relight</string>\n    \
         <key>ProgramArguments</key>\n    <array>\n{words}    </array>\n    \
         <key>EnvironmentVariables</key>\n    <dict>\n        \
         <key>RELIGHT_STATE</key>\n        <string>{state}</string>\n    </dict>\n    \
         <key>RunAtLoad</key>\n    <true/>\n    \
         <key>KeepAlive</key>\n    <true/>\n    \
         <key>ExitTimeOut</key>\n    <integer>90</integer>\n    \
         <key>StandardErrorPath</key>\n    <string>{state}/serve.log</string>\n\
         </dict>\n</plist>\n",
        state = in_xml(&service.state),
    )
}

fn in_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_path_is_taken_for_something_else() {
        let plain = ["/usr/bin/relight", "--config", "a=b"];
        assert_eq!(plain.map(in_systemd), plain);
        assert_eq!(in_systemd("/home/a b/50%/$x/\"q\""), r#""/home/a b/50%%/$$x/\"q\"""#);
        assert_eq!(in_xml("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
