//! What indexing the images of a backfill takes, roughly: time, money, and the room of what is made.
//!
//! The constants are those of `docs/COST.md`, with how they were found; prices are those of us-east-1. They count each image
//! by itself, where layers that several share are read once, and so are rather too much. They are too little for image
//! indexes: ECR tells the size of the largest manifest of one only (Amazon ECR API reference, `ImageDetail`).

use soci_text::size;

/// Compressed bytes of layers that a vCPU reads, checks and indexes in a second.
const BYTES_PER_VCPU_SECOND: f64 = 100e6;

/// Price of a vCPU and its memory on Fargate, in US dollars an hour: half of a task of 2 vCPU and 4 GB.
const DOLLARS_PER_VCPU_HOUR: f64 = 0.0987 / 2.0;

/// The same on Fargate Spot.
const SPOT_DOLLARS_PER_VCPU_HOUR: f64 = 0.0296 / 2.0;

/// vCPUs of a task, by the default of the template.
const VCPUS_OF_TASK: f64 = 2.0;

/// Tasks at most, by the default of the template.
const TASKS: f64 = 4.0;

/// Bytes of ztocs for each byte of compressed layers: 40 MB for 2 GB.
const ZTOC_SHARE: f64 = 0.02;

/// Price of a GB that is kept in ECR for a month, in US dollars.
const DOLLARS_PER_GB_MONTH: f64 = 0.10;

/// What a number of images takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) images: u64,
    /// Bytes of their layers as they are stored.
    pub(super) bytes: u64,
}

impl Estimate {
    #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
    fn bytes(self) -> f64 {
        self.bytes as f64
    }

    /// Hours of one vCPU.
    pub(super) fn vcpu_hours(self) -> f64 {
        self.bytes() / BYTES_PER_VCPU_SECOND / 3_600.0
    }

    /// Hours with as many tasks as a stack has at most by default.
    pub(super) fn hours(self) -> f64 {
        self.vcpu_hours() / VCPUS_OF_TASK / TASKS
    }

    /// US dollars on Fargate.
    pub(super) fn dollars(self) -> f64 {
        self.vcpu_hours() * DOLLARS_PER_VCPU_HOUR
    }

    /// US dollars on Fargate Spot.
    pub(super) fn spot_dollars(self) -> f64 {
        self.vcpu_hours() * SPOT_DOLLARS_PER_VCPU_HOUR
    }

    /// Bytes of the ztocs.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a fiftieth of a number of bytes"
    )]
    pub(super) fn ztoc_bytes(self) -> u64 {
        (self.bytes() * ZTOC_SHARE) as u64
    }

    /// US dollars for keeping the ztocs for a month.
    pub(super) fn dollars_a_month(self) -> f64 {
        self.bytes() * ZTOC_SHARE / 1e9 * DOLLARS_PER_GB_MONTH
    }

    /// For people, in two lines.
    pub(super) fn text(self) -> String {
        format!(
            "  about {} images with {} of layers: {} with {TASKS} tasks of {VCPUS_OF_TASK} vCPU, {:.2} USD on Fargate or {:.2} on Spot\n  \
             ztocs of about {}, which cost {:.2} USD a month to keep; docs/COST.md says how this is counted\n",
            self.images,
            size(self.bytes),
            time(self.hours()),
            self.dollars(),
            self.spot_dollars(),
            size(self.ztoc_bytes()),
            self.dollars_a_month(),
        )
    }
}

/// A time as people say it.
fn time(hours: f64) -> String {
    match hours {
        ..0.017 => "less than a minute".to_owned(),
        ..1.5 => format!("{:.0} min", hours * 60.0),
        hours => format!("{hours:.1} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_that_of_the_document() {
        let text = include_str!("../../../../docs/COST.md");
        for words in [
            "**100 MB/s: 20 vCPU-seconds an image of 2 GB**",
            "**5.56 vCPU-hours\na day**",
            "**0.0987 an hour**, on Spot 0.0296",
            "40 MB an image x 0.10 a GB-month",
        ] {
            assert!(text.contains(words), "docs/COST.md: {words}");
        }
        // The document's day: 1,000 images of 2 GB.
        let day = Estimate { images: 1000, bytes: 2_000_000_000_000 };
        let near = |found: f64, expected: f64| (found - expected).abs() < expected / 100.0;
        assert!(near(day.vcpu_hours(), 5.56), "{}", day.vcpu_hours());
        assert!(near(day.dollars(), 5.56 / 2.0 * 0.0987) && near(day.spot_dollars(), 0.0823));
        assert!(near(day.dollars_a_month(), 4.0) && day.ztoc_bytes() == 40_000_000_000);
        assert!(
            day.text().contains("about 1000 images with 1.8 TiB of layers: 42 min with 4 tasks")
        );
    }

    #[test]
    fn the_template_has_the_tasks_that_are_counted_with() {
        let text = include_str!("../../../../docs/DEPLOY.md");
        assert!(text.contains("| `TaskCpu`, `TaskMemory` | `2048`, `4096` |"));
        assert!(text.contains("| `MinTasks`, `MaxTasks` | `0`, `4` |"));
    }

    #[test]
    fn times_are_said_in_their_unit() {
        assert_eq!(
            [0.0, 0.5, 3.0].map(time),
            ["less than a minute", "30 min", "3.0 h"].map(str::to_owned)
        );
    }
}
