//! Looks into the ztocs of an image for what its index says beside their digests: which spans are prefetched, and
//! which layers can do without extended attributes.
//!
//! That is done when all ztocs are stored, one ztoc after the other, so that it takes no more memory than the largest
//! of them; and for an image that has its index already, so that it shows whether that is the one that would be
//! built. Each is fetched back from the store, a hundredth of its layer, and only where somebody has asked for what it
//! tells.
//!
//! Which files are prefetched says whoever starts the program, or the image itself, in a label of its
//! configuration: who builds an image knows what it reads first, and who runs the service does not.

use std::collections::{BTreeSet, HashMap};

use soci_manifest::format::PREFETCH_LABEL;
use soci_manifest::{
    BuiltZtoc, FilesOfLayer, IndexPlan, LayerKey, Plan, Prefetch, PrefetchFile, PrefetchSettings,
};
use soci_startup::RunConfig;

use crate::budget::Budget;
use crate::error::IndexError;
use crate::options::Options;
use crate::startup::startup_files;
use crate::store::ImageStore;
use crate::stored::{ZTOC_FACTOR, mebibytes, open_ztoc, read_blob};

/// Largest image configuration that is read for its label or its command, in bytes: containerd takes as much.
const MAX_CONFIG: u64 = 8 << 20;

/// Bytes of memory for each byte of a configuration while it is read: its own, and a list of empty words, or a table of
/// names of few letters. Of what it says little is kept.
const CONFIG_FACTOR: u64 = 24;

/// Most files that a label names. What is behind is left out.
const MAX_LABEL_FILES: usize = 1000;

/// What the ztocs of an image tell.
#[derive(Debug, Default)]
pub(crate) struct LookedInto {
    pub(crate) prefetch: Prefetch,
    /// The files that are prefetched.
    pub(crate) files: BTreeSet<String>,
    /// What was asked for and is not there.
    pub(crate) warnings: Vec<String>,
}

/// Looks into the ztocs of a plan's layers, if anything is asked for that they tell. Those in `ztocs` get their
/// [`BuiltZtoc::without_xattrs`]; `prefetch` stands in the place of the settings' own.
pub(crate) async fn look_into<S: ImageStore>(
    store: &S,
    plan: &Plan,
    ztocs: &mut HashMap<LayerKey, BuiltZtoc>,
    prefetch: &PrefetchSettings,
    options: &Options,
) -> Result<LookedInto, IndexError> {
    let mut looked = LookedInto::default();
    if !options.settings.optimize_xattrs && !prefetch.any() {
        return Ok(looked);
    }
    let (mut wanted, mut configs) = (HashMap::new(), HashMap::new());
    for index in plan.indexes() {
        let config =
            run_config(store, index, prefetch, &options.budget, &mut looked.warnings).await?;
        let files = named_files(config.as_ref(), prefetch, &mut looked.warnings);
        wanted.insert(index.image.digest, files);
        configs.extend(config.map(|config| (index.image.digest, config)));
    }
    let all: BTreeSet<&PrefetchFile> = wanted.values().flatten().collect();
    let all: Vec<PrefetchFile> = all.into_iter().cloned().collect();
    let mut found = HashMap::new();
    let layers = if options.settings.optimize_xattrs || !all.is_empty() {
        plan.layers_to_build()
    } else {
        Vec::new()
    };
    for layer in layers {
        let Some(ztoc) = ztocs.get_mut(&layer.key) else { continue };
        let digest = &layer.key.digest;
        let opened = open_ztoc(store, digest, *ztoc, &options.budget).await?;
        let Some((reader, _memory)) = opened else {
            looked.warnings.push(format!(
                "layer {digest} is not looked into for what to prefetch or to leave out: its ztoc takes {}, and there \
                 is {} for that; raise --memory or MEMORY_BUDGET",
                mebibytes(ztoc.size.saturating_mul(ZTOC_FACTOR)),
                mebibytes(options.budget.most_to_look_into()),
            ));
            continue;
        };
        if options.settings.optimize_xattrs {
            ztoc.without_xattrs = !reader.needs_xattrs();
        }
        found.insert(layer.key, FilesOfLayer::find(&reader, &all));
    }
    let mut missing: BTreeSet<&PrefetchFile> = all.iter().collect();
    for index in plan.indexes() {
        let files = wanted.get(&index.image.digest).into_iter().flatten();
        let mut spans = Vec::new();
        for file in files {
            if let Some(found) = index.spans_of(file, &found) {
                missing.remove(file);
                looked.files.insert(file.to_string());
                spans.push(found);
            }
        }
        let config = configs.get(&index.image.digest);
        if let Some(config) = config.filter(|_| prefetch.auto) {
            let needed = startup_files(store, index, ztocs, config, options).await?;
            spans.extend(needed.spans);
            looked.files.extend(needed.paths);
            looked.warnings.extend(needed.warning);
        }
        looked.prefetch.insert(index.image.digest, spans);
    }
    looked.warnings.extend(missing.into_iter().map(|file| {
        format!("{file} is not prefetched: no layer with a ztoc has an entry of exactly that name")
    }));
    Ok(looked)
}

/// How one platform of the image is run, if that has to be known and can be.
async fn run_config<S: ImageStore>(
    store: &S,
    index: &IndexPlan,
    prefetch: &PrefetchSettings,
    budget: &Budget,
    warnings: &mut Vec<String>,
) -> Result<Option<RunConfig>, IndexError> {
    let PrefetchSettings { files, label, auto } = prefetch;
    if !auto && (!label || !files.is_empty()) {
        return Ok(None);
    }
    let config = index.config();
    let needed = config.size.saturating_mul(CONFIG_FACTOR);
    if config.size > MAX_CONFIG || needed > budget.most_to_look_into() {
        warnings.push(format!(
            "the image's configuration of {} is too large to be read for its labels and its command",
            mebibytes(config.size)
        ));
        return Ok(None);
    }
    let _memory = budget.to_look_into(needed).await;
    match RunConfig::decode(&read_blob(store, &config.digest, config.size).await?, PREFETCH_LABEL) {
        Ok(config) => Ok(Some(config)),
        Err(error) => {
            warnings.push(format!("{error}, so its labels and its command are not heeded"));
            Ok(None)
        }
    }
}

/// The files that are named for one platform.
fn named_files(
    config: Option<&RunConfig>,
    prefetch: &PrefetchSettings,
    warnings: &mut Vec<String>,
) -> Vec<PrefetchFile> {
    let PrefetchSettings { files, label, .. } = prefetch;
    let Some(config) = config.filter(|_| *label && files.is_empty()) else { return files.clone() };
    files_of_label(config).unwrap_or_else(|reason| {
        warnings.push(format!("label {PREFETCH_LABEL} is not heeded: {reason}"));
        Vec::new()
    })
}

/// The files that the label of an image names, none without it.
fn files_of_label(config: &RunConfig) -> Result<Vec<PrefetchFile>, String> {
    let label = config.label.as_deref().unwrap_or_default().trim();
    if !label.starts_with('[') {
        return Ok(PrefetchFile::list(label.split(',').take(MAX_LABEL_FILES)));
    }
    let paths: Vec<Option<String>> =
        serde_json::from_str(label).map_err(|error| format!("it is no list of paths: {error}"))?;
    let paths = paths.iter().flatten().take(MAX_LABEL_FILES);
    Ok(PrefetchFile::list(paths.map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(value: &str) -> Result<Vec<PrefetchFile>, String> {
        files_of_label(&RunConfig { label: Some(value.to_owned()), ..RunConfig::default() })
    }

    #[test]
    fn a_label_names_files_with_commas_or_as_a_list() {
        let expected = ["/bin/app", "/etc/app.conf"].map(PrefetchFile::new).to_vec();
        assert_eq!(label("/bin/app, etc/app.conf"), Ok(expected.clone()));
        assert_eq!(label(r#" ["bin/app",null,"/etc/app.conf",""]"#), Ok(expected));
        assert_eq!(label(" "), Ok(Vec::new()));
        assert_eq!(files_of_label(&RunConfig::default()), Ok(Vec::new()));
        assert!(label("[1]").unwrap_err().contains("no list of paths"));
    }
}
