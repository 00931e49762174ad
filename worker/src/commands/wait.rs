//! `wait`: tells a pipeline when an image can be deployed with its index.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use soci_config::budget_of_this_process;
use soci_indexer::{
    Budget, ImageName, IndexError, IndexThere, LastSeen, OnWaitEvent, Options, Reason,
    RemoteRepository, WaitError, WaitEvent, WaitSettings, wait_for_index,
};
use soci_manifest::{SociIndexSettings, Version};
use soci_oci::{Digest, Reference, TagOrDigest};
use soci_text::error_chain;

use super::{connection, credentials, image};
use crate::cli::WaitArgs;
use crate::process;
use crate::progress::{Doing, Progress, Shown};
use crate::report::{self, Failure};
use crate::usage::usage;

/// The image gets no index.
const SKIPPED: u8 = 3;

/// The index did not come in time.
const TIMED_OUT: u8 = 4;

/// The same as an outcome and as a reason.
const TIMED_OUT_CODE: &str = "timed-out";

pub(crate) fn wait(args: &WaitArgs) -> ExitCode {
    if let Some(mistake) = args.result.mistake() {
        usage(mistake);
    }
    let image = image::in_registry(&args.image);
    let begun = Instant::now();
    let shown = if args.quiet { Shown::Nothing } else { Shown::Progress };
    let progress = Arc::new(Progress::new(shown, Doing::Wait(args.timeout)));
    let waited = wait_for(args, &image, &progress);
    let named = image.to_string();
    let waited = process::unless_stopped(progress.beside(&named, waited));
    let waited = process::block_on(waited)
        .map_err(|error| Failed::because(Failure::of_settings(error.as_ref())))
        .and_then(|ended| {
            ended.map_err(|signal| Failed::because(Failure::interrupted(signal))).flatten()
        });
    if args.json {
        let object = json(&image, &waited, begun.elapsed());
        let printed = report::printed(report::line(object));
        return match &waited {
            Ok(_) => printed,
            Err(failed) => failed.complain(&image),
        };
    }
    match &waited {
        Ok(there) => {
            for platform in &there.without_index {
                let platform =
                    platform.as_ref().map_or("one".to_owned(), |named| format!("{named}"));
                report::warn(format_args!("platform {platform} has no index, and others have"));
            }
            report::printed(report::line(deployable(&image, &there.deploy)))
        }
        Err(failed) => {
            if let (Some(digest), SKIPPED) = (&failed.image, failed.code) {
                let printed = report::line(deployable(&image, digest));
                if printed.is_err() {
                    return report::printed(printed);
                }
            }
            failed.complain(&image)
        }
    }
}

/// Why there is nothing to deploy with an index.
struct Failed {
    code: u8,
    outcome: &'static str,
    reason: &'static str,
    detail: String,
    image: Option<Digest>,
}

impl Failed {
    /// Something that is not found at the image.
    fn because(failure: Failure) -> Self {
        let Failure { code, detail, exit } = failure;
        Self { code: exit, outcome: "failed", reason: code, detail, image: None }
    }

    /// Why an image that was named so has no index to deploy.
    fn of(error: &WaitError, name: &ImageName) -> Self {
        let looked =
            |seen: &LastSeen| seen.failure.as_ref().map(|failure| Failure::of_image(failure, name));
        let last = |failure: &Option<Failure>| {
            let detail = failure.as_ref().map(|failure| format!(": {}", failure.detail));
            error_chain(error) + &detail.unwrap_or_default()
        };
        match error {
            WaitError::Image(nothing @ IndexError::Nothing { image, .. }) => Self {
                code: SKIPPED,
                outcome: "skipped",
                image: Some(*image),
                ..Self::because(Failure::of_image(nothing, name))
            },
            // No index is missed where there was no answer: that is no reason to deploy without one.
            WaitError::TimedOut { seen, .. } if !seen.image_read => {
                let failure = looked(seen);
                let code = failure.as_ref().map_or(TIMED_OUT_CODE, |failure| failure.code);
                Self::because(Failure::new(code, last(&failure)))
            }
            WaitError::TimedOut { what, seen, .. } => Self {
                code: TIMED_OUT,
                outcome: TIMED_OUT_CODE,
                image: match what {
                    TagOrDigest::Digest(digest) => Some(*digest),
                    TagOrDigest::Tag(_) => None,
                },
                ..Self::because(Failure::new(TIMED_OUT_CODE, last(&looked(seen))))
            },
            WaitError::Image(error) => Self::because(Failure::of_image(error, name)),
            error => Self::because(Failure::new(Reason::Internal.code(), error_chain(error))),
        }
    }

    fn complain(&self, image: &Reference) -> ExitCode {
        let Self { code, detail, .. } = self;
        match *code {
            SKIPPED => report::warn(format_args!("{image}: it gets no index: {detail}")),
            _ => report::complain(format_args!("{image}: {detail}")),
        }
        ExitCode::from(*code)
    }
}

async fn wait_for(
    args: &WaitArgs,
    reference: &Reference,
    progress: &Arc<Progress>,
) -> Result<IndexThere, Failed> {
    let tls = connection::tls_options(&args.connection);
    let registry = reference.repository.registry();
    let credentials = credentials::provider(&args.login, &tls, Some(registry))
        .unwrap_or_else(|mistake| usage(mistake));
    let retries = Arc::new(progress.retries());
    let client = connection::client_builder(&args.connection, retries);
    let client = client.credentials(credentials).build();
    let client = client.map_err(|error| Failed::because(Failure::of_settings(&error)))?;
    let store = RemoteRepository::new(client, reference.repository.clone());
    let options = Options {
        settings: SociIndexSettings {
            version: args.result.index_version,
            min_layer_size: args.min_layer_size,
            ..SociIndexSettings::default()
        },
        platforms: args.result.platforms(),
        output: args.result.output(),
        budget: Budget::new(std::num::NonZeroUsize::MIN, budget_of_this_process(None)),
        ..Options::default()
    };
    let settings = WaitSettings { timeout: args.timeout, ..WaitSettings::default() };
    let (image, progress) = (reference.clone(), Arc::clone(progress));
    let on_event: OnWaitEvent = Arc::new(move |event| match event {
        WaitEvent::Resolved { .. } => progress.status("looking for its index".to_owned()),
        WaitEvent::Looked { seen } => progress.status(seen.to_string()),
        WaitEvent::TagMoved { tag, now: Some(now) } => progress.say(format_args!(
            "warning: {image}: tag {tag} names {now} by now; \
             the index of the image that was asked for is waited for"
        )),
        WaitEvent::TagMoved { tag, now: None } => progress.say(format_args!(
            "warning: {image}: tag {tag} is gone; \
             the index of the image that was asked for is waited for"
        )),
        WaitEvent::Failed { error } => {
            let error = error_chain(*error);
            progress.note(format_args!("warning: {image}: it is tried again: {error}"));
        }
        _ => {}
    });
    let name = ImageName::from(reference);
    let waited = Box::pin(wait_for_index(&store, &name, &options, &settings, &on_event)).await;
    waited.map_err(|error| Failed::of(&error, &name))
}

fn deployable(image: &Reference, digest: &Digest) -> String {
    format!("{}@{digest}", image.repository)
}

fn json(reference: &Reference, waited: &Result<IndexThere, Failed>, elapsed: Duration) -> Value {
    let there = waited.as_ref().ok();
    let failed = waited.as_ref().err();
    let image = there.map(|there| there.image).or(failed.and_then(|failed| failed.image));
    let deploy = match (there, failed) {
        (Some(there), _) => Some(deployable(reference, &there.deploy)),
        (None, Some(failed)) if failed.code == SKIPPED => {
            failed.image.map(|image| deployable(reference, &image))
        }
        _ => None,
    };
    json!({
        "outcome": failed.map_or("indexed", |failed| failed.outcome),
        "reason": failed.map(|failed| failed.reason),
        "detail": failed.map(|failed| failed.detail.as_str()),
        "image": reference.to_string(),
        "image_digest": image.map(|image| image.to_string()),
        "deploy": deploy,
        "index": there.filter(|there| there.version == Version::V2).map(|there| there.deploy.to_string()),
        "indexes": there.map_or(&[][..], |there| &there.indexes).iter().map(|index| json!({
            "platform": index.platform.as_ref().map(ToString::to_string),
            "image_manifest": index.image_manifest.to_string(),
            "soci_index": index.digest.to_string(),
        })).collect::<Vec<_>>(),
        "without_index": there.map_or(&[][..], |there| &there.without_index).iter()
            .map(|platform| platform.as_ref().map(ToString::to_string)).collect::<Vec<_>>(),
        "tag": there.and_then(|there| there.tag.as_ref()).map(ToString::to_string),
        "looks": there.map(|there| there.looks + 1),
        "seconds": report::seconds(elapsed),
    })
}
