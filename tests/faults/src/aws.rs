//! SQS and ECR's `GetAuthorizationToken` in this process, over HTTP as the SDK speaks it (AWS JSON 1.0
//! and 1.1), with troubles on demand.
//!
//! The access key of a call says who calls, so every worker has one of its own. Signatures are not
//! checked.

mod queue;
mod trouble;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use queue::{LEASE, MAX_RECEIVES, QueuedMessage, Queues};
pub(crate) use trouble::{AwsTrouble, PlannedTrouble, Series, TroublePlan};

/// Account of everything.
pub(crate) const ACCOUNT: &str = "123456789012";

/// What jobs call the registry.
pub(crate) const ECR_HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// The user and the password that the token stands for.
pub(crate) const USER: &str = "AWS";
pub(crate) const PASSWORD: &str = "password-of-the-fault-campaign";

/// Most bytes of a request.
const MAX_REQUEST: usize = 16 << 20;

/// The services. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Aws {
    core: Arc<AwsCore>,
}

#[derive(Debug)]
struct AwsCore {
    address: SocketAddr,
    queues: Mutex<Queues>,
    troubles: Mutex<TroublePlan>,
    changed: Notify,
}

/// How a call ends.
type Ended = Result<Value, (u16, &'static str)>;

impl Aws {
    /// Starts the services on a free port. Waits pass `speed` times faster.
    pub(crate) async fn start(speed: u32) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let core = AwsCore {
            address: listener.local_addr()?,
            queues: Mutex::new(Queues::new(speed)),
            troubles: Mutex::default(),
            changed: Notify::new(),
        };
        let aws = Self { core: Arc::new(core) };
        let served = aws.clone();
        let answer = async move |request: Request| answer(served, request).await;
        let router = Router::new().fallback(answer);
        // Ends with the process.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(aws)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.core.address)
    }

    pub(crate) fn queue_url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT}/{queue}", self.endpoint())
    }

    /// The queues. Not to be held over anything that waits.
    pub(crate) fn queues(&self) -> MutexGuard<'_, Queues> {
        self.core.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The troubles. Not to be held over anything that waits.
    pub(crate) fn troubles(&self) -> MutexGuard<'_, TroublePlan> {
        self.core.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message and gives its identifier.
    pub(crate) fn send(&self, queue: &str, body: &str) -> anyhow::Result<String> {
        let sent = self.queues().send(queue, &json!({ "MessageBody": body }));
        self.core.changed.notify_waiters();
        sent.map_err(|code| anyhow::anyhow!("{queue}: {code}"))
    }

    /// Says that whoever has this access key is dead.
    pub(crate) fn holder_died(&self, caller: &str) {
        self.queues().holder_died(caller);
        self.core.changed.notify_waiters();
    }

    async fn answer(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let target = text(&head, "x-amz-target");
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let caller = access_key(text(&head, "authorization")).unwrap_or_default();
        let Ok(body) = to_bytes(body, MAX_REQUEST).await else {
            return answered(Err((413, "RequestEntityTooLarge")));
        };
        let call: Value = serde_json::from_slice(&body).unwrap_or_default();
        let url = call["QueueUrl"].as_str().unwrap_or_default();
        let queue = url.rsplit('/').next().unwrap_or_default();
        let trouble = self.troubles().next(&caller, &operation, queue);
        match &trouble {
            Some(AwsTrouble::Refused(status, code)) => return answered(Err((*status, code))),
            Some(AwsTrouble::Page(status)) => return page(*status),
            Some(AwsTrouble::Said(body)) => return with_body(200, (*body).to_owned()),
            Some(AwsTrouble::Silence) => std::future::pending().await,
            Some(AwsTrouble::HangUp) => hang_up(),
            Some(AwsTrouble::Forgotten) => return answered(Ok(json!({}))),
            Some(AwsTrouble::LeasesForgotten) => {
                self.queues().forget_leases(queue);
                self.core.changed.notify_waiters();
            }
            _ => {}
        }
        let ended = self.carry_out(&operation, queue, &call, &caller, trouble.as_ref()).await;
        match trouble {
            Some(AwsTrouble::AnswerLost) => hang_up(),
            Some(AwsTrouble::Late(time)) => sleep(time).await,
            _ => {}
        }
        answered(ended)
    }

    async fn carry_out(
        &self,
        operation: &str,
        queue: &str,
        call: &Value,
        caller: &str,
        trouble: Option<&AwsTrouble>,
    ) -> Ended {
        if operation == "GetAuthorizationToken" {
            return Ok(authorization(trouble));
        }
        if operation == "GetQueueUrl" {
            let name = call["QueueName"].as_str().unwrap_or_default();
            return Ok(json!({ "QueueUrl": self.queue_url(name) }));
        }
        if !self.queues().exists(queue) {
            return Err((400, "QueueDoesNotExist"));
        }
        let ended = match operation {
            "ReceiveMessage" => return Ok(self.receive(queue, call, caller, trouble).await),
            "GetQueueAttributes" => Ok(json!({ "Attributes": self.queues().attributes(queue) })),
            "SendMessage" | "DeleteMessage" | "ChangeMessageVisibility" => {
                self.apply(operation, queue, call).map_err(|code| (400, code))
            }
            "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => {
                Ok(self.apply_batch(operation.trim_end_matches("Batch"), queue, call))
            }
            _ => Err((400, "InvalidAction")),
        };
        self.core.changed.notify_waiters();
        ended
    }

    fn apply(&self, operation: &str, queue: &str, call: &Value) -> Result<Value, &'static str> {
        let mut queues = self.queues();
        let receipt = call["ReceiptHandle"].as_str().unwrap_or_default();
        match operation {
            "SendMessage" => queues.send(queue, call).map(|id| json!({ "MessageId": id })),
            "DeleteMessage" => {
                queues.delete(queue, receipt);
                Ok(json!({}))
            }
            _ => {
                let time = Duration::from_secs(call["VisibilityTimeout"].as_u64().unwrap_or(30));
                queues.hide(queue, receipt, time).map(|()| json!({}))
            }
        }
    }

    fn apply_batch(&self, operation: &str, queue: &str, call: &Value) -> Value {
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in call["Entries"].as_array().into_iter().flatten() {
            match self.apply(operation, queue, entry) {
                Ok(mut done) => {
                    done["Id"] = entry["Id"].clone();
                    successful.push(done);
                }
                Err(code) => failed.push(
                    json!({ "Id": entry["Id"], "Code": code, "SenderFault": true, "Message": code }),
                ),
            }
        }
        json!({ "Successful": successful, "Failed": failed })
    }

    /// A long poll. A caller that goes away has taken nothing.
    async fn receive(
        &self,
        queue: &str,
        call: &Value,
        caller: &str,
        trouble: Option<&AwsTrouble>,
    ) -> Value {
        let number = |name: &str, otherwise| call[name].as_u64().unwrap_or(otherwise);
        let deadline = Instant::now() + Duration::from_secs(number("WaitTimeSeconds", 0));
        let max = usize::try_from(number("MaxNumberOfMessages", 1)).unwrap_or(1).min(10);
        let mut visibility = Duration::from_secs(number("VisibilityTimeout", 30));
        if trouble == Some(&AwsTrouble::AnswerLost) {
            // Nobody knows that he has it, so nobody measures this lease.
            visibility /= self.queues().speed;
        }
        let twice = trouble == Some(&AwsTrouble::Twice);
        loop {
            let changed = self.core.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let taken = self.queues().receive(queue, max, visibility, (caller, twice));
            if !taken.is_empty() || Instant::now() >= deadline {
                return json!({ "Messages": taken });
            }
            let next =
                self.queues().next_visible(queue).map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                () = changed => {}
                () = sleep_until(next) => {}
            }
        }
    }
}

async fn answer(aws: Aws, request: Request) -> Response {
    aws.answer(request).await
}

fn text<'a>(head: &'a Parts, name: &str) -> &'a str {
    head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The access key that signed a request.
fn access_key(authorization: &str) -> Option<String> {
    let (_, behind) = authorization.split_once("Credential=")?;
    Some(behind.split('/').next()?.to_owned())
}

/// What ECR answers who asks for a token.
fn authorization(trouble: Option<&AwsTrouble>) -> Value {
    let good = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let token = match trouble {
        Some(AwsTrouble::Token(text)) => (*text).to_owned(),
        Some(AwsTrouble::NoToken) => return json!({ "authorizationData": [] }),
        _ => good,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let ends = match trouble {
        Some(AwsTrouble::TokenExpired) => now.saturating_sub(3600),
        _ => now + 12 * 3600,
    };
    json!({ "authorizationData": [{
        "authorizationToken": token, "expiresAt": ends, "proxyEndpoint": format!("https://{ECR_HOST}"),
    }] })
}

fn answered(ended: Ended) -> Response {
    match ended {
        Ok(body) => with_body(200, body.to_string()),
        Err((status, code)) => {
            let body =
                json!({ "__type": format!("com.amazonaws#{code}"), "message": "as planned" });
            let mut response = with_body(status, body.to_string());
            if let Ok(code) = HeaderValue::from_str(code) {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            response
        }
    }
}

fn page(status: u16) -> Response {
    let mut response = with_body(status, "<html><body>a proxy's page</body></html>".to_owned());
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/html"));
    response
}

fn with_body(status: u16, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert("content-type", json);
    let id = HeaderValue::from_static("00000000-0000-5000-8000-000000000001");
    response.headers_mut().insert("x-amzn-requestid", id);
    response
}

/// Ends the task of the connection, and with it the connection, without an answer.
fn hang_up() -> ! {
    std::panic::resume_unwind(Box::new("the connection is closed, as planned"))
}
