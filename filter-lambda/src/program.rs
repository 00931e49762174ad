//! The filter Lambda as a program: reads its settings, makes the clients, and serves invocations until it is stopped.

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::value::RawValue;
use soci_aws::{QueueUrl, SqsQueue};
use soci_config::name;
use soci_lambda::{InvocationError, block_on, serve, start_logging};
use soci_logs::EmfLines;
use soci_text::error_chain;

use crate::{
    Dispatcher, EcrManifests, EventHandler, FilterSettings, Response, Shortcut, SizeLimits,
};

/// Boxed because the SDK nests futures deeper than the compiler likes to look.
type PendingResponse<'a> = Pin<Box<dyn Future<Output = Result<Response, InvocationError>> + 'a>>;

/// Most time to find out how large an image is and to send it to the index Lambda. Both take well below
/// a second where nothing is wrong.
const SHORTCUT_TIME: Duration = Duration::from_secs(5);

/// Runs the function; the exit code is that of the process.
pub fn run() -> ExitCode {
    match block_on(&mut tokio::runtime::Builder::new_current_thread(), serve_events()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve_events() -> ExitCode {
    let settings = match FilterSettings::read(&soci_config::Environment) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(soci_config::EXIT_CODE);
        }
    };
    start_logging(settings.logs);
    let sdk = soci_aws::sdk::load().await;
    let queue = |name: &str, url: &QueueUrl| {
        SqsQueue::new(&sdk, url.as_str()).map_err(|error| {
            eprintln!("{name}: {error}");
            ExitCode::from(soci_config::EXIT_CODE)
        })
    };
    let live = match queue(name::QUEUE_URL, &settings.queue_url) {
        Ok(live) => live,
        Err(code) => return code,
    };
    let shortcut = settings.shortcut.map(|shortcut| {
        let queue = queue(name::SMALL_IMAGES_QUEUE_URL, &shortcut.queue_url)?;
        Ok(Shortcut {
            manifests: EcrManifests::new(&sdk),
            queue,
            max_image_bytes: shortcut.max_image_bytes,
            limits: SizeLimits::default(),
            time: SHORTCUT_TIME,
        })
    });
    let shortcut = match shortcut.transpose() {
        Ok(shortcut) => shortcut,
        Err(code) => return code,
    };
    let dispatcher = Dispatcher { queue: live, shortcut };
    let enqueued = settings.emf_namespace.map(|namespace| EmfLines::new(namespace).into());
    let handler = EventHandler { rules: settings.rules, dispatcher, enqueued };
    let handle = |event: Box<RawValue>, invocation| -> PendingResponse<'_> {
        let handler = &handler;
        Box::pin(async move { handler.handle(event.get(), &invocation).await })
    };
    match serve(handle).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error_chain(&error));
            ExitCode::FAILURE
        }
    }
}
