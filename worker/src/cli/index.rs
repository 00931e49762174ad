//! The flags of `index`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use soci_config::bytes;
use soci_manifest::Generation;

use super::values::{age, span_size};
use super::{BudgetArgs, ConnectionArgs, LoginArgs, ResultArgs};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct IndexArgs {
    /// The images: REGISTRY/REPOSITORY[:TAG][@DIGEST], oci:DIR[:NAME] or oci-archive:FILE[:NAME] for an OCI layout on disk,
    /// or docker-archive:FILE[:NAME] for what `docker save` wrote. They are indexed one after the other; one that fails
    /// keeps no other from it
    #[arg(value_name = "REF", required_unless_present = "from_file")]
    pub(crate) images: Vec<String>,
    /// Index the images that this file names as well, one a line; `-` is standard input. What follows a `#` is a remark
    #[arg(long, value_name = "FILE")]
    pub(crate) from_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    #[command(flatten)]
    pub(crate) told: ToldArgs,
    /// How long all images together may take, as in 90s, 15m or 2h; what is not done by then has failed
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub(crate) timeout: Option<Duration>,
    /// Say what would be done, and how long it may take: which layers would be read, whose ztocs are there already. Nothing is
    /// written
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    /// Where the result goes instead of beside the image, with what it needs of it: REGISTRY/REPOSITORY[:TAG],
    /// oci:DIR[:NAME] or oci-archive:FILE[:NAME]
    #[arg(long, value_name = "PLACE")]
    pub(crate) output: Option<String>,
    /// Smaller layers get no ztoc
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "10MiB")]
    pub(crate) min_layer_size: u64,
    /// Bytes between checkpoints
    #[arg(long, value_name = "BYTES", value_parser = span_size, default_value = "4MiB")]
    pub(crate) span_size: u64,
    /// Name of the building tool that the index carries; it changes all digests
    #[arg(long, value_name = "STR", default_value = soci_manifest::format::DEFAULT_BUILD_TOOL_IDENTIFIER)]
    pub(crate) build_tool_identifier: String,
    /// The release of soci-snapshotter that can use the index. 0.11: every one, and layers of several gzip
    /// members get no ztoc, as snapshotters before 0.14 would give wrong bytes. 0.16: those from 0.14 on,
    /// with the bytes of the newest release [default: 0.11, and 0.16 where something is prefetched]
    #[arg(long, value_name = "0.11|0.16")]
    pub(crate) compatible_with: Option<Generation>,
    #[command(flatten)]
    pub(crate) prefetch: PrefetchArgs,
    /// Say in the index which layers have no extended attributes, for faster mounts
    #[arg(long, value_enum, value_name = "xattr", value_delimiter = ',')]
    pub(crate) optimizations: Vec<Optimization>,
    /// Name the span size in an index for 0.11 as well, as soci-snapshotter does from 0.12 on; it changes
    /// the digests of all SOCI indexes
    #[arg(long)]
    pub(crate) annotate_span_size: bool,
    /// Build everything again, whatever is there already, and read back what is written: what the registry holds wrong
    /// bytes of is sent again
    #[arg(long)]
    pub(crate) force: bool,
    /// Build the ztocs of all layers, also of those that were indexed before under another tag. A result that is there
    /// already stays
    #[arg(long)]
    pub(crate) no_reuse: bool,
    /// Fail where soci-snapshotter fails on the image, instead of indexing the platforms and layers that can be
    /// indexed and saying which are left out
    #[arg(long)]
    pub(crate) strict: bool,
}

/// What a snapshotter fetches before it mounts a layer.
#[derive(Debug, Args)]
pub(crate) struct PrefetchArgs {
    /// Have this file fetched before its layer is mounted; may be given several times, or with commas
    #[arg(long = "prefetch-file", value_name = "PATH", value_delimiter = ',')]
    pub(crate) files: Vec<String>,
    /// The same for the files of a JSON list
    #[arg(long = "prefetch-files-json", value_name = "FILE")]
    pub(crate) json_list: Option<PathBuf>,
    /// The same for the files that the image's label soci-index-builder.prefetch-files names
    #[arg(long = "prefetch-label")]
    pub(crate) label: bool,
    /// The same for what the image's program needs to start: itself, its interpreter, the libraries it needs
    #[arg(long = "prefetch-auto")]
    pub(crate) auto: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Optimization {
    Xattr,
}

/// How much is told, and how.
#[derive(Debug, Args)]
pub(crate) struct ToldArgs {
    /// Print the result of each image as one JSON object, a line each
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress and no tries that are repeated: only results, and why images failed
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Tell more on standard error: each request and what is done with each layer. RUST_LOG says what exactly
    #[arg(long, short)]
    pub(crate) verbose: bool,
}
