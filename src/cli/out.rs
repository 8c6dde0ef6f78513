//! Writing to the terminal. A reader that has gone (`outrigger … | head`) is no error.

use std::io::Write as _;

/// To standard output: what the command was asked for.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()));
    drop(out.flush());
}

/// To standard error: what went wrong.
pub(super) fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    drop(out.write_all(text.as_bytes()));
    drop(out.write_all(b"\n"));
}
