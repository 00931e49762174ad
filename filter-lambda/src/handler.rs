//! What happens to one event, and what is logged about it: a line for everybody, and one for CloudWatch where a message went
//! to the queue. SQS tells late of a queue that was idle, and that line wakes a worker at once.

use std::sync::Arc;

use serde_json::Map;
use soci_lambda::{Invocation, InvocationError};
use soci_logs::{ENQUEUED, EmfDirective, EmfLines, EmfMetric};
use soci_push::event::{DeletionEvent, EventError, PushEvent};
use soci_push::{PushRules, SkippedPush, TagFilter};
use soci_queue::{Group, Queue};
use soci_text::error_chain;
use tracing::{error, info, warn};

use crate::decision::PushDecision;
use crate::dispatch::{DispatchError, Dispatched, Dispatcher, Doubt, Manifests};
use crate::response::Response;

/// Handles events.
#[derive(Clone, Debug)]
pub struct EventHandler<Q, M> {
    /// Which events are wanted.
    pub rules: PushRules,
    /// Where these go.
    pub dispatcher: Dispatcher<Q, M>,
    /// Takes a count of the messages that were sent to the queue, if there is one.
    pub enqueued: Option<Arc<EmfLines>>,
}

impl<Q: Queue, M: Manifests> EventHandler<Q, M> {
    /// Handles the event that is `payload` and logs one line about it. Fails only if an event that
    /// may be wanted went nowhere.
    pub async fn handle(
        &self,
        payload: &str,
        invocation: &Invocation,
    ) -> Result<Response, InvocationError> {
        let request_id = &*invocation.request_id;
        match PushDecision::of(payload, &self.rules) {
            PushDecision::Wanted { push, filter } => self.send(&push, filter, invocation).await,
            PushDecision::Removal { deletion, filter } => {
                self.remove(&deletion, filter, payload, invocation).await
            }
            PushDecision::NoRemoval { deletion, why } => {
                let About { repository, digest, tag, event_id } = About::of_deletion(&deletion);
                let reason = why.label();
                info!(
                    outcome = "skipped",
                    reason, repository, digest, tag, event_id, request_id, "{why}"
                );
                Ok(Response::nothing_to_remove(&deletion, &why))
            }
            PushDecision::Skipped { push, why } => {
                let About { repository, digest, tag, event_id } = About::of(&push);
                // A word of its own: it is by far the most frequent, and tells of the filters.
                if let SkippedPush::Unmatched { .. } = why {
                    info!(
                        outcome = "unmatched",
                        repository, digest, tag, event_id, request_id, "no filter matches"
                    );
                } else {
                    let reason = why.label();
                    info!(
                        outcome = "skipped",
                        reason, repository, digest, tag, event_id, request_id, "{why}"
                    );
                }
                Ok(Response::skipped(&push, &why))
            }
            PushDecision::Ignored(ignored) => {
                info!(outcome = "ignored", request_id, "{ignored}");
                Ok(Response::ignored(&ignored))
            }
            PushDecision::Unreadable(error) => self.keep(&error, payload, invocation).await,
            PushDecision::Foreign(error) => {
                warn!(outcome = "malformed", request_id, "{}", error_chain(&error));
                Ok(Response::malformed(&error))
            }
        }
    }

    async fn send(
        &self,
        push: &PushEvent,
        filter: &TagFilter,
        invocation: &Invocation,
    ) -> Result<Response, InvocationError> {
        let About { repository, digest, tag, event_id } = About::of(push);
        let request_id = &*invocation.request_id;
        let filter = filter.to_string();
        match self.dispatcher.dispatch(push, invocation).await {
            Ok(Dispatched::Small { message, bytes }) => {
                let message_id = &*message.0;
                info!(
                    outcome = "queued-small",
                    repository,
                    digest,
                    tag,
                    event_id,
                    request_id,
                    bytes,
                    filter,
                    message_id,
                    "sent to the index Lambda"
                );
                Ok(Response::queued(push, &filter, message_id))
            }
            Ok(Dispatched::Queued { message, doubt }) => {
                self.count_enqueued();
                let reason = doubt.as_ref().map(Doubt::label);
                let detail = doubt.as_ref().map(|doubt| error_chain(doubt));
                let message_id = &*message.0;
                info!(
                    outcome = "queued",
                    reason,
                    repository,
                    digest,
                    tag,
                    event_id,
                    request_id,
                    filter,
                    message_id,
                    detail,
                    "sent to the queue"
                );
                Ok(Response::queued(push, &filter, message_id))
            }
            Err(error) => {
                error!(
                    outcome = "failed",
                    repository,
                    digest,
                    tag,
                    event_id,
                    request_id,
                    filter,
                    "{}",
                    error_chain(&error)
                );
                Err(fault(&error))
            }
        }
    }

    /// Sends an event of a deletion to the queue, for whoever removes the image's result.
    async fn remove(
        &self,
        deletion: &DeletionEvent,
        filter: &TagFilter,
        payload: &str,
        invocation: &Invocation,
    ) -> Result<Response, InvocationError> {
        let About { repository, digest, tag, event_id } = About::of_deletion(deletion);
        let request_id = &*invocation.request_id;
        let filter = filter.to_string();
        let group = Some(Group::of_repository(repository));
        match self.dispatcher.hand_on(payload, group, invocation).await {
            Ok(message) => {
                self.count_enqueued();
                let message_id = &*message.0;
                info!(
                    outcome = "queued-removal",
                    repository,
                    digest,
                    tag,
                    event_id,
                    request_id,
                    filter,
                    message_id,
                    "the image was deleted: sent to the queue, to remove its result"
                );
                Ok(Response::removal(deletion, message_id))
            }
            Err(error) => {
                let detail = error_chain(&error);
                error!(
                    outcome = "failed",
                    repository, digest, tag, event_id, request_id, filter, "{detail}"
                );
                Err(fault(&error))
            }
        }
    }

    /// Keeps an event that cannot be read.
    async fn keep(
        &self,
        malformed: &EventError,
        payload: &str,
        invocation: &Invocation,
    ) -> Result<Response, InvocationError> {
        let request_id = &*invocation.request_id;
        match self.dispatcher.keep(payload, invocation).await {
            Ok(message) => {
                self.count_enqueued();
                let message_id = &*message.0;
                warn!(outcome = "malformed", request_id, message_id, "{}", error_chain(malformed));
                Ok(Response::malformed(malformed))
            }
            Err(error) => {
                let malformed = error_chain(malformed);
                error!(outcome = "failed", request_id, malformed, "{}", error_chain(&error));
                Err(fault(&error))
            }
        }
    }
}

impl<Q, M> EventHandler<Q, M> {
    fn count_enqueued(&self) {
        let Some(lines) = &self.enqueued else { return };
        let metrics = [EmfMetric { name: ENQUEUED, unit: "Count", value: 1.into() }];
        lines.write(&[EmfDirective { dimensions: &[&[]], metrics: &metrics }], Map::new());
    }
}

/// What every line about a push or a deletion tells.
struct About<'a> {
    repository: &'a str,
    digest: String,
    tag: Option<&'a str>,
    event_id: Option<&'a str>,
}

impl<'a> About<'a> {
    fn of(push: &'a PushEvent) -> Self {
        Self {
            repository: push.repository.name(),
            digest: push.digest.to_string(),
            tag: push.tag.as_ref().map(soci_oci::Tag::as_str),
            event_id: push.id.as_ref().map(soci_push::event::EventId::as_str),
        }
    }

    fn of_deletion(deletion: &'a DeletionEvent) -> Self {
        Self {
            repository: deletion.repository.name(),
            digest: deletion.digest.to_string(),
            tag: deletion.tag.as_ref().map(soci_oci::Tag::as_str),
            event_id: deletion.id.as_ref().map(soci_push::event::EventId::as_str),
        }
    }
}

fn fault(error: &DispatchError) -> InvocationError {
    InvocationError::of("QueueError", error)
}
