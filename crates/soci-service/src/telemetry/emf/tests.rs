use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::json;
use soci_indexer::ImageEvent;
use soci_jobs::{MessageAction, Outcome, Why};
use soci_oci::Digest;
use soci_push::Job;
use soci_queue::{Message, MessageId, Receipt};
use tokio::time::Instant;

use super::*;
use crate::job_in_hand::JobId;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn only(&self) -> Value {
        let lines = self.0.lock().unwrap();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one call writes one line");
        serde_json::from_str(line).unwrap()
    }
}

/// The units of CloudWatch that are used here (CloudWatch API reference, `MetricDatum`).
const UNITS: [&str; 3] = ["Seconds", "Bytes", "Count"];

/// Holds a document against the rules of the specification: its JSON schema, and what the prose
/// says of targets.
fn assert_valid(document: &Value) {
    assert!(document.to_string().len() < 256 << 10);
    let metadata = &document["_aws"];
    let millis = metadata["Timestamp"].as_u64().unwrap();
    assert!((1_700_000_000_000..10_000_000_000_000).contains(&millis), "milliseconds: {millis}");
    let directives = metadata["CloudWatchMetrics"].as_array().unwrap();
    assert!(!directives.is_empty());
    for directive in directives {
        let namespace = directive["Namespace"].as_str().unwrap();
        assert!((1..=255).contains(&namespace.len()));
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty());
        for set in sets {
            let keys = set.as_array().unwrap();
            assert!(keys.len() <= 9);
            for key in keys {
                let target = document[key.as_str().unwrap()].as_str().unwrap();
                assert!((1..=255).contains(&target.len()), "{key}");
            }
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        let mut names = HashSet::new();
        for metric in metrics {
            let name = metric["Name"].as_str().unwrap();
            assert!((1..=255).contains(&name.len()) && names.insert(name));
            assert!(UNITS.contains(&metric["Unit"].as_str().unwrap()));
            assert!(document[name].is_number(), "{name}");
        }
    }
}

fn message() -> Message {
    Message {
        id: MessageId("m-1".to_owned()),
        receipt: Receipt("the-receipt".to_owned()),
        body: "the-body".to_owned(),
        receive_count: 1,
        sent_at: SystemTime::now() - Duration::from_secs(5),
        received_at: Instant::now(),
        group: None,
        attributes: Vec::new(),
    }
}

fn job() -> Job {
    Job {
        repository: soci_oci::Repository::new("r.example", "team/app").unwrap(),
        digest: Digest::sha256_of(b"image"),
        tag: None,
        event_id: None,
        since: None,
    }
}

fn received() -> Arc<JobInHand> {
    Arc::new(JobInHand::new(JobId(1), QueueKind::Live, &message()))
}

fn end(emf: &Emf, job: &Arc<JobInHand>, end: &JobEnd, elapsed: Duration) {
    emf.event(&Event::JobEnded { job, end, trouble: None, elapsed });
}

fn given_back() -> JobEnd {
    JobEnd { outcome: Outcome::Stopped, action: MessageAction::GiveBack }
}

#[test]
fn a_job_that_ended_is_one_valid_document() {
    let lines = Lines::default();
    let emf = Emf::new(EmfLines::to("SociIndexBuilder".parse().unwrap(), lines.clone()));
    let in_hand = received();
    in_hand.name_image(&job());
    for bytes in [40, 2] {
        in_hand.note(&ImageEvent::LayerRead { layer: &Digest::sha256_of(b"layer"), bytes });
    }
    let outcome = Outcome::Rejected(Why::new("gone", "line\nbreak and the reason"));
    let rejected = JobEnd { outcome, action: MessageAction::DeadLetter };
    end(&emf, &in_hand, &rejected, Duration::from_millis(1500));
    let document = lines.only();
    assert_valid(&document);
    let directive = &document["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], "SociIndexBuilder");
    assert_eq!(directive["Dimensions"], json!([[], ["Outcome"]]));
    let done = &document["_aws"]["CloudWatchMetrics"][1];
    assert_eq!(
        (&done["Dimensions"], &done["Metrics"][0]["Name"]),
        (&json!([[]]), &json!("JobsDone"))
    );
    assert_eq!(document["JobsDone"], 1);
    assert_eq!((&document["Jobs"], &document["JobSeconds"]), (&json!(1), &json!(1.5)));
    assert_eq!((&document["LayerBytes"], &document["Outcome"]), (&json!(42), &json!("rejected")));
    assert!(document["QueueSeconds"].as_f64().unwrap() >= 5.0);
    let age = &document["_aws"]["CloudWatchMetrics"][2];
    assert_eq!(
        (&age["Dimensions"], &age["Metrics"][0]["Name"]),
        (&json!([["Lane"]]), &json!("JobAgeSeconds"))
    );
    assert!(document["JobAgeSeconds"].as_f64().unwrap() >= 6.5, "waited and worked on");
    assert_eq!(document["Lane"], "live");
    assert_eq!(document["Repository"], "r.example/team/app");
    assert_eq!((&document["Reason"], &document["Tag"]), (&json!("gone"), &Value::Null));
    assert_eq!(document["MessageId"], "m-1");
    let text = document.to_string();
    assert!(!text.contains("the-receipt") && !text.contains("the-body"), "{text}");
}

#[test]
fn a_message_that_was_not_understood_is_a_valid_document_too() {
    let lines = Lines::default();
    let emf = Emf::new(EmfLines::to("N".parse().unwrap(), lines.clone()));
    end(&emf, &received(), &given_back(), Duration::ZERO);
    let document = lines.only();
    assert_valid(&document);
    assert!(document.get("Repository").is_none());
    assert_eq!(document["JobsDone"], 0, "it comes again");
}

#[test]
fn a_count_of_a_queue_is_a_valid_document() {
    let lines = Lines::default();
    let emf = Emf::new(EmfLines::to("N".parse().unwrap(), lines.clone()));
    let backlog = Backlog { visible: 7, in_flight: 2, delayed: 1 };
    emf.event(&Event::Counted { queue: QueueKind::Backfill, backlog });
    let document = lines.only();
    assert_valid(&document);
    assert_eq!(document["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Lane"]]));
    assert_eq!(document["Lane"], "backfill");
    let counts = ["MessagesVisible", "MessagesInFlight", "MessagesDelayed"];
    assert_eq!(counts.map(|name| document[name].clone()), [7, 2, 1].map(|n| json!(n)));
}

#[test]
fn a_reader_that_is_gone_stops_nothing() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let emf = Emf::new(EmfLines::to("N".parse().unwrap(), Gone));
    end(&emf, &received(), &given_back(), Duration::ZERO);
    emf.event(&Event::Counted { queue: QueueKind::Live, backlog: Backlog::default() });
}
