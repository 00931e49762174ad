//! What the index Lambda is told by its environment.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use soci_aws::{EventBusName, QueueUrl};
use soci_config::{
    IndexSettings, LEAST_BUDGET, MOST_BUDGET, Problems, Program, Source, VariableReader,
    budget_of_this_process, name,
};
use soci_jobs::EndpointOverride;
use soci_lambda::LogSettings;
use soci_logs::EmfNamespace;
use soci_text::Runbook;
use soci_webhook::{WebhookSecret, WebhookUrl};

/// What the index Lambda is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is built, and of which images.
    pub index: IndexSettings,
    /// The queue that takes what cannot be finished.
    pub queue_url: QueueUrl,
    /// The queue that takes what can never be done.
    pub dead_letter_queue_url: Option<QueueUrl>,
    /// Where dead letters lead whoever reads them.
    pub runbook: Runbook,
    /// A registry in the place of the one that jobs name.
    pub registry_endpoint: Option<EndpointOverride>,
    /// Most manifests pushed in a second.
    pub put_image_rate: NonZeroU32,
    /// How long before the deadline an unfinished image is handed over.
    pub deadline_margin: Duration,
    /// Bytes for downloads in flight.
    pub memory_budget: u64,
    /// Layers that are worked on at once.
    pub layers: NonZeroUsize,
    /// Under which name CloudWatch is told of messages, if it is.
    pub emf_namespace: Option<EmfNamespace>,
    /// Where it is announced how images end, if it is.
    pub event_bus: Option<EventBusName>,
    /// The server that is told how images end, and what the two share, if there is one.
    pub webhook: Option<(WebhookUrl, WebhookSecret)>,
    /// How logs look.
    pub logs: LogSettings,
}

impl Settings {
    /// Reads the variables, for a machine with `cores`.
    pub fn read(source: &dyn Source, cores: NonZeroUsize) -> Result<Self, Problems> {
        let mut reader = VariableReader::new(Program::Index, source);
        let index = IndexSettings::read(&mut reader);
        let queue_url: Option<QueueUrl> = reader.from_str(name::QUEUE_URL);
        let dead_letter_queue_url = reader.from_str(name::DEAD_LETTER_QUEUE_URL);
        if dead_letter_queue_url.is_some() && dead_letter_queue_url == queue_url {
            reader.reject(name::DEAD_LETTER_QUEUE_URL, "is the same queue as QUEUE_URL");
        }
        let runbook = reader.from_str(name::RUNBOOK_URL);
        let registry_endpoint = reader.from_str(name::REGISTRY_ENDPOINT_URL);
        let put_image_rate = reader.number(name::PUT_IMAGE_RATE, 1..=1_000);
        let deadline_margin = reader.seconds(name::DEADLINE_MARGIN_SECONDS, 1..=300);
        // Lambda has 128 to 10,240 MiB (AWS Lambda developer guide, "Lambda quotas").
        let memory = reader.number(name::LAMBDA_MEMORY, 1..=1 << 20);
        let memory_budget = reader.bytes(name::MEMORY_BUDGET, LEAST_BUDGET..=MOST_BUDGET);
        let logs = LogSettings::read(&mut reader);
        let emf_namespace = reader.parsed(name::EMF_NAMESPACE, str::parse);
        let event_bus = reader.from_str(name::EVENT_BUS);
        let webhook_url = reader.secret::<WebhookUrl>(name::WEBHOOK_URL);
        let webhook_secret = reader.secret::<WebhookSecret>(name::WEBHOOK_SECRET);
        // What is there and wrong has been noted.
        let is_there = |name| source.get(name).is_some_and(|value| !value.trim().is_empty());
        reader.together(
            (name::WEBHOOK_URL, is_there(name::WEBHOOK_URL)),
            (name::WEBHOOK_SECRET, is_there(name::WEBHOOK_SECRET)),
        );
        let settings = || {
            Some(Self {
                index: index?,
                queue_url: queue_url?,
                dead_letter_queue_url,
                runbook: runbook?,
                registry_endpoint,
                put_image_rate: NonZeroU32::new(put_image_rate?.try_into().ok()?)?,
                deadline_margin: deadline_margin?,
                memory_budget: memory_budget.unwrap_or_else(|| budget_of_this_process(memory)),
                layers: cores,
                emf_namespace,
                event_bus,
                webhook: webhook_url.zip(webhook_secret),
                logs: logs?,
            })
        };
        reader.finish(settings())
    }
}

#[cfg(test)]
mod tests {
    use soci_config::testing::assert_reads_its_variables;

    use super::*;

    const QUEUE: (&str, &str) = (name::QUEUE_URL, "https://sqs.eu-west-1.amazonaws.com/1/live");

    fn read(values: &[(&str, &str)]) -> Result<Settings, Problems> {
        let source = |wanted: &str| {
            values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&source, NonZeroUsize::MIN)
    }

    #[test]
    fn a_queue_is_enough() {
        let settings = read(&[QUEUE]).unwrap();
        assert_eq!(settings.index.filters.to_string(), "*:*");
        assert_eq!(settings.index.output_suffix, "-soci");
        assert_eq!(settings.index.event_types.to_string(), "ECR Image Action");
        assert_eq!(settings.index.platforms, soci_indexer::Platforms::All);
        assert_eq!(settings.dead_letter_queue_url, None);
        assert_eq!(settings.deadline_margin, Duration::from_secs(20));
        assert_eq!(settings.put_image_rate.get(), 5);
    }

    #[test]
    fn images_get_three_fifths_of_the_memory_unless_told_otherwise() {
        let budget =
            |values: &[(&str, &str)]| read(&[&[QUEUE], values].concat()).unwrap().memory_budget;
        assert_eq!(budget(&[(name::LAMBDA_MEMORY, "512")]) >> 20, 230);
        assert_eq!(budget(&[(name::LAMBDA_MEMORY, "1")]), LEAST_BUDGET);
        let told = [(name::LAMBDA_MEMORY, "2048"), (name::MEMORY_BUDGET, "100MiB")];
        assert_eq!(budget(&told), 100 << 20);
    }

    #[test]
    fn exactly_the_variables_of_the_table_are_read() {
        assert_reads_its_variables(Program::Index, |source| {
            drop(Settings::read(source, NonZeroUsize::MIN));
        });
        let problems = read(&[]).unwrap_err();
        assert_eq!(problems.0.len(), 1);
        assert_eq!(problems.0[0].name, name::QUEUE_URL);
    }

    #[test]
    fn every_wrong_variable_is_named_at_once() {
        let wrong = [
            (name::FILTERS, "app"),
            (name::EVENT_TYPES, "PUSH"),
            (name::PLATFORMS, "linux,amd64"),
            (name::QUEUE_URL, "live"),
            (name::DEAD_LETTER_QUEUE_URL, "dead"),
            (name::REGISTRY_ENDPOINT_URL, "ftp://x"),
            (name::PUT_IMAGE_RATE, "0"),
            (name::DEADLINE_MARGIN_SECONDS, "0"),
            (name::LAMBDA_MEMORY, "much"),
            (name::MEMORY_BUDGET, "1"),
            (name::LOG_LEVEL, "loud"),
            (name::EMF_NAMESPACE, "AWS/x"),
            (name::EVENT_BUS, "a bus"),
            (name::WEBHOOK_URL, "http://hooks.example"),
            (name::WEBHOOK_SECRET, "short"),
        ];
        let problems = read(&wrong).unwrap_err();
        let names: Vec<_> = problems.0.iter().map(|problem| problem.name).collect();
        assert_eq!(names, wrong.map(|(name, _)| name));

        let same = read(&[QUEUE, (name::DEAD_LETTER_QUEUE_URL, QUEUE.1)]).unwrap_err();
        assert_eq!(same.0[0].name, name::DEAD_LETTER_QUEUE_URL);
    }
}
