//! AWS in the place of the SDK's HTTP client: every request is answered by a closure.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::{Value, json};
use soci_aws::sdk::{ATTEMPT_TIMEOUT, CALL_TIMEOUT, SdkConfig};

/// Identifier that every answer carries.
pub(crate) const REQUEST_ID: &str = "4b4a2f3e-0000-5000-8000-000000000001";

/// The region of the configuration.
pub(crate) const REGION: &str = "eu-west-1";

/// How a request ends.
pub(crate) enum Answer {
    /// It succeeds.
    Ok(Value),
    /// The service refuses it.
    Refused { status: u16, code: &'static str },
    /// Something that is not the service answers.
    Html(u16),
    /// No connection comes about.
    Unreachable,
    /// It succeeds after this time.
    Late(Duration, Value),
}

/// The service, and what it was asked.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Shared>);

struct Shared {
    answer: Mutex<Box<Closure>>,
    calls: Mutex<Vec<(String, Value)>>,
    hosts: Mutex<Vec<String>>,
}

type Closure = dyn FnMut(&str, &Value) -> Answer + Send;

impl Fake {
    /// A service that `answer` gives the answers of, from the operation's name and the request.
    pub(crate) fn new(answer: impl FnMut(&str, &Value) -> Answer + Send + 'static) -> Self {
        let (answer, calls) = (Mutex::new(Box::new(answer) as _), Mutex::default());
        Self(Arc::new(Shared { answer, calls, hosts: Mutex::default() }))
    }

    /// A service that always refuses.
    pub(crate) fn refusing(status: u16, code: &'static str) -> Self {
        Self::new(move |_, _| Answer::Refused { status, code })
    }

    /// Configuration of clients that ask it.
    pub(crate) fn config(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .build();
        let credentials = Credentials::new("id", "key", None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .retry_config(RetryConfig::standard())
            .timeout_config(timeouts)
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .build()
    }

    /// The hosts that were asked, in order.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.0.hosts.lock().unwrap().clone()
    }

    /// The requests for an operation so far.
    pub(crate) fn calls(&self, operation: &str) -> Vec<Value> {
        let calls = self.0.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }
}

impl HttpConnector for Fake {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let host = request.uri().split('/').nth(2).unwrap_or_default().to_owned();
        self.0.hosts.lock().unwrap().push(host);
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
        let answer = (self.0.answer.lock().unwrap())(&operation, &body);
        self.0.calls.lock().unwrap().push((operation, body));
        HttpConnectorFuture::new(async move {
            let (status, error, body) = match answer {
                Answer::Ok(value) => {
                    // No answer is there before the others have had their turn.
                    tokio::task::yield_now().await;
                    (200, None, value.to_string())
                }
                Answer::Late(time, value) => {
                    tokio::time::sleep(time).await;
                    (200, None, value.to_string())
                }
                Answer::Refused { status, code } => {
                    let body = json!({"__type": format!("com.amazonaws#{code}"), "message": "no"});
                    (status, Some(code), body.to_string())
                }
                Answer::Html(status) => (status, None, "<html></html>".to_owned()),
                Answer::Unreachable => {
                    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                    return Err(ConnectorError::io(refused.into()));
                }
            };
            let mut response = HttpResponse::new(status.try_into().unwrap(), body.into());
            response.headers_mut().insert("x-amzn-requestid", REQUEST_ID);
            if let Some(code) = error {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            Ok(response)
        })
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").finish_non_exhaustive()
    }
}
