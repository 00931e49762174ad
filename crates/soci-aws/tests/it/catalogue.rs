//! Listings of ECR.

use serde_json::{Value, json};
use soci_aws::Catalogue;
use soci_aws::ecr::{EcrApi, RepositoryEntry};
use soci_oci::{Digest, Repository, Tag};
use soci_registry::OwnApi as _;

use crate::fake::{Answer, Fake};

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn repository(name: &str) -> RepositoryEntry {
    RepositoryEntry {
        repository: Repository::new(HOST, name).unwrap(),
        account: "123456789012".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
    }
}

fn described(name: &str) -> Value {
    json!({
        "repositoryArn": format!("arn:aws:ecr:eu-west-1:123456789012:repository/{name}"),
        "registryId": "123456789012",
        "repositoryName": name,
        "repositoryUri": format!("{HOST}/{name}"),
    })
}

#[tokio::test(start_paused = true)]
async fn repositories_are_read_page_after_page() {
    let fake = Fake::new(|_, request| {
        Answer::Ok(match request["nextToken"].as_str() {
            None => json!({"repositories": [described("a"), described("b/c")], "nextToken": "2"}),
            Some("2") => json!({"repositories": [], "nextToken": "3"}),
            Some(_) => json!({"repositories": [{"repositoryUri": "?"}, described("d")]}),
        })
    });
    let (mut listing, mut found) = (Catalogue::new(&fake.config()).repositories(), Vec::new());
    while let Some(entry) = listing.next().await {
        found.push(entry.unwrap());
    }
    assert_eq!(found, [repository("a"), repository("b/c"), repository("d")]);
    let asked = fake.calls("DescribeRepositories");
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request["maxResults"] == 1000));
}

#[tokio::test(start_paused = true)]
async fn images_are_read_with_what_tells_them_apart() {
    let (image, child) = (Digest::sha256_of(b"image"), Digest::sha256_of(b"child"));
    let (first, second) = (image.to_string(), child.to_string());
    let fake = Fake::new(move |_, request| {
        Answer::Ok(if request["nextToken"].is_null() {
            json!({"nextToken": "2", "imageDetails": [{
                "imageDigest": first, "imageTags": ["1", "bad tag", "latest"],
                "imageSizeInBytes": 7, "imagePushedAt": 1.79e9,
                "imageManifestMediaType": "m", "artifactMediaType": "a",
            }]})
        } else {
            json!({"imageDetails": [
                {"imageDigest": "nonsense"},
                {"imageDigest": second, "subjectManifestDigest": first},
            ]})
        })
    });
    let mut listing = Catalogue::new(&fake.config()).images(&repository("team/app"));
    let one = listing.next().await.unwrap().unwrap();
    assert_eq!((one.digest, one.size), (image, 7));
    assert_eq!(one.tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1", "latest"]);
    assert_eq!(one.pushed_at.unwrap().unix_seconds(), 1_790_000_000);
    assert_eq!(one.manifest_media_type.as_deref(), Some("m"));
    assert_eq!(one.artifact_media_type.as_deref(), Some("a"));
    let two = listing.next().await.unwrap().unwrap();
    assert_eq!((two.digest, two.subject, two.tags.len()), (child, Some(image), 0));
    assert!(listing.next().await.is_none());
    let asked = &fake.calls("DescribeImages")[0];
    assert_eq!(asked["repositoryName"], "team/app");
    assert_eq!(asked["registryId"], "123456789012");
}

#[tokio::test(start_paused = true)]
async fn a_listing_waits_for_throttling_to_end_and_tells_other_errors() {
    let mut throttled = 5;
    let fake = Fake::new(move |_, _| {
        if throttled == 0 {
            return Answer::Ok(json!({"repositories": [described("a")]}));
        }
        throttled -= 1;
        Answer::Refused { status: 400, code: "ThrottlingException" }
    });
    let mut listing = Catalogue::new(&fake.config()).repositories();
    assert_eq!(listing.next().await.unwrap().unwrap(), repository("a"));
    let gone = Fake::refusing(400, "RepositoryNotFoundException");
    let mut listing = Catalogue::new(&gone.config()).images(&repository("app"));
    let error = listing.next().await.unwrap().unwrap_err();
    assert!(!error.is_transient() && error.is_no_repository());
    let refused = Fake::refusing(400, "AccessDeniedException");
    let mut others = Catalogue::new(&refused.config()).images(&repository("app"));
    assert!(!others.next().await.unwrap().unwrap_err().is_no_repository());
    assert!(
        error.to_string().starts_with("ECR did not list the images of repository app (request")
    );
    assert!(listing.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn manifests_are_asked_for_a_hundred_at_a_time_and_missing_ones_left_out() {
    let fake = Fake::new(|_, request| {
        let ids = request["imageIds"].as_array().unwrap();
        let images = ids
            .iter()
            .skip(1)
            .map(|id| json!({"imageId": id, "imageManifest": "{}", "imageManifestMediaType": "m"}));
        Answer::Ok(json!({
            "images": images.collect::<Vec<_>>(),
            "failures": [{"imageId": ids[0], "failureCode": "ImageNotFound"}],
        }))
    });
    let digests: Vec<_> = (0..150_u8).map(|n| Digest::sha256_of(&[n])).collect();
    let account = "123456789012".parse().unwrap();
    let catalogue = Catalogue::new(&fake.config());
    let manifests = catalogue.manifests(Some(&account), "app", &digests).await.unwrap();
    assert_eq!(manifests.len(), 148);
    let one = &manifests[0];
    assert_eq!((one.digest, one.body.as_str()), (digests[1], "{}"));
    assert_eq!(one.media_type.as_deref(), Some("m"));
    let asked = fake.calls("BatchGetImage");
    let sizes: Vec<_> = asked.iter().map(|r| r["imageIds"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 50]);
    assert_eq!(asked[0]["registryId"], "123456789012");
    assert_eq!(asked[0]["acceptedMediaTypes"].as_array().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn images_are_deleted_by_their_tags_as_long_as_these_name_them() {
    let digests: Vec<_> = (0..120_u8).map(|n| Digest::sha256_of(&[n])).collect();
    let listed = digests[1].to_string();
    let gone = digests[2].to_string();
    let fake = Fake::new(move |_, request| {
        let ids = request["imageIds"].as_array().unwrap();
        let failures = ids.iter().filter_map(|id| {
            let code = match id["imageDigest"].as_str().unwrap() {
                digest if digest == listed => "ImageReferencedByManifestList",
                digest if digest == gone => "ImageNotFound",
                _ => return None,
            };
            Some(json!({ "imageId": id, "failureCode": code, "failureReason": "no" }))
        });
        Answer::Ok(json!({ "imageIds": [], "failures": failures.collect::<Vec<_>>() }))
    });
    let mut images: Vec<_> = digests.iter().map(|digest| (*digest, Vec::new())).collect();
    images[0].1 = vec!["1-soci".parse().unwrap(), "2-soci".parse().unwrap()];
    let catalogue = Catalogue::new(&fake.config());
    let refused = catalogue.delete(&repository("team/app"), &images).await.unwrap();
    assert_eq!(refused, [(digests[1], "ImageReferencedByManifestList".to_owned())]);
    let asked = fake.calls("BatchDeleteImage");
    let sizes: Vec<_> = asked.iter().map(|r| r["imageIds"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 21]);
    let ids = &asked[0]["imageIds"];
    assert_eq!(ids[0], json!({ "imageDigest": digests[0].to_string(), "imageTag": "1-soci" }));
    assert_eq!(ids[1]["imageTag"], "2-soci");
    assert_eq!(ids[2], json!({ "imageDigest": digests[1].to_string() }));
    assert_eq!(
        (&asked[0]["registryId"], &asked[0]["repositoryName"]),
        (&json!("123456789012"), &json!("team/app"))
    );
}

#[tokio::test(start_paused = true)]
async fn single_images_are_described() {
    let digest = Digest::sha256_of(b"image");
    let text = digest.to_string();
    let fake = Fake::new(move |_, request| {
        assert_eq!(request["imageIds"], json!([{ "imageDigest": text }]));
        Answer::Ok(json!({"imageDetails": [{ "imageDigest": text, "imagePushedAt": 1.79e9 }]}))
    });
    let catalogue = Catalogue::new(&fake.config());
    let found = catalogue.described(&repository("app"), &[digest]).await.unwrap();
    assert_eq!(found[0].pushed_at.unwrap().unix_seconds(), 1_790_000_000);
}

#[tokio::test(start_paused = true)]
async fn the_own_api_tells_tags_of_what_is_there_and_deletes_by_them() {
    let [there, gone] = [b"there", b"gone!"].map(|bytes| Digest::sha256_of(bytes));
    let fake = Fake::new(move |operation, request| {
        let ids = request["imageIds"].as_array().unwrap();
        let is_gone = |id: &Value| id["imageDigest"] == gone.to_string();
        match operation {
            "DescribeImages" if ids.iter().any(is_gone) => {
                Answer::Refused { status: 400, code: "ImageNotFoundException" }
            }
            "DescribeImages" => Answer::Ok(json!({"imageDetails": [
                { "imageDigest": there.to_string(), "imageTags": ["1-soci"] }
            ]})),
            _ => Answer::Ok(json!({ "imageIds": [], "failures": [] })),
        }
    });
    let api = EcrApi::new(&fake.config());
    let entry = repository("team/app");
    let tags: Vec<Tag> = vec!["1-soci".parse().unwrap()];
    let found = api.tags_of(&entry.repository, &[there, gone]).await.unwrap();
    assert_eq!(found, [(there, tags.clone())]);
    assert!(api.delete(&entry.repository, &[(there, tags)]).await.unwrap().is_empty());
    let asked = fake.calls("BatchDeleteImage");
    assert_eq!(asked[0]["registryId"], "123456789012");
    assert_eq!(asked[0]["imageIds"][0]["imageTag"], "1-soci");
    let other = Repository::new("registry.example", "app").unwrap();
    let error = api.tags_of(&other, &[there]).await.unwrap_err();
    assert!(!error.transient && error.to_string().contains("registry.example"), "{error}");
    let fake = Fake::new(|_, _| Answer::Refused { status: 400, code: "AccessDeniedException" });
    let error = EcrApi::new(&fake.config()).delete(&entry.repository, &[(there, vec![])]).await;
    assert!(!error.unwrap_err().transient, "no waiting grants a permission");
    let fake = Fake::new(|_, _| Answer::Html(503));
    let error = EcrApi::new(&fake.config()).tags_of(&entry.repository, &[there]).await;
    assert!(error.unwrap_err().transient);
}
