//! What is around a process that is watched: the services, with their secrets, and where its words are caught.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use soci_lambda::testing::FakeRuntime;
use soci_oci::Digest;
use soci_registry_server::testing::{
    Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind, TokenUser,
};
use soci_tests::{TestImage, gzip_layer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::aws::Services;

/// Most time for a process, on a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(3);

/// Tells a process which scene to play.
pub(crate) const SCENE: &str = "SECRETS_SCENE";

/// Tells a process to log without the cap on libraries.
pub(crate) const UNCAPPED: &str = "SECRETS_UNCAPPED";

/// Names the registry that takes the place of ECR.
pub(crate) const REGISTRY: &str = "SECRETS_REGISTRY";

/// Whether libraries are capped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cap {
    On,
    Off,
}

/// Everything around a process.
pub(crate) struct Stage {
    services: Services,
    aws: String,
    registry: FakeRegistry,
    collector: String,
    proxy: SocketAddr,
    traces: Arc<Mutex<Vec<u8>>>,
    image: Digest,
}

/// All that came out of a process, and what must not be in it.
pub(crate) struct Heard {
    /// Where it came out, and what it was.
    outputs: Vec<(&'static str, Vec<u8>)>,
    secrets: Vec<(&'static str, String)>,
}

impl Stage {
    const PASSWORD: &str = "ecrpassword-p7Hq2ZkT9sVb";
    const SECRET_KEY: &str = "secretkey-x4Lw8GnR1cYd";
    const SESSION_TOKEN: &str = "sessiontoken-m3Fv6JpK0eUa";
    const STORAGE_TOKEN: &str = "storagetoken-b9Tz5QxN7hWo";
    const PROXY_PASSWORD: &str = "proxypassword-d2Ks8VyC4rMi";
    const COLLECTOR_KEY: &str = "collectorkey-u6Bg1XeP3tLn";
    const BODY: &str = "bodyofamessage-f5Ha9RwD2yZq";
    pub(crate) const RECEIPT: &str = "receipthandle-k8Nc4MjS6vEx==";
    /// A part of a webhook's address.
    pub(crate) const HOOK: &str = "pathofawebhook-m3Zd8QkW1sRy";
    /// The Base64 of a webhook's secret.
    pub(crate) const HOOK_SECRET: &str = "c2VjcmV0b2Zhd2ViaG9vay1wN0xtMlh2VDRiTmM=";
    pub(crate) const ANSWER: &str = "bodyofananswer-g1Po7TiW5aQb";

    /// Sets everything up. Of the images in the registry one can be indexed, and the storage refuses the
    /// layer of another.
    pub(crate) async fn set() -> Self {
        let user =
            TokenUser::Basic { username: "AWS".to_owned(), password: Self::PASSWORD.to_owned() };
        let auth = FakeAuth::Bearer { user, lifetime: Duration::from_mins(10) };
        let options = FakeOptions { auth, redirect_blobs: true, ..FakeOptions::default() };
        let registry = FakeRegistry::with(options).await;
        let image = TestImage::single("linux/amd64", &[gzip_layer(1, 100_000)]);
        let image = image.put(&registry, "team/good", "v1");
        let broken = TestImage::single("linux/amd64", &[gzip_layer(2, 100_000)]);
        let broken = broken.put(&registry, "team/broken", "v1");
        let refused = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>ExpiredToken</Code><Message>The \
             provided token has expired.</Message><Token-0>{}</Token-0></Error>",
            Self::STORAGE_TOKEN
        );
        let refused = Effect::page(403, "application/xml", &refused);
        registry.quirk(Quirk::on(RequestKind::BlobGet, refused).path("team/broken").always());

        let job = |repository: &str, digest: Digest| {
            json!({
                "v": 1, "registry": "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "repository": repository, "digest": digest.to_string(), "tag": "v1",
                "enqueued_at": "2026-08-01T12:34:56Z", "somebody": Self::BODY,
            })
            .to_string()
        };
        let messages = [
            job("team/good", image),
            job("team/broken", broken),
            format!("no job at all, but {}", Self::BODY),
        ];
        let services = Services::default();
        let aws = services.start(&token(), &messages).await;
        let traces = Arc::default();
        let collector = collector(Arc::clone(&traces)).await;
        Self { services, aws, registry, collector, proxy: proxy().await, traces, image }
    }

    /// Has a process play a scene, and catches what it says.
    pub(crate) async fn perform(self, scene: &str, filter: &str, format: &str, cap: Cap) -> Heard {
        let runtime = FakeRuntime::start().await;
        let mut process = Command::new(std::env::current_exe().unwrap());
        // Clears the environment, and says where the runtime is.
        runtime.prepare(&mut process);
        process
            .args(["--exact", "scene::a_scene", "--ignored", "--nocapture"])
            .env(SCENE, scene)
            .env(REGISTRY, self.registry.host())
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", Self::SECRET_KEY)
            .env("AWS_SESSION_TOKEN", Self::SESSION_TOKEN)
            .env("AWS_ENDPOINT_URL", &self.aws)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("QUEUE_URL", format!("{}/123456789012/live", self.aws))
            .env("DEAD_LETTER_QUEUE_URL", format!("{}/123456789012/dead", self.aws))
            .env("REGISTRY_ENDPOINT_URL", format!("http://{}", self.registry.host()))
            .env("MIN_LAYER_SIZE", "0")
            .env("HTTPS_PROXY", format!("http://somebody:{}@{}", Self::PROXY_PASSWORD, self.proxy))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.collector)
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization={}", Self::COLLECTOR_KEY))
            .env("LOG_FORMAT", format)
            .env("LOG_LEVEL", filter)
            .stdin(Stdio::null());
        if cap == Cap::Off {
            process.env(UNCAPPED, "1");
        }
        let process = process.spawn().unwrap();
        if scene == "function" {
            for body in [self.event(), self.batch()] {
                runtime.invoke(body, Duration::from_mins(1)).await;
            }
        }
        // A function does not end by itself.
        let output = if scene == "function" {
            let mut process = process;
            process.start_kill().unwrap();
            process.wait_with_output().await.unwrap()
        } else {
            let ended = tokio::time::timeout(PATIENCE, process.wait_with_output()).await;
            let output = ended.unwrap().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains(crate::scene::PLAYED), "{said}");
            output
        };
        Heard { secrets: self.secrets(), outputs: self.outputs(output) }
    }

    /// What a rule or a person invokes the function with.
    fn event(&self) -> String {
        json!({
            "source": "aws.ecr", "detail-type": "ECR Image Action", "account": "123456789012",
            "region": "eu-west-1", "somebody": Self::BODY,
            "detail": {
                "action-type": "PUSH", "result": "SUCCESS", "repository-name": "team/good",
                "image-digest": self.image.to_string(), "image-tag": "v1",
            },
        })
        .to_string()
    }

    /// What SQS invokes the function with.
    fn batch(&self) -> String {
        let arn = "arn:aws:sqs:eu-west-1:123456789012:small";
        let record = |number: u32, body: String| {
            json!({
                "messageId": format!("m-{number}"), "receiptHandle": Self::RECEIPT, "body": body,
                "eventSource": "aws:sqs", "eventSourceARN": arn,
                "attributes": { "ApproximateReceiveCount": "1" },
            })
        };
        let nonsense = format!("no job at all, but {}", Self::BODY);
        json!({ "Records": [record(1, self.event()), record(2, nonsense)] }).to_string()
    }

    fn outputs(&self, output: std::process::Output) -> Vec<(&'static str, Vec<u8>)> {
        let letters = self.services.letters();
        // A letter is the message with a reason. What it consists of may be in it, what led there may not.
        let letters: String =
            letters.iter().map(|letter| letter.replace(Self::BODY, "the body")).collect();
        vec![
            ("standard output", output.stdout),
            ("standard error", output.stderr),
            ("dead letters", letters.into_bytes()),
            ("traces", self.traces.lock().unwrap().clone()),
        ]
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        let mut secrets = vec![
            ("password", Self::PASSWORD.to_owned()),
            ("ECR token", token()),
            ("secret key", Self::SECRET_KEY.to_owned()),
            ("session token", Self::SESSION_TOKEN.to_owned()),
            ("token in an answer of the storage", Self::STORAGE_TOKEN.to_owned()),
            ("proxy password", Self::PROXY_PASSWORD.to_owned()),
            ("proxy password as a header", {
                STANDARD.encode(format!("somebody:{}", Self::PROXY_PASSWORD))
            }),
            ("key of the collector", Self::COLLECTOR_KEY.to_owned()),
            ("body of a message", Self::BODY.to_owned()),
            ("receipt", Self::RECEIPT.trim_end_matches('=').to_owned()),
            ("body of an answer", Self::ANSWER.to_owned()),
            ("address of a webhook", Self::HOOK.to_owned()),
            ("secret of a webhook", Self::HOOK_SECRET.trim_end_matches('=').to_owned()),
        ];
        for request in self.registry.requests() {
            let authorization = request.authorization.unwrap_or_default();
            if let Some((_, credential)) = authorization.split_once(' ') {
                secrets.push(("bearer token or password in a header", credential.to_owned()));
            }
            if request.kind == RequestKind::StorageGet {
                secrets.push(("query of a presigned URL", request.query));
            }
        }
        secrets.retain(|(_, secret)| !secret.is_empty());
        secrets.sort();
        secrets.dedup();
        secrets
    }
}

impl Heard {
    /// Fails with every secret that can be found.
    #[track_caller]
    pub(crate) fn is_without_secrets(&self) {
        assert!(self.outputs.iter().any(|(_, bytes)| !bytes.is_empty()), "nothing was caught");
        let found = self.secrets();
        assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    }

    /// Fails unless the text came out there, which shows that what leads to it was played.
    #[track_caller]
    pub(crate) fn has(&self, place: &str, text: &str) -> &Self {
        let output = self.outputs.iter().find(|(known, _)| *known == place);
        let output = String::from_utf8_lossy(&output.unwrap().1);
        assert!(output.contains(text), "{text:?} is not in {place}:\n{output}");
        self
    }

    /// The secrets that can be found, and where.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in &self.secrets {
            for (place, bytes) in &self.outputs {
                let text = String::from_utf8_lossy(bytes);
                if let Some(at) = text.find(secret.as_str()) {
                    let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
                    let line: String = text[line..].lines().next().unwrap_or_default().to_owned();
                    let line: String = line.chars().take(400).collect();
                    found.push(format!("{name} in {place}: {line}"));
                }
            }
        }
        found
    }
}

/// The token as ECR gives it.
fn token() -> String {
    STANDARD.encode(format!("AWS:{}", Stage::PASSWORD))
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Keeps all that it is sent, and refuses some of it.
async fn collector(traces: Arc<Mutex<Vec<u8>>>) -> String {
    let take = |State(traces): State<Arc<Mutex<Vec<u8>>>>, body: Bytes| async move {
        traces.lock().unwrap().extend_from_slice(&body);
        axum::http::StatusCode::FORBIDDEN
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(traces);
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Lets nobody through, and says so in its own words.
async fn proxy() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let refused =
                    b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\
                                connection: close\r\n\r\n";
                let _ = stream.write_all(refused).await;
            });
        }
    });
    address
}
