//! Writes a finished index: blobs, then manifests, the tag last.
//!
//! The tag of the result must not name an older image's result when the image's own tag names a
//! later one. So it is written only as long as that tag names this image, which the store looks at
//! directly before it writes ([`TagNames`]). A push that comes between that look and the write is seen after it:
//! `index.rs` looks at both tags again in the end.
//!
//! A registry may have lost a blob that it says it has. That shows when a manifest is refused, and
//! then everything is sent again without asking ([`Sending::Again`]).

use std::collections::HashMap;

use bytes::Bytes;
use soci_manifest::{Assembly, Role, Version, format};
use soci_oci::{Descriptor, Digest, Tag, TagOrDigest, referrers};
use soci_registry::{BlobSource, ReferrersSource, TagNames};

use crate::error::IndexError;
use crate::store::ImageStore;

/// Whether the store is believed that it has a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Blobs that are there are not sent.
    IfMissing,
    /// Every blob is sent.
    Again,
}

/// Writes the config and the manifests of an assembly whose ztocs are there, the tag only as long as
/// `condition` holds. True if anything had to be written.
pub(crate) async fn publish<S: ImageStore>(
    store: &S,
    assembly: Assembly,
    tag: Option<&Tag>,
    condition: Option<&TagNames>,
    sending: Sending,
) -> Result<bool, IndexError> {
    let config = BlobSource::from(Bytes::from_static(format::CONFIG));
    let mut written = push_blob(store, "config", &assembly.config.digest, &config, sending).await?;
    let mut lists = Lists { store, sources: HashMap::new() };
    for manifest in assembly.manifests {
        let (target, condition) = match (&manifest.role, tag) {
            // By tag at once: by digest first would be a write more.
            (Role::Root, Some(tag)) => (TagOrDigest::Tag(tag.clone()), condition),
            _ => (TagOrDigest::Digest(manifest.descriptor.digest), None),
        };
        let what = match manifest.role {
            Role::Root => "image index",
            Role::SociIndex => "SOCI index",
            Role::Image => "manifest",
        };
        let media_type = &manifest.descriptor.media_type;
        written |= store
            .push_manifest(&target, media_type, manifest.bytes.into(), condition)
            .await
            .map_err(|source| IndexError::Write { what, target, source })?;
        if let Some(referrer) = manifest.referrer {
            written |= lists.add(referrer.subject, &referrer.descriptor).await?;
        }
    }
    Ok(written)
}

pub(crate) async fn push_blob<S: ImageStore>(
    store: &S,
    what: &'static str,
    digest: &Digest,
    content: &BlobSource,
    sending: Sending,
) -> Result<bool, IndexError> {
    let target = TagOrDigest::Digest(*digest);
    let pushed = match sending {
        Sending::IfMissing => store.push_blob(digest, content).await,
        Sending::Again => store.push_blob_again(digest, content).await.map(|()| true),
    };
    pushed.map_err(|source| IndexError::Write { what, target, source })
}

/// How often a list of referrers is written before other writers are let win.
const LIST_TRIES: usize = 8;

/// The lists of referrers that clients keep where the registry does not.
struct Lists<'a, S> {
    store: &'a S,
    sources: HashMap<Digest, ReferrersSource>,
}

impl<S: ImageStore> Lists<'_, S> {
    /// Adds a referrer to its subject's list; true if that had to be written.
    async fn add(&mut self, subject: Digest, referrer: &Descriptor) -> Result<bool, IndexError> {
        if self.sources.get(&subject) == Some(&ReferrersSource::Api) {
            return Ok(false);
        }
        let mut written = false;
        // Without a referrers API nothing keeps another writer from replacing the list between
        // reading and writing it, so it is read again until the entry is there.
        for _ in 0..LIST_TRIES {
            let known = self
                .store
                .referrers(&subject, Version::V1.artifact_type())
                .await
                .map_err(|source| IndexError::Referrers { subject, source })?;
            self.sources.insert(subject, known.source);
            let (ReferrersSource::TagSchema, Some(tag)) = (known.source, referrers::tag(&subject))
            else {
                return Ok(false);
            };
            let existing = known.pages.first().map(|page| &page[..]);
            let list = referrers::add(existing, referrer)
                .map_err(|source| IndexError::ReferrersList { subject, source })?;
            let Some(list) = list else { return Ok(written) };
            let target = TagOrDigest::Tag(tag);
            let what = "list of referrers";
            written |= self
                .store
                .push_manifest(&target, soci_oci::media_type::OCI_INDEX, list.into(), None)
                .await
                .map_err(|source| IndexError::Write { what, target, source })?;
        }
        Ok(written)
    }
}
