//! Uploads, step by step.

use soci_oci::Digest;
use soci_registry_server::RegistryServerLimits;

use crate::support::{Local, code, header};

#[tokio::test]
async fn chunks_become_a_blob() {
    let local = Local::start().await;
    let path = local.begin("app").await;
    for (range, chunk, received) in [("0-3", "0123", "0-3"), ("4-9", "456789", "0-9")] {
        let request = local.ask("PATCH", &path).header("content-range", range).body(chunk);
        let taken = request.send().await.unwrap();
        assert_eq!((taken.status().as_u16(), header(&taken, "range").as_str()), (202, received));
        assert_eq!(header(&taken, "location"), path);
    }
    let status = local.send("GET", &path).await;
    assert_eq!((status.status().as_u16(), header(&status, "range").as_str()), (204, "0-9"));
    let digest = Digest::sha256_of(b"0123456789ab");
    let last = local.ask("PUT", &format!("{path}?digest={digest}")).body("ab");
    let done = last.header("content-range", "10-11").send().await.unwrap();
    assert_eq!(done.status(), 201);
    assert_eq!(header(&done, "docker-content-digest"), digest.to_string());
    let blob = local.send("GET", &header(&done, "location")).await;
    assert_eq!(blob.text().await.unwrap(), "0123456789ab");
    assert_eq!(local.send("GET", &path).await.status(), 404);
    local.stop().await;
}

#[tokio::test]
async fn a_chunk_out_of_order_is_told_where_to_go_on() {
    let local = Local::start().await;
    let path = local.begin("app").await;
    local.ask("PATCH", &path).body("0123").send().await.unwrap();
    for range in ["0-3", "5-8"] {
        let request = local.ask("PATCH", &path).header("content-range", range).body("4567");
        let refused = request.send().await.unwrap();
        assert_eq!((refused.status().as_u16(), header(&refused, "range").as_str()), (416, "0-3"));
        assert_eq!(header(&refused, "location"), path);
    }
    for range in ["4-6", "4-9", "x"] {
        let path = local.begin("app").await;
        local.ask("PATCH", &path).body("0123").send().await.unwrap();
        let request = local.ask("PATCH", &path).header("content-range", range).body("4567");
        assert_eq!(request.send().await.unwrap().status(), 400, "{range}");
    }
    local.stop().await;
}

#[tokio::test]
async fn content_with_another_digest_never_becomes_visible() {
    let local = Local::start().await;
    let path = local.begin("app").await;
    let digest = Digest::sha256_of(b"other");
    let request = local.ask("PUT", &format!("{path}?digest={digest}")).body("content");
    assert_eq!(code(request.send().await.unwrap()).await, "DIGEST_INVALID");
    for digest in [digest, Digest::sha256_of(b"content")] {
        assert_eq!(local.send("HEAD", &format!("/v2/app/blobs/{digest}")).await.status(), 404);
    }
    let missing = local.begin("app").await;
    assert_eq!(code(local.send("PUT", &missing).await).await, "DIGEST_INVALID");
    local.stop().await;
}

#[tokio::test]
async fn an_upload_that_was_given_up_is_gone() {
    let local = Local::start().await;
    let path = local.begin("app").await;
    assert_eq!(local.send("DELETE", &path).await.status(), 204);
    assert_eq!(code(local.send("PATCH", &path).await).await, "BLOB_UPLOAD_UNKNOWN");
    local.stop().await;
}

#[tokio::test]
async fn mounting_what_is_not_there_begins_an_upload() {
    let local = Local::start().await;
    local.push_blob("from", b"blob").await;
    let there = Digest::sha256_of(b"blob");
    let missing = Digest::sha256_of(b"missing");
    for (digest, from, status) in [
        (there, "&from=from", 201),
        (there, "&from=other", 202),
        (there, "&from=..%2F..", 202),
        (missing, "&from=from", 202),
        (there, "", 202),
    ] {
        let path = format!("/v2/to{status}/blobs/uploads/?mount={digest}{from}");
        assert_eq!(local.send("POST", &path).await.status().as_u16(), status, "{from}");
    }
    let blob = local.send("GET", &format!("/v2/to201/blobs/{there}")).await;
    assert_eq!(blob.text().await.unwrap(), "blob");
    assert_eq!(local.send("GET", &format!("/v2/to202/blobs/{there}")).await.status(), 404);
    local.stop().await;
}

#[tokio::test]
async fn what_exceeds_a_limit_is_refused() {
    let limits = RegistryServerLimits {
        blob: 10,
        manifest: 100,
        uploads: 1,
        ..RegistryServerLimits::default()
    };
    let local = Local::with(limits).await;
    let path = local.begin("app").await;
    let many = local.send("POST", "/v2/app/blobs/uploads/").await;
    assert_eq!((many.status().as_u16(), code(many).await.as_str()), (429, "TOOMANYREQUESTS"));
    assert_eq!(local.ask("PATCH", &path).body("0123456789").send().await.unwrap().status(), 202);
    let large = local.ask("PATCH", &path).body("x").send().await.unwrap();
    assert_eq!((large.status().as_u16(), code(large).await.as_str()), (413, "SIZE_INVALID"));
    // The upload is over, so there is room for another one.
    local.begin("app").await;
    let manifest = local.ask("PUT", "/v2/app/manifests/1").body(vec![b' '; 101]);
    let manifest = manifest.send().await.unwrap();
    let status = manifest.status().as_u16();
    assert_eq!((status, code(manifest).await.as_str()), (413, "MANIFEST_INVALID"));
    local.stop().await;
}

#[tokio::test]
async fn an_upload_that_broke_off_goes_on_where_it_was() {
    let local = Local::start().await;
    let path = local.begin("app").await;
    // A body that ends before the length it states.
    let mut stream = tokio::net::TcpStream::connect(local.registry.address()).await.unwrap();
    let request = format!("PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n0123");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();

    let status = local.send("GET", &path).await;
    assert_eq!(header(&status, "range"), "0-3");
    let digest = Digest::sha256_of(b"0123456789");
    let rest = local.ask("PUT", &format!("{path}?digest={digest}")).body("456789");
    assert_eq!(rest.send().await.unwrap().status(), 201);
    local.stop().await;
}

#[tokio::test]
async fn two_uploads_of_one_blob_at_once_both_succeed() {
    let local = Local::start().await;
    let bytes = vec![7; 3 << 20];
    let digest = Digest::sha256_of(&bytes);
    let (one, two) = (local.begin("app").await, local.begin("app").await);
    let put = async |path: String| {
        let request = local.ask("PUT", &format!("{path}?digest={digest}")).body(bytes.clone());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(tokio::join!(put(one), put(two)), (201, 201));
    let blob = local.send("GET", &format!("/v2/app/blobs/{digest}")).await;
    assert!(blob.bytes().await.unwrap() == bytes);
    local.stop().await;
}
