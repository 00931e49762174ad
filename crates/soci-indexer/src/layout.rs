//! An OCI layout as a store: in a folder, or in an archive, which is read where it lies (`layout/archive.rs`).
//!
//! Source: OCI image specification 1.1, "OCI Image Layout". Where it leaves open what an entry of `index.json` is, this is
//! the rule ([`Layout::find`]):
//!
//! | what is asked for | what it is |
//! | --- | --- |
//! | a name | the entry with this name, be it in `org.opencontainers.image.ref.name` or in containerd's annotation; else the one whose name means the same reference |
//! | a digest | the manifest with it, listed or not |
//! | a number | this entry, counted from 0 |
//! | nothing | the only entry that neither is a result of indexing nor refers to another manifest; where several without names are manifests of different platforms, all of these as one image: then `index.json` is the image index |
//!
//! What several entries could be is an error that tells by which text each can be asked for.

mod archive;
mod base;
mod docker;
mod files;
mod find;
mod names;
mod section;
mod store;
mod tar;

pub use base::Layout;
pub use find::LayoutImage;
