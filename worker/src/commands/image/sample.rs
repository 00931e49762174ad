//! `sample-image`: the sample image of the demonstration, put somewhere, so that a deployment can be tried.

use std::process::ExitCode;

use bytes::Bytes;
use soci_indexer::ImageStore as _;
use soci_oci::{Descriptor, Digest, TagOrDigest, media_type};
use soci_registry::BlobSource;
use soci_sandbox::sample_image::{self, LAYER_COUNT, LayerNames, PLATFORMS};
use soci_text::error_chain;

use super::location::OutputLocation;
use super::place::{OpenOutput, finish};
use super::{block_on, client, locate_output, login_to};
use crate::cli::SampleImageArgs;
use crate::report;

pub(crate) fn sample_image(args: &SampleImageArgs) -> ExitCode {
    let destination = locate_output("DESTINATION", &args.destination);
    match block_on(put(args, destination)) {
        Ok(digest) => report::printed(report::line(digest)),
        Err(failure) => {
            report::complain(format_args!("{}: {failure}", args.destination));
            ExitCode::FAILURE
        }
    }
}

async fn put(args: &SampleImageArgs, destination: OutputLocation) -> Result<Digest, String> {
    let client = match &destination {
        OutputLocation::Registry { repository, .. } => {
            let credentials = login_to(&args.connection, &args.login, Some(repository.registry()));
            Some(client(&args.connection, credentials)?)
        }
        OutputLocation::Layout { .. } => None,
    };
    let output = OpenOutput::open(destination, client.as_ref()).await?;
    let store = &output.store;
    let mut names: Vec<LayerNames> = Vec::new();
    for number in 0..LAYER_COUNT {
        let size = args.size;
        let made = tokio::task::spawn_blocking(move || sample_image::layer(0, number, size)).await;
        let made = made.map_err(|error| format!("the sample cannot be made: {error}"))?;
        let made = made.map_err(|error| format!("the sample cannot be made: {error}"))?;
        let digest = made.names.descriptor.digest;
        let pushed = store.push_blob(&digest, &made.pieces.into()).await;
        pushed.map_err(|error| error_chain(&error))?;
        names.push(made.names);
    }
    let config = sample_image::config(PLATFORMS[0], &names);
    let digest = Digest::sha256_of(&config);
    let descriptor = Descriptor::new(media_type::OCI_CONFIG, digest, config.len() as u64);
    let pushed = store.push_blob(&digest, &BlobSource::from(Bytes::from(config))).await;
    pushed.map_err(|error| error_chain(&error))?;
    let manifest = Bytes::from(sample_image::manifest(descriptor, &names));
    let digest = Digest::sha256_of(&manifest);
    let tag = output.tag.or(output.default_tag);
    let target = tag.map_or(TagOrDigest::Digest(digest), TagOrDigest::Tag);
    let pushed = store.push_manifest(&target, media_type::OCI_MANIFEST, manifest, None).await;
    pushed.map_err(|error| error_chain(&error))?;
    finish(store).await?;
    Ok(digest)
}
