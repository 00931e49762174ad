//! Builds SOCI indexes of container images and writes them beside the images.
//!
//! [`Budget`]: Budget
//! [`ImageStore`]: ImageStore
//! [`Layout`]: Layout
//! [`Options`]: Options
//! [`RemoteRepository`]: RemoteRepository
//! [`Report`]: Report
//! [`build_ztoc`]: build_ztoc
//! [`index_image`]: index_image
//! [`verify_image`]: verify_image
//! [`IndexError::Nothing`]: IndexError::Nothing
//! [`IndexError::is_transient`]: IndexError::is_transient
//! [`IndexError::reason`]: IndexError::reason
// The README follows. Its links lead to docs.rs; of two targets the first counts, so that here they stay here.
#![doc = include_str!("../README.md")]

mod ahead;
mod budget;
mod copy;
mod cores;
mod error;
mod event;
mod existing;
mod forecast;
mod gather;
mod index;
mod inspect;
mod last_member;
mod layer;
mod layers;
mod layout;
mod list;
mod options;
mod outlook;
mod output;
mod output_tag;
mod pipeline;
mod prefetch;
mod prune;
mod publish;
mod reason;
mod referrers_lists;
mod remote;
mod report;
mod reuse;
mod source_tag;
mod startup;
mod store;
mod stored;
mod verify;
mod wait;

pub use budget::Budget;
pub use copy::{CopyOptions, CopyReport, copy_image};
pub use cores::Cores;
pub use error::{CopyError, IndexError, LayerError, LayoutError, StoreError};
pub use event::{ImageEvent, OnImageEvent};
pub use forecast::{IndexForecast, LayerForecast, LayerWork, forecast_index, forecast_index_to};
pub use index::index_image;
pub use inspect::{
    ConvertedImage, InspectedIndex, InspectedLayer, InspectedManifest, InspectedZtoc, Inspection,
    MOST_ZTOC_BYTES, MOST_ZTOCS, ZtocRead, inspect_image,
};
pub use layout::{Layout, LayoutImage};
pub use list::{ImageList, ListError, ListedImage, ListedState, list_images};
pub use options::{ImageName, Options};
pub use output::{OutputPlace, index_image_to};
pub use output_tag::OutputTag;
pub use pipeline::{PipelineError, build_ztoc};
pub use prune::{
    Deleted, DeletedImage, Deleter, KeptResult, Leftover, LeftoverKind, Leftovers, ListedManifest,
    NotDeleted, PruneError, PruneSettings, RegistryDeleter, Removed, RepositoryListing, WhyKept,
    WhyLeftover, delete_leftovers, find_leftovers, remove_result,
};
pub use reason::Reason;
pub use remote::RemoteRepository;
pub use report::{LayerReport, Report, ReusedLayer, ZtocSource};
pub use reuse::Reuse;
pub use store::{BlobStream, ImageStore, ReadBack};
pub use verify::{
    LayerCheck, Misread, Verification, VerifyError, VerifySettings, verify_image, verify_image_with,
};
pub use wait::{
    IndexThere, LastSeen, OnWaitEvent, WaitError, WaitEvent, WaitSettings, wait_for_index,
};

// What a caller names in order to index an image, so that nobody needs more crates than this one.
pub use bytes::Bytes;
#[doc(inline)]
pub use soci_manifest::{
    Generation, ImageLimits, LayerDecision, LeftOutPlatform, Platforms, PrefetchFile,
    PrefetchSettings, ReuseScope, SkipReason, SkippedLayer, SociIndex, SociIndexSettings, Version,
    WhyLeftOut,
};
#[doc(inline)]
pub use soci_oci::{Digest, Hasher, Platform, Reference, Repository, Tag, TagOrDigest};
#[doc(inline)]
pub use soci_registry::{
    AuthFiles, BlobPieces, BlobSource, Client, CredentialChain, CredentialProvider, Credentials,
    CredentialsError, CredentialsFuture, DockerConfig, Granted, MAX_PIECE, MemoryLease, OwnApi,
    OwnApiError, OwnApiFuture, Referrers, ReferrersSource, Secret, StaticCredentials, StreamedBlob,
    TagNames, VerifiedManifest,
};
#[doc(inline)]
pub use soci_ztoc::LayerLimits;

// All else that the types above are made of.
pub use {
    soci_manifest as manifest, soci_oci as oci, soci_registry as registry, soci_ztoc as ztoc,
};
