//! `sample-image`: the sample image of the demonstration, put somewhere, so that a deployment can be tried.

use std::process::ExitCode;

use soci_indexer::Reason;
use soci_oci::Digest;

use super::location::OutputLocation;
use super::place::{OpenOutput, finish};
use super::{block_on, client, locate_output, login_to, unless_stopped};
use crate::cli::SampleImageArgs;
use crate::commands::sample_platform::push_platform;
use crate::report::{self, Failure};

pub(crate) fn sample_image(args: &SampleImageArgs) -> ExitCode {
    let destination = locate_output("DESTINATION", &args.destination);
    match block_on(unless_stopped(put(args, destination))) {
        Ok(digest) => report::printed(report::line(digest)),
        Err(failure) => {
            report::complain(format_args!("{}: {}", args.destination, failure.detail));
            ExitCode::from(failure.exit)
        }
    }
}

async fn put(args: &SampleImageArgs, destination: OutputLocation) -> Result<Digest, Failure> {
    let client = match &destination {
        OutputLocation::Registry { repository, .. } => {
            let credentials = login_to(&args.connection, &args.login, Some(repository.registry()));
            Some(client(&args.connection, credentials)?)
        }
        OutputLocation::Layout { .. } => None,
    };
    let output = OpenOutput::open(destination, client.as_ref()).await?;
    let tag = output.tag.or(output.default_tag);
    let pushed = push_platform(&output.store, tag, 0, args.size, |_| {}).await;
    let pushed = pushed.map_err(|why| Failure::new(Reason::RegistryUnavailable.code(), why))?;
    finish(&output.store).await?;
    Ok(pushed.entry.digest)
}
