//! The words of Azure that say nothing about anybody, and what texts look like.

use std::net::IpAddr;

/// Fields whose texts are words of Azure's own. What else stands in them is replaced all the same.
const SPOKEN: [&str; 39] = [
    "access",
    "actions",
    "agentversion",
    "allocationmethod",
    "apiversions",
    "capabilities",
    "code",
    "dataactions",
    "defaultapiversion",
    "destinationaddressprefix",
    "destinationaddressprefixes",
    "destinationportrange",
    "destinationportranges",
    "direction",
    "effect",
    "kind",
    "level",
    "location",
    "locations",
    "namespace",
    "notactions",
    "notdataactions",
    "osname",
    "privateipallocationmethod",
    "processname",
    "protocol",
    "publicipallocationmethod",
    "publisher",
    "region",
    "registrationpolicy",
    "servicename",
    "sourceaddressprefix",
    "sourceaddressprefixes",
    "sourceportrange",
    "sourceportranges",
    "tier",
    "typehandlerversion",
    "version",
    "vmagentversion",
];

/// Fields of which nothing is written, wherever a name contains one of these.
const SECRET: [&str; 18] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "credential",
    "accesskey",
    "privatekey",
    "sharedkey",
    "accountkey",
    "connectionstring",
    "sasuri",
    "bloburi",
    "signature",
    "protected",
    "commandtoexecute",
    "customdata",
    "userdata",
    "authorization",
];

/// Fields that people name what they hold in: names of fields in them are as private as their texts.
const OPEN: [&str; 6] =
    ["tags", "settings", "userassignedidentities", "detectedproperties", "outputs", "metadata"];

/// Names that everybody has.
const COMMON: [&str; 9] = [
    "default",
    "ssh",
    "wac",
    "current",
    "true",
    "false",
    "windowsopenssh",
    "aadsshloginforlinux",
    "aadsshloginforwindows",
];

/// Words with other signs than letters in Azure's sentences.
const JOINED: [&str; 8] = [
    "api-version",
    "api-versions",
    "long-running",
    "non-existent",
    "in-progress",
    "ipv4",
    "ipv6",
    "x-ms-client-request-id",
];

pub(super) fn is_spoken(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    SPOKEN.contains(&field.as_str())
        || ["status", "state", "type", "mode"].iter().any(|end| field.ends_with(end))
}

pub(super) fn is_secret(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    SECRET.iter().any(|part| field.contains(part))
        || matches!(field.as_str(), "key" | "keydata" | "script" | "sig")
}

pub(super) fn is_open(field: &str) -> bool {
    OPEN.contains(&field.to_ascii_lowercase().as_str())
}

pub(super) fn is_common(name: &str) -> bool {
    COMMON.contains(&name.to_ascii_lowercase().as_str())
}

/// Returns whether a text can be the name of a field that Azure chose.
pub(super) fn is_field(name: &str) -> bool {
    let letters = ["@odata.", "ipv4", "ipv6", "ip4", "ip6", "win32"]
        .iter()
        .fold(name.to_ascii_lowercase(), |name, known| name.replace(known, ""));
    (1..=40).contains(&letters.len())
        && letters.bytes().all(|b| b.is_ascii_alphabetic() || b"$_".contains(&b))
}

/// Returns whether a text is a word, as a type, an action or a sentence has them.
pub(super) fn is_letters(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Returns whether a text is the namespace of a provider, such as `Microsoft.Compute`.
pub(super) fn is_namespace(text: &str) -> bool {
    text.contains('.') && text.split('.').all(is_letters)
}

/// Returns whether a text is a region, by its name or as people read it.
pub(super) fn is_region(text: &str) -> bool {
    let name = text.trim_end_matches("euap").trim_end_matches("EUAP").trim();
    let name = name.strip_suffix(['1', '2', '3', '4']).unwrap_or(name).trim();
    (3..=30).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ')
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// Returns the address that a text is, perhaps with the length of a prefix behind it.
pub(super) fn address(text: &str) -> Option<(IpAddr, &str)> {
    let at = text.find('/').unwrap_or(text.len());
    let (address, prefix) = text.split_at(at);
    let is_prefix = prefix.is_empty() || prefix[1..].parse::<u8>().is_ok();
    Some((address.parse().ok()?, prefix)).filter(|_| is_prefix)
}

/// Returns whether a text is a date, an api-version or a moment.
pub(super) fn is_moment(text: &str) -> bool {
    let date = text.strip_suffix("-preview").unwrap_or(text);
    let is_time = text.len() == 8 && text.parse::<jiff::civil::Time>().is_ok();
    is_time
        || (date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok())
        || (text.contains('T') && text.parse::<jiff::Timestamp>().is_ok())
}

/// Returns whether a text is a short number, or one range of ports.
fn is_figure(text: &str) -> bool {
    let is_number = |text: &str| (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number(text) || text.split_once('-').is_some_and(|(from, to)| is_number(from) && is_number(to))
}

/// Returns whether a text is a version: figures with dots between them. What could be an address counts only when it begins
/// as no address of a network of one's own does.
pub(super) fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let is_address = text.parse::<IpAddr>().is_ok() && parts[0].len() > 1;
    !is_address
        && (2..=5).contains(&parts.len())
        && parts.iter().all(|part| (1..=6).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns whether a word of a sentence, or a word of Azure's own, says nothing about anybody.
pub(super) fn is_plain(word: &str) -> bool {
    // Azure shouts no long words; people name machines so.
    let shouted = word.len() > 6 && word.bytes().all(|b| b.is_ascii_uppercase());
    let code = |prefix: &str| {
        word.strip_prefix(prefix).is_some_and(|rest| rest.len() <= 8 && rest.parse::<u32>().is_ok())
    };
    (is_letters(word) && !shouted)
        || word == "*"
        || is_figure(word)
        || is_moment(word)
        || code("HCRP")
        || code("AADSTS")
        || JOINED.contains(&word.to_ascii_lowercase().as_str())
        || is_namespace(word)
        || (word.contains('/')
            && word.split('/').all(|part| part == "*" || is_letters(part) || is_namespace(part)))
}
