//! The SDK's HTTP client: that of the registry, with the same proxies, authorities and algorithms.
//!
//! The SDK's own would be a second one in the program, with HTTP/2 and its own rules for proxies: `NO_PROXY` without
//! ports, and metadata services through proxies. Requests of these services are small and their bodies in memory.
//!
//! Certificates are loaded for the first request, some milliseconds and a megabyte that a process without
//! requests does not pay. What is wrong with them, or with a proxy's URL, is then the answer to every request.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use soci_registry::TlsOptions;

/// A connector for each of the timeouts that the SDK asks for.
pub(super) struct LazyHttpClient {
    tls: TlsOptions,
    /// Longest time to connect where the SDK names none.
    connect: Duration,
    connectors: Mutex<Vec<(Timeouts, SharedHttpConnector)>>,
}

/// What a connector is made for: longest times to connect and to wait for an answer.
type Timeouts = (Option<Duration>, Option<Duration>);

impl LazyHttpClient {
    pub(super) fn new(tls: TlsOptions, connect: Duration) -> Self {
        Self { tls, connect, connectors: Mutex::default() }
    }
}

impl HttpClient for LazyHttpClient {
    /// The connector of these settings. There are few: that of the services, and those of the
    /// providers of credentials.
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = connectors.iter().find(|(known, _)| *known == timeouts) {
            return connector.clone();
        }
        let connector = SharedHttpConnector::new(Connector {
            tls: self.tls.clone(),
            connect: timeouts.0.unwrap_or(self.connect),
            answer: timeouts.1,
            made: Arc::default(),
        });
        connectors.push((timeouts, connector.clone()));
        connector
    }
}

impl fmt::Debug for LazyHttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyHttpClient").finish_non_exhaustive()
    }
}

/// Sends requests of the SDK.
struct Connector {
    tls: TlsOptions,
    connect: Duration,
    answer: Option<Duration>,
    made: Arc<OnceLock<Result<reqwest::Client, String>>>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let made = self.made.get_or_init(|| {
            let client = soci_registry::http_client(&self.tls, self.connect);
            client.map_err(|error| soci_text::error_chain(&error))
        });
        let (client, answer) = (made.clone(), self.answer);
        HttpConnectorFuture::new(async move {
            // Who configured it wrong can mend it, and trying again does not.
            let client = client.map_err(|error| ConnectorError::user(error.into()))?;
            send(&client, request, answer).await
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

async fn send(
    client: &reqwest::Client,
    request: HttpRequest,
    answer: Option<Duration>,
) -> Result<HttpResponse, ConnectorError> {
    let user = ConnectorError::user;
    // Before another try the SDK asks for the connection, so as not to use it again, and complains where nobody tells it.
    // This client's connections are closed by those who find them broken.
    if let Some(capture) = request.extension::<CaptureSmithyConnection>() {
        let unknown = || ConnectionMetadata::builder().proxied(false).poison_fn(|| {}).build();
        capture.set_connection_retriever(move || Some(unknown()));
    }
    let request = request.try_into_http1x().map_err(|error| user(error.into()))?;
    let (parts, body) = request.into_parts();
    // Read to its end, as by that the SDK knows that it is sent: else it takes the wait for an answer, which is long for
    // messages of a queue, for an upload that has stalled.
    let bytes = body.collect().await.map_err(user)?.to_bytes();
    let request = http::Request::from_parts(parts, bytes);
    let request = reqwest::Request::try_from(request).map_err(|error| user(error.into()))?;
    let sent = client.execute(request);
    let sent = match answer {
        None => sent.await,
        Some(limit) => match tokio::time::timeout(limit, sent).await {
            Ok(sent) => sent,
            Err(late) => return Err(ConnectorError::timeout(late.into())),
        },
    };
    let response = sent.map_err(|error| {
        // Of the URL host and path are known, and the query is signed.
        let error = error.without_url();
        if error.is_builder() {
            ConnectorError::user(error.into())
        } else if error.is_timeout() {
            ConnectorError::timeout(error.into())
        } else {
            ConnectorError::io(error.into())
        }
    })?;
    let response: http::Response<reqwest::Body> = response.into();
    let response = HttpResponse::try_from(response.map(SdkBody::from_body_1_x));
    response.map_err(|error| ConnectorError::other(error.into(), None))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Answers one request, and gives what was sent.
    async fn server(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path?X-Amz-Signature=SECRET", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut sent = Vec::new();
            let mut piece = [0; 1024];
            while !sent.ends_with(b"body") {
                let read = stream.read(&mut piece).await.unwrap();
                sent.extend_from_slice(&piece[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.is_empty() {
                // Silent until nobody waits any more.
                let _ = stream.read(&mut piece).await;
            }
            String::from_utf8(sent).unwrap()
        });
        (url, served)
    }

    async fn post(url: &str, answer: Duration) -> Result<HttpResponse, ConnectorError> {
        let connector = Connector {
            tls: TlsOptions::default(),
            connect: PATIENCE,
            answer: Some(answer),
            made: Arc::default(),
        };
        let mut request = HttpRequest::new(SdkBody::from("body"));
        request.set_uri(url).unwrap();
        request.set_method("POST").unwrap();
        request.headers_mut().insert("x-amz-target", "Service.Call");
        connector.call(request).await
    }

    #[tokio::test]
    async fn a_request_and_its_answer_go_through_as_they_are() {
        let (url, served) = server(
            "HTTP/1.1 400 Bad Request\r\nx-amzn-requestid: 1\r\ncontent-length: 2\r\n\r\n{}",
        )
        .await;
        let response = post(&url, PATIENCE).await.unwrap();
        assert_eq!(response.status().as_u16(), 400);
        assert_eq!(response.headers().get("x-amzn-requestid"), Some("1"));
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(&body.to_bytes()[..], b"{}");
        let sent = served.await.unwrap();
        assert!(sent.starts_with("POST /path?X-Amz-Signature=SECRET HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("x-amz-target: Service.Call\r\n"), "{sent}");
        assert!(sent.contains("content-length: 4\r\n"), "{sent}");
    }

    #[tokio::test]
    async fn failures_are_of_the_kinds_that_the_sdk_repeats() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = post(&format!("http://{closed}/?SECRET"), PATIENCE).await.unwrap_err();
        assert!(error.is_io() && !format!("{error:?}").contains("SECRET"), "{error:?}");
        let (url, _served) = server("").await;
        let error = post(&url, Duration::from_millis(50)).await.unwrap_err();
        assert!(error.is_timeout() && !format!("{error:?}").contains("SECRET"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_as_long_as_a_queue_without_messages_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut connections = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.push(tokio::spawn(async move {
                    let mut sent = Vec::new();
                    let mut piece = [0; 4096];
                    while !sent.ends_with(b"}") {
                        let read = stream.read(&mut piece).await.unwrap();
                        sent.extend_from_slice(&piece[..read]);
                    }
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }));
                assert_eq!(connections.len(), 1, "it was asked again");
            }
        });
        let settings = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("eu-west-1"))
            .credentials_provider(aws_credential_types::Credentials::new(
                "id", "key", None, None, "test",
            ))
            .endpoint_url(&url)
            .http_client(LazyHttpClient::new(TlsOptions::default(), PATIENCE))
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .build();
        let client = aws_sdk_sqs::Client::from_conf(settings);
        let receive = client.receive_message().queue_url(format!("{url}/123456789012/jobs"));
        let received = receive.wait_time_seconds(20).send().await;
        assert!(received.is_ok(), "{received:?}");
        assert!(!served.is_finished());
    }
}
