//! Text from outside, made fit to be shown.

use soci_text::disarmed;

/// Most characters of a text that is kept.
pub const MAX_TEXT: usize = 2_000;

/// Cuts a text to [`MAX_TEXT`] characters and replaces what changes how the text around it is
/// shown: control characters other than the line feed, and marks of writing direction.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = disarmed(text, MAX_TEXT, '\u{fffd}', &['\n']);
    if text.chars().nth(MAX_TEXT).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_by_characters() {
        let text = shown(&"é".repeat(MAX_TEXT + 1));
        assert_eq!(text.chars().count(), MAX_TEXT + 1);
        assert!(text.ends_with("é…"));
        assert_eq!(shown(&"é".repeat(MAX_TEXT)), "é".repeat(MAX_TEXT));
    }

    #[test]
    fn what_hides_other_text_is_replaced() {
        assert_eq!(shown("a\u{202e}b\u{1b}[2Jc\nd"), "a\u{fffd}b\u{fffd}[2Jc\nd");
        assert_eq!(shown("größer <b>"), "größer <b>");
    }
}
