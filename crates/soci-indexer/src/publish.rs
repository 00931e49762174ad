//! Writes a finished index: blobs, then manifests, the tag last.

use bytes::Bytes;
use soci_manifest::{Assembly, Role, format};
use soci_oci::{Digest, Tag, TagOrDigest};
use soci_registry::BlobSource;

use crate::error::IndexError;
use crate::referrers_lists::ReferrersLists;
use crate::store::ImageStore;

/// Writes the config and the manifests of an assembly whose ztocs are there. True if anything had
/// to be written.
pub(crate) async fn publish<S: ImageStore>(
    store: &S,
    assembly: Assembly,
    tag: Option<&Tag>,
) -> Result<bool, IndexError> {
    let config = BlobSource::from(Bytes::from_static(format::CONFIG));
    let mut written = push_blob(store, "config", &assembly.config.digest, &config).await?;
    let mut lists = ReferrersLists::new(store);
    for manifest in assembly.manifests {
        let target = match (&manifest.role, tag) {
            // By tag at once: by digest first would be a write more.
            (Role::Root, Some(tag)) => TagOrDigest::Tag(tag.clone()),
            _ => TagOrDigest::Digest(manifest.descriptor.digest),
        };
        let what = match manifest.role {
            Role::Root => "image index",
            Role::SociIndex => "SOCI index",
            Role::Image => "manifest",
        };
        let media_type = &manifest.descriptor.media_type;
        written |= store
            .push_manifest(&target, media_type, manifest.bytes.into())
            .await
            .map_err(|source| IndexError::Write { what, target, source })?;
        if let Some(referrer) = manifest.referrer {
            written |= lists.add(referrer.subject, &referrer.descriptor).await?;
        }
    }
    lists.settle().await?;
    Ok(written)
}

pub(crate) async fn push_blob<S: ImageStore>(
    store: &S,
    what: &'static str,
    digest: &Digest,
    content: &BlobSource,
) -> Result<bool, IndexError> {
    let target = TagOrDigest::Digest(*digest);
    let pushed = store.push_blob(digest, content).await;
    pushed.map_err(|source| IndexError::Write { what, target, source })
}
