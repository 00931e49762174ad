//! `replay`: puts messages on a queue again.

mod events;
mod messages;
mod redrive;

use soci_text::error_chain;
use std::process::ExitCode;

use serde_json::{Value, json};
use soci_aws::sdk;
use soci_jobs::RateLimiter;

use super::enqueue::{self, CommandOutput, Enqueuer, progress};
use crate::cli::ReplayArgs;
pub(super) use messages::reason;
use messages::{Failures, Tally};
use redrive::Redrive;

pub(crate) fn replay(args: &ReplayArgs) -> ExitCode {
    enqueue::run(async {
        let config = sdk::load().await;
        let to = enqueue::open(&config, Some(&args.to))?;
        let to = to.ok_or("no queue: give --to or QUEUE_URL")?;
        if let Some(path) = &args.events {
            let input = events::open(path)?;
            let mut enqueuer = Enqueuer::new(&to, args.max_rate);
            let rules = enqueue::push_rules(&args.work);
            let report = events::replay(input, &mut enqueuer, &rules).await;
            return Ok(finish(args, report.json(), report.to_string(), report.failures()));
        }
        let from = enqueue::open(&config, args.from.as_deref())?;
        let from = from.ok_or("no queue: give --from")?;
        if from.url() == to.url() {
            return Err("--from and --to are the same queue".to_owned());
        }
        if args.reason.is_empty() {
            match redrive::redrive(&from, &to, args.max_rate).await {
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
        let failures = Failures { reasons: &args.reason, before: std::time::SystemTime::now() };
        let mut tally = Tally::default();
        let result = tokio::select! {
            result = messages::replay(&from, &to, failures, limiter.as_ref(), &mut tally) => {
                result.map_err(|error| error_chain(&error))
            }
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        };
        let returned = messages::give_back(&from, &mut tally).await;
        let mut failures: Vec<_> = result.err().into_iter().collect();
        failures.extend(returned.err().map(|error| {
            format!("some messages stay hidden for a while: {}", error_chain(&error))
        }));
        let text =
            format!("{} messages were moved, {} left where they are\n", tally.moved, tally.left);
        Ok(finish(args, moved_json(tally.moved, tally.left), text, failures))
    })
}

fn moved_json(moved: u64, left: u64) -> Value {
    json!({ "moved": moved, "left": left })
}

fn finish(args: &ReplayArgs, json: Value, text: String, failures: Vec<String>) -> CommandOutput {
    if !args.json {
        return CommandOutput { text, failures };
    }
    let mut json = json;
    json["failures"] = failures.clone().into();
    CommandOutput { text: format!("{json}\n"), failures }
}
