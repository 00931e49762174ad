use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::put;
use http::StatusCode;
use soci_jobs::{JobEnd, MessageAction, Outcome};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::event::QueueKind;
use crate::job_in_hand::{JobId, JobInHand};

/// A task that keeps what it was told, and when, in seconds since the start.
#[derive(Clone, Debug)]
struct FakeTask {
    started: Instant,
    told: Arc<Mutex<Vec<(u64, bool)>>>,
    failures: Arc<Mutex<VecDeque<bool>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("a test has asked for a failure")]
struct Injected;

impl TaskProtection for FakeTask {
    type Error = Injected;

    async fn set(&self, protection: Protection) -> Result<(), Injected> {
        let protected = protection == Protection::Minutes(Minutes(60));
        self.told.lock().unwrap().push((self.started.elapsed().as_secs(), protected));
        let fails = self.failures.lock().unwrap().pop_front().unwrap_or_default();
        if fails { Err(Injected) } else { Ok(()) }
    }
}

struct Setup {
    task: FakeTask,
    jobs: channel::Sender<usize>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Setup {
    fn new(failures: &[bool]) -> Self {
        let task = FakeTask {
            started: Instant::now(),
            told: Arc::default(),
            failures: Arc::new(Mutex::new(failures.iter().copied().collect())),
        };
        let (jobs, counted) = channel::channel(0);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(protect(
            task.clone(),
            counted,
            ProtectionSettings::default(),
            async move { stopped.await.unwrap_or_default() },
        ));
        Self { task, jobs, stop, running }
    }

    /// Lets time pass with so many jobs.
    async fn pass(&self, jobs: usize, seconds: u64) {
        self.jobs.send_replace(jobs);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    async fn end(self) -> Vec<(u64, bool)> {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
        std::mem::take(&mut self.task.told.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_task_is_never_protected() {
    let setup = Setup::new(&[]);
    setup.pass(0, 100_000).await;
    assert_eq!(setup.end().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_protected_with_its_first_job_and_released_a_while_after_its_last() {
    let setup = Setup::new(&[]);
    setup.pass(0, 10).await;
    setup.pass(1, 5).await;
    setup.pass(2, 5).await;
    setup.pass(0, 100).await;
    assert_eq!(setup.end().await, [(10, true), (50, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_between_jobs_costs_no_call() {
    let setup = Setup::new(&[]);
    for _ in 0..20 {
        setup.pass(1, 5).await;
        setup.pass(0, 29).await;
    }
    setup.pass(0, 100).await;
    assert_eq!(setup.end().await, [(0, true), (19 * 34 + 5 + 30, false)]);
}

#[tokio::test(start_paused = true)]
async fn protection_is_renewed_before_it_ends() {
    let setup = Setup::new(&[]);
    setup.pass(1, 3000).await;
    assert_eq!(setup.end().await, [(0, true), (1800, true), (3000, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_never_idle_lets_a_deployment_through_once_an_hour() {
    let setup = Setup::new(&[]);
    for _ in 0..80 {
        setup.pass(1, 50).await;
        setup.pass(2, 50).await;
    }
    assert_eq!(
        setup.end().await,
        [
            (0, true),
            (1800, true),
            (3600, false),
            (3780, true),
            (3780 + 1800, true),
            (3780 + 3600, false),
            (2 * 3780, true),
            (8000, false)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_release_of_a_busy_task_that_fails_is_tried_again() {
    let setup = Setup::new(&[false, false, true]);
    setup.pass(1, 3700).await;
    assert_eq!(setup.end().await, [(0, true), (1800, true), (3600, false), (3615, false)]);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_end_while_the_task_is_let_go_leave_nothing_to_release() {
    let setup = Setup::new(&[]);
    setup.pass(1, 3700).await;
    setup.pass(0, 1000).await;
    setup.pass(1, 10).await;
    let told = setup.end().await;
    assert_eq!(told, [(0, true), (1800, true), (3600, false), (4700, true), (4710, false)]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_while_there_are_jobs() {
    let setup = Setup::new(&[true, true, false, false, true]);
    setup.pass(1, 60).await;
    setup.pass(0, 60).await;
    // Protected at the third try; released after 30 idle seconds.
    assert_eq!(setup.end().await, [(0, true), (15, true), (30, true), (90, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_protection_without_an_answer_is_released_too() {
    let setup = Setup::new(&[true, true, true]);
    setup.pass(1, 20).await;
    setup.pass(0, 60).await;
    let told = setup.end().await;
    // The first release fails and is tried again.
    assert_eq!(told, [(0, true), (15, true), (50, false), (65, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_released_when_the_service_has_drained() {
    let setup = Setup::new(&[]);
    setup.pass(1, 7).await;
    assert_eq!(setup.end().await, [(0, true), (7, false)]);
}

#[tokio::test(start_paused = true)]
async fn open_jobs_are_those_received_and_not_ended() {
    let (open, count) = OpenJobs::new();
    let queue = soci_sandbox::MemoryQueue::named("q");
    let text = soci_queue::Outgoing { body: "b".to_owned(), group: None, attributes: Vec::new() };
    soci_queue::Queue::send(&queue, &text).await.unwrap();
    let message = queue.messages().remove(0).message;
    let jobs = [1, 2].map(|id| Arc::new(JobInHand::new(JobId(id), QueueKind::Live, &message)));
    for job in &jobs {
        open.event(&Event::JobReceived { job });
    }
    let end = JobEnd { outcome: Outcome::Stopped, action: MessageAction::GiveBack };
    for (job, left) in jobs.iter().zip([1, 0]) {
        open.event(&Event::JobEnded { job, end: &end, trouble: None, elapsed: Duration::ZERO });
        assert_eq!(*count.borrow(), left);
    }
}

#[test]
fn minutes_stay_within_what_ecs_allows() {
    assert_eq!([0, 1, 60, 2880, 3000].map(|n| Minutes::new(n).get()), [1, 1, 60, 2880, 2880]);
}

/// An agent that gives one answer, and the body that it got.
async fn asked(status: u16, answer: &'static str) -> (Result<(), ProtectionError>, String) {
    let got = Arc::new(Mutex::new(String::new()));
    let handler = {
        let got = got.clone();
        move |body: String| async move {
            *got.lock().unwrap() = body;
            (StatusCode::from_u16(status).unwrap(), answer)
        }
    };
    let router = Router::new().route("/api/task/task-protection/v1/state", put(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/api/task", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let wanted = if answer.contains("false") {
        Protection::Released
    } else {
        Protection::Minutes(Minutes::new(60))
    };
    let result = EcsAgent::new(&uri).unwrap().set(wanted).await;
    server.abort();
    let got = got.lock().unwrap().clone();
    (result, got)
}

#[tokio::test]
async fn the_agent_is_asked_as_documented() {
    let answer = r#"{"protection":{"ExpirationDate":"2026-08-01T12:34:56Z","ProtectionEnabled":true,"TaskArn":"arn"}}"#;
    let (result, body) = asked(200, answer).await;
    result.unwrap();
    assert_eq!(body, r#"{"ProtectionEnabled":true,"ExpiresInMinutes":60}"#);
    let answer =
        r#"{"protection":{"ExpirationDate":null,"ProtectionEnabled":false,"TaskArn":"arn"}}"#;
    let (result, body) = asked(200, answer).await;
    result.unwrap();
    assert_eq!(body, r#"{"ProtectionEnabled":false}"#);
}

#[tokio::test]
async fn refusals_name_their_reason_whatever_their_status() {
    for (status, answer, words) in [
        (
            200,
            r#"{"failure":{"Arn":"arn","Detail":null,"Reason":"TASK_NOT_VALID"}}"#,
            "the ECS agent answered 200 OK: TASK_NOT_VALID",
        ),
        (
            400,
            r#"{"requestID":"1","error":{"Arn":"arn","Code":"AccessDeniedException","Message":"m"}}"#,
            "the ECS agent answered 400 Bad Request: AccessDeniedException",
        ),
        (
            404,
            "404 page not found",
            "the ECS agent's answer is not understood (status 404 Not Found)",
        ),
        (200, "{}", "the ECS agent's answer is not understood (status 200 OK)"),
    ] {
        let error = asked(status, answer).await.0.unwrap_err();
        assert_eq!(error.to_string(), words);
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = EcsAgent::new(&uri).unwrap().set(Protection::Released).await.unwrap_err();
    assert!(matches!(error, ProtectionError::Request(_)), "{error}");
}

#[test]
fn an_agent_needs_an_address() {
    for uri in ["", "169.254.170.2/api", "file:///x", "http://"] {
        let error = EcsAgent::new(uri).unwrap_err();
        assert!(matches!(error, ProtectionError::Address { .. }) && !error.is_transient());
    }
}
