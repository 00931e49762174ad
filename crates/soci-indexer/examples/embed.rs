//! Indexes an image in each of the three places where it can be:
//!
//! ```sh
//! cargo run -p soci-indexer --example embed -- layout DIR TAG
//! cargo run -p soci-indexer --example embed -- registry REFERENCE
//! cargo run -p soci-indexer --example embed -- own-store
//! ```
//!
//! The first two take an image that you have. The last one makes one, in a store in memory; it shows what a store of
//! your own has to do. A program that does the same needs the crates `soci-indexer` and `tokio`.

use std::collections::HashMap;
use std::error::Error;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use soci_indexer::{
    AuthFiles, BlobSource, BlobStream, Bytes, Client, Digest, ImageName, ImageStore, IndexError,
    Layout, MAX_PIECE, MemoryLease, Options, Reference, RemoteRepository, Report,
    SociIndexSettings, StoreError, Tag, TagNames, TagOrDigest, VerifiedManifest, index_image,
    verify_image,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["layout", folder, tag] => in_layout(folder, tag.parse()?).await,
        ["registry", reference] => in_registry(&reference.parse()?).await,
        ["own-store"] => return in_own_store().await,
        _ => return Err("usage: embed layout DIR TAG | registry REFERENCE | own-store".into()),
    };
    match result {
        Ok(report) => show(&report),
        // Small images start quickly without an index.
        Err(error) => match error.downcast_ref() {
            Some(IndexError::Nothing { reason, .. }) => println!("nothing to index: {reason}"),
            _ => return Err(error),
        },
    }
    Ok(())
}

/// Indexes an image in an OCI layout on disk, as `skopeo copy docker://REFERENCE oci:DIR:TAG` makes one.
async fn in_layout(folder: &str, tag: Tag) -> Result<Report, Box<dyn Error>> {
    let store = Layout::open(folder).await?;
    Ok(index_image(&store, &ImageName::from(tag), &Options::default()).await?)
}

/// Indexes an image in a registry, with the credentials of `docker login` and `podman login`.
async fn in_registry(reference: &Reference) -> Result<Report, Box<dyn Error>> {
    // A registry without TLS, such as one on this machine, needs `.plain_http(true)`.
    let credentials = AuthFiles::from_environment(|name| std::env::var_os(name));
    let client = Client::builder().user_agent("embed/1.0").credentials(Arc::new(credentials));
    let store = RemoteRepository::new(client.build()?, reference.repository.clone());
    Ok(index_image(&store, &ImageName::from(reference), &Options::default()).await?)
}

/// Indexes an image in a store of one's own, and checks the result.
async fn in_own_store() -> Result<(), Box<dyn Error>> {
    let store = MemoryStore::default();
    let tag: Tag = "app".parse()?;
    put_image(&store, &tag).await?;
    let options = Options {
        // The image is tiny. By default layers below 10 MiB are left out.
        settings: SociIndexSettings { min_layer_size: 0, ..Default::default() },
        // Called for each piece of a layer, so it returns at once.
        on_event: Arc::new(|event| println!("{event:?}")),
        ..Options::default()
    };
    let report = index_image(&store, &ImageName::from(tag), &options).await?;
    show(&report);
    let result = TagOrDigest::Digest(report.index);
    let verified = verify_image(&store, &result, &options.budget).await?;
    println!("{} ztocs match their layers", verified.layers.len());
    Ok(())
}

fn show(report: &Report) {
    for layer in &report.layers {
        println!("layer {}: {} files in {} spans", layer.digest, layer.files, layer.spans);
    }
    let tag = report.tag.as_ref().map_or("no tag", Tag::as_str);
    let found = if report.already_there { "was there" } else { "is new" };
    println!("{} is under {tag} and {found}", report.index);
}

/// A store of one's own: blobs and manifests by their digests, and what tags name.
#[derive(Clone, Default)]
struct MemoryStore(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    blobs: HashMap<Digest, Bytes>,
    /// With their media types.
    manifests: HashMap<Digest, (String, Bytes)>,
    tags: HashMap<Tag, Digest>,
}

impl MemoryStore {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find_blob(&self, digest: &Digest) -> Result<Bytes, StoreError> {
        let blob = self.content().blobs.get(digest).cloned();
        blob.ok_or_else(|| StoreError::own(format!("there is no blob {digest}")))
    }
}

// Bytes that come from elsewhere are compared with their digest (`Hasher`) before they are handed on. Here the digest
// was made from them.
impl ImageStore for MemoryStore {
    type Blob = MemoryBlob;

    async fn manifest_within(
        &self,
        target: &TagOrDigest,
        limit: usize,
    ) -> Result<Option<VerifiedManifest>, StoreError> {
        let content = self.content();
        let digest = match target {
            TagOrDigest::Tag(tag) => content.tags.get(tag).copied(),
            TagOrDigest::Digest(digest) => Some(*digest),
        };
        let Some(digest) = digest else { return Ok(None) };
        let Some((media_type, bytes)) = content.manifests.get(&digest) else { return Ok(None) };
        if bytes.len() > limit {
            return Err(StoreError::TooLarge { limit });
        }
        let (media_type, bytes) = (media_type.clone(), bytes.clone());
        Ok(Some(VerifiedManifest { media_type, digest, bytes }))
    }

    fn blob(&self, digest: &Digest, _size: u64, _share: MemoryLease) -> MemoryBlob {
        MemoryBlob(Some(self.find_blob(digest)))
    }

    async fn blob_bytes(&self, digest: &Digest, limit: usize) -> Result<Bytes, StoreError> {
        let bytes = self.find_blob(digest)?;
        if bytes.len() > limit { Err(StoreError::TooLarge { limit }) } else { Ok(bytes) }
    }

    async fn blob_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
        let blob = self.find_blob(digest)?;
        let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        match range {
            Some((start, end)) if start <= end && end <= blob.len() => Ok(blob.slice(start..end)),
            _ => Err(StoreError::own(format!("blob {digest} ends before that"))),
        }
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let content = self.content();
        Ok(content.blobs.get(digest).is_some_and(|blob| blob.len() as u64 == size))
    }

    async fn push_blob_again(
        &self,
        digest: &Digest,
        content: &BlobSource,
    ) -> Result<(), StoreError> {
        self.content().blobs.insert(*digest, content.segments().concat().into());
        Ok(())
    }

    async fn push_manifest(
        &self,
        target: &TagOrDigest,
        media_type: &str,
        bytes: Bytes,
        condition: Option<&TagNames>,
    ) -> Result<bool, StoreError> {
        let mut content = self.content();
        if let Some(TagNames { tag, one_of }) = condition {
            let now = content.tags.get(tag).copied();
            if !one_of.contains(&now) {
                return Err(StoreError::tag_moved(tag.clone(), now));
            }
        }
        let digest = match target {
            TagOrDigest::Digest(digest) => *digest,
            TagOrDigest::Tag(_) => Digest::sha256_of(&bytes),
        };
        let mut written =
            content.manifests.insert(digest, (media_type.to_owned(), bytes)).is_none();
        if let TagOrDigest::Tag(tag) = target {
            written |= content.tags.insert(tag.clone(), digest) != Some(digest);
        }
        Ok(written)
    }
}

/// What is left to read of a blob.
struct MemoryBlob(Option<Result<Bytes, StoreError>>);

impl BlobStream for MemoryBlob {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(mut left) = self.0.take().transpose()? else { return Ok(None) };
        if left.is_empty() {
            return Ok(None);
        }
        let most = usize::try_from(MAX_PIECE).unwrap_or(usize::MAX);
        let piece = left.split_to(left.len().min(most));
        self.0 = Some(Ok(left));
        Ok(Some(piece))
    }
}

/// Puts an image of one layer with one file into a store.
async fn put_image(store: &MemoryStore, tag: &Tag) -> Result<(), Box<dyn Error>> {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    layer.append_data(&mut header, "etc/hello", &b"hello"[..])?;
    let (layer, layer_descriptor) =
        described("application/vnd.oci.image.layer.v1.tar", layer.into_inner()?);
    let (config, config_descriptor) = described(
        "application/vnd.oci.image.config.v1+json",
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#
            .to_vec(),
    );
    for blob in [layer, config] {
        store.push_blob(&Digest::sha256_of(&blob), &BlobSource::from(blob)).await?;
    }
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{config_descriptor},"layers":[{layer_descriptor}]}}"#
    );
    store.push_manifest(&TagOrDigest::Tag(tag.clone()), media_type, manifest.into(), None).await?;
    Ok(())
}

/// A blob, and how a manifest names it.
fn described(media_type: &str, blob: Vec<u8>) -> (Vec<u8>, String) {
    let (digest, size) = (Digest::sha256_of(&blob), blob.len());
    let descriptor = format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#);
    (blob, descriptor)
}
