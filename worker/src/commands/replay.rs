//! `replay`: puts messages on a queue again.

mod events;
mod redrive;

use std::process::ExitCode;

use serde_json::{Value, json};
use soci_aws::sdk;
use soci_jobs::RateLimiter;
use soci_push::PushRules;
use soci_service::dead_letters::Selection;
use soci_text::error_chain;

use super::dead_letters::{Changed, interrupted, look, put_back};
use super::enqueue::{self, CommandOutput, Enqueuer, progress};
use super::wake::{Waker, Waking};
use crate::cli::ReplayArgs;
use crate::usage::usage;
use redrive::Redrive;

pub(crate) fn replay(args: &ReplayArgs) -> ExitCode {
    enqueue::run(async {
        let config = sdk::load().await;
        let to = enqueue::open(&config, Some(&args.to))?;
        let to = to.unwrap_or_else(|| usage("no queue: give --to or QUEUE_URL"));
        let waker = Waker::of(&args.wake, &config)?;
        if let Some(path) = &args.events {
            let input = events::open(path)?;
            let to = Waking { queue: &to, waker: &waker };
            let mut enqueuer = if args.dry_run {
                Enqueuer::dry_run(&to)
            } else {
                Enqueuer::new(&to, args.max_rate)
            };
            let rules = PushRules {
                event_types: args.event_types.clone(),
                ..enqueue::push_rules(&args.work, &args.filter)
            };
            let report = events::replay(input, &mut enqueuer, &rules).await;
            return Ok(finish(args, report.json(), report.to_string(), report.failures()));
        }
        let from = enqueue::open(&config, args.from.as_deref())?;
        let from = from.unwrap_or_else(|| usage("no queue: give --from"));
        if from.url() == to.url() {
            usage("--from and --to are the same queue");
        }
        let selection = Selection { reasons: args.reason.clone(), ..Selection::default() };
        if args.dry_run {
            let found = look(&from, &selection, 0, interrupted()).await;
            let text = format!(
                "{} messages would be moved ({}), {} left where they are\n",
                found.matched, found.reasons, found.others
            );
            return Ok(finish(args, moved_json(found.matched, found.others), text, found.failures));
        }
        if selection.is_everything() {
            match redrive::redrive(&from, &to, args.max_rate, &waker).await {
                Redrive::Done(moved) => {
                    let text = format!("{moved} messages were moved\n");
                    return Ok(finish(args, moved_json(moved, 0), text, Vec::new()));
                }
                Redrive::Failed(failure) => return Err(failure),
                Redrive::NotStarted(error) => progress(format_args!(
                    "SQS does not move the messages by itself ({}); they are moved one by one",
                    error_chain(&error)
                )),
            }
        }
        let limiter = args.max_rate.map(RateLimiter::per_second);
        let Changed { done, left, failures, .. } =
            put_back(&from, &to, &selection, limiter.as_ref(), &waker, interrupted()).await;
        let text = format!("{done} messages were moved, {left} left where they are\n");
        Ok(finish(args, moved_json(done, left), text, failures))
    })
}

fn moved_json(moved: u64, left: u64) -> Value {
    json!({ "moved": moved, "left": left })
}

fn finish(args: &ReplayArgs, json: Value, text: String, failures: Vec<String>) -> CommandOutput {
    if !args.json {
        let mut text = text;
        if args.dry_run {
            text.push_str("nothing was changed\n");
        }
        return CommandOutput { text, failures };
    }
    let mut json = json;
    json["dry_run"] = args.dry_run.into();
    json["failures"] = failures.clone().into();
    CommandOutput { text: format!("{json}\n"), failures }
}
