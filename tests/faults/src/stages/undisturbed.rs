//! What the program makes of every image where nothing goes wrong.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use crate::images::{ShapeName, Shapes};
use crate::job::Job;
use crate::stage::{Campaign, Login};
use crate::worker::IndexVersion;

/// The longest time for all images.
const LONGEST: Duration = Duration::from_mins(1);

/// Has every image indexed in both versions, and remembers the results.
pub(crate) async fn undisturbed(campaign: &mut Campaign) -> anyhow::Result<()> {
    let mut learned = Shapes::make()?;
    for version in [IndexVersion::V1, IndexVersion::V2] {
        let name = format!("undisturbed-{}", version.name());
        let mut stage = campaign.stage(&name, version, Login::Basic, 4).await;
        let jobs = ShapeName::SOUND.into_iter().enumerate();
        stage.jobs = jobs.map(|(number, shape)| Job::new(&name, number, shape, "")).collect();
        stage.prepare();
        stage.start_worker()?;
        stage.send(Duration::ZERO).await?;
        stage.drained(Instant::now() + LONGEST).await;
        stage.stop_worker(0).await;
        ensure!(
            stage.left() == 0 && stage.report.is_good(),
            "the undisturbed run did not end well"
        );
        if std::env::var_os("SOCI_FAULTS_SHOW_REQUESTS").is_some() {
            for request in stage.registry.requests() {
                eprintln!(
                    "{} {} {}?{} {:?}",
                    request.status, request.method, request.path, request.query, request.range
                );
            }
        }
        for job in &stage.jobs {
            learned.learn(job.shape, version, &stage.registry, &job.repository)?;
        }
    }
    campaign.shapes = Arc::new(learned);
    Ok(())
}
