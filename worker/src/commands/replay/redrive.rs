//! Has SQS move all messages of a dead-letter queue.

use std::num::NonZeroU32;
use std::time::Duration;

use soci_aws::{MoveError, SqsQueue};
use soci_text::error_chain;

use crate::commands::enqueue::progress;
use crate::commands::wake::{Listener, Waker};

/// How often the progress is asked for.
const POLL: Duration = Duration::from_secs(2);

/// How often in a row asking for the progress may fail in passing.
const MAX_FAILURES: u32 = 10;

/// How it ended.
pub(super) enum Redrive {
    /// So many messages were moved.
    Done(u64),
    /// It did not begin, so that somebody else can do it.
    NotStarted(MoveError),
    /// It began, and failed or is not known to have ended.
    Failed(String),
}

/// Starts the move and waits for its end.
pub(super) async fn redrive<L: Listener>(
    from: &SqsQueue,
    to: &SqsQueue,
    rate: Option<NonZeroU32>,
    waker: &Waker<L>,
) -> Redrive {
    if let Err(error) = from.start_move(to, rate.map(NonZeroU32::get)).await {
        return Redrive::NotStarted(error);
    }
    let (mut failures, mut told) = (0, 0);
    loop {
        tokio::time::sleep(POLL).await;
        let moving = match from.move_progress().await {
            Ok(Some(moving)) => moving,
            Ok(None) => return Redrive::Failed("SQS does not know the move any more".to_owned()),
            Err(error) if error.is_transient() && failures < MAX_FAILURES => {
                failures += 1;
                continue;
            }
            Err(error) => {
                let chain = error_chain(&error);
                return Redrive::Failed(format!(
                    "the move goes on, its progress is unknown: {chain}"
                ));
            }
        };
        failures = 0;
        waker.enqueued(moving.moved.saturating_sub(told)).await;
        told = moving.moved;
        let total = moving.total.map_or(String::new(), |total| format!(" of about {total}"));
        let status = moving.status.to_ascii_lowercase();
        progress(format_args!("{status}: {}{total} messages moved", moving.moved));
        if !moving.is_over() {
            continue;
        }
        if moving.status == "COMPLETED" {
            return Redrive::Done(moving.moved);
        }
        let reason = moving.failure.map_or(String::new(), |reason| format!(" ({reason})"));
        let moved = moving.moved;
        return Redrive::Failed(format!("the move has {status}{reason} after {moved} messages"));
    }
}
