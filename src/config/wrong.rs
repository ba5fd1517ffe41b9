//! What is wrong with a value of the file, and what of the file may be shown with it.

use std::ops::Range;

use toml::Spanned;

/// How the names of secrets begin.
const KINDS: [&str; 4] = ["env:", "file:", "keyring:", "keyvault:"];

/// What is wrong, and where in the file.
pub(super) type Wrong = (Range<usize>, String);

/// Says what is wrong with a value.
pub(super) fn wrong<T>(at: &Spanned<T>, why: &str) -> Wrong {
    (at.span(), why.to_owned())
}

/// Returns whether a text is the name of a secret.
pub(super) fn is_secret(text: &str) -> bool {
    KINDS.iter().any(|kind| text.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()))
}

/// Returns the text of a file without what may be a secret that somebody wrote into it: an error shows lines of it.
pub(super) fn masked<'a>(text: &str, delicate: impl Iterator<Item = &'a Spanned<String>>) -> String {
    let mut masked = text.to_owned();
    for value in delicate {
        let inner = value.span().start + 1..value.span().end.saturating_sub(1);
        if !is_secret(value.get_ref()) && masked.get(inner.clone()).is_some_and(|inner| !inner.is_empty()) {
            // As long as before, so that what follows stays where it is.
            let stars = "*".repeat(inner.len());
            masked.replace_range(inner, &stars);
        }
    }
    masked
}
