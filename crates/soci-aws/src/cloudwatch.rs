//! How old the oldest message of a queue is. SQS counts messages and tells no age; CloudWatch has it as a metric
//! (`ApproximateAgeOfOldestMessage`, Amazon SQS developer guide, "Available CloudWatch metrics"), by minutes and
//! some minutes late. Each question costs, so it is asked only where somebody wants that.
//!
//! And CloudWatch is told of what is enqueued by somebody whose log it does not read: where a queue was idle for six
//! hours, SQS's own numbers come up to fifteen minutes late (same source).

use std::time::{Duration, SystemTime};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDatum, MetricStat, ScanBy, StandardUnit,
};

use soci_text::error_chain;

use crate::call_failure::CallFailure;
use crate::sdk::SdkConfig;

/// How far back is looked: metrics of SQS come up to some minutes late.
const LOOK_BACK: Duration = Duration::from_mins(15);

/// Period of the metric.
const PERIOD: Duration = Duration::from_mins(1);

/// CloudWatch's metrics of queues. Clones are the same.
#[derive(Clone, Debug)]
pub struct CloudWatch {
    client: Client,
}

impl CloudWatch {
    /// That of the configuration's region, in which the queues have to be.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// Adds to a count without dimensions, as of now. The error is for people.
    #[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 do not occur")]
    pub async fn count(&self, namespace: &str, metric: &str, count: u64) -> Result<(), String> {
        let datum = MetricDatum::builder()
            .metric_name(metric)
            .value(count as f64)
            .unit(StandardUnit::Count)
            .build();
        let call = self.client.put_metric_data().namespace(namespace).metric_data(datum);
        call.send().await.map(drop).map_err(|error| error_chain(&*CallFailure::from(error).source))
    }

    /// When the oldest message of a queue was sent, or, of a dead letter, moved there; `None` without one, and
    /// while CloudWatch knows nothing of the queue.
    pub(crate) async fn oldest(
        &self,
        queue: &str,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, CallFailure> {
        let answer = self
            .client
            .get_metric_data()
            .metric_data_queries(query(queue))
            .start_time(DateTime::from(now - LOOK_BACK))
            .end_time(DateTime::from(now))
            .scan_by(ScanBy::TimestampDescending)
            .max_datapoints(1)
            .send()
            .await?;
        let results = answer.metric_data_results.unwrap_or_default();
        let latest = results.into_iter().find_map(|result| {
            let at = result.timestamps.unwrap_or_default().into_iter().next()?;
            let age = result.values.unwrap_or_default().into_iter().next()?;
            Some((SystemTime::try_from(at).ok()?, age))
        });
        Ok(latest.and_then(|(at, age)| sent_at(at, age, now)))
    }
}

/// When a message was sent that was so many seconds old at some time of the period that began at `at`.
fn sent_at(at: SystemTime, age: f64, now: SystemTime) -> Option<SystemTime> {
    let age = Duration::try_from_secs_f64(age).ok().filter(|age| !age.is_zero())?;
    (at + PERIOD).min(now).checked_sub(age)
}

fn query(queue: &str) -> MetricDataQuery {
    let dimension = Dimension::builder().name("QueueName").value(queue).build();
    let metric = Metric::builder()
        .namespace("AWS/SQS")
        .metric_name("ApproximateAgeOfOldestMessage")
        .dimensions(dimension)
        .build();
    let period = i32::try_from(PERIOD.as_secs()).unwrap_or(60);
    let stat = MetricStat::builder().metric(metric).period(period).stat("Maximum").build();
    MetricDataQuery::builder().id("age").metric_stat(stat).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_as_a_point_in_time() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let later = at + Duration::from_mins(5);
        assert_eq!(sent_at(at, 90.0, later), Some(at - Duration::from_secs(30)));
        let soon = at + Duration::from_secs(20);
        assert_eq!(sent_at(at, 90.0, soon), Some(at - Duration::from_secs(70)));
        for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(sent_at(at, nothing, later), None, "{nothing}");
        }
    }
}
