//! Answers to bare requests for what is there.

use reqwest::StatusCode;
use serde_json::json;
use soci_oci::Digest;
use soci_registry_server::RegistryServerLimits;

use crate::support::{Local, code, header, json_of};

#[tokio::test]
async fn the_version_is_answered_and_the_root_says_what_this_is() {
    let local = Local::start().await;
    let version = local.send("GET", "/v2/").await;
    assert_eq!(version.status(), 200);
    assert_eq!(header(&version, "docker-distribution-api-version"), "registry/2.0");
    assert_eq!(json_of(version).await, json!({}));
    assert!(local.send("GET", "/").await.text().await.unwrap().contains("/v2/"));
    local.stop().await;
}

#[tokio::test]
async fn a_range_of_a_blob_is_sent_alone() {
    let local = Local::start().await;
    local.push_blob("app", b"0123456789").await;
    let path = format!("/v2/app/blobs/{}", Digest::sha256_of(b"0123456789"));
    let ask = async |range: &'static str| {
        let answer = local.ask("GET", &path).header("range", range).send().await.unwrap();
        let place = answer.headers().get("content-range").map(|v| v.to_str().unwrap().to_owned());
        (answer.status().as_u16(), place.unwrap_or_default(), answer.text().await.unwrap())
    };
    let part = |place: &str, text: &str| (206, place.to_owned(), text.to_owned());
    assert_eq!(ask("bytes=2-4").await, part("bytes 2-4/10", "234"));
    assert_eq!(ask("bytes=7-").await, part("bytes 7-9/10", "789"));
    assert_eq!(ask("bytes=-1").await, part("bytes 9-9/10", "9"));
    assert_eq!(ask("bytes=0-1,4-5").await, (200, String::new(), "0123456789".to_owned()));
    let (status, place, _) = ask("bytes=10-").await;
    assert_eq!((status, place.as_str()), (416, "bytes */10"));
    let conditional = local.ask("GET", &path).header("range", "bytes=2-4");
    let conditional = conditional.header("if-range", "\"x\"").send().await.unwrap();
    assert_eq!(conditional.status(), 200);
    local.stop().await;
}

#[tokio::test]
async fn a_head_request_tells_size_and_digest_without_content() {
    let local = Local::start().await;
    let blob = Digest::sha256_of(b"layer").to_string();
    let image = local.push_image("app", "1", &json!({})).await;
    for (path, size, digest) in [
        (format!("/v2/app/blobs/{blob}"), json!(5), json!(blob)),
        ("/v2/app/manifests/1".to_owned(), image["size"].clone(), image["digest"].clone()),
    ] {
        let head = local.send("HEAD", &path).await;
        assert_eq!(head.status(), 200);
        assert_eq!(header(&head, "content-length"), size.to_string());
        assert_eq!(header(&head, "docker-content-digest"), digest);
        assert!(head.bytes().await.unwrap().is_empty());
    }
    local.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_told_by_its_code() {
    let local = Local::start().await;
    local.push_image("app", "1", &json!({})).await;
    let digest = Digest::sha256_of(b"other");
    let layer = Digest::sha256_of(b"layer");
    for (method, path, status, expected) in [
        ("GET", "/v2/app/manifests/2".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/app/manifests/{digest}"), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/app/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
        ("GET", format!("/v2/other/blobs/{layer}"), 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/other/tags/list".to_owned(), 404, "NAME_UNKNOWN"),
        ("GET", "/v2/App/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("GET", "/v2/app/blobs/sha256:x".to_owned(), 400, "DIGEST_INVALID"),
        ("PATCH", "/v2/app/blobs/uploads/1".to_owned(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("DELETE", "/v2/app/manifests/2".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("DELETE", format!("/v2/app/manifests/{digest}"), 404, "MANIFEST_UNKNOWN"),
        ("POST", "/v2/".to_owned(), 405, "UNSUPPORTED"),
        ("GET", "/v2/app/else".to_owned(), 404, "UNSUPPORTED"),
    ] {
        let answer = local.send(method, &path).await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(code(answer).await, expected, "{method} {path}");
    }
    local.stop().await;
}

#[tokio::test]
async fn paths_that_would_leave_the_folder_lead_nowhere() {
    let local = Local::start().await;
    let address = local.registry.address();
    for path in ["/v2/../../etc/tags/list", "/v2/app/manifests/..", "/v2/app/blobs/../../x"] {
        // By hand, as the client would tidy the path up.
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
    }
    local.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let local =
        Local::with(RegistryServerLimits { page: 3, ..RegistryServerLimits::default() }).await;
    for (name, tag) in [("b", "1"), ("a", "x"), ("a", "Y"), ("a", "2"), ("a", "1")] {
        local.push_image(name, tag, &json!({})).await;
    }
    let first = local.send("GET", "/v2/a/tags/list").await;
    assert_eq!(header(&first, "link"), "</v2/a/tags/list?n=3&last=Y>; rel=\"next\"");
    assert_eq!(json_of(first).await, json!({ "name": "a", "tags": ["1", "2", "Y"] }));
    let second = local.send("GET", "/v2/a/tags/list?n=9&last=Y").await;
    assert!(second.headers().get("link").is_none());
    assert_eq!(json_of(second).await["tags"], json!(["x"]));
    let none = local.send("GET", "/v2/a/tags/list?n=0").await;
    assert_eq!(json_of(none).await["tags"], json!([]));
    let catalogue = local.send("GET", "/v2/_catalog?n=1").await;
    assert_eq!(header(&catalogue, "link"), "</v2/_catalog?n=1&last=a>; rel=\"next\"");
    assert_eq!(json_of(catalogue).await, json!({ "repositories": ["a"] }));
    let wrong = local.send("GET", "/v2/_catalog?n=-1").await;
    assert_eq!(code(wrong).await, "PAGINATION_NUMBER_INVALID");
    local.stop().await;
}

#[tokio::test]
async fn referrers_come_in_pages_too() {
    let local =
        Local::with(RegistryServerLimits { page: 2, ..RegistryServerLimits::default() }).await;
    let subject = local.push_image("app", "1", &json!({})).await;
    for number in 0..5 {
        let number = json!({ "n": number.to_string() });
        let more = json!({ "subject": subject, "artifactType": "a/b+c", "annotations": number });
        local.push_image("app", "", &more).await;
    }
    let path = format!("/v2/app/referrers/{}", subject["digest"].as_str().unwrap());
    let mut next = Some(format!("{path}?artifactType=a%2Fb%2Bc"));
    let mut sizes = Vec::new();
    while let Some(path) = next {
        let page = local.send("GET", &path).await;
        let link = page.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        sizes.push(json_of(page).await["manifests"].as_array().unwrap().len());
        next = link.map(|link| {
            link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
    }
    assert_eq!(sizes, [2, 2, 1]);
    local.stop().await;
}

#[tokio::test]
async fn web_pages_are_turned_away() {
    let local = Local::start().await;
    let page = local.ask("POST", "/v2/app/blobs/uploads/").header("origin", "https://evil.example");
    let page = page.send().await.unwrap();
    assert_eq!((page.status(), code(page).await.as_str()), (StatusCode::FORBIDDEN, "DENIED"));
    local.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let local =
        Local::with(RegistryServerLimits { connections: 1, ..RegistryServerLimits::default() })
            .await;
    let first = tokio::net::TcpStream::connect(local.registry.address()).await.unwrap();
    let second = local.ask("GET", "/v2/").send();
    let mut second = std::pin::pin!(second);
    let answer = async |first: tokio::net::TcpStream| {
        let mut first = first;
        let request = b"GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut first, request).await.unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut first, &mut text).await.unwrap();
        text
    };
    tokio::select! {
        biased;
        _ = &mut second => panic!("answered beside the first connection"),
        text = answer(first) => assert!(text.starts_with("HTTP/1.1 200"), "{text}"),
    }
    assert_eq!(second.await.unwrap().status(), 200);
    local.stop().await;
}
