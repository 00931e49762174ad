//! `copy`: an image into another repository, registry, layout or archive.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use soci_indexer::{CopyOptions, CopyReport, ImageEvent, OutputPlace, copy_image};
use soci_registry::CredentialProvider;

use super::location::{Location, OutputLocation};
use super::place::{OpenImage, OpenOutput, finish as finish_store};
use super::{
    block_on, budget, client_telling, finish, locate, locate_output, login, unless_stopped,
};
use crate::cli::CopyArgs;
use crate::progress::{Doing, Progress, Shown};
use crate::report::{self, Failure};

pub(crate) fn copy(args: &CopyArgs) -> ExitCode {
    let location = locate(&args.image.image);
    let destination = locate_output("DESTINATION", &args.destination);
    let credentials = login(&args.image, &location, Some(&destination));
    let progress = Arc::new(Progress::new(Shown::Progress, Doing::Index));
    // What the copy is called without its tag.
    let place = match &destination {
        OutputLocation::Registry { repository, .. } => repository.to_string(),
        OutputLocation::Layout { kind, path, .. } => format!("{}{}", kind.prefix(), path.display()),
    };
    let (begun, bytes_read) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let copied = copy_to(args, credentials, location, destination, &progress, &bytes_read);
    let result = block_on(unless_stopped(progress.beside(&args.image.image, copied)));
    let spent = (bytes_read.load(Ordering::Relaxed), begun.elapsed());
    finish(
        &args.image,
        &result,
        |result| report::copy_json(&args.image.image, &args.destination, &place, result, spent),
        |copied| report::copy_text(&place, copied),
    )
}

async fn copy_to(
    args: &CopyArgs,
    credentials: Arc<dyn CredentialProvider>,
    location: Location,
    destination: OutputLocation,
    progress: &Arc<Progress>,
    bytes_read: &Arc<AtomicU64>,
) -> Result<CopyReport, Failure> {
    let remote = matches!(location, Location::Registry(_))
        || matches!(destination, OutputLocation::Registry { .. });
    let client = if remote {
        Some(client_telling(Arc::new(progress.retries()), &args.image.connection, credentials)?)
    } else {
        None
    };
    let (progress, bytes_read) = (Arc::clone(progress), Arc::clone(bytes_read));
    let options = CopyOptions {
        platform: args.platform.clone(),
        budget: budget(&args.image.budget),
        on_event: Arc::new(move |event| {
            if let ImageEvent::CopyRead { bytes, .. } = event {
                bytes_read.fetch_add(*bytes, Ordering::Relaxed);
            }
            progress.show(event);
        }),
    };
    let OpenImage { store, name, repository } = OpenImage::open(location, client.as_ref()).await?;
    let output = OpenOutput::open(destination, client.as_ref()).await?;
    let image_tag = output.tag.or_else(|| name.tag.clone()).or(output.default_tag);
    let place = OutputPlace { mount_from: repository, image_tag };
    let copied = copy_image(&store, &output.store, &place, &name, &options).await;
    let copied = copied.map_err(|error| Failure::of_copy(&error, &name))?;
    finish_store(&output.store).await?;
    Ok(copied)
}
