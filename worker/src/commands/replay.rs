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

use super::dead_letters::{Changed, Found, interrupted, look, put_back};
use super::enqueue::{self, CommandOutput, Enqueuer, progress};
use super::looked::Looked;
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
            let Found { looked, matched, others, .. } = found;
            let text = format!(
                "{} would be moved ({}), {} left where they are\n",
                looked.count(matched, "message"),
                found.reasons,
                looked.number(others)
            );
            let json = moved_json(looked, &looked.json(matched), others);
            return Ok(finish(args, json, text, found.failures));
        }
        if selection.is_everything() {
            match redrive::redrive(&from, &to, args.max_rate, &waker).await {
                Redrive::Done(moved) => {
                    let text = format!("{moved} messages were moved\n");
                    let json = moved_json(Looked::All, &moved.into(), 0);
                    return Ok(finish(args, json, text, Vec::new()));
                }
                Redrive::Failed(failure) => return Err(failure),
                Redrive::NotStarted(error) => progress(format_args!(
                    "SQS does not move the messages by itself ({}); they are moved one by one",
                    error_chain(&error)
                )),
            }
        }
        let limiter = args.max_rate.map(RateLimiter::per_second);
        let Changed { done, left, looked, failures, .. } =
            put_back(&from, &to, &selection, limiter.as_ref(), &waker, interrupted()).await;
        let text =
            format!("{done} messages were moved, {} left where they are\n", looked.number(left));
        Ok(finish(args, moved_json(looked, &done.into(), left), text, failures))
    })
}

fn moved_json(looked: Looked, moved: &Value, left: u64) -> Value {
    json!({ "complete": looked.is_complete(), "moved": moved, "left": looked.json(left) })
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
