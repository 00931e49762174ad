//! Wildcards without backtracking.

use std::fmt;

/// Text with `*` for any number of any characters.
///
/// Invariants: there is at least one piece; none but the first and the last is empty, so equal
/// patterns are those that differ in repeated asterisks only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<String>);

impl Pattern {
    /// The pattern that is `text`; asterisks in a row count as one.
    pub(super) fn new(text: &str) -> Self {
        let last = text.matches('*').count();
        let pieces = text.split('*').enumerate();
        let kept = pieces.filter(|(at, piece)| *at == 0 || *at == last || !piece.is_empty());
        Self(kept.map(|(_, piece)| piece.to_owned()).collect())
    }

    /// Whether the pattern is `*`, which also nothing matches.
    pub(super) fn is_any(&self) -> bool {
        self.0.len() == 2 && self.0.iter().all(String::is_empty)
    }

    /// Whether all of `text` matches.
    ///
    /// The leftmost place of each piece leaves the most room for those after it, so no choice is
    /// ever taken back: the time is linear in the lengths of text and pattern.
    pub(super) fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|whole| whole == text);
        };
        let rest = text.strip_prefix(first.as_str());
        let Some(mut rest) = rest.and_then(|rest| rest.strip_suffix(last.as_str())) else {
            return false;
        };
        for piece in middle {
            let Some((_, behind)) = rest.split_once(piece.as_str()) else { return false };
            rest = behind;
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("*"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tries every length for every asterisk.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', pattern)) => (0..=text.len()).any(|at| naive(pattern, &text[at..])),
            Some((c, pattern)) => text.first() == Some(c) && naive(pattern, &text[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn it_agrees_with_the_naive_matcher(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
            let expected = naive(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), expected);
        }

        #[test]
        fn it_agrees_where_the_text_fits_the_pattern(
            pieces in proptest::collection::vec(("[ab]{0,2}", "[ab]{0,3}"), 1..5),
        ) {
            let (mut pattern, mut text) = (String::new(), String::new());
            for (literal, filling) in &pieces {
                pattern.extend([literal.as_str(), "*"]);
                text.extend([literal.as_str(), filling.as_str()]);
            }
            prop_assert!(Pattern::new(&pattern).matches(&text));
        }

        #[test]
        fn it_prints_as_a_pattern_that_is_equal(text in "[ab*]{0,9}") {
            let pattern = Pattern::new(&text);
            prop_assert_eq!(&Pattern::new(&pattern.to_string()), &pattern);
        }
    }

    #[test]
    fn only_asterisks_alone_are_any() {
        for (text, any) in [("*", true), ("***", true), ("", false), ("a*", false), ("*a*", false)]
        {
            assert_eq!(Pattern::new(text).is_any(), any, "{text}");
        }
    }

    /// A matcher that goes back to try other places would not end in a lifetime here.
    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = Pattern::new(&"*a".repeat(100));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(1_000_000))));
        let pattern = Pattern::new(&format!("{}b*", "*a".repeat(100)));
        assert!(!pattern.matches(&"a".repeat(1_000_000)));
        let pattern = Pattern::new(&format!("*{}b*", "a".repeat(1_000)));
        assert!(!pattern.matches(&"a".repeat(1_000_000)));
    }
}
