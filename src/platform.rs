//! What differs between operating systems: folders, permissions, signals, names.
//!
//! The only file that asks which system this is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyring_core::api::CredentialStore;
use tempfile::NamedTempFile;

use crate::environment::variable;

/// Returns the folder in which this system keeps a program's state, if the user has one. It stays on this machine.
pub(crate) fn state_folder() -> Option<PathBuf> {
    own_folder("LOCALAPPDATA", "XDG_STATE_HOME", ".local/state")
}

/// Returns the folder in which this system keeps a program's configuration, if the user has one.
pub(crate) fn config_folder() -> Option<PathBuf> {
    own_folder("APPDATA", "XDG_CONFIG_HOME", ".config")
}

/// Returns this program's folder: below what a variable names, else below the user's home.
fn own_folder(on_windows: &str, xdg: &str, below_home: &str) -> Option<PathBuf> {
    let all = if cfg!(windows) {
        variable(on_windows).map(PathBuf::from)
    } else if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else {
        let named = variable(xdg).map(PathBuf::from).filter(|folder| folder.is_absolute());
        named.or_else(|| home().map(|home| home.join(below_home)))
    };
    all.map(|folder| folder.join("relight"))
}

/// Returns the user's home.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// Returns who sits at the keyboard, as the environment or the operating system calls them.
pub(crate) fn user() -> String {
    let named = ["USER", "USERNAME", "LOGNAME"].iter().find_map(|name| variable(name));
    named.or_else(|| whoami::username().ok()).unwrap_or_else(|| "somebody".to_owned())
}

/// Returns who sits at the keyboard of which machine: `ann@desk-7`.
pub(crate) fn who() -> String {
    let named = ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| variable(name));
    let host = named.or_else(|| whoami::hostname().ok()).unwrap_or_else(|| "somewhere".to_owned());
    format!("{}@{host}", user())
}

/// Returns whether nothing that is sent there leaves this machine.
pub(crate) fn is_this_machine(url: &reqwest::Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    }
}

/// Returns whether the terminal is likely to show more than ASCII.
pub(crate) fn speaks_unicode() -> bool {
    if cfg!(windows) {
        return variable("WT_SESSION").is_some() || variable("TERM_PROGRAM").is_some();
    }
    let locale =
        variable("LC_ALL").or_else(|| variable("LC_CTYPE")).or_else(|| variable("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Returns whether the terminal does what escape sequences say. A console of Windows has to be asked to.
pub(crate) fn reads_escapes() -> bool {
    #[cfg(windows)]
    return crossterm::ansi_support::supports_ansi();
    #[cfg(not(windows))]
    true
}

/// The terminal without its own manners, as long as this lives: every key is read as it is pressed.
pub(crate) struct RawTerminal {
    /// The console, and how it read keys before.
    #[cfg(windows)]
    before: (crossterm_winapi::ConsoleMode, u32),
}

impl RawTerminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Whatever keeps it from being taken.
    pub(crate) fn enter() -> io::Result<Self> {
        #[cfg(windows)]
        let before = {
            let console = crossterm_winapi::ConsoleMode::from(crossterm_winapi::Handle::current_in_handle()?);
            let mode = console.mode()?;
            (console, mode)
        };
        crossterm::terminal::enable_raw_mode()?;
        #[cfg(windows)]
        {
            // Arrows and the like are read as terminals elsewhere send them. An old console cannot, and leaves them out.
            const ENABLE_VIRTUAL_TERMINAL_INPUT: u32 = 0x200;
            let _ = before.0.mode().and_then(|mode| before.0.set_mode(mode | ENABLE_VIRTUAL_TERMINAL_INPUT));
            reads_escapes();
        }
        Ok(RawTerminal {
            #[cfg(windows)]
            before,
        })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = crossterm::terminal::disable_raw_mode();
        #[cfg(windows)]
        let _ = self.before.0.set_mode(self.before.1);
    }
}

/// Makes a folder that only its owner can enter, together with what lies above it.
///
/// Folders that are there already keep their permissions.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // On Windows it is as closed as the folder above it: that of a user's profile is.
    builder.create(folder)
}

/// Writes a file that only its owner can read, as a whole. Afterwards it is on the disk.
pub(crate) fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// Returns whether others than the owner can enter a folder.
#[cfg(unix)]
pub(crate) fn is_open_to_others(folder: &Path) -> io::Result<bool> {
    let permissions = fs::metadata(folder)?.permissions();
    Ok(std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o077 != 0)
}

/// Returns whether others than the owner can enter a folder. What a user's profile holds is closed to others; nobody looks elsewhere.
#[cfg(not(unix))]
pub(crate) fn is_open_to_others(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Makes an empty file that only its owner can read, unless there is one.
pub(crate) fn make_private_file(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Replaces a file as a whole with one that only its owner can read. Afterwards it is on the disk.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Writes a file that only its owner can read, where there is none yet. Afterwards it is on the disk.
pub(crate) fn write_new_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Waits until no other process holds a lock, and holds it until what it returns is dropped. A process that dies lets go of its own.
pub(crate) async fn lock(path: PathBuf) -> io::Result<fs::File> {
    let locked = tokio::task::spawn_blocking(move || {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    });
    locked.await.map_err(io::Error::other)?
}

/// Returns whether writing failed because nobody reads any more.
pub(crate) fn is_reader_gone(error: &io::Error) -> bool {
    // Windows has a word for it that the standard library does not know.
    const PIPE_NOT_CONNECTED: i32 = 233;
    error.kind() == io::ErrorKind::BrokenPipe
        || cfg!(windows) && error.raw_os_error() == Some(PIPE_NOT_CONNECTED)
}

/// Who wants this process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A person: Ctrl-C.
    ByPerson,
    /// The system: a service manager's word, or a terminal that went away.
    BySystem,
}

/// Returns when somebody wants this process to end.
pub(crate) async fn interrupted() -> Asked {
    // Without a handler the system's own way to end a process stays in place.
    let person = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = ended_by_system() => Asked::BySystem,
        () = person => Asked::ByPerson,
    }
}

/// Returns when a service manager has its service end, or the terminal goes away.
#[cfg(unix)]
async fn ended_by_system() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut hang_up)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

/// Returns when the Service Control Manager has its service end, a program sends Ctrl-Break, or the console or a container is closed.
///
/// That somebody signs out is told to services alone, and not who: it is nothing to end for.
#[cfg(windows)]
async fn ended_by_system() {
    use tokio::signal::windows::{ctrl_break, ctrl_close, ctrl_shutdown};
    let (Ok(mut by_program), Ok(mut close), Ok(mut shut_down)) =
        (ctrl_break(), ctrl_close(), ctrl_shutdown())
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = crate::supervisor::asked_to_stop() => {}
        _ = by_program.recv() => {}
        _ = close.recv() => {}
        _ = shut_down.recv() => {}
    }
}

/// Returns when the terminal has another size.
pub(crate) async fn resized() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut changed) = signal(SignalKind::window_change()) {
            changed.recv().await;
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Ends this process without any of its own code running, as a power cut would.
#[cfg(debug_assertions)]
pub(crate) fn die() -> ! {
    #[cfg(unix)]
    {
        // The shell's own `kill`, so that no other program is needed.
        let killed = std::process::Command::new("/bin/sh").args(["-c", "kill -9 $PPID"]).status();
        if killed.is_ok() {
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
    }
    std::process::abort()
}

/// Returns the keyring of this user's session; otherwise says why there is none.
pub(crate) fn keyring() -> Result<Arc<CredentialStore>, String> {
    #[cfg(target_os = "macos")]
    let store = apple_native_keyring_store::keychain::Store::new();
    #[cfg(windows)]
    let store = windows_native_keyring_store::Store::new();
    #[cfg(not(any(target_os = "macos", windows)))]
    let store = {
        // Whoever looks without a bus starts one of their own, which nobody else will ever see.
        let bus = variable("DBUS_SESSION_BUS_ADDRESS").is_some()
            || variable("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join("bus").exists());
        if !bus {
            return Err("there is no desktop session (DBUS_SESSION_BUS_ADDRESS is not set)".to_owned());
        }
        dbus_secret_service_keyring_store::Store::new()
    };
    store.map(|store| store as Arc<CredentialStore>).map_err(|e| e.to_string())
}
