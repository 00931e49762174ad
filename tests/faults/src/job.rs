//! A job of the campaign, and what became of it. Only the end counts, not the way there:
//!
//! | end | when |
//! | --- | --- |
//! | indexed | the registry has what an undisturbed run makes, with all that it names |
//! | clean | no index, and a code that is true says why: on the dead-letter queue, or in the log of a job that is skipped |
//! | unexplained | no index, and a letter on the dead-letter queue that says nothing |
//! | unfinished | no index, and its message is still on the queue when the time is up |
//! | lost | no index, and no message; or a message that was given up for a reason that is not true |
//! | wrong | a tag or a manifest that an undisturbed run does not make, or that names what is not there |
//!
//! A fault that hits once must not keep an image from its index, so no reason is true of it. Two of them that
//! say the same are a second look that finds the same.

use std::collections::BTreeMap;
use std::time::SystemTime;

use soci_oci::{Digest, Repository};
use soci_push::JobMessage;
use soci_registry_server::testing::{FakeRegistry, QuirkOrder};

use crate::aws::{Aws, ECR_HOST, QueuedMessage};
use crate::images::{Found, ShapeName, Shapes, TAG};
use crate::kinds::FaultKind;
use crate::worker::{IndexVersion, LoggedEnd};

/// Codes that say something of the image itself. The images of the campaign are healthy, and a registry
/// that fails does not change that, so a job that ends with one of these has been told wrong.
const OF_THE_IMAGE: [&str; 16] = [
    "nothing-to-index",
    "soci-index",
    "artifact",
    "no-file-system",
    "no-platform",
    "other-platforms",
    "not-an-image",
    "superseded",
    "tag-gone",
    "image-gone",
    "image-malformed",
    "image-limit",
    "image-memory",
    "layer-rejected",
    "tag-immutable",
    "internal",
];

/// The code of a message that was received as often as it may be, and the name of a letter that the queue
/// itself has moved, which has none.
pub(crate) const PROCESS_ENDED: &str = "process-ended";
pub(crate) const RECEIVED_TOO_OFTEN: &str = "received-too-often";

/// How often a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    Once,
    /// So many requests in a row.
    Times(usize),
    /// Every request, until the stage lifts it.
    UntilLifted,
}

/// A fault that a job is to meet.
#[derive(Clone, Debug)]
pub(crate) struct PlannedFault {
    pub(crate) kind: FaultKind,
    pub(crate) extent: Extent,
}

/// A job and its repository.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The last part of the repository's name, which no other job has.
    pub(crate) name: String,
    pub(crate) repository: String,
    pub(crate) shape: ShapeName,
    pub(crate) faults: Vec<PlannedFault>,
    /// Codes with which it may end although nothing is planned that they are true of.
    pub(crate) may_end: Vec<&'static str>,
    /// Where it is counted.
    pub(crate) row: String,
    orders: Vec<QuirkOrder>,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobFate {
    Indexed,
    Clean(String),
    Unexplained,
    Unfinished,
    Lost(String),
    Wrong(String),
}

/// What is left of a stage, for the judge.
#[derive(Debug)]
pub(crate) struct Remains<'a> {
    pub(crate) registry: &'a FakeRegistry,
    pub(crate) shapes: &'a Shapes,
    pub(crate) version: IndexVersion,
    pub(crate) live: &'a [QueuedMessage],
    pub(crate) letters: &'a [QueuedMessage],
    pub(crate) ends: &'a BTreeMap<String, Vec<LoggedEnd>>,
}

impl Job {
    pub(crate) fn new(stage: &str, number: usize, shape: ShapeName, row: &str) -> Self {
        let name = format!("j{number:05}");
        let repository = format!("{stage}/{name}");
        Self {
            name,
            repository,
            shape,
            faults: Vec::new(),
            may_end: if shape == ShapeName::Broken { vec!["layer-rejected"] } else { Vec::new() },
            row: row.to_owned(),
            orders: Vec::new(),
        }
    }

    /// That it may end with this code, too.
    pub(crate) fn may_also_end(mut self, code: &'static str) -> Self {
        self.may_end.push(code);
        self
    }

    pub(crate) fn with(mut self, kind: FaultKind, extent: Extent) -> Self {
        self.faults.push(PlannedFault { kind, extent });
        self
    }

    /// Pushes its image and orders its faults.
    pub(crate) fn prepare(&mut self, registry: &FakeRegistry, shapes: &Shapes) {
        let shape = shapes.get(self.shape);
        shape.image.put(registry, &self.repository, TAG);
        for fault in &self.faults {
            let quirk = fault.kind.quirk(shape, &self.name);
            let quirk = match fault.extent {
                Extent::Once => quirk,
                Extent::Times(times) => quirk.times(times),
                Extent::UntilLifted => quirk.always(),
            };
            self.orders.push(registry.quirk(quirk));
        }
    }

    /// Its message.
    pub(crate) fn message(&self, shapes: &Shapes) -> anyhow::Result<String> {
        message(&self.repository, shapes.get(self.shape).image.digest())
    }

    /// Sends it.
    pub(crate) fn send(&self, aws: &Aws, queue: &str, shapes: &Shapes) -> anyhow::Result<String> {
        aws.send(queue, &self.message(shapes)?)
    }

    /// Ends its faults.
    pub(crate) fn lift(&self, registry: &FakeRegistry) {
        for order in &self.orders {
            registry.lift(*order);
        }
    }

    /// Whether each of its faults has come, and how often.
    pub(crate) fn acted<'a>(
        &'a self,
        registry: &'a FakeRegistry,
    ) -> impl Iterator<Item = (&'a PlannedFault, usize)> {
        self.faults.iter().zip(&self.orders).map(|(fault, order)| (fault, registry.acted(*order)))
    }

    /// What became of it.
    pub(crate) fn fate(&self, remains: &Remains<'_>) -> JobFate {
        let found = remains.shapes.get(self.shape).found(
            remains.version,
            remains.registry,
            &self.repository,
        );
        match found {
            Found::Wrong(what) => return JobFate::Wrong(what),
            Found::Right => return JobFate::Indexed,
            Found::Nothing => {}
        }
        let own = |message: &&QueuedMessage| message.body.contains(&self.name);
        if remains.live.iter().any(|message| own(&message)) {
            return JobFate::Unfinished;
        }
        if let Some(letter) = remains.letters.iter().find(own) {
            // The queue moves what nobody ended, and gives no reason.
            return match letter.reason() {
                Some(reason) => self.given_up(reason),
                None if self.may_end.contains(&RECEIVED_TOO_OFTEN) => {
                    JobFate::Clean(RECEIVED_TOO_OFTEN.to_owned())
                }
                None => JobFate::Unexplained,
            };
        }
        let mut skipped = remains.ends.get(&self.repository).into_iter().flatten();
        let skipped = skipped.rfind(|end| end.outcome == "skipped");
        match skipped {
            Some(end) => self.given_up(&end.reason),
            None => JobFate::Lost("neither an index nor a message".to_owned()),
        }
    }

    /// Given up for this reason, which may be true.
    fn given_up(&self, reason: &str) -> JobFate {
        if self.may_end.contains(&reason) {
            return JobFate::Clean(reason.to_owned());
        }
        // One wrong answer is no reason, and two that say the same are one.
        let agree =
            self.faults.iter().filter(|fault| fault.kind.says.contains(&reason)).count() > 1;
        let lasting = self.faults.iter().filter(|fault| fault.extent != Extent::Once);
        let mut says = lasting.clone().flat_map(|fault| fault.kind.says);
        let of_the_registry = lasting.clone().next().is_some() && !OF_THE_IMAGE.contains(&reason);
        if of_the_registry || agree || says.any(|code| *code == reason) {
            JobFate::Clean(reason.to_owned())
        } else {
            JobFate::Lost(format!("given up as {reason}"))
        }
    }
}

/// The message of a job.
pub(crate) fn message(repository: &str, digest: Digest) -> anyhow::Result<String> {
    let message = JobMessage {
        repository: Repository::new(ECR_HOST, repository)?,
        digest,
        tag: Some(TAG.parse()?),
        event_id: None,
        enqueued_at: SystemTime::now().into(),
    };
    Ok(message.encode())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::kinds::all;

    fn job(fault: &str, extent: Extent) -> Job {
        let kind = all().into_iter().find(|kind| kind.name() == fault).unwrap();
        Job::new("stage", 1, ShapeName::Small, "").with(kind, extent)
    }

    #[test]
    fn no_code_is_true_of_a_fault_that_comes_once() {
        for reason in ["image-gone", "registry-refused", "registry-unavailable"] {
            let job = job("GET layer: 404", Extent::Once);
            assert!(matches!(job.given_up(reason), JobFate::Lost(_)), "{reason}");
        }
    }

    #[test]
    fn a_code_of_the_image_is_true_only_where_the_fault_says_so() {
        let clean = |fault, reason: &str| {
            job(fault, Extent::UntilLifted).given_up(reason) == JobFate::Clean(reason.to_owned())
        };
        assert!(clean("GET layer: 404", "image-gone"));
        assert!(clean("PUT upload: 413", "registry-refused"));
        assert!(clean("PUT manifest by tag: 400 immutable tag", "tag-immutable"));
        assert!(!clean("PUT upload: 404", "image-gone"));
        assert!(!clean("GET layer: 500", "layer-rejected"));
    }

    #[test]
    fn a_broken_layer_may_be_rejected_and_a_sound_one_may_not() {
        let end = |shape| Job::new("stage", 1, shape, "").given_up("layer-rejected");
        assert!(matches!(end(ShapeName::Broken), JobFate::Clean(_)));
        assert!(matches!(end(ShapeName::Small), JobFate::Lost(_)));
    }
}
