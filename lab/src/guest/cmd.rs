//! What answers on Windows: a few commands of `cmd.exe`. Scripts of PowerShell are not interpreted.

use super::{Computer, shell::Streams, status};
use crate::machine::User;

/// Runs a command, or each line that comes in until `exit`. Returns the status.
pub(super) async fn run(computer: &Computer, user: &User, script: Option<String>, streams: &Streams) -> u32 {
    let mut place = Place { computer, user, folder: computer.home(user), status: 0 };
    if let Some(script) = script {
        return match place.line(&script, streams).await {
            Some(status) => status,
            None => place.status,
        };
    }
    let head = format!("{VERSION}\r\n(c) Nobody. This machine is not real.\r\n");
    let _ = streams.output.write(head.as_bytes()).await;
    loop {
        let _ = streams.output.write(format!("\r\n{}>", shown(&place.folder)).as_bytes()).await;
        let line = streams.input.line().await;
        if line.is_empty() {
            return place.status;
        }
        if let Some(status) = place.line(&String::from_utf8_lossy(&line), streams).await {
            return status;
        }
    }
}

const VERSION: &str = "Microsoft Windows [Version 10.0.20348.2700]";

struct Place<'a> {
    computer: &'a Computer,
    user: &'a User,
    folder: String,
    status: u32,
}

impl Place<'_> {
    /// Runs the commands of a line. Returns the status with which it is left, if it is.
    async fn line(&mut self, line: &str, streams: &Streams) -> Option<u32> {
        for (after, command) in parts(line) {
            if after == "&&" && self.status != 0 || after == "||" && self.status == 0 {
                continue;
            }
            let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
            let rest = rest.trim();
            if name.eq_ignore_ascii_case("exit") {
                let word = rest.rsplit(' ').next().unwrap_or_default();
                return Some(word.parse().unwrap_or(self.status));
            }
            self.status = match self.command(&name.to_ascii_lowercase(), rest) {
                Ok(text) => {
                    let _ = streams.output.write(text.as_bytes()).await;
                    0
                }
                Err(text) => {
                    let _ = streams.errors.write(text.as_bytes()).await;
                    1
                }
            };
        }
        None
    }

    /// Returns what a command writes, or what it complains of.
    fn command(&mut self, name: &str, rest: &str) -> Result<String, String> {
        let computer = self.computer;
        match name.trim_end_matches(".exe") {
            "" => Ok(String::new()),
            "hostname" => Ok(format!("{}\r\n", computer.name)),
            "whoami" if self.user.is_root() => Ok("nt authority\\system\r\n".to_owned()),
            "whoami" => Ok(format!("{}\\{}\r\n", computer.name.to_lowercase(), self.user.name)),
            "ver" => Ok(format!("\r\n{VERSION}\r\n")),
            "echo" => Ok(format!(
                "{}\r\n",
                rest.replace("%COMPUTERNAME%", &computer.name).replace("%USERNAME%", &self.user.name)
            )),
            "rem" => Ok(String::new()),
            "cd" if rest.is_empty() => Ok(format!("{}\r\n", shown(&self.folder))),
            "cd" => {
                let files = computer.disk.files();
                let path = files.absolute(&self.folder, rest.trim_matches('"'));
                match files.list(self.user, &path) {
                    Ok(_) => {
                        self.folder = path;
                        Ok(String::new())
                    }
                    Err(_) => Err("The system cannot find the path specified.\r\n".to_owned()),
                }
            }
            "type" => {
                let files = computer.disk.files();
                let path = files.absolute(&self.folder, rest.trim_matches('"'));
                let bytes = files.read(self.user, &path);
                let text = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                text.map_err(|_| "The system cannot find the file specified.\r\n".to_owned())
            }
            "powershell" | "pwsh" => Err("The lab does not interpret PowerShell.\r\n".to_owned()),
            name => status::told(computer, name).ok_or_else(|| format!(
                "'{name}' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n"
            )),
        }
    }
}

/// Returns the commands of a line, each with the sign before it.
fn parts(line: &str) -> Vec<(&'static str, &str)> {
    let (mut parts, mut rest, mut after) = (Vec::new(), line, "&");
    loop {
        let signs = ["&&", "||", "&"].into_iter().filter_map(|sign| Some((rest.find(sign)?, sign)));
        // Of two signs at one place the longer one, which comes first.
        match signs.min_by_key(|(at, _)| *at) {
            Some((at, sign)) => {
                parts.push((after, rest[..at].trim()));
                rest = &rest[at + sign.len()..];
                after = sign;
            }
            None => {
                parts.push((after, rest.trim()));
                return parts;
            }
        }
    }
}

/// Returns a path as Windows writes it.
fn shown(path: &str) -> String {
    path.trim_start_matches('/').replace('/', "\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guest::shell::{Input, Output, taken},
        machine::Os,
    };

    async fn said(script: &str) -> (u32, String, String) {
        let (output, out) = Output::buffer();
        let (errors, err) = Output::buffer();
        let streams = Streams { input: Input::of(Vec::new()), output, errors };
        let (computer, user) = (Computer::alone(Os::Windows), User::new("azureuser"));
        let status = run(&computer, &user, Some(script.into()), &streams).await;
        let text = |buffer| String::from_utf8(taken(buffer)).expect("text");
        (status, text(&out), text(&err))
    }

    #[tokio::test]
    async fn windows_says_who_and_where_and_nothing_of_powershell() {
        let (status, out, err) = said("hostname & whoami && echo on %COMPUTERNAME%").await;
        assert_eq!((status, out.as_str(), err.as_str()), (0, "box\r\nbox\\azureuser\r\non box\r\n", ""));
        assert_eq!(said("exit 7").await.0, 7);
        let (status, _, err) = said("powershell -Command Get-Date").await;
        assert!(status == 1 && err.contains("does not interpret PowerShell"), "{err}");
        let (status, _, err) = said("ls || echo no").await;
        assert!(status == 0 && err.contains("'ls' is not recognized"), "{err}");
        assert_eq!(said(r"cd c:\programdata\SSH & cd").await.1, "C:\\ProgramData\\ssh\r\n");
    }
}
