//! Finding a secret in a text, in whatever clothes a service puts it.

use std::ops::Range;

use aho_corasick::AhoCorasick;

use crate::event::hex;

/// How often one text is decoded: a body quoted in an error quoted in an error.
const LAYERS: usize = 3;
/// The most bytes that an escape spends on one byte: `\u0041`, `&#x41;`.
pub(super) const WIDEST_ESCAPE: usize = 6;

/// Where a secret stands in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// The bytes of the text. They begin and end between characters.
    pub(super) at: Range<usize>,
    /// Which secret.
    pub(super) secret: usize,
    /// Which of its forms, as [`forms`] counts them.
    pub(super) form: usize,
}

/// Looks for many secrets at once.
#[derive(Default)]
pub(super) struct Finder {
    automaton: Option<AhoCorasick>,
    /// For each pattern: the secret, and which of its forms.
    patterns: Vec<(usize, usize)>,
    /// The longest pattern, in bytes.
    pub(super) longest: usize,
    /// Whether a pattern holds the end of a line, so that a secret may reach from one line into the next.
    pub(super) crosses_lines: bool,
}

impl Finder {
    /// Makes a finder; nothing when there is too much to look for.
    pub(super) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (mut patterns, mut texts) = (Vec::new(), Vec::new());
        for (secret, value) in secrets.enumerate() {
            for (form, (_, text)) in forms(value).into_iter().enumerate() {
                patterns.push((secret, form));
                texts.push(text);
            }
        }
        let longest = texts.iter().map(String::len).max().unwrap_or_default();
        let crosses_lines = texts.iter().any(|text| text.contains('\n'));
        let automaton = Some(AhoCorasick::new(texts).ok()?);
        Some(Finder { automaton, patterns, longest, crosses_lines })
    }

    /// Returns every place of every secret, also those that overlap and those behind an escape.
    pub(super) fn hits(&self, text: &str) -> Vec<Hit> {
        let Some(automaton) = self.automaton.as_ref().filter(|_| !self.patterns.is_empty()) else {
            return Vec::new();
        };
        let mut hits = Vec::new();
        let mut look = |bytes: &[u8], origin: &dyn Fn(usize) -> usize| {
            for found in automaton.find_overlapping_iter(bytes) {
                let (secret, form) = self.patterns[found.pattern().as_usize()];
                let at = whole(text, origin(found.start())..origin(found.end()));
                hits.push(Hit { at, secret, form });
            }
        };
        look(text.as_bytes(), &|at| at);
        for (sign, unit) in ESCAPES {
            let mut decoded = Decoded::plain(text);
            for _ in 0..LAYERS {
                if !decoded.bytes.contains(&sign) || !decoded.unescape(sign, unit) {
                    break;
                }
                look(&decoded.bytes, &|at| decoded.origins[at]);
            }
        }
        hits
    }

    /// Returns the parts of a text to take out, in order and apart, each with one of its secrets.
    pub(super) fn parts(&self, text: &str, counts: &dyn Fn(usize) -> bool) -> Vec<Hit> {
        let mut hits = self.hits(text);
        hits.retain(|hit| counts(hit.secret));
        hits.sort_by_key(|hit| (hit.at.start, usize::MAX - hit.at.end));
        let mut parts: Vec<Hit> = Vec::new();
        for hit in hits {
            match parts.last_mut().filter(|last| hit.at.start < last.at.end) {
                Some(last) => last.at.end = last.at.end.max(hit.at.end),
                None => parts.push(hit),
            }
        }
        parts
    }
}

/// Returns a range that does not cut a character.
fn whole(text: &str, range: Range<usize>) -> Range<usize> {
    let (mut start, mut end) = (range.start, range.end);
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// Returns what is looked for, each form by name: the value, and what encoders without a decoder's help make of it.
///
/// Percent signs, backslashes and entities are undone in the text besides, since every encoder chooses for itself
/// what it escapes; the commonest are here, by which a hidden state is made whole again.
pub(super) fn forms(value: &str) -> Vec<(&'static str, String)> {
    let utf16: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bytes = hex(value.as_bytes());
    let escaped = |text: &str| {
        let json = serde_json::to_string(text).unwrap_or_default();
        json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned()
    };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let percent = |byte: u8| match is_plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    let mut forms = vec![
        ("plain", value.to_owned()),
        ("crlf", value.replace('\n', "\r\n")),
        ("plus", value.replace(' ', "+")),
        ("json", escaped(value)),
        ("json.json", escaped(&escaped(value))),
        ("percent", value.bytes().map(percent).collect()),
        ("HEX", bytes.to_ascii_uppercase()),
        ("hex", bytes),
        ("utf16", value.encode_utf16().flat_map(u16::to_le_bytes).map(char::from).collect()),
    ];
    let names = [["base64.0", "base64.1", "base64.2"], ["base64url.0", "base64url.1", "base64url.2"]];
    let wide = [
        ["utf16.base64.0", "utf16.base64.1", "utf16.base64.2"],
        ["utf16.base64url.0", "utf16.base64url.1", "utf16.base64url.2"],
    ];
    for (bytes, names) in [(value.as_bytes(), names), (&utf16[..], wide)] {
        for (alphabet, names) in [b"+/", b"-_"].into_iter().zip(names) {
            for (before, name) in names.into_iter().enumerate() {
                forms.push((name, base64(bytes, before, alphabet)));
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    forms.retain(|(_, text)| !text.is_empty() && seen.insert(text.clone()));
    forms
}

/// Returns the base64 digits that bytes have whatever stands around them, when `before` bytes of their group of
/// three precede them.
fn base64(bytes: &[u8], before: usize, last_two: &[u8; 2]) -> String {
    let mut digits = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    digits[62..].copy_from_slice(last_two);
    let bit = |n: usize| (bytes[n / 8] >> (7 - n % 8)) & 1;
    // The first digit that holds bits of ours alone, and from there whole digits.
    let first = (6 - before * 8 % 6) % 6;
    let groups = (bytes.len() * 8).saturating_sub(first) / 6;
    (0..groups)
        .map(|group| (0..6).fold(0u8, |digit, n| digit << 1 | bit(first + group * 6 + n)))
        .map(|digit| char::from(digits[usize::from(digit)]))
        .collect()
}

/// Reads one escape at the start of a text: how long it is, and the bytes that it stands for.
type Unit = fn(&[u8]) -> Option<(usize, Vec<u8>)>;

const ESCAPES: [(u8, Unit); 3] = [(b'%', percent), (b'\\', backslash), (b'&', entity)];

/// A text without its escapes, and where each byte comes from.
struct Decoded {
    bytes: Vec<u8>,
    /// One more than there are bytes: the end.
    origins: Vec<usize>,
}

impl Decoded {
    fn plain(text: &str) -> Self {
        Decoded { bytes: text.as_bytes().to_vec(), origins: (0..=text.len()).collect() }
    }

    /// Undoes one layer of escapes. Returns whether there was one.
    fn unescape(&mut self, sign: u8, unit: Unit) -> bool {
        let mut out = Decoded { bytes: Vec::with_capacity(self.bytes.len()), origins: Vec::new() };
        let (mut at, mut any) = (0, false);
        while at < self.bytes.len() {
            let origin = self.origins[at];
            match Some(&self.bytes[at..]).filter(|rest| rest[0] == sign).and_then(unit) {
                Some((length, stands_for)) => {
                    out.origins.extend(stands_for.iter().map(|_| origin));
                    out.bytes.extend(stands_for);
                    at += length;
                    any = true;
                }
                None => {
                    out.bytes.push(self.bytes[at]);
                    out.origins.push(origin);
                    at += 1;
                }
            }
        }
        out.origins.extend(self.origins.last());
        *self = out;
        any
    }
}

/// `%41`
fn percent(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let code = number(text.get(1..3)?, 16)?;
    Some((3, vec![u8::try_from(code).ok()?]))
}

/// `\"` and `\u0041`, in pairs beyond the first plane.
fn backslash(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let plain = match text.get(1)? {
        byte @ (b'"' | b'\\' | b'/' | b'\'') => *byte,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let first = number(text.get(2..6)?, 16)?;
            if let Some(one) = char::from_u32(first) {
                return Some((6, one.to_string().into_bytes()));
            }
            let second = number(text.get(6..12)?.strip_prefix(b"\\u")?, 16)?;
            let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
            return Some((12, String::from_utf16(&pair).ok()?.into_bytes()));
        }
        _ => return None,
    };
    Some((2, vec![plain]))
}

/// `&quot;`, `&#34;` and `&#x22;`
fn entity(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let stands_for = match &text[1..end] {
        b"quot" => '"',
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
        _ => return None,
    };
    Some((end + 1, stands_for.to_string().into_bytes()))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let is_one = !digits.is_empty() && digits.iter().all(u8::is_ascii_alphanumeric);
    u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| is_one)?, radix).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(secret: &str, text: &str) -> Vec<String> {
        let finder = Finder::new([secret].into_iter()).expect("few patterns");
        finder.parts(text, &|_| true).into_iter().map(|hit| text[hit.at].to_owned()).collect()
    }

    #[test]
    fn a_secret_is_found_in_every_dress() {
        let secret = r#"p&ss "wörd"/+1"#;
        for dressed in [
            r#"p&ss "wörd"/+1"#,
            r#"p&ss \"wörd\"\/+1"#,
            r#"p&ss \\\"wörd\\\"/+1"#,
            r#"p\u0026ss \u0022w\u00f6rd\u0022/\u002b1"#,
            "p%26ss%20%22w%C3%B6rd%22%2F%2B1",
            "p%26ss%20%22w%c3%b6rd%22/+1",
            "p%2526ss%2520%2522w%25C3%25B6rd%2522%252F%252B1",
            "p&amp;ss &quot;w&#246;rd&quot;/+1",
            "p&#x26;ss &#34;w&#xF6;rd&#34;/+1",
            "702673732022 77c3b6726422 2f2b31",
        ] {
            let dressed =
                if dressed.starts_with("7026") { dressed.replace(' ', "") } else { dressed.to_owned() };
            let text = format!("before {dressed} after");
            assert_eq!(found(secret, &text), [dressed], "{text}");
        }
    }

    proptest! {
        #[test]
        fn base64_is_found_whatever_stands_around(secret in "[ -~]{6,40}", before in "[ -~]{0,5}", after in "[ -~]{0,5}") {
            use std::fmt::Write;
            // An encoder of its own, so that one mistake does not hide on both sides.
            fn encode(bytes: &[u8], digits: &[u8]) -> String {
                let mut bits = String::new();
                bytes.iter().for_each(|byte| write!(bits, "{byte:08b}").expect("a string"));
                while !bits.len().is_multiple_of(6) { bits.push('0'); }
                bits.as_bytes().chunks(6).map(|six| {
                    let digit = usize::from_str_radix(std::str::from_utf8(six).expect("bits"), 2).expect("bits");
                    char::from(digits[digit])
                }).collect()
            }
            let whole = format!("{before}{secret}{after}");
            let wide: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
            for digits in [b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"] {
                prop_assert!(!found(&secret, &encode(whole.as_bytes(), digits)).is_empty());
                prop_assert!(!found(&secret, &encode(&wide, digits)).is_empty());
            }
        }

        #[test]
        fn any_text_is_searched(text in "\\PC{0,60}", secret in "\\PC{6,12}") {
            for part in found(&secret, &text) {
                prop_assert!(!part.is_empty());
            }
            let (planted, escaped) = (format!("{text}{secret}{text}"), format!("\\{text}%{secret}&{text}"));
            prop_assert!(!found(&secret, &planted).is_empty() && !found(&secret, &escaped).is_empty());
        }
    }

    #[test]
    fn what_overlaps_is_taken_out_whole() {
        let finder = Finder::new(["abcdef", "defghi"].into_iter()).expect("few patterns");
        let parts = finder.parts("xabcdefghix", &|_| true);
        assert_eq!((parts.len(), parts[0].at.clone()), (1, 1..10));
        let parts = finder.parts("xabcdefghix", &|secret| secret == 1);
        assert_eq!((parts.len(), parts[0].at.clone()), (1, 4..10));
    }
}
