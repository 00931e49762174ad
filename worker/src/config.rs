//! The configuration of `soci-index-builder worker`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use soci_aws::{EventBusName, QueueUrl};
use soci_config::{
    IndexSettings, LEAST_BUDGET, MOST_BUDGET, Problems, Program, Source, VariableReader,
    budget_of_this_process, name,
};
use soci_jobs::EndpointOverride;
use soci_logs::EmfNamespace;
use soci_service::telemetry::LogFormat;
use soci_text::Runbook;
use soci_webhook::{WebhookSecret, WebhookUrl};

/// Longest time for a job: below the 12 hours for which a message can be hidden, with time left to
/// say that it is given up.
const MAX_JOB_SECONDS: u64 = 42_900;

/// What the worker is told.
#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) queue_url: QueueUrl,
    pub(crate) backfill_queue_url: Option<QueueUrl>,
    pub(crate) dead_letter_queue_url: Option<QueueUrl>,
    pub(crate) index: IndexSettings,
    pub(crate) registry_endpoint: Option<EndpointOverride>,
    pub(crate) put_image_rate: NonZeroU32,
    pub(crate) max_concurrent_images: NonZeroUsize,
    /// `None` for the number of cores.
    pub(crate) max_concurrent_layers: Option<NonZeroUsize>,
    pub(crate) memory_budget: u64,
    pub(crate) visibility_timeout: Duration,
    pub(crate) max_job_time: Duration,
    pub(crate) max_job_age: Duration,
    pub(crate) drain_deadline: Duration,
    pub(crate) http_address: SocketAddr,
    pub(crate) runbook: Runbook,
    pub(crate) queue_ages: bool,
    pub(crate) dead_letters_on_page: bool,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: String,
    pub(crate) emf_namespace: Option<EmfNamespace>,
    pub(crate) event_bus: Option<EventBusName>,
    pub(crate) webhook: Option<(WebhookUrl, WebhookSecret)>,
    pub(crate) otlp_endpoint: Option<String>,
    pub(crate) ecs_agent_uri: Option<String>,
}

impl WorkerConfig {
    /// Reads it; everything that is wrong is in the error.
    pub(crate) fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = VariableReader::new(Program::Worker, source);
        let queue_url = reader.from_str::<QueueUrl>(name::QUEUE_URL);
        let backfill_queue_url = reader.from_str::<QueueUrl>(name::BACKFILL_QUEUE_URL);
        let dead_letter_queue_url = reader.from_str::<QueueUrl>(name::DEAD_LETTER_QUEUE_URL);
        for (name, url) in [
            (name::BACKFILL_QUEUE_URL, &backfill_queue_url),
            (name::DEAD_LETTER_QUEUE_URL, &dead_letter_queue_url),
        ] {
            if url.is_some() && *url == queue_url {
                reader.reject(name, "is the same queue as QUEUE_URL");
            }
        }
        let index = IndexSettings::read(&mut reader);
        let registry_endpoint = reader.from_str(name::REGISTRY_ENDPOINT_URL);
        let put_image_rate = count(&mut reader, name::PUT_IMAGE_RATE);
        let max_concurrent_images = count(&mut reader, name::MAX_CONCURRENT_IMAGES);
        let max_concurrent_layers = count(&mut reader, name::MAX_CONCURRENT_LAYERS);
        let memory_budget = reader.bytes(name::MEMORY_BUDGET, LEAST_BUDGET..=MOST_BUDGET);
        let visibility_timeout = reader.seconds(name::VISIBILITY_TIMEOUT_SECONDS, 30..=3_600);
        let max_job_time = reader.seconds(name::MAX_JOB_SECONDS, 60..=MAX_JOB_SECONDS);
        if let (Some(visibility), Some(job)) = (visibility_timeout, max_job_time)
            && visibility + job >= soci_queue::MAX_VISIBILITY
        {
            let reason = "with VISIBILITY_TIMEOUT_SECONDS it has to stay below 12 hours";
            reader.reject(name::MAX_JOB_SECONDS, reason);
        }
        let max_job_age = reader.seconds(name::MAX_JOB_AGE_SECONDS, 900..=1_209_600);
        let drain_deadline = reader.seconds(name::DRAIN_DEADLINE_SECONDS, 0..=3_600);
        let http_address = reader.parsed(name::HTTP_ADDRESS, |text| {
            text.trim()
                .parse()
                .map_err(|_| "an address and a port are expected, as in 0.0.0.0:8080")
        });
        let runbook = reader.from_str(name::RUNBOOK_URL);
        let queue_ages = reader.flag(name::QUEUE_AGES);
        let dead_letters_on_page = reader.flag(name::DEAD_LETTERS_ON_PAGE);
        let log_format = reader.parsed(name::LOG_FORMAT, log_format);
        let log_level = reader.parsed(name::LOG_LEVEL, log_level);
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
        let otlp_endpoint = reader.parsed(name::OTLP_ENDPOINT, http_url);
        let ecs_agent_uri = reader.parsed(name::ECS_AGENT_URI, http_url);
        // Everything has been read by now, so a missing value hides no other problem.
        let config = || {
            Some(Self {
                queue_url: queue_url?,
                backfill_queue_url,
                dead_letter_queue_url,
                index: index?,
                registry_endpoint,
                put_image_rate: put_image_rate?.try_into().ok()?,
                max_concurrent_images: max_concurrent_images?,
                max_concurrent_layers,
                memory_budget: memory_budget.unwrap_or_else(|| budget_of_this_process(None)),
                visibility_timeout: visibility_timeout?,
                max_job_time: max_job_time?,
                max_job_age: max_job_age?,
                drain_deadline: drain_deadline?,
                http_address: http_address?,
                runbook: runbook?,
                queue_ages: queue_ages?,
                dead_letters_on_page: dead_letters_on_page?,
                log_format: log_format?,
                log_level: log_level?,
                emf_namespace,
                event_bus,
                webhook: webhook_url.zip(webhook_secret),
                otlp_endpoint,
                ecs_agent_uri,
            })
        };
        reader.finish(config())
    }
}

fn count(reader: &mut VariableReader<'_>, name: &'static str) -> Option<NonZeroUsize> {
    let number = reader.number(name, 1..=1_000)?;
    usize::try_from(number).ok().and_then(NonZeroUsize::new)
}

fn log_format(text: &str) -> Result<LogFormat, &'static str> {
    match text.trim() {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("auto, json or text is expected"),
    }
}

/// Filters that the log understands.
fn log_level(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn http_url(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("a URL that begins with http:// or https:// is expected"),
    }
}

#[cfg(test)]
mod tests {
    use soci_config::testing::assert_reads_its_variables;

    use super::*;

    fn only(wanted: &'static str, value: &'static str) -> impl Fn(&str) -> Option<String> {
        move |name| match name {
            name if name == wanted => Some(value.to_owned()),
            name::QUEUE_URL => Some("https://sqs.eu-west-1.amazonaws.com/123456789012/live".into()),
            _ => None,
        }
    }

    #[test]
    fn exactly_the_variables_of_the_table_are_read() {
        assert_reads_its_variables(Program::Worker, |source| drop(WorkerConfig::read(source)));
    }

    #[test]
    fn a_queue_is_enough() {
        let config = WorkerConfig::read(&only("", "")).unwrap();
        assert_eq!(config.max_concurrent_images.get(), 4);
        assert_eq!(config.drain_deadline, Duration::from_secs(100));
        assert_eq!(config.max_job_age, Duration::from_hours(24));
        assert_eq!(config.http_address.to_string(), "0.0.0.0:8080");
        assert_eq!(config.put_image_rate.to_string(), "5");
        assert_eq!(config.index.output_suffix, "-soci");
        assert_eq!(config.index.filters.to_string(), "*:*");
        assert_eq!(config.index.event_types.to_string(), "ECR Image Action");
        assert_eq!(config.index.platforms, soci_manifest::Platforms::All);
        assert_eq!(config.index.settings, soci_manifest::SociIndexSettings::default());
    }

    #[test]
    fn every_variable_refuses_what_it_cannot_take() {
        for (name, value) in [
            (name::BACKFILL_QUEUE_URL, "https://sqs.eu-west-1.amazonaws.com/123456789012/live"),
            (name::DEAD_LETTER_QUEUE_URL, "https://sqs.eu-west-1.amazonaws.com/123456789012/live"),
            (name::FILTERS, "App:1,ok:*"),
            (name::INDEX_VERSION, "3"),
            (name::OUTPUT_TAG_SUFFIX, "+soci"),
            (name::EVENT_TYPES, "push"),
            (name::PLATFORMS, "linux/amd64,"),
            (name::SPAN_SIZE, "0"),
            (name::MIN_LAYER_SIZE, "-1"),
            (name::COMPATIBLE_WITH, "0.14"),
            (name::REUSE, "true"),
            (name::ANNOTATE_SPAN_SIZE, "1"),
            (name::REGISTRY_ENDPOINT_URL, "ftp://host"),
            (name::PUT_IMAGE_RATE, "0.5"),
            (name::MAX_CONCURRENT_IMAGES, "1001"),
            (name::MAX_CONCURRENT_LAYERS, "0"),
            (name::MEMORY_BUDGET, "1MiB"),
            (name::VISIBILITY_TIMEOUT_SECONDS, "3601"),
            (name::MAX_JOB_SECONDS, "42901"),
            (name::MAX_JOB_AGE_SECONDS, "899"),
            (name::MAX_JOB_AGE_SECONDS, "1209601"),
            (name::DRAIN_DEADLINE_SECONDS, "1.5"),
            (name::HTTP_ADDRESS, ":8080"),
            (name::QUEUE_AGES, "yes"),
            (name::DEAD_LETTERS_ON_PAGE, "1"),
            (name::LOG_FORMAT, "xml"),
            (name::LOG_LEVEL, "a=b=c"),
            (name::EMF_NAMESPACE, ":x"),
            (name::EMF_NAMESPACE, "AWS/x"),
            (name::EVENT_BUS, "arn:aws:sqs:eu-west-1:1:bus"),
            (name::OTLP_ENDPOINT, "collector:4318"),
            (name::ECS_AGENT_URI, "http://"),
        ] {
            let problems = WorkerConfig::read(&only(name, value)).unwrap_err();
            let names: Vec<_> = problems.0.iter().map(|problem| problem.name).collect();
            assert_eq!(names, [name], "{value}");
        }
    }

    #[test]
    fn a_webhook_takes_a_url_and_a_secret() {
        let secret = format!("whsec_{}", "A".repeat(32));
        let read = |url: &'static str, secret: Option<&str>| {
            let secret = secret.map(str::to_owned);
            WorkerConfig::read(&move |name: &str| match name {
                name::WEBHOOK_URL => Some(url.to_owned()),
                name::WEBHOOK_SECRET => secret.clone(),
                name => only("", "")(name),
            })
        };
        let config = read("https://hooks.example/T0/hunter2", Some(&secret)).unwrap();
        assert!(config.webhook.is_some());
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("AAAA"), "{shown}");
        for (url, secret, wrong) in [
            ("https://hooks.example/hunter2", None, name::WEBHOOK_SECRET),
            ("https://hooks.example/hunter2", Some("hunter2"), name::WEBHOOK_SECRET),
            ("", Some(&*secret), name::WEBHOOK_URL),
            ("http://hooks.example/hunter2", Some(&*secret), name::WEBHOOK_URL),
        ] {
            let problems = read(url, secret).unwrap_err();
            let names: Vec<_> = problems.0.iter().map(|problem| problem.name).collect();
            assert_eq!(names, [wrong]);
            assert!(!problems.to_string().contains("hunter2"), "{problems}");
        }
    }

    #[test]
    fn a_job_and_its_last_lease_fit_into_what_sqs_allows() {
        let source = |name: &str| match name {
            name::VISIBILITY_TIMEOUT_SECONDS => Some("3600".to_owned()),
            name => only(name::MAX_JOB_SECONDS, "39600")(name),
        };
        let problems = WorkerConfig::read(&source).unwrap_err();
        assert_eq!(problems.0[0].name, name::MAX_JOB_SECONDS);
    }
}
