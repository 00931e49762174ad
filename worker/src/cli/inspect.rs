//! The flags of `inspect`.

use clap::Args;
use soci_config::suffix;
use soci_oci::Tag;

use super::{ConnectionArgs, LoginArgs};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The image: REGISTRY/REPOSITORY[:TAG][@DIGEST], oci:DIR[:NAME] or oci-archive:FILE[:NAME] for an OCI layout on disk,
    /// or docker-archive:FILE[:NAME] for what `docker save` wrote
    #[arg(value_name = "REF")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    /// What is added to the image's tag for the converted image (v2) [default: -soci]
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true)]
    pub(crate) tag_suffix: Option<String>,
    /// The tag of the converted image (v2)
    #[arg(long, value_name = "TAG", conflicts_with = "tag_suffix")]
    pub(crate) output_tag: Option<Tag>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
