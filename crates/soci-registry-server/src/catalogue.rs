//! What is in which repository, without the bytes. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use soci_oci::{Digest, Tag, TagOrDigest};

use crate::route::Name;

/// All repositories.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    repositories: BTreeMap<Name, RepositoryContent>,
}

/// What the catalogue says of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestRecord {
    /// As it was pushed.
    pub(crate) media_type: String,
    /// The manifest that it refers to.
    pub(crate) subject: Option<Digest>,
}

/// A repository.
#[derive(Debug, Default)]
pub(crate) struct RepositoryContent {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) manifests: HashMap<Digest, ManifestRecord>,
    pub(crate) tags: BTreeMap<String, Digest>,
    /// Manifests by their subject.
    referrers: HashMap<Digest, BTreeSet<Digest>>,
}

/// Which part of a sorted list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// What comes behind this entry, which need not exist.
    pub(crate) after: Option<String>,
    /// Most entries.
    pub(crate) max: usize,
}

/// A part of a sorted list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed<T> {
    pub(crate) entries: Vec<T>,
    /// Whether entries follow.
    pub(crate) more: bool,
}

impl Catalogue {
    pub(crate) fn add_blob(&mut self, name: &Name, digest: Digest) {
        self.content(name).blobs.insert(digest);
    }

    pub(crate) fn add_manifest(&mut self, name: &Name, digest: Digest, record: ManifestRecord) {
        let content = self.content(name);
        if let Some(subject) = record.subject {
            content.referrers.entry(subject).or_default().insert(digest);
        }
        content.manifests.insert(digest, record);
    }

    /// Forgets a manifest, and that it refers to another one.
    pub(crate) fn remove_manifest(&mut self, name: &Name, digest: &Digest) {
        let content = self.content(name);
        let subject = content.manifests.remove(digest).and_then(|record| record.subject);
        if let Some(subject) = subject
            && let Some(referrers) = content.referrers.get_mut(&subject)
        {
            referrers.remove(digest);
        }
    }

    pub(crate) fn set_tag(&mut self, name: &Name, tag: &Tag, digest: Digest) {
        self.content(name).tags.insert(tag.as_str().to_owned(), digest);
    }

    pub(crate) fn has_blob(&self, name: &Name, digest: &Digest) -> bool {
        self.repositories.get(name).is_some_and(|content| content.blobs.contains(digest))
    }

    /// A manifest by its digest or a tag.
    pub(crate) fn manifest(
        &self,
        name: &Name,
        target: &TagOrDigest,
    ) -> Option<(Digest, &ManifestRecord)> {
        let content = self.repositories.get(name)?;
        let digest = match target {
            TagOrDigest::Digest(digest) => digest,
            TagOrDigest::Tag(tag) => content.tags.get(tag.as_str())?,
        };
        content.manifests.get(digest).map(|record| (*digest, record))
    }

    /// The tags of a repository, `None` if there is no such repository.
    pub(crate) fn tags(&self, name: &Name, page: &Page) -> Option<Listed<String>> {
        let tags = &self.repositories.get(name)?.tags;
        Some(listed(tags.range::<str, _>(after(page.after.as_deref())).map(|(tag, _)| tag), page))
    }

    /// The names of the repositories.
    pub(crate) fn repositories(&self, page: &Page) -> Listed<String> {
        let after = page.after.as_deref().unwrap_or_default();
        let names = self.repositories.keys().map(Name::as_str);
        // Not looked up by `after`, which need not be a name.
        listed(names.filter(|name| *name > after), page)
    }

    /// The manifests whose subject this is.
    pub(crate) fn referrers(&self, name: &Name, subject: &Digest) -> Vec<Digest> {
        let found = self.repositories.get(name).and_then(|content| content.referrers.get(subject));
        found.into_iter().flatten().copied().collect()
    }

    /// A repository, which begins to be one if it is none.
    pub(crate) fn content(&mut self, name: &Name) -> &mut RepositoryContent {
        self.repositories.entry(name.clone()).or_default()
    }
}

fn after(last: Option<&str>) -> (Bound<&str>, Bound<&str>) {
    (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

fn listed<S: AsRef<str>>(all: impl Iterator<Item = S>, page: &Page) -> Listed<String> {
    let mut all = all.map(|entry| entry.as_ref().to_owned());
    let entries = all.by_ref().take(page.max).collect();
    Listed { entries, more: all.next().is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn page(after: Option<&str>, max: usize) -> Page {
        Page { after: after.map(str::to_owned), max }
    }

    fn record(subject: Option<Digest>) -> ManifestRecord {
        ManifestRecord { media_type: soci_oci::media_type::OCI_MANIFEST.to_owned(), subject }
    }

    #[test]
    fn lists_are_sorted_and_cut_into_pages() {
        let mut catalogue = Catalogue::default();
        let digest = Digest::sha256_of(b"");
        for tag in ["b", "a", "C", "d"] {
            catalogue.set_tag(&name("app"), &tag.parse().unwrap(), digest);
        }
        let tags = |after, max| {
            let listed = catalogue.tags(&name("app"), &page(after, max)).unwrap();
            (listed.entries.join(" "), listed.more)
        };
        assert_eq!(tags(None, 9), ("C a b d".to_owned(), false));
        assert_eq!(tags(None, 2), ("C a".to_owned(), true));
        assert_eq!(tags(Some("a"), 2), ("b d".to_owned(), false));
        assert_eq!(tags(Some("aa"), 1), ("b".to_owned(), true));
        assert_eq!(tags(None, 0), (String::new(), true));
        assert_eq!(tags(Some("d"), 9), (String::new(), false));
        assert_eq!(catalogue.tags(&name("other"), &page(None, 1)), None);
    }

    #[test]
    fn repositories_are_listed_by_name() {
        let mut catalogue = Catalogue::default();
        for repository in ["b", "a/x", "a"] {
            catalogue.add_blob(&name(repository), Digest::sha256_of(b""));
        }
        assert_eq!(catalogue.repositories(&page(None, 9)).entries, ["a", "a/x", "b"]);
        assert_eq!(catalogue.repositories(&page(Some("a/"), 1)).entries, ["a/x"]);
    }

    #[test]
    fn content_belongs_to_its_repository() {
        let mut catalogue = Catalogue::default();
        let digest = Digest::sha256_of(b"1");
        catalogue.add_blob(&name("a"), digest);
        catalogue.add_manifest(&name("a"), digest, record(None));
        catalogue.set_tag(&name("a"), &"1".parse().unwrap(), digest);
        let by_tag = TagOrDigest::Tag("1".parse().unwrap());
        assert!(
            catalogue.has_blob(&name("a"), &digest) && !catalogue.has_blob(&name("b"), &digest)
        );
        for target in [by_tag, TagOrDigest::Digest(digest)] {
            assert_eq!(catalogue.manifest(&name("a"), &target), Some((digest, &record(None))));
            assert_eq!(catalogue.manifest(&name("b"), &target), None);
        }
    }

    #[test]
    fn referrers_are_found_by_their_subject_even_before_it_is_there() {
        let mut catalogue = Catalogue::default();
        let (subject, referrer) = (Digest::sha256_of(b"1"), Digest::sha256_of(b"2"));
        catalogue.add_manifest(&name("a"), referrer, record(Some(subject)));
        catalogue.add_manifest(&name("a"), referrer, record(Some(subject)));
        assert_eq!(catalogue.referrers(&name("a"), &subject), [referrer]);
        assert!(catalogue.referrers(&name("a"), &referrer).is_empty());
        assert!(catalogue.referrers(&name("b"), &subject).is_empty());
    }
}
