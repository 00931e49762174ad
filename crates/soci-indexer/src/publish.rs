//! Writes a finished index: blobs, then manifests, the tag last.
//!
//! The tag of the result must not name an older image's result when the image's own tag names a
//! later one. So it is written only as long as that tag names this image, which the store looks at
//! directly before it writes ([`TagNames`]). A push that comes between that look and the write is seen after it:
//! `index.rs` looks at both tags again in the end.
//!
//! A registry may have lost a blob that it says it has. That shows when a manifest is refused, and
//! then everything is sent again without asking ([`Sending::Again`]).

use bytes::Bytes;
use soci_manifest::{Assembly, LayerPrefetch, Role, format};
use soci_oci::{Digest, Tag, TagOrDigest};
use soci_registry::{BlobSource, TagNames};

use crate::error::IndexError;
use crate::referrers_lists::ReferrersLists;
use crate::store::ImageStore;

/// Whether the store is believed that it has a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Blobs that are there are not sent.
    IfMissing,
    /// Every blob is sent.
    Again,
}

/// Writes the config, the prefetch artifacts and the manifests of an assembly whose ztocs are there, the tag only as long as
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
    for LayerPrefetch { artifact, .. } in assembly.prefetch {
        let content = BlobSource::from(Bytes::copy_from_slice(artifact.bytes()));
        let digest = artifact.digest();
        written |= push_blob(store, "prefetch artifact", &digest, &content, sending).await?;
    }
    let mut lists = ReferrersLists::new(store);
    // Each comes after all that it names, which a registry insists on.
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
        // After the manifest, so that no list names what is not there.
        if let Some(referrer) = manifest.referrer {
            written |= lists.add(referrer.subject, &referrer.descriptor).await?;
        }
    }
    // Once for all lists: each may have to be looked at again after a pause.
    lists.settle().await?;
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
