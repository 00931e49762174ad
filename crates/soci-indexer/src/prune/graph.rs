//! Which manifests of a repository are needed. Pure.
//!
//! Needed is what stands by itself, and all that something needed names: an image index what it lists, a converted manifest
//! its SOCI index, what refers to a subject that subject. The SOCI indexes V1 of a needed manifest are needed; by themselves they
//! need nothing, as they are of no use without their image.

use std::collections::{HashMap, HashSet};

use soci_manifest::Version;
use soci_oci::{Descriptor, Digest, Document, Tag};

use super::content::Content;

/// What a manifest says, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) content: Content,
    pub(super) tags: Vec<Tag>,
    /// Bytes of the document.
    pub(super) size: u64,
    /// The manifests that an image index lists.
    pub(super) children: Vec<Digest>,
    pub(super) subject: Option<Digest>,
    /// Config and layers, with their sizes.
    pub(super) blobs: Vec<(Digest, u64)>,
}

impl Facts {
    /// A manifest that names nothing that could be a manifest.
    pub(super) fn opaque(tags: Vec<Tag>, size: u64) -> Self {
        Self {
            content: Content::Other,
            tags,
            size,
            children: Vec::new(),
            subject: None,
            blobs: Vec::new(),
        }
    }

    pub(super) fn of(document: &Document, tags: Vec<Tag>, size: u64) -> Self {
        let content = Content::of(document);
        let facts = Self { content, ..Self::opaque(tags, size) };
        let named = |entry: &Descriptor| (entry.digest, entry.size);
        match document {
            Document::Manifest(manifest) => Self {
                subject: manifest.subject.as_ref().map(|subject| subject.digest),
                blobs: std::iter::once(&manifest.config)
                    .chain(manifest.layers())
                    .map(named)
                    .collect(),
                ..facts
            },
            Document::Index(index) => Self {
                subject: index.subject.as_ref().map(|subject| subject.digest),
                children: index.manifests().iter().map(|entry| entry.digest).collect(),
                ..facts
            },
        }
    }

    /// Whether it is a SOCI index V1 that only its subject needs.
    fn is_attached(&self) -> bool {
        self.tags.is_empty() && self.content == Content::SociIndex(Version::V1)
    }

    /// Config and layers.
    pub(super) fn content_digests(&self) -> Vec<Digest> {
        self.blobs.iter().map(|(digest, _)| *digest).collect()
    }

    fn names(&self) -> impl Iterator<Item = Digest> {
        let soci_index = match self.content {
            Content::ConvertedManifest { soci_index } => Some(soci_index),
            _ => None,
        };
        let subject = self.subject.filter(|_| !self.is_attached());
        self.children.iter().copied().chain(soci_index).chain(subject)
    }
}

/// What a repository holds, by digest.
pub(super) type Known = HashMap<Digest, Facts>;

/// Everything that `roots` need, and they themselves, be it known or not.
pub(super) fn needed(known: &Known, roots: impl IntoIterator<Item = Digest>) -> HashSet<Digest> {
    let mut attached: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for (digest, facts) in known.iter().filter(|(_, facts)| facts.is_attached()) {
        attached.entry(facts.subject.unwrap_or(*digest)).or_default().push(*digest);
    }
    let mut needed = HashSet::new();
    let mut queue: Vec<Digest> = roots.into_iter().collect();
    while let Some(digest) = queue.pop() {
        if !needed.insert(digest) {
            continue;
        }
        queue.extend(known.get(&digest).into_iter().flat_map(Facts::names));
        queue.extend(attached.get(&digest).into_iter().flatten());
    }
    needed
}

/// The bytes that deleting each of `gone` frees, of documents and of blobs that nothing else names. A blob that several name
/// counts for the first.
pub(super) fn freed(known: &Known, gone: &[Digest]) -> Vec<u64> {
    let dead: HashSet<Digest> = gone.iter().copied().collect();
    let kept = known.iter().filter(|(digest, _)| !dead.contains(digest));
    let mut counted: HashSet<Digest> =
        kept.flat_map(|(_, facts)| facts.blobs.iter().map(|(digest, _)| *digest)).collect();
    let mut freed = Vec::with_capacity(gone.len());
    for digest in gone {
        let Some(facts) = known.get(digest) else {
            freed.push(0);
            continue;
        };
        let blobs = facts.blobs.iter().filter(|(digest, _)| counted.insert(*digest));
        freed.push(
            blobs.map(|(_, size)| size).fold(facts.size, |sum, size| sum.saturating_add(*size)),
        );
    }
    freed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::sha256_of(name.as_bytes())
    }

    fn known(facts: &[(&str, Content, &[&str], Option<&str>)]) -> Known {
        let entry =
            |(name, content, children, subject): &(&str, Content, &[&str], Option<&str>)| {
                let facts = Facts {
                    content: content.clone(),
                    children: children.iter().map(|child| digest(child)).collect(),
                    subject: subject.map(digest),
                    ..Facts::opaque(Vec::new(), 1)
                };
                (digest(name), facts)
            };
        facts.iter().map(entry).collect()
    }

    #[test]
    fn what_is_needed_needs_what_it_names_and_its_soci_indexes() {
        let v1 = Content::SociIndex(Version::V1);
        let known = known(&[
            ("image", Content::Other, &["manifest"], None),
            ("manifest", Content::Other, &[], None),
            ("v1", v1.clone(), &[], Some("manifest")),
            ("signature", Content::Other, &[], Some("signed")),
            ("orphan", v1, &[], Some("gone")),
            ("converted", Content::ConvertedManifest { soci_index: digest("v2") }, &[], None),
            ("loop", Content::Other, &["loop"], None),
        ]);
        let of = |roots: &[&str]| needed(&known, roots.iter().map(|root| digest(root)));
        let names = |names: &[&str]| names.iter().map(|name| digest(name)).collect::<HashSet<_>>();
        assert_eq!(of(&["image"]), names(&["image", "manifest", "v1"]));
        assert_eq!(of(&["signature"]), names(&["signature", "signed"]));
        assert_eq!(of(&["orphan"]), names(&["orphan"]));
        assert_eq!(of(&["v1"]), names(&["v1"]));
        assert_eq!(of(&["converted", "loop"]), names(&["converted", "v2", "loop"]));
    }

    #[test]
    fn shared_blobs_are_freed_when_the_last_that_names_them_goes() {
        let blobs = |names: &[&str]| Facts {
            blobs: names.iter().map(|name| (digest(name), 10)).collect(),
            ..Facts::opaque(Vec::new(), 1)
        };
        let known = Known::from([
            (digest("a"), blobs(&["x", "y"])),
            (digest("b"), blobs(&["y", "z"])),
            (digest("c"), blobs(&["z"])),
        ]);
        assert_eq!(freed(&known, &[digest("a")]), [11]);
        assert_eq!(freed(&known, &[digest("a"), digest("b")]), [21, 1]);
        assert_eq!(freed(&known, &[digest("c"), digest("b"), digest("a")]), [11, 11, 11]);
    }
}
