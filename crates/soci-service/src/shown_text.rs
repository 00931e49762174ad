//! Text from outside, made fit to be shown.

/// Most characters of a text that is kept.
pub const MAX_TEXT: usize = 2_000;

/// Cuts a text to [`MAX_TEXT`] characters and replaces what changes how the text around it is
/// shown: control characters other than the line feed, and marks of writing direction.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(MAX_TEXT).map(|c| if disturbs(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        shown.push('…');
    }
    shown
}

/// The marks are the explicit directional formatting characters of Unicode Standard Annex 9,
/// section 2.
fn disturbs(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
