//! What is asked of the queues beside the work: how many messages there are, how old the oldest is, how often one can
//! be received, and, if wanted, which dead letters there are. Nothing of it holds up a job, and what a queue does not
//! tell is logged and asked again.

use std::sync::Arc;
use std::time::Duration;

use soci_queue::{Operation, Queue, QueueError};
use soci_text::error_chain;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::call::call;
use super::context::ConsumerContext;
use crate::dead_letters::{Letter, Walk};
use crate::event::{CountedQueue, Event, QueueKind};
use crate::handler::Handler;

/// Begins all of it. It ends when `tasks` are dropped.
pub(super) fn begin<Q: Queue, H: Handler>(
    tasks: &mut JoinSet<()>,
    context: &Arc<ConsumerContext<Q, H>>,
) {
    tasks.spawn(count_backlogs(context.clone()));
    tasks.spawn(count_dead_letters(context.clone()));
    tasks.spawn(read_max_receives(context.clone()));
    tasks.spawn(ask_for_oldest(context.clone()));
    if context.settings.look_at_letters {
        tasks.spawn(look_at_letters(context.clone()));
    }
}

/// Counts the messages of the queues again and again.
async fn count_backlogs<Q: Queue, H: Handler>(context: Arc<ConsumerContext<Q, H>>) {
    let ConsumerContext { queues, events, settings, .. } = &*context;
    let mut interval = tokio::time::interval(settings.backlog_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let kinds =
        [(QueueKind::Live, Some(&queues.live)), (QueueKind::Backfill, queues.backfill.as_ref())];
    loop {
        interval.tick().await;
        for (kind, queue) in kinds {
            let Some(queue) = queue else { continue };
            let limit = settings.call_timeout;
            match call(events, queue, Operation::Backlog, limit, queue.backlog()).await {
                Ok(backlog) => events.tell(&Event::Counted { queue: kind, backlog }),
                Err(error) => {
                    warn!(
                        queue = queue.name(),
                        reason = error_chain(&error),
                        "messages not counted"
                    );
                }
            }
        }
    }
}

/// Counts the messages of the dead-letter queue again and again. What a worker needs for its work does not
/// include that permission, so a failure is logged once and not every time.
async fn count_dead_letters<Q: Queue, H: Handler>(context: Arc<ConsumerContext<Q, H>>) {
    let ConsumerContext { queues, events, settings, .. } = &*context;
    let Some(queue) = &queues.dead_letters else { return };
    let mut failing = false;
    loop {
        let limit = settings.call_timeout;
        match call(events, queue, Operation::Backlog, limit, queue.backlog()).await {
            Ok(backlog) => {
                failing = false;
                events.tell(&Event::DeadLettersCounted { backlog });
            }
            Err(error) if !failing => {
                failing = true;
                let reason = error_chain(&error);
                warn!(queue = queue.name(), reason, "dead letters not counted");
            }
            Err(_) => {}
        }
        sleep(settings.backlog_interval).await;
    }
}

/// Time between two questions for the oldest message. CloudWatch, which knows it for SQS, counts by minutes.
const OLDEST_INTERVAL: Duration = Duration::from_mins(1);

/// Asks each queue again and again when its oldest message was sent. A failure is logged once and not every time.
async fn ask_for_oldest<Q: Queue, H: Handler>(context: Arc<ConsumerContext<Q, H>>) {
    let ConsumerContext { queues, events, settings, .. } = &*context;
    let asked = [
        (CountedQueue::Of(QueueKind::Live), Some(&queues.live)),
        (CountedQueue::Of(QueueKind::Backfill), queues.backfill.as_ref()),
        (CountedQueue::DeadLetters, queues.dead_letters.as_ref()),
    ];
    let mut failing = false;
    loop {
        let mut failed = false;
        for (kind, queue) in asked {
            let Some(queue) = queue else { continue };
            let limit = settings.call_timeout;
            match call(events, queue, Operation::Oldest, limit, queue.oldest()).await {
                Ok(sent_at) => events.tell(&Event::Oldest { queue: kind, sent_at }),
                Err(error) => {
                    // What is not known any longer is not shown any longer.
                    events.tell(&Event::Oldest { queue: kind, sent_at: None });
                    if !failing {
                        let reason = error_chain(&error);
                        warn!(queue = queue.name(), reason, "the oldest message is not known");
                    }
                    failed = true;
                }
            }
        }
        failing = failed;
        sleep(OLDEST_INTERVAL).await;
    }
}

/// How many dead letters are looked at for the status page.
const LETTERS_SHOWN: usize = 50;

/// How long a look hides them, if giving them back fails.
const LETTERS_HIDDEN: Duration = Duration::from_secs(30);

/// Looks at the dead letters again and again and gives them back at once. Where there are none, nobody asks for
/// them.
async fn look_at_letters<Q: Queue, H: Handler>(context: Arc<ConsumerContext<Q, H>>) {
    let ConsumerContext { queues, events, settings, .. } = &*context;
    let Some(queue) = &queues.dead_letters else { return };
    let mut failing = false;
    loop {
        match letters_of(queue, settings.call_timeout).await {
            Ok((letters, more)) => {
                failing = false;
                events.tell(&Event::LettersSeen { letters: &letters, more });
            }
            Err(error) if !failing => {
                failing = true;
                let reason = error_chain(&error);
                warn!(queue = queue.name(), reason, "dead letters are not looked at");
            }
            Err(_) => {}
        }
        sleep(settings.backlog_interval).await;
    }
}

/// The first letters of a queue, the newest first, and whether there may be others.
async fn letters_of<Q: Queue>(
    queue: &Q,
    limit: Duration,
) -> Result<(Vec<Letter>, bool), QueueError> {
    let counted = queue.backlog().await?;
    if counted.visible == 0 && counted.in_flight == 0 {
        return Ok((Vec::new(), false));
    }
    let (mut walk, mut letters) = (Walk::new(queue.clone(), LETTERS_HIDDEN), Vec::new());
    let looking = async {
        loop {
            let room = LETTERS_SHOWN.saturating_sub(letters.len());
            let messages = if room == 0 { Vec::new() } else { walk.next(room).await? };
            if messages.is_empty() {
                return Ok(room == 0);
            }
            letters.extend(messages.iter().map(Letter::of));
        }
    };
    let looked = tokio::time::timeout(limit.max(LETTERS_HIDDEN / 2), looking).await;
    // Whatever cannot be given back is visible again after half a minute.
    let _ = walk.give_back().await;
    let more = looked.unwrap_or(Ok(true))?;
    letters.sort_by_key(|letter| std::cmp::Reverse(letter.failed_at));
    Ok((letters, more))
}

/// Time between two looks at how often messages can be received, which hardly ever changes.
const POLICY_INTERVAL: Duration = Duration::from_hours(1);

/// Reads again and again how often messages of the queues can be received.
async fn read_max_receives<Q: Queue, H: Handler>(context: Arc<ConsumerContext<Q, H>>) {
    let ConsumerContext { queues, events, settings, .. } = &*context;
    let kinds =
        [(QueueKind::Live, Some(&queues.live)), (QueueKind::Backfill, queues.backfill.as_ref())];
    loop {
        let mut next = POLICY_INTERVAL;
        for (kind, queue) in kinds {
            let Some(queue) = queue else { continue };
            let limit = settings.call_timeout;
            let told = call(events, queue, Operation::MaxReceives, limit, queue.max_receives());
            match told.await {
                Ok(told) => context.set_max_receives(kind, told),
                Err(error) => {
                    next = settings.backlog_interval;
                    debug!(reason = error_chain(&error), "the redrive policy was not read");
                }
            }
        }
        sleep(next).await;
    }
}
