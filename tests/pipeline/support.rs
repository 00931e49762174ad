//! What several tests need.

use soci_indexer::{
    ImageName, IndexError, Options, OutputTag, RemoteRepository, Report, index_image,
};
use soci_manifest::{SociIndexSettings, Version};
use soci_oci::Tag;
use soci_registry_server::testing::FakeRegistry;
use soci_tests::FakeRegistryClient;

pub(crate) const REPOSITORY: &str = "team/app";

/// Settings under which small layers are indexed, with some spans each.
pub(crate) fn options(version: Version) -> Options {
    let settings = SociIndexSettings {
        version,
        span_size: 64 << 10,
        min_layer_size: 0,
        ..SociIndexSettings::default()
    };
    Options { settings, ..Options::default() }
}

pub(crate) fn name(tag: &str) -> ImageName {
    let tag: Tag = tag.parse().unwrap();
    ImageName { target: tag.clone().into(), tag: Some(tag) }
}

pub(crate) fn store(registry: &FakeRegistry) -> RemoteRepository {
    RemoteRepository::new(registry.client(), registry.repository(REPOSITORY))
}

pub(crate) async fn index(
    registry: &FakeRegistry,
    tag: &str,
    options: &Options,
) -> Result<Report, IndexError> {
    index_image(&store(registry), &name(tag), options).await
}

pub(crate) fn indexed(result: Result<Report, IndexError>) -> Report {
    match result {
        Ok(report) if !report.already_there => report,
        other => panic!("not indexed: {other:?}"),
    }
}

pub(crate) fn tags(registry: &FakeRegistry) -> Vec<String> {
    registry.tags(REPOSITORY).into_iter().map(|(tag, _)| tag).collect()
}

pub(crate) fn suffix(text: &str) -> OutputTag {
    OutputTag::Suffix(text.to_owned())
}
