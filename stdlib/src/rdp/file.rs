//! The text of an RDP file: `name:type:value` lines, kept as they are but for the ones that are set.

use std::fmt::Write;

/// An RDP file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RdpFile {
    lines: Vec<String>,
    /// Windows' own client saves its files as UTF-16.
    is_utf16: bool,
}

impl RdpFile {
    /// Returns the file that opens a console: the four lines that Hyper-V's console service needs.
    ///
    /// Inferred from the console of Azure Stack Edge, which is the same service: the port does no negotiation of
    /// security layers, the id selects the VM, and the basic session shows a guest that does not boot.
    pub(crate) fn console(address: &str, port: u16, vm_id: &str) -> Self {
        let lines = [
            format!("full address:s:{address}"),
            format!("server port:i:{port}"),
            format!("pcb:s:{vm_id};EnhancedMode=0"),
            "negotiate security layer:i:0".to_owned(),
        ];
        RdpFile { lines: lines.into(), is_utf16: false }
    }

    /// Reads a file, or returns nothing when it has no line of the right form.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let is_utf16 = bytes.starts_with(&[0xff, 0xfe]);
        let text = if is_utf16 {
            let units: Vec<u16> =
                bytes[2..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()?
        } else {
            std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}').to_owned()
        };
        let lines: Vec<String> =
            text.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect();
        let file = RdpFile { lines, is_utf16 };
        (!file.lines.is_empty() && file.lines.iter().all(|line| line.splitn(3, ':').count() == 3))
            .then_some(file)
    }

    /// Returns whether it is a console's file to which nobody added anything.
    pub(crate) fn is_ours(&self) -> bool {
        let ours = ["full address", "server port", "pcb", "negotiate security layer", "username"];
        let name = |line: &String| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !self.is_utf16
            && self.get("pcb").is_some_and(|pcb| pcb.ends_with(";EnhancedMode=0"))
            && self.lines.iter().all(|line| ours.contains(&name(line).as_str()))
    }

    /// Returns the value of a setting.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| value(line, name))
    }

    /// Returns a setting that is a text, if it is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Sets a text, in its place or at the end.
    pub(crate) fn set(&mut self, name: &str, to: &str) {
        let line = format!("{name}:s:{to}");
        match self.lines.iter_mut().find(|line| value(line, name).is_some()) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
    }

    /// Returns the file with CRLF line ends, in the encoding it came in.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let text = self.lines.iter().fold(String::new(), |mut text, line| {
            let _ = write!(text, "{line}\r\n");
            text
        });
        if !self.is_utf16 {
            return text.into_bytes();
        }
        [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    }
}

fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = line.splitn(3, ':');
    let (found, _kind, value) = (parts.next()?, parts.next()?, parts.next()?);
    found.trim().eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_console_file_is_written_to_the_byte() {
        let mut file = RdpFile::console("10.0.0.5", 2179, "0a1b");
        let text = "full address:s:10.0.0.5\r\nserver port:i:2179\r\npcb:s:0a1b;EnhancedMode=0\r\nnegotiate security layer:i:0\r\n";
        assert_eq!(file.bytes(), text.as_bytes());
        assert_eq!(RdpFile::parse(text.as_bytes()), Some(file.clone()));
        assert!(file.is_ours());
        file.set("full address", "10.0.0.6");
        file.set("username", "HOST\\admin");
        assert_eq!(file.get("Full Address"), Some("10.0.0.6"));
        assert!(file.bytes().ends_with(b"username:s:HOST\\admin\r\n"));
        assert!(file.is_ours());
        file.set("audiomode", "1");
        assert!(!file.is_ours(), "somebody added a line");
    }

    #[test]
    fn windows_own_files_keep_their_encoding() {
        let text: Vec<u8> = [0xfeffu16]
            .into_iter()
            .chain("full address:s:h\r\nx:i:1\r\n".encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let file = RdpFile::parse(&text).unwrap();
        assert_eq!((file.get("full address"), file.bytes()), (Some("h"), text));
    }

    #[test]
    fn other_files_are_not_taken_for_one() {
        for other in [&b""[..], b"hello", b"a:b", b"\xff\xfe\x00", b"\x80\x81", b"a:s:1\r\nnot a setting\r\n"]
        {
            assert_eq!(RdpFile::parse(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(file) = RdpFile::parse(&bytes) {
                prop_assert_eq!(RdpFile::parse(&file.bytes()), Some(file));
            }
        }
    }
}
