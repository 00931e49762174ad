//! Copies an image from one store into another, all of it or what one platform needs.
//!
//! 1. All documents of the image are fetched, the image's own last, in memory that was asked for. If an image index lists
//!    what is in neither store, nothing is copied: a copy that lacks a platform is found by whoever starts it. What the
//!    output has is not asked for at the source; of an image index in it each entry is looked for all the same.
//! 2. They are written in that order, each after the blobs that it names, as results are that go somewhere else than
//!    beside the image ([`WithOutput`]): blobs are mounted or streamed, verified before they are complete, and not sent
//!    where they are there. So a copy that was interrupted goes on where it was.
//! 3. The tag is written with the last document, so it names a whole image or what it named before.
//!
//! Documents are written as they are, byte by byte and with their media types, so the copy has the digest of the image,
//! and signatures of that digest hold for it. They are not copied themselves, as nothing in an image names them.
//!
//! Of an image index one platform is its image manifest alone: the first entry that tells this platform, or, where
//! none does, whose configuration tells it. Attestations and SOCI indexes are other entries and stay behind. An image
//! manifest has to be for the platform that is asked for.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use soci_oci::{
    Descriptor, Digest, Document, Manifest, Platform, Tag, TagOrDigest, config_platform, media_type,
};
use soci_registry::{MANIFEST_LIMIT, MemoryHold, VerifiedManifest};

use crate::budget::{Budget, FIRST_DOCUMENTS};
use crate::error::{CopyError, IndexError, StoreError};
use crate::event::{ImageEvent, OnImageEvent};
use crate::gather::hold;
use crate::options::ImageName;
use crate::output::{MAX_DEPTH, OutputPlace, WithOutput, decode};
use crate::store::ImageStore;

/// What is copied of an image. A later release may have more fields, so name those you set and take the others from
/// [`CopyOptions::default`].
#[derive(Clone)]
pub struct CopyOptions {
    /// The platform whose image manifest is copied. Without one the image is copied as it is.
    pub platform: Option<Platform>,
    /// The memory that blobs and documents take on their way.
    pub budget: Budget,
    /// Told what happens.
    pub on_event: OnImageEvent,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { platform: None, budget: Budget::of_this_machine(), on_event: Arc::new(|_| {}) }
    }
}

impl fmt::Debug for CopyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("CopyOptions");
        shown.field("platform", &self.platform).field("budget", &self.budget);
        shown.finish_non_exhaustive()
    }
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Digest of what the source's name stands for.
    pub image: Digest,
    /// Digest of what was copied: the same, or the image manifest of one platform.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// The tag that names it in the output, if it has one there.
    pub tag: Option<Tag>,
    /// Whether all of it was there, under that tag.
    pub already_there: bool,
    /// Bytes of blobs that were read.
    pub bytes_read: u64,
    /// Time it took.
    pub elapsed: Duration,
}

/// Copies an image of `source` into `output`, under the tag that `place` says, else by its digest alone.
pub async fn copy_image<S: ImageStore, T: ImageStore>(
    source: &S,
    output: &T,
    place: &OutputPlace,
    name: &ImageName,
    options: &CopyOptions,
) -> Result<CopyReport, CopyError> {
    let started = Instant::now();
    let (Copied { image, root, documents }, memory) = gather(source, output, name, options).await?;
    let read = Arc::new(AtomicU64::new(0));
    let counted = {
        let (read, told) = (Arc::clone(&read), Arc::clone(&options.on_event));
        Arc::new(move |event: &ImageEvent<'_>| {
            if let ImageEvent::CopyRead { bytes, .. } = event {
                read.fetch_add(*bytes, Ordering::Relaxed);
            }
            told(event);
        })
    };
    let store = WithOutput::new(source, output, place, &options.budget, counted);
    let mut written = false;
    for document in documents {
        let target = TagOrDigest::Digest(document.digest);
        written |= write(&store, target, document).await?;
    }
    let (digest, media_type) = (root.digest, root.media_type.clone());
    let target = place.image_tag.clone().map_or(digest.into(), TagOrDigest::Tag);
    written |= write(&store, target, root).await?;
    drop(memory);
    Ok(CopyReport {
        image,
        digest,
        media_type,
        tag: place.image_tag.clone(),
        already_there: !written,
        bytes_read: read.load(Ordering::Relaxed),
        elapsed: started.elapsed(),
    })
}

/// Writes a document after what it names; true if it was not there.
async fn write<S: ImageStore, T: ImageStore>(
    store: &WithOutput<S, T>,
    target: TagOrDigest,
    document: VerifiedManifest,
) -> Result<bool, CopyError> {
    let VerifiedManifest { media_type, bytes, .. } = document;
    let written = store.push_manifest(&target, &media_type, bytes, None).await;
    let failed = |source| IndexError::Write { what: "manifest", target, source };
    written.map_err(|source| failed(source).into())
}

/// The documents of what is copied.
struct Copied {
    /// Digest of what the source's name stands for.
    image: Digest,
    /// What is copied, and gets the tag.
    root: VerifiedManifest,
    /// What it names and the output lacks, each after what it names itself.
    documents: Vec<VerifiedManifest>,
}

/// Fetches the documents, and again in more memory if there are more of them.
async fn gather<S: ImageStore, T: ImageStore>(
    source: &S,
    output: &T,
    name: &ImageName,
    options: &CopyOptions,
) -> Result<(Copied, MemoryHold), CopyError> {
    let mut bytes = FIRST_DOCUMENTS;
    loop {
        (options.on_event)(&ImageEvent::DocumentsWait);
        let memory = options.budget.documents(bytes).await;
        (options.on_event)(&ImageEvent::DocumentsBegun);
        let mut walk = Walk {
            source,
            output,
            budget: &options.budget,
            memory,
            held: 0,
            seen: HashSet::new(),
            documents: Vec::new(),
            lacking: Vec::new(),
        };
        match walk.image(name, options.platform.as_ref()).await {
            Ok((image, root)) => {
                let Walk { memory, documents, .. } = walk;
                return Ok((Copied { image, root, documents }, memory));
            }
            Err(CopyError::Image(IndexError::DocumentMemory { needed, most }))
                if needed <= most && needed > bytes =>
            {
                bytes = needed;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A way through an image's documents.
struct Walk<'a, S, T> {
    source: &'a S,
    output: &'a T,
    budget: &'a Budget,
    memory: MemoryHold,
    /// Bytes of the documents that are kept.
    held: u64,
    seen: HashSet<Digest>,
    documents: Vec<VerifiedManifest>,
    /// What neither store has.
    lacking: Vec<Descriptor>,
}

impl<S: ImageStore, T: ImageStore> Walk<'_, S, T> {
    async fn image(
        &mut self,
        name: &ImageName,
        platform: Option<&Platform>,
    ) -> Result<(Digest, VerifiedManifest), CopyError> {
        let root = self.fetch(&name.target, "").await?;
        let mut root = root.ok_or_else(|| IndexError::NotFound { target: name.target.clone() })?;
        let image = root.digest;
        if let Some(platform) = platform {
            root = self.of_platform(root, platform).await?;
        }
        self.seen.insert(root.digest);
        self.entries_of(&root, 0).await?;
        if self.lacking.is_empty() {
            return Ok((image, root));
        }
        Err(CopyError::Lacking { entries: std::mem::take(&mut self.lacking) })
    }

    /// The entries of a document, if it is an image index.
    async fn entries_of(
        &mut self,
        document: &VerifiedManifest,
        depth: usize,
    ) -> Result<(), CopyError> {
        let Document::Index(index) = read(document)? else { return Ok(()) };
        for entry in index.manifests() {
            self.entry(entry, depth + 1).await?;
        }
        Ok(())
    }

    fn entry<'s>(
        &'s mut self,
        entry: &'s Descriptor,
        depth: usize,
    ) -> BoxFuture<'s, Result<(), CopyError>> {
        async move {
            if !self.seen.insert(entry.digest) {
                return Ok(());
            }
            if depth > MAX_DEPTH {
                return Err(CopyError::TooDeep { most: MAX_DEPTH });
            }
            let target = TagOrDigest::Digest(entry.digest);
            let there = self.output.manifest(&target).await;
            let there = there.map_err(|source| read_error(&target, source))?;
            let (there, found) = match there {
                Some(found) => (true, Some(self.typed(found, &target, &entry.media_type)?)),
                None => (false, self.fetch(&target, &entry.media_type).await?),
            };
            let Some(found) = found else {
                self.lacking.push(entry.clone());
                return Ok(());
            };
            self.entries_of(&found, depth).await?;
            if there {
                self.held -= found.bytes.len() as u64;
            } else {
                self.documents.push(found);
            }
            Ok(())
        }
        .boxed()
    }

    /// The document in the source, in memory that is held for it.
    async fn fetch(
        &mut self,
        target: &TagOrDigest,
        stated: &str,
    ) -> Result<Option<VerifiedManifest>, CopyError> {
        let found = self.source.manifest_within(target, MANIFEST_LIMIT).await;
        match found.map_err(|source| read_error(target, source))? {
            Some(found) => self.typed(found, target, stated).map(Some),
            None => Ok(None),
        }
    }

    /// A document with the media type that it has. Memory for it is held from here on.
    fn typed(
        &mut self,
        found: VerifiedManifest,
        target: &TagOrDigest,
        stated: &str,
    ) -> Result<VerifiedManifest, CopyError> {
        let told = if found.media_type.is_empty() { stated } else { &found.media_type };
        let media_type = soci_oci::root_media_type(told, &found.bytes)
            .map_err(|source| IndexError::NotADocument { target: target.clone(), source })?;
        self.held += found.bytes.len() as u64;
        hold(&mut self.memory, self.held).map_err(|needed| {
            let most = self.budget.most_documents();
            IndexError::DocumentMemory { needed, most }
        })?;
        Ok(VerifiedManifest { media_type, ..found })
    }

    /// What one platform needs of an image: the image manifest for it.
    async fn of_platform(
        &mut self,
        root: VerifiedManifest,
        wanted: &Platform,
    ) -> Result<VerifiedManifest, CopyError> {
        let mut has = Vec::new();
        let found = self.find(&root, wanted, &mut has, 0).await?;
        // Those that were not there are not what is copied, if that was found.
        let entries = std::mem::take(&mut self.lacking);
        match found {
            Some(found) => Ok(found),
            None if entries.is_empty() => {
                Err(CopyError::NoSuchPlatform { wanted: wanted.clone(), has })
            }
            None => Err(CopyError::Lacking { entries }),
        }
    }

    /// The first image manifest for `wanted` in a document. The platforms that are passed are put into `has`.
    fn find<'s>(
        &'s mut self,
        document: &'s VerifiedManifest,
        wanted: &'s Platform,
        has: &'s mut Vec<Platform>,
        depth: usize,
    ) -> BoxFuture<'s, Result<Option<VerifiedManifest>, CopyError>> {
        async move {
            if depth > MAX_DEPTH {
                return Err(CopyError::TooDeep { most: MAX_DEPTH });
            }
            let index = match read(document)? {
                Document::Index(index) => index,
                Document::Manifest(manifest) => {
                    let Some(platform) = self.platform_of(&manifest).await? else {
                        return Ok(None);
                    };
                    if wanted.matches(&platform) {
                        return Ok(Some(document.clone()));
                    }
                    has.push(platform);
                    return Ok(None);
                }
            };
            let images = index.manifests().iter().filter(|entry| entry.artifact_type.is_empty());
            let mut untold = Vec::new();
            for entry in images {
                match &entry.platform {
                    Some(platform) if platform.is_unknown() => {}
                    Some(platform) if wanted.matches(platform) => {
                        let found = self.of_entry(entry).await?;
                        // Of an image index that tells its platform the entries need not.
                        if !media_type::is_index(&found.media_type) {
                            return Ok(Some(found));
                        }
                        if let Some(found) = self.find(&found, wanted, has, depth + 1).await? {
                            return Ok(Some(found));
                        }
                    }
                    Some(platform) => has.push(platform.clone()),
                    None => untold.push(entry),
                }
            }
            for entry in untold {
                let target = TagOrDigest::Digest(entry.digest);
                // One that is not there may be for another platform.
                let Some(found) = self.fetch(&target, &entry.media_type).await? else {
                    self.lacking.push(entry.clone());
                    continue;
                };
                if let Some(found) = self.find(&found, wanted, has, depth + 1).await? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
        .boxed()
    }

    async fn of_entry(&mut self, entry: &Descriptor) -> Result<VerifiedManifest, CopyError> {
        let found = self.fetch(&TagOrDigest::Digest(entry.digest), &entry.media_type).await?;
        found.ok_or_else(|| CopyError::Lacking { entries: vec![entry.clone()] })
    }

    /// The platform that an image manifest's configuration tells, if it has one of images.
    async fn platform_of(&self, manifest: &Manifest) -> Result<Option<Platform>, CopyError> {
        let config = &manifest.config;
        if !manifest.artifact_type.is_empty() || !media_type::is_config(&config.media_type) {
            return Ok(None);
        }
        let bytes = self.source.blob_bytes(&config.digest, MANIFEST_LIMIT).await;
        let bytes = bytes.map_err(|source| read_error(&config.digest.into(), source))?;
        // Where it cannot be read, it tells none.
        let platform = config_platform(&bytes).ok();
        Ok(platform.filter(|platform| !platform.architecture.is_empty() && !platform.is_unknown()))
    }
}

fn read_error(target: &TagOrDigest, source: StoreError) -> CopyError {
    IndexError::Read { target: target.clone(), source }.into()
}

fn read(document: &VerifiedManifest) -> Result<Document, CopyError> {
    let target = TagOrDigest::Digest(document.digest);
    decode(&document.media_type, &document.bytes)
        .map_err(|source| IndexError::NotADocument { target, source }.into())
}
