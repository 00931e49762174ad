//! What stands below the flags in the help of each command: remarks, and what its exit codes mean.
//!
//! One form for all. A remark is one line, however long, and the terminal's width breaks it. Exit codes are those of
//! `usage.rs`, the same for every command but for what 0 and 1 mean and for some that have more.

use std::fmt;

/// What stands below the flags of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footer {
    /// Remarks, a paragraph each.
    remarks: &'static [&'static str],
    /// What 0 means.
    done: &'static str,
    /// What 1 means.
    failed: &'static str,
    /// Codes of this command only, in order.
    own: &'static [(&'static str, &'static str)],
    /// Whether some of its flags are variables of the environment, too.
    variables: bool,
    /// What the codes of signals mean.
    signals: &'static str,
}

const INTERRUPTED: &str = "interrupted by Ctrl-C; 143 by SIGTERM";

/// Of what ends in an ordinary way by a signal.
const AT_ONCE: &str = "ended at once, by a second Ctrl-C";

impl Footer {
    const fn new(done: &'static str, failed: &'static str) -> Self {
        Self { remarks: &[], done, failed, own: &[], variables: false, signals: INTERRUPTED }
    }
}

// A variable of the connection that cannot be used, as HTTPS_PROXY, fails the images; no flag is a variable.
pub(super) const INDEX: Footer = Footer::new(
    "every image has its index, or needs none",
    "an image failed; of several images the highest code counts",
);

pub(super) const VERIFY: Footer = Footer {
    remarks: &[
        "Each layer that has a ztoc is read once, whole, and its ztoc built again; then eight files of it are extracted as a snapshotter does, by fetching the spans that each of them lies in, whole. So of layers that have few spans it is several times what they have. The other layers and the configuration have to be there, with --quick too.",
    ],
    ..Footer::new("the indexes match the image", "they do not, there is none, or it cannot be told")
};

pub(super) const WAIT: Footer = Footer {
    remarks: &["Standard output has one line, REPOSITORY@DIGEST: what to deploy."],
    own: &[
        ("3", "the image gets no index; the line names the image itself"),
        ("4", "the index did not come in time; no line"),
    ],
    ..Footer::new(
        "the index is there",
        "it cannot be told: no image, no access, or no answer of the registry",
    )
};

pub(super) const INSPECT: Footer = Footer {
    remarks: &[
        "It reads the image's documents, its SOCI indexes and the ztocs that they name, and of layers only asks whether they are there. Whether an index is right only `verify` tells.",
    ],
    ..Footer::new(
        "it was looked at, be there an index or not",
        "it cannot be told: no image, no access, or no answer of the registry",
    )
};

pub(super) const LS: Footer = Footer {
    remarks: &[
        "Images are tags here. A converted image is told beside its image, and lists of referrers and signatures are left out.",
    ],
    ..Footer::new(
        "they were looked at, be there indexes or not",
        "the tags cannot be listed, or an image cannot be looked at",
    )
};

pub(super) const PRUNE: Footer = Footer {
    remarks: &[
        "What is deleted: converted images whose tag without the suffix is gone or names another image; SOCI indexes whose image is gone; and what a failed publish left. All of it only if its content shows that this program or soci-snapshotter made it, and if no other tag, image index or signature needs it.",
        "What was converted elsewhere and pushed without its image is such a result, too: look at --dry-run first, or give it a tag that does not end with the suffix.",
        "In ECR everything is found. Other registries list tags only, so that there the parts of a converted image are left to the registry's garbage collection.",
    ],
    ..Footer::new(
        "what is of no use was deleted, or shown; or there is nothing",
        "a repository cannot be looked at, a deletion failed, or the answer was no",
    )
};

pub(super) const COPY: Footer = Footer::new("the copy is there", "it is not, or not whole");

pub(super) const SAMPLE_IMAGE: Footer = Footer::new("the image is there", "it is not");

pub(super) const WORKER: Footer = Footer {
    variables: true,
    signals: AT_ONCE,
    ..Footer::new(
        "it was told to stop, and has finished or given back its jobs",
        "it cannot work, as the queue cannot be used",
    )
};

pub(super) const HEALTHCHECK: Footer = Footer {
    variables: true,
    ..Footer::new("the worker lives", "it does not, or does not answer")
};

pub(super) const STATUS: Footer =
    Footer { variables: true, ..Footer::new("it was printed", "no worker answers") };

pub(super) const BACKFILL: Footer = Footer {
    variables: true,
    ..Footer::new(
        "the jobs are on the queue, or were counted",
        "not all could be looked at or enqueued, or a pattern matches nothing",
    )
};

pub(super) const REPLAY: Footer = Footer {
    variables: true,
    ..Footer::new(
        "the messages are on the queue, or were counted",
        "not all could be looked at or enqueued",
    )
};

pub(super) const QUEUE: Footer =
    Footer { variables: true, ..Footer::new("all queues were counted", "a queue was not") };

#[cfg(feature = "aws")]
pub(super) const LIST_LETTERS: Footer =
    Footer { variables: true, ..Footer::new("all letters were looked at", "not all of them were") };

#[cfg(feature = "aws")]
pub(super) const SHOW_LETTER: Footer = Footer {
    variables: true,
    ..Footer::new(
        "it was printed",
        "there is no such letter, or not all were looked at and given back",
    )
};

#[cfg(feature = "aws")]
pub(super) const CHANGE_LETTERS: Footer = Footer {
    variables: true,
    ..Footer::new("all that were meant were changed, or listed", "not all of them were")
};

pub(super) const LOCAL: Footer = Footer {
    remarks: &[
        "What failed for good is listed on the status page, and by `status --http-address`, until it is stopped: the queue is in this process, where `dead-letters` cannot look. Push the image again to have it tried again.",
        "Nobody is told how images end (EVENT_BUS and WEBHOOK_URL are for the worker and the functions): here a line says it.",
    ],
    signals: "a demonstration was interrupted, or Ctrl-C came twice; 143 by SIGTERM",
    ..Footer::new(
        "it was told to stop, or the demonstration is over",
        "it cannot start, or the demonstration failed",
    )
};

pub(super) const ZTOC_BUILD: Footer = Footer::new(
    "the ztoc was written",
    "the layer cannot be read or indexed, or the ztoc not written",
);

pub(super) const ZTOC_INFO: Footer = Footer::new("it was printed", "it cannot be read");

pub(super) const ZTOC_EXTRACT: Footer =
    Footer::new("the file was written", "it is not in the layer, or not as the ztoc has it");

pub(super) const COMPLETIONS: Footer = Footer::new("they were printed", "they were not");

pub(super) const MAN: Footer = Footer::new("the pages were written", "they were not");

impl fmt::Display for Footer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for remark in self.remarks {
            write!(f, "{remark}\n\n")?;
        }
        write!(f, "Exit codes:")?;
        let mut codes =
            vec![("0", self.done), ("1", self.failed), ("2", "a mistake on the command line")];
        codes.extend(self.own);
        if self.variables {
            codes.push(("64", "a mistake in a variable of the environment"));
        }
        codes.push(("130", self.signals));
        for (code, meaning) in codes {
            write!(f, "\n  {code:<3}  {meaning}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::super::Cli;

    /// The commands that do something, with their names.
    fn leaves(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
        let name = format!("{name} {}", command.get_name());
        if !command.has_subcommands() {
            found.push((name, command.clone()));
            return;
        }
        for command in command.get_subcommands().filter(|c| c.get_name() != "help") {
            leaves(command, &name, found);
        }
    }

    /// The help of every command says what its exit codes mean, and breaks where the terminal does.
    #[test]
    fn every_command_says_what_its_exit_codes_mean_in_one_form() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "", &mut found);
        assert!(found.len() > if cfg!(feature = "aws") { 20 } else { 15 }, "{}", found.len());
        for (name, mut command) in found {
            // It is there to say that it needs AWS, and has no help.
            if command.is_disable_help_flag_set() {
                continue;
            }
            let footer = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let (remarks, codes) =
                footer.split_once("Exit codes:\n").unwrap_or_else(|| panic!("{name}: {footer}"));
            let codes: Vec<&str> = codes.lines().collect();
            for (line, code) in codes.iter().zip(["0", "1", "2"]) {
                assert!(line.starts_with(&format!("  {code:<3}  ")), "{name}: {line}");
            }
            assert!(codes.last().unwrap().starts_with("  130  "), "{name}: {codes:?}");
            for line in &codes {
                assert!(line.len() <= 80, "a terminal would break it, {name}: {line}");
            }
            // A paragraph that has a line break of its own is broken twice on a narrow terminal.
            for paragraph in remarks.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
                assert!(!paragraph.contains('\n'), "{name}: {paragraph}");
            }
            let of_variable = command.get_arguments().any(|argument| {
                argument.get_env().is_some()
                    || argument.get_help().is_some_and(|help| help.to_string().contains("[env: "))
            });
            let has_64 = codes.iter().any(|line| line.starts_with("  64   "));
            assert_eq!(has_64, of_variable, "{name}: {codes:?}");
            let help = command.render_help().to_string();
            assert!(help.trim_end().ends_with(codes.last().unwrap()), "{name}: {help}");
        }
    }
}
