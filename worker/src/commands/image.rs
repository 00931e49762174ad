//! `index`, `verify` and `copy`: commands on an image in a registry or an OCI layout.

mod any_store;
mod copy;
mod index;
mod inspect;
mod location;
mod ls;
mod place;
mod prune;
mod sample;

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use soci_config::budget_of_this_process;
use soci_indexer::{
    Budget, ImageStore, Options, OutputTag, Verification, VerifyError, VerifySettings,
    verify_image_with,
};
use soci_oci::Tag;
use soci_registry::{Client, CredentialProvider};

use super::credentials;
use crate::cli::{BudgetArgs, ConnectionArgs, ImageArgs, LoginArgs, VerifyArgs};
use crate::commands::connection;
use crate::process;
use crate::progress::{Doing, Progress, RetryNotes, Shown};
use crate::report::{self, Failure};
use crate::usage::usage;

pub(crate) use copy::copy;
pub(crate) use index::index;
pub(crate) use inspect::inspect;
pub(crate) use ls::ls;
pub(crate) use prune::prune;
pub(crate) use sample::sample_image;

use location::{Location, OutputLocation};
use place::{OpenImage, is_layout};

pub(crate) fn verify(args: &VerifyArgs) -> ExitCode {
    let location = locate(&args.image.image);
    let credentials = login(&args.image, &location, None);
    let budget = budget(&args.image.budget);
    let image = &args.image.image;
    let shown = if args.quiet { Shown::Nothing } else { Shown::Progress };
    let progress = Arc::new(Progress::new(shown, Doing::Verify));
    let begun = Instant::now();
    let verified = verify_at(args, credentials, location, &progress, &budget);
    let result = block_on(unless_stopped(progress.beside(image, verified)));
    let elapsed = begun.elapsed();
    finish(
        &args.image,
        &result,
        |result| report::verify_json(image, result, elapsed),
        |verification| report::verify_text(image, verification),
    )
}

/// Prints a result the way it is wanted.
fn finish<T>(
    args: &ImageArgs,
    result: &Result<T, Failure>,
    json: impl Fn(Result<&T, &Failure>) -> serde_json::Value,
    text: impl Fn(&T) -> String,
) -> ExitCode {
    let printed = match result {
        _ if args.json => {
            let value = json(result.as_ref());
            writeln!(std::io::stdout(), "{value}")
        }
        Ok(value) => write!(std::io::stdout(), "{}", text(value)),
        Err(_) => Ok(()),
    };
    if let Err(failure) = result {
        report::complain(format_args!("{}: {}", args.image, failure.detail));
        return ExitCode::from(failure.exit);
    }
    report::printed(printed)
}

/// Parses the image's name; a mistake ends the program.
fn locate(text: &str) -> Location {
    Location::parse(text, &is_layout).unwrap_or_else(|error| usage(format!("{text:?}: {error}")))
}

/// An image that has to be in a registry; a mistake ends the program.
pub(crate) fn in_registry(text: &str) -> soci_oci::Reference {
    match locate(text) {
        Location::Registry(reference) => reference,
        Location::Layout { .. } => usage(format!("{text:?}: an image in a registry is expected")),
    }
}

/// Parses the name of an output likewise.
fn locate_output(argument: &str, text: &str) -> OutputLocation {
    let output = OutputLocation::parse(text, &is_layout);
    output.unwrap_or_else(|error| usage(format!("{argument} {text:?}: {error}")))
}

fn budget(args: &BudgetArgs) -> Budget {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Budget::new(
        args.concurrency.unwrap_or(cores),
        args.memory.unwrap_or_else(|| budget_of_this_process(None)),
    )
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    process::block_on(work).map_err(|error| Failure::of_settings(error.as_ref())).flatten()
}

/// Work of which nothing is left to tell but that a signal ended it.
async fn unless_stopped<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let ended = process::unless_stopped(work).await;
    ended.unwrap_or_else(|signal| Err(Failure::interrupted(signal)))
}

async fn verify_at(
    args: &VerifyArgs,
    credentials: Arc<dyn CredentialProvider>,
    location: Location,
    progress: &Arc<Progress>,
    budget: &Budget,
) -> Result<Verification, Failure> {
    let client = if matches!(location, Location::Registry(_)) {
        Some(client_telling(Arc::new(progress.retries()), &args.image.connection, credentials)?)
    } else {
        None
    };
    // The image without its tag.
    let place = match &location {
        Location::Registry(reference) => reference.repository.to_string(),
        Location::Layout { kind, path, .. } => format!("{}{}", kind.prefix(), path.display()),
    };
    let OpenImage { store, name, .. } = OpenImage::open(location, client.as_ref()).await?;
    let on_event = Arc::clone(progress);
    let settings = VerifySettings {
        platforms: args.platform.clone(),
        quick: args.quick,
        on_event: Arc::new(move |event| on_event.show(event)),
    };
    let error = match verify_image_with(&store, &name.target, &settings, budget).await {
        Ok(verification) => return Ok(verification),
        Err(error) => error,
    };
    let failure = Failure::of_verify(&error, &name);
    if let VerifyError::NoIndex { .. } = &error
        && let Some(tag) = converted(&store, name.tag.as_ref()).await
    {
        return Err(
            failure.with_hint(format_args!("its converted image has one: verify {place}:{tag}"))
        );
    }
    Err(failure)
}

/// The tag that the image has with the usual suffix, if there is one.
async fn converted(store: &impl ImageStore, image: Option<&Tag>) -> Option<Tag> {
    let OutputTag::Suffix(suffix) = Options::default().output else { return None };
    let tag: Tag = format!("{}{suffix}", image?).parse().ok()?;
    // It is a hint beside a failure that is told in any case.
    store.tagged(&tag).await.ok().flatten().map(|_| tag)
}

fn client(
    args: &ConnectionArgs,
    credentials: Arc<dyn CredentialProvider>,
) -> Result<Client, Failure> {
    client_telling(connection::notes(), args, credentials)
}

/// The same with somebody who is told what is tried again.
fn client_telling(
    retries: Arc<RetryNotes>,
    args: &ConnectionArgs,
    credentials: Arc<dyn CredentialProvider>,
) -> Result<Client, Failure> {
    let client = connection::client_builder(args, retries).credentials(credentials);
    client.build().map_err(|error| Failure::of_settings(&error))
}

/// The credentials for the command; a mistake in its login ends the program. A login is for the registry of the image, or
/// that of the output if the image is in none.
fn login(
    args: &ImageArgs,
    location: &Location,
    output: Option<&OutputLocation>,
) -> Arc<dyn CredentialProvider> {
    let registry = match (location, output) {
        (Location::Registry(reference), _) => Some(reference.repository.registry()),
        (_, Some(OutputLocation::Registry { repository, .. })) => Some(repository.registry()),
        _ => None,
    };
    login_to(&args.connection, &args.login, registry)
}

/// The same where it is known which registry the login is for.
fn login_to(
    connection: &ConnectionArgs,
    login: &LoginArgs,
    registry: Option<&str>,
) -> Arc<dyn CredentialProvider> {
    let tls = connection::tls_options(connection);
    credentials::provider(login, &tls, registry).unwrap_or_else(|mistake| usage(mistake))
}
