//! AWS as a server: ECR's token, and queues that give the messages they were told and take letters.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::stage::{Stage, listen};

/// What the services have to give, and what they were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// Bodies of messages, the first to be received last.
    messages: Vec<String>,
    received: usize,
    /// What was sent, with its attributes.
    letters: Vec<String>,
    token: String,
}

impl Services {
    /// Gives this token of ECR and these messages. The URL of the services.
    pub(crate) async fn start(&self, token: &str, messages: &[String]) -> String {
        {
            let mut book = self.0.lock().unwrap();
            token.clone_into(&mut book.token);
            book.messages = messages.iter().rev().cloned().collect();
        }
        let router = Router::new().fallback(answer).with_state(self.clone());
        let (listener, address) = listen().await;
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// What was sent to a queue.
    pub(crate) fn letters(&self) -> Vec<String> {
        self.0.lock().unwrap().letters.clone()
    }
}

async fn answer(State(services): State<Services>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.rsplit('.').next()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    match operation {
        "GetAuthorizationToken" => {
            let ends = SystemTime::now() + Duration::from_hours(12);
            let ends = ends.duration_since(UNIX_EPOCH).unwrap().as_secs();
            let token = services.0.lock().unwrap().token.clone();
            let data = json!({
                "authorizationToken": token, "expiresAt": ends,
                "proxyEndpoint": "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            });
            // A field more, as an answer may get one; it is parsed with the rest.
            let answer = json!({ "authorizationData": [data], "note": Stage::ANSWER });
            answered(&answer)
        }
        "ReceiveMessage" => {
            let message = {
                let mut book = services.0.lock().unwrap();
                book.received += 1;
                book.messages.pop().map(|body| (book.received, body))
            };
            let Some((number, body)) = message else {
                // A long poll, cut short.
                tokio::time::sleep(Duration::from_millis(300)).await;
                return answered(&json!({}));
            };
            answered(&json!({ "Messages": [{
                "MessageId": format!("message-{number}"), "ReceiptHandle": Stage::RECEIPT, "Body": body,
                "Attributes": { "ApproximateReceiveCount": "1" },
            }] }))
        }
        "SendMessage" => {
            services.0.lock().unwrap().letters.push(body.to_string());
            answered(&json!({ "MessageId": "letter-1" }))
        }
        // In SQS's words.
        "DeleteMessage" | "ChangeMessageVisibility" => refused(
            "InvalidParameterValue",
            &format!(
                "Value {} for parameter ReceiptHandle is invalid. Reason: The receipt handle has \
                 expired.",
                body["ReceiptHandle"].as_str().unwrap_or_default()
            ),
        ),
        _ => refused("UnknownOperationException", "no"),
    }
}

fn answered(body: &Value) -> Response {
    body.to_string().into_response()
}

fn refused(code: &'static str, message: &str) -> Response {
    let body = json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": message });
    (StatusCode::BAD_REQUEST, [("x-amzn-errortype", code)], body.to_string()).into_response()
}
