//! `rdp::write`: writes the file with which Remote Desktop opens a VM's console.

use super::file::RdpFile;
use super::{LARGEST, write_file};
use relight_engine::{Found, RunFile};

use crate::prelude::*;

/// Writes a Remote Desktop file for a console. It holds no password. Whoever opens it is asked twice: first for an
/// administrator of the host, then by the guest.
///
/// A file that is there already is replaced only when it holds nothing but what this operation writes.
///
/// Inferred: the four lines, which are those that Microsoft publishes for the same console service elsewhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// File to write, below the run's folder or named by a `path` parameter.
    #[schemars(extend("format" = "path"))]
    path: String,
    /// Console, as `vmconnect::enable` gives it.
    console: Console,
    /// Address of the host. The first one of the console when left out.
    #[serde(default)]
    address: Option<String>,
    /// Administrator of the host to propose at the first prompt.
    #[serde(default)]
    username: Option<String>,
    /// Whether to replace whatever file is there.
    #[serde(default)]
    overwrite: Option<bool>,
}

/// The part of a console that the file needs.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Console {
    /// Id by which Hyper-V knows the VM.
    vm_id: String,
    /// Addresses of the host.
    #[serde(default)]
    addresses: Vec<String>,
    /// Port of the host.
    #[serde(default = "console_port")]
    port: u16,
}

fn console_port() -> u16 {
    crate::vmconnect::PORT
}

/// `rdp::write`.
pub(crate) struct WriteRdp;

impl Operation for WriteRdp {
    type Args = Args;
    type Output = String;

    const NAME: &'static str = "rdp::write";
    const SUMMARY: &'static str = "Writes a Remote Desktop file that opens the console of a VM.";
    const EFFECTS: &'static [Effect] = &[Effect::FileWrite];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Write the file for an open console.",
                r#"let console = vmconnect::enable("web-01");
                   rdp::write("web-01.rdp", console, #{ address: console.addresses[1] })"#,
            )
            .on("edge")
            .gives(json!("web-01.rdp")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<String>> {
        let path = cx.file(&args.path)?;
        let address =
            args.address.as_deref().or(args.console.addresses.first().map(String::as_str)).ok_or_else(
                || {
                    Error::invalid("the console names no address, so one must be given")
                        .hint("#{ address: \"192.0.2.10\" }")
                },
            )?;
        let mut file =
            RdpFile::console(check_address(address)?, args.console.port, check_id(&args.console.vm_id)?);
        if let Some(username) = args.username.as_deref().filter(|name| !name.is_empty()) {
            file.set("username", check_line("user name", username)?);
        }
        if !args.overwrite.unwrap_or_default() {
            check_replaceable(&path)?;
        }
        write_file(&path, &file)?;
        Ok(Outcome::done(args.path.clone()))
    }
}

/// Checks that nobody loses anything when a file is replaced: there is none, or it holds nothing but what we write.
fn check_replaceable(path: &RunFile) -> Result<()> {
    let is_ours = match path.look() {
        Ok(None) => true,
        Ok(Some(Found::File)) => path
            .read(LARGEST)
            .ok()
            .and_then(|bytes| RdpFile::parse(&bytes))
            .is_some_and(|file| file.is_ours()),
        Ok(Some(_)) => false,
        // Writing says what is wrong with the folder.
        Err(_) => true,
    };
    if is_ours {
        return Ok(());
    }
    let shown = path.path().display();
    Err(Error::rejected(format!("{shown} is there already, and Relight did not write all that it holds"))
        .hint("name another file, or replace it with #{ overwrite: true }"))
}

/// Checks that a text is an address or a host name, and so cannot bring a second line into the file.
pub(super) fn check_address(address: &str) -> Result<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '%');
    if !address.is_empty() && address.len() <= 255 && address.chars().all(fits) {
        return Ok(address);
    }
    Err(Error::invalid(format!(
        "`{}` is not an address or a host name",
        crate::azure::wire::shortened(address, 80)
    )))
}

fn check_id(id: &str) -> Result<&str> {
    let plain = id.trim_matches(['{', '}']);
    if plain.len() <= 64 && !plain.is_empty() && plain.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Ok(plain);
    }
    Err(Error::invalid(format!(
        "`{}` is not the id by which Hyper-V knows a VM",
        crate::azure::wire::shortened(id, 80)
    )))
}

fn check_line<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    if text.len() <= 255 && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(Error::invalid(format!("the {what} must fit on one line")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_brings_a_second_line_into_the_file() {
        for address in ["10.0.0.5", "hq-node1.corp.example", "fe80::1%3", "[::1]"] {
            assert!(check_address(address).is_ok(), "{address}");
        }
        for address in ["", "a b", "10.0.0.5\r\npassword 51:b:00", "a\nb"] {
            assert!(check_address(address).is_err(), "{address:?}");
        }
        assert_eq!(check_id("{0a-1B}").unwrap(), "0a-1B");
        assert!(check_id("x\r\n").is_err() && check_id("").is_err());
        assert!(check_line("user name", "HOST\\admin").is_ok() && check_line("user name", "a\r\nb").is_err());
    }
}
