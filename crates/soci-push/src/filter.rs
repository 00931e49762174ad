//! Which pushes get a SOCI index: filters of the form `repository:tag`.
//!
//! Source: the `SociRepositoryImageTagFilters` of AWS's SOCI index builder for CloudFormation.
//! Like there, a list is required, `*` stands for any characters, and an image needs to match one
//! filter. Unlike there, `?` and `[...]` are no wildcards, tags may have upper-case letters, and a
//! filter that could never match is an error.
//!
//! A filter is written once and then decides for every push, so a mistake in it must show at once
//! and not as an image that is never indexed. That is why capitals in a repository or a comma too
//! many are errors, and why all wrong filters of a list are told together.
//!
//! Whoever may push chooses the names that filters are held against. Matching takes time linear in
//! the lengths of both (`filter/pattern.rs`), whatever they are.

use std::fmt;
use std::str::FromStr;

use soci_oci::Tag;
use soci_text::clip;

use crate::event::fields::Listed;

mod pattern;

use pattern::Pattern;

/// Longest repository name, `distribution/reference`; ECR's API stops at 256.
const MAX_REPOSITORY: usize = 256;

/// Longest tag, OCI distribution specification.
const MAX_TAG: usize = 128;

/// One filter, `repository:tag`. In both parts `*` stands for any number of any characters, also
/// none, also slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFilter {
    repository: Pattern,
    tag: Pattern,
}

/// What a filter must be and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagFilterError {
    /// There is nothing, as behind a trailing comma.
    #[error("is empty")]
    Empty,
    /// There is not exactly one colon.
    #[error("is not of the form repository:tag")]
    Form,
    /// The repository part is empty, too long, or has characters that no repository has.
    #[error(
        "has a repository part other than up to 256 of 'a'-'z', '0'-'9', '.', '_', '-', '/' and '*'"
    )]
    Repository,
    /// The tag part is empty, too long, or has characters that no tag has.
    #[error("has a tag part other than up to 128 letters, digits, '.', '_', '-' and '*'")]
    Tag,
}

impl TagFilter {
    /// Whether an image in `repository` can match, whatever its tag.
    pub fn names(&self, repository: &str) -> bool {
        self.repository.matches(repository)
    }

    /// Whether an image in `repository` (its name, without the registry) pushed under `tag`
    /// matches. A push without a tag matches a filter for any tag, `repository:*`, only.
    ///
    /// Takes time linear in the lengths of filter and names.
    pub fn matches(&self, repository: &str, tag: Option<&Tag>) -> bool {
        self.repository.matches(repository)
            && tag.map_or(self.tag.is_any(), |tag| self.tag.matches(tag.as_str()))
    }
}

impl FromStr for TagFilter {
    type Err = TagFilterError;

    /// Blanks around the filter are dropped.
    fn from_str(text: &str) -> Result<Self, TagFilterError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TagFilterError::Empty);
        }
        // Neither names nor tags have colons. Two of them would be a registry's port.
        let (repository, tag) = text.split_once(':').ok_or(TagFilterError::Form)?;
        if tag.contains(':') {
            return Err(TagFilterError::Form);
        }
        let in_name = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/');
        let in_tag = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        Ok(Self {
            repository: pattern_of(repository, MAX_REPOSITORY, in_name)
                .ok_or(TagFilterError::Repository)?,
            tag: pattern_of(tag, MAX_TAG, in_tag).ok_or(TagFilterError::Tag)?,
        })
    }
}

impl fmt::Display for TagFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// The filters of a deployment, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFilters(Vec<TagFilter>);

/// A filter of a list that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter {position}, {filter:?}, {reason}")]
pub struct FilterProblem {
    /// Where it is in the list; the first is 1.
    pub position: usize,
    /// Its text without the blanks around it, cut short.
    pub filter: String,
    /// What is wrong with it.
    pub reason: TagFilterError,
}

/// Why a string is no list of filters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterListError {
    /// There is no filter. A list for all images is `*:*`.
    #[error("the list of filters is empty (\"*:*\" matches every image)")]
    Empty,
    /// Some filters are wrong; all of these are listed.
    #[error("the list of filters is wrong: {}", Listed(.0))]
    Filters(Vec<FilterProblem>),
}

impl TagFilters {
    /// These filters; those for all images, `*:*`, if there are none.
    pub fn or_all(filters: Vec<TagFilter>) -> Self {
        if filters.is_empty() {
            let all = || Pattern::new("*");
            return Self(vec![TagFilter { repository: all(), tag: all() }]);
        }
        Self(filters)
    }

    /// The first filter that an image in `repository` pushed under `tag` matches, if one does; see
    /// [`TagFilter::matches`].
    pub fn matching(&self, repository: &str, tag: Option<&Tag>) -> Option<&TagFilter> {
        self.0.iter().find(|filter| filter.matches(repository, tag))
    }

    /// The filters in their order.
    pub fn as_slice(&self) -> &[TagFilter] {
        &self.0
    }
}

impl FromStr for TagFilters {
    type Err = FilterListError;

    /// Takes filters separated by commas.
    fn from_str(list: &str) -> Result<Self, FilterListError> {
        if list.trim().is_empty() {
            return Err(FilterListError::Empty);
        }
        let (mut filters, mut problems) = (Vec::new(), Vec::new());
        for (position, text) in (1..).zip(list.split(',')) {
            match text.parse() {
                Ok(filter) => filters.push(filter),
                Err(reason) => {
                    problems.push(FilterProblem { position, filter: clip(text.trim()), reason });
                }
            }
        }
        if problems.is_empty() {
            Ok(Self(filters))
        } else {
            Err(FilterListError::Filters(problems))
        }
    }
}

impl fmt::Display for TagFilters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, filter) in self.0.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{filter}")?;
        }
        Ok(())
    }
}

/// The pattern that is `text`, of at most `max` characters that are `allowed`, asterisks aside.
fn pattern_of(text: &str, max: usize, allowed: impl Fn(u8) -> bool) -> Option<Pattern> {
    let literal = text.bytes().filter(|c| *c != b'*');
    let ok = !text.is_empty() && literal.clone().all(allowed) && literal.count() <= max;
    ok.then(|| Pattern::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(list: &str, repository: &str, tag: &str) -> bool {
        let tag: Option<Tag> = (!tag.is_empty()).then(|| tag.parse().unwrap());
        list.parse::<TagFilters>().unwrap().matching(repository, tag.as_ref()).is_some()
    }

    #[test]
    fn the_documented_examples_match_as_documented() {
        assert!(matches("prod*:latest", "production/app", "latest"));
        assert!(!matches("prod*:latest", "production/app", "1"));
        assert!(!matches("prod*:latest", "my-prod", "latest"));
        assert!(matches("dev:*", "dev", "anything"));
        assert!(!matches("dev:*", "dev/app", "anything"));
        assert!(matches("*:*", "a/b/c", "T"));
    }

    #[test]
    fn a_wildcard_stands_anywhere_in_either_part() {
        assert!(matches("a/*/c*e:v*.*-RC", "a/x/y/cde", "v1.2-RC"));
        assert!(!matches("a/*/c*e:v*.*-RC", "a/x/y/cde", "v1.2-rc"));
        assert!(matches("**:***", "a", "1"));
        assert!(!matches("ab*ba:1", "aba", "1"));
        assert!(matches("ab*ba:1", "abba", "1"));
    }

    #[test]
    fn dots_are_no_wildcards() {
        assert!(matches("a.b:1.0", "a.b", "1.0"));
        assert!(!matches("a.b:1.0", "axb", "1.0"));
        assert!(!matches("a.b:1.0", "a.b", "1x0"));
    }

    #[test]
    fn a_push_without_a_tag_matches_filters_for_any_tag_only() {
        assert!(matches("app:*", "app", ""));
        assert!(matches("*:**", "app", ""));
        assert!(!matches("app:v*", "app", ""));
        assert!(!matches("app:*v*", "app", ""));
        assert!(!matches("app:latest", "app", ""));
    }

    #[test]
    fn the_first_filter_that_matches_is_named() {
        let filters: TagFilters = " a:1 ,\tb/*:* , b/c:2".parse().unwrap();
        let tag = "2".parse().unwrap();
        assert_eq!(filters.matching("b/c", Some(&tag)).unwrap().to_string(), "b/*:*");
        assert_eq!(filters.matching("c", Some(&tag)), None);
        assert_eq!(filters.to_string(), "a:1,b/*:*,b/c:2");
        assert_eq!(filters.as_slice().len(), 3);
    }

    #[test]
    fn an_empty_list_is_an_error() {
        for list in ["", "  ", "\t\n"] {
            assert_eq!(list.parse::<TagFilters>(), Err(FilterListError::Empty));
        }
    }

    #[test]
    fn every_wrong_filter_is_named_with_its_position() {
        let list = "ok:*, App:1,app,app:1:2,:1,app:,app:a b,,app:?,a[b]:1,app:1,";
        let Err(FilterListError::Filters(problems)) = list.parse::<TagFilters>() else {
            panic!("{list} was accepted")
        };
        let found: Vec<_> =
            problems.iter().map(|p| (p.position, p.filter.as_str(), p.reason)).collect();
        assert_eq!(
            found,
            [
                (2, "App:1", TagFilterError::Repository),
                (3, "app", TagFilterError::Form),
                (4, "app:1:2", TagFilterError::Form),
                (5, ":1", TagFilterError::Repository),
                (6, "app:", TagFilterError::Tag),
                (7, "app:a b", TagFilterError::Tag),
                (8, "", TagFilterError::Empty),
                (9, "app:?", TagFilterError::Tag),
                (10, "a[b]:1", TagFilterError::Repository),
                (12, "", TagFilterError::Empty),
            ]
        );
        assert!(problems[0].to_string().starts_with("filter 2, \"App:1\", has a repository part"));
    }

    #[test]
    fn parts_longer_than_any_name_are_refused() {
        let filter = |repository: usize, tag: usize| {
            format!("*{}:*{}", "a".repeat(repository), "b".repeat(tag)).parse::<TagFilter>()
        };
        assert!(filter(256, 128).is_ok());
        assert_eq!(filter(257, 1), Err(TagFilterError::Repository));
        assert_eq!(filter(1, 129), Err(TagFilterError::Tag));
    }
}
