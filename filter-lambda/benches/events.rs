//! What an event costs that goes nowhere, from its text to its response. Its log line is made, and
//! dropped.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on ends")]

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use soci_filter_lambda::{Dispatcher, EventHandler, FetchedManifest, Manifests};
use soci_lambda::Invocation;
use soci_manifest::Version;
use soci_oci::Digest;
use soci_push::PushRules;
use soci_push::event::{PushEvent, Timestamp};
use soci_sandbox::MemoryQueue;
use tokio::time::Instant;

/// Nothing of AWS is asked.
struct Nowhere;

impl Manifests for Nowhere {
    type Error = Infallible;

    async fn fetch(&self, _: &PushEvent, _: &[Digest]) -> Result<Vec<FetchedManifest>, Infallible> {
        Ok(Vec::new())
    }
}

fn events(criterion: &mut Criterion) {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::sink)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    let invocation = Invocation {
        request_id: "c6af9ac6-7b61-11e6-9a41-93e8deadbeef".to_owned(),
        deadline: Instant::now() + Duration::from_mins(15),
        now: Timestamp::from_unix_seconds(0),
    };
    for (name, filters, tag) in [
        ("no filter of 3 matches", 3, "v1.2.3"),
        ("no filter of 100 matches", 100, "v1.2.3"),
        ("output", 3, "v1.2.3-soci"),
    ] {
        let (handler, event) = (handler(filters), event(tag));
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime
                    .block_on(handler.handle(black_box(&event), &invocation))
                    .expect("it is handled")
            });
        });
    }
}

/// A handler with so many filters, each of which has to look through all of a repository's name.
fn handler(filters: usize) -> EventHandler<MemoryQueue, Nowhere> {
    let filters: Vec<String> =
        (0..filters).map(|number| format!("*team-{number}/*service*:v*.*-rc*")).collect();
    let rules = PushRules {
        filters: filters.join(",").parse().expect("the filters are valid"),
        version: Version::V2,
        output_suffix: "-soci".to_owned(),
        event_types: soci_push::EventTypes::default(),
        remove_results: false,
    };
    let dispatcher = Dispatcher { queue: MemoryQueue::named("bench"), shortcut: None };
    EventHandler { rules, dispatcher, enqueued: None }
}

fn event(tag: &str) -> String {
    json!({
        "version": "0", "id": "13cde686-328b-6117-af20-0e5566167482",
        "detail-type": "ECR Image Action", "source": "aws.ecr", "account": "123456789012",
        "time": "2026-08-01T12:34:56Z", "region": "eu-west-1", "resources": [],
        "detail": {
            "result": "SUCCESS", "action-type": "PUSH", "image-tag": tag,
            "repository-name": "team-a/very/long/name/of/a/service/in/a/large/organisation",
            "image-digest": format!("sha256:{}", "a".repeat(64)),
            "manifest-media-type": "application/vnd.oci.image.index.v1+json",
        },
    })
    .to_string()
}

criterion_group!(benches, events);
criterion_main!(benches);
