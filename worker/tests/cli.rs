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
    assert!(first["reason"].is_null() && first["detail"].is_null());
    assert_eq!((&first["built"], &first["reused"]), (&1.into(), &0.into()));
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
fn a_layer_that_was_indexed_before_is_not_read_unless_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path());
    let large = ["index", &image, "--min-layer-size", "100KiB"];
    let all = ["index", &image, "--min-layer-size", "0"];
    let (_, first) = run_json(&large);
    assert_eq!(
        (first["layers"].as_array().unwrap().len(), &first["outcome"]),
        (1, &"indexed".into())
    );
    let (_, second) = run_json(&all);
    let (built, reused) = (&second["layers"], &second["reused_layers"]);
    assert_eq!((built.as_array().unwrap().len(), reused.as_array().unwrap().len()), (1, 1));
    assert_eq!((&second["built"], &second["reused"]), (&1.into(), &1.into()));
    assert_eq!(second["bytes_read"], built[0]["size"]);
    for key in ["digest", "size", "ztoc", "ztoc_size", "files", "spans"] {
        assert_eq!(reused[0][key], first["layers"][0][key], "{key}");
    }
    assert_eq!(reused[0]["from"], "repository");
    let (_, third) = run_json(&[&large[..], &["--no-reuse"]].concat());
    assert_eq!(third["index"], first["index"]);
    assert_eq!(third["layers"][0]["ztoc"], first["layers"][0]["ztoc"]);
    assert!(third["reused_layers"].as_array().unwrap().is_empty());
    let people = text(&run(&all).stdout);
    assert!(people.starts_with("indexed oci:") && people.contains("reused"), "{people}");
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
fn the_result_goes_where_it_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path());
    let listed = std::fs::read(folder.path().join("index.json")).unwrap();
    let places = tempfile::tempdir().unwrap();
    let place = |name: &str| format!("{}{}", name, places.path().join("out").display());
    let base = ["index", &image, "--min-layer-size", "0"];
    for (output, result) in [
        (place("oci:"), ":1-soci"),
        (place("oci:") + ":r.example/team/app:2", ""),
        (place("oci-archive:") + ".tar", ":1-soci"),
        (place("oci-archive:") + ".tar:x", ""),
    ] {
        for outcome in ["indexed", "already-indexed"] {
            let (code, found) = run_json(&[&base[..], &["--output", &output]].concat());
            assert_eq!((code, &found["outcome"]), (0, &outcome.into()), "{output}: {found}");
            assert_eq!(found["output"], output);
        }
        let (code, verified) = run_json(&["verify", &format!("{output}{result}")]);
        assert_eq!(code, 0, "{verified}");
    }
    let saved = format!("docker-archive:{}.tar", places.path().join("out").display());
    let people =
        run(&["index", &format!("{saved}:x"), "--min-layer-size", "0", "--output", &place("oci:")]);
    assert!(text(&people.stdout).contains(&format!("{saved}:x to oci:")), "{people:?}");
    assert_eq!(std::fs::read(folder.path().join("index.json")).unwrap(), listed);
}

#[test]
fn an_image_is_copied_and_told_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path());
    let places = tempfile::tempdir().unwrap();
    let place = format!("oci:{}", places.path().join("out").display());
    let named = format!("{place}:2");
    for outcome in ["copied", "already-there"] {
        let (code, copied) = run_json(&["copy", &image, &named]);
        assert_eq!((code, &copied["outcome"]), (0, &outcome.into()), "{copied}");
        assert_eq!((&copied["tag"], &copied["destination"]), (&"2".into(), &named[..].into()));
        let told = run(&["copy", &image, &named]);
        let told = text(&told.stdout);
        assert_eq!(told, format!("{}\n", copied["copy"].as_str().unwrap()));
        let digest = copied["digest"].as_str().unwrap();
        assert_eq!(told, format!("{place}@{digest}\n"));
    }
    // Without a name of its own it has the image's.
    let (_, copied) =
        run_json(&["copy", &named, &format!("{place}.tar").replace("oci:", "oci-archive:")]);
    assert_eq!(copied["tag"], "2", "{copied}");
    let (code, failed) = run_json(&["copy", &image, &named, "--platform", "plan9/mips"]);
    assert_eq!((code, &failed["outcome"]), (1, &"failed".into()), "{failed}");
    assert_eq!(failed["reason"], "platform-not-found");
    let detail = failed["detail"].as_str().unwrap();
    assert!(detail.contains("not for plan9/mips: it has linux/amd64"), "{detail}");
}

#[test]
fn the_sample_image_can_be_indexed() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("oci:{}:1", folder.path().join("out").display());
    let made = run(&["sample-image", &place, "--size", "3MiB"]);
    let digest = text(&made.stdout);
    let (code, indexed) = run_json(&["index", &place, "--min-layer-size", "1MiB"]);
    assert_eq!((code, &indexed["outcome"]), (0, &"indexed".into()), "{indexed}");
    assert_eq!(digest.trim_end(), indexed["image_digest"].as_str().unwrap());
    // The same image each time, so that a registry has its layers already.
    assert_eq!(text(&run(&["sample-image", &place, "--size", "3MiB"]).stdout), digest);
}

#[test]
fn a_skipped_image_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (code, skipped) = run_json(&["index", &layout(folder.path())]);
    assert_eq!((code, &skipped["outcome"]), (0, &"skipped".into()), "{skipped}");
    assert_eq!(skipped["reason"], "nothing-to-index");
    assert!(skipped["detail"].as_str().unwrap().contains("smaller than 10.0 MiB"));
    let layers = skipped["skipped_layers"].as_array().unwrap();
    assert_eq!((layers.len(), &layers[0]["code"]), (2, &"too-small".into()), "{skipped}");
}

#[test]
fn a_failure_is_told_on_both_channels_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let image = format!("oci:{}:1", folder.path().display());
    let (code, failed) = run_json(&["index", &image]);
    assert_eq!((code, &failed["outcome"]), (1, &"failed".into()), "{failed}");
    assert_eq!(failed["reason"], "layout");
    assert!(failed["detail"].as_str().unwrap().contains("oci-layout"), "{failed}");
    let people = run(&["index", &image]);
    assert_eq!(text(&people.stdout), "");
    assert!(text(&people.stderr).contains(&format!("error: {image}: ")));

    let (code, failed) = run_json(&["verify", &layout(folder.path())]);
    assert_eq!((code, &failed["reason"]), (1, &"not-indexed".into()));
    assert!(failed["detail"].as_str().unwrap().contains("no SOCI index"), "{failed}");
}

/// A queue that nobody is asked for.
#[cfg(feature = "aws")]
const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/live";

/// A value is a mistake where it was written.
#[cfg(feature = "aws")]
#[test]
fn a_mistake_in_a_variable_exits_with_64_and_names_it() {
    for (command, variable, words) in [
        (&["worker"][..], ("QUEUE_URL", "x"), "QUEUE_URL: "),
        (&["status"], ("HTTP_ADDRESS", "x"), "HTTP_ADDRESS: "),
        (
            &["backfill", "--dry-run"],
            ("SOCI_INDEX_VERSION", "3"),
            "SOCI_INDEX_VERSION: \"3\" is wrong: v1 or v2",
        ),
        (&["queue"], ("QUEUE_URL", "x"), "QUEUE_URL: \"x\" is wrong: "),
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"));
        let output = program.args(command).env(variable.0, variable.1).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{command:?}: {told}");
        assert!(
            told.starts_with("error: the configuration is wrong:\n  ") && told.contains(words),
            "{told}"
        );
    }
}

#[test]
fn versions_and_sizes_are_taken_however_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path());
    for (version, size) in [("V1", "100k"), ("v1", "100KB"), ("V2", "100kib"), ("v2", "100 KiB")] {
        let (code, indexed) =
            run_json(&["index", &image, "--index-version", version, "--min-layer-size", size]);
        assert_eq!(code, 0, "{version} {size}: {indexed}");
        assert_eq!(indexed["tag"].is_null(), version.ends_with('1'), "{indexed}");
    }
}

#[test]
fn an_image_whose_converted_image_is_beside_it_is_told_which() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path());
    let verify = |image: &str| text(&run(&["verify", image]).stderr);
    assert!(!verify(&image).contains("-soci"));
    run_json(&["index", &image, "--min-layer-size", "0"]);
    let told = verify(&image);
    assert!(told.contains("no SOCI index"), "{told}");
    assert!(
        told.ends_with(&format!("; its converted image has one: verify {image}-soci\n")),
        "{told}"
    );
}

/// What `replay` says speaks of `replay`.
#[cfg(feature = "aws")]
#[test]
fn help_speaks_of_its_own_command() {
    let help = text(&run(&["replay", "--help"]).stdout);
    assert!(
        help.contains("<--from <URL>|--events <FILE>>") && !help.contains("backfill"),
        "{help}"
    );
}

#[test]
fn a_mistake_on_the_command_line_exits_with_2() {
    for (arguments, words) in [
        (&["index"][..], "REF"),
        (&["index", "r.example/UPPER"], "not a repository name"),
        (&["index", "r.example/app:-"], "not a tag"),
        (&["index", "oci:"], "folder is missing"),
        (&["index", "a", "--platform", "linux"], "platform"),
        (&["index", "a", "--span-size", "4MX"], "not a unit"),
        (&["index", "a", "--span-size", "0"], "1 byte to"),
        (&["index", "a", "--memory", "1KiB"], "32 MiB to 1024 GiB"),
        (&["local", "--memory", "0"], "32 MiB to 1024 GiB"),
        (&["local", "--index-version", "v1", "--tag-suffix=-x"], "only v2"),
        (&["local", "--keep"], "--demo"),
        (&["ztoc", "build", "l", "--output", "o", "--span-size", "0"], "1 byte to"),
        (&["status", "--http-address", "x"], "--http-address: "),
        (&["healthcheck", "--http-address", "x"], "--http-address: "),
        (&["index", "./x"], "Usage: soci-index-builder index "),
        #[cfg(feature = "aws")]
        (&["worker", "--queue-url", "x"], "--queue-url: "),
        #[cfg(feature = "aws")]
        (&["replay", "--to", QUEUE], "<--from <URL>|--events <FILE>>"),
        #[cfg(feature = "aws")]
        (&["replay", "--to", QUEUE, "--from", QUEUE], "Usage: soci-index-builder replay "),
        #[cfg(feature = "aws")]
        (&["queue", "--queue-url", "x"], "--queue-url"),
        #[cfg(feature = "aws")]
        (&["queue"], "no queue"),
        (&["index", "a", "--min-layer-size=-1"], "whole number"),
        (&["index", "a", "--output-tag", "?"], "not a tag"),
        (&["index", "a", "--output-tag", "x", "--tag-suffix=y"], "cannot be used with"),
        (&["index", "a", "--index-version", "v3"], "v3"),
        (&["ztoc", "build", "l", "--output", "o", "--compression", "zstd"], "zstd"),
        (&["index", "a", "--span-size", "9223372036854775808"], "to 9223372036854775807 bytes"),
        (&["index", "a", "--tag-suffix", "+x"], "digits"),
        (&["index", "a", "--index-version", "v1", "--output-tag", "x"], "only v2"),
        (&["index", "dir:/x"], "skopeo copy"),
        (&["index", "./x"], "oci:./x"),
        (&["verify", "x.tar"], "oci-archive:x.tar"),
        (&["index", "docker-archive:x.tar"], "--output"),
        (&["index"], "REF"),
        (&["index", "--from-file", "/gone"], "--from-file /gone: "),
        (
            &["index", "r.example/a:1", "r.example/b:1", "--output", "r.example/c"],
            "of the same name",
        ),
        (&["index", "a:1", "a:2", "--output-tag", "x"], "of the same name"),
        (&["index", "a", "-q", "-v"], "cannot be used with"),
        (&["index", "a", "--timeout", "1"], "as in 90s"),
        (
            &["index", "a.example/a", "b.example/b", "--username", "u", "--password-stdin"],
            "--username is for one registry",
        ),
        (&["index", "a", "--output", "docker-archive:x.tar"], "oci-archive:"),
        (&["index", "a", "--output", "b:1", "--output-tag", "x"], "cannot be used with"),
        (&["index", "a", "--output", "oci:b:1", "--tag-suffix=-x"], "cannot be used with"),
        (&["copy", "a"], "DESTINATION"),
        (&["copy", "a", "docker-archive:x.tar"], "oci-archive:"),
        (&["copy", "a", "b", "--platform", "linux"], "platform"),
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

/// Whoever finds it, a mistake is an object for those who read objects.
#[test]
fn a_mistake_is_an_object_where_objects_are_wanted() {
    for (arguments, words) in [
        (&["index", "a", "--no-such-flag"][..], "unexpected argument '--no-such-flag' found"),
        (&["index"], "were not provided: <REF>"),
        (&["index", "a", "--span-size", "4MX"], "not a unit"),
        (&["ls", "r.example/a:1"], "without a tag"),
        (&["ls", "r.example/a", "--limit", "0"], "--limit"),
        (&["inspect", "oci:"], "folder is missing"),
        (&["prune"], "were not provided"),
        (&["prune", "r.example/a"], "nobody can be asked"),
        (&["wait", "oci:x"], "in a registry is expected"),
        (&["verify", "a", "--platform", "linux"], "platform"),
        (&["copy", "a"], "<DESTINATION>"),
        (&["ztoc", "info"], "<ZTOC>"),
        (&["nonsense"], "nonsense"),
        #[cfg(feature = "aws")]
        (&["queue"], "no queue"),
        #[cfg(feature = "aws")]
        (&["backfill"], "no queue"),
        #[cfg(feature = "aws")]
        (&["dead-letters", "drop"], "--all"),
        (&["status", "--http-address", "x"], "--http-address: "),
    ] {
        let (code, told) = run_json(arguments);
        assert_eq!((code, &told["outcome"]), (2, &"failed".into()), "{arguments:?}: {told}");
        assert_eq!((&told["reason"], &told["image"]), (&"malformed".into(), &Value::Null));
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains(words) && !detail.contains('\n'), "{arguments:?}: {told}");
        // People read the same as without.
        let [people, both] = [&[][..], &["--json"]].map(|flag| run(&[arguments, flag].concat()));
        assert_eq!((text(&people.stdout), people.status), (String::new(), both.status));
        assert!(text(&both.stderr).contains(words.rsplit(": ").next().unwrap()), "{arguments:?}");
    }
    // Neither help nor what is no flag is one.
    assert!(text(&run(&["ls", "--help", "--json"]).stdout).contains("Usage: "));
    assert_eq!(text(&run(&["ls", "--", "--json"]).stdout), "");
    let output = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
        .args(["status", "--json"])
        .env("HTTP_ADDRESS", "x")
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["reason"]), (Some(64), &"settings".into()), "{told}");
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

    let piped = run(&["ztoc", "build", layer, "--span-size", "32768", "--output", "-"]);
    assert_eq!(text(&piped.stderr), expected);
    assert!(piped.status.success() && piped.stdout == std::fs::read(ztoc).unwrap());
    assert!(!Path::new("-").exists());

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

#[test]
fn it_writes_completions_and_manual_pages_of_itself() {
    for (shell, begins) in
        [("bash", "_soci"), ("fish", "# Print an optspec"), ("zsh", "#compdef soci-index-builder")]
    {
        let output = run(&["completions", shell]);
        let script = text(&output.stdout);
        assert!(output.status.success() && script.starts_with(begins), "{shell}: {script}");
        assert!(script.contains("annotate-span-size"), "{shell}: {script}");
    }
    let output = run(&["completions", "csh"]);
    assert_eq!(output.status.code(), Some(2));

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("man/man1");
    let output = run(&["man", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (page, has) in [
        ("soci-index-builder.1", "soci\\-index\\-builder\\-verify(1)"),
        ("soci-index-builder-index.1", "\\-\\-tag\\-suffix"),
        ("soci-index-builder-ztoc-build.1", "\\-\\-span\\-size"),
    ] {
        let page = std::fs::read_to_string(folder.join(page)).unwrap();
        assert!(page.contains(has), "{page}");
    }

    let output = run(&["man", "/dev/null"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: pages in /dev/null: "));
}

/// What git says of the clone that this is.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    output.status.success().then(|| text(&output.stdout).trim().to_owned())
}

#[test]
fn a_build_from_a_clone_knows_its_commit() {
    let told = option_env!("SOCI_INDEX_BUILDER_COMMIT").filter(|told| !told.is_empty());
    let Some(commit) = told.map(str::to_owned).or_else(commit) else {
        println!("skipped: no git, or no clone");
        return;
    };
    let version = text(&run(&["--version"]).stdout);
    assert!(version.ends_with(&format!("(commit {commit})\n")), "{version}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output = run(&["ztoc", "build", "/nonexistent", "--output", "/nonexistent/ztoc"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: layer /nonexistent: "));
}

/// A layout with one image of a large and a small file.
fn layout_with_files(folder: &Path) -> String {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, size) in [("large", 300_000), ("etc/app.conf", 100)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        let data = vec![1; usize::try_from(size).unwrap()];
        archive.append_data(&mut header, name, &data[..]).unwrap();
    }
    let layer = ("application/vnd.oci.image.layer.v1.tar", archive.into_inner().unwrap().into());
    TestImage::single("linux/amd64", &[layer]).write_layout(folder, "1").unwrap();
    format!("oci:{}:1", folder.display())
}

#[test]
fn files_to_prefetch_are_named_by_flags_and_lists_and_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout_with_files(folder.path());
    let list = folder.path().join("list.json");
    std::fs::write(&list, r#"["/etc/app.conf", null, " "]"#).unwrap();
    let sizes = ["--min-layer-size", "0", "--span-size", "65536"];
    let index = [&["index", &image], &sizes[..]].concat();
    let listed = [&index[..], &["--prefetch-files-json", list.to_str().unwrap()]].concat();
    let (code, first) = run_json(&listed);
    assert_eq!((code, &first["outcome"]), (0, &"indexed".into()), "{first}");
    assert_eq!(first["prefetch_files"], serde_json::json!(["/etc/app.conf"]));
    assert_eq!(first["prefetch"][0]["spans"], serde_json::json!([[4, 4]]));
    assert_eq!(first["warnings"], serde_json::json!([]));

    // The same by flags, with one that is nowhere.
    let flags = [&index[..], &["--prefetch-file", "./etc/app.conf,/gone"]].concat();
    let (code, again) = run_json(&flags);
    assert_eq!((code, &again["index"]), (0, &first["index"]), "{again}");
    assert_eq!(again["outcome"], "already-indexed");
    assert!(again["warnings"][0].as_str().unwrap().contains("/gone is not prefetched"));
    let shown = text(&run(&flags).stdout);
    assert!(
        shown.contains("prefetch of 1 span\n")
            && shown.contains("prefetched: /etc/app.conf")
            && shown.contains("warning: /gone"),
        "{shown}"
    );

    let result = image.replace(":1", ":1-soci");
    let (code, verified) = run_json(&["verify", &result]);
    assert_eq!((code, &verified["prefetch"]), (0, &first["prefetch"]), "{verified}");
}

#[test]
fn mistakes_about_what_to_prefetch_say_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout_with_files(folder.path());
    let list = folder.path().join("list.json");
    std::fs::write(&list, r#"{"files":[]}"#).unwrap();
    let list = list.to_str().unwrap();
    for (flags, words) in [
        (&["--prefetch-file", "a", "--compatible-with", "0.11"][..], "--compatible-with 0.16"),
        (&["--prefetch-auto", "--compatible-with", "0.11"], "--compatible-with 0.16"),
        (&["--prefetch-files-json", list], "a JSON list of paths"),
        (&["--prefetch-files-json", "/gone.json"], "/gone.json"),
        (&["--optimizations", "zstd"], "xattr"),
    ] {
        let output = run(&[&["index", &image], flags].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let said = text(&output.stderr);
        assert!(said.contains(words), "{flags:?}: {said}");
    }
}

/// What `docs/PARITY.md` says is here is here.
#[test]
fn the_commands_and_flags_that_the_parity_table_names_exist() {
    let table = std::fs::read_to_string(golden().join("../../docs/PARITY.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `soci"));
    let mut checked = 0;
    for row in rows {
        let mut before = Vec::new();
        let words: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, "have", here] = words[..] else { continue };
        for span in here.split('`').skip(1).step_by(2) {
            let words: Vec<&str> = span.split_whitespace().collect();
            let is_command = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase());
            let commands: Vec<&str> = words.iter().take_while(is_command).copied().collect();
            if span.contains('=')
                || ["docker", "skopeo"].iter().any(|other| span.contains(other))
                || span.starts_with("SSL")
                || span == "soci-index-builder"
            {
                continue;
            }
            if !commands.is_empty() {
                before = commands;
            }
            let help = run(&[&before[..], &["--help"]].concat());
            assert!(help.status.success(), "{row}: {}", text(&help.stderr));
            let help = text(&help.stdout);
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{row}: no {flag} in\n{help}");
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
