//! Announcements on an event bus.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use soci_announce::testing::announcement;
use soci_announce::{
    Announcement, DeliveryEnd, Destination, OutboxLimits, OutboxObserver, Outboxes,
};
use soci_aws::EventBus;

use crate::fake::{Answer, Fake, REGION};

fn bus(fake: &Fake, name: &str) -> EventBus {
    EventBus::new(&fake.config(), name.parse().unwrap())
}

fn taken() -> Value {
    json!({"FailedEntryCount": 0, "Entries": [{"EventId": "e-1"}]})
}

fn not_taken(code: &str) -> Value {
    let entry = json!({"ErrorCode": code, "ErrorMessage": "said\nso"});
    json!({"FailedEntryCount": 1, "Entries": [entry]})
}

#[tokio::test]
async fn an_event_says_whose_it_is_what_it_is_and_where_it_goes() {
    let fake = Fake::new(|_, _| Answer::Ok(taken()));
    bus(&fake, "images").deliver(&announcement("1")).await.unwrap();
    let [call] = &fake.calls("PutEvents")[..] else { panic!("one call") };
    let [entry] = &call["Entries"].as_array().unwrap()[..] else { panic!("one event: {call}") };
    assert_eq!(entry["EventBusName"], "images");
    assert_eq!(entry["Source"], "soci-index-builder");
    assert_eq!(entry["DetailType"], "SOCI Image Ended");
    let detail: Announcement = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail, announcement("1"));
}

#[tokio::test]
async fn a_bus_is_asked_in_the_region_that_its_arn_names() {
    let fake = Fake::new(|_, _| Answer::Ok(taken()));
    let arn = "arn:aws:events:us-east-2:123456789012:event-bus/images";
    for (name, region) in [("images", REGION), (arn, "us-east-2")] {
        bus(&fake, name).deliver(&announcement("1")).await.unwrap();
        let host = fake.hosts().pop().unwrap();
        assert_eq!(host, format!("events.{region}.amazonaws.com"));
        let call = fake.calls("PutEvents").pop().unwrap();
        assert_eq!(call["Entries"][0]["EventBusName"], name);
    }
}

#[tokio::test]
async fn an_answer_that_holds_a_failure_is_one() {
    for (code, transient) in [
        ("ThrottlingException", true),
        ("InternalFailure", true),
        ("AccessDeniedException", false),
        ("MalformedDetail", false),
        ("NotAuthorizedForSourceException", false),
    ] {
        let fake = Fake::new(move |_, _| Answer::Ok(not_taken(code)));
        let error = bus(&fake, "images").deliver(&announcement("1")).await.unwrap_err();
        assert_eq!((error.transient, &*error.reason), (transient, &*format!("{code}: said so")));
        assert_eq!(fake.calls("PutEvents").len(), 1, "the outbox tries again, not the SDK");
    }
    let silent = Fake::new(|_, _| Answer::Ok(json!({"FailedEntryCount": 1, "Entries": [{}]})));
    assert!(bus(&silent, "images").deliver(&announcement("1")).await.unwrap_err().transient);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_told_as_passing_or_not() {
    for (status, code, transient) in [
        (400, "ThrottlingException", true),
        (500, "InternalException", true),
        (503, "ServiceUnavailable", true),
        (400, "AccessDeniedException", false),
        (400, "ResourceNotFoundException", false),
    ] {
        let fake = Fake::refusing(status, code);
        let error = bus(&fake, "images").deliver(&announcement("1")).await.unwrap_err();
        assert_eq!(error.transient, transient, "{code}: {error}");
        assert!(error.reason.contains(code), "{error}");
    }
    let away = Fake::new(|_, _| Answer::Unreachable);
    assert!(bus(&away, "images").deliver(&announcement("1")).await.unwrap_err().transient);
    let proxy = Fake::new(|_, _| Answer::Html(502));
    assert!(bus(&proxy, "images").deliver(&announcement("1")).await.unwrap_err().transient);
}

/// Counts what became of announcements.
#[derive(Default)]
struct Ends(Mutex<Vec<DeliveryEnd>>);

impl OutboxObserver for Ends {
    fn ended(&self, destination: &'static str, end: DeliveryEnd, _: u64) {
        assert_eq!(destination, "eventbridge");
        self.0.lock().unwrap().push(end);
    }
}

#[tokio::test(start_paused = true)]
async fn what_throttles_hangs_and_fails_in_part_takes_it_in_the_end() {
    let mut answers = vec![
        Answer::Ok(not_taken("ThrottlingException")),
        Answer::Late(Duration::from_hours(1), taken()),
        Answer::Late(Duration::from_hours(1), taken()),
        Answer::Refused { status: 400, code: "ThrottlingException" },
        Answer::Ok(taken()),
    ]
    .into_iter();
    let fake = Fake::new(move |_, _| answers.next().unwrap_or(Answer::Ok(taken())));
    let ends = Arc::new(Ends::default());
    let destination: Arc<dyn Destination> = Arc::new(bus(&fake, "images"));
    let observers: [Arc<dyn OutboxObserver>; 1] = [ends.clone()];
    let outboxes = Outboxes::to([destination], OutboxLimits::default(), &observers);
    outboxes.send(&announcement("1"));
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(*ends.0.lock().unwrap(), [DeliveryEnd::Delivered]);
}
