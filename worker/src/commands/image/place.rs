//! Opens the stores that a command works on.

use std::path::Path;

use soci_indexer::{ImageName, Layout, Reason, RemoteRepository};
use soci_oci::reference::DEFAULT_TAG;
use soci_oci::{Repository, Tag};
use soci_registry::Client;

use super::any_store::AnyStore;
use super::location::{LayoutKind, Location, OutputLocation};
use crate::report::Failure;

/// An image and the store that it is in.
pub(crate) struct OpenImage {
    pub(crate) store: AnyStore,
    pub(crate) name: ImageName,
    /// Its repository, if it is in a registry.
    pub(crate) repository: Option<Repository>,
}

/// A store for results, and the tag that was said for them.
pub(crate) struct OpenOutput {
    pub(crate) store: AnyStore,
    pub(crate) tag: Option<Tag>,
    /// The tag of an image that has none of its own, if it needs one to be found.
    pub(crate) default_tag: Option<Tag>,
}

/// Whether there is a layout, or what may be an archive of one.
pub(crate) fn is_layout(kind: LayoutKind, path: &Path) -> bool {
    match kind {
        LayoutKind::Folder => path.join("oci-layout").is_file(),
        LayoutKind::Archive | LayoutKind::Docker => path.is_file(),
    }
}

impl OpenImage {
    pub(crate) async fn open(location: Location, client: Option<&Client>) -> Result<Self, Failure> {
        match location {
            Location::Registry(reference) => {
                let repository = reference.repository.clone();
                let store = AnyStore::Registry(remote(client, &repository)?);
                Ok(Self { store, name: (&reference).into(), repository: Some(repository) })
            }
            Location::Layout { kind, path, image } => {
                let opened = match kind {
                    LayoutKind::Folder => Layout::open(path).await,
                    LayoutKind::Archive => Layout::open_archive(path).await,
                    LayoutKind::Docker => Layout::open_docker_archive(path).await,
                };
                let layout = opened.map_err(|error| Failure::of_layout(&error))?;
                let (layout, mut name) = layout
                    .find(image.as_ref())
                    .await
                    .map_err(|error| Failure::of_layout(&error))?;
                if image.is_none() && name.tag.is_none() {
                    name.tag = DEFAULT_TAG.parse().ok();
                }
                Ok(Self { store: AnyStore::Layout(layout), name, repository: None })
            }
        }
    }
}

impl OpenOutput {
    pub(crate) async fn open(
        location: OutputLocation,
        client: Option<&Client>,
    ) -> Result<Self, Failure> {
        match location {
            OutputLocation::Registry { repository, tag } => {
                let store = AnyStore::Registry(remote(client, &repository)?);
                Ok(Self { store, tag, default_tag: None })
            }
            OutputLocation::Layout { kind, path, name } => {
                let opened = match kind {
                    LayoutKind::Folder => Layout::open_or_create(path).await,
                    LayoutKind::Archive | LayoutKind::Docker => {
                        Layout::open_or_create_archive(path).await
                    }
                };
                let mut layout = opened.map_err(|error| Failure::of_layout(&error))?;
                let mut tag = None;
                if let Some(name) = name {
                    (layout, tag) = layout.named_as(&name);
                }
                let default_tag = DEFAULT_TAG.parse().ok();
                Ok(Self { store: AnyStore::Layout(layout), tag, default_tag })
            }
        }
    }
}

/// Completes what was written to a store.
pub(crate) async fn finish(store: &AnyStore) -> Result<(), Failure> {
    match store {
        AnyStore::Registry(_) => Ok(()),
        AnyStore::Layout(layout) => {
            layout.finish().await.map_err(|error| Failure::of_layout(&error))
        }
    }
}

fn remote(client: Option<&Client>, repository: &Repository) -> Result<RemoteRepository, Failure> {
    // Whoever names a registry has one made.
    let client = client.ok_or_else(|| {
        Failure::new(Reason::Internal.code(), "there is no client of registries".to_owned())
    })?;
    Ok(RemoteRepository::new(client.clone(), repository.clone()))
}
