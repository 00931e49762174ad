//! The command line.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments on flags are their help, where brackets mean what can be left out"
)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use soci_config::bytes;
use soci_oci::Platform;

pub(crate) use budget::BudgetArgs;
pub(crate) use connection::ConnectionArgs;
pub(crate) use healthcheck::{HealthcheckArgs, StatusArgs};
pub(crate) use index::{IndexArgs, Optimization, PrefetchArgs};
pub(crate) use inspect::InspectArgs;
#[cfg(feature = "aws")]
pub(crate) use letters::{
    DeadLettersCommand, DropArgs, LetterQueueArgs, ListArgs, RetryArgs, ShowArgs,
};
pub(crate) use local::LocalArgs;
pub(crate) use login::LoginArgs;
pub(crate) use ls::LsArgs;
#[cfg(feature = "aws")]
pub(crate) use ops::{BackfillArgs, QueueArgs, ReplayArgs, WakeArgs, WorkArgs};
pub(crate) use package::{CompletionsArgs, ManArgs};
pub(crate) use prune::PruneArgs;
pub(crate) use result_args::ResultArgs;
use values::span_size;
#[cfg(feature = "aws")]
pub(crate) use variables::WorkerArgs;
pub(crate) use wait::WaitArgs;
#[cfg(not(feature = "aws"))]
use without_aws::{
    Ignored as BackfillArgs, Ignored as DeadLettersArgs, Ignored as QueueArgs,
    Ignored as ReplayArgs, Ignored as WorkerArgs,
};

mod budget;
mod connection;
mod footers;
mod healthcheck;
mod index;
mod inspect;
#[cfg(feature = "aws")]
mod letters;
mod local;
mod login;
mod ls;
#[cfg(feature = "aws")]
mod ops;
mod package;
mod prune;
mod result_args;
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
    /// Build the SOCI indexes of images and push them beside the images
    #[command(after_help = footers::INDEX.to_string())]
    Index(IndexArgs),
    /// Check that an image's SOCI indexes match its layers
    #[command(after_help = footers::VERIFY.to_string())]
    Verify(VerifyArgs),
    /// Wait until an image's SOCI index is there, and print what to deploy
    #[command(after_help = footers::WAIT.to_string())]
    Wait(WaitArgs),
    /// Tell whether an image is indexed, by what and how
    #[command(after_help = footers::INSPECT.to_string())]
    Inspect(InspectArgs),
    /// List the images of a repository, and whether they are indexed
    #[command(after_help = footers::LS.to_string())]
    Ls(LsArgs),
    /// Delete indexes whose image is gone
    #[command(after_help = footers::PRUNE.to_string())]
    Prune(PruneArgs),
    /// Copy an image to another repository, registry, layout or archive
    #[command(after_help = footers::COPY.to_string())]
    Copy(CopyArgs),
    /// Put a sample image somewhere, as `deploy --smoke` does to try a deployment
    #[command(hide = true, after_help = footers::SAMPLE_IMAGE.to_string())]
    SampleImage(SampleImageArgs),
    /// Take jobs off a queue and index their images until told to stop
    #[command(after_help = footers::WORKER.to_string())]
    Worker(WorkerArgs),
    /// Ask the worker on this machine whether it lives, as a container's health check
    #[command(after_help = footers::HEALTHCHECK.to_string())]
    Healthcheck(HealthcheckArgs),
    /// Print what the worker on this machine is doing: its status page for a terminal
    #[command(after_help = footers::STATUS.to_string())]
    Status(StatusArgs),
    /// List the images in ECR and put those without an index on a queue
    #[command(after_help = footers::BACKFILL.to_string())]
    Backfill(BackfillArgs),
    /// Put dead letters, or the events of a file, on a queue again
    #[command(after_help = footers::REPLAY.to_string())]
    Replay(ReplayArgs),
    /// Tell how the queues stand
    #[command(after_help = footers::QUEUE.to_string())]
    Queue(QueueArgs),
    /// List, show, put back or delete what failed for good
    DeadLetters(DeadLettersArgs),
    /// Run a registry, a queue and a worker on this machine: what is pushed is indexed
    #[command(after_help = footers::LOCAL.to_string())]
    Local(LocalArgs),
    /// Build and read ztocs, the tables of contents of single layers
    #[command(subcommand)]
    Ztoc(ZtocCommand),
    /// Print the completions of a shell
    #[command(after_help = footers::COMPLETIONS.to_string())]
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder
    #[command(after_help = footers::MAN.to_string())]
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
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// Only check the SOCI index of this platform; may be given several times [default: all platforms]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<Platform>,
    /// Build no ztoc again: check the documents, that all blobs are there, and the spans of two files of each layer
    #[arg(long)]
    pub(crate) quick: bool,
    /// Show no progress and no tries that are repeated: only the result
    #[arg(long, short)]
    pub(crate) quiet: bool,
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
    #[command(after_help = footers::ZTOC_BUILD.to_string())]
    Build(ZtocBuildArgs),
    /// Describe a ztoc
    #[command(after_help = footers::ZTOC_INFO.to_string())]
    Info(ZtocInfoArgs),
    /// Write one file of a layer to standard output
    #[command(after_help = footers::ZTOC_EXTRACT.to_string())]
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
    /// Where the ztoc is written, `-` for standard output; then its digest and size go to standard error
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
