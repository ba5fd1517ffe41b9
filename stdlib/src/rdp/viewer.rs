//! The program that shows a desktop, where there is one.

use std::path::PathBuf;
use std::process::Stdio;

use relight_engine::{Error, Result};
use tokio::process::Command;

/// Programs that show a desktop on Linux and its like, the best first.
const FREERDP: [&str; 6] =
    ["xfreerdp3", "wlfreerdp3", "sdl-freerdp3", "xfreerdp", "wlfreerdp", "sdl-freerdp"];

/// A viewer of Remote Desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Viewer {
    /// The one of Windows.
    Mstsc,
    /// Whatever macOS has for RDP files.
    Open,
    /// FreeRDP.
    FreeRdp(PathBuf),
}

impl Viewer {
    /// Returns the viewer that is here, if there is one and a screen to show it on. `variable` reads the environment.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if cfg!(windows) {
            return Some(Viewer::Mstsc);
        }
        if cfg!(target_os = "macos") {
            return Some(Viewer::Open);
        }
        variable("DISPLAY").or_else(|| variable("WAYLAND_DISPLAY"))?;
        let folders: Vec<PathBuf> = std::env::split_paths(&variable("PATH")?).collect();
        let mut all = FREERDP.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        all.find(|file| file.is_file()).map(Viewer::FreeRdp)
    }

    /// Returns its name.
    pub fn name(&self) -> String {
        match self {
            Viewer::Mstsc => "mstsc".to_owned(),
            Viewer::Open => "the app for RDP files".to_owned(),
            Viewer::FreeRdp(file) => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// Shows the desktop at an address and port until the person closes it. Dropping the future closes it, too.
    ///
    /// # Errors
    /// `Invalid` when the names cannot stand in an RDP file, `Rejected` when the viewer cannot be started.
    pub async fn open(&self, at: &str, user: Option<&str>, title: &str) -> Result<()> {
        // As a file, so that the user is named in it: mstsc takes no user as an argument.
        let mut text = format!("full address:s:{at}\r\nprompt for credentials:i:1\r\n");
        if let Some(user) = user {
            text.push_str(&format!("username:s:{user}\r\n"));
        }
        if [at, user.unwrap_or_default(), title].iter().any(|it| it.contains(char::is_control)) {
            return Err(Error::invalid("an address, a user and a title are one line each"));
        }
        let file = tempfile::Builder::new().prefix("relight-").suffix(".rdp").tempfile();
        let file = file.and_then(|file| std::fs::write(file.path(), text).map(|()| file));
        let file =
            file.map_err(|e| Error::rejected("the file for the viewer cannot be written").because(e))?;
        let mut command = match self {
            Viewer::Mstsc => Command::new("mstsc"),
            Viewer::Open => {
                let mut open = Command::new("open");
                // Until the app is closed.
                open.arg("-W");
                open
            }
            Viewer::FreeRdp(program) => Command::new(program),
        };
        command.arg(file.path());
        if let Viewer::FreeRdp(_) = self {
            // The certificate of a desktop is its own; SSH has already proven whose port this is.
            command.args(["/cert:ignore".to_owned(), format!("/title:{title}")]);
        }
        // FreeRDP asks for the password at the terminal. How a viewer ends says nothing: it has a code for whoever logs off.
        let shown = command.stdin(Stdio::inherit()).kill_on_drop(true).status().await;
        shown.map(drop).map_err(|e| Error::rejected(format!("{} cannot be started", self.name())).because(e))
    }
}
