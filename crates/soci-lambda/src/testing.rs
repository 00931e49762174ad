//! Lambda's runtime API as a server in this process, and functions run against it as Lambda runs
//! them: as processes. [`FakeAws`] is what the functions call.
//!
//! Source: AWS Lambda developer guide, "Using the Lambda runtime API for custom runtimes".

mod aws;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot};

pub use aws::{AwsCall, FakeAws};

/// An ECR event about a push of `team/app:v1`, with what `change` does to it.
pub fn push_event(change: impl FnOnce(&mut Value)) -> String {
    let mut event = json!({
        "source": "aws.ecr", "detail-type": "ECR Image Action",
        "account": "123456789012", "region": "eu-west-1",
        "detail": {
            "action-type": "PUSH", "result": "SUCCESS", "repository-name": "team/app",
            "image-digest": format!("sha256:{}", "a".repeat(64)), "image-tag": "v1",
        },
    });
    change(&mut event);
    event.to_string()
}

/// Time that a function gets to start.
const GRACE: Duration = Duration::from_secs(30);

/// What a function answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionAnswer {
    /// Its response.
    Response(String),
    /// Its error, the JSON object as it was sent.
    Error(String),
}

/// Lambda's runtime API. Clones are the same server.
#[derive(Clone, Debug)]
pub struct FakeRuntime {
    address: SocketAddr,
    shared: Arc<InvocationQueue>,
}

#[derive(Debug, Default)]
struct InvocationQueue {
    state: Mutex<PendingInvocations>,
    more: Notify,
}

#[derive(Debug, Default)]
struct PendingInvocations {
    events: VecDeque<Event>,
    running: Vec<Event>,
    invocations: usize,
}

#[derive(Debug)]
struct Event {
    id: String,
    payload: String,
    deadline: SystemTime,
    answer: oneshot::Sender<FunctionAnswer>,
}

impl FakeRuntime {
    /// Starts the server on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn start() -> Self {
        let shared = Arc::new(InvocationQueue::default());
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(Arc::clone(&shared));
        let (listener, address) = listen().await;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// A command that runs `program` as the function's `bootstrap`, with what Lambda sets and
    /// nothing else of this process's environment. The process ends with the [`Child`].
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.prepare(&mut command);
        command
    }

    /// Gives a command the environment that Lambda sets.
    pub fn prepare(&self, command: &mut Command) {
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", self.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "function")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
    }

    /// Invokes the function and waits for its answer; Lambda ends the invocation after `timeout`.
    ///
    /// # Panics
    /// If the function does not answer in time.
    pub async fn invoke(&self, payload: impl Into<String>, timeout: Duration) -> FunctionAnswer {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            state.invocations += 1;
            let id = format!("request-{}", state.invocations);
            let deadline = SystemTime::now() + timeout;
            state.events.push_back(Event { id, payload: payload.into(), deadline, answer });
        }
        self.shared.more.notify_one();
        match tokio::time::timeout(timeout + GRACE, answered).await {
            Ok(Ok(answer)) => answer,
            _ => panic!("the function gave no answer in {timeout:?}"),
        }
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    match listener.and_then(|listener| listener.local_addr().map(|address| (listener, address))) {
        Ok(pair) => pair,
        Err(error) => panic!("no port on 127.0.0.1 can be had: {error}"),
    }
}

/// Stops a function and gives what it has logged on standard output, line by line.
///
/// # Panics
/// If its output cannot be read.
pub async fn stop(mut function: Child) -> Vec<String> {
    // It may have ended by itself.
    let _ = function.start_kill();
    match function.wait_with_output().await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        Err(error) => panic!("the function's output cannot be read: {error}"),
    }
}

impl InvocationQueue {
    fn lock(&self) -> MutexGuard<'_, PendingInvocations> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, id: &str, answer: FunctionAnswer) -> StatusCode {
        let mut state = self.lock();
        let Some(position) = state.running.iter().position(|event| event.id == id) else {
            return StatusCode::FORBIDDEN;
        };
        // Whoever invoked may have stopped waiting.
        let _ = state.running.swap_remove(position).answer.send(answer);
        StatusCode::ACCEPTED
    }
}

async fn next(State(shared): State<Arc<InvocationQueue>>) -> impl IntoResponse {
    loop {
        let event = shared.lock().events.pop_front();
        let Some(event) = event else {
            shared.more.notified().await;
            continue;
        };
        let deadline = event.deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:function";
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("lambda-runtime-aws-request-id", event.id.clone()),
            ("lambda-runtime-deadline-ms", deadline.to_string()),
            ("lambda-runtime-invoked-function-arn", arn.to_owned()),
            ("content-type", "application/json".to_owned()),
        ] {
            if let Ok(value) = value.parse() {
                headers.insert(name, value);
            }
        }
        let payload = event.payload.clone();
        shared.lock().running.push(event);
        return (headers, payload);
    }
}

async fn response(
    State(shared): State<Arc<InvocationQueue>>,
    Path(id): Path<String>,
    body: String,
) -> StatusCode {
    shared.answer(&id, FunctionAnswer::Response(body))
}

async fn error(
    State(shared): State<Arc<InvocationQueue>>,
    Path(id): Path<String>,
    body: String,
) -> StatusCode {
    shared.answer(&id, FunctionAnswer::Error(body))
}
