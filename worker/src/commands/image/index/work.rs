//! The work of `index` or its dry run: one image after the other, until a signal or the end of the time.
//!
//! These fail the image in hand, which says what it was waiting for, and those that were not begun, which are named one by
//! one as well: whoever reads how a command ended misses none. The exit code is the highest of all.

use std::io::Write as _;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use soci_indexer::{ImageName, IndexError, Options};
use soci_jobs::reasons;
use soci_oci::Repository;
use soci_registry::Client;
use tokio::time::Instant;

use super::super::location::{Location, OutputLocation};
use super::images::Wanted;
use crate::cli::IndexArgs;
use crate::process::{self, StopSignal};
use crate::progress::{Progress, RetryNotes};
use crate::report::{self, Failure, ImageResult, IndexEnd, IndexResult, NothingToIndex};

/// What is done with every image.
pub(super) struct Work<'a> {
    pub(super) args: &'a IndexArgs,
    pub(super) output: Option<OutputLocation>,
    /// If a place is in a registry.
    pub(super) client: Option<Result<Client, Failure>>,
    pub(super) options: Options,
    pub(super) progress: Arc<Progress>,
    pub(super) retries: Arc<RetryNotes>,
    /// Bytes of layers that were read, of all images.
    pub(super) bytes_read: Arc<AtomicU64>,
}

impl Work<'_> {
    /// Does something with each image and prints how it ended.
    pub(super) async fn run<T: ImageResult>(
        &self,
        images: Vec<Wanted>,
        mut work: impl AsyncFnMut(Location) -> IndexResult<T>,
    ) -> ExitCode {
        let told = match process::told_to_stop() {
            Ok(told) => told,
            Err(error) => {
                report::complain(format_args!("signals cannot be handled: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let (mut told, mut late) = (pin!(told), pin!(after(self.args.timeout)));
        let mut lines = pin!(self.progress.tell());
        let mut prints = true;
        let mut tally = Tally { images: images.len(), ..Tally::default() };
        // Why nothing more is begun.
        let mut ended: Option<Stopped> = None;
        for Wanted { text, location } in images {
            let begun = Instant::now();
            let read_before = self.bytes_read.load(Ordering::Relaxed);
            let repository = self.repository(location.as_ref().ok());
            let result = match (location, &ended) {
                (Err(mistake), _) => Err(Failure::mistake(mistake)),
                (Ok(_), Some(ended)) => Err(ended.before(self.args.dry_run)),
                (Ok(location), None) => {
                    self.progress.begin(&text);
                    // What earlier images waited for is over.
                    self.retries.take_latest();
                    let stopped = tokio::select! {
                        result = Box::pin(work(location)) => Err(result),
                        signal = &mut told => Ok(Stopped::By(signal)),
                        time = &mut late => Ok(Stopped::After(time)),
                        never = &mut lines => match never {},
                    };
                    match stopped {
                        Err(result) => result,
                        Ok(stopped) => {
                            Err(ended.insert(stopped).meanwhile(self.retries.take_latest()))
                        }
                    }
                }
            };
            self.progress.clear();
            let output = self.args.output.as_deref();
            let bytes_read = self.bytes_read.load(Ordering::Relaxed) - read_before;
            let elapsed = begun.elapsed();
            let end = IndexEnd { image: &text, output, repository, result, bytes_read, elapsed };
            tally.count(&end);
            // Nobody reads on, as behind `head`, or it cannot be written: the other images get their index all the same.
            if prints && let Err(error) = self.print(&end) {
                prints = false;
                tally.exit = tally.exit.max(report::unprinted(&error));
            }
            if let Err(failure) = &end.result {
                report::complain(format_args!("{text}: {}", failure.detail));
            }
        }
        if tally.images > 1 && !self.args.told.quiet && !self.args.told.json {
            self.progress.say(tally.text(self.args.dry_run));
        }
        ExitCode::from(tally.exit)
    }

    fn print<T: ImageResult>(&self, end: &IndexEnd<'_, T>) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.args.told.json {
            writeln!(out, "{}", end.json())?;
        } else {
            write!(out, "{}", end.text())?;
        }
        out.flush()
    }

    /// The repository that has the result of an image, if it is in a registry.
    fn repository(&self, image: Option<&Location>) -> Option<Repository> {
        match (&self.output, image) {
            (Some(OutputLocation::Registry { repository, .. }), _) => Some(repository.clone()),
            (None, Some(Location::Registry(reference))) => Some(reference.repository.clone()),
            _ => None,
        }
    }

    /// The client of registries.
    pub(super) fn client(&self) -> Result<Option<&Client>, Failure> {
        self.client.as_ref().map(Result::as_ref).transpose().map_err(Clone::clone)
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
    fn count<T: ImageResult>(&mut self, end: &IndexEnd<'_, T>) {
        match &end.result {
            Ok(Ok(found)) if found.is_there() => self.there += 1,
            Ok(Ok(_)) => self.indexed += 1,
            Ok(Err(_)) => self.skipped += 1,
            Err(failure) => self.exit = self.exit.max(failure.exit),
        }
    }

    fn text(&self, dry_run: bool) -> String {
        let Self { images, indexed, there, skipped, .. } = *self;
        let done = if dry_run { "to index" } else { "indexed" };
        let failed = images - indexed - there - skipped;
        format!(
            "{images} images: {indexed} {done}, {there} already indexed, {skipped} skipped, {failed} failed"
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

/// Why nothing more is begun.
#[derive(Clone, Copy, Debug)]
enum Stopped {
    By(StopSignal),
    /// The time that all images may take is over.
    After(Duration),
}

impl Stopped {
    /// The failure of the image in hand; `waiting` is what was tried again there.
    fn meanwhile(self, waiting: Option<String>) -> Failure {
        let detail = match self {
            Self::By(signal) => format!("interrupted by {signal}"),
            Self::After(time) => format!("it was not done within {} (--timeout)", told(time)),
        };
        self.failure(match waiting {
            Some(why) => format!("{detail}; what failed last: {why}"),
            None => detail,
        })
    }

    /// The failure of an image that was not begun.
    fn before(self, dry_run: bool) -> Failure {
        let begun = if dry_run { "looked at" } else { "begun" };
        self.failure(match self {
            Self::By(signal) => format!("it was not {begun}: interrupted by {signal}"),
            Self::After(time) => {
                format!(
                    "it was not {begun}: the {} for all images were over (--timeout)",
                    told(time)
                )
            }
        })
    }

    fn failure(self, detail: String) -> Failure {
        match self {
            Self::By(signal) => Failure { detail, ..Failure::interrupted(signal) },
            Self::After(_) => Failure::new(reasons::TOO_LONG, detail),
        }
    }
}

fn told(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// How it came out for the command.
pub(super) fn ended<T>(result: Result<T, IndexError>, name: &ImageName) -> IndexResult<T> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(IndexError::Nothing { image, reason }) => Ok(Err(NothingToIndex { image, reason })),
        Err(error) => Err(Failure::of_image(&error, name)),
    }
}
