//! `index`: builds the SOCI indexes of images, one image after the other, as each takes all cores and the memory that there
//! is. They share connections, logins and what was found out about layers.
//!
//! An image that fails keeps no other from being indexed, and the exit code is the highest of all. A signal, and the end
//! of the time, fail the image in hand and those that were not begun.

mod forecast;
mod images;
mod work;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use soci_indexer::{
    ImageEvent, IndexError, Options, OutputPlace, OutputTag, Reason, Report, Reuse, ReuseScope,
    index_image, index_image_to,
};
use soci_manifest::{Generation, PrefetchFile, PrefetchSettings, SociIndexSettings};
use soci_registry::Client;
use soci_text::error_chain;

use super::location::{Location, OutputLocation};
use super::place::{OpenImage, OpenOutput, finish as finish_store};
use super::{budget, locate_output, login_to};
use crate::cli::{IndexArgs, Optimization, PrefetchArgs};
use crate::commands::connection;
use crate::process;
use crate::progress::{Doing, Progress, RetryNotes, Shown};
use crate::report::{self, Failure, IndexResult};
use crate::usage::usage;
use images::{Wanted, collision, wanted};
use work::{Work, ended};

pub(crate) fn index(args: &IndexArgs) -> ExitCode {
    // Before either is read.
    if args.login.password_stdin
        && args.from_file.as_deref().is_some_and(|file| file.as_os_str() == "-")
    {
        usage("--password-stdin and --from-file - cannot both read standard input");
    }
    let output = args.output.as_deref().map(|output| locate_output("--output", output));
    let images = wanted(&args.images, args.from_file.as_deref(), output.as_ref());
    let images = images.unwrap_or_else(|mistake| usage(mistake));
    if let [Wanted { text, location: Err(mistake) }] = &images[..]
        && !args.told.json
    {
        usage(format!("{text:?}: {mistake}"));
    }
    let settings = settings(args, output.as_ref());
    if let Some((earlier, later)) =
        collision(&images, output.as_ref(), args.result.index_version, &settings.output)
    {
        usage(format!(
            "{earlier} and {later} would have results of the same name in the same place: give each a call of its own"
        ));
    }
    let shown = match &args.told {
        told if told.quiet => Shown::Nothing,
        told if told.verbose => Shown::BesideLog,
        _ => Shown::Progress,
    };
    let progress = Arc::new(Progress::new(shown, Doing::Index));
    let retries = Arc::new(progress.retries());
    let client = client(args, &images, output.as_ref(), &retries);
    let bytes_read = Arc::new(AtomicU64::new(0));
    let options = Options {
        on_event: {
            let (progress, bytes_read) = (Arc::clone(&progress), Arc::clone(&bytes_read));
            Arc::new(move |event| {
                if let ImageEvent::LayerRead { bytes, .. } = event {
                    bytes_read.fetch_add(*bytes, Ordering::Relaxed);
                }
                progress.show(event);
            })
        },
        ..settings
    };
    let work = Work { args, output, client, options, progress, retries, bytes_read };
    let ran = if args.dry_run {
        process::block_on(forecast::run(&work, images))
    } else {
        process::block_on(work.run(images, async |location| index_one(&work, location).await))
    };
    match ran {
        Ok(code) => code,
        Err(error) => {
            let why = error_chain(error.as_ref());
            if args.told.json {
                let _ = report::line(report::failed_json(Reason::Internal.code(), &why));
            }
            report::complain(why);
            ExitCode::FAILURE
        }
    }
}

/// How images are indexed; a mistake ends the program.
fn settings(args: &IndexArgs, output: Option<&OutputLocation>) -> Options {
    let names_tag = match output {
        Some(OutputLocation::Registry { tag, .. }) => tag.is_some(),
        Some(OutputLocation::Layout { name, .. }) => name.is_some(),
        None => false,
    };
    if names_tag && args.result.name_tag() {
        usage(
            "--output-tag and --tag-suffix cannot be used with an --output that has a name of its own",
        );
    }
    if let Some(mistake) = args.result.mistake() {
        usage(mistake);
    }
    let prefetch = prefetch(&args.prefetch);
    let generation = match args.compatible_with {
        None if prefetch.any() => Generation::Newer,
        None => Generation::default(),
        Some(Generation::Older) if prefetch.any() => usage(IndexError::PrefetchForOlder),
        Some(generation) => generation,
    };
    Options {
        settings: SociIndexSettings {
            version: args.result.index_version,
            span_size: args.span_size,
            min_layer_size: args.min_layer_size,
            build_tool_identifier: args.build_tool_identifier.clone(),
            generation,
            annotate_span_size: args.annotate_span_size,
            optimize_xattrs: args.optimizations.contains(&Optimization::Xattr),
            prefetch,
            strict: args.strict,
        },
        platforms: args.result.platforms(),
        output: args.result.output(),
        force: args.force,
        reuse: Reuse::new(if args.no_reuse { ReuseScope::Never } else { ReuseScope::default() }),
        budget: budget(&args.budget),
        ..Options::default()
    }
}

/// What is to be prefetched; a list that cannot be read ends the program.
fn prefetch(args: &PrefetchArgs) -> PrefetchSettings {
    let mut files = PrefetchFile::list(args.files.iter().map(String::as_str));
    if let Some(path) = &args.json_list {
        let shown = path.display();
        let bytes = std::fs::read(path)
            .unwrap_or_else(|error| usage(format!("--prefetch-files-json {shown}: {error}")));
        let paths: Option<Vec<Option<String>>> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            usage(format!("--prefetch-files-json {shown}: a JSON list of paths is expected, as in [\"/bin/app\"]: {error}"))
        });
        let paths = paths.iter().flatten().flatten();
        files.extend(PrefetchFile::list(paths.map(String::as_str)));
    }
    PrefetchSettings { files, label: args.label, auto: args.auto }
}

/// The client for all registries, if there is one among the places; a mistake in the login ends the program. A login is
/// for the registry of the images, or that of the output if they are in none.
fn client(
    args: &IndexArgs,
    images: &[Wanted],
    output: Option<&OutputLocation>,
    retries: &Arc<RetryNotes>,
) -> Option<Result<Client, Failure>> {
    let mut registries: BTreeSet<&str> = images
        .iter()
        .filter_map(|image| match &image.location {
            Ok(Location::Registry(reference)) => Some(reference.repository.registry()),
            _ => None,
        })
        .collect();
    if args.login.username.is_some() && registries.len() > 1 {
        usage("--username is for one registry, and the images are in several");
    }
    if let (true, Some(OutputLocation::Registry { repository, .. })) =
        (registries.is_empty(), output)
    {
        registries.insert(repository.registry());
    }
    let credentials = login_to(&args.connection, &args.login, registries.first().copied());
    if registries.is_empty() && !matches!(output, Some(OutputLocation::Registry { .. })) {
        return None;
    }
    let client = connection::client_builder(&args.connection, retries.clone());
    let client = client.credentials(credentials).build();
    Some(client.map_err(|error| Failure::of_settings(&error)))
}

/// Indexes an image where it is, or into the output.
async fn index_one(work: &Work<'_>, location: Location) -> IndexResult<Report> {
    let client = work.client()?;
    let OpenImage { store, name, repository } = OpenImage::open(location, client).await?;
    let mut options = work.options.clone();
    let (result, written) = match &work.output {
        None => (index_image(&store, &name, &options).await, store),
        Some(output) => {
            let output = OpenOutput::open(output.clone(), client).await?;
            if let Some(tag) = &output.tag {
                options.output = OutputTag::Tag(tag.clone());
            }
            let image_tag = output.tag.or_else(|| name.tag.clone()).or(output.default_tag);
            let place = OutputPlace { mount_from: repository, image_tag };
            let result = index_image_to(&store, &output.store, &place, &name, &options).await;
            (result, output.store)
        }
    };
    let result = ended(result, &name);
    if matches!(result, Ok(Ok(_))) {
        finish_store(&written).await?;
    }
    result
}
