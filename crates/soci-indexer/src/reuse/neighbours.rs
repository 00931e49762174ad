//! Which of a repository's tags are most likely to name a result with the same layers.
//!
//! Registries list tags by their names or in an order of their own, and say of none when it was pushed. What is built one
//! after the other has mostly a name that counts up, a version or a number. So the tags are put in the order in which people
//! count, and those next to the image's own come first, the ones before it more than those behind. Where names are hashes,
//! any neighbour is as good as another; `latest`, and what the list ends with, are tried between them.

use std::cmp::Ordering;

use soci_oci::{Tag, referrers};

use crate::output_tag::USUAL_SUFFIX;

/// Tags before the image's own that are tried.
const BEFORE: usize = 6;

/// Tags behind it.
const BEHIND: usize = 2;

/// Tags at the list's end.
const AT_END: usize = 2;

/// Where the nearest tags are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near<'a> {
    /// What they are to be near to. It is not one of them.
    pub(super) tag: Option<&'a Tag>,
    /// What they end with, too. Where that is not known, with what tags of results usually end, or if none does so, with
    /// anything.
    pub(super) suffix: Option<&'a str>,
}

impl Near<'_> {
    /// The nearest of `tags`, the most promising first.
    pub(super) fn of<'t>(&self, tags: &'t [Tag]) -> Vec<&'t Tag> {
        let own = self.tag.map(Tag::as_str);
        let is_usual = |tag: &Tag| tag.as_str().ends_with(USUAL_SUFFIX);
        let suffix = match self.suffix {
            Some(suffix) => suffix,
            None if tags.iter().any(is_usual) => USUAL_SUFFIX,
            None => "",
        };
        let of = |tag: &'t str| tag.strip_suffix(suffix).filter(|base| !base.is_empty());
        let base = |tag: &'t Tag| of(tag.as_str()).unwrap_or_default();
        let wanted: Vec<&Tag> = tags
            .iter()
            .filter(|tag| Some(tag.as_str()) != own && of(tag.as_str()).is_some())
            .filter(|tag| !referrers::is_tag(tag.as_str()))
            .collect();
        let mut sorted = wanted.clone();
        sorted.sort_by(|a, b| count_up(base(a), base(b)));
        let own = own.map(|own| own.strip_suffix(suffix).unwrap_or(own)).unwrap_or_default();
        let place = sorted.partition_point(|tag| count_up(base(tag), own) == Ordering::Less);
        let (before, behind) = sorted.split_at(place);
        let mut before = before.iter().rev().take(BEFORE).copied();
        let mut behind = behind.iter().take(BEHIND).copied();
        let latest = wanted.iter().copied().find(|tag| base(tag) == "latest");
        let mut at_end = wanted.iter().rev().take(AT_END).copied();
        let mut near: Vec<&Tag> = Vec::new();
        let in_turn = [before.next(), behind.next(), latest, before.next(), at_end.next()];
        let rest = before.chain(behind).chain(at_end);
        for tag in in_turn.into_iter().flatten().chain(rest) {
            if !near.contains(&tag) {
                near.push(tag);
            }
        }
        near
    }
}

/// The order in which people count: digits that stand together are a number.
fn count_up(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (number_a, rest_a) = leading_digits(a);
        let (number_b, rest_b) = leading_digits(b);
        if !number_a.is_empty() && !number_b.is_empty() {
            let by_size = number_a.len().cmp(&number_b.len());
            let order = by_size.then_with(|| number_a.cmp(number_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
            continue;
        }
        match (a.split_first(), b.split_first()) {
            (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
            (x, y) => return x.map(|(x, _)| x).cmp(&y.map(|(y, _)| y)),
        }
    }
}

/// The number at the beginning without zeros in front, at least one digit of it, and what is behind.
fn leading_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    (&digits[zeros.min(digits.len().saturating_sub(1))..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(names: &[&str]) -> Vec<Tag> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn near<'a>(tag: &str, suffix: impl Into<Option<&'a str>>, names: &[&str]) -> Vec<String> {
        let tag: Tag = tag.parse().unwrap();
        let tags = tags(names);
        let near = Near { tag: Some(&tag), suffix: suffix.into() }.of(&tags);
        near.into_iter().map(ToString::to_string).collect()
    }

    #[test]
    fn versions_are_counted_and_the_one_before_comes_first() {
        let listed = [
            "1.10.0-soci",
            "1.2.0-soci",
            "1.9.0-soci",
            "1.9.0",
            "latest-soci",
            "2.0.0-soci",
            "-soci",
        ];
        let found = near("1.10.1-soci", "-soci", &listed[..6]);
        assert_eq!(found, ["1.10.0-soci", "2.0.0-soci", "latest-soci", "1.9.0-soci", "1.2.0-soci"]);
    }

    #[test]
    fn a_tag_itself_and_lists_of_referrers_are_no_neighbours() {
        let list = format!("sha256-{}", "a".repeat(64));
        assert_eq!(near("2", "", &["1", "2", &list, "3"]), ["1", "3"]);
        assert!(near("1-soci", "-soci", &["1", "2", "1-soci"]).is_empty());
    }

    #[test]
    fn for_a_result_with_a_name_of_its_own_those_that_are_named_as_results_are_come_first() {
        let listed = ["1", "1-soci", "2", "2-soci", "mine"];
        assert_eq!(near("1.5", None, &listed), ["1-soci", "2-soci"]);
        assert_eq!(near("fresh", None, &["a", "mine"]), ["a", "mine"]);
    }

    #[test]
    fn of_a_thousand_tags_a_few_are_near() {
        let names: Vec<String> = (0..1000).map(|number| format!("build-{number}-soci")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = near("build-500-soci", "-soci", &names);
        assert_eq!(found.len(), BEFORE + BEHIND + AT_END);
        assert_eq!(found[..2], ["build-499-soci", "build-501-soci"]);
    }

    #[test]
    fn the_order_is_a_total_one() {
        let names = ["", "0", "00", "1", "01", "1a", "a", "a1", "a10", "a2", "a02b", "b"];
        for a in names {
            assert_eq!(count_up(a, a), Ordering::Equal);
            for b in names {
                assert_eq!(count_up(a, b), count_up(b, a).reverse(), "{a} {b}");
                for c in names {
                    let (ab, bc) = (count_up(a, b), count_up(b, c));
                    if ab == bc {
                        assert_eq!(count_up(a, c), ab, "{a} {b} {c}");
                    }
                }
            }
        }
        assert_eq!(count_up("a2", "a10"), Ordering::Less);
    }
}
