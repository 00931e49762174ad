//! The program as people run it: arguments, output, exit codes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use soci_tests::{TestImage, golden, gzip_layer};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
        .args(arguments)
        // No credentials of whoever runs the tests.
        .env("DOCKER_CONFIG", "/nonexistent")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs with `--json` and returns the exit code and the one object on standard output.
fn run_json(arguments: &[&str]) -> (i32, Value) {
    let output = run(&[arguments, &["--json"]].concat());
    let lines = text(&output.stdout);
    assert_eq!(lines.trim().lines().count(), 1, "{lines}");
    (output.status.code().unwrap(), serde_json::from_str(&lines).unwrap())
}

fn layout(folder: &Path) -> String {
    let layers = [gzip_layer(1, 1 << 20), gzip_layer(2, 20_000)];
    let image = TestImage::index(&[("linux/amd64", &layers), ("linux/arm64", &layers[..1])]);
    image.write_layout(folder, "1").unwrap();
    format!("oci:{}:1", folder.display())
}

#[test]
fn an_image_is_indexed_found_indexed_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path());
    let index = ["index", &image, "--min-layer-size", "100KiB", "--span-size", "65536"];
    let (code, first) = run_json(&index);
    assert_eq!((code, &first["outcome"]), (0, &"indexed".into()), "{first}");
    assert_eq!(first["image"], image);
    assert_eq!(first["tag"], "1-soci");
    assert!(first["reason"].is_null());
    assert!(first["index"].as_str().unwrap().starts_with("sha256:"));
    assert!(first["bytes_read"].as_u64().unwrap() > 0 && first["seconds"].is_f64());
    let platforms = first["indexes"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    assert_eq!(platforms[0]["platform"], "linux/amd64");
    assert!(
        platforms.iter().all(|p| p["image_manifest"].is_string() && p["soci_index"].is_string())
    );
    let layers = first["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(first["skipped_layers"][0]["reason"], "smaller than the minimum");
    for key in ["digest", "size", "ztoc", "ztoc_size", "files", "spans", "seconds"] {
        assert!(!layers[0][key].is_null(), "{key}");
    }

    let (code, again) = run_json(&index);
    assert_eq!((code, &again["outcome"]), (0, &"already-indexed".into()), "{again}");
    assert_eq!(again["index"], first["index"]);

    let (code, verified) = run_json(&["verify", &image.replace(":1", ":1-soci")]);
    assert_eq!((code, &verified["outcome"]), (0, &"verified".into()), "{verified}");
    assert_eq!(verified["layers"][0]["ztoc"], layers[0]["ztoc"]);

    let people = run(&index);
    assert!(text(&people.stdout).starts_with("already indexed oci:"));
    assert_eq!(text(&people.stderr), "");
}

#[test]
fn options_decide_what_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path());
    let base = ["index", &image, "--min-layer-size", "0"];
    let (_, tagged) = run_json(&[&base[..], &["--output-tag", "other"]].concat());
    assert_eq!(tagged["tag"], "other");
    let (_, suffixed) = run_json(&[&base[..], &["--tag-suffix=-x"]].concat());
    assert_eq!(suffixed["tag"], "1-x");
    assert_eq!(suffixed["index"], tagged["index"]);
    let one = ["--platform", "linux/arm64", "--build-tool-identifier", "mine"];
    let (_, one) = run_json(&[&base[..], &one].concat());
    assert_eq!(one["indexes"].as_array().unwrap().len(), 1);
    let (_, v1) = run_json(&[&base[..], &["--index-version", "v1"]].concat());
    assert!(v1["tag"].is_null());
    assert_eq!(v1["index"], v1["indexes"][0]["soci_index"]);
    let (code, v1) = run_json(&["verify", &image]);
    assert_eq!((code, v1["indexes"].as_array().unwrap().len()), (0, 2));
}

#[test]
fn a_skipped_image_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (code, skipped) = run_json(&["index", &layout(folder.path())]);
    assert_eq!((code, &skipped["outcome"]), (0, &"skipped".into()), "{skipped}");
    assert!(skipped["reason"].as_str().unwrap().contains("smaller than 10485760 bytes"));
}

#[test]
fn a_failure_is_told_on_both_channels_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let image = format!("oci:{}:1", folder.path().display());
    let (code, failed) = run_json(&["index", &image]);
    assert_eq!((code, &failed["outcome"]), (1, &"failed".into()), "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains("oci-layout"), "{failed}");
    let people = run(&["index", &image]);
    assert_eq!(text(&people.stdout), "");
    assert!(text(&people.stderr).contains(&format!("error: {image}: ")));

    let (code, failed) = run_json(&["verify", &layout(folder.path())]);
    assert_eq!(code, 1);
    assert!(failed["reason"].as_str().unwrap().contains("no SOCI index"), "{failed}");
}

#[test]
fn a_mistake_on_the_command_line_exits_with_2() {
    for (arguments, words) in [
        (&["index"][..], "REF"),
        (&["index", "r.example/UPPER"], "not a repository name"),
        (&["index", "r.example/app:-"], "not a tag"),
        (&["index", "oci:"], "folder is missing"),
        (&["index", "a", "--platform", "linux"], "platform"),
        (&["index", "a", "--span-size", "4MB"], "not a unit"),
        (&["index", "a", "--min-layer-size=-1"], "whole number"),
        (&["index", "a", "--output-tag", "?"], "not a tag"),
        (&["index", "a", "--output-tag", "x", "--tag-suffix=y"], "cannot be used with"),
        (&["index", "a", "--index-version", "v3"], "v3"),
        (&["ztoc", "build", "l", "--output", "o", "--compression", "zstd"], "zstd"),
        (&["index", "a", "--span-size", "9223372036854775808"], "2^63 - 1"),
        (&["index", "a", "--tag-suffix", "+x"], "digits"),
        (&["index", "a", "--index-version", "v1", "--output-tag", "x"], "only v2"),
        (&["nonsense"], "nonsense"),
        #[cfg(feature = "aws")]
        (&["replay", "--reason", "layer-memroy"], "a similar value exists: 'layer-memory'"),
        #[cfg(feature = "aws")]
        (&["dead-letters", "list", "--reason", "tag-gone"], "[possible values: digest-mismatch, "),
        #[cfg(feature = "aws")]
        (&["dead-letters", "drop"], "--all"),
        #[cfg(feature = "aws")]
        (&["dead-letters", "list", "--older-than", "2x"], "as in 90s, 15m, 2h or 3d"),
    ] {
        let output = run(arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_command_that_needs_aws_tells_a_program_without_it() {
    for arguments in [
        &["worker"][..],
        &["worker", "--queue-url", "https://sqs.eu-west-1.amazonaws.com/123456789012/live"],
        &["backfill", "--dry-run"],
        &["replay", "--help"],
        &["queue", "anything"],
    ] {
        let output = run(arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {told}");
        assert!(told.contains("without AWS") && told.lines().count() == 1, "{told}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
    let help = text(&run(&["help"]).stdout);
    assert!(help.contains("  healthcheck ") && !help.contains("  worker "), "{help}");
}

#[test]
fn a_ztoc_is_built_described_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let layer = golden().join("layers/gz-level6.bin");
    let layer = layer.to_str().unwrap();
    let ztoc = folder.path().join("ztoc");
    let ztoc = ztoc.to_str().unwrap();
    let built = run(&[
        "ztoc",
        "build",
        layer,
        "--compression",
        "gzip",
        "--span-size",
        "32768",
        "--build-tool-identifier",
        "AWS SOCI CLI v0.2",
        "--output",
        ztoc,
    ]);
    let expected =
        "sha256:96c503d874d8faa902edf5301453d0bd35300c4dee5d0a5ab2c8472cb64cdbb2 100584\n";
    assert_eq!(text(&built.stdout), expected);
    assert_eq!(std::fs::metadata(ztoc).unwrap().len(), 100_584);

    let (code, info) = run_json_pretty(&["ztoc", "info", ztoc, "--json"]);
    assert_eq!(code, 0);
    assert_eq!(info["span_size"], 32768);
    assert_eq!(info["spans"].as_array().unwrap().len(), 3);
    let files = info["files"].as_array().unwrap();
    assert_eq!(files.len(), 10);
    let people = text(&run(&["ztoc", "info", ztoc]).stdout);
    assert!(people.contains("AWS SOCI CLI v0.2") && people.lines().count() > 10);

    let mut archive = Vec::new();
    let bytes = std::fs::read(layer).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut archive)
        .unwrap();
    for file in files.iter().filter(|file| file["type"] == "reg") {
        let extracted = run(&["ztoc", "extract", ztoc, layer, file["name"].as_str().unwrap()]);
        let number = |key: &str| usize::try_from(file[key].as_u64().unwrap()).unwrap();
        let content = &archive[number("offset")..number("offset") + number("size")];
        assert!(extracted.status.success() && extracted.stdout == content, "{file}");
    }
    let missing = run(&["ztoc", "extract", ztoc, layer, "not/there"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("not/there is not in the layer"));
    let other = golden().join("layers/gz-level9.bin");
    let name = files.iter().find(|f| f["type"] == "reg" && f["size"] != 0).unwrap();
    let wrong =
        run(&["ztoc", "extract", ztoc, other.to_str().unwrap(), name["name"].as_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("span"), "{}", text(&wrong.stderr));
}

fn run_json_pretty(arguments: &[&str]) -> (i32, Value) {
    let output = run(arguments);
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_broken_layer_is_told_with_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let layer = golden().join("layers/gz-corrupt-middle.bin");
    let ztoc = folder.path().join("ztoc");
    let built =
        run(&["ztoc", "build", layer.to_str().unwrap(), "--output", ztoc.to_str().unwrap()]);
    assert_eq!(built.status.code(), Some(1));
    let told = text(&built.stderr);
    assert!(told.contains("gz-corrupt-middle.bin") && told.contains("offset"), "{told}");
    assert!(!ztoc.exists());
}

#[test]
fn output_that_nobody_reads_is_no_failure_and_output_that_cannot_be_written_is() {
    let folder = tempfile::tempdir().unwrap();
    let layer = golden().join("layers/gz-3000-files.bin");
    let ztoc = folder.path().join("ztoc");
    let (layer, ztoc) = (layer.to_str().unwrap(), ztoc.to_str().unwrap());
    let program = env!("CARGO_BIN_EXE_soci-index-builder");
    let build = ["ztoc", "build", layer, "--output", ztoc];
    assert!(run(&build).status.success());
    let image = layout(folder.path());
    for arguments in [&build[..], &["ztoc", "info", ztoc], &["index", &image]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(program).args(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(program).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains("cannot be printed"), "{arguments:?}");
    }
}
