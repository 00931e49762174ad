//! What `local` prints.

use std::io::Write as _;

/// Prints a line. Whoever has closed standard output does not want to know.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
