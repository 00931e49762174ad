//! The commands of those who operate the service, where AWS does not answer or refuses: nothing is counted that was not
//! looked at, and a signal has its exit code.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const DEAD: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead";
const LIVE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/live";

/// The program, whose AWS is at this address.
fn program(aws: &TcpListener, arguments: &[&str]) -> Child {
    let endpoint = format!("http://{}", aws.local_addr().unwrap());
    Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
        .args(arguments)
        .env_clear()
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "example")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Exit code, standard output, standard error.
async fn end(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Refuses everything that is asked, as where a permission is missing.
async fn refuse(aws: &TcpListener) {
    const BODY: &str = r#"{"__type":"AccessDeniedException","message":"not authorized"}"#;
    loop {
        let (mut stream, _) = aws.accept().await.unwrap();
        tokio::spawn(async move {
            // All that is asked here fits into one piece or two.
            let mut buffer = vec![0; 64 << 10];
            let _ = stream.read(&mut buffer).await;
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
                BODY.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_may_look_at_is_not_counted() {
    for (arguments, told) in [
        (
            &["dead-letters", "list", "--dead-letter-queue-url", DEAD][..],
            "an unknown number of dead letters\n",
        ),
        (
            &["dead-letters", "drop", "--all", "--dry-run", "--dead-letter-queue-url", DEAD],
            "an unknown number of dead letters\nan unknown number of letters would be deleted; nothing was changed\n",
        ),
        (
            &["replay", "--from", DEAD, "--to", LIVE, "--dry-run"],
            "an unknown number of messages would be moved (-), an unknown number left where they are\nnothing was changed\n",
        ),
        (&["backfill", "--dry-run"], "  not all was looked at\n  nothing was enqueued\n"),
        (&["queue", "--dead-letter-queue-url", DEAD], ""),
    ] {
        let aws = listener().await;
        let json = [arguments, &["--json"]].concat();
        let ends = async {
            let people = end(program(&aws, arguments)).await;
            (people, end(program(&aws, &json)).await)
        };
        let (people, programs) = tokio::select! {
            ends = ends => ends,
            () = refuse(&aws) => unreachable!("it goes on"),
        };
        assert_eq!((people.0, people.1.as_str()), (1, told), "{arguments:?}: {}", people.2);
        assert!(people.2.contains("error: "), "{arguments:?}: {}", people.2);
        let object: Value = serde_json::from_str(&programs.1).unwrap();
        assert_eq!(programs.0, 1, "{arguments:?}: {object}");
        for count in ["matched", "others", "in_hand", "moved", "left", "images", "enqueued"] {
            assert!(object.get(count).is_none_or(Value::is_null), "{arguments:?}: {object}");
        }
        assert!(!object["failures"].as_array().unwrap().is_empty(), "{arguments:?}: {object}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_that_cannot_be_listed_are_not_told_as_none() {
    let aws = listener().await;
    let prune = program(&aws, &["prune", "--repository", "*", "--dry-run", "--json"]);
    let (code, told, errors) = tokio::select! {
        ended = end(prune) => ended,
        () = refuse(&aws) => unreachable!("it goes on"),
    };
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["repositories"]), (1, &Value::Null), "{errors}");
    assert_eq!((&told["outcome"], &told["reason"]), (&"failed".into(), &"unauthorized".into()));
    assert_eq!(errors, format!("error: {}\n", told["detail"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_them_with_its_exit_code() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        for arguments in [
            &["backfill", "--dry-run"][..],
            &["dead-letters", "list", "--dead-letter-queue-url", DEAD],
            &["dead-letters", "retry", "--all", "--dead-letter-queue-url", DEAD, "--to", LIVE],
            &["replay", "--from", DEAD, "--to", LIVE, "--reason", "layer-memory"],
        ] {
            let aws = listener().await;
            let child = program(&aws, arguments);
            // It asks, and nobody answers.
            let held = aws.accept().await.unwrap();
            let pid = child.id().unwrap().to_string();
            assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
            let (found, told, errors) = end(child).await;
            assert_eq!(found, code, "{arguments:?}: {told}{errors}");
            drop(held);
        }
    }
}
