//! The variables that say what is built.

use soci_manifest::{Settings, Version};
use soci_push::TagFilters;

use crate::parse::suffix;
use crate::reader::Reader;
use crate::table::name;

/// What is built, of which images.
#[derive(Clone, Debug)]
pub struct IndexSettings {
    /// The images that are wanted.
    pub filters: TagFilters,
    /// What the index looks like.
    pub settings: Settings,
    /// What tags of converted images end in.
    pub output_suffix: String,
}

impl IndexSettings {
    /// Reads them; `None` if one is wrong, which the reader notes.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let filters = reader.from_str(name::FILTERS);
        let version = Self::read_version(reader);
        let output_suffix = Self::read_output_suffix(reader);
        // A ztoc holds the span size as a signed number of 64 bits.
        let span_size = reader.bytes(name::SPAN_SIZE, 0..=i64::MAX.unsigned_abs());
        let min_layer_size = reader.bytes(name::MIN_LAYER_SIZE, 0..=u64::MAX);
        let build_tool_identifier = reader.text(name::BUILD_TOOL_IDENTIFIER);
        let annotate_span_size = reader.flag(name::ANNOTATE_SPAN_SIZE);
        Some(Self {
            filters: filters?,
            settings: Settings {
                version: version?,
                span_size: span_size?,
                min_layer_size: min_layer_size?,
                build_tool_identifier: build_tool_identifier?,
                annotate_span_size: annotate_span_size?,
            },
            output_suffix: output_suffix?,
        })
    }

    /// The version alone.
    pub fn read_version(reader: &mut Reader<'_>) -> Option<Version> {
        reader.parsed(name::INDEX_VERSION, |text| match text.trim() {
            "V1" | "v1" => Ok(Version::V1),
            "V2" | "v2" => Ok(Version::V2),
            _ => Err("V1 or V2 is expected"),
        })
    }

    /// The suffix alone.
    pub fn read_output_suffix(reader: &mut Reader<'_>) -> Option<String> {
        reader.parsed_or_empty(name::OUTPUT_TAG_SUFFIX, suffix)
    }
}
