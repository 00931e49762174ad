//! Every image of the golden set through the pipeline, layers and all: what the registry holds
//! afterwards is what the reference pushed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use futures_util::StreamExt as _;
use serde_json::Value;
use soci_indexer::Options;
use soci_manifest::{
    Generation, Platforms, PrefetchFile, PrefetchSettings, SociIndexSettings, Version,
};
use soci_oci::Digest;
use soci_registry_server::testing::{FakeOptions, FakeRegistry};
use soci_tests::golden;

use crate::support::{REPOSITORY, index};

/// The golden images, with what which release makes of them.
#[derive(Clone, Copy)]
enum Set {
    /// v0.11.1, with its default options.
    Older,
    /// v0.16.1, with its default options.
    Newer,
    /// v0.16.1, with files to prefetch, optimizations and sizes.
    Options,
}

#[tokio::test]
async fn every_image_gives_what_the_reference_pushes_for_v1() {
    every_image(Set::Older, Version::V1, 40).await;
}

#[tokio::test]
async fn every_image_gives_what_the_reference_pushes_for_v2() {
    every_image(Set::Older, Version::V2, 40).await;
}

#[tokio::test]
async fn every_image_gives_what_the_newer_reference_pushes_for_v1() {
    every_image(Set::Newer, Version::V1, 40).await;
}

#[tokio::test]
async fn every_image_gives_what_the_newer_reference_pushes_for_v2() {
    every_image(Set::Newer, Version::V2, 40).await;
}

#[tokio::test]
async fn options_give_what_the_reference_pushes_for_v1() {
    every_image(Set::Options, Version::V1, 40).await;
}

#[tokio::test]
async fn options_give_what_the_reference_pushes_for_v2() {
    every_image(Set::Options, Version::V2, 40).await;
}

async fn every_image(set: Set, version: Version, expected_cases: usize) {
    let folder = match set {
        Set::Older | Set::Newer => "images",
        Set::Options => "options",
    };
    let large = large_blobs(folder);
    let newer = newer_results();
    let paths =
        std::fs::read_dir(golden().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let cases: Vec<_> = paths.filter(|path| path.join("input.json").exists()).collect();
    assert_eq!(cases.len(), expected_cases);
    // Several at once, as most of the time lists of referrers are waited for.
    let checks = futures_util::stream::iter(&cases);
    checks
        .for_each_concurrent(8, |path| {
            let case = path.file_name().unwrap().to_str().unwrap();
            let expected = match set {
                Set::Older | Set::Options => read_json(&path.join("expected.json")),
                Set::Newer => newer[case].clone(),
            };
            let expected = expected[version.to_string().to_uppercase()].clone();
            let large = &large;
            async move { check(path, set, version, large, &expected).await }
        })
        .await;
}

/// What v0.16.1 makes of the images, by case.
fn newer_results() -> BTreeMap<String, Value> {
    let lines = std::fs::read_to_string(golden().join("images-0.16.jsonl")).unwrap();
    let results = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    results.map(|result| (result["case"].as_str().unwrap().to_owned(), result)).collect()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The layers, and ztocs of images that were converted before, that cases share.
fn large_blobs(folder: &str) -> Vec<Vec<u8>> {
    let folders = ["_blobs", "_ztocs"].map(|shared| golden().join(folder).join(shared));
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    files
        .flatten()
        .map(|file| {
            let path = file.unwrap().path();
            let stored = std::fs::read(&path).unwrap();
            if path.extension().is_none_or(|extension| extension != "gz") {
                return stored;
            }
            let mut layer = Vec::new();
            GzDecoder::new(&stored[..]).read_to_end(&mut layer).unwrap();
            layer
        })
        .collect()
}

async fn check(path: &Path, set: Set, version: Version, large: &[Vec<u8>], expected: &Value) {
    let case = path.file_name().unwrap().to_str().unwrap();
    let input = read_json(&path.join("input.json"));
    // The reference's registry had no referrers API, and held images that name missing layers.
    let options =
        FakeOptions { referrers_api: false, check_references: false, ..FakeOptions::default() };
    let registry = FakeRegistry::with(options).await;
    put_input(&registry, path, &input, case);
    let elsewhere = input["blobs_elsewhere"].as_array().map(Vec::as_slice).unwrap_or_default();
    for blob in large {
        if elsewhere.contains(&Value::from(Digest::sha256_of(blob).to_string())) {
            registry.put_blob(REPOSITORY, blob.clone());
        }
    }
    let before = contents(&registry);

    let settings = SociIndexSettings { version, ..settings_of(&input, set) };
    let platforms = match version {
        // The reference builds V1 for its host alone.
        Version::V1 => Platforms::Only(vec!["linux/amd64".parse().unwrap()]),
        Version::V2 => Platforms::All,
    };
    let options = Options { settings, platforms, ..Options::default() };
    let outcome = index(&registry, case, &options).await;
    let after = contents(&registry);
    let added = |what: &str| -> Vec<String> {
        after[what].iter().filter(|item| !before[what].contains(item)).cloned().collect()
    };
    let keys = |what: &str| -> Vec<String> {
        let object = expected[what].as_object().into_iter().flatten();
        let mut keys: Vec<String> = object.map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    };
    let mut tags: Vec<String> = expected["tags"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(tag, digest)| format!("{tag} {}", digest.as_str().unwrap()))
        .collect();
    tags.sort();
    if let Ok(report) = &outcome {
        assert_eq!(report.index.to_string(), expected["result"].as_str().unwrap(), "{case}");
        assert_eq!(added("manifests"), keys("pushed_manifests"), "{case}");
        assert_eq!(added("blobs"), keys("pushed_blobs"), "{case}");
        assert_eq!(added("tags"), tags, "{case}");
        let again = index(&registry, case, &options).await.unwrap();
        assert!(again.already_there, "{case}");
        assert_eq!(again.index, report.index, "{case}");
        assert_eq!(contents(&registry), after, "{case}");
    } else {
        assert_eq!(expected["result"], "error", "{case}: {outcome:?}");
        assert_eq!(after["manifests"], before["manifests"], "{case}");
        assert_eq!(after["tags"], before["tags"], "{case}");
    }
}

fn settings_of(input: &Value, set: Set) -> SociIndexSettings {
    let settings = SociIndexSettings {
        build_tool_identifier: input["build_tool"].as_str().unwrap().to_owned(),
        generation: match set {
            Set::Older => Generation::Older,
            Set::Newer | Set::Options => Generation::Newer,
        },
        strict: true,
        ..SociIndexSettings::default()
    };
    let options = &input["options"];
    let Set::Options = set else { return settings };
    let words =
        |name: &str| -> Vec<String> { serde_json::from_value(options[name].clone()).unwrap() };
    SociIndexSettings {
        span_size: options["span_size"].as_u64().unwrap(),
        min_layer_size: options["min_layer_size"].as_u64().unwrap(),
        optimize_xattrs: words("optimizations").contains(&"xattr".to_owned()),
        prefetch: PrefetchSettings {
            files: PrefetchFile::list(words("prefetch_files").iter().map(String::as_str)),
            ..PrefetchSettings::default()
        },
        ..settings
    }
}

fn put_input(registry: &FakeRegistry, path: &Path, input: &Value, case: &str) {
    let mut manifests: BTreeMap<String, &str> = BTreeMap::new();
    for manifest in input["manifests"].as_array().unwrap() {
        let digest = manifest["digest"].as_str().unwrap().to_owned();
        manifests.insert(digest, manifest["media_type"].as_str().unwrap());
    }
    for file in std::fs::read_dir(path.join("blobs/sha256")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let digest = Digest::sha256_of(&bytes).to_string();
        match manifests.get(&digest) {
            Some(kind) => {
                let tag = (input["root_digest"] == digest.as_str()).then_some(case);
                registry.put_manifest(REPOSITORY, tag, kind, bytes);
            }
            None => {
                registry.put_blob(REPOSITORY, bytes);
            }
        }
    }
}

fn contents(registry: &FakeRegistry) -> BTreeMap<&'static str, Vec<String>> {
    let text = |digests: Vec<Digest>| {
        let mut text: Vec<String> = digests.iter().map(ToString::to_string).collect();
        text.sort();
        text
    };
    let tags = registry.tags(REPOSITORY);
    let mut tags: Vec<String> =
        tags.into_iter().map(|(tag, digest)| format!("{tag} {digest}")).collect();
    tags.sort();
    BTreeMap::from([
        ("blobs", text(registry.blobs(REPOSITORY))),
        ("manifests", text(registry.manifests(REPOSITORY))),
        ("tags", tags),
    ])
}
