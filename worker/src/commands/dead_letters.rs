//! `dead-letters`: what failed for good, one letter at a time.
//!
//! To look at a letter is to receive it, which hides it from everybody else for a moment and counts as a receive;
//! it is given back at once. Changing one is at-least-once as everything else: a letter is deleted only after the
//! other queue has it.

mod text;
mod told;

use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::json;
use soci_aws::{SqsQueue, sdk};
use soci_jobs::RateLimiter;
use soci_queue::{Message, Queue, QueueError};
use soci_service::dead_letters::{Letter, Selection, Walk, again};
use soci_service::words::count;
use soci_text::error_chain;

use super::enqueue::{self, CommandOutput, progress};
use super::looked::Looked;
use super::wake::{Listener, Waker};
use crate::cli::{DeadLettersCommand, DropArgs, LetterQueueArgs, ListArgs, RetryArgs, ShowArgs};
use crate::process::told_to_stop;
use crate::usage::usage;
pub(super) use told::{Changed, Found};
use told::{Told, letter_json};

/// How long letters stay hidden while they are moved: long enough for a receive's worth of them at one a
/// second, and for the whole of most queues to be looked through.
const WHILE_MOVED: Duration = Duration::from_mins(30);

/// The same while they are only looked at, if giving them back fails.
const WHILE_LOOKED_AT: Duration = Duration::from_mins(5);

/// Most letters that a dry run lists; all are counted.
const MOST_LISTED: usize = 1_000;

/// Letters after which the one who waits is told how far it is.
const TELL_EVERY: u64 = 1_000;

pub(crate) fn dead_letters(command: &DeadLettersCommand) -> ExitCode {
    enqueue::run(async {
        match command {
            DeadLettersCommand::List(args) => list(args).await,
            DeadLettersCommand::Show(args) => show(args).await,
            DeadLettersCommand::Retry(args) => retry(args).await,
            DeadLettersCommand::Drop(args) => drop_letters(args).await,
        }
    })
}

async fn list(args: &ListArgs) -> Result<CommandOutput, String> {
    let (_, queue) = open(&args.queue).await?;
    let found = look(&queue, &args.which.selection(), args.limit, interrupted()).await;
    let text = |found: &Found| text::list(found, &args.queue.runbook_url, SystemTime::now());
    Ok(finish(&args.queue, &found, text))
}

async fn show(args: &ShowArgs) -> Result<CommandOutput, String> {
    let (_, queue) = open(&args.queue).await?;
    let found = find(&queue, &args.id, interrupted()).await;
    let (runbook, now) = (&args.queue.runbook_url, SystemTime::now());
    if args.queue.json {
        let letters = found.letters.iter().map(|letter| {
            let mut json = letter_json(letter, runbook, now);
            json["body"] = letter.body.clone().into();
            json
        });
        let letters: Vec<_> = letters.collect();
        let text = format!("{}\n", json!({ "letters": letters, "failures": found.failures }));
        return Ok(CommandOutput { text, failures: found.failures });
    }
    let text = found.letters.iter().map(|letter| text::whole(letter, runbook, now)).collect();
    Ok(CommandOutput { text, failures: found.failures })
}

/// The letter with an identifier.
async fn find<Q: Queue>(queue: &Q, id: &str, stop: impl Future<Output = ()>) -> Found {
    let selection = Selection { ids: vec![id.to_owned()], ..Selection::default() };
    let (mut found, uncounted) = look_through(queue, &selection, usize::MAX, stop).await;
    if found.letters.is_empty() {
        // It may be one of those that somebody else has in hand. Where it is there they do not matter.
        found.failures.extend(uncounted);
        if found.looked.is_complete() {
            let others = found.others;
            found.failures.push(format!(
                "no letter has the identifier {id}; `dead-letters list` lists the {others} that are there"
            ));
        }
    }
    found
}

async fn retry(args: &RetryArgs) -> Result<CommandOutput, String> {
    let (config, from) = open(&args.queue).await?;
    let to = enqueue::open(&config, Some(&args.to))?;
    let to = to.unwrap_or_else(|| usage("no queue to put them on: give --to or QUEUE_URL"));
    if from.url() == to.url() {
        usage("--to is the dead-letter queue itself");
    }
    let selection = args.which.selection();
    if args.dry_run {
        return Ok(dry_run(&args.queue, "would be put back", &from, &selection).await);
    }
    let waker = Waker::of(&args.wake, &config)?;
    let limiter = args.max_rate.map(RateLimiter::per_second);
    let changed = put_back(&from, &to, &selection, limiter.as_ref(), &waker, interrupted()).await;
    let text = |changed: &Changed| {
        let Changed { done, left, looked, .. } = changed;
        format!(
            "{} put back on {}, {} left where they are\n",
            count(*done, "letter"),
            to.name(),
            looked.number(*left)
        )
    };
    Ok(finish(&args.queue, &changed, text))
}

async fn drop_letters(args: &DropArgs) -> Result<CommandOutput, String> {
    let (_, queue) = open(&args.queue).await?;
    let selection = args.which.selection();
    if args.dry_run {
        return Ok(dry_run(&args.queue, "would be deleted", &queue, &selection).await);
    }
    let changed = delete(&queue, &selection, interrupted()).await;
    let text = |changed: &Changed| {
        let left = changed.looked.number(changed.left);
        format!("{} deleted, {left} left\n", count(changed.done, "letter"))
    };
    Ok(finish(&args.queue, &changed, text))
}

/// Lists what would be changed.
async fn dry_run(
    args: &LetterQueueArgs,
    what: &str,
    queue: &SqsQueue,
    selection: &Selection,
) -> CommandOutput {
    let found = look(queue, selection, MOST_LISTED, interrupted()).await;
    let text = |found: &Found| {
        let list = text::list(found, &args.runbook_url, SystemTime::now());
        let letters = found.looked.count(found.matched, "letter");
        format!("{list}{letters} {what}; nothing was changed\n")
    };
    finish(args, &found, text)
}

async fn open(args: &LetterQueueArgs) -> Result<(sdk::SdkConfig, SqsQueue), String> {
    let config = sdk::load().await;
    let queue = enqueue::open(&config, args.dead_letter_queue_url.as_deref())?;
    let queue = queue.unwrap_or_else(|| {
        usage(
            "no queue: give --dead-letter-queue-url or DEAD_LETTER_QUEUE_URL; the dead letters of `local` are on its status page, which `status` prints",
        )
    });
    Ok((config, queue))
}

/// Ctrl-C, or the end of a task, which end a walk early and in order.
pub(super) async fn interrupted() {
    match told_to_stop() {
        Ok(told) => drop(told.await),
        Err(_) => std::future::pending().await,
    }
}

fn finish<T: Told>(
    args: &LetterQueueArgs,
    told: &T,
    text: impl FnOnce(&T) -> String,
) -> CommandOutput {
    let failures = told.failures().to_vec();
    if !args.json {
        return CommandOutput { text: text(told), failures };
    }
    let mut json = told.json(&args.runbook_url);
    json["failures"] = failures.clone().into();
    CommandOutput { text: format!("{json}\n"), failures }
}

/// Looks through all of a queue and keeps the first `limit` letters that are meant.
pub(super) async fn look<Q: Queue>(
    queue: &Q,
    selection: &Selection,
    limit: usize,
    stop: impl Future<Output = ()>,
) -> Found {
    let (mut found, uncounted) = look_through(queue, selection, limit, stop).await;
    found.failures.extend(uncounted);
    found
}

/// The same, with why letters in hand were not counted as no failure of its own.
async fn look_through<Q: Queue>(
    queue: &Q,
    selection: &Selection,
    limit: usize,
    stop: impl Future<Output = ()>,
) -> (Found, Option<String>) {
    // What cannot be counted is looked at all the same.
    let mut stop = pin!(stop);
    let (in_hand, uncounted) = tokio::select! {
        // First, so that whoever stops it is heard from the first request on.
        biased;
        () = &mut stop => {
            let found = Found { failures: vec![INTERRUPTED.to_owned()], ..Found::default() };
            return (found, None);
        }
        counted = in_hand(queue) => counted,
    };
    let mut found = Found { in_hand, ..Found::default() };
    let walked = each(queue, WHILE_LOOKED_AT, stop, async |_, message| {
        let letter = Letter::of(message);
        if !selection.matches(&letter, SystemTime::now()) {
            found.others += 1;
            return Ok(());
        }
        found.matched += 1;
        found.reasons.add(&letter.reason);
        if found.letters.len() < limit {
            found.letters.push(letter);
        }
        Ok(())
    });
    let Walked { looked, failures } = walked.await;
    found.letters.sort_by_key(|letter| std::cmp::Reverse(letter.failed_at));
    // A queue that does not answer at all is said once.
    let uncounted = uncounted.filter(|_| looked.is_complete());
    (Found { looked, failures, ..found }, uncounted)
}

/// How many letters somebody else has in hand, or why that cannot be told.
async fn in_hand<Q: Queue>(queue: &Q) -> (Option<u64>, Option<String>) {
    match queue.backlog().await {
        Ok(backlog) => (Some(backlog.in_flight), None),
        Err(error) => {
            let why = error_chain(&error);
            (None, Some(format!("letters that somebody else has in hand are not counted: {why}")))
        }
    }
}

/// Puts letters on a queue as if they had never failed. Each is deleted only after that queue has it, so that
/// it may be on both, which is harmless, but never on none.
///
/// Letters that are sent after this has begun stay: they have failed again since, and would go round and round.
pub(super) async fn put_back<Q: Queue>(
    from: &Q,
    to: &Q,
    selection: &Selection,
    limiter: Option<&RateLimiter>,
    waker: &Waker<impl Listener>,
    stop: impl Future<Output = ()>,
) -> Changed {
    let before = SystemTime::now();
    change(from, selection, stop, async |message| {
        if message.sent_at > before {
            return Ok(false);
        }
        if let Some(limiter) = limiter {
            limiter.ready().await;
        }
        to.send(&again(message)).await?;
        waker.enqueued(1).await;
        Ok(true)
    })
    .await
}

/// Deletes letters.
async fn delete<Q: Queue>(
    queue: &Q,
    selection: &Selection,
    stop: impl Future<Output = ()>,
) -> Changed {
    change(queue, selection, stop, async |_| Ok(true)).await
}

/// Deletes the letters that are meant and for which `first` has said that they can go.
async fn change<Q: Queue>(
    queue: &Q,
    selection: &Selection,
    stop: impl Future<Output = ()>,
    first: impl AsyncFn(&Message) -> Result<bool, QueueError>,
) -> Changed {
    // It matters only where there was nothing to change.
    let mut stop = pin!(stop);
    let (in_hand, uncounted) = tokio::select! {
        biased;
        () = &mut stop => {
            return Changed { failures: vec![INTERRUPTED.to_owned()], ..Changed::default() };
        }
        counted = in_hand(queue) => counted,
    };
    let mut changed = Changed { in_hand, ..Changed::default() };
    let walked = each(queue, WHILE_MOVED, stop, async |walk, message| {
        changed.left += 1;
        if !selection.matches(&Letter::of(message), SystemTime::now()) || !first(message).await? {
            return Ok(());
        }
        walk.delete(message).await?;
        changed.left -= 1;
        changed.done += 1;
        Ok(())
    });
    let Walked { looked, mut failures } = walked.await;
    if changed.done == 0 && !selection.ids.is_empty() && failures.is_empty() {
        failures.push(format!("no letter has the identifier {}", selection.ids.join(" or ")));
    }
    failures.extend(uncounted.filter(|_| changed.done == 0 && looked.is_complete()));
    if let Some(in_hand) = in_hand.filter(|in_hand| *in_hand > 0 && changed.done == 0) {
        let letters = count(in_hand, "letter");
        failures.push(format!(
            "somebody else had {letters} in hand, which nobody else sees; try again"
        ));
    }
    Changed { looked, failures, ..changed }
}

/// How a walk through a queue ended.
struct Walked {
    looked: Looked,
    failures: Vec<String>,
}

/// Walks through a queue until its end, the first failure or `stop`, and gives back what is hidden then. What is
/// being done with one letter is finished in any case.
async fn each<Q: Queue>(
    queue: &Q,
    visibility: Duration,
    stop: impl Future<Output = ()>,
    mut on: impl AsyncFnMut(&mut Walk<Q>, &Message) -> Result<(), QueueError>,
) -> Walked {
    let mut walk = Walk::new(queue.clone(), visibility);
    let mut stop = pin!(stop);
    let mut looked_at = 0_u64;
    let result = 'walk: loop {
        let messages = tokio::select! {
            messages = walk.next(usize::MAX) => messages,
            () = &mut stop => break Err(INTERRUPTED.to_owned()),
        };
        let messages = match messages {
            Ok(messages) if messages.is_empty() => break Ok(()),
            Ok(messages) => messages,
            Err(error) => break Err(early(&error)),
        };
        for message in &messages {
            let stopped = tokio::select! {
                biased;
                () = &mut stop => true,
                () = std::future::ready(()) => false,
            };
            if stopped {
                break 'walk Err(INTERRUPTED.to_owned());
            }
            if let Err(error) = on(&mut walk, message).await {
                break 'walk Err(early(&error));
            }
            looked_at += 1;
            if looked_at.is_multiple_of(TELL_EVERY) {
                progress(format_args!("{looked_at} letters were looked at"));
            }
        }
    };
    let complete = if walk.is_complete() { Ok(()) } else { Err(ROUND.to_owned()) };
    let returned = walk.give_back().await.map_err(|error| {
        format!("some letters stay hidden for up to {visibility:?}: {}", error_chain(&error))
    });
    let looked = Looked::of(result.is_ok() && complete.is_ok(), looked_at > 0);
    let failures = [result, complete, returned].into_iter().filter_map(Result::err).collect();
    Walked { looked, failures }
}

/// What is said when somebody stops a walk.
const INTERRUPTED: &str = "interrupted: not all letters were looked at";

/// What is said when letters became visible again before all were seen.
const ROUND: &str =
    "letters became visible again before all were looked at, as there are so many; run it again";

fn early(error: &QueueError) -> String {
    format!("not all letters were looked at: {}", error_chain(error))
}

#[cfg(test)]
mod tests;
