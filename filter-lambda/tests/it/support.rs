//! Fakes of what the handler talks to, and events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use soci_filter_lambda::{
    Dispatcher, EventHandler, FetchedManifest, Manifests, Shortcut, SizeLimits,
};
use soci_lambda::Invocation;
use soci_logs::EmfLines;
use soci_logs::testing::WrittenLines;
use soci_manifest::Version;
use soci_oci::{Digest, media_type};
use soci_push::PushRules;
use soci_push::event::{PushEvent, Timestamp};
use soci_queue::{
    Backlog, ErrorKind, Message, MessageId, Operation, Outgoing, Queue, QueueError, Receipt,
    Receive,
};
use tokio::time::Instant;

/// How a fake behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Works,
    Fails,
    Hangs,
}

impl Mood {
    async fn act(self) -> Result<(), std::io::Error> {
        match self {
            Self::Works => Ok(()),
            Self::Fails => Err(std::io::Error::other("it does not work")),
            Self::Hangs => std::future::pending().await,
        }
    }
}

/// A queue that can only be sent to.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    mood: Mood,
    messages: Arc<Mutex<Vec<Outgoing>>>,
}

impl Sent {
    pub(crate) fn messages(&self) -> Vec<Outgoing> {
        self.messages.lock().unwrap().clone()
    }
}

impl Queue for Sent {
    fn name(&self) -> &'static str {
        "live"
    }

    async fn receive(&self, _: Receive) -> Result<Vec<Message>, QueueError> {
        unreachable!("the filter only sends")
    }

    async fn set_visibility(&self, _: &Receipt, _: Duration) -> Result<(), QueueError> {
        unreachable!("the filter only sends")
    }

    async fn delete(&self, _: &Receipt) -> Result<(), QueueError> {
        unreachable!("the filter only sends")
    }

    async fn send_after(&self, message: &Outgoing, _: Duration) -> Result<MessageId, QueueError> {
        if let Err(error) = self.mood.act().await {
            return Err(QueueError {
                queue: "live".to_owned(),
                operation: Operation::Send,
                kind: ErrorKind::Transient,
                request_id: Some("sqs-request".to_owned()),
                source: error.into(),
            });
        }
        self.messages.lock().unwrap().push(message.clone());
        Ok(MessageId("message-1".to_owned()))
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        unreachable!("the filter only sends")
    }

    async fn max_receives(&self) -> Result<Option<u32>, QueueError> {
        unreachable!("the filter only sends")
    }
}

/// Manifests in memory.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) mood: Mood,
    pub(crate) manifests: Vec<FetchedManifest>,
    pub(crate) asked: Arc<Mutex<Vec<Vec<Digest>>>>,
}

impl Manifests for Stored {
    type Error = std::io::Error;

    async fn fetch(
        &self,
        _: &PushEvent,
        digests: &[Digest],
    ) -> Result<Vec<FetchedManifest>, std::io::Error> {
        self.asked.lock().unwrap().push(digests.to_vec());
        self.mood.act().await?;
        let found = self.manifests.iter().filter(|manifest| digests.contains(&manifest.digest));
        Ok(found.cloned().collect())
    }
}

/// A handler and what is behind it.
pub(crate) struct World {
    pub(crate) handler: EventHandler<Sent, Stored>,
    pub(crate) queue: Sent,
    pub(crate) manifests: Stored,
    pub(crate) small: Sent,
    /// What CloudWatch is told.
    pub(crate) enqueued: WrittenLines,
}

/// The filters of every handler here.
pub(crate) const FILTERS: &str = "team/*:*,other:1";

/// A handler with a shortcut for images of at most 1000 bytes, in a registry with `manifests`.
pub(crate) fn world([queue, stored, small]: [Mood; 3], manifests: Vec<FetchedManifest>) -> World {
    let queue = Sent { mood: queue, messages: Arc::default() };
    let small = Sent { mood: small, messages: Arc::default() };
    let manifests = Stored { mood: stored, manifests, asked: Arc::default() };
    let shortcut = Shortcut {
        manifests: manifests.clone(),
        queue: small.clone(),
        max_image_bytes: 1000,
        limits: SizeLimits::default(),
        time: Duration::from_secs(5),
    };
    let rules = PushRules {
        filters: FILTERS.parse().unwrap(),
        version: Version::V2,
        output_suffix: "-soci".to_owned(),
        event_types: soci_push::EventTypes::default(),
        remove_results: false,
    };
    let dispatcher = Dispatcher { queue: queue.clone(), shortcut: Some(shortcut) };
    let lines = WrittenLines::default();
    let enqueued = EmfLines::to("soci-index-builder/test".parse().unwrap(), lines.clone());
    let handler = EventHandler { rules, dispatcher, enqueued: Some(enqueued.into()) };
    World { handler, queue, manifests, small, enqueued: lines }
}

/// An invocation that ends in `seconds`.
pub(crate) fn invocation(seconds: u64) -> Invocation {
    Invocation {
        request_id: "request-1".to_owned(),
        deadline: Instant::now() + Duration::from_secs(seconds),
        now: Timestamp::from_unix_seconds(1_785_587_696),
    }
}

/// The event of a push of `digest` to `repository:tag`.
pub(crate) fn event(repository: &str, tag: &str, digest: Digest) -> Value {
    json!({
        "version": "0",
        "id": "13cde686-328b-6117-af20-0e5566167482",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "time": "2026-08-01T12:34:56Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": {
            "result": "SUCCESS", "action-type": "PUSH", "repository-name": repository,
            "image-digest": digest.to_string(), "image-tag": tag,
        },
    })
}

/// A manifest with one layer of so many bytes.
pub(crate) fn manifest(layer: u64) -> FetchedManifest {
    let descriptor = |kind: &str, size: u64| {
        let digest = Digest::sha256_of(size.to_string().as_bytes()).to_string();
        json!({ "mediaType": kind, "digest": digest, "size": size })
    };
    document(
        media_type::OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, 2),
            "layers": [descriptor(media_type::OCI_LAYER_GZIP, layer)],
        }),
    )
}

/// An image index of these manifests.
pub(crate) fn index(manifests: &[FetchedManifest]) -> FetchedManifest {
    let entry = |manifest: &FetchedManifest| {
        json!({
            "mediaType": manifest.media_type, "digest": manifest.digest.to_string(),
            "size": manifest.bytes.len(), "platform": { "os": "linux", "architecture": "arm64" },
        })
    };
    let entries: Vec<Value> = manifests.iter().map(entry).collect();
    document(media_type::OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": entries }))
}

fn document(media_type: &str, document: &Value) -> FetchedManifest {
    let bytes = document.to_string().into_bytes();
    let media_type = media_type.to_owned();
    FetchedManifest { digest: Digest::sha256_of(&bytes), media_type, bytes }
}
