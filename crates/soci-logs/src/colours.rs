//! Whether lines for people have colours.

use std::ffi::OsStr;
use std::io::IsTerminal as _;

/// Whether standard error is a terminal whose user has not asked for plain text.
pub fn stderr_colours() -> bool {
    colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}

/// The rule of <https://no-color.org>: any value but the empty one asks for plain text.
fn colours(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_has_colours_and_none_whose_user_wants_none() {
        for (terminal, no_color, expected) in [
            (true, None, true),
            (true, Some(""), true),
            (true, Some("1"), false),
            (true, Some("0"), false),
            (false, None, false),
        ] {
            assert_eq!(colours(terminal, no_color.map(OsStr::new)), expected, "{no_color:?}");
        }
    }
}
