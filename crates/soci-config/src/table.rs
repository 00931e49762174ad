//! Every variable that the programs read.
//!
//! The table is the one place that knows a variable: a program cannot read one that is not in it, a
//! default stands nowhere else, and the table in `docs/CONFIGURATION.md` is printed from it. Tests
//! hold it against what each program asks for and what the CloudFormation template sets, so that no
//! variable is documented and not read, or read and not documented.
//!
//! Defaults are text, as a person would write them, and go through the same parser as values do.

use std::fmt::Write as _;

use Need::{Default, Optional, Required};
use Program::{Filter, Index, Operator, Worker};
use soci_text::Runbook;

use crate::name;

/// A program, or a group of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The filter Lambda, `filter-lambda`.
    Filter,
    /// The index Lambda, `index-lambda`.
    Index,
    /// `soci-index-builder worker`.
    Worker,
    /// `soci-index-builder backfill`, `replay`, `queue` and `dead-letters`.
    Operator,
}

/// What happens without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The program does not start.
    Required,
    /// What the variable is for does not happen.
    Optional,
    /// This is taken.
    Default(&'static str),
    /// A value that depends on the machine is taken, described here.
    Derived(&'static str),
}

/// A variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name in the environment.
    pub name: &'static str,
    /// The programs that read it, and what each does without it.
    pub programs: &'static [(Program, Need)],
    /// The values it takes.
    pub values: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

impl Variable {
    /// The same name as a flag, without its dashes: `queue-url`.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// What a program does without it; `None` if the program does not read it.
    pub fn need(&self, program: Program) -> Option<Need> {
        self.programs.iter().find(|(reader, _)| *reader == program).map(|(_, need)| *need)
    }
}

/// All variables, in the order of the documentation.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: name::QUEUE_URL,
        programs: &[
            (Filter, Required),
            (Index, Required),
            (Worker, Required),
            (Operator, Optional),
        ],
        values: "URL of an SQS queue",
        meaning: "the live queue: jobs for what has just been pushed",
    },
    Variable {
        name: name::BACKFILL_QUEUE_URL,
        programs: &[(Worker, Optional), (Operator, Optional)],
        values: "URL of an SQS queue",
        meaning: "jobs for what events missed; worked on when the live queue has nothing",
    },
    Variable {
        name: name::DEAD_LETTER_QUEUE_URL,
        programs: &[(Index, Optional), (Worker, Optional), (Operator, Optional)],
        values: "URL of an SQS queue",
        meaning: "where a job that can never succeed goes, with its reason. Without it such a job \
                  stays on its queue until the queue's own redrive policy moves it",
    },
    Variable {
        name: name::FILTERS,
        programs: &[
            (Filter, Required),
            (Index, Default("*:*")),
            (Worker, Default("*:*")),
            (Operator, Optional),
        ],
        values: "`repository:tag`, several separated by commas; `*` stands for anything in both",
        meaning: "which pushed images are indexed. Index Lambda and worker hold raw events against \
                  it; a job that the filter Lambda wrote has been chosen already",
    },
    Variable {
        name: name::EVENT_TYPES,
        programs: &[
            (Filter, Default("ECR Image Action")),
            (Index, Default("ECR Image Action")),
            (Worker, Default("ECR Image Action")),
            (Operator, Default("ECR Image Action")),
        ],
        values: "one or more of `ECR Image Action`, `ECR Replication Action` and `ECR Pull Through Cache Action`, \
                 separated by commas",
        meaning: "which events bring images: pushes, copies from another region or account, what the pull-through \
                  cache fetches. Others are skipped",
    },
    Variable {
        name: name::REMOVE_RESULTS,
        programs: &[
            (Filter, Default("false")),
            (Index, Default("false")),
            (Worker, Default("false")),
        ],
        values: "`true` or `false`",
        meaning: "whether an image's result is deleted when ECR tells that the image was, or its tag. Otherwise deletions \
                  are skipped",
    },
    Variable {
        name: name::PLATFORMS,
        programs: &[(Index, Optional), (Worker, Optional)],
        values: "`os/arch[/variant]`, several separated by commas",
        meaning: "the platforms that get an index, in images that have them; an image without any of them is \
                  skipped. Without it all of an image's platforms get one",
    },
    Variable {
        name: name::INDEX_VERSION,
        programs: &[
            (Filter, Default("V2")),
            (Index, Default("V2")),
            (Worker, Default("V2")),
            (Operator, Default("V2")),
        ],
        values: "`V1` or `V2`",
        meaning: "V2 writes a converted image under a tag of its own, V1 attaches the indexes to \
                  the image as referrers",
    },
    Variable {
        name: name::OUTPUT_TAG_SUFFIX,
        programs: &[
            (Filter, Default("-soci")),
            (Index, Default("-soci")),
            (Worker, Default("-soci")),
            (Operator, Default("-soci")),
        ],
        values: "up to 128 letters, digits, `_`, `.` and `-`; may be empty",
        meaning: "what is added to the image's tag for the converted image (V2). Empty replaces \
                  the image itself, and then a push in the moment of that write can be lost",
    },
    Variable {
        name: name::SPAN_SIZE,
        programs: &[(Index, Default("4MiB")), (Worker, Default("4MiB"))],
        values: "bytes, with an optional unit `KiB`, `MiB` or `GiB`",
        meaning: "bytes between checkpoints; part of every digest",
    },
    Variable {
        name: name::MIN_LAYER_SIZE,
        programs: &[(Index, Default("10MiB")), (Worker, Default("10MiB"))],
        values: "bytes, with an optional unit",
        meaning: "smaller layers get no ztoc",
    },
    Variable {
        name: name::BUILD_TOOL_IDENTIFIER,
        programs: &[
            (Index, Default(soci_manifest::format::DEFAULT_BUILD_TOOL_IDENTIFIER)),
            (Worker, Default(soci_manifest::format::DEFAULT_BUILD_TOOL_IDENTIFIER)),
        ],
        values: "text",
        meaning: "name of the building tool in the index; part of every digest",
    },
    Variable {
        name: name::COMPATIBLE_WITH,
        programs: &[(Index, Default("0.11")), (Worker, Default("0.11"))],
        values: "`0.11` or `0.16`",
        meaning: "the release of soci-snapshotter that can use the index. `0.11`: every one, and layers of several \
                  gzip members get no ztoc, as snapshotters before 0.14 would give wrong bytes. `0.16`: those from \
                  0.14 on, with the bytes of the newest release; part of every digest",
    },
    Variable {
        name: name::OPTIMIZATIONS,
        programs: &[(Index, Default("")), (Worker, Default(""))],
        values: "empty or `xattr`",
        meaning: "`xattr`: say in the index which layers have no extended attributes, so that soci-snapshotter mounts \
                  them without; part of every digest",
    },
    Variable {
        name: name::PREFETCH,
        programs: &[(Index, Default("none")), (Worker, Default("none"))],
        values: "`none`, `label` or `auto`",
        meaning: "what soci-snapshotter fetches before it mounts a layer, if its prefetching is on. `label`: the files \
                  that the image's label `soci-index-builder.prefetch-files` names. `auto`: these, or what the \
                  image's program needs to start. Both need `COMPATIBLE_WITH=0.16`",
    },
    Variable {
        name: name::ANNOTATE_SPAN_SIZE,
        programs: &[(Index, Default("false")), (Worker, Default("false"))],
        values: "`true` or `false`",
        meaning: "name the span size in an index for `0.11` as well, as soci-snapshotter does from 0.12 on; part \
                  of every digest",
    },
    Variable {
        name: name::REUSE,
        programs: &[(Index, Default("repository")), (Worker, Default("repository"))],
        values: "`repository`, `process` or `never`",
        meaning: "whose ztocs are taken for layers that were indexed before, which are not read then. `repository`: also \
                  those that SOCI indexes in the image's own repository name, whoever has pushed them. `process`: those \
                  that this process has built itself. The digests are the same",
    },
    Variable {
        name: name::REGISTRY_ENDPOINT_URL,
        programs: &[(Index, Optional), (Worker, Optional)],
        values: "`http://` or `https://`, host and optional port",
        meaning: "a registry that is asked in the place of the one that jobs name, for tests and \
                  private endpoints",
    },
    Variable {
        name: name::PUT_IMAGE_RATE,
        programs: &[(Index, Default("5")), (Worker, Default("5"))],
        values: "calls per second, 1 to 1000",
        meaning: "most manifests pushed in a second by one task. ECR allows an account 10 in a \
                  region, which all tasks and other builds share",
    },
    Variable {
        name: name::SMALL_IMAGES_QUEUE_URL,
        programs: &[(Filter, Optional)],
        values: "URL of an SQS queue",
        meaning: "the queue that the index Lambda reads, for images of at most \
                  `INDEX_LAMBDA_MAX_IMAGE_BYTES`; without it everything goes to `QUEUE_URL`",
    },
    Variable {
        name: name::INDEX_LAMBDA_MAX_IMAGE_BYTES,
        programs: &[(Filter, Default("512MiB"))],
        values: "bytes, with an optional unit; 0 for none",
        meaning: "largest image, as the sum of its compressed layers, that the index Lambda gets",
    },
    Variable {
        name: name::DEADLINE_MARGIN_SECONDS,
        programs: &[(Index, Default("20"))],
        values: "seconds, 1 to 300",
        meaning: "how long before Lambda's deadline an unfinished image is handed to the queue",
    },
    Variable {
        name: name::MAX_CONCURRENT_IMAGES,
        programs: &[(Worker, Default("4"))],
        values: "1 to 1000",
        meaning: "images worked on at once, and messages taken from the queues",
    },
    Variable {
        name: name::MAX_CONCURRENT_LAYERS,
        programs: &[(Worker, Need::Derived("number of cores"))],
        values: "1 to 1000",
        meaning: "layers worked on at once, of all images together",
    },
    Variable {
        name: name::MEMORY_BUDGET,
        programs: &[
            (Index, Need::Derived("three fifths of the memory")),
            (Worker, Need::Derived("three fifths of the memory")),
        ],
        values: "bytes, with an optional unit; at least `32MiB`",
        meaning: "memory for everything that grows with images: manifests, downloads in flight, and ztocs \
                  until they are pushed. See [Memory](#memory)",
    },
    Variable {
        name: name::VISIBILITY_TIMEOUT_SECONDS,
        programs: &[(Worker, Default("120"))],
        values: "seconds, 30 to 3600",
        meaning: "how long a job stays hidden from other workers; extended while it runs. After a \
                  crash it takes this long until the job is begun again",
    },
    Variable {
        name: name::MAX_JOB_SECONDS,
        programs: &[(Worker, Default("39600"))],
        values: "seconds, 60 to 42900",
        meaning: "a job that takes longer is given up. SQS hides a message for 12 hours at most, so with \
                  `VISIBILITY_TIMEOUT_SECONDS` it has to stay below that",
    },
    Variable {
        name: name::MAX_JOB_AGE_SECONDS,
        programs: &[(Worker, Default("86400"))],
        values: "seconds, 900 to 1209600",
        meaning: "a job that fails for what may pass is tried until it is so old, counted from its first \
                  message, and then goes to the dead-letter queue with its last reason; for a 24th of \
                  this, if it waited so long for its first try",
    },
    Variable {
        name: name::DRAIN_DEADLINE_SECONDS,
        programs: &[(Worker, Default("100"))],
        values: "seconds, 0 to 3600",
        meaning: "time that running jobs get after SIGTERM before they are given back; has to stay \
                  below the task's `stopTimeout`",
    },
    Variable {
        name: name::HTTP_ADDRESS,
        programs: &[(Worker, Default("0.0.0.0:8080"))],
        values: "address and port; port 0 takes a free one",
        meaning: "where `/livez`, `/readyz`, `/metrics`, `/status` and the status page are served",
    },
    Variable {
        name: name::RUNBOOK_URL,
        programs: &[
            (Index, Default(Runbook::DEFAULT)),
            (Worker, Default(Runbook::DEFAULT)),
            (Operator, Default(Runbook::DEFAULT)),
        ],
        values: "URL of a copy of `docs/RUNBOOK.md`",
        meaning: "where the status page, dead letters and the commands lead whoever reads them; the sections \
                  are named by reasons, states and alarms",
    },
    Variable {
        name: name::QUEUE_AGES,
        programs: &[(Worker, Default("false"))],
        values: "`true` or `false`",
        meaning: "ask CloudWatch each minute how old the oldest message of each queue is, for the status page and \
                  `/metrics`; about a dollar a month for each worker, and it takes `cloudwatch:GetMetricData`",
    },
    Variable {
        name: name::DEAD_LETTERS_ON_PAGE,
        programs: &[(Worker, Default("false"))],
        values: "`true` or `false`",
        meaning: "list the dead letters on the status page. To look at one is to receive it, so it is hidden for \
                  a moment, and it takes `sqs:ReceiveMessage` and `sqs:ChangeMessageVisibility` on their queue",
    },
    Variable {
        name: name::LOG_FORMAT,
        programs: &[(Filter, Default("json")), (Index, Default("json")), (Worker, Default("auto"))],
        values: "`auto`, `json` or `text`",
        meaning: "how logs look; `auto` is text on a terminal and JSON elsewhere",
    },
    Variable {
        name: name::LOG_LEVEL,
        programs: &[(Filter, Default("info")), (Index, Default("info")), (Worker, Default("info"))],
        values: "`error`, `warn`, `info`, `debug`, `trace`, or filters such as `info,soci_registry=debug`",
        meaning: "what is logged",
    },
    Variable {
        name: name::EMF_NAMESPACE,
        programs: &[
            (Filter, Optional),
            (Index, Optional),
            (Worker, Optional),
            (Operator, Optional),
        ],
        values: "up to 255 letters, digits, blanks and `.-_/#:`; not beginning with `:` or `AWS/`",
        meaning: "CloudWatch namespace of the metrics that are written to standard output in the \
                  Embedded Metric Format; commands that enqueue tell CloudWatch of it there",
    },
    Variable {
        name: name::EVENT_BUS,
        programs: &[(Index, Optional), (Worker, Optional)],
        values: "name or ARN of an event bus of EventBridge",
        meaning: "where it is announced how each image ends, which takes `events:PutEvents` there. See \
                  `docs/ANNOUNCEMENTS.md`",
    },
    Variable {
        name: name::WEBHOOK_URL,
        programs: &[(Index, Optional), (Worker, Optional)],
        values: "URL that begins with `https://`; `http://` on this machine",
        meaning: "a server that is told how each image ends, by a signed POST; it takes `WEBHOOK_SECRET`. See \
                  `docs/ANNOUNCEMENTS.md`",
    },
    Variable {
        name: name::WEBHOOK_SECRET,
        programs: &[(Index, Optional), (Worker, Optional)],
        values: "`whsec_` and the Base64 of 24 to 64 random bytes",
        meaning: "what the POST is signed with. As a variable and not as a flag, which others on the machine can read",
    },
    Variable {
        name: name::OTLP_ENDPOINT,
        programs: &[(Worker, Optional)],
        values: "URL of a collector",
        meaning: "where traces are sent, as OTLP over HTTP (protobuf)",
    },
    Variable {
        name: name::ECS_AGENT_URI,
        programs: &[(Worker, Optional)],
        values: "URL; ECS sets it",
        meaning: "the ECS agent, told to protect the task from scale-in while jobs run",
    },
    Variable {
        name: name::LAMBDA_MEMORY,
        programs: &[(Index, Optional)],
        values: "MiB; Lambda sets it",
        meaning: "memory of the function, of which the default of `MEMORY_BUDGET` is a part",
    },
];

/// The table as `docs/CONFIGURATION.md` has it.
pub fn markdown() -> String {
    let mut text = String::from(
        "| variable | filter Lambda | index Lambda | worker | values | meaning |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for variable in VARIABLES {
        let need = |program| match variable.need(program) {
            None => String::new(),
            Some(Required) => "**required**".to_owned(),
            Some(Optional) => "optional".to_owned(),
            Some(Default(value)) => format!("`{value}`"),
            Some(Need::Derived(value)) => value.to_owned(),
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} |",
            variable.name,
            need(Filter),
            need(Index),
            need(Worker),
            variable.values,
            variable.meaning
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let mut seen = HashSet::new();
        assert!(VARIABLES.iter().all(|variable| seen.insert(variable.name)));
    }

    #[test]
    fn flags_are_the_names_in_lower_case() {
        assert_eq!(VARIABLES[0].flag(), "queue-url");
    }
}
