//! `inspect`, `ls`, `prune` and `verify` as people run them on a repository: what they print, and their exit codes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::Value;
use soci_registry_server::testing::{Effect, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};
use tokio::process::Command;

const NAME: &str = "team/app";

async fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
        .args(arguments)
        .env("DOCKER_CONFIG", "/nonexistent")
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn json(arguments: &[&str]) -> (i32, Value) {
    let (code, told, errors) = run(&[arguments, &["--json"]].concat()).await;
    (code, serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told} {errors}")))
}

/// A registry with an image of two layers under `1`, which is indexed, and the name of its repository.
async fn indexed() -> (FakeRegistry, String) {
    let registry = FakeRegistry::start().await;
    let layers = [gzip_layer(1, 1 << 20), gzip_layer(2, 20_000)];
    TestImage::single("linux/amd64", &layers).put(&registry, NAME, "1");
    let repository = registry.repository(NAME).to_string();
    let image = format!("{repository}:1");
    let (code, _, errors) = run(&["index", &image, "--min-layer-size", "0"]).await;
    assert_eq!(code, 0, "{errors}");
    (registry, repository)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_and_its_repository_are_looked_at() {
    let (_registry, repository) = indexed().await;
    let image = format!("{repository}:1");
    let (code, told, errors) = run(&["inspect", &image]).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{told}");
    for words in
        ["is indexed", "tag 1-soci", "linux/amd64", "SOCI index v2", "AWS SOCI CLI v0.2", "how old"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    let (code, told) = json(&["inspect", &image]).await;
    assert_eq!((code, &told["outcome"]), (0, &"indexed".into()), "{told}");
    let index = &told["manifests"][0]["indexes"][0];
    assert_eq!((&index["version"], &index["compatible_with"]), (&"v2".into(), &"0.11".into()));
    assert_eq!(index["layers"].as_array().unwrap().len(), 2);
    assert!(index["layers"][0]["files"].as_u64().unwrap() > 0 && index["pushed_at"].is_null());
    assert_eq!(told["converted"]["tag"], "1-soci");

    let (code, told, errors) = run(&["ls", &repository]).await;
    assert_eq!((code, errors.as_str()), (0, ""), "{told}");
    let rows: Vec<&str> = told.lines().collect();
    assert_eq!(rows.len(), 2, "{told}");
    assert!(rows[1].contains("1-soci") && rows[1].contains("indexed"), "{told}");
    let (_, told) = json(&["ls", &repository]).await;
    assert_eq!(
        (&told["complete"], &told["images"][0]["versions"][0]),
        (&true.into(), &"v2".into())
    );

    let gone = format!("{repository}:2");
    let (code, told) = json(&["inspect", &gone]).await;
    assert_eq!((code, &told["outcome"]), (1, &"failed".into()), "{told}");
    let (code, _, errors) = run(&["ls", &image]).await;
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("without a tag"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_it_has_fetched_and_that_it_was_quick() {
    let (_registry, repository) = indexed().await;
    let image = format!("{repository}:1-soci");
    let (code, told, errors) = run(&["verify", &image]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(told.contains("of the layers again, as files are extracted by whole spans"), "{told}");
    let (code, told, errors) = run(&["verify", &image, "--quick"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(
        told.starts_with("verified in part") && told.contains("no ztoc was built again"),
        "{told}"
    );
    let (_, told) = json(&["verify", &image, "--quick", "--platform", "linux/amd64"]).await;
    assert_eq!((&told["quick"], &told["layers"][0]["rebuilt"]), (&true.into(), &false.into()));
    let (code, _, errors) = run(&["verify", &image, "--platform", "linux/arm64"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains("has some for linux/amd64"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_no_use_is_shown_and_deleted_when_that_is_said() {
    let (registry, repository) = indexed().await;
    let tags = || registry.tags(NAME).into_iter().map(|(tag, _)| tag).collect::<Vec<_>>();
    // Nothing is, at first.
    let (code, told) = json(&["prune", &repository, "--yes", "--unknown-age"]).await;
    assert_eq!((code, tags().len()), (0, 2), "{told}");
    assert_eq!((&told["outcome"], &told["reason"]), (&"nothing-to-delete".into(), &Value::Null));
    registry.remove_tag(NAME, "1");
    // Nobody is there to be asked.
    let (code, _, errors) = run(&["prune", &repository]).await;
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("--dry-run"), "{errors}");
    let (code, told, _) = run(&["prune", &repository, "--yes"]).await;
    assert_eq!((code, tags().len()), (0, 1), "{told}");
    assert!(told.contains("--unknown-age"), "{told}");
    let (code, told, errors) = run(&["prune", &repository, "--dry-run", "--unknown-age"]).await;
    assert_eq!((code, tags()), (0, vec!["1-soci".to_owned()]), "{errors}");
    for words in ["1 of no use", "converted image", "tag 1 is gone", "nothing was deleted"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let (_, told) = json(&["prune", &repository, "--dry-run", "--unknown-age"]).await;
    assert_eq!((&told["outcome"], tags().len()), (&"would-delete".into(), 1));
    let refused =
        registry.quirk(Quirk::on(RequestKind::ManifestDelete, Effect::status(405)).always());
    let (code, _, errors) = run(&["prune", &repository, "--yes", "--unknown-age"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains("the registry deletes nothing"), "{errors}");
    let (_, told) = json(&["prune", &repository, "--yes", "--unknown-age"]).await;
    let detail = told["repositories"][0]["failures"][0]["detail"].as_str().unwrap();
    assert!(told["outcome"] == "failed" && errors.contains(detail), "{errors}: {told}");
    registry.lift(refused);
    let (code, told) = json(&["prune", &repository, "--yes", "--unknown-age"]).await;
    assert_eq!((code, tags().len()), (0, 0), "{told}");
    assert_eq!(told["outcome"], "deleted");
    let leftover = &told["repositories"][0]["leftovers"][0];
    assert_eq!((&leftover["outcome"], &leftover["tags"][0]), (&"deleted".into(), &"1-soci".into()));
    assert!(leftover["bytes"].as_u64().unwrap() > 0);
    for mistake in [&["prune"][..], &["prune", &repository, "--repository", "x"]] {
        assert_eq!(run(mistake).await.0, 2);
    }
}

/// What cannot be looked at is neither told as nothing nor counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_said_and_not_told_as_nothing() {
    let (registry, repository) = indexed().await;
    let refuse = |kind| registry.quirk(Quirk::on(kind, Effect::status(403)).always());

    // Not even the tags can be listed.
    let refused = refuse(RequestKind::Tags);
    let (code, told, errors) = run(&["ls", &repository]).await;
    assert_eq!((code, told.as_str()), (1, ""), "{errors}");
    let (code, told) = json(&["ls", &repository]).await;
    assert_eq!((code, &told["images"], &told["complete"]), (1, &Value::Null, &false.into()));
    let (code, told, errors) = run(&["prune", &repository, "--dry-run"]).await;
    assert_eq!(code, 1, "{errors}");
    assert!(told.contains("it is not known what is of no use"), "{told}");
    let (code, told) = json(&["prune", &repository, "--dry-run"]).await;
    let found = &told["repositories"][0];
    for count in ["manifests", "leftovers", "bytes"] {
        assert!(found[count].is_null(), "{count}: {found}");
    }
    assert_eq!((code, &told["outcome"]), (1, &"failed".into()));
    for object in [&told, found] {
        let detail = object["detail"].as_str().unwrap();
        assert!(object["reason"] == "unauthorized" && errors.contains(detail), "{errors}: {told}");
    }
    registry.lift(refused);

    // The tags are there, and nobody may read what they name.
    let refused = refuse(RequestKind::ManifestGet);
    let (code, told, errors) = run(&["ls", &repository]).await;
    assert_eq!(code, 1, "{told}{errors}");
    assert!(told.contains("unknown") && errors.contains(":1: "), "{told}{errors}");
    let (code, told) = json(&["ls", &repository]).await;
    assert_eq!((code, &told["images"][0]["outcome"]), (1, &"unknown".into()), "{told}");
    assert_eq!(told["complete"], false);
    registry.lift(refused);

    // Whether it has a SOCI index V1 only the list of its referrers tells, which is under a tag where there is no API.
    registry.remove_tag(NAME, "1-soci");
    let api = refuse(RequestKind::Referrers);
    let list = Quirk::on(RequestKind::ManifestGet, Effect::status(403)).path("/sha256-");
    let refused = registry.quirk(list.always());
    let image = format!("{repository}:1");
    for command in [["ls", &repository], ["inspect", &image]] {
        let (code, told, errors) = run(&command).await;
        assert_eq!(code, 1, "{told}{errors}");
        assert!(!told.contains("not indexed") && errors.contains("403"), "{told}{errors}");
    }
    registry.lift(refused);
    registry.lift(api);
    assert_eq!(json(&["inspect", &image]).await.1["outcome"], "not-indexed");

    registry.remove_tag(NAME, "1");
    let (code, told, _) = run(&["ls", &repository]).await;
    assert_eq!((code, told.as_str()), (0, "no image has a tag here\n"));
}
