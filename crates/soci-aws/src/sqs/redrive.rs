//! Moving all messages of a dead-letter queue back, which SQS itself does.

use std::error::Error;

use aws_sdk_sqs::types::QueueAttributeName as Attribute;

use super::SqsQueue;
use crate::call_failure::CallFailure;

/// Most messages a second that SQS moves (Amazon SQS API reference, `StartMessageMoveTask`).
const MAX_MOVE_RATE: u32 = 500;

/// SQS did not do what moving asks of it.
#[derive(Debug, thiserror::Error)]
#[error("SQS did not {call} of queue {queue}{}", request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default())]
pub struct MoveError {
    /// The name of the queue to move from.
    pub queue: String,
    /// What was asked.
    pub call: &'static str,
    /// Whether the same call may succeed later.
    pub transient: bool,
    /// The service's identifier of the request.
    pub request_id: Option<String>,
    /// What happened.
    pub source: Box<dyn Error + Send + Sync>,
}

impl MoveError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.transient
    }
}

/// How far a move is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveProgress {
    /// `RUNNING`, `COMPLETED`, `CANCELLING`, `CANCELLED` or `FAILED`.
    pub status: String,
    /// About how many messages are moved.
    pub moved: u64,
    /// About how many there were to move when it began.
    pub total: Option<u64>,
    /// Why it failed.
    pub failure: Option<String>,
}

impl MoveProgress {
    /// Whether nothing more will be moved.
    pub fn is_over(&self) -> bool {
        !matches!(self.status.as_str(), "RUNNING" | "CANCELLING")
    }
}

impl SqsQueue {
    /// Lets SQS move all messages to the queue `to`, at most `max_rate` a second (up to
    /// 500; `None` for what SQS finds best). They keep their attributes. The queue
    /// must be the dead-letter queue of some queue, and only one move of it can run.
    pub async fn start_move(&self, to: &Self, max_rate: Option<u32>) -> Result<(), MoveError> {
        let source = self.arn().await?;
        let rate = max_rate.map(|rate| rate.clamp(1, MAX_MOVE_RATE));
        self.client
            .start_message_move_task()
            .source_arn(source)
            .destination_arn(to.arn().await?)
            .set_max_number_of_messages_per_second(rate.map(super::whole))
            .send()
            .await
            .map_err(|error| self.not_moved("start to move the messages", error.into()))?;
        Ok(())
    }

    /// How far the latest move is; `None` if there was none.
    pub async fn move_progress(&self) -> Result<Option<MoveProgress>, MoveError> {
        let call = self.client.list_message_move_tasks().source_arn(self.arn().await?);
        let tasks = call.max_results(1).send().await;
        let tasks = tasks.map_err(|error| self.not_moved("list the moves", error.into()))?;
        let latest = tasks.results.unwrap_or_default().into_iter().next();
        Ok(latest.map(|task| MoveProgress {
            status: task.status.unwrap_or_default(),
            moved: task.approximate_number_of_messages_moved.try_into().unwrap_or(0),
            total: task.approximate_number_of_messages_to_move.and_then(|n| n.try_into().ok()),
            failure: task.failure_reason,
        }))
    }

    async fn arn(&self) -> Result<String, MoveError> {
        let arn = self.attributes([Attribute::QueueArn]).await;
        let [arn] = arn.map_err(|failure| self.not_moved("tell the name", failure))?;
        Ok(arn.unwrap_or_default())
    }

    fn not_moved(&self, call: &'static str, failure: CallFailure) -> MoveError {
        let CallFailure { transient, request_id, source, .. } = failure;
        MoveError { queue: self.url.name().to_owned(), call, transient, request_id, source }
    }
}
