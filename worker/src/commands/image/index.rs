//! `index`: builds the SOCI indexes of images, one image after the other, as each takes all cores and the memory that there
//! is. They share connections, logins and what was found out about layers.
//!
//! An image that fails keeps no other from being indexed, and the exit code is the highest of all. A signal, and the end
//! of the time, fail the image in hand and those that were not begun.

mod images;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use soci_indexer::{
    IndexError, Options, OutputPlace, OutputTag, Reason, Report, Reuse, ReuseScope, index_image,
    index_image_to,
};
use soci_jobs::reasons;
use soci_manifest::{Generation, PrefetchFile, PrefetchSettings, SociIndexSettings};
use soci_registry::Client;
use soci_text::error_chain;
use tokio::time::Instant;

use super::location::{Location, OutputLocation};
use super::place::{OpenImage, OpenOutput, finish as finish_store};
use super::{budget, help_for, locate_output, login_to};
use crate::cli::{IndexArgs, Optimization, PrefetchArgs};
use crate::commands::connection;
use crate::process::{self, StopSignal};
use crate::progress::{Progress, RetryNotes, Shown};
use crate::report::{self, IndexEnd, IndexFailure, IndexResult, NothingToIndex};
use crate::usage::usage;
use images::{Wanted, collision, wanted};

pub(crate) fn index(args: &IndexArgs) -> ExitCode {
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
    let progress = Arc::new(Progress::new(shown));
    let client = client(args, &images, output.as_ref(), &progress);
    let options = Options {
        on_event: {
            let progress = Arc::clone(&progress);
            Arc::new(move |event| progress.show(event))
        },
        ..settings
    };
    let work = Work { args, output, client, options, progress };
    match process::block_on(work.run(images)) {
        Ok(code) => code,
        Err(error) => {
            report::complain(error_chain(error.as_ref()));
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
    progress: &Arc<Progress>,
) -> Option<Result<Client, IndexFailure>> {
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
    if args.login.password_stdin
        && args.from_file.as_deref().is_some_and(|file| file.as_os_str() == "-")
    {
        usage("--password-stdin and --from-file - cannot both read standard input");
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
    let progress = Arc::clone(progress);
    let notes = RetryNotes::new(move |line| progress.note(&line));
    let client = connection::client_builder(&args.connection).credentials(credentials);
    let client = client.observer(Arc::new(notes)).build();
    Some(client.map_err(|error| IndexFailure::new(Reason::Settings.code(), error_chain(&error))))
}

/// What is done with every image.
struct Work<'a> {
    args: &'a IndexArgs,
    output: Option<OutputLocation>,
    client: Option<Result<Client, IndexFailure>>,
    options: Options,
    progress: Arc<Progress>,
}

impl Work<'_> {
    async fn run(&self, images: Vec<Wanted>) -> ExitCode {
        let told = match process::told_to_stop() {
            Ok(told) => told,
            Err(error) => {
                report::complain(format_args!("signals cannot be handled: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let (mut told, mut late) = (pin!(told), pin!(after(self.args.timeout)));
        let mut lines = pin!(self.progress.tell());
        let mut tally = Tally { images: images.len(), ..Tally::default() };
        // Why nothing more is begun.
        let mut ended: Option<IndexFailure> = None;
        for Wanted { text, location } in images {
            let begun = Instant::now();
            let result = match (location, &ended) {
                (Err(mistake), _) => Err(IndexFailure::mistake(mistake)),
                (Ok(_), Some(ended)) => Err(ended.clone()),
                (Ok(location), None) => {
                    self.progress.begin(&text);
                    tokio::select! {
                        result = Box::pin(self.index(location)) => result,
                        signal = &mut told => Err(ended.insert(stopped(signal)).clone()),
                        time = &mut late => Err(ended.insert(too_long(time)).clone()),
                        never = &mut lines => match never {},
                    }
                }
            };
            self.progress.clear();
            let output = self.args.output.as_deref();
            let end = IndexEnd { image: &text, output, result, elapsed: begun.elapsed() };
            tally.count(&end);
            if let Err(error) = self.print(&end) {
                return report::printed(Err(error));
            }
        }
        if tally.images > 1 && !self.args.told.quiet && !self.args.told.json {
            self.progress.say(tally.text());
        }
        ExitCode::from(tally.exit)
    }

    fn print(&self, end: &IndexEnd<'_>) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.args.told.json {
            writeln!(out, "{}", end.json())?;
        } else {
            write!(out, "{}", end.text())?;
        }
        out.flush()?;
        if let Err(failure) = &end.result {
            report::complain(format_args!("{}: {}", end.image, failure.detail));
        }
        Ok(())
    }

    /// Indexes an image where it is, or into the output.
    async fn index(&self, location: Location) -> Result<IndexResult, IndexFailure> {
        let client = self.client.as_ref().map(Result::as_ref).transpose().map_err(Clone::clone)?;
        let OpenImage { store, name, repository } =
            OpenImage::open(location, client).await.map_err(of_layout)?;
        let mut options = self.options.clone();
        let (result, written) = match &self.output {
            None => (index_image(&store, &name, &options).await, store),
            Some(output) => {
                let output = OpenOutput::open(output.clone(), client).await.map_err(of_layout)?;
                if let Some(tag) = &output.tag {
                    options.output = OutputTag::Tag(tag.clone());
                }
                let image_tag = output.tag.or_else(|| name.tag.clone()).or(output.default_tag);
                let place = OutputPlace { mount_from: repository, image_tag };
                let result = index_image_to(&store, &output.store, &place, &name, &options).await;
                (result, output.store)
            }
        };
        let result = indexed(result);
        if matches!(result, Ok(Ok(_))) {
            finish_store(&written).await.map_err(of_layout)?;
        }
        result
    }
}

/// How the images ended.
#[derive(Default)]
struct Tally {
    images: usize,
    indexed: usize,
    there: usize,
    skipped: usize,
    /// The worst exit code.
    exit: u8,
}

impl Tally {
    fn count(&mut self, end: &IndexEnd<'_>) {
        match &end.result {
            Ok(Ok(report)) if report.already_there => self.there += 1,
            Ok(Ok(_)) => self.indexed += 1,
            Ok(Err(_)) => self.skipped += 1,
            Err(failure) => self.exit = self.exit.max(failure.exit),
        }
    }

    fn text(&self) -> String {
        let Self { images, indexed, there, skipped, .. } = *self;
        let failed = images - indexed - there - skipped;
        format!(
            "{images} images: {indexed} indexed, {there} already indexed, {skipped} skipped, {failed} failed"
        )
    }
}

/// Done after this time, or never.
async fn after(time: Option<Duration>) -> Duration {
    match time {
        Some(time) => {
            tokio::time::sleep(time).await;
            time
        }
        None => std::future::pending().await,
    }
}

fn stopped(signal: StopSignal) -> IndexFailure {
    IndexFailure {
        exit: signal.exit_code(),
        ..IndexFailure::new(Reason::Interrupted.code(), format!("interrupted by {signal}"))
    }
}

fn too_long(time: Duration) -> IndexFailure {
    let detail = format!("it was not done within {} s (--timeout)", time.as_secs());
    IndexFailure::new(reasons::TOO_LONG, detail)
}

/// A layout that cannot be opened or completed.
fn of_layout(detail: String) -> IndexFailure {
    IndexFailure::new(Reason::Layout.code(), detail)
}

/// How indexing came out for the command.
fn indexed(result: Result<Report, IndexError>) -> Result<IndexResult, IndexFailure> {
    match result {
        Ok(report) => Ok(Ok(report)),
        Err(IndexError::Nothing { image, reason }) => Ok(Err(NothingToIndex { image, reason })),
        Err(error) => {
            let chain = error_chain(&error);
            let detail = match help_for(error.reason(), error.is_transient()) {
                Some(advice) => format!("{chain} ({advice})"),
                None => chain,
            };
            Err(IndexFailure::new(error.reason().code(), detail))
        }
    }
}
