//! The flags of `local`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use soci_config::{bytes, suffix};
use soci_manifest::{Generation, Version};
use soci_oci::Platform;
use soci_push::TagFilter;

use super::values::{memory, span_size, version};

#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// Make a sample image, index it, read a file of it lazily, report, and exit
    #[arg(long)]
    pub(crate) demo: bool,
    /// Let registry and status page stay when the demonstration is over, until Ctrl-C
    #[arg(long, requires = "demo")]
    pub(crate) keep: bool,
    /// Address of the registry; port 0 takes a free one [default: 127.0.0.1:5000, with --demo a
    /// free port]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address of the status page; port 0 takes a free one [default: 127.0.0.1:8080, with --demo
    /// a free port]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<SocketAddr>,
    /// Keep the registry's content in this folder, and begin with what is there [default: a
    /// temporary folder, removed at exit]
    #[arg(long, value_name = "DIR")]
    pub(crate) storage: Option<PathBuf>,
    /// Index only images that match; may be given several times [default: all]
    #[arg(long, value_name = "REPO:TAG")]
    pub(crate) filter: Vec<TagFilter>,
    /// Version of the SOCI indexes: v2 are converted images under tags of their own, v1 indexes attached
    /// to the images themselves
    #[arg(long, value_name = "VERSION", value_parser = version(), ignore_case = true, default_value = "v2")]
    pub(crate) index_version: Version,
    /// What is added to the tags of images for the converted images (v2) [default: -soci]
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true)]
    pub(crate) tag_suffix: Option<String>,
    /// Index this platform only, in images that have it; may be given several times [default: all platforms]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<Platform>,
    /// Images worked on at once
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) max_concurrent_images: NonZeroUsize,
    /// Memory for manifests, downloads in flight and ztocs [default: three fifths of what there is]
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub(crate) memory: Option<u64>,
    /// Smaller layers get no ztoc
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "10MiB")]
    pub(crate) min_layer_size: u64,
    /// Bytes between checkpoints
    #[arg(long, value_name = "BYTES", value_parser = span_size, default_value = "4MiB")]
    pub(crate) span_size: u64,
    /// The release of soci-snapshotter that can use the indexes: 0.11 for every one, 0.16 for those from
    /// 0.14 on
    #[arg(long, value_name = "0.11|0.16", default_value_t = Generation::default())]
    pub(crate) compatible_with: Generation,
    /// About how large the sample image's layers are together
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "300MiB", requires = "demo")]
    pub(crate) demo_size: u64,
}
