//! AWS's services as a server in this process, as far as the functions call them.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::process::Command;

use super::listen;

/// A call of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCall {
    /// The operation as the header `X-Amz-Target` names it, without its prefix: `SendMessage`.
    pub operation: String,
    /// What was sent.
    pub body: Value,
}

/// SQS and ECR's API on one port. Clones are the same server.
#[derive(Clone)]
pub struct FakeAws {
    address: SocketAddr,
    shared: Arc<CallBook>,
}

#[derive(Default)]
struct CallBook {
    state: Mutex<CallsAndAnswers>,
}

#[derive(Default)]
struct CallsAndAnswers {
    calls: Vec<AwsCall>,
    answers: Vec<(String, Value)>,
    failures: VecDeque<(String, u16)>,
}

impl FakeAws {
    /// Starts the server on a free port of 127.0.0.1. It takes messages; what else
    /// it answers has to be told.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn start() -> Self {
        let shared = Arc::new(CallBook::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let (listener, address) = listen().await;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Makes a command find this server in the place of AWS's.
    pub fn prepare(&self, command: &mut Command) {
        command.env("AWS_ENDPOINT_URL", format!("http://{}", self.address));
    }

    /// The URL of the queue of this name.
    pub fn queue_url(&self, name: &str) -> String {
        format!("http://{}/123456789012/{name}", self.address)
    }

    /// Answers every further call of `operation` with `body`.
    pub fn answers(&self, operation: &str, body: Value) {
        self.shared.lock().answers.push((operation.to_owned(), body));
    }

    /// Fails the next call of `operation` with this status.
    pub fn fails(&self, operation: &str, status: u16) {
        self.shared.lock().failures.push_back((operation.to_owned(), status));
    }

    /// The calls of `operation` so far.
    pub fn calls_of(&self, operation: &str) -> Vec<AwsCall> {
        let state = self.shared.lock();
        state.calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }
}

impl fmt::Debug for FakeAws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeAws").field("address", &self.address).finish_non_exhaustive()
    }
}

impl CallBook {
    fn lock(&self) -> MutexGuard<'_, CallsAndAnswers> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(shared): State<Arc<CallBook>>, headers: HeaderMap, body: String) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.rsplit('.').next()).unwrap_or_default();
    let operation = operation.to_owned();
    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
    let mut state = shared.lock();
    state.calls.push(AwsCall { operation: operation.clone(), body });
    let request_id = [("x-amzn-requestid", "aws-request-1")];
    let failure = state.failures.iter().position(|(failing, _)| *failing == operation);
    if let Some((_, status)) = failure.and_then(|position| state.failures.remove(position)) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, request_id, json!({ "__type": "Failure" }).to_string()).into_response();
    }
    let told = state.answers.iter().rev().find(|(known, _)| *known == operation);
    match told.map(|(_, answer)| answer) {
        Some(answer) => (request_id, answer.to_string()).into_response(),
        None if operation == "SendMessage" => {
            let id = format!("message-{}", state.calls.len());
            (request_id, json!({ "MessageId": id }).to_string()).into_response()
        }
        None => {
            let unknown = json!({ "__type": "UnknownOperationException" }).to_string();
            (StatusCode::BAD_REQUEST, request_id, unknown).into_response()
        }
    }
}
