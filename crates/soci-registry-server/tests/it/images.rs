//! Images, pushed and pulled as clients do.

use bytes::Bytes;
use serde_json::{Value, json};
use soci_oci::{Digest, TagOrDigest, media_type};
use soci_registry::{BlobSource, Client, PushedBlob, ReferrersSource, Transfer};
use soci_registry_server::{Push, RegistryServerSettings, RegistryStorage};

use crate::support::{Local, code, header, json_of};

fn client() -> Client {
    let transfer = Transfer { part_size: 100_000, parallel_parts: 3 };
    Client::builder().plain_http(true).proxies(false).transfer(transfer).build().unwrap()
}

fn tag(name: &str) -> TagOrDigest {
    TagOrDigest::Tag(name.parse().unwrap())
}

#[tokio::test]
async fn what_this_projects_client_pushes_it_pulls() {
    let local = Local::start().await;
    let (client, repository) = (client(), local.repository("team/app"));
    let bytes: Vec<u8> =
        (0..1_500_000u32).flat_map(|number| number.wrapping_mul(number).to_le_bytes()).collect();
    let digest = Digest::sha256_of(&bytes);
    let source = BlobSource::from(bytes.clone());
    let push = client.push_blob(&repository, &digest, &source, None).await.unwrap();
    assert_eq!(push, PushedBlob::Uploaded);
    let again = client.push_blob(&repository, &digest, &source, None).await.unwrap();
    assert_eq!(again, PushedBlob::AlreadyThere);
    let other = local.repository("other");
    let mounted = client.push_blob(&other, &digest, &source, Some(&repository)).await.unwrap();
    assert_eq!(mounted, PushedBlob::Mounted);

    let mut reader = client.blob(&repository, &digest, bytes.len() as u64);
    let mut pulled = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        pulled.extend_from_slice(&piece);
    }
    assert!(pulled == bytes);
    let range = client.blob_range(&other, &digest, 1_000..2_000).await.unwrap();
    assert_eq!(range, bytes[1_000..2_000]);

    let entry = json!({ "mediaType": "application/x", "digest": digest.to_string(), "size": 1 });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": entry, "layers": [],
    });
    let manifest = Bytes::from(manifest.to_string());
    let target = tag("V1.0");
    let kind = media_type::OCI_MANIFEST;
    let put = client.put_manifest(&repository, &target, kind, manifest.clone()).await.unwrap();
    assert!(!put.already_there);
    let pulled = client.manifest(&repository, &target).await.unwrap();
    assert_eq!((pulled.bytes, pulled.media_type.as_str()), (manifest.clone(), kind));
    let put = client.put_manifest(&repository, &target, kind, manifest).await.unwrap();
    assert!(put.already_there);
    local.stop().await;
}

#[tokio::test]
async fn every_push_of_a_manifest_is_told() {
    let mut local = Local::start().await;
    let kind = json!({ "artifactType": "application/y" });
    let image = local.push_image("team/app", "1", &json!({})).await;
    let artifact = local.push_image("team/app", "", &kind).await;
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [image],
    });
    local.push_manifest("team/app", "2", media_type::OCI_INDEX, &index).await;
    local.push_image("team/app", "1", &json!({})).await;

    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().parse().unwrap();
    let first = Push {
        repository: "team/app".to_owned(),
        digest: digest(&image),
        tag: Some("1".parse().unwrap()),
        manifest_media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_media_type: Some("application/x".to_owned()),
    };
    let second = Push {
        digest: digest(&artifact),
        tag: None,
        artifact_media_type: Some("application/y".to_owned()),
        ..first.clone()
    };
    let third = Push {
        digest: Digest::sha256_of(index.to_string().as_bytes()),
        tag: Some("2".parse().unwrap()),
        manifest_media_type: media_type::OCI_INDEX.to_owned(),
        artifact_media_type: None,
        ..first.clone()
    };
    for expected in [first.clone(), second, third, first] {
        assert_eq!(local.pushes.recv().await.unwrap(), expected);
    }
    assert!(local.pushes.try_recv().is_err());
    local.stop().await;
}

#[tokio::test]
async fn a_manifest_that_names_what_is_not_there_is_refused_and_not_told() {
    let mut local = Local::start().await;
    let missing = Digest::sha256_of(b"missing").to_string();
    let there = local.push_blob("app", b"{}").await;
    let entry = json!({ "mediaType": "application/x", "digest": missing, "size": 7 });
    let manifest = |config: &Value, layer: &Value| {
        json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config, "layers": [layer],
        })
    };
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry],
    });
    for (kind, document) in [
        (media_type::OCI_MANIFEST, manifest(&entry, &there)),
        (media_type::OCI_MANIFEST, manifest(&there, &entry)),
        (media_type::OCI_INDEX, index),
    ] {
        let refused = local.push_manifest("app", "1", kind, &document).await;
        assert_eq!(refused.status(), 400, "{document}");
        assert_eq!(code(refused).await, "MANIFEST_BLOB_UNKNOWN");
        assert_eq!(local.send("GET", "/v2/app/manifests/1").await.status(), 404);
    }
    assert!(local.pushes.try_recv().is_err());

    let foreign = json!({
        "mediaType": media_type::DOCKER_LAYER_FOREIGN_GZIP, "digest": missing, "size": 7,
    });
    let taken = manifest(&there, &foreign);
    let taken = local.push_manifest("app", "1", media_type::OCI_MANIFEST, &taken).await;
    assert_eq!(taken.status(), 201);
    local.stop().await;
}

#[tokio::test]
async fn a_manifest_that_is_none_is_refused() {
    let local = Local::start().await;
    let config = local.push_blob("app", b"{}").await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [],
    });
    let kind = media_type::OCI_MANIFEST;
    for (kind, document) in [
        (kind, json!("text")),
        ("application/json", manifest.clone()),
        ("", manifest.clone()),
        (media_type::OCI_INDEX, manifest.clone()),
        (media_type::DOCKER_MANIFEST, manifest.clone()),
    ] {
        let refused = local.push_manifest("app", "1", kind, &document).await;
        assert_eq!(refused.status(), 400, "{kind} {document}");
        assert_eq!(code(refused).await, "MANIFEST_INVALID");
    }
    let other = Digest::sha256_of(b"other").to_string();
    let refused = local.push_manifest("app", &other, kind, &manifest).await;
    assert_eq!((refused.status().as_u16(), code(refused).await.as_str()), (400, "DIGEST_INVALID"));
    local.stop().await;
}

#[tokio::test]
async fn referrers_are_listed_with_their_artifact_types() {
    let local = Local::start().await;
    let (client, repository) = (client(), local.repository("app"));
    let subject = local.push_image("app", "1", &json!({})).await;
    let refer = |kind: &str| json!({ "subject": subject, "artifactType": kind, "annotations": { "for": kind } });
    let one = local.push_image("app", "", &refer("application/one")).await;
    let two = local.push_image("app", "", &refer("application/two")).await;

    let digest: Digest = subject["digest"].as_str().unwrap().parse().unwrap();
    let found = client.referrers(&repository, &digest, Some("application/one")).await.unwrap();
    assert!(matches!(found.source, ReferrersSource::Api), "{:?}", found.source);
    let path = format!("/v2/app/referrers/{digest}");
    let filtered = local.send("GET", &format!("{path}?artifactType=application%2Ftwo")).await;
    assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
    let filtered = json_of(filtered).await;
    let mut expected = two.clone();
    expected["artifactType"] = "application/two".into();
    expected["annotations"] = json!({ "for": "application/two" });
    assert_eq!(filtered["manifests"], json!([expected]));
    let all = local.send("GET", &path).await;
    assert_eq!(header(&all, "content-type"), media_type::OCI_INDEX);
    let all = json_of(all).await;
    let digests: Vec<&Value> =
        all["manifests"].as_array().unwrap().iter().map(|entry| &entry["digest"]).collect();
    assert!(digests.len() == 2 && digests.contains(&&one["digest"]));
    let none = local.send("GET", &format!("/v2/nothing/referrers/{digest}")).await;
    assert_eq!(json_of(none).await["manifests"], json!([]));
    local.stop().await;
}

#[tokio::test]
async fn what_a_folder_keeps_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let storage = RegistryStorage::Folder(folder.path().join("made/by/it"));
    let settings = RegistryServerSettings { storage, ..RegistryServerSettings::default() };
    let local = Local::open(settings.clone()).await;
    let image = local.push_image("team/app", "1", &json!({})).await;
    local.stop().await;

    let local = Local::open(settings).await;
    let pulled = local.send("GET", "/v2/team/app/manifests/1").await;
    assert_eq!(header(&pulled, "docker-content-digest"), image["digest"]);
    let layer = Digest::sha256_of(b"layer");
    let layer = local.send("GET", &format!("/v2/team/app/blobs/{layer}")).await;
    assert_eq!(layer.bytes().await.unwrap(), "layer");
    local.stop().await;
}

#[tokio::test]
async fn what_somebody_deletes_in_the_folder_is_not_there_until_it_is_pushed_again() {
    let folder = tempfile::tempdir().unwrap();
    let storage = RegistryStorage::Folder(folder.path().to_owned());
    let settings = RegistryServerSettings { storage, ..RegistryServerSettings::default() };
    let local = Local::open(settings).await;
    let image = local.push_image("app", "1", &json!({})).await;
    let manifest = image["digest"].as_str().unwrap();
    let layer = Digest::sha256_of(b"layer").to_string();
    let paths = [format!("/v2/app/manifests/{manifest}"), format!("/v2/app/blobs/{layer}")];
    for digest in [manifest, &layer] {
        let hex = digest.strip_prefix("sha256:").unwrap();
        std::fs::remove_file(folder.path().join("blobs/sha256").join(hex)).unwrap();
    }
    for path in &paths {
        for method in ["GET", "HEAD"] {
            let answer = local.send(method, path).await;
            assert_eq!(answer.status().as_u16(), 404, "{method} {path}");
        }
    }
    // Nor is it mounted from there, and a manifest that names it is refused.
    let mount = format!("/v2/other/blobs/uploads/?mount={layer}&from=app");
    assert_eq!(local.send("POST", &mount).await.status().as_u16(), 202);
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [image],
    });
    let refused = local.push_manifest("app", "2", media_type::OCI_INDEX, &index).await;
    assert_eq!(refused.status().as_u16(), 400);
    local.push_image("app", "1", &json!({})).await;
    for path in &paths {
        assert_eq!(local.send("GET", path).await.status().as_u16(), 200, "{path}");
    }

    let referrer = async |kind: &str| {
        let more = json!({ "subject": image, "artifactType": kind });
        local.push_image("app", "", &more).await["digest"].as_str().unwrap().to_owned()
    };
    let (gone, left) = (referrer("a/gone").await, referrer("a/left").await);
    std::fs::remove_file(folder.path().join("blobs/sha256").join(&gone["sha256:".len()..]))
        .unwrap();
    let listed = json_of(local.send("GET", &format!("/v2/app/referrers/{manifest}")).await).await;
    let listed = listed["manifests"].as_array().unwrap();
    assert!(listed.len() == 1 && listed[0]["digest"] == left.as_str(), "{listed:?}");
    local.stop().await;
}
