//! No secret is written anywhere, whatever the log is asked for.
//!
//! The real code runs in processes of its own, with an environment that is full of secrets: a worker, the
//! index function, and calls that fail, against a registry, AWS, a proxy and a collector that are made up and
//! give and take secrets as the real ones do. Then everything that came out is searched for each of them:
//! logs, pages, chains of errors in both their forms, dead letters and traces. One more run without the cap
//! on libraries (`soci_logs::install`) shows that the search finds what there is.
//!
//! `scene.rs` is what the processes do. They are this very program, started again for one test of it, so that
//! nothing has to be built beside it and nobody else's program is taken for ours.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]

mod aws;
mod scene;
mod stage;

use stage::{Cap, Stage};

/// Filters of `LOG_LEVEL`: every level, and what somebody writes who means it.
const FILTERS: [&str; 7] = [
    "error",
    "warn",
    "info",
    "debug",
    "trace",
    "trace,aws_smithy_runtime=trace,aws_sdk_sqs=trace,aws_sdk_ecr=trace,hyper=trace,hyper_util=trace,\
     h2=trace,reqwest=trace,rustls=trace,opentelemetry=trace,lambda_runtime=trace",
    "trace,[job]=trace,[invoke]=trace",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_tells_no_secret_at_any_level() {
    for (number, filter) in FILTERS.iter().enumerate() {
        let stage = Stage::set().await;
        let format = ["json", "text"][number % 2];
        let heard = stage.perform("worker", filter, format, Cap::On).await;
        heard.has("traces", "team/good").has("dead letters", "malformed");
        for shown in ["already", "ExpiredToken: The provided token has expired.", "rejected"] {
            // On the page and in its JSON, whatever is logged.
            heard.has("standard output", shown);
        }
        heard.has("standard output", "announced: {");
        if *filter == "info" {
            // Where the logs of a process go.
            heard.has("standard error", "an announcement is");
        }
        heard.is_without_secrets();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_tells_no_secret_at_any_level() {
    // It takes no filters by span.
    for (number, filter) in FILTERS[..6].iter().enumerate() {
        let stage = Stage::set().await;
        let format = ["json", "text"][number % 2];
        let heard = stage.perform("function", filter, format, Cap::On).await;
        heard.has("dead letters", "malformed").has("standard output", "announced: {");
        heard.is_without_secrets();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_tells_no_secret_in_either_form_of_its_errors() {
    for filter in ["error", "trace"] {
        let stage = Stage::set().await;
        let heard = stage.perform("errors", filter, "text", Cap::On).await;
        for shown in ["Value [redacted] for", "ExpiredToken", "tunnel", "not found"] {
            heard.has("standard output", shown);
        }
        heard.is_without_secrets();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_cap_libraries_tell_them() {
    let stage = Stage::set().await;
    let found = stage.perform("worker", "trace", "text", Cap::Off).await.secrets();
    for name in ["ECR token", "receipt", "body of a message"] {
        assert!(found.iter().any(|found| found.starts_with(name)), "{name} is not in {found:?}");
    }
}
