//! The list of a manifest's referrers that clients keep themselves where a registry has no
//! referrers API: an image index under a tag made from the manifest's digest.
//!
//! Source: OCI distribution specification 1.1, "Referrers Tag Schema"; the index has the bytes
//! that the oras-go library gives it, which the reference builder pushes with.

use std::collections::HashSet;

use crate::digest::{Algorithm, Digest};
use crate::document::{Descriptor, DocumentError, Index, Manifest};
use crate::reference::Tag;

/// Digits of a hash that the tag has at most.
const TAG_DIGITS: usize = 64;

/// The tag that lists the referrers of `digest`: `<algorithm>-<hex>`, cut after 64 digits.
pub fn tag(digest: &Digest) -> Option<Tag> {
    let hex = digest.hex();
    let digits = &hex[..hex.len().min(TAG_DIGITS)];
    format!("{}-{digits}", digest.algorithm().as_str()).parse().ok()
}

/// Whether a tag is one that lists referrers. A whole hash counts as well as a cut one: not every
/// writer cuts.
pub fn is_tag(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once('-') else { return false };
    let known = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];
    let Some(algorithm) = known.into_iter().find(|known| known.as_str() == algorithm) else {
        return false;
    };
    (digits.len() == TAG_DIGITS || digits.len() == algorithm.hash_len() * 2)
        && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

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
    fn the_tag_of_a_long_digest_is_cut_to_the_specifications_length() {
        let short = Digest::sha256_of(b"");
        assert_eq!(tag(&short).unwrap().as_str(), format!("sha256-{}", short.hex()).as_str());
        let long: Digest = format!("sha512:{}", "a".repeat(128)).parse().unwrap();
        assert_eq!(tag(&long).unwrap().as_str(), format!("sha512-{}", "a".repeat(64)));
        for tag in [tag(&short), tag(&long)] {
            assert!(is_tag(tag.unwrap().as_str()));
        }
        assert!(is_tag(&format!("sha512-{}", "a".repeat(128))) && !is_tag("sha256-aa"));
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
