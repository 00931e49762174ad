//! The filter Lambda: the file `bootstrap` of a function with the runtime provided.al2023.

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::value::RawValue;
use soci_filter_lambda::{
    Dispatcher, EcrManifests, EventHandler, FilterSettings, LambdaFunction, Response, Shortcut,
    SizeLimits,
};
use soci_lambda::{InvocationError, block_on, serve, start_logging};
use soci_text::error_chain;

/// Boxed because the SDK nests futures deeper than the compiler likes to look.
type PendingResponse<'a> = Pin<Box<dyn Future<Output = Result<Response, InvocationError>> + 'a>>;

/// Most time to find out how large an image is and to invoke the index Lambda. Both take well below
/// a second where nothing is wrong.
const SHORTCUT_TIME: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match block_on(&mut tokio::runtime::Builder::new_current_thread(), run()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> ExitCode {
    let settings = match FilterSettings::read(&soci_config::Environment) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(soci_config::EXIT_CODE);
        }
    };
    start_logging(settings.logs);
    let sdk = soci_aws::sdk::load().await;
    let queue = match soci_aws::SqsQueue::new(&sdk, settings.queue_url.as_str()) {
        Ok(queue) => queue,
        Err(error) => {
            eprintln!("{}: {error}", soci_config::name::QUEUE_URL);
            return ExitCode::from(soci_config::EXIT_CODE);
        }
    };
    let shortcut = settings.shortcut.map(|shortcut| Shortcut {
        manifests: EcrManifests::new(&sdk),
        function: LambdaFunction::new(aws_sdk_lambda::Client::new(&sdk), shortcut.function),
        max_image_bytes: shortcut.max_image_bytes,
        limits: SizeLimits::default(),
        time: SHORTCUT_TIME,
    });
    let dispatcher = Dispatcher { queue, shortcut };
    let handler = EventHandler { rules: settings.rules, dispatcher };
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
