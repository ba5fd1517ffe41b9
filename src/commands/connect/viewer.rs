//! The program that shows a desktop, where there is one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use relight_engine::Error;
use tokio::process::Command;

use crate::environment::variable;
use crate::exit::Result;

/// Programs that show a desktop on Linux and its like, the best first.
const FREERDP: [&str; 6] =
    ["xfreerdp3", "wlfreerdp3", "sdl-freerdp3", "xfreerdp", "wlfreerdp", "sdl-freerdp"];

/// A viewer of Remote Desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Viewer {
    /// The one of Windows.
    Mstsc,
    /// Whatever macOS has for RDP files.
    Open,
    /// FreeRDP.
    FreeRdp(PathBuf),
}

/// Returns the viewer that is here, if there is one and a screen to show it on.
pub(super) fn find() -> Option<Viewer> {
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

impl Viewer {
    /// Returns its name.
    pub(super) fn name(&self) -> String {
        match self {
            Viewer::Mstsc => "mstsc".to_owned(),
            Viewer::Open => "the app for RDP files".to_owned(),
            Viewer::FreeRdp(file) => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// Shows a desktop until the person closes it.
    pub(super) async fn open(&self, at: SocketAddr, user: &str, machine: &str) -> Result<()> {
        // As a file, so that the user is named in it: mstsc takes no user as an argument.
        let file = tempfile::Builder::new().prefix("relight-").suffix(".rdp").tempfile();
        let text = format!("full address:s:{at}\r\nusername:s:{user}\r\nprompt for credentials:i:1\r\n");
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
            command.args(["/cert:ignore".to_owned(), format!("/title:{machine}")]);
        }
        let shown = command.stdin(Stdio::inherit()).kill_on_drop(true).status().await;
        // How a viewer ends says nothing: FreeRDP has a code for whoever logs off.
        shown
            .map(drop)
            .map_err(|e| Error::rejected(format!("{} cannot be started", self.name())).because(e).into())
    }
}
