//! Has the addresses that the loader must fill in stored as a bitmap, where it can read one: 24 bytes less for each
//! of 41,000.

use std::env;
use std::process::Command;

/// The first glibc whose loader reads the bitmap. A program needs the glibc of the machine on which it was built, or a
/// newer one, with or without it.
const READS_BITMAPS: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_built_for_itself = env::var_os("HOST") == env::var_os("TARGET");
    if is_built_for_itself && glibc().is_some_and(|version| version >= READS_BITMAPS) {
        println!("cargo::rustc-link-arg-bin=relight=-Wl,-z,pack-relative-relocs");
    }
}

/// Returns the version of this machine's glibc, if it has one.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
