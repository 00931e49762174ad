//! The variables that say what is built.

use std::ops::RangeInclusive;

use soci_manifest::{
    Generation, Platforms, PrefetchSettings, ReuseScope, SociIndexSettings, Version,
};
use soci_push::{EventTypes, PushRules, TagFilters};

use crate::name;
use crate::parse::{self, suffix};
use crate::reader::VariableReader;

/// Span sizes that a ztoc can have, in bytes: it holds them as signed numbers of 64 bits, and none is no size.
pub const SPAN_SIZES: RangeInclusive<u64> = 1..=i64::MAX.unsigned_abs();

/// What is built, of which images.
#[derive(Clone, Debug)]
pub struct IndexSettings {
    /// The images that are wanted.
    pub filters: TagFilters,
    /// The events that are wanted.
    pub event_types: EventTypes,
    /// Whether an image's result goes when the image does.
    pub remove_results: bool,
    /// Which of an image's platforms get an index.
    pub platforms: Platforms,
    /// What the index looks like.
    pub settings: SociIndexSettings,
    /// What tags of converted images end in.
    pub output_suffix: String,
    /// Whose ztocs of layers that were indexed before are taken over.
    pub reuse: ReuseScope,
}

impl IndexSettings {
    /// Reads them; `None` if one is wrong, which the reader notes.
    pub fn read(reader: &mut VariableReader<'_>) -> Option<Self> {
        let rules = read_push_rules(reader);
        let platforms = reader.parsed(name::PLATFORMS, parse::platforms);
        let span_size = reader.bytes(name::SPAN_SIZE, SPAN_SIZES);
        let min_layer_size = reader.bytes(name::MIN_LAYER_SIZE, 0..=u64::MAX);
        let build_tool_identifier = reader.text(name::BUILD_TOOL_IDENTIFIER);
        let generation = reader.from_str(name::COMPATIBLE_WITH);
        let annotate_span_size = reader.flag(name::ANNOTATE_SPAN_SIZE);
        let optimize_xattrs = reader.parsed_or_empty(name::OPTIMIZATIONS, optimizations);
        let prefetch = reader.parsed(name::PREFETCH, prefetch);
        let reuse = reader.from_str(name::REUSE);
        if generation == Some(Generation::Older)
            && prefetch.as_ref().is_some_and(PrefetchSettings::any)
        {
            reader.reject(name::PREFETCH, "needs COMPATIBLE_WITH=0.16");
        }
        // Everything has been read by now, so a wrong value hides no other.
        let PushRules { version, output_suffix, filters, event_types, remove_results } = rules?;
        Some(Self {
            filters,
            event_types,
            remove_results,
            platforms: platforms.unwrap_or_default(),
            settings: SociIndexSettings {
                version,
                span_size: span_size?,
                min_layer_size: min_layer_size?,
                build_tool_identifier: build_tool_identifier?,
                generation: generation?,
                annotate_span_size: annotate_span_size?,
                optimize_xattrs: optimize_xattrs?,
                prefetch: prefetch?,
                // A service indexes what can be indexed, and tells the rest.
                strict: false,
            },
            output_suffix,
            reuse: reuse?,
        })
    }

    /// Which pushes are work.
    pub fn push_rules(&self) -> PushRules {
        PushRules {
            version: self.settings.version,
            output_suffix: self.output_suffix.clone(),
            filters: self.filters.clone(),
            event_types: self.event_types.clone(),
            remove_results: self.remove_results,
        }
    }
}

/// Reads the reference's optimizations: whether `xattr` is among them, of which there is one.
fn optimizations(text: &str) -> Result<bool, &'static str> {
    match text.trim() {
        "" => Ok(false),
        "xattr" => Ok(true),
        _ => Err("xattr or nothing is expected"),
    }
}

fn prefetch(text: &str) -> Result<PrefetchSettings, &'static str> {
    let (label, auto) = match text.trim() {
        "none" => (false, false),
        "label" => (true, false),
        "auto" => (true, true),
        _ => return Err("none, label or auto is expected"),
    };
    Ok(PrefetchSettings { files: Vec::new(), label, auto })
}

/// Reads which pushes are work; `None` if a variable is wrong, which the reader notes.
pub fn read_push_rules(reader: &mut VariableReader<'_>) -> Option<PushRules> {
    let filters = reader.from_str(name::FILTERS);
    let version = reader.from_str::<Version>(name::INDEX_VERSION);
    let output_suffix = reader.parsed_or_empty(name::OUTPUT_TAG_SUFFIX, suffix);
    let event_types = reader.from_str(name::EVENT_TYPES);
    let remove_results = reader.flag(name::REMOVE_RESULTS);
    Some(PushRules {
        version: version?,
        output_suffix: output_suffix?,
        filters: filters?,
        event_types: event_types?,
        remove_results: remove_results?,
    })
}
