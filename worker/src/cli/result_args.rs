//! The flags that say which result is meant: of `index`, which makes it, and of `wait`, which waits for it. Both have to
//! mean the same by them.

use clap::Args;
use soci_config::suffix;
use soci_indexer::{Options, OutputTag};
use soci_manifest::{Platforms, Version};
use soci_oci::{Platform, Tag};

use super::values::version;

#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// Version of the SOCI index: v2 is a converted image under a tag of its own, v1 are indexes attached
    /// to the image itself
    #[arg(long, value_name = "VERSION", value_parser = version(), ignore_case = true, default_value = "v2")]
    pub(crate) index_version: Version,
    /// What is added to the image's tag for the converted image (v2) [default: -soci]
    #[arg(long, value_name = "SUFFIX", value_parser = suffix, allow_hyphen_values = true)]
    pub(crate) tag_suffix: Option<String>,
    /// The tag of the converted image (v2)
    #[arg(long, value_name = "TAG", conflicts_with = "tag_suffix")]
    pub(crate) output_tag: Option<Tag>,
    /// The index of this platform only; may be given several times [default: all platforms]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<Platform>,
}

impl ResultArgs {
    /// Whether they say how the converted image is tagged.
    pub(crate) fn name_tag(&self) -> bool {
        self.output_tag.is_some() || self.tag_suffix.is_some()
    }

    /// What is wrong with them together.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        (self.index_version == Version::V1 && self.name_tag()).then_some(
            "--output-tag and --tag-suffix name the converted image, which only v2 makes",
        )
    }

    /// The tag of the converted image.
    pub(crate) fn output(&self) -> OutputTag {
        match (&self.output_tag, &self.tag_suffix) {
            (Some(tag), _) => OutputTag::Tag(tag.clone()),
            (None, Some(suffix)) => OutputTag::Suffix(suffix.clone()),
            (None, None) => Options::default().output,
        }
    }

    /// The platforms that are meant.
    pub(crate) fn platforms(&self) -> Platforms {
        match self.platform.as_slice() {
            [] => Platforms::All,
            platforms => Platforms::Only(platforms.to_vec()),
        }
    }
}
