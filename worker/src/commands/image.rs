//! `index` and `verify`: commands on an image in a registry or an OCI layout.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Error as UsageError};
use soci_config::budget_of_this_process;
use soci_indexer::{
    Budget, ImageName, ImageStore, IndexError, Layout, Options, OutputTag, Reason,
    RemoteRepository, Verification, VerifyError, index_image, verify_image,
};
use soci_manifest::{
    Generation, Platforms, PrefetchFile, PrefetchSettings, SociIndexSettings, Version,
};
use soci_oci::{Reference, Tag, TagOrDigest};
use soci_registry::{Client, CredentialProvider};
use soci_text::error_chain;

use super::credentials;
use crate::cli::{Cli, ImageArgs, IndexArgs, IndexVersion, Optimization, PrefetchArgs, VerifyArgs};
use crate::commands::connection;
use crate::process;
use crate::progress::Bars;
use crate::report::{self, IndexResult, NothingToIndex};

/// Where an image is.
enum Location {
    Registry(Reference),
    Layout { path: PathBuf, tag: Option<Tag> },
}

pub(crate) fn index(args: &IndexArgs) -> ExitCode {
    let location = locate(&args.image.image);
    let credentials = login(&args.image, &location);
    let budget = budget(&args.image);
    if matches!(args.index_version, IndexVersion::V1)
        && (args.output_tag.is_some() || args.tag_suffix.is_some())
    {
        usage("--output-tag and --tag-suffix name the converted image, which only v2 makes");
    }
    let prefetch = prefetch(&args.prefetch);
    let generation = match args.compatible_with {
        None if prefetch.any() => Generation::Newer,
        None => Generation::default(),
        Some(Generation::Older) if prefetch.any() => usage(IndexError::PrefetchForOlder),
        Some(generation) => generation,
    };
    let bars = Arc::new(Bars::new());
    let options = Options {
        settings: SociIndexSettings {
            version: match args.index_version {
                IndexVersion::V1 => Version::V1,
                IndexVersion::V2 => Version::V2,
            },
            span_size: args.span_size,
            min_layer_size: args.min_layer_size,
            build_tool_identifier: args.build_tool_identifier.clone(),
            generation,
            annotate_span_size: args.annotate_span_size,
            optimize_xattrs: args.optimizations.contains(&Optimization::Xattr),
            prefetch,
        },
        platforms: match args.platform.as_slice() {
            [] => Platforms::All,
            platforms => Platforms::Only(platforms.to_vec()),
        },
        output: match &args.output_tag {
            Some(tag) => OutputTag::Tag(tag.clone()),
            None => match &args.tag_suffix {
                Some(suffix) => OutputTag::Suffix(suffix.clone()),
                None => Options::default().output,
            },
        },
        force: args.force,
        budget,
        on_event: {
            let bars = Arc::clone(&bars);
            Arc::new(move |event| bars.draw(event))
        },
        ..Options::default()
    };
    let result = block_on(on_store(&args.image, location, credentials, Indexing(&options)));
    bars.clear();
    let image = &args.image.image;
    finish(
        &args.image,
        &result,
        |result| report::index_json(image, result),
        |outcome| report::index_text(image, outcome),
    )
}

pub(crate) fn verify(args: &VerifyArgs) -> ExitCode {
    let location = locate(&args.image.image);
    let credentials = login(&args.image, &location);
    let budget = budget(&args.image);
    let result = block_on(on_store(&args.image, location, credentials, Verifying(&budget)));
    let image = &args.image.image;
    finish(
        &args.image,
        &result,
        |result| report::verify_json(image, result),
        |verification| report::verify_text(image, verification),
    )
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

/// Prints a result the way it is wanted.
fn finish<T>(
    args: &ImageArgs,
    result: &Result<T, String>,
    json: impl Fn(Result<&T, &str>) -> serde_json::Value,
    text: impl Fn(&T) -> String,
) -> ExitCode {
    let printed = match result {
        _ if args.json => {
            let value = json(result.as_ref().map_err(String::as_str));
            writeln!(std::io::stdout(), "{value}")
        }
        Ok(value) => write!(std::io::stdout(), "{}", text(value)),
        Err(_) => Ok(()),
    };
    if let Err(failure) = result {
        report::complain(format_args!("{}: {failure}", args.image));
        return ExitCode::FAILURE;
    }
    report::printed(printed)
}

/// Ends the program as other mistakes on the command line do.
fn usage(message: impl std::fmt::Display) -> ! {
    let mistake = UsageError::raw(ErrorKind::ValueValidation, format!("{message}\n"));
    mistake.with_cmd(&Cli::command()).exit()
}

/// Parses the image's name; a mistake ends the program.
fn locate(text: &str) -> Location {
    let usage = |message: String| -> ! { usage(format!("{text:?}: {message}")) };
    let Some(layout) = text.strip_prefix("oci:") else {
        return match text.parse() {
            Ok(reference) => Location::Registry(reference),
            Err(error) => usage(error.to_string()),
        };
    };
    // A colon in a folder's name can be written by ending the name with a slash.
    match layout.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => match tag.parse() {
            Ok(tag) => Location::Layout { path: path.into(), tag: Some(tag) },
            Err(error) => usage(format!("{error}")),
        },
        _ if layout.is_empty() => usage("the folder is missing, as in oci:DIR[:TAG]".to_owned()),
        _ => Location::Layout { path: layout.into(), tag: None },
    }
}

fn budget(args: &ImageArgs) -> Budget {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Budget::new(
        args.concurrency.unwrap_or(cores),
        args.memory.unwrap_or_else(|| budget_of_this_process(None)),
    )
}

fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    process::block_on(work).map_err(|error| error_chain(error.as_ref())).flatten()
}

/// Something that is done with an image, wherever it is.
trait Work {
    type Output;

    async fn on<S: ImageStore>(self, store: &S, name: &ImageName) -> Result<Self::Output, String>;
}

struct Indexing<'a>(&'a Options);

impl Work for Indexing<'_> {
    type Output = IndexResult;

    async fn on<S: ImageStore>(self, store: &S, name: &ImageName) -> Result<IndexResult, String> {
        match index_image(store, name, self.0).await {
            Ok(report) => Ok(Ok(report)),
            Err(IndexError::Nothing { image, reason }) => {
                Ok(Err(NothingToIndex { image, reason: reason.to_string() }))
            }
            Err(error) => Err(match advice(&error) {
                Some(advice) => format!("{} ({advice})", error_chain(&error)),
                None => error_chain(&error),
            }),
        }
    }
}

/// What a person in front of the command can do.
fn advice(error: &IndexError) -> Option<&'static str> {
    let advice = match error.reason() {
        // The error names the registry to log in to; a role is the service's.
        Reason::Unauthorized => None,
        reason => reason.advice(),
    };
    advice.or_else(|| error.is_transient().then_some("it may pass; try again"))
}

struct Verifying<'a>(&'a Budget);

impl Work for Verifying<'_> {
    type Output = Verification;

    async fn on<S: ImageStore>(self, store: &S, name: &ImageName) -> Result<Verification, String> {
        let verification = verify_image(store, &name.target, self.0).await;
        verification.map_err(|error: VerifyError| error_chain(&error))
    }
}

/// Opens the store and works on it.
async fn on_store<W: Work>(
    args: &ImageArgs,
    location: Location,
    credentials: Arc<dyn CredentialProvider>,
    work: W,
) -> Result<W::Output, String> {
    match location {
        Location::Registry(reference) => {
            let client = client(args, credentials)?;
            let store = RemoteRepository::new(client, reference.repository.clone());
            work.on(&store, &ImageName::from(&reference)).await
        }
        Location::Layout { path, tag } => {
            let store = Layout::open(path).await.map_err(|error| error_chain(&error))?;
            let name = if let Some(tag) = tag {
                ImageName { target: TagOrDigest::Tag(tag.clone()), tag: Some(tag) }
            } else {
                let (target, tag) =
                    store.only_image().await.map_err(|error| error_chain(&error))?;
                ImageName { target, tag: tag.or_else(|| "latest".parse().ok()) }
            };
            work.on(&store, &name).await
        }
    }
}

fn client(args: &ImageArgs, credentials: Arc<dyn CredentialProvider>) -> Result<Client, String> {
    let client = connection::client_builder(&args.connection).credentials(credentials);
    client.build().map_err(|error| error_chain(&error))
}

/// The credentials for the command; a mistake in its login ends the program.
fn login(args: &ImageArgs, location: &Location) -> Arc<dyn CredentialProvider> {
    let registry = match location {
        Location::Registry(reference) => Some(reference.repository.registry()),
        Location::Layout { .. } => None,
    };
    let tls = connection::tls_options(&args.connection);
    credentials::provider(&args.login, &tls, registry).unwrap_or_else(|mistake| usage(mistake))
}
