//! Indexes one image, from its name to the pushed result. One turn:
//!
//! 1. The image's documents are fetched (`gather.rs`), and the plan says which layers get a ztoc, or why
//!    none does.
//! 2. A result that is there already is looked for (`existing.rs`). If it is found, no layer is read but for its last bytes, and
//!    at most its tag is written.
//! 3. Otherwise each layer is a task, the largest first. Its ztoc is stored as soon as it is built, so that
//!    none is held until the last layer is done.
//! 4. The manifests are assembled and written, the tag last (`publish.rs`). Then it is looked whether the
//!    result is there, and, where the image's tag is followed, whether that still names the image
//!    (`source_tag.rs`).
//!
//! The turn is taken again, [`MAX_TURNS`] times in all, where what is left would be wrong otherwise: for the
//! image that the tag names by now, if the tag of the result names what was made of an older one; and with
//! every blob sent again, if the store lacks one that it said it had.
//!
//! An image index that lists what is not there goes on listing it, as in the reference, whose user may have it elsewhere. A
//! registry that refuses such an index gets one without these entries.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use soci_manifest::{
    Assembly, BuiltZtoc, Generation, Image, ImageError, LayerToBuild, Plan, Planned, SkipReason,
    Version,
};
use soci_oci::{Digest, Tag, TagOrDigest, referrers};
use soci_registry::VerifiedManifest;

use crate::error::{IndexError, StoreError};
use crate::event::ImageEvent;
use crate::existing::{self, FindError, Found, Looked};
use crate::gather::{Gathered, gather};
use crate::layers::{LayersRead, Purpose, offers};
use crate::options::{ImageName, Options};
use crate::output_tag::OutputTag;
use crate::pipeline::ReadOn;
use crate::prefetch::{LookedInto, look_into};
use crate::publish::{Sending, publish};
use crate::report::Report;
use crate::reuse::Offers;
use crate::source_tag::SourceTag;
use crate::store::ImageStore;

/// How often an image is indexed because its tag has moved on meanwhile, or something that the
/// store was said to have is missing. Each time but one takes another push at the wrong moment.
const MAX_TURNS: usize = 16;

/// How many manifests a warning names.
const MOST_NAMED: usize = 5;

/// Builds the SOCI index of an image and writes it to the image's store. Doing it again does
/// nothing and gives the same result. [`IndexError::Nothing`] says that the image needs no index.
///
/// Where the image's tag is followed, the report may be that of a later image: see `source_tag.rs`.
pub async fn index_image<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
) -> Result<Report, IndexError> {
    if options.settings.prefetch.any() && options.settings.generation == Generation::Older {
        return Err(IndexError::PrefetchForOlder);
    }
    // A ztoc has 63 bits for it.
    if i64::try_from(options.settings.span_size).is_err() {
        return Err(IndexError::SpanSize(options.settings.span_size));
    }
    let mut name = name.clone();
    let mut sending = if options.force { Sending::ReadBack } else { Sending::IfMissing };
    // Whether the tag of the result may name what this call has written of an older image.
    let mut left_older = false;
    for _ in 1..MAX_TURNS {
        // Boxed, as it is large and stands here twice.
        let error = match Box::pin(index_once(store, &name, options, sending)).await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        match &error {
            IndexError::Overtaken { now, .. } => {
                left_older = true;
                name.target = TagOrDigest::Digest(*now);
            }
            // The job of the later image makes its result. But where the tag of the result names an older
            // one, that job may be over already, and nobody else would notice.
            IndexError::Superseded { now, .. }
                if left_older || names_older_result(store, &name, options).await? =>
            {
                left_older = true;
                name.target = TagOrDigest::Digest(*now);
            }
            IndexError::Write { source, .. }
                if source.is_missing_content() && sending != Sending::Again =>
            {
                sending = Sending::Again;
            }
            _ => return Err(error),
        }
        tracing::info!(reason = %error, image = %name.target, "indexing again");
    }
    match Box::pin(index_once(store, &name, options, sending)).await {
        // No end for this job, as something older is left.
        Err(IndexError::Superseded { tag, image, now }) if left_older => {
            Err(IndexError::Overtaken { tag, image, now })
        }
        result => result,
    }
}

async fn index_once<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
    sending: Sending,
) -> Result<Report, IndexError> {
    let started = Instant::now();
    let source = SourceTag::of(name, options);
    // What documents take is held until the image is done.
    let Gathered { root, image, memory: _memory } = gather(store, name, source, options).await?;
    let plan = match image.plan(&options.settings, &options.platforms)? {
        Planned::Build(plan) => plan,
        Planned::Skip(reason) => return Err(IndexError::Nothing { image: root.digest, reason }),
    };
    let tag = match plan.version() {
        Version::V1 => None,
        Version::V2 => {
            let tag = output_tag(name, root.digest, &options.output)?;
            // Under such a tag clients look for the referrers of an image and would find the result.
            if referrers::is_tag(tag.as_str()) {
                return Err(IndexError::ReservedTag { tag });
            }
            Some(tag)
        }
    };
    let absent = absent_entries(&image, &plan);
    let report =
        |plan: &Plan, assembly: &Assembly, layers: LayersRead, looked: LookedInto| Report {
            already_there: true,
            image: root.digest,
            version: plan.version(),
            index: assembly.root.digest,
            indexes: assembly.indexes.clone(),
            tag: tag.clone(),
            bytes_read: layers.bytes,
            layers: layers.built.into_iter().map(|(_, layer)| layer).collect(),
            reused: layers.reused.into_iter().map(|(_, layer)| layer).collect(),
            skipped: plan.skipped_layers(),
            left_out_platforms: plan.left_out_platforms().to_vec(),
            prefetch: assembly.prefetch.clone(),
            prefetch_files: looked.files.into_iter().collect(),
            warnings: absent.iter().cloned().chain(looked.warnings).collect(),
            elapsed: started.elapsed(),
        };
    let target = ResultTarget { store, tag: tag.as_ref(), source };

    // What is sent again is built again.
    let build_all = options.force || sending == Sending::Again;
    let documents = image.supplied_bytes();
    let (found, named) = if build_all {
        (None, HashMap::new())
    } else {
        look_for_result(store, &plan, &root, documents, tag.as_ref(), options).await?
    };
    let mut layers = LayersRead::default();
    let may_be_missing = plan.may_leave_out_platforms();
    // Whether a result without some layers is right shows when these have been begun.
    let found = match found {
        Some(mut found) if !found.left_out.is_empty() => {
            tell_plan(&plan, options);
            let left_out = std::mem::take(&mut found.left_out);
            let purpose = Purpose { sending, read_on: ReadOn::No, may_be_missing };
            layers.build(store, left_out, options, &Offers::nothing(), purpose).await?;
            (layers.built.is_empty() && layers.missing.is_empty()).then_some(found)
        }
        found => found,
    };
    if let Some(Found { assembly, looked, missing, .. }) = found {
        layers.missing = missing;
        let plan = without(plan, &mut layers, root.digest)?;
        let report = report(&plan, &assembly, layers, looked);
        if assembly.root.digest == root.digest && options.output.is_of_result(name.tag.as_ref()) {
            // The result of an earlier run was given as the image.
            return Ok(Report { tag: name.tag.clone(), ..report });
        }
        // The manifests are there; only the tag may not be, on an image that was converted before.
        if let Some(source) = source.filter(|source| source.is_replaced()) {
            source.built(store, assembly.root.digest).await?;
        }
        let written = target.write(assembly, sending, &report).await?;
        return Ok(Report { already_there: !written, elapsed: started.elapsed(), ..report });
    }

    if layers.is_empty() {
        tell_plan(&plan, options);
    }
    let rest: Vec<LayerToBuild> =
        plan.layers_to_build().into_iter().filter(|layer| !layers.has(&layer.key)).collect();
    let offers = if build_all {
        Offers::nothing()
    } else {
        let near = if plan.version() == Version::V1 { name.tag.as_ref() } else { tag.as_ref() };
        offers(store, &plan, &rest, near, (named, documents), options).await
    };
    let purpose = Purpose { sending, read_on: ReadOn::ToTheEnd, may_be_missing };
    layers.build(store, rest, options, &offers, purpose).await?;
    let plan = without(plan, &mut layers, root.digest)?;
    layers.sort_as(&plan);
    let mut ztocs = layers.ztocs();
    let mut looked =
        look_into(store, &plan, &mut ztocs, &options.settings.prefetch, options).await?;
    let prefetch = std::mem::take(&mut looked.prefetch);
    let assembly = plan.assemble(&ztocs, &prefetch)?;
    let wrote_ztoc = layers.wrote;
    let reduce = |lacking: &HashSet<Digest>| {
        let reduced = plan.without_absent(lacking);
        reduced.map(|plan| plan.assemble(&ztocs, &prefetch)).transpose()
    };
    let report = report(&plan, &assembly, layers, looked);
    let (written, report) = target.write_built(assembly, reduce, sending, report).await?;
    // What was built on purpose counts as made, be it equal to what was there. So does a result of which a ztoc was lost.
    let already_there = !(written || wrote_ztoc || options.force);
    Ok(Report { already_there, elapsed: started.elapsed(), ..report })
}

/// Where a result goes.
struct ResultTarget<'a, S> {
    store: &'a S,
    tag: Option<&'a Tag>,
    /// The image's own tag, if the result goes by it.
    source: Option<SourceTag<'a>>,
}

impl<S: ImageStore> ResultTarget<'_, S> {
    /// Writes a result that was built, or the one without what is not there if the store refuses it for that.
    async fn write_built(
        &self,
        assembly: Assembly,
        reduce: impl FnOnce(&HashSet<Digest>) -> Result<Option<Assembly>, ImageError>,
        sending: Sending,
        mut report: Report,
    ) -> Result<(bool, Report), IndexError> {
        self.built(&assembly).await?;
        let error = match self.write(assembly, sending, &report).await {
            Ok(written) => return Ok((written, report)),
            Err(error) => error,
        };
        let refused =
            matches!(&error, IndexError::Write { source, .. } if source.is_missing_content());
        let reduced = if refused { reduce(&self.store.lacking())? } else { None };
        let Some(reduced) = reduced else { return Err(error) };
        report.take_assembly(&reduced);
        self.built(&reduced).await?;
        Ok((self.write(reduced, sending, &report).await?, report))
    }

    async fn built(&self, assembly: &Assembly) -> Result<(), IndexError> {
        match self.source {
            Some(source) => source.built(self.store, assembly.root.digest).await,
            None => Ok(()),
        }
    }

    /// Writes a result, and makes sure that it is there and belongs there. True if anything had to be
    /// written.
    async fn write(
        &self,
        assembly: Assembly,
        sending: Sending,
        report: &Report,
    ) -> Result<bool, IndexError> {
        let Self { store, tag, source } = *self;
        let result = assembly.root.digest;
        let condition = source.map(|source| source.condition(result));
        let written = match publish(store, assembly, tag, condition.as_ref(), sending).await {
            Ok(written) => written,
            Err(error) => return Err(moved(error, source)),
        };
        // What was built and not written, as somebody else had been faster, is there by the store's word
        // alone. What was found has been read.
        let built = !report.layers.is_empty() || !report.reused.is_empty();
        let stored = if written || built { self.look_whether_stored(report).await } else { Ok(()) };
        // If something else is there, that may be the result of a later push.
        if let Some(source) = source {
            source.after(store, result).await?;
        }
        stored.map(|()| written)
    }

    /// Makes sure that a result is there: what its tag names, or without one each SOCI index.
    async fn look_whether_stored(&self, report: &Report) -> Result<(), IndexError> {
        if let Some(tag) = self.tag {
            let found = self.store.tagged(tag).await;
            return stored(TagOrDigest::Tag(tag.clone()), report.index, found);
        }
        for index in &report.indexes {
            let target = TagOrDigest::Digest(index.digest);
            let found = self.store.manifest(&target).await;
            stored(target, index.digest, found.map(|found| found.map(|found| found.digest)))?;
        }
        Ok(())
    }
}

/// An error if what was found under `target` is not `expected`.
fn stored(
    target: TagOrDigest,
    expected: Digest,
    found: Result<Option<Digest>, StoreError>,
) -> Result<(), IndexError> {
    match found {
        Ok(Some(found)) if found == expected => Ok(()),
        Ok(found) => Err(IndexError::NotStored { target, found }),
        Err(source) => Err(IndexError::Read { target, source }),
    }
}

/// The error of a write that was not made because the image's tag had moved is that of the tag.
fn moved(error: IndexError, source: Option<SourceTag<'_>>) -> IndexError {
    match (&error, source) {
        (
            IndexError::Write {
                source: StoreError::Registry(soci_registry::Error::TagMoved { now, .. }),
                ..
            },
            Some(source),
        ) => source.moved(*now),
        _ => error,
    }
}

/// Whether the tag of the result names the result of this image, whose own tag names a later one: what a process that
/// ended too early has left.
async fn names_older_result<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
) -> Result<bool, IndexError> {
    match find_older_result(store, name, options).await {
        Ok(found) => Ok(found),
        Err(error) if error.is_transient() => Err(error),
        // Of an image that is gone or broken there is no result.
        Err(_) => Ok(false),
    }
}

async fn find_older_result<S: ImageStore>(
    store: &S,
    name: &ImageName,
    options: &Options,
) -> Result<bool, IndexError> {
    let Gathered { root, image, memory: _memory } = gather(store, name, None, options).await?;
    let Planned::Build(plan) = image.plan(&options.settings, &options.platforms)? else {
        return Ok(false);
    };
    let target = TagOrDigest::Tag(output_tag(name, root.digest, &options.output)?);
    let failed = |source| IndexError::Read { target: target.clone(), source };
    let (_memory, limit) = options.budget.result_documents(image.supplied_bytes()).await;
    let tagged = within(store.manifest_within(&target, limit).await).map_err(failed)?;
    let Some(tagged) = tagged else { return Ok(false) };
    let roots = [(tagged.digest, &tagged.bytes[..])];
    let found = existing::find(store, &plan, options, &roots, None, limit).await;
    let (found, _) = found.map_err(|error| not_told(error, failed))?;
    Ok(matches!(found, Looked::Found(_)))
}

/// The tag that the converted image gets.
pub(crate) fn output_tag(
    name: &ImageName,
    digest: Digest,
    output: &OutputTag,
) -> Result<Tag, IndexError> {
    let suffix = match output {
        OutputTag::Tag(tag) => return Ok(tag.clone()),
        OutputTag::Suffix(suffix) => suffix,
    };
    let text = match &name.tag {
        Some(tag) => format!("{tag}{suffix}"),
        None => format!("{}-{}{suffix}", digest.algorithm().as_str(), digest.hex()),
    };
    text.parse().map_err(|source| IndexError::OutputTag { text, source })
}

/// What the store gave under a tag. A document that is longer than any result could be is not looked at.
pub(crate) fn within(
    found: Result<Option<VerifiedManifest>, StoreError>,
) -> Result<Option<VerifiedManifest>, StoreError> {
    match found {
        Err(error) if error.is_too_large() => Ok(None),
        found => found,
    }
}

/// The result, if the store holds it already, and the ztocs that SOCI indexes of the image name. `documents` is how
/// many bytes the image's own have.
pub(crate) async fn look_for_result<S: ImageStore>(
    store: &S,
    plan: &Plan,
    root: &VerifiedManifest,
    documents: u64,
    tag: Option<&Tag>,
    options: &Options,
) -> Result<(Option<Found>, HashMap<Digest, BuiltZtoc>), IndexError> {
    let (_memory, limit) = options.budget.result_documents(documents).await;
    let tagged = match tag {
        Some(tag) => {
            let target = TagOrDigest::Tag(tag.clone());
            let tagged = within(store.manifest_within(&target, limit).await);
            tagged.map_err(|source| IndexError::Read { target, source })?
        }
        None => None,
    };
    let known = match options.known_result {
        Some(known) if tag.is_some() && tagged.as_ref().is_none_or(|t| t.digest != known) => {
            let target = TagOrDigest::Digest(known);
            let known = existing::usable(store.manifest_within(&target, limit).await);
            known.map_err(|source| IndexError::Read { target, source })?.flatten()
        }
        _ => None,
    };
    let roots: Vec<(Digest, &[u8])> = tagged
        .iter()
        .chain(&known)
        .chain([root])
        .map(|root| (root.digest, &root.bytes[..]))
        .collect();
    let replaced = tagged.as_ref().map(|tagged| &tagged.bytes[..]);
    let found = existing::find(store, plan, options, &roots, replaced, limit).await;
    let failed = |source| IndexError::Read { target: TagOrDigest::Digest(root.digest), source };
    let (found, named) = found.map_err(|error| not_told(error, failed))?;
    match (found, tag) {
        (Looked::Found(found), _) => Ok((Some(*found), named)),
        (Looked::Prefetch, Some(tag)) => {
            let reason = SkipReason::PrefetchKept { tag: tag.clone() };
            Err(IndexError::Nothing { image: root.digest, reason })
        }
        // Without a tag nothing is replaced.
        (Looked::Prefetch, None) | (Looked::Nothing, _) => Ok((None, named)),
    }
}

fn not_told(error: FindError, failed: impl FnOnce(StoreError) -> IndexError) -> IndexError {
    match error {
        FindError::Store(source) => failed(source),
        FindError::Index(error) => error,
    }
}

/// Says what will be read, if no layer turns out to have several members.
fn tell_plan(plan: &Plan, options: &Options) {
    let layers = plan.layers_to_build();
    let bytes = layers.iter().map(|layer| layer.size).sum();
    (options.on_event)(&ImageEvent::Planned { layers: layers.len(), bytes });
}

/// The plan without the layers that were left out when they were read, and without the platforms whose layers are not
/// there.
fn without(
    plan: Box<Plan>,
    layers: &mut LayersRead,
    image: Digest,
) -> Result<Box<Plan>, IndexError> {
    // With no platform left, the image fails as it does with one.
    let first = layers.first_missing.take();
    let plan = if layers.missing.is_empty() {
        plan
    } else {
        match plan.without_missing(&layers.missing) {
            Some(plan) => plan,
            None => return Err(first.unwrap_or_else(|| ImageError::NothingPlanned.into())),
        }
    };
    match (plan.leave_out(&layers.left_out)?, first) {
        (Planned::Build(plan), _) => Ok(plan),
        // What is not there may have had a layer to index.
        (Planned::Skip(_), Some(missing)) => Err(missing),
        (Planned::Skip(reason), None) => Err(IndexError::Nothing { image, reason }),
    }
}

/// What is said of entries of the image index that are not there and were not to be indexed.
fn absent_entries(image: &Image, plan: &Plan) -> Option<String> {
    let told = |digest: &Digest| {
        plan.left_out_platforms().iter().any(|left_out| left_out.image == Some(*digest))
    };
    let entries: Vec<String> = image
        .absent_entries()
        .filter(|entry| !told(&entry.digest))
        .map(|entry| match &entry.platform {
            Some(platform) => format!("{} ({platform})", entry.digest),
            None => entry.digest.to_string(),
        })
        .collect();
    (!entries.is_empty()).then(|| {
        let listed = entries.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = entries.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("the image index lists what is not there, which is left as it is: {listed}{more}")
    })
}
