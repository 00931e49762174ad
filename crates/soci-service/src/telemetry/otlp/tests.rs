use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use soci_logs::testing::caught_by;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that hands out what it receives; its base URL.
async fn collector(status: StatusCode) -> (String, mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) {
    let (sent, received) = mpsc::unbounded_channel();
    let receive = move |State(sent): State<mpsc::UnboundedSender<(HeaderMap, Bytes)>>,
                        headers: HeaderMap,
                        body: Bytes| async move {
        let _ = sent.send((headers, body));
        status
    };
    let router = Router::new().route("/v1/traces", post(receive)).with_state(sent);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, received)
}

fn subscriber(provider: &SdkTracerProvider) -> impl tracing::Subscriber + Send + Sync + use<> {
    tracing_subscriber::registry().with(vec![layer(provider)])
}

fn under<S: tracing::Subscriber + Send + Sync + 'static>(subscriber: S, log: impl FnOnce()) {
    let _guard = caught_by(subscriber);
    log();
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_arrives_as_a_trace_when_it_is_flushed() {
    let (base, mut received) = collector(StatusCode::OK).await;
    let provider = provider(&Otlp { endpoint: Some(base) }).unwrap();
    under(subscriber(&provider), || {
        let job = tracing::info_span!("job", repository = "r.example/team/app");
        job.in_scope(|| {
            tracing::info_span!("layer").in_scope(|| tracing::info!("a layer is done"));
        });
    });
    shut_down(provider, PATIENCE).await;
    let (headers, body) = timeout(PATIENCE, received.recv()).await.unwrap().unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = trace(&body);
    assert_eq!(request.service.as_deref(), Some(SERVICE_NAME));
    let [layer, job] = request.spans.as_slice() else { panic!("{request:?}") };
    assert_eq!((layer.name.as_str(), job.name.as_str()), ("layer", "job"));
    assert_eq!(layer.trace, job.trace);
    assert_eq!((layer.parent.as_slice(), job.parent.as_slice()), (job.id.as_slice(), &[][..]));
    for text in ["r.example/team/app", "a layer is done", "service.version"] {
        assert!(contains(&body, text), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_traces_of_their_own() {
    let (base, mut received) = collector(StatusCode::OK).await;
    let provider = provider(&Otlp { endpoint: Some(format!("{base}/")) }).unwrap();
    under(subscriber(&provider), || {
        tracing::info_span!("job").in_scope(|| {});
        tracing::info_span!("job").in_scope(|| {});
    });
    shut_down(provider, PATIENCE).await;
    let (_, body) = timeout(PATIENCE, received.recv()).await.unwrap().unwrap();
    let spans = trace(&body).spans;
    assert_eq!(spans.len(), 2);
    assert_ne!(spans[0].trace, spans[1].trace);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_silent_holds_up_neither_jobs_nor_the_end() {
    // It accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let provider = provider(&Otlp { endpoint: Some(base) }).unwrap();
    let started = Instant::now();
    under(subscriber(&provider), || {
        for _ in 0..10_000 {
            tracing::info_span!("job").in_scope(|| tracing::info!("more than the queue holds"));
        }
    });
    shut_down(provider, Duration::from_millis(100)).await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_go_on_after_a_request_that_was_never_answered() {
    let (sent, mut received) = mpsc::unbounded_channel();
    // The first request is taken and never answered, as by a collector that hangs.
    let receive = move |State(sent): State<mpsc::UnboundedSender<Bytes>>, body: Bytes| async move {
        let is_first = !contains(&body, "second");
        let _ = sent.send(body);
        if is_first {
            std::future::pending::<()>().await;
        }
    };
    let router = Router::new().route("/v1/traces", post(receive)).with_state(sent);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let provider = provider_with(&Otlp { endpoint }, Duration::from_millis(300)).unwrap();
    let subscriber = std::sync::Arc::new(subscriber(&provider));
    for name in ["first", "second"] {
        under(subscriber.clone(), || {
            tracing::info_span!("job", repository = name).in_scope(|| {});
        });
        let provider = provider.clone();
        let flushed = tokio::task::spawn_blocking(move || provider.force_flush()).await.unwrap();
        assert_eq!(flushed.is_ok(), name == "second", "{flushed:?}");
    }
    loop {
        let body = timeout(PATIENCE, received.recv()).await.unwrap().unwrap();
        if contains(&body, "second") {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_is_no_error_of_the_service() {
    let (base, mut received) = collector(StatusCode::FORBIDDEN).await;
    let provider = provider(&Otlp { endpoint: Some(base) }).unwrap();
    under(subscriber(&provider), || {
        tracing::info_span!("job").in_scope(|| {});
    });
    shut_down(provider, PATIENCE).await;
    assert!(received.recv().await.is_some());
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_an_error() {
    let refused = provider(&Otlp { endpoint: Some("http://a b".to_owned()) });
    assert!(matches!(refused, Err(TelemetryError::Otlp(_))), "{refused:?}");
}

/// What the tests look at of an `ExportTraceServiceRequest`.
#[derive(Debug, Default)]
struct Trace {
    service: Option<String>,
    spans: Vec<Span>,
}

#[derive(Debug, Default)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
}

/// Reads the request by the field numbers of opentelemetry-proto: `resource_spans` 1 of `resource` 1
/// and `scope_spans` 2, of `spans` 2.
fn trace(body: &[u8]) -> Trace {
    let mut trace = Trace::default();
    for resource_spans in all(body, 1) {
        for attribute in all(resource_spans, 1).into_iter().flat_map(|r| all(r, 1)) {
            if text(attribute, 1) == "service.name" {
                trace.service = all(attribute, 2).first().map(|value| text(value, 1));
            }
        }
        for span in all(resource_spans, 2).into_iter().flat_map(|scope| all(scope, 2)) {
            let bytes = |number| all(span, number).first().map(|b| b.to_vec()).unwrap_or_default();
            let (trace_id, id, parent) = (bytes(1), bytes(2), bytes(4));
            trace.spans.push(Span { trace: trace_id, id, parent, name: text(span, 5) });
        }
    }
    trace
}

fn text(message: &[u8], number: u64) -> String {
    let bytes = all(message, number).first().copied().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The length-delimited fields of a protobuf message that have a number.
fn all(mut message: &[u8], number: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            kind => panic!("wire type {kind}"),
        };
        let (field, rest) = message.split_at(length);
        if key >> 3 == number {
            found.push(field);
        }
        message = rest;
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().unwrap();
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
