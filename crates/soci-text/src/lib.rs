//! How errors, sizes and foreign text are shown to people: in one line, bounded, and without characters that
//! a terminal or a log reader would obey; and where it says what to do about them.
//!
//! Pure, and below every other crate: it knows nothing of registries, queues or images.

mod runbook;

use std::error::Error;
use std::fmt::Write as _;

pub use runbook::Runbook;

/// Longest part of a text from elsewhere that a message repeats, in characters.
pub const MAX_QUOTED: usize = 160;

/// What stands for the rest of a text that was cut.
const CUT: &str = " [...]";

/// An error and its sources in one line, joined by colons. A source that the error above it has
/// quoted already, at its beginning or its end, is not repeated.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut above = text.clone();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) && !above.starts_with(&cause) {
            // Writing to a string does not fail.
            let _ = write!(text, ": {cause}");
        }
        above = cause;
        source = error.source();
    }
    text.replace(char::is_control, " ")
}

/// The beginning of a text from elsewhere, as far as a message repeats it.
pub fn clip(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

/// The first `limit` characters of a text from elsewhere, fit to be shown: `stand_in` takes the place
/// of each that changes how the text around it is shown, which are control characters and marks of
/// writing direction. Those in `kept` stay.
pub fn disarmed(text: &str, limit: usize, stand_in: char, kept: &[char]) -> String {
    let disarm = |c| if is_disturbing(c) && !kept.contains(&c) { stand_in } else { c };
    text.chars().take(limit).map(disarm).collect()
}

/// A text in which every URL has lost its user information, its query and its fragment: a proxy or a cache may
/// repeat the URL that it was asked for, which is signed.
pub fn without_url_secrets(text: &str) -> String {
    const SCHEME_END: &str = "://";
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(SCHEME_END) {
        let (before, url) = rest.split_at(at + SCHEME_END.len());
        clean.push_str(before);
        let (url, after) = url.split_at(url.find(ends).unwrap_or(url.len()));
        let query = url.find(['?', '#']).unwrap_or(url.len());
        let place = &url[..query];
        let host = place.find('/').unwrap_or(place.len());
        let user = place[..host].rfind('@').map_or(0, |at| at + 1);
        clean.push_str(&place[user..]);
        if query < url.len() {
            clean.push_str("?[...]");
        }
        rest = after;
    }
    clean.push_str(rest);
    clean
}

/// Control characters, which a terminal obeys, and the explicit directional formatting characters
/// (Unicode Standard Annex 9, section 2), which can make a line read as another one.
fn is_disturbing(c: char) -> bool {
    let direction = matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || direction
}

/// A number of bytes in the largest unit of 1024s that leaves at least one, with one decimal: `10.0 MiB`. The
/// command line, the page and messages all show sizes so, in the units in which the program takes them.
#[expect(clippy::cast_precision_loss, reason = "one decimal is printed")]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be written as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Cuts `text` to at most `limit` bytes, and marks that there was more.
pub fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layered(&'static str, Option<Box<Layered>>);

    impl fmt::Display for Layered {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layered {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as &(dyn Error + 'static))
        }
    }

    #[test]
    fn a_chain_names_each_cause_once_and_stays_one_line() {
        let root = Layered("refused\nby host", None);
        let quoting = Layered("connect: refused\nby host", Some(Box::new(root)));
        let top = Layered("push failed", Some(Box::new(quoting)));
        assert_eq!(error_chain(&top), "push failed: connect: refused by host");
        let refused = Layered("refused", None);
        let given_up = Layered("refused (gave up after 7 tries)", Some(Box::new(refused)));
        let top = Layered("push failed", Some(Box::new(given_up)));
        assert_eq!(error_chain(&top), "push failed: refused (gave up after 7 tries)");
    }

    #[test]
    fn foreign_text_is_bounded_in_characters() {
        assert_eq!(clip(&"ü".repeat(500)).chars().count(), MAX_QUOTED);
        assert_eq!(clip("short"), "short");
    }

    #[test]
    fn sizes_are_in_a_unit_that_fits() {
        let sizes = [0, 1023, 1024, 1536, (1 << 20) - 1, 10 << 20, (1 << 30) + (3 << 28), u64::MAX];
        assert_eq!(
            sizes.map(size),
            [
                "0 B",
                "1023 B",
                "1.0 KiB",
                "1.5 KiB",
                "1.0 MiB",
                "10.0 MiB",
                "1.8 GiB",
                "16384.0 PiB"
            ]
        );
    }

    #[test]
    fn what_disturbs_is_replaced_unless_it_is_kept() {
        let text = "a\u{202e}b\u{61c}\nc\u{1b}[2J";
        assert_eq!(disarmed(text, 100, ' ', &[]), "a b  c [2J");
        assert_eq!(disarmed(text, 6, '?', &['\n']), "a?b?\nc");
        assert_eq!(disarmed("größer", 4, ' ', &[]), "größ");
    }

    #[test]
    fn a_cut_text_keeps_its_limit_and_its_characters_whole() {
        let mut text = "é".repeat(2000);
        truncate(&mut text, 1001);
        assert!(text.len() <= 1001 && text.ends_with("é [...]"), "{text}");
        let mut short = "whole".to_owned();
        truncate(&mut short, 5);
        assert_eq!(short, "whole");
    }

    #[test]
    fn urls_lose_what_may_be_secret_and_nothing_else() {
        let said = "GET https://user:pass@s3.example/b/k?X-Amz-Signature=abc#x: 403, see \"http://h/p\" (50% of a?b)";
        let clean = without_url_secrets(said);
        let expected = "GET https://s3.example/b/k?[...] 403, see \"http://h/p\" (50% of a?b)";
        assert_eq!(clean, expected);
    }
}
