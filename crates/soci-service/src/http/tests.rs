use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use http::header::ACCEPT;
use http::{Method, Request};
use hyper_util::service::TowerToHyperService;
use soci_jobs::{JobEnd, MessageAction, Outcome, Why};
use soci_queue::{Message, MessageId, Receipt};
use tokio::time::{Instant, advance};

use super::*;
use crate::about::About;
use crate::event::{Event, EventSink, QueueKind};
use crate::job_in_hand::{JobId, JobInHand};
use crate::status_store::STUCK_AFTER;

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='alert(1)'>";

fn site() -> Site {
    let status_store = Arc::new(StatusStore::new(About::THIS));
    let metrics = Arc::new(Metrics::new(&About::THIS, &status_store));
    Site { status_store, metrics }
}

fn draining() -> Event<'static> {
    Event::Draining { until: Instant::now() + Duration::from_secs(90) }
}

async fn ask(site: &Site, method: Method, path: &str, accept: &str) -> (Response, String) {
    let request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
    let request = request.body(Body::empty()).unwrap();
    let service = TowerToHyperService::new(router(site.clone()));
    let mut response = hyper::service::Service::call(&service, request).await.unwrap();
    let body = std::mem::take(response.body_mut());
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    (response, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn get(site: &Site, path: &str) -> (StatusCode, String) {
    let (response, body) = ask(site, Method::GET, path, "*/*").await;
    (response.status(), body)
}

fn receive(store: &StatusStore, job: u64, id: &str) -> Arc<JobInHand> {
    let message = Message {
        id: MessageId(id.to_owned()),
        receipt: Receipt("the-receipt".to_owned()),
        body: "the-body".to_owned(),
        receive_count: 1,
        sent_at: SystemTime::now(),
        received_at: Instant::now(),
        group: None,
        attributes: Vec::new(),
    };
    let job = Arc::new(JobInHand::new(JobId(job), QueueKind::Live, &message));
    store.event(&Event::JobReceived { job: &job });
    job
}

fn end(store: &StatusStore, job: &Arc<JobInHand>, outcome: Outcome, action: MessageAction) {
    let end = &JobEnd { outcome, action };
    store.event(&Event::JobEnded { job, end, trouble: None, elapsed: Duration::ZERO });
}

#[tokio::test(start_paused = true)]
async fn it_is_alive_until_the_loop_is_stuck_and_while_it_drains() {
    let site = site();
    assert_eq!(get(&site, "/livez").await, (StatusCode::OK, "alive\n".to_owned()));
    advance(STUCK_AFTER * 2).await;
    let (status, text) = get(&site, "/livez").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("not turned for 60s"), "{text}");
    site.status_store.event(&draining());
    assert_eq!(get(&site, "/livez").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_between_the_first_answer_and_the_drain() {
    let site = site();
    let (status, text) = get(&site, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.starts_with("starting"), "{text}");
    let answered = Event::Answered { queue: QueueKind::Live, messages: 0 };
    site.status_store.event(&answered);
    assert_eq!(get(&site, "/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
    site.status_store.event(&draining());
    let (status, text) = get(&site, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.starts_with("draining"), "{text}");
}

#[tokio::test]
async fn metrics_are_open_metrics_whatever_is_accepted() {
    let site = site();
    for accept in ["application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "text/plain"] {
        let (response, text) = ask(&site, Method::GET, "/metrics", accept).await;
        assert_eq!(response.headers()[CONTENT_TYPE], metrics::CONTENT_TYPE);
        assert!(
            text.contains("# TYPE soci_index_builder_jobs counter") && text.ends_with("# EOF\n")
        );
    }
}

#[tokio::test]
async fn the_status_is_json() {
    let site = site();
    let (response, text) = ask(&site, Method::GET, "/status", "*/*").await;
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["service"]["state"], "starting");
}

#[tokio::test]
async fn head_works_and_other_methods_do_not() {
    let site = site();
    for path in ["/", "/status", "/status.txt", "/metrics", "/livez"] {
        let (response, body) = ask(&site, Method::HEAD, path, "*/*").await;
        assert_eq!((response.status(), body.as_str()), (StatusCode::OK, ""), "{path}");
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let (response, body) = ask(&site, method, path, "*/*").await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(response.headers()["allow"], "GET,HEAD");
            assert!(body.contains("Only GET and HEAD"), "{body}");
        }
    }
}

#[tokio::test]
async fn an_unknown_path_lists_the_routes_as_plain_text() {
    let site = site();
    let (response, text) = ask(&site, Method::GET, "/%3Cscript%3E", "*/*").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    for route in ["/status", "/metrics", "/livez", "/readyz"] {
        assert!(text.contains(route), "{text}");
    }
}

#[tokio::test]
async fn every_answer_is_guarded() {
    let site = site();
    for path in ["/", "/status", "/metrics", "/livez", "/readyz", "/nothing"] {
        let (response, _) = ask(&site, Method::GET, path, "*/*").await;
        let headers = response.headers();
        assert_eq!(headers[CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn hostile_text_is_escaped() {
    let site = site();
    receive(&site.status_store, 2, HOSTILE);
    for detail in [HOSTILE.to_owned(), HOSTILE.repeat(20)] {
        let job = receive(&site.status_store, 1, HOSTILE);
        let outcome = Outcome::Rejected(Why::new("hostile", detail));
        end(&site.status_store, &job, outcome, MessageAction::DeadLetter);
    }
    receive(&site.status_store, 1, HOSTILE);
    let (_, page) = get(&site, "/").await;
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert_eq!(page.matches("<script>").count(), 1, "only the page's own");
    assert!(!page.contains("<img"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn the_text_has_what_the_page_has() {
    let site = site();
    let store = &site.status_store;
    let (_, text) = get(&site, "/status.txt").await;
    assert!(text.starts_with("starting: no queue has answered yet\n"), "{text}");
    let answered = Event::Answered { queue: QueueKind::Live, messages: 1 };
    store.event(&answered);
    let backlog = soci_queue::Backlog { visible: 1234, in_flight: 1, delayed: 0 };
    store.event(&Event::Counted { queue: QueueKind::Live, backlog });
    let job = receive(store, 1, "m-1");
    job.name_image(&soci_push::Job {
        repository: soci_oci::Repository::new("r.example", "team/app").unwrap(),
        digest: soci_oci::Digest::sha256_of(b"image"),
        tag: Some("1.0".parse().unwrap()),
        event_id: None,
        since: None,
    });
    let other = receive(store, 2, "m-2");
    let why = Why::new("layer-rejected", "the first line\nlately\n  just now");
    end(store, &other, Outcome::Rejected(why), MessageAction::DeadLetter);
    advance(Duration::from_secs(5)).await;
    store.event(&Event::OutageBegan {
        reason: soci_indexer::Reason::Throttled,
        since: Instant::now(),
    });
    let (_, text) = get(&site, "/status.txt").await;
    let since = store.snapshot().outage.unwrap().since;
    for line in [
        format!(
            "registry-unreachable: different images fail for throttled since {since}; one job at a time is tried, and none is lost; it goes on by itself"
        ),
        "live      1\u{2009}234 waiting, 1 in flight, 0 delayed, counted 5 s ago".to_owned(),
        "  r.example/team/app:1.0".to_owned(),
        "    reading manifests, for 5.0 s".to_owned(),
        "  5 s ago     rejected        message m-2 in 0 ms".to_owned(),
        "    layer-rejected: the first line lately   just now".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn no_route_tells_a_receipt_or_a_body() {
    let site = site();
    receive(&site.status_store, 1, "m-1");
    let other = receive(&site.status_store, 2, "m-2");
    end(&site.status_store, &other, Outcome::Stopped, MessageAction::GiveBack);
    for path in ["/", "/status", "/status.txt", "/metrics"] {
        let (_, text) = get(&site, path).await;
        assert!(!text.contains("the-receipt") && !text.contains("the-body"), "{path}");
    }
}

#[tokio::test]
async fn the_page_asks_for_nothing_from_elsewhere() {
    let site = site();
    let (_, page) = get(&site, "/").await;
    let links: Vec<&str> = page
        .split(['"', '\''])
        .filter(|text| {
            text.starts_with("http:") || text.starts_with("https:") || text.starts_with("//")
        })
        .filter(|text| *text != "http://www.w3.org/2000/svg")
        .collect();
    assert_eq!(links, Vec::<&str>::new());
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\""), "{page}");
}

/// A job for this image that ends like that.
fn ended(store: &StatusStore, number: u64, tag: &str, outcome: Outcome) {
    let job = receive(store, number, &format!("message-{number}"));
    job.name_image(&soci_push::Job {
        repository: soci_oci::Repository::new("registry.example", "team/app").unwrap(),
        digest: soci_oci::Digest::sha256_of(tag.as_bytes()),
        tag: Some(tag.parse().unwrap()),
        event_id: None,
        since: None,
    });
    let action = match outcome {
        Outcome::Rejected(_) => MessageAction::DeadLetter,
        _ => MessageAction::Delete,
    };
    end(store, &job, outcome, action);
}

fn failed(reason: &'static str, detail: &str) -> Outcome {
    Outcome::Rejected(Why::new(reason, detail))
}

#[tokio::test(start_paused = true)]
async fn repeated_failures_of_one_image_are_one_row_and_others_are_not_hidden() {
    let site = site();
    for number in 0..5 {
        ended(&site.status_store, number, "1", failed("too-long", "it took too long"));
    }
    ended(&site.status_store, 5, "2", failed("too-long", "it took too long"));
    let (_, page) = get(&site, "/").await;
    assert_eq!(page.matches("it took too long").count(), 2, "{page}");
    assert!(page.contains("5 times, first"), "{page}");
    for number in 6..600 {
        ended(&site.status_store, number, "3", Outcome::Skipped(Why::new("artifact", "")));
    }
    let (_, page) = get(&site, "/").await;
    assert!(page.contains("5 times, first"), "many good ends do not hide the failures before");
}

#[tokio::test(start_paused = true)]
async fn the_reader_chooses_among_the_jobs_that_ended() {
    let site = site();
    ended(&site.status_store, 1, "one", failed("too-long", "slow"));
    ended(&site.status_store, 2, "two", Outcome::Skipped(Why::new("artifact", "a chart")));
    for (query, one, two) in [
        ("", true, true),
        ("?image=app:one", true, false),
        ("?outcome=skipped", false, true),
        ("?reason=too-long", true, false),
        ("?reason=too-long&image=two", false, false),
        ("?x=y", true, true),
    ] {
        let (status, page) = get(&site, &format!("/{query}")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!((page.contains("slow"), page.contains("a chart")), (one, two), "{query}");
    }
    let (_, page) = get(&site, "/?image=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(page.contains("None of the last 2 jobs is like that"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn reasons_lead_to_the_runbook_where_it_is_known_and_digests_are_short() {
    let digest = soci_oci::Digest::sha256_of(b"layer").to_string();
    let detail = format!("layer {digest} is cut short");
    let site = site();
    ended(&site.status_store, 1, "1", failed("layer-rejected", &detail));
    let (_, page) = get(&site, "/").await;
    assert!(page.contains("title=\"docs/RUNBOOK.md#layer-rejected\""), "{page}");
    let shown = page.replace(&format!("title=\"{digest}\""), "");
    assert!(!shown.contains(&digest), "the whole digest is only on demand: {shown}");

    let runbook = "https://wiki.example/soci".parse().unwrap();
    let status_store = Arc::new(StatusStore::new(About::THIS).with_runbook(runbook));
    let metrics = Arc::new(Metrics::new(&About::THIS, &status_store));
    let site = Site { status_store, metrics };
    ended(&site.status_store, 1, "1", failed("layer-rejected", &detail));
    let (_, page) = get(&site, "/").await;
    assert!(page.contains("href=\"https://wiki.example/soci#layer-rejected\""), "{page}");
    assert!(page.contains("href=\"https://wiki.example/soci#starting\""), "{page}");
    let (_, status) = get(&site, "/status").await;
    assert!(status.contains("\"runbook\":\"https://wiki.example/soci\""), "{status}");
}

#[tokio::test(start_paused = true)]
async fn letters_that_were_looked_at_are_listed_and_disarmed() {
    use soci_queue::failure;

    let site = site();
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let message = Message {
        id: MessageId("letter-1".to_owned()),
        receipt: Receipt("the-receipt".to_owned()),
        body: HOSTILE.to_owned(),
        receive_count: 1,
        sent_at: SystemTime::now() - Duration::from_hours(3),
        received_at: Instant::now(),
        group: None,
        attributes: vec![text(failure::REASON, "layer-memory"), text(failure::MESSAGE, HOSTILE)],
    };
    let letters = [crate::dead_letters::Letter::of(&message)];
    let backlog = soci_queue::Backlog { visible: 1, in_flight: 0, delayed: 0 };
    site.status_store.event(&Event::DeadLettersCounted { backlog });
    let (_, page) = get(&site, "/").await;
    assert!(!page.contains("id=\"letters\""), "nobody looked at them");
    site.status_store.event(&Event::LettersSeen { letters: &letters, more: false });
    let (_, page) = get(&site, "/").await;
    assert!(page.contains("layer-memory") && page.contains("letter-1"), "{page}");
    assert!(page.contains("oldest 3 h"), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("the-receipt"), "{page}");
    let (_, status) = get(&site, "/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["dead_letters"]["letters"][0]["reason"], "layer-memory");
}

#[tokio::test(start_paused = true)]
async fn the_last_hour_is_drawn_without_anything_from_elsewhere() {
    let site = site();
    ended(&site.status_store, 1, "1", failed("too-long", "slow"));
    let backlog = soci_queue::Backlog { visible: 40, in_flight: 0, delayed: 0 };
    site.status_store.event(&Event::Counted { queue: QueueKind::Live, backlog });
    advance(Duration::from_mins(2)).await;
    ended(&site.status_store, 2, "2", Outcome::Skipped(Why::new("artifact", "")));
    let (_, page) = get(&site, "/").await;
    assert_eq!(page.matches("<svg").count(), 3, "{page}");
    assert!(page.contains("1 job failed") && page.contains("1 job skipped"), "{page}");
    assert!(page.contains("40 waiting"), "{page}");
    assert!(!page.contains("href=\"http") && !page.contains("src="), "{page}");
}
