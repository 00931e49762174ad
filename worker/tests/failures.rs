//! How commands on images fail: the same words for the same fact, and a code for programs.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Stdio;

use serde_json::Value;
use soci_oci::Digest;
use soci_registry_server::testing::{Effect, FakeRegistry, Quirk, RequestKind};
use soci_tests::{TestImage, gzip_layer};
use tokio::net::TcpListener;
use tokio::process::Command;

async fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
        .args(arguments)
        .env("DOCKER_CONFIG", "/nonexistent")
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn run_json(arguments: &[&str]) -> (i32, Value) {
    let (code, told, errors) = run(&[arguments, &["--json"]].concat()).await;
    (code, serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told} {errors}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_alike_by_all_commands() {
    let registry = FakeRegistry::start().await;
    let layers = [gzip_layer(1, 300_000)];
    TestImage::single("linux/amd64", &layers).put(&registry, "team/app", "1");
    let repository = registry.repository("team/app").to_string();
    let of_digest = format!("{repository}@{}", Digest::sha256_of(b"nothing"));
    let elsewhere = format!("{}:1", registry.repository("team/none"));
    for image in [&format!("{repository}:2"), &of_digest, &elsewhere] {
        let copy = format!("{}:x", registry.repository("other"));
        let commands: [&[&str]; 7] = [
            &["index", image],
            &["index", "--dry-run", image],
            &["verify", image],
            &["verify", "--quick", image],
            &["inspect", image],
            &["wait", image],
            &["copy", image, &copy],
        ];
        for command in commands {
            let words = "there is no such image: are registry, repository and tag right?";
            let (code, told, errors) = run(command).await;
            assert_eq!((code, &told[..]), (1, ""), "{command:?}");
            assert_eq!(errors, format!("error: {image}: {words}\n"), "{command:?}");
            let (code, told) = run_json(command).await;
            assert_eq!((code, &told["reason"]), (1, &"image-gone".into()), "{command:?}: {told}");
            assert_eq!((&told["detail"], &told["outcome"]), (&words.into(), &"failed".into()));
        }
    }
    let none = registry.repository("team/none").to_string();
    for command in [&["ls", &none][..], &["prune", "--dry-run", &none]] {
        let (code, _, errors) = run(command).await;
        let words = "there is no such repository: are registry and name right?";
        assert_eq!((code, errors), (1, format!("error: {none}: {words}\n")), "{command:?}");
        let (code, told) = run_json(command).await;
        assert_eq!((code, &told["reason"]), (1, &"image-gone".into()), "{command:?}: {told}");
        assert_eq!((&told["detail"], &told["outcome"]), (&words.into(), &"failed".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_alike_and_the_image_is_named_once() {
    let registry = FakeRegistry::start().await;
    let image = format!("{}:1", registry.repository("team/app"));
    let refused = Effect::error(http::StatusCode::FORBIDDEN, "DENIED", "not for you");
    registry.quirk(Quirk::on(RequestKind::ManifestGet, refused).always());
    let copy = format!("{}:x", registry.repository("other"));
    let commands: [&[&str]; 5] = [
        &["index", &image],
        &["verify", &image],
        &["inspect", &image],
        &["wait", &image],
        &["copy", &image, &copy],
    ];
    let mut told = Vec::new();
    for command in commands {
        let (code, _, errors) = run(command).await;
        assert_eq!(code, 1, "{command:?}: {errors}");
        let words = errors.strip_prefix(&format!("error: {image}: ")).unwrap().to_owned();
        assert!(words.contains("not for you") && !words.contains("cannot be read"), "{words}");
        let (_, object) = run_json(command).await;
        assert_eq!(object["reason"], "unauthorized", "{command:?}: {object}");
        told.push(words);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_looked_at_with_a_code_for_what_is_wrong() {
    let registry = FakeRegistry::start().await;
    let (large, small) = (gzip_layer(1, 300_000), gzip_layer(2, 900));
    let (layer, small_layer) = (Digest::sha256_of(&large.1), Digest::sha256_of(&small.1));
    let image = TestImage::single("linux/amd64", &[large, small]);
    image.put(&registry, "team/app", "1");
    let image = format!("{}:1", registry.repository("team/app"));
    let converted = format!("{image}-soci");

    let (code, told) = run_json(&["verify", &image]).await;
    assert_eq!((code, &told["reason"]), (1, &"not-indexed".into()), "{told}");
    let index = ["index", &image, "--min-layer-size", "100KiB"];
    let (code, indexed) = run_json(&index).await;
    assert_eq!(code, 0, "{indexed}");
    let (_, told) = run_json(&["verify", &image]).await;
    let hint = format!("its converted image has one: verify {converted}");
    assert!(told["detail"].as_str().unwrap().ends_with(&hint), "{told}");

    let (code, told, errors) = run(&["inspect", &image]).await;
    assert_eq!((code, &errors[..]), (0, ""));
    assert_eq!(told.matches("soci-snapshotter or this program").count(), 1, "{told}");
    let short = small_layer.short();
    assert_eq!(told.matches(&short).count(), 1, "{told}");
    assert!(told.contains("  no ztoc: smaller than the usual minimum, 10.0 MiB\n"), "{told}");

    registry.remove_blob("team/app", &small_layer);
    let (code, told) = run_json(&["inspect", &image]).await;
    assert_eq!((code, &told["outcome"]), (0, &"broken".into()), "{told}");
    assert_eq!(told["reason"], "image-gone");
    assert!(told["detail"].as_str().unwrap().contains(&small_layer.to_string()), "{told}");
    for verify in [&["verify", &converted][..], &["verify", "--quick", &converted]] {
        let (code, told, errors) = run(verify).await;
        let words = format!("layer {small_layer} is not there: push the image again");
        assert_eq!((code, &told[..]), (1, ""));
        assert_eq!(errors, format!("error: {converted}: {words}\n"));
    }
    registry.remove_blob("team/app", &layer);
    let (code, _, errors) = run(&index).await;
    let words = format!("layer {layer} is not there: push the image again");
    assert_eq!((code, errors), (1, format!("error: {image}: {words}\n")));

    let ztoc: Digest = indexed["layers"][0]["ztoc"].as_str().unwrap().parse().unwrap();
    let damaged = Quirk::on(RequestKind::BlobGet, Effect::Corrupt(1)).path(ztoc.to_string());
    let damaged = registry.quirk(damaged.always());
    let (_, told) = run_json(&["verify", &converted]).await;
    assert_eq!(told["reason"], "index-broken", "{told}");
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.ends_with(" (index the image again with --force)"), "{detail}");
    registry.lift(damaged);
    registry.remove_blob("team/app", &ztoc);
    let (_, told) = run_json(&["verify", &converted]).await;
    assert_eq!(told["reason"], "index-broken", "{told}");
    let words = format!("ztoc {ztoc} is not there: index the image again with --force");
    assert_eq!(told["detail"], words);
}

/// A registry that never answers is asked, and then the signal comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_signal_has_ended_is_told_by_all_commands() {
    let commands: [&[&str]; 5] = [&["wait"], &["verify"], &["inspect"], &["ls"], &["copy"]];
    for (command, (name, exit)) in
        commands.iter().zip([("-TERM", 143), ("-INT", 130)].iter().cycle())
    {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = silent.local_addr().unwrap();
        let repository = format!("{place}/app");
        let image = format!("{repository}:1");
        let elsewhere = format!("{place}/other:1");
        let named: &[&str] = match command[0] {
            "ls" => &[&repository],
            "copy" => &[&image, &elsewhere],
            _ => &[&image],
        };
        let child = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
            .args([command, named, &["--plain-http", "--json"]].concat())
            .env("DOCKER_CONFIG", "/nonexistent")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let _connection = silent.accept().await.unwrap();
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &*pid]).status().await.unwrap().success());
        let ended = child.wait_with_output().await.unwrap();
        let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!((ended.status.code(), &told["reason"]), (Some(*exit), &"interrupted".into()));
        assert_eq!(told["outcome"], "failed", "{told}");
        let errors = String::from_utf8(ended.stderr).unwrap();
        assert!(errors.contains("interrupted by SIG"), "{errors}");
    }
}

/// A layer that only another platform lacks is not why an index is broken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_told_with_its_own_words() {
    let registry = FakeRegistry::start().await;
    let layers = [1, 2].map(|seed| gzip_layer(seed, 300_000));
    let (amd64, arm64) = layers.split_at(1);
    let image = TestImage::index(&[("linux/amd64", amd64), ("linux/arm64", arm64)]);
    image.put(&registry, "team/app", "1");
    let image = format!("{}:1", registry.repository("team/app"));
    let (_, told) = run_json(&["inspect", &image]).await;
    let layer = &told["manifests"][0]["layers"][0];
    assert_eq!((&told["outcome"], &layer["code"]), (&"not-indexed".into(), &"too-small".into()));
    let why = layer["why_no_ztoc"].as_str().unwrap();
    assert!(why.contains("smaller than the usual minimum"), "{why}");

    registry.remove_blob("team/app", &Digest::sha256_of(&arm64[0].1));
    let (_, indexed) = run_json(&["index", &image, "--min-layer-size", "0"]).await;
    let (_, told) = run_json(&["inspect", &image]).await;
    assert_eq!((&told["outcome"], &told["reason"]), (&"partly-indexed".into(), &Value::Null));
    // What the index has of it stands there.
    assert_eq!(told["manifests"][0]["layers"][0]["code"], Value::Null);
    let ztoc: Digest = indexed["layers"][0]["ztoc"].as_str().unwrap().parse().unwrap();
    registry.remove_blob("team/app", &ztoc);
    let (_, told) = run_json(&["inspect", &image]).await;
    assert_eq!((&told["outcome"], &told["reason"]), (&"broken".into(), &"index-broken".into()));
    assert_eq!(told["detail"], "a ztoc is not there or not what it should be");
    registry.put_blob("team/app", arm64[0].1.clone());
    let (_, told) = run_json(&["index", &image, "--min-layer-size", "0"]).await;
    assert_eq!(told["outcome"], "indexed", "a ztoc had to be written: {told}");
}

/// And how long it took.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_in_vain_is_told() {
    let registry = FakeRegistry::start().await;
    let (media_type, layer) = gzip_layer(1, 300_000);
    let mut broken = layer.to_vec();
    let checksum = broken.len() - 8;
    broken[checksum] ^= 1;
    let size = broken.len();
    let sound = gzip_layer(2, 300_000);
    for (tag, layers) in [("1", vec![(media_type, broken.into())]), ("2", vec![sound])] {
        TestImage::single("linux/amd64", &layers).put(&registry, "team/app", tag);
    }
    let [broken, sound] =
        ["1", "2"].map(|tag| format!("{}:{tag}", registry.repository("team/app")));
    let (code, told) = run_json(&["index", &broken, "--min-layer-size", "0"]).await;
    assert_eq!((code, &told["outcome"], &told["bytes_read"]), (1, &"failed".into(), &size.into()));
    let (_, told) = run_json(&["index", &sound, "--min-layer-size", "100MiB"]).await;
    assert_eq!((&told["outcome"], &told["bytes_read"]), (&"skipped".into(), &0.into()));

    let elsewhere = FakeRegistry::start().await;
    let refused = Quirk::on(RequestKind::UploadPut, Effect::status(403));
    elsewhere.quirk(refused.after(1).always());
    let copy = format!("{}:1", elsewhere.repository("team/app"));
    for command in [&["copy", &sound, &copy][..], &["verify", &sound]] {
        let (code, told) = run_json(command).await;
        assert_eq!((code, &told["outcome"]), (1, &"failed".into()), "{told}");
        assert!(told["seconds"].as_f64().unwrap() > 0.0, "{told}");
        assert!(command[0] == "verify" || told["bytes_read"].as_u64().unwrap() > 0, "{told}");
    }
}
