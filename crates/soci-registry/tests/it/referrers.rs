//! The referrers API and the tag schema.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use soci_oci::{Digest, referrers};
use soci_registry::{Client, Credentials, Error, ReferrersSource, Secret, StaticCredentials};
use soci_registry_server::testing::{
    Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind, TokenUser,
};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, start, start_with, tag};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image index, as a manifest would need a configuration.
fn referrer(subject: &Digest, kind: &str, note: u32) -> String {
    let subject = json!({ "mediaType": MANIFEST, "digest": subject.to_string(), "size": 2 });
    let annotations = json!({ "note": note.to_string() });
    let index = json!({
        "schemaVersion": 2, "manifests": [],
        "artifactType": kind, "subject": subject, "annotations": annotations,
    });
    index.to_string()
}

fn digests(pages: &[bytes::Bytes]) -> Vec<String> {
    let digests = pages.iter().flat_map(|page| {
        let index: serde_json::Value = serde_json::from_slice(page).unwrap();
        let manifests = index["manifests"].as_array().unwrap().clone();
        manifests.into_iter().map(|one| one["digest"].as_str().unwrap().to_owned())
    });
    digests.collect()
}

#[tokio::test(start_paused = true)]
async fn the_api_gives_all_pages_and_filters() {
    let options = FakeOptions { referrers_page: Some(2), ..FakeOptions::default() };
    let fake = start_with(options).await;
    let subject = fake.put_manifest(NAME, None, MANIFEST, "{}");
    let mut expected: Vec<String> = (0..5)
        .map(|note| fake.put_manifest(NAME, None, INDEX, referrer(&subject, "a/x", note)))
        .map(|digest| digest.to_string())
        .collect();
    expected.sort();
    let other = fake.put_manifest(NAME, None, INDEX, referrer(&subject, "b/y", 0));
    let (client, repository) = (fake.client(), fake.repository(NAME));
    fake.quirk(Quirk::on(RequestKind::Referrers, Effect::status(503)).after(1));

    let all = client.referrers(&repository, &subject, None).await.unwrap();
    assert_eq!((all.source, all.pages.len()), (ReferrersSource::Api, 3));
    assert_eq!(digests(&all.pages).len(), 6);
    let some = client.referrers(&repository, &subject, Some("a/x")).await.unwrap();
    assert_eq!(digests(&some.pages), expected);
    let one = client.referrers(&repository, &subject, Some("b/y")).await.unwrap();
    assert_eq!(digests(&one.pages), [other.to_string()]);
    let none = client.referrers(&repository, &other, None).await.unwrap();
    assert_eq!((none.source, digests(&none.pages).len()), (ReferrersSource::Api, 0));
    assert!(client.has_referrers_api(&repository, &subject).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn without_the_api_the_tag_schema_is_read() {
    let options = FakeOptions { referrers_api: false, ..FakeOptions::default() };
    let fake = start_with(options).await;
    let subject = fake.put_manifest(NAME, None, MANIFEST, "{}");
    let (client, repository) = (fake.client(), fake.repository(NAME));
    assert!(!client.has_referrers_api(&repository, &subject).await.unwrap());
    let none = client.referrers(&repository, &subject, None).await.unwrap();
    assert_eq!((none.source, none.pages.len()), (ReferrersSource::TagSchema, 0));

    let name = referrers::tag(&subject).unwrap();
    let index = r#"{"manifests":[]}"#;
    fake.put_manifest(NAME, Some(name.as_str()), INDEX, index);
    let some = client.referrers(&repository, &subject, None).await.unwrap();
    assert_eq!((some.source, some.pages), (ReferrersSource::TagSchema, vec![index.into()]));
}

/// Every way in which a registry says that it has no referrers API.
const WITHOUT_API: [&str; 12] = [
    "no-referrers-api",
    "referrers-forbidden",
    "referrers-400",
    "referrers-405",
    "referrers-406",
    "referrers-415",
    "referrers-501",
    "referrers-front-page",
    "referrers-login-page",
    "referrers-login-refused",
    "referrers-login-forbidden",
    "referrers-login-unknown",
];

/// A fake that asks for a token or does not, and a client that has one.
async fn with_and_without_login() -> [(FakeRegistry, Client); 2] {
    let user = TokenUser::Basic { username: "u".to_owned(), password: "p".to_owned() };
    let bearer = FakeAuth::Bearer { user, lifetime: Duration::from_hours(1) };
    let mut fakes = Vec::new();
    for auth in [FakeAuth::None, bearer] {
        let fake = start_with(FakeOptions { auth, ..FakeOptions::default() }).await;
        let password = Secret::new("p");
        let credentials = Credentials::Basic { username: "u".to_owned(), password };
        let credentials = Arc::new(StaticCredentials::new(fake.host(), credentials));
        let client = fake.client_builder().credentials(credentials).build().unwrap();
        fakes.push((fake, client));
    }
    fakes.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn whatever_a_registry_without_the_api_answers_the_tag_schema_is_read() {
    for habit in WITHOUT_API {
        for (fake, client) in with_and_without_login().await {
            fake.behave(habit);
            let subject = fake.put_manifest(NAME, None, MANIFEST, "{}");
            let repository = fake.repository(NAME);
            let none = client.referrers(&repository, &subject, None).await.unwrap();
            assert_eq!((none.source, none.pages.len()), (ReferrersSource::TagSchema, 0), "{habit}");
            assert!(!client.has_referrers_api(&repository, &subject).await.unwrap(), "{habit}");
            let name = referrers::tag(&subject).unwrap();
            let index = r#"{"manifests":[]}"#;
            fake.put_manifest(NAME, Some(name.as_str()), INDEX, index);
            fake.clear_requests();
            let some = client.referrers(&repository, &subject, None).await.unwrap();
            assert_eq!(
                (some.source, some.pages),
                (ReferrersSource::TagSchema, vec![index.into()]),
                "{habit}"
            );
            assert_eq!(fake.requests_of(RequestKind::Referrers).len(), 1, "{habit}");
            assert!(
                fake.requests_of(RequestKind::StorageGet).iter().all(|r| r.authorization.is_none())
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_answer_without_the_api_is_not_believed_and_a_passing_one_not_at_all() {
    let busy = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
    let once = [400, 403, 404, 405, 406, 501].map(Effect::status);
    let once = once.into_iter().chain([Effect::page(200, "text/html", "<html>")]);
    let passing = [429, 500, 502, 503, 504].map(Effect::status);
    let passing =
        passing.into_iter().chain([400, 403].map(|s| Effect::page(s, "text/plain", busy)));
    let cases = once.map(|effect| (effect, 1)).chain(passing.map(|effect| (effect, 4)));
    for (effect, times) in cases {
        for (fake, client) in with_and_without_login().await {
            let subject = fake.put_manifest(NAME, None, MANIFEST, "{}");
            fake.quirk(Quirk::on(RequestKind::Referrers, effect.clone()).times(times));
            let found = client.referrers(&fake.repository(NAME), &subject, None).await.unwrap();
            assert_eq!(found.source, ReferrersSource::Api, "{effect:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_read_the_list_under_the_tag_is_told() {
    for (fake, client) in with_and_without_login().await {
        let subject = fake.put_manifest(NAME, None, MANIFEST, "{}");
        let denied = || Effect::error(http::StatusCode::FORBIDDEN, "DENIED", "no pull for you");
        fake.quirk(Quirk::on(RequestKind::Referrers, denied()).always());
        fake.quirk(Quirk::on(RequestKind::ManifestGet, denied()).always());
        let error = client.referrers(&fake.repository(NAME), &subject, None).await.unwrap_err();
        assert!(matches!(&error, Error::Status(s) if s.has_code("DENIED")), "{error}");
        assert!(error.to_string().contains("/manifests/sha256-"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_list_is_given_up() {
    let fake = start().await;
    let effect = Effect::Answer {
        status: 200,
        headers: vec![
            ("content-type".to_owned(), INDEX.to_owned()),
            ("link".to_owned(), "<?more=1>; rel=\"next\"".to_owned()),
        ],
        body: r#"{"manifests":[]}"#.to_owned(),
    };
    fake.quirk(Quirk::on(RequestKind::Referrers, effect).always());
    let subject = Digest::sha256_of(b"{}");
    let list = fake.client().referrers(&fake.repository(NAME), &subject, None).await;
    assert!(matches!(list.unwrap_err(), Error::Protocol { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_processed_subject_is_reported() {
    for referrers_api in [true, false] {
        let fake = start_with(FakeOptions { referrers_api, ..FakeOptions::default() }).await;
        let manifest = referrer(&Digest::sha256_of(b"{}"), "a/x", 0);
        let put = fake.client();
        let repository = fake.repository(NAME);
        let put = put.put_manifest(&repository, &tag("1"), INDEX, manifest.into()).await;
        assert_eq!(put.unwrap().subject_processed, referrers_api);
    }
}
