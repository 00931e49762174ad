//! The command line.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments on flags are their help, where brackets mean what can be left out"
)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use soci_config::{bytes, suffix};
use soci_manifest::{Generation, Version};
use soci_oci::{Platform, Tag};

pub(crate) use connection::ConnectionArgs;
pub(crate) use healthcheck::{HealthcheckArgs, StatusArgs};
#[cfg(feature = "aws")]
pub(crate) use letters::{
    DeadLettersCommand, DropArgs, LetterQueueArgs, ListArgs, RetryArgs, ShowArgs,
};
pub(crate) use local::LocalArgs;
pub(crate) use login::LoginArgs;
#[cfg(feature = "aws")]
pub(crate) use ops::{BackfillArgs, QueueArgs, ReplayArgs, WakeArgs, WorkArgs};
pub(crate) use package::{CompletionsArgs, ManArgs};
use values::{memory, span_size, version};
#[cfg(feature = "aws")]
pub(crate) use variables::WorkerArgs;
pub(crate) use wait::WaitArgs;
#[cfg(not(feature = "aws"))]
use without_aws::{
    Ignored as BackfillArgs, Ignored as DeadLettersArgs, Ignored as QueueArgs,
    Ignored as ReplayArgs, Ignored as WorkerArgs,
};

mod connection;
mod healthcheck;
#[cfg(feature = "aws")]
mod letters;
mod local;
mod login;
#[cfg(feature = "aws")]
mod ops;
mod package;
mod values;
#[cfg(feature = "aws")]
mod variables;
mod wait;
#[cfg(not(feature = "aws"))]
mod without_aws;

/// Builds SOCI indexes, which let a container start before its image has been downloaded.
#[derive(Debug, Parser)]
#[command(name = "soci-index-builder", version = soci_service::About::THIS.to_string())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the SOCI index of an image and push it beside the image
    Index(IndexArgs),
    /// Check that an image's SOCI indexes match its layers
    Verify(VerifyArgs),
    /// Wait until an image's SOCI index is there, and print what to deploy
    Wait(WaitArgs),
    /// Copy an image to another repository, registry, layout or archive
    Copy(CopyArgs),
    /// Put a sample image somewhere, as `deploy --smoke` does to try a deployment
    #[command(hide = true)]
    SampleImage(SampleImageArgs),
    /// Take jobs off a queue and index their images until told to stop
    Worker(WorkerArgs),
    /// Ask the worker on this machine whether it lives, as a container's health check
    Healthcheck(HealthcheckArgs),
    /// Print what the worker on this machine is doing: its status page for a terminal
    Status(StatusArgs),
    /// List the images in ECR and put those without an index on a queue
    Backfill(BackfillArgs),
    /// Put dead letters, or the events of a file, on a queue again
    Replay(ReplayArgs),
    /// Tell how the queues stand
    Queue(QueueArgs),
    /// List, show, put back or delete what failed for good
    DeadLetters(DeadLettersArgs),
    /// Run a registry, a queue and a worker on this machine: what is pushed is indexed
    Local(LocalArgs),
    /// Build and read ztocs, the tables of contents of single layers
    #[command(subcommand)]
    Ztoc(ZtocCommand),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder
    Man(ManArgs),
}

/// A command of `dead-letters`.
#[cfg(feature = "aws")]
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    pub(crate) command: DeadLettersCommand,
}

/// Where an image is and how to get there.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// The image: REGISTRY/REPOSITORY[:TAG][@DIGEST], oci:DIR[:NAME] or oci-archive:FILE[:NAME] for an OCI layout on disk,
    /// or docker-archive:FILE[:NAME] for what `docker save` wrote
    #[arg(value_name = "REF")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    /// Memory for manifests, downloads in flight and ztocs [default: three fifths of what there is]
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub(crate) memory: Option<u64>,
    /// Layers worked on at once [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<std::num::NonZeroUsize>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// Version of the SOCI index: v2 writes a converted image under a tag of its own, v1 attaches
    /// indexes to the image itself
    #[arg(long, value_name = "VERSION", value_parser = version(), ignore_case = true, default_value = "v2")]
    pub(crate) index_version: Version,
    /// What is added to the image's tag for the converted image (v2) [default: -soci]
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true)]
    pub(crate) tag_suffix: Option<String>,
    /// The tag of the converted image (v2)
    #[arg(long, value_name = "TAG", conflicts_with = "tag_suffix")]
    pub(crate) output_tag: Option<Tag>,
    /// Where the result goes instead of beside the image, with what it needs of it: REGISTRY/REPOSITORY[:TAG],
    /// oci:DIR[:NAME] or oci-archive:FILE[:NAME]
    #[arg(long, value_name = "PLACE")]
    pub(crate) output: Option<String>,
    /// Index this platform only; may be given several times [default: all platforms]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<Platform>,
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
    /// Build everything again, whatever is there already
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

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) image: ImageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// Where the copy goes: REGISTRY/REPOSITORY[:TAG], oci:DIR[:NAME] or oci-archive:FILE[:NAME]. Without a name of its
    /// own it has the image's
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: String,
    /// Copy only the image manifest of this platform, as AWS Lambda wants it, and not an image index with attestations
    /// and SOCI indexes [default: the image as it is]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct SampleImageArgs {
    /// Where it goes: REGISTRY/REPOSITORY[:TAG], oci:DIR[:NAME] or oci-archive:FILE[:NAME]
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    /// About how many bytes its layers have; two fifths of them are the largest
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "32MiB")]
    pub(crate) size: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ZtocCommand {
    /// Build the ztoc of a layer in a file
    Build(ZtocBuildArgs),
    /// Describe a ztoc
    Info(ZtocInfoArgs),
    /// Write one file of a layer to standard output
    Extract(ZtocExtractArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ZtocBuildArgs {
    /// The layer, `-` for standard input
    pub(crate) layer: PathBuf,
    /// How the layer is compressed
    #[arg(long, value_name = "gzip|uncompressed", default_value = "gzip")]
    pub(crate) compression: soci_ztoc::Compression,
    /// Bytes between checkpoints
    #[arg(long, value_name = "BYTES", value_parser = span_size, default_value = "4MiB")]
    pub(crate) span_size: u64,
    /// Name of the building tool that the ztoc carries
    #[arg(long, value_name = "STR", default_value = soci_manifest::format::DEFAULT_BUILD_TOOL_IDENTIFIER)]
    pub(crate) build_tool_identifier: String,
    /// Where the ztoc is written
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ZtocInfoArgs {
    /// The ztoc
    pub(crate) ztoc: PathBuf,
    /// Print the description as one JSON object, with all spans and files
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ZtocExtractArgs {
    /// The layer's ztoc
    pub(crate) ztoc: PathBuf,
    /// The layer
    pub(crate) layer: PathBuf,
    /// The file's path in the layer
    pub(crate) path: OsString,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
