//! A worker that has nothing but work, for twenty minutes: what it holds must not grow.

use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::images::ShapeName;
use crate::job::Job;
use crate::report::Report;
use crate::stage::{Campaign, Login};
use crate::worker::{IndexVersion, Usage};

const SECTION: &str = "soak";

/// How long it takes.
const LENGTH: Duration = Duration::from_mins(20);

/// Time in which buffers, pools and the allocator's arenas take their size, and what is remembered of the
/// latest thousand repositories fills.
const WARM_UP: Duration = Duration::from_mins(10);

/// Time between two jobs, and how many of them lie between two looks at the process.
const APART: Duration = Duration::from_millis(500);
const JOBS_PER_LOOK: usize = 20;

/// Most growth from the warm-up to the end, of what was there after it: percent.
const MOST_GROWTH: f64 = 10.0;

/// Runs the stage.
pub(crate) async fn soak(campaign: Campaign) -> anyhow::Result<Report> {
    let mut random = campaign.random(SECTION);
    let mut stage = campaign.stage(SECTION, IndexVersion::V2, Login::Basic, 4).await;
    stage.start_worker()?;
    let began = Instant::now();
    let mut looks: Vec<(f64, Usage)> = Vec::new();
    let mut pace = interval(APART);
    let mut number = 0;
    while began.elapsed() < LENGTH {
        pace.tick().await;
        let shape = ShapeName::SOUND[random.usize(..ShapeName::SOUND.len())];
        let mut job = Job::new(SECTION, number, shape, "jobs for twenty minutes");
        job.prepare(&stage.registry, &campaign.shapes);
        job.send(&campaign.aws, &stage.name, &campaign.shapes)?;
        stage.jobs.push(job);
        number += 1;
        if began.elapsed() > WARM_UP && number.is_multiple_of(JOBS_PER_LOOK) {
            looks.push((began.elapsed().as_secs_f64() / 60.0, stage.workers[0].usage()));
        }
    }
    stage.drained(campaign.deadline).await;
    stage.report.injected(SECTION, "jobs for twenty minutes", number);
    tell(&mut stage.report, &looks);
    stage.end(SECTION).await?;
    Ok(stage.report)
}

/// Tells how memory and descriptors went, and whether memory has grown.
fn tell(report: &mut Report, looks: &[(f64, Usage)]) {
    let memory: Vec<_> = looks.iter().map(|(minute, usage)| (*minute, kib(*usage))).collect();
    let (slope, mean) = line(&memory);
    let range = |values: &mut dyn Iterator<Item = u64>| {
        values.fold((u64::MAX, 0), |(least, most), value| (least.min(value), most.max(value)))
    };
    let (least, most) = range(&mut looks.iter().map(|(_, usage)| usage.resident_kib >> 10));
    let (few, many) = range(&mut looks.iter().map(|(_, usage)| usage.descriptors as u64));
    report.note(format!(
        "soak, after the warm-up: {least} to {most} MiB, {slope:+.1} KiB a minute, {few} to {many} descriptors"
    ));
    let minutes = LENGTH.saturating_sub(WARM_UP).as_secs_f64() / 60.0;
    if slope * minutes > mean * MOST_GROWTH / 100.0 {
        report.fail(format!("soak: memory grew by {slope:.1} KiB a minute, from {mean:.0} KiB"));
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory in KiB has far fewer digits")]
fn kib(usage: Usage) -> f64 {
    usage.resident_kib as f64
}

/// The slope of the line that fits best (least squares), and the mean.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.iter().map(|_| 1.0).sum::<f64>().max(1.0);
    let x_mean = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let y_mean = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
    (slope, y_mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(kib_a_minute: u64) -> Vec<(f64, Usage)> {
        let look = |minute: u32| {
            let resident_kib = 40_000 + kib_a_minute * u64::from(minute) + u64::from(minute % 2);
            (f64::from(minute), Usage { resident_kib, descriptors: 20 })
        };
        (10..20).map(look).collect()
    }

    #[test]
    fn memory_that_grows_fails_and_memory_that_does_not_passes() {
        for (kib_a_minute, good) in [(0, true), (100, true), (600, false)] {
            let mut report = Report::default();
            tell(&mut report, &looks(kib_a_minute));
            assert_eq!(report.is_good(), good, "{kib_a_minute}");
        }
        let (slope, mean) = line(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]);
        assert!((slope - 2.0).abs() < 1e-9 && (mean - 3.0).abs() < 1e-9);
        assert_eq!(line(&[]), (0.0, 0.0));
    }
}
