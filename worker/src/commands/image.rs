//! `index`, `verify` and `copy`: commands on an image in a registry or an OCI layout.

mod any_store;
mod copy;
mod location;
mod place;
mod sample;

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use soci_config::budget_of_this_process;
use soci_indexer::{
    Budget, ImageStore, IndexError, Options, OutputPlace, OutputTag, Reason, Report, Reuse,
    ReuseScope, Verification, VerifyError, index_image, index_image_to, verify_image,
};
use soci_manifest::{
    Generation, Platforms, PrefetchFile, PrefetchSettings, SociIndexSettings, Version,
};
use soci_oci::Tag;
use soci_registry::{Client, CredentialProvider};
use soci_text::error_chain;

use super::credentials;
use crate::cli::{
    ConnectionArgs, ImageArgs, IndexArgs, LoginArgs, Optimization, PrefetchArgs, VerifyArgs,
};
use crate::commands::connection;
use crate::process;
use crate::progress::Bars;
use crate::report::{self, IndexResult, NothingToIndex};
use crate::usage::usage;

pub(crate) use copy::copy;
pub(crate) use sample::sample_image;

use location::{LayoutKind, Location, OutputLocation};
use place::{OpenImage, OpenOutput, finish as finish_store, is_layout};

pub(crate) fn index(args: &IndexArgs) -> ExitCode {
    let location = locate(&args.image.image);
    let output = args.output.as_deref().map(|output| locate_output("--output", output));
    if output.is_none() && matches!(location, Location::Layout { kind: LayoutKind::Docker, .. }) {
        usage(
            "docker-archive: is only read: say with --output where the result goes, as in --output oci-archive:FILE.tar",
        );
    }
    let names_tag = match &output {
        Some(OutputLocation::Registry { tag, .. }) => tag.is_some(),
        Some(OutputLocation::Layout { name, .. }) => name.is_some(),
        None => false,
    };
    if names_tag && (args.output_tag.is_some() || args.tag_suffix.is_some()) {
        usage(
            "--output-tag and --tag-suffix cannot be used with an --output that has a name of its own",
        );
    }
    let credentials = login(&args.image, &location, output.as_ref());
    let budget = budget(&args.image);
    if args.index_version == Version::V1 && (args.output_tag.is_some() || args.tag_suffix.is_some())
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
            version: args.index_version,
            span_size: args.span_size,
            min_layer_size: args.min_layer_size,
            build_tool_identifier: args.build_tool_identifier.clone(),
            generation,
            annotate_span_size: args.annotate_span_size,
            optimize_xattrs: args.optimizations.contains(&Optimization::Xattr),
            prefetch,
            strict: args.strict,
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
        reuse: Reuse::new(if args.no_reuse { ReuseScope::Never } else { ReuseScope::default() }),
        budget,
        on_event: {
            let bars = Arc::clone(&bars);
            Arc::new(move |event| bars.draw(event))
        },
        ..Options::default()
    };
    let result = block_on(index_at(&args.image, credentials, location, output, options));
    bars.clear();
    let image = &args.image.image;
    let shown = match &args.output {
        Some(output) => format!("{image} to {output}"),
        None => image.clone(),
    };
    finish(
        &args.image,
        &result,
        |result| {
            let mut object = report::index_json(image, result);
            object["output"] = args.output.clone().into();
            object
        },
        |outcome| report::index_text(&shown, outcome),
    )
}

pub(crate) fn verify(args: &VerifyArgs) -> ExitCode {
    let location = locate(&args.image.image);
    let credentials = login(&args.image, &location, None);
    let budget = budget(&args.image);
    let result = block_on(verify_at(&args.image, credentials, location, &budget));
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

/// Indexes an image where it is, or into an output.
async fn index_at(
    args: &ImageArgs,
    credentials: Arc<dyn CredentialProvider>,
    location: Location,
    output: Option<OutputLocation>,
    mut options: Options,
) -> Result<IndexResult, String> {
    let remote = matches!(location, Location::Registry(_))
        || matches!(output, Some(OutputLocation::Registry { .. }));
    let client = if remote { Some(client(&args.connection, credentials)?) } else { None };
    let OpenImage { store, name, repository } = OpenImage::open(location, client.as_ref()).await?;
    let (result, written) = match output {
        None => (index_image(&store, &name, &options).await, store),
        Some(output) => {
            let output = OpenOutput::open(output, client.as_ref()).await?;
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
        finish_store(&written).await?;
    }
    result
}

/// How indexing came out for the command.
fn indexed(result: Result<Report, IndexError>) -> Result<IndexResult, String> {
    match result {
        Ok(report) => Ok(Ok(report)),
        Err(IndexError::Nothing { image, reason }) => {
            Ok(Err(NothingToIndex { image, reason: reason.to_string() }))
        }
        Err(error) => Err(match help_for(error.reason(), error.is_transient()) {
            Some(advice) => format!("{} ({advice})", error_chain(&error)),
            None => error_chain(&error),
        }),
    }
}

async fn verify_at(
    args: &ImageArgs,
    credentials: Arc<dyn CredentialProvider>,
    location: Location,
    budget: &Budget,
) -> Result<Verification, String> {
    let remote = matches!(location, Location::Registry(_));
    let client = if remote { Some(client(&args.connection, credentials)?) } else { None };
    let OpenImage { store, name, .. } = OpenImage::open(location, client.as_ref()).await?;
    let error = match verify_image(&store, &name.target, budget).await {
        Ok(verification) => return Ok(verification),
        Err(error) => error,
    };
    let VerifyError::NoIndex { .. } = &error else { return Err(error_chain(&error)) };
    Err(match converted(&store, name.tag.as_ref()).await {
        Some(tag) => format!(
            "{} (the converted image is {tag}, which `index` makes: verify that)",
            error_chain(&error)
        ),
        None => error_chain(&error),
    })
}

/// The tag that the image has with the usual suffix, if there is one.
async fn converted(store: &impl ImageStore, image: Option<&Tag>) -> Option<Tag> {
    let OutputTag::Suffix(suffix) = Options::default().output else { return None };
    let tag: Tag = format!("{}{suffix}", image?).parse().ok()?;
    // It is a hint beside a failure that is told in any case.
    store.tagged(&tag).await.ok().flatten().map(|_| tag)
}

/// What a person in front of the command can do.
fn help_for(reason: Reason, transient: bool) -> Option<&'static str> {
    let advice = match reason {
        // The error names the registry to log in to; a role is the service's.
        Reason::Unauthorized => None,
        reason => reason.advice(),
    };
    advice.or_else(|| transient.then_some("it may pass; try again"))
}

fn client(
    args: &ConnectionArgs,
    credentials: Arc<dyn CredentialProvider>,
) -> Result<Client, String> {
    let client = connection::client_builder(args).credentials(credentials);
    client.build().map_err(|error| error_chain(&error))
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
