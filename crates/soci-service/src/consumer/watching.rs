//! What is asked of the queues beside the work: how many messages there are, how old the oldest is, how often one can
//! be received, and, if wanted, which dead letters there are. Nothing of it holds up a job, and what a queue does not
//! tell is logged and asked again.

use std::sync::Arc;
use std::time::Duration;

use soci_queue::{Operation, Queue, QueueError};
use soci_text::error_chain;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
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

/// A queue whose messages could not be counted for a while.
struct Uncounted {
    since: Instant,
    failures: u32,
    /// Receives of the queue when that began: answered and failed.
    receives: (u64, u64),
    /// Whether the queue was said to be away for this.
    told: bool,
}

/// Counts in a row that fail until a queue that nobody receives from counts as away.
const FAILED_COUNTS: u32 = 2;

/// Counts the messages of the queues again and again.
///
/// Receives tell by themselves how a queue is. While none is made, as all slots are full or the registry is away,
/// this is all that is heard of it. So a queue is away as well if it is not counted twice in a row and no receive
/// came to an end meanwhile.
async fn count_backlogs<Q: Queue, H: Handler>(context: Arc<ConsumerContext<Q, H>>) {
    let ConsumerContext { queues, events, settings, .. } = &*context;
    let mut interval = tokio::time::interval(settings.backlog_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let kinds =
        [(QueueKind::Live, Some(&queues.live)), (QueueKind::Backfill, queues.backfill.as_ref())];
    let mut uncounted: [Option<Uncounted>; 2] = [None, None];
    loop {
        interval.tick().await;
        for (kind, queue) in kinds {
            let Some(queue) = queue else { continue };
            let limit = settings.call_timeout;
            let receives = || context.receives(kind).so_far();
            match call(events, queue, Operation::Backlog, limit, queue.backlog()).await {
                Ok(backlog) => {
                    let ended = uncounted[kind as usize].take();
                    if let Some(ended) = ended.filter(|ended| ended.told)
                        && ended.receives.1 == receives().1
                    {
                        events.tell(&Event::QueueBack { queue: kind, since: ended.since });
                    }
                    events.tell(&Event::Counted { queue: kind, backlog });
                }
                Err(error) => {
                    let fresh = || Uncounted {
                        since: Instant::now(),
                        failures: 0,
                        receives: receives(),
                        told: false,
                    };
                    let uncounted = uncounted[kind as usize].get_or_insert_with(fresh);
                    uncounted.failures = uncounted.failures.saturating_add(1);
                    let unheard = uncounted.receives == receives();
                    if error.is_transient() && uncounted.failures >= FAILED_COUNTS && unheard {
                        uncounted.told = true;
                        events.tell(&Event::QueueAway {
                            queue: kind,
                            since: uncounted.since,
                            failures: uncounted.failures,
                            next_try: Instant::now() + settings.backlog_interval,
                            error: &error,
                        });
                    }
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

/// How long it may be until letters are looked at again, if as many are there as before.
const LETTERS_INTERVAL: Duration = Duration::from_mins(5);

/// Looks at the dead letters when there are more or fewer of them, and now and then, and gives them back at once. To
/// look at them is to hide them from others for a moment, so it is not done more often than it has to be.
async fn look_at_letters<Q: Queue, H: Handler>(context: Arc<ConsumerContext<Q, H>>) {
    let ConsumerContext { queues, events, settings, .. } = &*context;
    let Some(queue) = &queues.dead_letters else { return };
    let mut failing = false;
    let mut looked: Option<(u64, Instant)> = None;
    loop {
        match look_if_needed(queue, looked, settings.call_timeout).await {
            Ok(None) => failing = false,
            Ok(Some(Look { letters, counted })) => {
                failing = false;
                looked = Some((counted, Instant::now()));
                // Those that somebody else has in hand just now are not seen.
                let more = (letters.len() as u64) < counted;
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

/// What a look at the dead letters found.
struct Look {
    /// The first of them that were found, the newest of these first.
    letters: Vec<Letter>,
    /// How many there were.
    counted: u64,
}

/// Looks at letters, if there are not as many as at the last look or if that was long ago.
async fn look_if_needed<Q: Queue>(
    queue: &Q,
    looked: Option<(u64, Instant)>,
    limit: Duration,
) -> Result<Option<Look>, QueueError> {
    let backlog = queue.backlog().await?;
    let counted = backlog.visible.saturating_add(backlog.in_flight);
    let fresh = |(before, at): (u64, Instant)| before == counted && at.elapsed() < LETTERS_INTERVAL;
    if looked.is_some_and(fresh) {
        return Ok(None);
    }
    let letters = if counted == 0 { Vec::new() } else { letters_of(queue, counted, limit).await? };
    Ok(Some(Look { letters, counted }))
}

/// The first letters of a queue, of which so many were counted. It ends as soon as it has them, so that they are
/// hidden for no longer than that takes.
async fn letters_of<Q: Queue>(
    queue: &Q,
    counted: u64,
    limit: Duration,
) -> Result<Vec<Letter>, QueueError> {
    let most = usize::try_from(counted).unwrap_or(usize::MAX).min(LETTERS_SHOWN);
    let (mut walk, mut letters) = (Walk::new(queue.clone(), LETTERS_HIDDEN), Vec::new());
    let looking = async {
        while letters.len() < most {
            let messages = walk.next(most - letters.len()).await?;
            if messages.is_empty() {
                break;
            }
            letters.extend(messages.iter().map(Letter::of));
        }
        Ok(())
    };
    let looked = tokio::time::timeout(limit.max(LETTERS_HIDDEN / 2), looking).await;
    // Whatever cannot be given back is visible again after half a minute.
    let _ = walk.give_back().await;
    looked.unwrap_or(Ok(()))?;
    letters.sort_by_key(|letter| std::cmp::Reverse(letter.failed_at));
    Ok(letters)
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
