//! Layers that were indexed before: they are not read, and what comes of the image is what a full build gives.

use serde_json::{Value, json};
use soci_indexer::{
    ImageName, Options, OutputTag, RemoteRepository, Report, Reuse, ReuseScope, ZtocSource,
    index_image, index_image_to,
};
use soci_manifest::{Generation, LayerDecision, SociIndexSettings, Version, format};
use soci_oci::{Digest, TagOrDigest, media_type};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{FakeRegistryClient, TestImage, TestLayer, gzip_layer, many_files_layer};
use soci_ztoc::testing::{archive_entry as entry, gzip, pax_header, plain_archive};

use crate::support::{
    OTHER, REPOSITORY, index, indexed, name, options, output, place, store, suffix,
};

/// Requests that a job may make beside those for its own documents, layers and result, however many tags there are:
/// the pages of the list, and the documents behind it.
const MOST_OF_A_LOOK: usize = 4 + 32;

pub(crate) fn ten_layers() -> Vec<TestLayer> {
    (1..=10).map(|seed| gzip_layer(seed, 60_000)).collect()
}

pub(crate) fn single(layers: &[TestLayer]) -> TestImage {
    TestImage::single("linux/amd64", layers)
}

/// Options of a process that has done nothing yet.
fn fresh(options: &Options) -> Options {
    Options { reuse: Reuse::new(options.reuse.scope()), ..options.clone() }
}

fn with(version: Version, generation: Generation) -> Options {
    let base = options(version);
    let settings = SociIndexSettings { generation, ..base.settings.clone() };
    Options { settings, ..base }
}

/// What the image gets where nothing is there but the image.
pub(crate) async fn full_build(image: &TestImage, tag: &str, options: &Options) -> Report {
    let registry = FakeRegistry::start().await;
    image.put(&registry, REPOSITORY, tag);
    indexed(index(&registry, tag, &Options { force: true, ..fresh(options) }).await)
}

/// Bytes of these layers that were sent.
pub(crate) fn sent(registry: &FakeRegistry, layers: &[TestLayer]) -> u64 {
    let mut bytes = 0;
    for request in registry.requests_of(RequestKind::BlobGet) {
        let of = layers
            .iter()
            .find(|(_, layer)| request.path.ends_with(&Digest::sha256_of(layer).to_string()));
        let Some((_, layer)) = of else { continue };
        let range = request.range.as_deref().and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some(last.parse::<u64>().ok()? - first.parse::<u64>().ok()? + 1)
        });
        bytes += range.unwrap_or(layer.len() as u64);
    }
    bytes
}

/// How many layers were built, how many came from this process and how many from the repository.
pub(crate) fn counted(report: &Report) -> (usize, usize, usize) {
    let from = |source| report.reused.iter().filter(|layer| layer.from == source).count();
    (report.layers.len(), from(ZtocSource::Process), from(ZtocSource::Repository))
}

/// The result is the same, and is there whole.
fn same_result(registry: &FakeRegistry, report: &Report, full: &Report) {
    assert_eq!(report.index, full.index);
    assert_eq!((&report.indexes, &report.skipped), (&full.indexes, &full.skipped));
    assert_eq!((&report.prefetch, &report.warnings), (&full.prefetch, &full.warnings));
    let all = |report: &Report| {
        let built = report.layers.iter().map(|l| (l.digest, l.ztoc, l.ztoc_size, l.files, l.spans));
        let reused = report.reused.iter();
        let reused = reused.map(|l| (l.digest, l.ztoc, l.ztoc_size, l.files, l.spans));
        let mut all: Vec<_> = built.chain(reused).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(all(report), all(full));
    for (_, ztoc, ..) in all(report) {
        assert!(registry.blob(REPOSITORY, &ztoc).is_some());
    }
}

#[tokio::test]
async fn of_ten_layers_the_changed_one_is_read() {
    for version in [Version::V1, Version::V2] {
        for generation in Generation::ALL {
            for one_process in [true, false] {
                let registry = FakeRegistry::start().await;
                let options = with(version, generation);
                let mut layers = ten_layers();
                single(&layers).put(&registry, REPOSITORY, "1");
                indexed(index(&registry, "1", &options).await);
                layers[4] = gzip_layer(77, 60_000);
                let image = single(&layers);
                image.put(&registry, REPOSITORY, "2");
                registry.clear_requests();
                let next = if one_process { options.clone() } else { fresh(&options) };
                let report = indexed(index(&registry, "2", &next).await);
                let from = if one_process { (1, 9, 0) } else { (1, 0, 9) };
                assert_eq!(counted(&report), from, "{version:?} {generation}");
                let changed = layers[4].1.len() as u64;
                assert_eq!(report.bytes_read, changed);
                let read = sent(&registry, &layers);
                assert!(read <= changed + changed / 20, "{read} of {changed}");
                same_result(&registry, &report, &full_build(&image, "2", &options).await);
            }
        }
    }
}

#[tokio::test]
async fn another_image_of_the_same_layers_reads_none() {
    for version in [Version::V1, Version::V2] {
        for one_process in [true, false] {
            let registry = FakeRegistry::start().await;
            let options = options(version);
            let layers = ten_layers();
            single(&layers).put(&registry, REPOSITORY, "1");
            indexed(index(&registry, "1", &options).await);
            let config = json!({ "Cmd": ["other"] });
            let image = TestImage::run("linux/amd64", &layers, &config);
            image.put(&registry, REPOSITORY, "2");
            registry.clear_requests();
            let next = if one_process { options.clone() } else { fresh(&options) };
            let report = indexed(index(&registry, "2", &next).await);
            assert_eq!((report.layers.len(), report.reused.len()), (0, 10), "{version:?}");
            assert_eq!(report.bytes_read, 0);
            // The lengths that their last members tell of themselves.
            let ends = if one_process { 0 } else { 4 * layers.len() as u64 };
            assert_eq!(sent(&registry, &layers), ends);
            assert!(registry.requests_of(RequestKind::UploadPut).is_empty(), "{version:?}");
            same_result(&registry, &report, &full_build(&image, "2", &options).await);
        }
    }
}

#[tokio::test]
async fn the_former_result_of_the_tag_is_looked_at_first() {
    let registry = FakeRegistry::start().await;
    let options = options(Version::V2);
    let mut layers = ten_layers();
    single(&layers).put(&registry, REPOSITORY, "latest");
    indexed(index(&registry, "latest", &options).await);
    layers.truncate(9);
    let image = single(&layers);
    image.put(&registry, REPOSITORY, "latest");
    registry.clear_requests();
    let report = indexed(index(&registry, "latest", &fresh(&options)).await);
    assert_eq!(counted(&report), (0, 0, 9));
    assert!(registry.requests_of(RequestKind::Tags).is_empty(), "the tag's own result has all");
    same_result(&registry, &report, &full_build(&image, "latest", &options).await);
}

/// The former result could be the wanted one without the layer, as if that were left out for what is in it.
#[tokio::test]
async fn of_layers_that_are_indexed_from_now_on_too_only_these_are_read() {
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        let options = options(version);
        let layers = [gzip_layer(1, 300_000), gzip_layer(2, 20_000)];
        let image = single(&layers);
        image.put(&registry, REPOSITORY, "1");
        let settings = SociIndexSettings { min_layer_size: 100_000, ..options.settings.clone() };
        indexed(index(&registry, "1", &Options { settings, ..options.clone() }).await);
        let report = indexed(index(&registry, "1", &fresh(&options)).await);
        assert_eq!(counted(&report), (1, 0, 1), "{version}");
        assert_eq!(report.bytes_read, layers[1].1.len() as u64);
        same_result(&registry, &report, &full_build(&image, "1", &options).await);
    }
}

#[tokio::test]
async fn other_settings_take_nothing_over_that_differs() {
    let registry = FakeRegistry::start().await;
    let base = options(Version::V2);
    let image = single(&[gzip_layer(1, 300_000)]);
    image.put(&registry, REPOSITORY, "1");
    indexed(index(&registry, "1", &base).await);
    let settings = &base.settings;
    for (number, (settings, built)) in [
        (SociIndexSettings { span_size: 32 << 10, ..settings.clone() }, 1),
        (SociIndexSettings { build_tool_identifier: "other".to_owned(), ..settings.clone() }, 1),
        // The same ztoc, which other things are said of.
        (SociIndexSettings { annotate_span_size: true, ..settings.clone() }, 0),
        (SociIndexSettings { generation: Generation::Newer, ..settings.clone() }, 0),
        (SociIndexSettings { optimize_xattrs: true, ..settings.clone() }, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let options = Options { settings, output: suffix(&format!("-{number}")), ..fresh(&base) };
        // A result under a tag of its own, and the first one as the only one to find.
        let first = registry.tags(REPOSITORY).into_iter().find(|(tag, _)| tag == "1-soci").unwrap();
        let found = registry.manifest(REPOSITORY, &first.1.into()).unwrap();
        registry.put_manifest(REPOSITORY, Some(&format!("0-{number}")), &found.0, found.1);
        let report = indexed(index(&registry, "1", &options).await);
        assert_eq!(report.layers.len(), built, "{number}: {report:?}");
        same_result(&registry, &report, &full_build(&image, "1", &options).await);
    }
}

#[tokio::test]
async fn whoever_wants_it_builds_everything() {
    let registry = FakeRegistry::start().await;
    let layers = ten_layers();
    let base = options(Version::V2);
    single(&layers).put(&registry, REPOSITORY, "1");
    indexed(index(&registry, "1", &base).await);
    let second = TestImage::run("linux/amd64", &layers, &json!({ "Cmd": ["x"] }));
    for (number, (options, expected)) in [
        (Options { force: true, ..base.clone() }, (10, 0, 0)),
        (Options { reuse: Reuse::new(ReuseScope::Never), ..base.clone() }, (10, 0, 0)),
        (Options { reuse: Reuse::new(ReuseScope::Process), ..base.clone() }, (10, 0, 0)),
        (base.clone(), (0, 10, 0)),
        (fresh(&base), (0, 0, 10)),
    ]
    .into_iter()
    .enumerate()
    {
        let tag = format!("2.{number}");
        second.put(&registry, REPOSITORY, &tag);
        let options = Options { output: suffix("-again"), ..options };
        single(&layers).put(&registry, REPOSITORY, "1");
        let first = registry.tags(REPOSITORY).into_iter().find(|(tag, _)| tag == "1-soci").unwrap();
        let found = registry.manifest(REPOSITORY, &first.1.into()).unwrap();
        registry.put_manifest(REPOSITORY, Some("1-again"), &found.0, found.1);
        let report = indexed(index(&registry, &tag, &options).await);
        assert_eq!(counted(&report), expected, "{number}");
        for (tag, _) in registry.tags(REPOSITORY) {
            if tag.starts_with("2.") {
                registry.remove_tag(REPOSITORY, &tag);
            }
        }
    }
}

#[tokio::test]
async fn another_repository_takes_over_what_this_process_has_built_and_nothing_else() {
    for mounts in [true, false] {
        let registry = FakeRegistry::with(FakeOptions { mounts, ..FakeOptions::default() }).await;
        let layers = ten_layers();
        let image = single(&layers);
        let options = options(Version::V2);
        image.put(&registry, REPOSITORY, "1");
        let first = indexed(index(&registry, "1", &options).await);
        image.put(&registry, OTHER, "1");
        registry.clear_requests();
        let report = indexed(index_image(&output(&registry), &name("1"), &options).await);
        assert_eq!(counted(&report), (0, 10, 0));
        assert_eq!((report.index, report.bytes_read), (first.index, 0));
        assert_eq!(sent(&registry, &layers), 0);
        let begun = registry.requests_of(RequestKind::UploadPost);
        assert!(begun.iter().filter(|request| request.query.contains("mount=")).count() >= 10);
        for layer in &first.layers {
            assert!(registry.blob(OTHER, &layer.ztoc).is_some());
        }

        // Another process knows nothing of the other repository's work, and does not ask.
        let third = "third/place";
        image.put(&registry, third, "1");
        registry.clear_requests();
        let elsewhere = RemoteRepository::new(registry.client(), registry.repository(third));
        let report = indexed(index_image(&elsewhere, &name("1"), &fresh(&options)).await);
        assert_eq!(counted(&report), (10, 0, 0));
        assert!(registry.requests().iter().all(|request| request.path.contains(third)));
    }
}

#[tokio::test]
async fn nobody_learns_what_is_in_a_layer_that_they_do_not_have() {
    let registry = FakeRegistry::start().await;
    let (secret, own) = (gzip_layer(1, 60_000), gzip_layer(2, 60_000));
    let options = options(Version::V2);
    let image = single(&[secret.clone(), own]);
    image.put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &options).await);
    image.put(&registry, OTHER, "1");
    registry.remove_blob(OTHER, &Digest::sha256_of(&secret.1));
    let error = index_image(&output(&registry), &name("1"), &options).await.unwrap_err();
    assert!(error.to_string().contains("layer") || !error.is_transient(), "{error:?}");
    let secret = first.layers.iter().find(|layer| layer.digest == Digest::sha256_of(&secret.1));
    assert!(registry.blob(OTHER, &secret.unwrap().ztoc).is_none());
}

#[tokio::test]
async fn a_result_with_a_name_of_its_own_is_found_among_a_thousand_tags() {
    let registry = FakeRegistry::start().await;
    let layers = ten_layers();
    let options = options(Version::V2);
    single(&layers).put(&registry, REPOSITORY, "1");
    indexed(index(&registry, "1", &options).await);
    for number in 0..1000 {
        single(&layers[..1]).put(&registry, REPOSITORY, &format!("old-{number}"));
    }
    let output = OutputTag::Tag("fresh".parse().unwrap());
    let report = indexed(index(&registry, "1", &Options { output, ..fresh(&options) }).await);
    assert_eq!((counted(&report), report.bytes_read), ((0, 0, 10), 0));
}

#[tokio::test]
async fn a_thousand_tags_cost_a_bounded_number_of_requests() {
    for version in [Version::V1, Version::V2] {
        let mut counts = Vec::new();
        for tags in [0, 3000] {
            let registry = FakeRegistry::start().await;
            let kinds = [
                // Results of other images, and what is none.
                single(&[gzip_layer(50, 10_000)]),
                TestImage::index(&[("linux/arm64", &[gzip_layer(51, 10_000)])]),
            ];
            for (number, image) in kinds.iter().enumerate() {
                let tag = format!("x{number}");
                image.put(&registry, REPOSITORY, &tag);
                indexed(index(&registry, &tag, &options(version)).await);
            }
            let known = registry.tags(REPOSITORY);
            for tag in 0..tags {
                let (_, digest) = &known[tag % known.len()];
                let found = registry.manifest(REPOSITORY, &TagOrDigest::Digest(*digest)).unwrap();
                let tag = format!("{tag}-soci");
                registry.put_manifest(REPOSITORY, Some(&tag), &found.0, found.1);
            }
            let layers = ten_layers();
            single(&layers).put(&registry, REPOSITORY, "1500");
            registry.clear_requests();
            let report = indexed(index(&registry, "1500", &options(version)).await);
            assert_eq!(counted(&report), (10, 0, 0));
            assert!(registry.requests_of(RequestKind::Tags).len() <= 4);
            counts.push(registry.requests().len());
        }
        let [few, many] = counts[..] else { panic!() };
        assert!(many <= few + MOST_OF_A_LOOK, "{version:?}: {few} and {many}");
    }
}

#[tokio::test]
async fn the_jobs_of_a_process_look_once_for_a_while() {
    let registry = FakeRegistry::start().await;
    let options = options(Version::V2);
    for tag in 0..5 {
        single(&[gzip_layer(tag + 1, 60_000)]).put(&registry, REPOSITORY, &tag.to_string());
        indexed(index(&registry, &tag.to_string(), &options).await);
    }
    assert_eq!(registry.requests_of(RequestKind::Tags).len(), 1);
}

#[tokio::test]
async fn registries_that_refuse_to_be_looked_through_are_indexed_all_the_same() {
    let layers = ten_layers();
    let image = TestImage::run("linux/amd64", &layers, &json!({ "Cmd": ["x"] }));
    let full = full_build(&image, "2", &options(Version::V2)).await;
    let answer = |status, body: &str| Effect::Answer {
        status,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_owned(),
    };
    for effect in [
        Effect::status(401),
        Effect::status(403),
        Effect::status(404),
        Effect::status(405),
        Effect::status(429),
        Effect::status(500),
        Effect::status(503),
        Effect::HangUp,
        answer(200, "<html>"),
        answer(200, r#"{"tags":null}"#),
        answer(200, r#"{"tags":["../x","","1 2"]}"#),
        answer(200, r#"{"tags":["not-there-soci"]}"#),
        answer(200, &format!(r#"{{"tags":["{}"]}}"#, "x".repeat(1 << 20))),
    ] {
        let registry = FakeRegistry::start().await;
        single(&layers).put(&registry, REPOSITORY, "1");
        indexed(index(&registry, "1", &options(Version::V2)).await);
        image.put(&registry, REPOSITORY, "2");
        registry.clear_requests();
        registry.quirk(Quirk::on(RequestKind::Tags, effect.clone()).always());
        let report = indexed(index(&registry, "2", &options(Version::V2)).await);
        assert_eq!(counted(&report), (10, 0, 0), "{effect:?}");
        // One that is hung up on is not in the log.
        assert!(registry.requests_of(RequestKind::Tags).len() <= 1, "{effect:?}");
        same_result(&registry, &report, &full);
    }
}

#[tokio::test]
async fn without_head_or_ranges_it_is_still_the_same() {
    let layers = ten_layers();
    let image = TestImage::run("linux/amd64", &layers, &json!({ "Cmd": ["x"] }));
    let full = full_build(&image, "2", &options(Version::V2)).await;
    for (head, ranges) in [(true, false), (false, true)] {
        for one_process in [true, false] {
            let registry =
                FakeRegistry::with(FakeOptions { ranges, ..FakeOptions::default() }).await;
            single(&layers).put(&registry, REPOSITORY, "1");
            let options = options(Version::V2);
            indexed(index(&registry, "1", &options).await);
            image.put(&registry, REPOSITORY, "2");
            if !head {
                registry.quirk(Quirk::on(RequestKind::BlobHead, Effect::status(405)).always());
            }
            let next = if one_process { options.clone() } else { fresh(&options) };
            let report = indexed(index(&registry, "2", &next).await);
            same_result(&registry, &report, &full);
        }
    }
}

/// Puts a SOCI index into the registry that names these ztocs for layers, as the result of a tag. Digests and sizes are
/// whatever is claimed.
fn put_result(registry: &FakeRegistry, tag: &str, named: &[(Digest, Digest, u64)]) {
    let layers: Vec<Value> = named
        .iter()
        .map(|(layer, ztoc, size)| {
            json!({
                "mediaType": format::ZTOC_MEDIA_TYPE, "digest": ztoc.to_string(), "size": size,
                "annotations": {
                    format::IMAGE_LAYER_DIGEST: layer.to_string(),
                    format::IMAGE_LAYER_MEDIA_TYPE: media_type::OCI_LAYER_GZIP,
                },
            })
        })
        .collect();
    let config = Version::V2.config();
    let soci = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": {
            "mediaType": config.media_type, "digest": config.digest.to_string(), "size": config.size,
        },
        "layers": layers,
        "annotations": { format::BUILD_TOOL_IDENTIFIER: format::DEFAULT_BUILD_TOOL_IDENTIFIER },
    });
    let soci = soci.to_string();
    let size = soci.len();
    let digest = registry.put_manifest(REPOSITORY, None, media_type::OCI_MANIFEST, soci);
    let root = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [{
            "mediaType": media_type::OCI_MANIFEST, "digest": digest.to_string(), "size": size,
            "artifactType": Version::V2.artifact_type(),
            "platform": { "os": "linux", "architecture": "amd64" },
        }],
    });
    registry.put_manifest(REPOSITORY, Some(tag), media_type::OCI_INDEX, root.to_string());
}

#[tokio::test]
async fn what_is_named_and_is_not_the_ztoc_is_not_taken() {
    let layer = gzip_layer(1, 300_000);
    let image = single(std::slice::from_ref(&layer));
    let wanted = options(Version::V2);
    let full = full_build(&image, "1", &wanted).await;
    let digest = Digest::sha256_of(&layer.1);
    let built = |layer: &TestLayer, span_size: u64, tool: &str| {
        let settings = soci_ztoc::ZtocSettings {
            span_size,
            ..soci_ztoc::ZtocSettings::new(soci_ztoc::Compression::Gzip, tool)
        };
        soci_ztoc::Ztoc::build(&layer.1[..], settings).unwrap().encoded.to_vec()
    };
    let tool = format::DEFAULT_BUILD_TOOL_IDENTIFIER;
    let right = built(&layer, 64 << 10, tool);
    assert_eq!(Digest::sha256_of(&right), full.layers[0].ztoc);
    let mut damaged = right.clone();
    let half = damaged.len() / 2;
    damaged[..200].iter_mut().for_each(|byte| *byte ^= 0x55);
    // A layer of another archive, with a field in its header that makes it as long (RFC 1952, FEXTRA).
    let mut other = gzip_layer(2, 270_000).1.to_vec();
    let field = layer.1.len() - other.len() - 2;
    other[3] |= 4;
    other.splice(10..10, (field as u16).to_le_bytes().into_iter().chain(vec![0; field]));
    let other: TestLayer = (layer.0, other.into());
    assert_eq!(other.1.len(), layer.1.len());
    for (what, ztoc, size) in [
        ("right", right.clone(), None),
        ("of another layer", built(&gzip_layer(2, 300_000), 64 << 10, tool), None),
        ("of another layer of the same size", built(&other, 64 << 10, tool), None),
        ("of another span size", built(&layer, 32 << 10, tool), None),
        ("of another tool", built(&layer, 64 << 10, "other"), None),
        ("cut short", right[..half].to_vec(), None),
        ("damaged", damaged, None),
        ("nothing", Vec::new(), None),
        ("the layer itself", layer.1.to_vec(), None),
        ("of another size than claimed", right.clone(), Some(right.len() as u64 - 1)),
        ("huge", right.clone(), Some(1 << 50)),
    ] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let size = size.unwrap_or(ztoc.len() as u64);
        let ztoc = registry.put_blob(REPOSITORY, ztoc);
        put_result(&registry, "0-soci", &[(digest, ztoc, size)]);
        let report = indexed(index(&registry, "1", &fresh(&wanted)).await);
        let expected = if what == "right" { (0, 0, 1) } else { (1, 0, 0) };
        assert_eq!(counted(&report), expected, "{what}");
        same_result(&registry, &report, &full);
    }
}

#[tokio::test]
async fn results_that_are_none_are_passed_over_and_the_next_one_is_found() {
    let layer = gzip_layer(1, 300_000);
    let image = single(std::slice::from_ref(&layer));
    let wanted = options(Version::V2);
    let full = full_build(&image, "9", &wanted).await;
    let registry = FakeRegistry::start().await;
    image.put(&registry, REPOSITORY, "9");
    let digest = Digest::sha256_of(&layer.1);
    let number = |number: usize| Digest::sha256_of(number.to_string().as_bytes());
    // As many as a manifest can name, and far more than are kept; one that is longer than any result could be.
    let many =
        |layers: usize| -> Vec<_> { (0..layers).map(|n| (number(n), number(n), 7)).collect() };
    put_result(&registry, "8-soci", &many(150));
    put_result(&registry, "7-soci", &many(20_000));
    registry.put_manifest(REPOSITORY, Some("6-soci"), media_type::OCI_INDEX, "{}");
    registry.put_manifest(REPOSITORY, Some("5-soci"), "text/plain", "no manifest");
    single(&[gzip_layer(4, 2000)]).put(&registry, REPOSITORY, "4-soci");
    for blob in image.blobs.values() {
        registry.put_blob(REPOSITORY, blob.clone());
    }
    let settings = soci_ztoc::ZtocSettings {
        span_size: 64 << 10,
        ..soci_ztoc::ZtocSettings::new(
            soci_ztoc::Compression::Gzip,
            format::DEFAULT_BUILD_TOOL_IDENTIFIER,
        )
    };
    let right = soci_ztoc::Ztoc::build(&layer.1[..], settings).unwrap().encoded.to_vec();
    let size = right.len() as u64;
    let right = registry.put_blob(REPOSITORY, right);
    put_result(&registry, "3-soci", &[(digest, right, size)]);
    let report = indexed(index(&registry, "9", &fresh(&wanted)).await);
    assert_eq!(counted(&report), (0, 0, 1));
    same_result(&registry, &report, &full);
}

#[tokio::test]
async fn a_ztoc_that_is_gone_is_built() {
    for one_process in [true, false] {
        let registry = FakeRegistry::start().await;
        let options = options(Version::V2);
        let layers = ten_layers();
        single(&layers).put(&registry, REPOSITORY, "1");
        let first = indexed(index(&registry, "1", &options).await);
        registry.remove_blob(REPOSITORY, &first.layers[3].ztoc);
        let image = TestImage::run("linux/amd64", &layers, &json!({ "Cmd": ["x"] }));
        image.put(&registry, REPOSITORY, "2");
        let next = if one_process { options.clone() } else { fresh(&options) };
        let report = indexed(index(&registry, "2", &next).await);
        assert_eq!((report.layers.len(), report.reused.len()), (1, 9));
        assert_eq!(report.layers[0].digest, first.layers[3].digest);
        same_result(&registry, &report, &full_build(&image, "2", &options).await);
    }
}

#[tokio::test]
async fn what_a_registry_only_says_that_it_has_is_built_and_sent() {
    let registry =
        FakeRegistry::with(FakeOptions { check_references: true, ..FakeOptions::default() }).await;
    let options = options(Version::V2);
    let mut layers = ten_layers();
    single(&layers).put(&registry, REPOSITORY, "1");
    let first = indexed(index(&registry, "1", &options).await);
    // Another SOCI index, which the registry looks into when it is pushed.
    layers.push(gzip_layer(99, 60_000));
    let image = single(&layers);
    image.put(&registry, REPOSITORY, "2");
    let lost = &first.layers[3];
    registry.remove_blob(REPOSITORY, &lost.ztoc);
    let found = Effect::Answer {
        status: 200,
        headers: vec![("content-length".to_owned(), lost.ztoc_size.to_string())],
        body: String::new(),
    };
    let path = lost.ztoc.to_string();
    let order = registry.quirk(Quirk::on(RequestKind::BlobHead, found).path(&path).times(1));
    let report = indexed(index(&registry, "2", &options).await);
    assert_eq!(registry.acted(order), 1);
    assert_eq!(counted(&report), (11, 0, 0), "everything is sent again");
    same_result(&registry, &report, &full_build(&image, "2", &options).await);
}

#[tokio::test]
async fn layers_without_a_ztoc_are_left_out_as_before() {
    let records = [
        ("GNU.sparse.major", "0"),
        ("GNU.sparse.minor", "1"),
        ("GNU.sparse.size", "9000"),
        ("GNU.sparse.numblocks", "1"),
        ("GNU.sparse.map", "0,100"),
    ];
    let sparse = [pax_header(b'x', &records), entry("sparse", b'0', 100, &[7; 100])].concat();
    let sparse = gzip(&[sparse, plain_archive(5, 200_000)].concat());
    let archive = plain_archive(6, 200_000);
    let members = [gzip(&archive[..100_000]), gzip(&archive[100_000..])].concat();
    let trailing = [gzip(&plain_archive(7, 200_000)), vec![0; 512]].concat();
    let odd = |bytes: Vec<u8>| -> TestLayer { (media_type::OCI_LAYER_GZIP, bytes.into()) };
    let plain = gzip_layer(1, 100_000);
    // Each with settings that give it a ztoc, and those that must not take it over.
    let strict = |strict, generation| {
        let base = with(Version::V2, generation);
        let settings = SociIndexSettings { strict, ..base.settings.clone() };
        Options { settings, ..base }
    };
    for (what, layer, first, second) in [
        ("sparse", odd(sparse), Some(strict(true, Generation::Older)), Generation::Older),
        ("members", odd(members), Some(strict(false, Generation::Newer)), Generation::Older),
        ("trailing", odd(trailing), None, Generation::Older),
    ] {
        let layers = [plain.clone(), layer];
        let registry = FakeRegistry::start().await;
        single(&layers).put(&registry, REPOSITORY, "1");
        let first = first.unwrap_or_else(|| strict(false, second));
        indexed(index(&registry, "1", &first).await);
        let image = TestImage::run("linux/amd64", &layers, &json!({ "Cmd": ["x"] }));
        image.put(&registry, REPOSITORY, "2");
        let options = strict(false, second);
        let report = indexed(index(&registry, "2", &options).await);
        assert_eq!((report.layers.len(), report.reused.len()), (0, 1), "{what}: {report:?}");
        let [skipped] = &report.skipped[..] else { panic!("{what}: {report:?}") };
        assert!(!matches!(skipped.decision, LayerDecision::Build(_)), "{what}");
        same_result(&registry, &report, &full_build(&image, "2", &options).await);
    }
}

#[tokio::test]
async fn layers_of_several_members_are_taken_from_this_process_only() {
    let archive = plain_archive(6, 200_000);
    let members = [gzip(&archive[..100_000]), gzip(&archive[100_000..])].concat();
    let layers: [TestLayer; 1] = [(media_type::OCI_LAYER_GZIP, members.into())];
    let registry = FakeRegistry::start().await;
    single(&layers).put(&registry, REPOSITORY, "1");
    let options = with(Version::V2, Generation::Newer);
    indexed(index(&registry, "1", &options).await);
    let image = TestImage::run("linux/amd64", &layers, &json!({ "Cmd": ["x"] }));
    let full = full_build(&image, "2", &options).await;
    for (options, expected) in [(fresh(&options), (1, 0, 0)), (options.clone(), (0, 1, 0))] {
        image.put(&registry, REPOSITORY, "2");
        let report = indexed(index(&registry, "2", &options).await);
        assert_eq!(counted(&report), expected);
        same_result(&registry, &report, &full);
        registry.remove_tag(REPOSITORY, "2-soci");
    }
}

#[tokio::test]
async fn files_to_prefetch_and_attributes_are_those_of_a_full_build() {
    let layers = [gzip_layer(1, 200_000), many_files_layer(300).unwrap()];
    let registry = FakeRegistry::start().await;
    single(&layers).put(&registry, REPOSITORY, "1");
    let mut options = with(Version::V2, Generation::Newer);
    options.settings.optimize_xattrs = true;
    indexed(index(&registry, "1", &options).await);
    options.settings.prefetch.files = soci_manifest::PrefetchFile::list(["7", "nothing"]);
    let image = TestImage::run("linux/amd64", &layers, &json!({ "Cmd": ["x"] }));
    image.put(&registry, REPOSITORY, "2");
    let report = indexed(index(&registry, "2", &fresh(&options)).await);
    assert_eq!(counted(&report), (0, 0, 2));
    assert_eq!((report.prefetch.len(), report.warnings.len()), (1, 1));
    same_result(&registry, &report, &full_build(&image, "2", &options).await);
}

#[tokio::test]
async fn an_output_is_the_repository_that_is_looked_at() {
    for one_process in [true, false] {
        let registry = FakeRegistry::start().await;
        let layers = ten_layers();
        let mut options = options(Version::V2);
        options.settings.optimize_xattrs = true;
        let index_to = async |tag: &str, options: &Options| {
            let (from, to) = (store(&registry), output(&registry));
            let name: ImageName = name(tag);
            index_image_to(&from, &to, &place(&registry, tag), &name, options).await
        };
        single(&layers).put(&registry, REPOSITORY, "1");
        indexed(index_to("1", &options).await);
        let image = TestImage::run("linux/amd64", &layers, &json!({ "Cmd": ["x"] }));
        image.put(&registry, REPOSITORY, "2");
        registry.clear_requests();
        let next = if one_process { options.clone() } else { fresh(&options) };
        let report = indexed(index_to("2", &next).await);
        assert_eq!((report.layers.len(), report.reused.len()), (0, 10));
        assert_eq!(report.index, full_build(&image, "2", &options).await.index);
        for layer in &report.reused {
            assert!(registry.blob(OTHER, &layer.ztoc).is_some());
        }
    }
}
