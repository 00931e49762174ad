//! What indexing would do is what it then does, and saying so writes nothing.

use soci_indexer::{
    IndexError, IndexForecast, LayerWork, Options, OutputPlace, Reuse, forecast_index,
    forecast_index_to, index_image_to,
};
use soci_manifest::Version;
use soci_oci::Digest;
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{TestImage, gzip_layer};

use crate::support::{REPOSITORY, image, index, name, options, output, place, store, suffix};

/// What is foretold of a tag, which no request may write for.
async fn foretold(registry: &FakeRegistry, tag: &str, options: &Options) -> IndexForecast {
    registry.clear_requests();
    let forecast = forecast_index(&store(registry), &name(tag), options).await.unwrap();
    only_reads(registry);
    forecast
}

fn only_reads(registry: &FakeRegistry) {
    for request in registry.requests() {
        assert!(["GET", "HEAD"].contains(&request.method.as_str()), "{request:?}");
    }
}

fn layers(forecast: &IndexForecast, work: &str) -> Vec<Digest> {
    let layers = forecast.layers.iter().filter(|layer| layer.work.name() == work);
    layers.map(|layer| layer.digest).collect()
}

#[tokio::test]
async fn what_is_foretold_is_done() {
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        let (common, own) = (gzip_layer(1, 500_000), gzip_layer(2, 300_000));
        TestImage::single("linux/amd64", std::slice::from_ref(&common))
            .put(&registry, REPOSITORY, "1");
        TestImage::single("linux/amd64", &[common, own]).put(&registry, REPOSITORY, "2");
        for (tag, read, reused) in [("1", 1, 0), ("2", 1, 1)] {
            let options = Options { reuse: Reuse::default(), ..options(version) };
            let forecast = foretold(&registry, tag, &options).await;
            let (to_read, to_reuse) = (layers(&forecast, "read"), layers(&forecast, "reuse"));
            assert_eq!((to_read.len(), to_reuse.len()), (read, reused), "{version:?} {tag}");
            assert!(!forecast.already_there && forecast.index.is_none());
            let report = index(&registry, tag, &options).await.unwrap();
            assert_eq!(to_read, report.layers.iter().map(|l| l.digest).collect::<Vec<_>>());
            assert_eq!(to_reuse, report.reused.iter().map(|l| l.digest).collect::<Vec<_>>());
            assert_eq!(forecast.bytes_to_read(), report.bytes_read);
            assert_eq!((forecast.image, &forecast.tag), (report.image, &report.tag));

            let again = foretold(&registry, tag, &options).await;
            assert!(again.already_there, "{again:?}");
            assert_eq!((again.index, again.bytes_to_read()), (Some(report.index), 0));
            assert_eq!(layers(&again, "there").len(), read + reused);
            let forced = Options { force: true, ..options };
            assert_eq!(
                layers(&foretold(&registry, tag, &forced).await, "read").len(),
                read + reused
            );
        }
    }
}

#[tokio::test]
async fn a_result_that_lacks_only_its_tag_is_not_there_and_nothing_is_read() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let options = options(Version::V2);
    let report = index(&registry, "1", &options).await.unwrap();
    let other = Options { output: suffix("-x"), ..options.clone() };
    // Under another tag it is looked for beside the image's own documents only.
    let known = Options { known_result: Some(report.index), ..other };
    let forecast = foretold(&registry, "1", &known).await;
    assert_eq!((forecast.already_there, forecast.index), (false, Some(report.index)));
    assert_eq!(forecast.bytes_to_read(), 0);
    assert_eq!(forecast.tag.unwrap().as_str(), "1-x");
}

#[tokio::test]
async fn small_layers_are_skipped_and_an_image_of_such_is_nothing_to_index() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let base = options(Version::V2);
    let with = |min_layer_size| Options {
        settings: soci_manifest::SociIndexSettings { min_layer_size, ..base.settings.clone() },
        ..base.clone()
    };
    let forecast = foretold(&registry, "1", &with(100_000)).await;
    assert_eq!((forecast.layers.len(), forecast.skipped.len()), (2, 1));
    let error = forecast_index(&store(&registry), &name("1"), &with(1 << 30)).await.unwrap_err();
    assert!(matches!(error, IndexError::Nothing { .. }), "{error}");
    assert!(forecast_index(&store(&registry), &name("gone"), &base).await.is_err());
}

#[tokio::test]
async fn into_an_output_it_is_held_against_what_is_there() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let options = options(Version::V2);
    let (from, to): (_, OutputPlace) = (store(&registry), place(&registry, "1"));
    let tell = || async {
        registry.clear_requests();
        let forecast =
            forecast_index_to(&from, &output(&registry), &to, &name("1"), &options).await.unwrap();
        only_reads(&registry);
        forecast
    };
    let before = tell().await;
    assert!(before.layers.iter().all(|layer| matches!(layer.work, LayerWork::Read)), "{before:?}");
    let report =
        index_image_to(&from, &output(&registry), &to, &name("1"), &options).await.unwrap();
    let after = tell().await;
    assert_eq!((after.already_there, after.index), (true, Some(report.index)));
}
