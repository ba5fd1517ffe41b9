//! What the environment says: that of this process, and behind it a file that a service is given.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;
use std::{fs, io};

use relight_engine::{Error, Result};

/// What the file says.
static FILE: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Returns the value of an environment variable that is not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    let own = std::env::var(name).ok().filter(|value| !value.is_empty());
    own.or_else(|| FILE.get()?.get(name).cloned())
}

/// Takes what a file says for variables that are not set: `NAME=VALUE` in each line, as systemd reads it. Nothing when there is no such file.
///
/// # Errors
/// `Invalid` when it cannot be read.
pub(crate) fn take(path: &Path) -> Result<()> {
    let wrong = |e| Error::invalid(format!("the variables in {} cannot be read", path.display())).because(e);
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(wrong)?,
    };
    let _ = FILE.set(variables(&text).map_err(|line| {
        // The line may hold a secret.
        Error::invalid(format!("line {line} of {} is not NAME=VALUE", path.display()))
    })?);
    Ok(())
}

/// Returns the variables of a text, or the number of the first line that is none.
fn variables(text: &str) -> std::result::Result<HashMap<String, String>, usize> {
    // Editors on Windows begin a file with a mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim).zip(1..);
    let said = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with(['#', ';']));
    let read = said.map(|(line, number)| match line.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), unquoted(value.trim()).to_owned()))
        }
        _ => Err(number),
    });
    read.filter(|read| !matches!(read, Ok((_, value)) if value.is_empty())).collect()
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_systemd_does() {
        let text = "\u{feff}# who signs in\r\nAZURE_CLIENT_ID=a-b\r\n\r\n; no\n A = 'b = c' \nEMPTY=\nB=\"\nC=\"x\"\n";
        let read = variables(text).unwrap();
        let mut read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        read.sort_unstable();
        assert_eq!(read, [("A", "b = c"), ("AZURE_CLIENT_ID", "a-b"), ("B", "\""), ("C", "x")]);
        assert_eq!((variables("A=b\n\nsecret"), variables("=x")), (Err(3), Err(1)));
    }
}
