//! The flags of `dead-letters`.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use soci_config::name;
use soci_service::dead_letters::{ImagePattern, Selection};
use soci_text::Runbook;

use super::footers;
use super::ops::WakeArgs;
use super::values::{age, letter_reason, queue_url};

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List what failed for good: when, why, for which image
    #[command(after_help = footers::LIST_LETTERS.to_string())]
    List(ListArgs),
    /// Tell all that is known of one letter, and what to do about it
    #[command(after_help = footers::SHOW_LETTER.to_string())]
    Show(ShowArgs),
    /// Put letters on a queue again; each is tried as if it were new
    #[command(after_help = footers::CHANGE_LETTERS.to_string())]
    Retry(RetryArgs),
    /// Delete letters for which nothing can be done
    #[command(after_help = footers::CHANGE_LETTERS.to_string())]
    Drop(DropArgs),
}

/// The queue, and how the result is told.
#[derive(Debug, Args)]
pub(crate) struct LetterQueueArgs {
    /// The queue of what failed for good
    #[arg(long, env = name::DEAD_LETTER_QUEUE_URL, value_name = "URL", value_parser = queue_url)]
    pub(crate) dead_letter_queue_url: Option<String>,
    /// Where the runbook is, of which each reason has a section
    #[arg(long, env = name::RUNBOOK_URL, value_name = "URL", default_value = Runbook::DEFAULT)]
    pub(crate) runbook_url: Runbook,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which letters; all that is given has to hold.
#[derive(Debug, Args)]
pub(crate) struct SelectionArgs {
    /// The letter with this identifier, its own or the one that the log tells; may be given several
    /// times
    #[arg(long, value_name = "ID")]
    pub(crate) id: Vec<String>,
    /// Letters for this image, `*` stands for anything; may be given several times
    #[arg(long, value_name = "REPO[:TAG]|DIGEST")]
    pub(crate) image: Vec<ImagePattern>,
    /// Letters that failed for this reason; may be given several times
    #[arg(long, value_name = "REASON", value_parser = letter_reason(), hide_possible_values = true)]
    pub(crate) reason: Vec<String>,
    /// Letters that failed longer ago, as in 90s, 15m, 2h or 3d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Option<Duration>,
    /// Letters that failed at most so long ago
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) newer_than: Option<Duration>,
}

impl SelectionArgs {
    pub(crate) fn selection(&self) -> Selection {
        let Self { id, image, reason, older_than, newer_than } = self;
        Selection {
            ids: id.clone(),
            images: image.clone(),
            reasons: reason.clone(),
            older_than: *older_than,
            newer_than: *newer_than,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) queue: LetterQueueArgs,
    #[command(flatten)]
    pub(crate) which: SelectionArgs,
    /// Most letters to list; all are counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) queue: LetterQueueArgs,
    /// The letter's identifier, its own or the one that the log tells
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// The properties by which letters are chosen, one of which has to be given where letters are changed.
fn chosen() -> ArgGroup {
    let properties = ["id", "image", "reason", "older_than", "newer_than", "all"];
    ArgGroup::new("chosen").args(properties).required(true).multiple(true)
}

#[derive(Debug, Args)]
#[command(group = chosen())]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) queue: LetterQueueArgs,
    #[command(flatten)]
    pub(crate) which: SelectionArgs,
    /// All letters
    #[arg(long, conflicts_with_all = ["id", "image", "reason", "older_than", "newer_than"])]
    pub(crate) all: bool,
    /// Queue to put them on
    #[arg(long, env = name::QUEUE_URL, value_name = "URL", value_parser = queue_url)]
    pub(crate) to: String,
    /// Most letters a second
    #[arg(long, value_name = "N")]
    pub(crate) max_rate: Option<NonZeroU32>,
    #[command(flatten)]
    pub(crate) wake: WakeArgs,
    /// Change nothing, only list what would be put back
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(group = chosen())]
pub(crate) struct DropArgs {
    #[command(flatten)]
    pub(crate) queue: LetterQueueArgs,
    #[command(flatten)]
    pub(crate) which: SelectionArgs,
    /// All letters
    #[arg(long, conflicts_with_all = ["id", "image", "reason", "older_than", "newer_than"])]
    pub(crate) all: bool,
    /// Change nothing, only list what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
}
