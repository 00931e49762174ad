//! The names of the variables. What each means is in the table (`table.rs`).

/// Queue that jobs are put on and taken from.
pub const QUEUE_URL: &str = "QUEUE_URL";
/// Queue of jobs that can wait.
pub const BACKFILL_QUEUE_URL: &str = "BACKFILL_QUEUE_URL";
/// Queue of what cannot be done.
pub const DEAD_LETTER_QUEUE_URL: &str = "DEAD_LETTER_QUEUE_URL";
/// Which images are wanted.
pub const FILTERS: &str = "SOCI_REPOSITORY_IMAGE_TAG_FILTERS";
/// Which events are wanted.
pub const EVENT_TYPES: &str = "EVENT_TYPES";
/// Whether an image's result goes when the image does.
pub const REMOVE_RESULTS: &str = "REMOVE_RESULTS";
/// Which platforms are indexed.
pub const PLATFORMS: &str = "PLATFORMS";
/// Version of the SOCI indexes.
pub const INDEX_VERSION: &str = "SOCI_INDEX_VERSION";
/// What tags of converted images end in.
pub const OUTPUT_TAG_SUFFIX: &str = "OUTPUT_TAG_SUFFIX";
/// Bytes between checkpoints.
pub const SPAN_SIZE: &str = "SPAN_SIZE";
/// Smallest layer that gets a ztoc.
pub const MIN_LAYER_SIZE: &str = "MIN_LAYER_SIZE";
/// Name of the building tool in the index.
pub const BUILD_TOOL_IDENTIFIER: &str = "BUILD_TOOL_IDENTIFIER";
/// Releases of soci-snapshotter that can use the index.
pub const COMPATIBLE_WITH: &str = "COMPATIBLE_WITH";
/// What the index says of layers for faster mounts.
pub const OPTIMIZATIONS: &str = "OPTIMIZATIONS";
/// What is prefetched.
pub const PREFETCH: &str = "PREFETCH";
/// Whose ztocs of layers that were indexed before are taken over.
pub const REUSE: &str = "REUSE";
/// Whether the index names its span size.
pub const ANNOTATE_SPAN_SIZE: &str = "ANNOTATE_SPAN_SIZE";
/// A registry in the place of the jobs' own.
pub const REGISTRY_ENDPOINT_URL: &str = "REGISTRY_ENDPOINT_URL";
/// Manifests pushed in a second.
pub const PUT_IMAGE_RATE: &str = "PUT_IMAGE_RATE";
/// The queue that the index Lambda reads.
pub const SMALL_IMAGES_QUEUE_URL: &str = "SMALL_IMAGES_QUEUE_URL";
/// Largest image for the index Lambda.
pub const INDEX_LAMBDA_MAX_IMAGE_BYTES: &str = "INDEX_LAMBDA_MAX_IMAGE_BYTES";
/// Time before Lambda's deadline.
pub const DEADLINE_MARGIN_SECONDS: &str = "DEADLINE_MARGIN_SECONDS";
/// Images worked on at once.
pub const MAX_CONCURRENT_IMAGES: &str = "MAX_CONCURRENT_IMAGES";
/// Layers worked on at once.
pub const MAX_CONCURRENT_LAYERS: &str = "MAX_CONCURRENT_LAYERS";
/// Memory for downloads.
pub const MEMORY_BUDGET: &str = "MEMORY_BUDGET";
/// Visibility timeout of a job that is worked on.
pub const VISIBILITY_TIMEOUT_SECONDS: &str = "VISIBILITY_TIMEOUT_SECONDS";
/// Longest time for a job.
pub const MAX_JOB_SECONDS: &str = "MAX_JOB_SECONDS";
/// Age at which a job is given up.
pub const MAX_JOB_AGE_SECONDS: &str = "MAX_JOB_AGE_SECONDS";
/// Time to finish after SIGTERM.
pub const DRAIN_DEADLINE_SECONDS: &str = "DRAIN_DEADLINE_SECONDS";
/// Where the HTTP server listens.
pub const HTTP_ADDRESS: &str = "HTTP_ADDRESS";
/// Where the runbook is.
pub const RUNBOOK_URL: &str = "RUNBOOK_URL";
/// Whether CloudWatch is asked for ages.
pub const QUEUE_AGES: &str = "QUEUE_AGES";
/// Whether dead letters are shown.
pub const DEAD_LETTERS_ON_PAGE: &str = "DEAD_LETTERS_ON_PAGE";
/// How logs look.
pub const LOG_FORMAT: &str = "LOG_FORMAT";
/// What is logged.
pub const LOG_LEVEL: &str = "LOG_LEVEL";
/// Where it is announced how images end.
pub const EVENT_BUS: &str = "EVENT_BUS";
/// Server that is told how images end.
pub const WEBHOOK_URL: &str = "WEBHOOK_URL";
/// What it checks that by.
pub const WEBHOOK_SECRET: &str = "WEBHOOK_SECRET";
/// Namespace of the CloudWatch metrics.
pub const EMF_NAMESPACE: &str = "EMF_NAMESPACE";
/// Where traces go.
pub const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The ECS agent.
pub const ECS_AGENT_URI: &str = "ECS_AGENT_URI";
/// Memory of a Lambda function.
pub const LAMBDA_MEMORY: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
