//! `wait` as a pipeline runs it: what it prints, and its exit codes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::Value;
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{TestImage, gzip_layer};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_line_says_what_to_deploy_and_the_exit_code_what_came_of_it() {
    let registry = FakeRegistry::start().await;
    let layers = [gzip_layer(1, 1 << 20)];
    let digest = TestImage::single("linux/amd64", &layers).put(&registry, "team/app", "1");
    let repository = registry.repository("team/app").to_string();
    let image = format!("{repository}:1");
    let wait = ["wait", &image, "--timeout", "2s"];
    let all = [&wait[..], &["--min-layer-size", "0"]].concat();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();

    let (code, told, errors) = run(&all).await;
    assert_eq!((code, told.as_str()), (4, ""), "{errors}");
    assert!(errors.contains("there is no tag 1-soci"), "{errors}");
    let (code, told, _) = run(&[&all[..], &["--json"]].concat()).await;
    let told = json(&told);
    assert_eq!((code, &told["outcome"]), (4, &"timed-out".into()), "{told}");
    assert_eq!(
        (&told["image_digest"], &told["deploy"]),
        (&digest.to_string().into(), &Value::Null)
    );

    let (code, told, errors) = run(&wait).await;
    assert_eq!((code, told), (3, format!("{repository}@{digest}\n")), "{errors}");
    let (code, told, _) = run(&[&wait[..], &["--json"]].concat()).await;
    let told = json(&told);
    assert_eq!((code, &told["outcome"]), (3, &"skipped".into()), "{told}");
    assert_eq!(told["reason"], "nothing-to-index");

    let (code, indexed, errors) = run(&["index", &image, "--min-layer-size", "0", "--json"]).await;
    assert_eq!(code, 0, "{errors}");
    let index = json(&indexed)["index"].as_str().unwrap().to_owned();
    let deploy = format!("{repository}@{index}");
    let (code, told, errors) = run(&all).await;
    assert_eq!((code, told, errors), (0, format!("{deploy}\n"), String::new()));
    let (code, told, _) = run(&[&all[..], &["--json"]].concat()).await;
    let told = json(&told);
    assert_eq!((code, &told["deploy"]), (0, &deploy.into()), "{told}");
    assert_eq!((&told["outcome"], &told["tag"]), (&"indexed".into(), &"1-soci".into()));

    let (code, told, _) = run(&["wait", &format!("{repository}:2"), "--json"]).await;
    let told = json(&told);
    assert_eq!((code, &told["reason"]), (1, &"image-gone".into()), "{told}");
    assert_eq!(run(&["wait", &image, "--timeout", "soon"]).await.0, 2);
    assert_eq!(run(&["wait", "oci:DIR"]).await.0, 2);
}
