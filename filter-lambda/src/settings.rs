//! What the filter Lambda is told by its environment.

use soci_aws::QueueUrl;
use soci_config::{Problems, Program, Source, VariableReader, name, read_push_rules};
use soci_lambda::LogSettings;
use soci_logs::EmfNamespace;
use soci_push::PushRules;

/// What the filter Lambda is told.
#[derive(Clone, Debug)]
pub struct FilterSettings {
    /// Which events are wanted.
    pub rules: PushRules,
    /// The queue.
    pub queue_url: QueueUrl,
    /// Which images the index Lambda gets; none of them without it.
    pub shortcut: Option<ShortcutSettings>,
    /// Under which name CloudWatch is told what was enqueued, if it is.
    pub emf_namespace: Option<EmfNamespace>,
    /// How logs look.
    pub logs: LogSettings,
}

/// Which images the index Lambda gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortcutSettings {
    /// The queue that it reads.
    pub queue_url: QueueUrl,
    /// Largest image, in bytes of its compressed layers.
    pub max_image_bytes: u64,
}

impl FilterSettings {
    /// Reads the variables.
    pub fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = VariableReader::new(Program::Filter, source);
        let rules = read_push_rules(&mut reader);
        let queue_url: Option<QueueUrl> = reader.from_str(name::QUEUE_URL);
        let small_images_queue_url: Option<QueueUrl> =
            reader.from_str(name::SMALL_IMAGES_QUEUE_URL);
        if small_images_queue_url.is_some() && small_images_queue_url == queue_url {
            reader.reject(name::SMALL_IMAGES_QUEUE_URL, "is the same queue as QUEUE_URL");
        }
        let max_image_bytes = reader.bytes(name::INDEX_LAMBDA_MAX_IMAGE_BYTES, 0..=u64::MAX);
        let emf_namespace = reader.parsed(name::EMF_NAMESPACE, str::parse);
        let logs = LogSettings::read(&mut reader);
        let settings = || {
            Some(Self {
                rules: rules?,
                queue_url: queue_url?,
                shortcut: small_images_queue_url.zip(max_image_bytes).map(
                    |(queue_url, max_image_bytes)| ShortcutSettings { queue_url, max_image_bytes },
                ),
                emf_namespace,
                logs: logs?,
            })
        };
        reader.finish(settings())
    }
}

#[cfg(test)]
mod tests {
    use soci_config::testing::assert_reads_its_variables;
    use soci_manifest::Version;

    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<FilterSettings, Problems> {
        let source = |wanted: &str| {
            values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        };
        FilterSettings::read(&source)
    }

    const QUEUE: (&str, &str) = (name::QUEUE_URL, "https://sqs.eu-west-1.amazonaws.com/1/live");

    #[test]
    fn queue_and_filters_are_all_that_is_needed() {
        let settings = read(&[QUEUE, (name::FILTERS, "app:*,b/*:v*")]).unwrap();
        assert_eq!(settings.queue_url.as_str(), QUEUE.1);
        assert_eq!(settings.rules.filters.to_string(), "app:*,b/*:v*");
        assert_eq!(settings.rules.version, Version::V2);
        assert_eq!(settings.rules.output_suffix, "-soci");
        assert_eq!(settings.rules.event_types, soci_push::EventTypes::default());
        assert_eq!((settings.shortcut, settings.emf_namespace), (None, None));
    }

    #[test]
    fn exactly_the_variables_of_the_table_are_read() {
        assert_reads_its_variables(Program::Filter, |source| drop(FilterSettings::read(source)));
        let problems = read(&[]).unwrap_err();
        let needed: Vec<_> = problems.0.iter().map(|problem| problem.name).collect();
        assert_eq!(needed, [name::FILTERS, name::QUEUE_URL]);
    }

    #[test]
    fn small_images_have_a_queue_of_their_own_and_a_limit() {
        let values = [
            QUEUE,
            (name::FILTERS, "*:*"),
            (name::SMALL_IMAGES_QUEUE_URL, "https://sqs.eu-west-1.amazonaws.com/1/small"),
        ];
        let default = read(&values).unwrap().shortcut.unwrap();
        assert_eq!(default.queue_url.as_str(), values[2].1);
        assert_eq!(default.max_image_bytes, 512 << 20);
        let limit = (name::INDEX_LAMBDA_MAX_IMAGE_BYTES, "1GiB");
        let given = read(&[&values[..], &[limit]].concat()).unwrap().shortcut.unwrap();
        assert_eq!(given.max_image_bytes, 1 << 30);
        let same = read(&[QUEUE, values[1], (name::SMALL_IMAGES_QUEUE_URL, QUEUE.1)]).unwrap_err();
        assert_eq!(same.0[0].name, name::SMALL_IMAGES_QUEUE_URL);
    }

    #[test]
    fn every_wrong_variable_is_named_at_once() {
        let problems = read(&[
            (name::FILTERS, "App:1,"),
            (name::INDEX_VERSION, "3"),
            (name::OUTPUT_TAG_SUFFIX, "+"),
            (name::EVENT_TYPES, "ECR Image Scan"),
            (name::INDEX_LAMBDA_MAX_IMAGE_BYTES, "much"),
            (name::QUEUE_URL, "jobs"),
            (name::EMF_NAMESPACE, "AWS/x"),
            (name::LOG_FORMAT, "xml"),
            (name::LOG_LEVEL, "loud"),
        ])
        .unwrap_err();
        let names: Vec<_> = problems.0.iter().map(|problem| problem.name).collect();
        assert_eq!(
            names,
            [
                name::FILTERS,
                name::INDEX_VERSION,
                name::OUTPUT_TAG_SUFFIX,
                name::EVENT_TYPES,
                name::QUEUE_URL,
                name::INDEX_LAMBDA_MAX_IMAGE_BYTES,
                name::EMF_NAMESPACE,
                name::LOG_FORMAT,
                name::LOG_LEVEL,
            ]
        );
    }
}
