//! Every image of the golden set through the pipeline, layers and all: what the registry holds
//! afterwards is what the reference pushed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;
use soci_indexer::Options;
use soci_manifest::{Platforms, SociIndexSettings, Version};
use soci_oci::Digest;
use soci_registry_server::testing::{FakeOptions, FakeRegistry};
use soci_tests::golden;

use crate::support::{REPOSITORY, index};

#[tokio::test]
async fn every_image_gives_what_the_reference_pushes_for_v1() {
    every_image(Version::V1).await;
}

#[tokio::test]
async fn every_image_gives_what_the_reference_pushes_for_v2() {
    every_image(Version::V2).await;
}

async fn every_image(version: Version) {
    let large = large_blobs();
    let mut cases = 0;
    for entry in std::fs::read_dir(golden().join("images")).unwrap() {
        let path = entry.unwrap().path();
        if path.join("input.json").exists() {
            check(&path, version, &large).await;
            cases += 1;
        }
    }
    assert_eq!(cases, 40);
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The layers, and ztocs of images that were converted before, that cases share.
fn large_blobs() -> Vec<Vec<u8>> {
    let folders = ["images/_blobs", "images/_ztocs"];
    let files = folders.map(|folder| std::fs::read_dir(golden().join(folder)).unwrap());
    files
        .into_iter()
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

async fn check(path: &Path, version: Version, large: &[Vec<u8>]) {
    let case = path.file_name().unwrap().to_str().unwrap();
    let input = read_json(&path.join("input.json"));
    let expected = &read_json(&path.join("expected.json"))[version.to_string().to_uppercase()];
    // The reference's registry had no referrers API, and held images that name missing layers.
    let options =
        FakeOptions { referrers_api: false, check_references: false, ..FakeOptions::default() };
    let registry = FakeRegistry::with(options).await;
    put_input(&registry, path, &input, case);
    let elsewhere = input["blobs_elsewhere"].as_array().unwrap();
    for blob in large {
        if elsewhere.contains(&Value::from(Digest::sha256_of(blob).to_string())) {
            registry.put_blob(REPOSITORY, blob.clone());
        }
    }
    let before = contents(&registry);

    let settings = SociIndexSettings {
        version,
        build_tool_identifier: input["build_tool"].as_str().unwrap().to_owned(),
        ..SociIndexSettings::default()
    };
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
    } else {
        assert_eq!(expected["result"], "error", "{case}: {outcome:?}");
        assert_eq!(after["manifests"], before["manifests"], "{case}");
        assert_eq!(after["tags"], before["tags"], "{case}");
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
