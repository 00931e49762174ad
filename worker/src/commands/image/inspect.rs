//! `inspect`: what there is of an image's index.
//!
//! How old an index is, nothing in it tells. ECR knows when a manifest was pushed, and is asked; other registries do not say.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use serde_json::{Value, json};
use soci_config::budget_of_this_process;
use soci_indexer::{
    Budget, InspectedIndex, InspectedLayer, InspectedManifest, Inspection, Options, OutputTag,
    ZtocRead, inspect_image,
};
use soci_manifest::LayerDecision;
use soci_manifest::format::{DEFAULT_BUILD_TOOL_IDENTIFIER, DEFAULT_MIN_LAYER_SIZE};
use soci_oci::{Digest, Platform, Repository};
use soci_text::{clip, size};

use super::location::Location;
use super::place::OpenImage;
use super::{block_on, client, locate, login_to, unless_stopped};
use crate::cli::InspectArgs;
use crate::report::Column::{Number, Text};
use crate::report::{self, Failure, NothingToIndex, table};

/// What was found, and when manifests of it were pushed, in the form of RFC 3339, as far as it is known.
struct Found {
    inspection: Inspection,
    repository: Option<Repository>,
    pushed: HashMap<Digest, String>,
}

pub(crate) fn inspect(args: &InspectArgs) -> ExitCode {
    let location = locate(&args.image);
    let result = block_on(unless_stopped(look(args, location)));
    let printed = match &result {
        _ if args.json => report::line(json(&args.image, result.as_ref())),
        Ok(found) => report::text(text(&args.image, found)),
        Err(_) => Ok(()),
    };
    if let Err(failure) = &result {
        report::complain(format_args!("{}: {}", args.image, failure.detail));
        return ExitCode::from(failure.exit);
    }
    report::printed(printed)
}

async fn look(args: &InspectArgs, location: Location) -> Result<Found, Failure> {
    let registry = match &location {
        Location::Registry(reference) => Some(reference.repository.registry()),
        Location::Layout { .. } => None,
    };
    let credentials = login_to(&args.connection, &args.login, registry);
    let client = match registry {
        Some(_) => Some(client(&args.connection, credentials)?),
        None => None,
    };
    let OpenImage { store, name, repository } = OpenImage::open(location, client.as_ref()).await?;
    let options = Options {
        output: match (&args.output_tag, &args.tag_suffix) {
            (Some(tag), _) => OutputTag::Tag(tag.clone()),
            (None, Some(suffix)) => OutputTag::Suffix(suffix.clone()),
            (None, None) => Options::default().output,
        },
        budget: Budget::new(NonZeroUsize::MIN, budget_of_this_process(None)),
        ..Options::default()
    };
    let inspection = Box::pin(inspect_image(&store, &name, &options)).await;
    let inspection = inspection.map_err(|error| Failure::of_image(&error, &name))?;
    let pushed = match &repository {
        Some(repository) => pushed(args, repository, &inspection).await,
        None => HashMap::new(),
    };
    Ok(Found { inspection, repository, pushed })
}

/// When the image and what belongs to it were pushed, where that can be known. It is told beside what was asked for, so that
/// it cannot be had is no failure.
#[cfg(feature = "aws")]
async fn pushed(
    args: &InspectArgs,
    repository: &Repository,
    inspection: &Inspection,
) -> HashMap<Digest, String> {
    let tls = super::connection::tls_options(&args.connection);
    let Some(ecr) = soci_aws::ecr::EcrRepository::open(repository, tls).await else {
        return HashMap::new();
    };
    let indexes = inspection.manifests.iter().flat_map(|manifest| &manifest.indexes);
    let converted = inspection.converted.iter().chain(&inspection.of_another);
    let mut digests = vec![inspection.image];
    digests.extend(converted.map(|converted| converted.digest));
    digests.extend(indexes.map(|index| index.digest));
    digests.sort();
    digests.dedup();
    digests.truncate(100);
    let described = ecr.described(&digests).await.unwrap_or_default();
    let pushed = described.into_iter();
    pushed.filter_map(|image| Some((image.digest, image.pushed_at?.to_string()))).collect()
}

#[cfg(not(feature = "aws"))]
async fn pushed(_: &InspectArgs, _: &Repository, _: &Inspection) -> HashMap<Digest, String> {
    HashMap::new()
}

/// In one word whether an image is indexed.
pub(super) fn outcome(inspection: &Inspection) -> &'static str {
    match inspection {
        found if found.nothing.is_some() => "nothing-to-index",
        found if found.broken().is_some() => "broken",
        found if found.is_complete() => "indexed",
        found if found.is_indexed() => "partly-indexed",
        _ => "not-indexed",
    }
}

/// Why an image gets no index, or is not as it should be: a code, and the same for people.
pub(super) fn why(found: &Inspection) -> Option<(&'static str, String)> {
    if let Some(reason) = found.nothing.clone() {
        let detail = reason.to_string();
        return Some((NothingToIndex { image: found.image, reason }.code(), detail));
    }
    let broken = found.broken()?;
    let detail = if found.lacks_layers() {
        let named = found.missing_layers().iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("layers are not there: {}", named.join(", "))
    } else {
        "a ztoc is not there or not what it should be".to_owned()
    };
    Some((broken, detail))
}

fn json(image: &str, result: Result<&Found, &Failure>) -> Value {
    let why = match result {
        Ok(found) => why(&found.inspection),
        Err(failure) => Some((failure.code, failure.detail.clone())),
    };
    let found = result.ok();
    let inspection = found.map(|found| &found.inspection);
    let pushed = |digest: &Digest| found.and_then(|found| found.pushed.get(digest));
    let converted = |converted: Option<&soci_indexer::ConvertedImage>| {
        converted.map(|converted| {
            json!({
                "tag": converted.tag.as_ref().map(ToString::to_string),
                "digest": converted.digest.to_string(),
                "pushed_at": pushed(&converted.digest),
            })
        })
    };
    json!({
        "outcome": inspection.map_or("failed", outcome),
        "reason": why.as_ref().map(|(code, _)| *code),
        "detail": why.map(|(_, detail)| detail),
        "image": image,
        "image_digest": inspection.map(|found| found.image.to_string()),
        "media_type": inspection.map(|found| found.media_type.as_str()),
        "pushed_at": inspection.and_then(|found| pushed(&found.image)),
        "converted": converted(inspection.and_then(|found| found.converted.as_ref())),
        "tag_of_another_image": converted(inspection.and_then(|found| found.of_another.as_ref())),
        "manifests": inspection.map_or(&[][..], |found| &found.manifests).iter().map(|manifest| json!({
            "platform": manifest.platform.as_ref().map(ToString::to_string),
            "digest": manifest.digest.to_string(),
            "indexes": manifest.indexes.iter().map(|index| index_json(index, pushed(&index.digest))).collect::<Vec<_>>(),
            "layers": manifest.layers.iter().map(|layer| {
                // What an index has of it stands there.
                let why_not = layer.why_not.filter(|_| manifest.indexes.is_empty());
                json!({
                    "digest": layer.digest.to_string(),
                    "size": layer.size,
                    "missing": layer.missing,
                    "code": why_not.map(LayerDecision::code),
                    "why_no_ztoc": why_not.and_then(|_| why_no_ztoc(layer)),
                })
            }).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "left_out_platforms": inspection.map_or(&[][..], |found| &found.left_out).iter().map(|left_out| json!({
            "platform": left_out.platform.as_ref().map(ToString::to_string),
            "image_manifest": left_out.image.map(|image| image.to_string()),
            "reason": left_out.reason,
            "code": left_out.code,
        })).collect::<Vec<_>>(),
        "warnings": inspection.map_or(&[][..], |found| &found.warnings),
    })
}

fn index_json(index: &InspectedIndex, pushed: Option<&String>) -> Value {
    json!({
        "digest": index.digest.to_string(),
        "version": index.version.to_string(),
        "build_tool_identifier": index.build_tool,
        "compatible_with": index.generation.to_string(),
        "pushed_at": pushed,
        "layers": index.layers.iter().map(layer_json).collect::<Vec<_>>(),
    })
}

fn layer_json(layer: &InspectedLayer) -> Value {
    let ztoc = layer.ztoc.as_ref();
    let counts = match ztoc.map(|ztoc| ztoc.read) {
        Some(ZtocRead::Read { spans, files }) => Some((spans, files)),
        _ => None,
    };
    json!({
        "digest": layer.digest.to_string(),
        "size": layer.size,
        "missing": layer.missing,
        "ztoc": ztoc.map(|ztoc| ztoc.digest.to_string()),
        "ztoc_size": ztoc.map(|ztoc| ztoc.size),
        "ztoc_broken": ztoc.map(|ztoc| ztoc.read == ZtocRead::Broken),
        "spans": counts.map(|(spans, _)| spans),
        "files": counts.map(|(_, files)| files),
        "span_size": ztoc.and_then(|ztoc| ztoc.span_size),
        "prefetched_spans": ztoc.and_then(|ztoc| ztoc.prefetched_spans),
        "without_xattrs": ztoc.map(|ztoc| ztoc.without_xattrs),
        "code": layer.why_not.map(LayerDecision::code),
        "why_no_ztoc": why_no_ztoc(layer),
    })
}

/// Why a layer has no ztoc.
fn why_no_ztoc(layer: &InspectedLayer) -> Option<String> {
    match (&layer.ztoc, layer.why_not) {
        (Some(_), _) => None,
        // What the minimum was nothing tells.
        (None, Some(LayerDecision::TooSmall)) => {
            Some(format!("smaller than the usual minimum, {}", size(DEFAULT_MIN_LAYER_SIZE)))
        }
        (None, Some(why_not)) => Some(why_not.to_string()),
        (None, None) => Some("the index does not say why".to_owned()),
    }
}

fn text(image: &str, found: &Found) -> String {
    let inspection = &found.inspection;
    let words = match outcome(inspection) {
        "nothing-to-index" => "gets no index",
        "broken" if inspection.lacks_layers() => "cannot be started: a layer is missing",
        "broken" => "has a broken index: `verify` says what is wrong with it",
        "indexed" => "is indexed",
        "partly-indexed" => "is indexed in part",
        _ => "is not indexed",
    };
    let mut text = format!("{image} {words}\n");
    if let Some(reason) = &inspection.nothing {
        let _ = writeln!(text, "  {reason}");
    }
    let named = |digest: &Digest| match &found.repository {
        Some(repository) => format!("{repository}@{digest}"),
        None => digest.to_string(),
    };
    let pushed = |digest: &Digest| match found.pushed.get(digest) {
        Some(time) => format!(", pushed {time}"),
        None => String::new(),
    };
    let image_digest = &inspection.image;
    let _ = writeln!(text, "  image            {}{}", named(image_digest), pushed(image_digest));
    if let Some(converted) = &inspection.converted
        && converted.digest != *image_digest
    {
        let digest = &converted.digest;
        let tag = converted.tag.as_ref().map_or(String::new(), |tag| format!(", tag {tag}"));
        let _ = writeln!(text, "  converted image  {}{tag}{}", named(digest), pushed(digest));
    }
    if let Some(other) = &inspection.of_another {
        let tag = other.tag.as_ref().map_or(String::new(), |tag| format!("tag {tag} "));
        let _ = writeln!(text, "  {tag}names {}, which is not made of this image", other.digest);
    }
    // Mostly all are built alike, and then that is said once.
    let mut built: Vec<String> =
        inspection.manifests.iter().flat_map(|m| &m.indexes).map(builder).collect();
    built.dedup();
    if let [built] = &built[..] {
        let _ = writeln!(text, "  built by         {built}");
    }
    for manifest in &inspection.manifests {
        manifest_text(&mut text, manifest, image_digest, built.len() > 1, &pushed);
    }
    for manifest in &inspection.manifests {
        for layer in manifest.layers.iter().filter(|layer| layer.missing == Some(true)) {
            let of = platform(manifest.platform.as_ref());
            let _ = writeln!(text, "  {of:<16} layer {} is not there", layer.digest);
        }
    }
    for left_out in &inspection.left_out {
        let platform = platform(left_out.platform.as_ref());
        let _ = writeln!(text, "  {platform:<16} left out: {}", left_out.reason);
    }
    for warning in &inspection.warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
    if inspection.is_indexed() && found.pushed.is_empty() {
        text.push_str("  how old the index is, nothing here tells\n");
    }
    text
}

fn manifest_text(
    text: &mut String,
    manifest: &InspectedManifest,
    image: &Digest,
    tells_builder: bool,
    pushed: &impl Fn(&Digest) -> String,
) {
    let platform = platform(manifest.platform.as_ref());
    // An image of one platform may be its manifest.
    let digest = match manifest.digest {
        digest if digest == *image => String::new(),
        digest => format!(" manifest {digest}"),
    };
    let _ = writeln!(text, "{}", format!("  {platform:<16}{digest}").trim_end());
    let mut told: Option<&[InspectedLayer]> = None;
    for index in &manifest.indexes {
        let (digest, version) = (&index.digest, index.version);
        let _ = writeln!(text, "    SOCI index {version} {digest}{}", pushed(digest));
        if tells_builder {
            let _ = writeln!(text, "    built by {}", builder(index));
        }
        if told == Some(&index.layers) {
            text.push_str("    with the same ztocs\n");
        } else {
            text.push_str(&layers(&index.layers, true));
            told = Some(&index.layers);
        }
    }
    if manifest.indexes.is_empty() {
        text.push_str("    no SOCI index\n");
        text.push_str(&layers(&manifest.layers, false));
    }
}

/// Who built an index and for whom, as far as it says. soci-snapshotter and this program give the same bytes by the same name.
fn builder(index: &InspectedIndex) -> String {
    let name = match index.build_tool.as_deref() {
        Some(DEFAULT_BUILD_TOOL_IDENTIFIER) => {
            format!("{DEFAULT_BUILD_TOOL_IDENTIFIER:?} (soci-snapshotter or this program)")
        }
        Some(name) => format!("{:?}", clip(name)),
        None => "somebody who gives no name".to_owned(),
    };
    format!("{name}, for soci-snapshotter {} and later", index.generation)
}

/// The layers that have a ztoc, or may get one, as a table, and the others with why not.
fn layers(layers: &[InspectedLayer], indexed: bool) -> String {
    let (listed, others): (Vec<_>, Vec<_>) = layers
        .iter()
        .partition(|layer| layer.ztoc.is_some() || !indexed && layer.why_not.is_none());
    let rows = listed.iter().map(|layer| {
        let ztoc = layer.ztoc.as_ref();
        let (spans, files) = match ztoc.map(|ztoc| ztoc.read) {
            Some(ZtocRead::Read { spans, files }) => (spans.to_string(), files.to_string()),
            Some(ZtocRead::Broken) => ("broken".to_owned(), "broken".to_owned()),
            Some(ZtocRead::NotRead) => ("not read".to_owned(), "not read".to_owned()),
            None => (String::new(), String::new()),
        };
        let prefetched = ztoc.and_then(|ztoc| ztoc.prefetched_spans);
        [
            layer.digest.short(),
            size(layer.size),
            ztoc.map_or_else(|| "none".to_owned(), |ztoc| ztoc.digest.short()),
            ztoc.map_or_else(String::new, |ztoc| size(ztoc.size)),
            ztoc.and_then(|ztoc| ztoc.span_size).map_or_else(String::new, size),
            spans,
            files,
            prefetched.map_or_else(String::new, |spans| spans.to_string()),
        ]
    });
    let head = [
        Text("layer"),
        Number("size"),
        Text("ztoc"),
        Number("ztoc size"),
        Number("span size"),
        Number("spans"),
        Number("files"),
        Number("prefetched"),
    ];
    let mut text = String::new();
    if !listed.is_empty() {
        for line in table(head, rows).lines() {
            let _ = writeln!(text, "  {}", line.trim_end());
        }
    }
    for layer in others {
        if let Some(why_not) = why_no_ztoc(layer) {
            let (digest, size) = (layer.digest.short(), size(layer.size));
            let _ = writeln!(text, "    {digest}  {size}  no ztoc: {why_not}");
        }
    }
    text
}

fn platform(platform: Option<&Platform>) -> String {
    platform.map_or_else(|| "-".to_owned(), ToString::to_string)
}
