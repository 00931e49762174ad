//! What can go wrong: one enum for each boundary. An image ([`IndexError`]) has layers ([`LayerError`]),
//! and both are read from and written to a store ([`StoreError`]): a registry, whose errors are those of its
//! client, a layout on disk ([`LayoutError`]), or one of the caller's own. What an error means to whoever asked is
//! decided in `reason.rs`.

use std::io;
use std::path::PathBuf;

use soci_manifest::{ImageError, SkipReason};
use soci_oci::{Descriptor, Digest, Platform, Repository, Tag, TagOrDigest};
use soci_ztoc::BuildError;

/// Why an image was not indexed. No manifest and no tag of the result has been written, unless
/// writing them is what failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// There is nothing to index, so nothing was written. It is no failure.
    #[error("{reason}")]
    Nothing {
        /// Digest of the image.
        image: Digest,
        /// Why.
        reason: SkipReason,
    },
    /// The image, or a manifest that it names, does not exist.
    #[error("manifest {target} does not exist")]
    NotFound {
        /// What was asked for.
        target: TagOrDigest,
    },
    /// What was sent for a manifest is none.
    #[error("what was sent for manifest {target} is no manifest")]
    NotADocument {
        /// What was asked for.
        target: TagOrDigest,
        /// What is wrong with it.
        source: soci_oci::DocumentError,
    },
    /// A manifest or configuration cannot be read.
    #[error("manifest or configuration {target} cannot be read")]
    Read {
        /// What was asked for.
        target: TagOrDigest,
        /// Why not.
        source: StoreError,
    },
    /// The image's documents cannot be indexed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A layer has no ztoc.
    #[error("layer {digest} ({size} bytes) cannot be indexed")]
    Layer {
        /// Digest of the layer.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Why not.
        source: LayerError,
    },
    /// A part of the result cannot be written.
    #[error("{what} {target} cannot be written")]
    Write {
        /// What it is.
        what: &'static str,
        /// Its digest or tag.
        target: TagOrDigest,
        /// Why not.
        source: StoreError,
    },
    /// The tag of the converted image cannot be made.
    #[error("{text:?} cannot be the tag of the converted image")]
    OutputTag {
        /// What it would be.
        text: String,
        /// What is wrong with it.
        source: soci_oci::ReferenceError,
    },
    /// The tag of the converted image would take the place of a list of referrers.
    #[error(
        "{tag} cannot be the tag of the converted image: registries without a referrers API keep \
         the list of a manifest's referrers under such tags"
    )]
    ReservedTag {
        /// The tag.
        tag: Tag,
    },
    /// The image's tag names another image by now ([`Options::follow_tag`](crate::Options)).
    #[error("tag {tag} names {now} by now, not {image}")]
    Superseded {
        /// The image's tag.
        tag: Tag,
        /// Digest of the image.
        image: Digest,
        /// What the tag names.
        now: Digest,
    },
    /// The image's tag does not exist any more ([`Options::follow_tag`](crate::Options)).
    #[error("tag {tag} of {image} does not exist any more")]
    TagGone {
        /// The image's tag.
        tag: Tag,
        /// Digest of the image.
        image: Digest,
    },
    /// The image's manifests and configurations take more memory than there is for documents.
    #[error(
        "the image's manifests and configurations take {} of memory, and there are {} for documents: \
         an eighth of `MEMORY_BUDGET`, or of `--memory` of a command, at most 256 MiB",
        mebibytes(*needed), mebibytes(*most)
    )]
    DocumentMemory {
        /// What they take, in bytes.
        needed: u64,
        /// What there is, in bytes.
        most: u64,
    },
    /// The image's tag names another image since the result was written
    /// ([`Options::follow_tag`](crate::Options)).
    #[error("tag {tag} names {now} since the result of {image} was written")]
    Overtaken {
        /// The image's tag.
        tag: Tag,
        /// Digest of the image.
        image: Digest,
        /// What the tag names.
        now: Digest,
    },
    /// The store says that the result was written, and does not have it.
    #[error("{target} was written, and {}", match found { Some(found) => format!("names {found}"), None => "is not there".to_owned() })]
    NotStored {
        /// Tag or digest of the result.
        target: TagOrDigest,
        /// What is there.
        found: Option<Digest>,
    },
    /// The store keeps other bytes under the digest of a part of the result, whatever it is sent.
    #[error(
        "{what} {digest}{} has other bytes than its digest says, and still has after it was sent again: delete it there \
         and have the registry collect its garbage, or write the index to another repository or registry",
        .repository.as_ref().map_or(String::new(), |repository| format!(" in {repository}"))
    )]
    Damaged {
        /// What it is.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// The repository, if the store is one.
        repository: Option<Repository>,
    },
    /// The span size cannot be used.
    #[error("span size {0} is over 2^63 - 1")]
    SpanSize(u64),
    /// Something to prefetch, in an index for every snapshotter.
    #[error(
        "prefetching needs --compatible-with 0.16 (COMPATIBLE_WITH): soci-snapshotter before 0.13 cannot mount a layer \
         lazily that has a prefetch artifact"
    )]
    PrefetchForOlder,
    /// A ztoc that was stored cannot be read any more.
    #[error("ztoc {digest} of layer {layer} cannot be looked into")]
    Ztoc {
        /// The ztoc.
        digest: Digest,
        /// Its layer.
        layer: Digest,
        /// Why not.
        source: soci_ztoc::ReadError,
    },
    /// The list of an image's referrers cannot be read.
    #[error("the list of referrers of {subject} cannot be read")]
    Referrers {
        /// The image manifest.
        subject: Digest,
        /// Why not.
        source: StoreError,
    },
    /// The list of an image's referrers is not an image index.
    #[error("the list of referrers of {subject} is malformed")]
    ReferrersList {
        /// The image manifest.
        subject: Digest,
        /// What is wrong with it.
        source: soci_oci::DocumentError,
    },
    /// The registry keeps no referrers: it has no API for them, and the tag that their list belongs under names the
    /// image manifest itself.
    #[error(
        "V1 cannot be had in this registry: it has no referrers API, and the tag {tag}, which is for the list of \
         referrers, names the image manifest itself; use V2 (`--index-version v2`, `SOCI_INDEX_VERSION=V2`)"
    )]
    NoReferrers {
        /// The tag.
        tag: Tag,
    },
}

/// Why an image was not copied. No tag names what was written of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// What goes wrong with any image that is read and written.
    #[error(transparent)]
    Image(#[from] IndexError),
    /// The image has not the platform that was asked for.
    #[error("the image is not for {wanted}: {}", match has.as_slice() {
        [] => "nothing tells the platform of what is in it".to_owned(),
        has => format!("it has {}", listed(has.iter())),
    })]
    NoSuchPlatform {
        /// The platform.
        wanted: Platform,
        /// What the image has.
        has: Vec<Platform>,
    },
    /// The image index lists what its store does not have, and the output does not either.
    #[error("the image index lists what is not there: {}", listed(entries.iter().map(|entry| match &entry.platform {
        Some(platform) => format!("{} ({platform})", entry.digest),
        None => entry.digest.to_string(),
    })))]
    Lacking {
        /// Its entries for that.
        entries: Vec<Descriptor>,
    },
    /// Image indexes lie in each other.
    #[error("image indexes lie more than {most} deep in each other")]
    TooDeep {
        /// How deep they may.
        most: usize,
    },
}

/// The first of several, and how many more there are.
fn listed<T: std::fmt::Display>(all: impl Iterator<Item = T>) -> String {
    const MOST: usize = 16;
    // They are the image's own words.
    let mut all = all.map(|one| one.to_string().chars().take(160).collect());
    let first: Vec<String> = all.by_ref().take(MOST).collect();
    let more = match all.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    first.join(", ") + &more
}

/// Why a layer's ztoc could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The layer could not be read, or is not what its digest says.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The layer cannot be described by a ztoc.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The ztoc takes more memory while it is built than all layers have together.
    #[error(
        "its ztoc takes {} of memory while it is built, and there are {} for one ztoc: set \
         `MEMORY_BUDGET`, or `--memory` of a command, to {} or more",
        mebibytes(*needed), mebibytes(*most), mebibytes(*budget)
    )]
    Memory {
        /// What the ztoc takes, in bytes.
        needed: u64,
        /// The most that one ztoc may take, in bytes.
        most: u64,
        /// The `MEMORY_BUDGET` that would be enough, in bytes.
        budget: u64,
    },
    /// The layer's bytes are not those of its digest, though its store did not say so.
    #[error("its bytes have the digest {actual}")]
    WrongBytes {
        /// The digest of the bytes that came.
        actual: Digest,
    },
    /// The program is shutting down.
    #[error("the build was interrupted")]
    Interrupted,
}

/// A number of bytes in whole MiB, rounded up.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(#[from] soci_registry::Error),
    /// The layout on disk.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A store of the caller's own.
    #[error("the store failed")]
    Own {
        /// Whether the same operation may succeed later.
        transient: bool,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A blob of the image could not be copied from its store into another one.
    #[error("blob {digest} cannot be {}", if *reading { "read to be copied" } else { "written to the output" })]
    Copy {
        /// The blob.
        digest: Digest,
        /// Whether reading it failed, or writing it.
        reading: bool,
        /// Why.
        source: Box<StoreError>,
    },
    /// What a store of the caller's own holds is longer than what was asked for.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl StoreError {
    /// The error of a store of one's own that does not pass. One that may is [`StoreError::Own`] with `transient`.
    pub fn own(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Own { transient: false, source: source.into() }
    }

    /// The answer of [`push_manifest`](crate::ImageStore::push_manifest) when its condition does not hold: the tag
    /// names `now`, or nothing.
    pub fn tag_moved(tag: Tag, now: Option<Digest>) -> Self {
        Self::Registry(soci_registry::Error::TagMoved { tag, now })
    }

    /// Whether a manifest was refused for want of what it names, so that sending that again may
    /// help.
    pub fn is_missing_content(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_missing_content())
    }

    /// Whether what was asked for is not there, by the store's word.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Registry(soci_registry::Error::NotFound(_)) => true,
            Self::Layout(LayoutError::File { source, .. }) => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }

    /// Whether something was longer than what the caller would take.
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::Registry(soci_registry::Error::TooLarge { .. })
                | Self::Layout(LayoutError::TooLarge { .. })
                | Self::TooLarge { .. }
        )
    }

    /// Whether the same operation may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_transient(),
            Self::Own { transient, .. } => *transient,
            Self::Copy { source, .. } => source.is_transient(),
            Self::Layout(_) | Self::TooLarge { .. } => false,
        }
    }
}

/// Why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `index.json` or `oci-layout` is not what the specification asks for.
    #[error("{} is not an OCI layout: {reason}", .path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Several images of the layout may be meant.
    #[error("{} lists {count} images; name one by what follows the path: {tags}", .path.display())]
    Ambiguous {
        /// The folder or archive.
        path: PathBuf,
        /// Entries of `index.json`.
        count: usize,
        /// What each is named by, behind the path.
        tags: String,
    },
    /// The layout has not the image that was asked for.
    #[error(
        "{} holds no image {wanted}; {}", .path.display(),
        if choices.is_empty() { "index.json is empty".to_owned() } else { format!("what follows the path may be {choices}") }
    )]
    NoSuchImage {
        /// The folder or archive.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What the images are named by, behind the path.
        choices: String,
    },
    /// A blob does not match its digest or size.
    #[error("{}: the blob does not match its {what}", .path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Digest or size.
        what: &'static str,
    },
    /// A blob is larger than it may be in memory.
    #[error("{}: the blob is over the limit of {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
}
