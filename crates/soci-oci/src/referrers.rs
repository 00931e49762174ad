//! The list of a manifest's referrers that clients keep themselves where a registry has no
//! referrers API: an image index under a tag made from the manifest's digest.
//!
//! Source: OCI distribution specification 1.1, "Referrers Tag Schema"; the index has the bytes
//! that the oras-go library gives it, which the reference builder pushes with.

use std::collections::HashSet;

use crate::digest::Digest;
use crate::document::{Descriptor, DocumentError, Index, Manifest};

/// How a list of referrers names a manifest: as `named` (in an image index, or plainly by media
/// type, digest and size), with the manifest's annotations and artifact type. For want of an
/// artifact type its config's media type takes the place.
pub fn manifest(manifest: &Manifest, named: Descriptor) -> Descriptor {
    let artifact_type = match manifest.artifact_type.as_str() {
        "" => manifest.config.media_type.as_str(),
        artifact_type => artifact_type,
    };
    Descriptor {
        annotations: manifest.annotations.clone(),
        artifact_type: artifact_type.to_owned(),
        ..named
    }
}

/// How a list of referrers names an image index, with the index's annotations and artifact type.
pub fn index(index: &Index, named: Descriptor) -> Descriptor {
    Descriptor {
        annotations: index.annotations.clone(),
        artifact_type: index.artifact_type.clone(),
        ..named
    }
}

/// The list with `referrer` in it: `existing` is the index under the tag, if there is one. `None`
/// if the list needs no change. Entries that name the same content twice are dropped.
pub fn add(
    existing: Option<&[u8]>,
    referrer: &Descriptor,
) -> Result<Option<Vec<u8>>, DocumentError> {
    let old = match existing {
        Some(bytes) => Index::decode(bytes)?.manifests.unwrap_or_default(),
        None => Vec::new(),
    };
    let old_len = old.len();
    let mut seen = HashSet::new();
    let mut new: Vec<Descriptor> =
        old.into_iter().filter(|entry| seen.insert(identity(entry))).collect();
    if seen.insert(identity(referrer)) {
        new.push(referrer.clone());
    } else if new.len() == old_len {
        return Ok(None);
    }
    Ok(Some(Index::new(new).encode()))
}

fn identity(descriptor: &Descriptor) -> (String, Digest, u64) {
    (descriptor.media_type.clone(), descriptor.digest, descriptor.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type;

    fn referrer(content: &[u8]) -> Descriptor {
        let digest = Digest::sha256_of(content);
        Descriptor::new(media_type::OCI_MANIFEST, digest, content.len() as u64)
    }

    fn list(entries: &[&Descriptor]) -> Vec<u8> {
        Index::new(entries.iter().copied().cloned().collect()).encode()
    }

    #[test]
    fn a_first_referrer_starts_the_list() {
        let a = referrer(b"a");
        assert_eq!(add(None, &a).unwrap(), Some(list(&[&a])));
        assert_eq!(add(Some(br#"{"manifests":null}"#), &a).unwrap(), Some(list(&[&a])));
    }

    #[test]
    fn a_further_referrer_comes_last_and_only_once() {
        let (a, b) = (referrer(b"a"), referrer(b"b"));
        let both = list(&[&a, &b]);
        assert_eq!(add(Some(&list(&[&a])), &b).unwrap(), Some(both.clone()));
        assert_eq!(add(Some(&both), &b).unwrap(), None);
        assert_eq!(add(Some(&list(&[&a, &a])), &a).unwrap(), Some(list(&[&a])));
    }

    #[test]
    fn a_broken_list_is_an_error() {
        assert!(add(Some(b"[]"), &referrer(b"a")).is_err());
    }

    #[test]
    fn the_artifact_type_falls_back_to_the_configs_media_type() {
        let config = Descriptor::new("config/type", Digest::sha256_of(b"{}"), 2);
        let text = format!(
            r#"{{"config":{{"mediaType":"config/type","digest":"{}","size":2}},"annotations":{{"k":"v"}}}}"#,
            config.digest
        );
        let mut decoded = Manifest::decode(text.as_bytes()).unwrap();
        let named = referrer(b"m");
        let listed = manifest(&decoded, named.clone());
        assert_eq!(listed.artifact_type, "config/type");
        assert_eq!(listed.annotations, decoded.annotations);
        assert_eq!(listed.digest, named.digest);
        decoded.artifact_type = "artifact/type".to_owned();
        assert_eq!(manifest(&decoded, named).artifact_type, "artifact/type");
    }
}
