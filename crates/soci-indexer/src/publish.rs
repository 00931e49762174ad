//! Writes a finished index: blobs, then manifests, the tag last.
//!
//! The tag of the result must not name an older image's result when the image's own tag names a
//! later one. So it is written only as long as that tag names this image, which the store looks at
//! directly before it writes ([`TagNames`]). A push that comes between that look and the write is seen after it:
//! `index.rs` looks at both tags again in the end.
//!
//! A registry may have lost a blob that it says it has. That shows when a manifest is refused, and
//! then everything is sent again without asking ([`Sending::Again`]). One that it has may have other bytes by now, which no
//! question shows. So where the result is made anew on purpose ([`Sending::ReadBack`]), all that is written of it is read
//! back, sent again if it is wrong, and read once more: registries keep what they have under a digest, whatever is sent.

use bytes::Bytes;
use soci_manifest::{Assembly, LayerPrefetch, Role, format};
use soci_oci::{Digest, Tag, TagOrDigest};
use soci_registry::{BlobSource, TagNames};

use crate::error::{IndexError, StoreError};
use crate::referrers_lists::ReferrersLists;
use crate::store::{ImageStore, ReadBack};

/// Whether the store is believed that it has a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Blobs that are there are not sent.
    IfMissing,
    /// The same, and everything is read back and sent again if it is wrong.
    ReadBack,
    /// Every blob is sent, and everything read back.
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
        let (digest, bytes) = (manifest.descriptor.digest, Bytes::from(manifest.bytes));
        written |= store
            .push_manifest(&target, media_type, bytes.clone(), condition)
            .await
            .map_err(|source| IndexError::Write { what, target, source })?;
        if sending != Sending::IfMissing {
            written |= mend_manifest(store, what, &digest, media_type, bytes).await?;
        }
        // After the manifest, so that no list names what is not there.
        if let Some(referrer) = manifest.referrer {
            written |= lists.add(referrer.subject, &referrer.descriptor).await?;
        }
    }
    // Once for all lists: each may have to be looked at again after a pause.
    lists.settle().await?;
    Ok(written)
}

/// Writes a blob. True if it had to be sent.
pub(crate) async fn push_blob<S: ImageStore>(
    store: &S,
    what: &'static str,
    digest: &Digest,
    content: &BlobSource,
    sending: Sending,
) -> Result<bool, IndexError> {
    let failed = |source| write_failed(what, digest, source);
    let written = match sending {
        Sending::IfMissing | Sending::ReadBack => store.push_blob(digest, content).await,
        Sending::Again => store.push_blob_again(digest, content).await.map(|()| true),
    };
    let written = written.map_err(failed)?;
    if sending == Sending::IfMissing {
        return Ok(written);
    }
    let size = content.size();
    let found = store.read_back_blob(digest, size).await.map_err(failed)?;
    if found == ReadBack::Right {
        return Ok(written);
    }
    tracing::warn!(%digest, ?found, "{what} is sent again");
    store.push_blob_again(digest, content).await.map_err(failed)?;
    mended(store, what, digest, store.read_back_blob(digest, size).await.map_err(failed)?)
}

/// Writes a manifest that was pushed once more if it is not there as it should be. True if it was not.
async fn mend_manifest<S: ImageStore>(
    store: &S,
    what: &'static str,
    digest: &Digest,
    media_type: &str,
    bytes: Bytes,
) -> Result<bool, IndexError> {
    let failed = |source| write_failed(what, digest, source);
    let found = store.read_back_manifest(digest).await.map_err(failed)?;
    if found == ReadBack::Right {
        return Ok(false);
    }
    tracing::warn!(%digest, ?found, "{what} is written again");
    store.push_manifest_again(digest, media_type, bytes).await.map_err(failed)?;
    mended(store, what, digest, store.read_back_manifest(digest).await.map_err(failed)?)
}

/// What comes of something that was sent again, by what is there now.
fn mended<S: ImageStore>(
    store: &S,
    what: &'static str,
    digest: &Digest,
    found: ReadBack,
) -> Result<bool, IndexError> {
    match found {
        ReadBack::Right => Ok(true),
        ReadBack::Wrong => {
            let repository = store.repository().cloned();
            Err(IndexError::Damaged { what, digest: *digest, repository })
        }
        ReadBack::Missing => {
            Err(IndexError::NotStored { target: TagOrDigest::Digest(*digest), found: None })
        }
    }
}

fn write_failed(what: &'static str, digest: &Digest, source: StoreError) -> IndexError {
    IndexError::Write { what, target: TagOrDigest::Digest(*digest), source }
}
