//! `index` as people and pipelines run it: several images, what is told while it works, and every way to end.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Stdio;

use serde_json::Value;
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{TestImage, gzip_layer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"));
    command
        .arg("index")
        .args(arguments)
        .env("DOCKER_CONFIG", "/nonexistent")
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Exit code, standard output, standard error.
async fn end(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn run(arguments: &[&str]) -> (i32, String, String) {
    end(program(arguments).spawn().unwrap()).await
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A registry with `app:1` and `app:2`, which have a layer in common; and its repository.
async fn registry() -> (FakeRegistry, String) {
    let registry = FakeRegistry::start().await;
    let (common, own) = (gzip_layer(1, 1 << 20), gzip_layer(2, 1 << 19));
    TestImage::single("linux/amd64", std::slice::from_ref(&common)).put(&registry, "app", "1");
    TestImage::single("linux/amd64", &[common, own]).put(&registry, "app", "2");
    let repository = registry.repository("app").to_string();
    (registry, repository)
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_arguments_and_a_list_are_indexed_and_one_failure_stops_no_other() {
    let (_registry, app) = registry().await;
    let names = ["1", "gone", "2"].map(|tag| format!("{app}:{tag}"));
    let [one, gone, two] = names.each_ref().map(String::as_str);
    let mut child = program(&[one, gone, "--from-file", "-", "--min-layer-size", "0", "--json"])
        .spawn()
        .unwrap();
    let list = format!("# the second\n{two}\n{one} # again\nr.example/UPPER\n");
    child.stdin.take().unwrap().write_all(list.as_bytes()).await.unwrap();
    let (code, told, errors) = end(child).await;
    let ends: Vec<_> = objects(&told)
        .iter()
        .map(|end| {
            let text = |key: &str| end[key].as_str().unwrap_or_default().to_owned();
            (text("image"), text("outcome"), text("reason"))
        })
        .collect();
    let end = |image: &str, outcome: &str, reason: &str| {
        (image.to_owned(), outcome.to_owned(), reason.to_owned())
    };
    assert_eq!(
        ends,
        [
            end(one, "indexed", ""),
            end(gone, "failed", "image-gone"),
            end(two, "indexed", ""),
            end("r.example/UPPER", "failed", "malformed"),
        ]
    );
    // The worst of them: a name that is none.
    assert_eq!(code, 2, "{errors}");
    let second = &objects(&told)[2];
    assert_eq!((&second["built"], &second["reused"]), (&1.into(), &1.into()), "{second}");
    assert!(errors.contains("error: r.example/UPPER: "), "{errors}");

    // No two columns of one name.
    let (_, told, _) = run(&[one, "--force", "--min-layer-size", "0"]).await;
    let mut head: Vec<_> = told.lines().nth(1).unwrap().split("  ").map(str::trim).collect();
    head.retain(|name| !name.is_empty());
    let names: std::collections::HashSet<_> = head.iter().collect();
    assert!(names.len() == head.len() && head.contains(&"ztoc size"), "{head:?}");

    let (code, told, errors) = run(&[one, gone, two, "--min-layer-size", "0"]).await;
    assert_eq!((code, told.matches("already indexed ").count()), (1, 2), "{told}");
    assert!(
        errors.contains("3 images: 0 indexed, 2 already indexed, 0 skipped, 1 failed"),
        "{errors}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_none_has_an_object_too() {
    let (code, told, errors) = run(&["r.example/UPPER", "--json"]).await;
    assert!(told.starts_with(r#"{"outcome":"failed","reason":"malformed","#), "{told}");
    let told = &objects(&told)[0];
    assert_eq!((code, &told["outcome"]), (2, &"failed".into()), "{errors}");
    assert_eq!((&told["reason"], &told["image"]), (&"malformed".into(), &"r.example/UPPER".into()));
    assert!(told["detail"].as_str().unwrap().contains("not a repository name"), "{told}");
}

/// A registry that never answers, asked by `index`; the command when it has asked.
async fn waiting(arguments: &[&str]) -> (Child, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = format!("{}/app:1", silent.local_addr().unwrap());
    let child = program(&[&[&image, "--plain-http"], arguments].concat()).spawn().unwrap();
    // The connection is open as long as the listener is, though nobody takes it.
    std::mem::forget(silent.accept().await.unwrap());
    (child, silent)
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_and_the_end_of_the_time_end_every_image_with_an_object() {
    for (name, exit) in [("-INT", 130), ("-TERM", 143)] {
        let (child, _silent) = waiting(&["r.example/next:1", "--json"]).await;
        signal(&child, name).await;
        let (code, told, errors) = end(child).await;
        let told = objects(&told);
        assert_eq!((code, told.len()), (exit, 2), "{errors}");
        assert!(told.iter().all(|end| end["reason"] == "interrupted"), "{told:?}");
        assert!(told[1]["detail"].as_str().unwrap().starts_with("it was not begun: "), "{told:?}");
        assert!(told[0]["seconds"].as_f64().unwrap() > 0.0);
    }
    let (child, _silent) = waiting(&["--json", "--timeout", "1s"]).await;
    let (code, told, errors) = end(child).await;
    let told = &objects(&told)[0];
    assert_eq!((code, &told["reason"]), (1, &"too-long".into()), "{errors}");
    assert!(told["seconds"].as_f64().unwrap() >= 1.0, "{told}");
    assert!(errors.contains("it was not done within 1 s (--timeout)"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_is_told_where_that_is_wanted_and_requests_are_in_it() {
    let (_registry, app) = registry().await;
    let image = format!("{app}:1");
    let (code, _, errors) = run(&[&image, "--min-layer-size", "0", "-v"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("/v2/app/manifests/1") && errors.contains("ztoc built"), "{errors}");
    // A pipe has no colours.
    assert!(!errors.contains('\u{1b}'), "{errors}");
    let (code, told, errors) = run(&[&image, "--min-layer-size", "0", "-q"]).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(told.starts_with("already indexed "), "{told}");
}

/// An address on which nothing listens.
async fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_is_said_at_the_first_try() {
    let address = closed().await;
    let image = format!("{address}/app:1");
    let (code, told, errors) = run(&[&image, "--timeout", "2s", "--json"]).await;
    assert_eq!((code, &objects(&told)[0]["reason"]), (1, &"too-long".into()), "{errors}");
    let first = errors.lines().next().unwrap();
    assert!(
        first.starts_with(&format!("warning: {address} refuses the connection"))
            && first.contains("trying again in"),
        "{errors}"
    );
    assert!(errors.contains("warning: still the same; trying again in"), "{errors}");
    // Without what is tried again, the failure says what that was; and each image is named, also those not begun.
    let (code, told, errors) =
        run(&[&image, "r.example/b:2", "r.example/c:3", "--timeout", "2s", "--json", "-q"]).await;
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!((code, lines.len()), (1, 3), "{errors}");
    assert!(
        lines[0].starts_with(&format!("error: {image}: it was not done within 2 s (--timeout); "))
            && lines[0].contains(&format!("{address} refuses the connection")),
        "{errors}"
    );
    for (line, image) in lines[1..].iter().zip(["r.example/b:2", "r.example/c:3"]) {
        assert!(line.starts_with(&format!("error: {image}: it was not begun: ")), "{errors}");
    }
    let ends: Vec<_> = objects(&told).iter().map(|end| end["reason"].clone()).collect();
    assert_eq!(ends, ["too-long"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let (registry, app) = registry().await;
    let names = ["1", "2"].map(|tag| format!("{app}:{tag}"));
    let [one, two] = names.each_ref().map(String::as_str);
    let folder = tempfile::tempdir().unwrap();
    let output = format!("oci:{}", folder.path().join("out").display());
    let small = ["--min-layer-size", "0"];
    let dry = [&[one, two, "--dry-run"], &small[..]].concat();
    let (code, told, errors) = run(&[&dry[..], &["--json"]].concat()).await;
    assert_eq!(code, 0, "{errors}");
    let told = objects(&told);
    let [first, second] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&first["outcome"], &first["dry_run"]), (&"would-index".into(), &true.into()));
    assert_eq!((&first["to_read"], &first["to_reuse"]), (&1.into(), &0.into()), "{first}");
    assert_eq!(first["bytes_to_read"], first["layers"][0]["size"]);
    assert_eq!(first["estimate"]["bytes_per_second_and_core"], 100_000_000);
    // What both have is read for the first of them.
    assert_eq!((&second["to_read"], &second["to_reuse"]), (&1.into(), &1.into()), "{second}");
    assert_eq!((&second["tag"], &second["index"]), (&"2-soci".into(), &Value::Null));
    // Where every layer is built, it is read for both.
    for always in ["--no-reuse", "--force"] {
        let (_, told, _) = run(&[&dry[..], &["--json", always]].concat()).await;
        let told = objects(&told);
        assert_eq!((&told[1]["to_read"], &told[1]["to_reuse"]), (&2.into(), &0.into()), "{always}");
    }
    let (_, told, errors) = run(&dry).await;
    assert!(
        told.starts_with("would index ")
            && told.contains("an estimate")
            && told.contains("nothing was written"),
        "{told}"
    );
    assert!(
        errors.contains("2 images: 2 to index, 0 already indexed") && errors.contains("together "),
        "{errors}"
    );
    let (code, _, errors) = run(&[&dry[..], &["--output", &output]].concat()).await;
    assert_eq!(code, 0, "{errors}");
    assert!(!folder.path().join("out").exists());
    assert!(registry.tags("app").iter().all(|(tag, _)| !tag.ends_with("-soci")));
    assert_eq!(run(&[&[one], &small[..]].concat()).await.0, 0);
    let (_, told, _) = run(&dry).await;
    assert!(told.starts_with("already indexed ") && told.contains("reuse ztoc "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_keeps_no_image_from_being_indexed() {
    let (registry, app) = registry().await;
    let image = format!("{app}:1");
    let mut command = program(&["no//image", &image, "--min-layer-size", "0", "--json"]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().await.unwrap().code(), Some(2), "the highest of all");
    assert!(registry.tags("app").iter().any(|(tag, _)| tag == "1-soci"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_that_keeps_it_from_beginning_is_an_object_too() {
    for mistake in [
        &["--from-file", "/nonexistent/list"][..],
        &["r.example/app:1", "--output", "oci:"],
        &["a.example/x:1", "b.example/x:1", "--username", "me", "--password-stdin"],
    ] {
        let (code, told, errors) = run(&[mistake, &["--json"]].concat()).await;
        let told = objects(&told);
        assert_eq!((code, told.len(), &told[0]["outcome"]), (2, 1, &"failed".into()), "{errors}");
        assert_eq!(told[0]["reason"], "malformed");
        assert!(errors.contains(told[0]["detail"].as_str().unwrap()), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_to_deploy_is_printed_as_it_is_deployed() {
    let (registry, app) = registry().await;
    let image = format!("{app}:1");
    for version in ["v1", "v2"] {
        let arguments = [&image, "--min-layer-size", "0", "--index-version", version];
        let (_, told, _) = run(&[&arguments[..], &["--json"]].concat()).await;
        let told = &objects(&told)[0];
        let named = registry.tags("app").into_iter();
        let tag = if version == "v1" { "1" } else { "1-soci" };
        let digest = named.into_iter().find(|(name, _)| name == tag).unwrap().1;
        assert_eq!(told["deploy"], format!("{app}@{digest}"), "{told}");
        let (_, text, _) = run(&arguments).await;
        assert!(text.contains(&format!("  deploy {app}@{digest}\n")), "{text}");
    }
}

/// No flag of `index` is a variable, so that there is no exit code 64: its help does not have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_cannot_be_used_fails_the_images() {
    for (variable, value) in [("SSL_CERT_FILE", "/nonexistent"), ("HTTPS_PROXY", ":://")] {
        let mut program = program(&["r.example/app:1", "--json"]);
        let (code, told, errors) = end(program.env(variable, value).spawn().unwrap()).await;
        let told = &objects(&told)[0];
        assert_eq!((code, &told["reason"]), (1, &"settings".into()), "{errors}");
        assert!(errors.contains(variable), "{errors}");
    }
}
