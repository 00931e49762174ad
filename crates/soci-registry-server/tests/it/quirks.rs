//! The layer in front of the registry: what its quirks make of requests and answers.

use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;
use soci_oci::{Digest, media_type};
use soci_registry::Client;
use soci_registry_server::testing::{
    Condition, Effect, FakeAuth, FakeOptions, FakeRegistry, Quirk, RequestKind, TokenUser,
};

use crate::support::{code, header, json_of};

/// A client that does what it is told, and follows no redirect.
fn http() -> reqwest::Client {
    // The client installs the TLS provider that the HTTP library asks for.
    let _ = Client::builder().plain_http(true).build().unwrap();
    reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

fn ask(fake: &FakeRegistry, method: &str, path: &str) -> RequestBuilder {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    http().request(method, format!("http://{}{path}", fake.host()))
}

async fn send(fake: &FakeRegistry, method: &str, path: &str) -> Response {
    ask(fake, method, path).send().await.unwrap()
}

async fn put_index(fake: &FakeRegistry, tag: &str) -> Response {
    index_request(fake, tag).send().await.unwrap()
}

fn index_request(fake: &FakeRegistry, tag: &str) -> RequestBuilder {
    let subject = Digest::sha256_of(b"{}").to_string();
    let subject = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": subject, "size": 2 });
    let index = json!({ "schemaVersion": 2, "manifests": [], "subject": subject });
    let request = ask(fake, "PUT", &format!("/v2/app/manifests/{tag}"));
    request.header("content-type", media_type::OCI_INDEX).body(index.to_string())
}

async fn begin_upload(fake: &FakeRegistry) -> String {
    header(&send(fake, "POST", "/v2/app/blobs/uploads/").await, "location")
}

#[tokio::test]
async fn a_connection_is_closed_before_or_after_the_request_was_carried_out() {
    let fake = FakeRegistry::start().await;
    let before = fake.quirk(Quirk::on(RequestKind::ManifestPut, Effect::HangUp));
    let after = fake.quirk(Quirk::on(RequestKind::ManifestPut, Effect::HangUpAfter));
    for there in [0, 1] {
        assert!(index_request(&fake, "1").send().await.is_err());
        assert_eq!(fake.tags("app").len(), there);
    }
    assert_eq!((fake.acted(before), fake.acted(after)), (1, 1));
    assert_eq!(put_index(&fake, "2").await.status(), 201);
}

#[tokio::test]
async fn a_quirk_that_is_lifted_acts_no_more() {
    let fake = FakeRegistry::start().await;
    let order = fake.quirk(Quirk::on(RequestKind::Version, Effect::status(500)).always());
    assert_eq!(send(&fake, "GET", "/v2/").await.status(), 500);
    fake.lift(order);
    assert_eq!(send(&fake, "GET", "/v2/").await.status(), 200);
    assert_eq!(fake.acted(order), 1);
}

#[tokio::test]
async fn a_tag_is_told_from_one_that_begins_like_it() {
    let fake = FakeRegistry::start().await;
    let ends = Condition::PathEnds("/v1".to_owned());
    fake.quirk(Quirk::on(RequestKind::ManifestGet, Effect::status(500)).always().when(ends));
    assert_eq!(send(&fake, "GET", "/v2/app/manifests/v1").await.status(), 500);
    assert_eq!(send(&fake, "GET", "/v2/app/manifests/v1-soci").await.status(), 404);
}

#[tokio::test]
async fn a_redirect_can_lead_in_a_circle() {
    let fake = FakeRegistry::start().await;
    fake.quirk(Quirk::on(RequestKind::Tags, Effect::status_with(307, "location", "{path}")));
    let answer = send(&fake, "GET", "/v2/app/tags/list").await;
    assert_eq!(header(&answer, "location"), "/v2/app/tags/list");
}

#[tokio::test]
async fn without_quirks_it_is_the_registry_behind_the_layer() {
    let fake = FakeRegistry::start().await;
    let digest = fake.put_blob("app", "0123456789");
    let path = format!("/v2/app/blobs/{digest}");
    let part = ask(&fake, "GET", &path).header("range", "bytes=2-4").send().await.unwrap();
    assert_eq!(
        (part.status().as_u16(), header(&part, "content-range")),
        (206, "bytes 2-4/10".to_owned())
    );
    assert_eq!(part.text().await.unwrap(), "234");
    assert_eq!(
        header(&put_index(&fake, "1").await, "oci-subject"),
        Digest::sha256_of(b"{}").to_string()
    );
    let kinds: Vec<_> = fake.requests().into_iter().map(|one| (one.kind, one.status)).collect();
    assert_eq!(kinds, [(RequestKind::BlobGet, 206), (RequestKind::ManifestPut, 201)]);
}

#[tokio::test]
async fn an_upload_keeps_the_state_of_its_location() {
    let fake = FakeRegistry::start().await;
    let location = begin_upload(&fake).await;
    let digest = Digest::sha256_of(b"blob");
    let (path, _) = location.split_once('?').unwrap();
    let put = async |path: String| ask(&fake, "PUT", &path).body("blob").send().await.unwrap();
    let refused = put(format!("{path}?digest={digest}")).await;
    assert_eq!(code(refused).await, "BLOB_UPLOAD_INVALID");
    assert_eq!(put(format!("{location}&digest={digest}")).await.status(), 201);
    assert_eq!(fake.blob("app", &digest).unwrap(), "blob");
}

#[tokio::test]
async fn ordered_quirks_hit_what_they_name_as_often_as_they_say() {
    let fake = FakeRegistry::start().await;
    let (one, two) = (fake.put_blob("app", "one"), fake.put_blob("app", "two"));
    let quirk = Quirk::on(RequestKind::BlobHead, Effect::status(503)).path(one.to_string());
    fake.quirk(quirk.after(1).times(2));
    let head = async |digest: &Digest| {
        send(&fake, "HEAD", &format!("/v2/app/blobs/{digest}")).await.status().as_u16()
    };
    assert!(fake.quirks_left());
    let mut answers = Vec::new();
    for digest in [&one, &two, &one, &two, &one, &one] {
        answers.push(head(digest).await);
    }
    assert_eq!(answers, [200, 200, 503, 200, 503, 200]);
    assert!(!fake.quirks_left());
}

#[tokio::test]
async fn referrers_that_are_forbidden_are_no_api() {
    let fake = FakeRegistry::start().await;
    fake.behave("referrers-forbidden");
    let subject = Digest::sha256_of(b"{}");
    let list = send(&fake, "GET", &format!("/v2/app/referrers/{subject}")).await;
    assert_eq!(
        (list.status().as_u16(), header(&list, "content-type")),
        (403, "text/html".to_owned())
    );
    let put = put_index(&fake, "1").await;
    assert!(put.status() == 201 && put.headers().get("oci-subject").is_none());
}

#[tokio::test]
async fn ranges_are_refused_or_answered_oddly() {
    for (habit, status, body) in [
        ("range-not-implemented", 501, ""),
        ("range-unstated", 206, "234"),
        ("ranges-ignored", 200, "0123456789"),
        (
            "range-multipart",
            206,
            "--THIS_STRING_SEPARATES\r\ncontent-range: bytes 2-4/10\r\n\r\n234\r\n\
             --THIS_STRING_SEPARATES--\r\n",
        ),
    ] {
        let fake = FakeRegistry::start().await;
        fake.behave(habit);
        let path = format!("/v2/app/blobs/{}", fake.put_blob("app", "0123456789"));
        let part = ask(&fake, "GET", &path).header("range", "bytes=2-4").send().await.unwrap();
        assert_eq!(part.status().as_u16(), status, "{habit}");
        assert!(part.headers().get("content-range").is_none(), "{habit}");
        assert_eq!(part.text().await.unwrap(), body, "{habit}");
        let whole = send(&fake, "GET", &path).await;
        assert_eq!(whole.text().await.unwrap(), "0123456789", "{habit}");
    }
}

#[tokio::test]
async fn what_a_range_is_answered_may_be_less_or_something_else() {
    for (habit, status, range, body) in [
        ("range-400", 400, "", ""),
        ("range-405", 405, "", ""),
        ("range-416", 416, "", ""),
        ("range-501", 501, "", ""),
        ("range-not-stated", 206, "", "234"),
        ("range-garbled", 206, "none", "234"),
        ("range-of-another-unit", 206, "items 0-9/10", "234"),
        ("range-of-nothing", 206, "bytes */*", "234"),
        ("range-always-first", 206, "bytes 0-0/1", "234"),
        ("range-of-unknown-total", 206, "bytes 2-4/*", "234"),
        ("range-of-100-bytes", 206, "bytes 2-4/10", "234"),
    ] {
        for redirect_blobs in [false, true] {
            let options = FakeOptions { redirect_blobs, ..FakeOptions::default() };
            let fake = FakeRegistry::with(options).await;
            fake.behave(habit);
            let digest = fake.put_blob("app", "0123456789");
            let mut url = format!("http://{}/v2/app/blobs/{digest}", fake.host());
            if redirect_blobs {
                url = header(&http().get(&url).send().await.unwrap(), "location");
            }
            let part = http().get(&url).header("range", "bytes=2-4").send().await.unwrap();
            let stated = part.headers().get("content-range");
            let stated = stated.map(|value| value.to_str().unwrap().to_owned());
            assert_eq!((part.status().as_u16(), stated.as_deref().unwrap_or("")), (status, range));
            assert_eq!(part.text().await.unwrap(), body, "{habit}");
            let whole = http().get(&url).send().await.unwrap();
            assert_eq!(whole.text().await.unwrap(), "0123456789", "{habit}");
        }
    }
    let fake = FakeRegistry::start().await;
    fake.quirk(Quirk::on(RequestKind::BlobGet, Effect::NarrowRange(2)).times(3));
    let path = format!("/v2/app/blobs/{}", fake.put_blob("app", "0123456789"));
    for (asked, given) in [("bytes=3-9", "34"), ("bytes=3-", "34"), ("bytes=3-3", "3")] {
        let part = ask(&fake, "GET", &path).header("range", asked).send().await.unwrap();
        assert_eq!(part.text().await.unwrap(), given);
    }
}

#[tokio::test]
async fn head_is_refused_where_get_is_not() {
    for (habit, status) in
        [("head-400", 400), ("head-403", 403), ("head-405", 405), ("head-501", 501)]
    {
        let fake = FakeRegistry::start().await;
        fake.behave(habit);
        let digest = fake.put_blob("app", "0123456789");
        assert_eq!(put_index(&fake, "1").await.status(), 201);
        for path in [format!("/v2/app/blobs/{digest}"), "/v2/app/manifests/1".to_owned()] {
            assert_eq!(send(&fake, "HEAD", &path).await.status().as_u16(), status, "{path}");
            assert_eq!(send(&fake, "GET", &path).await.status(), 200, "{path}");
        }
    }
    for (habit, status) in [("head-presigned-400", 400), ("head-presigned-401", 401)] {
        let fake = FakeRegistry::start().await;
        fake.behave(habit);
        let path = format!("/v2/app/blobs/{}", fake.put_blob("app", "0123456789"));
        let url = header(&send(&fake, "HEAD", &path).await, "location");
        assert_eq!(http().head(&url).send().await.unwrap().status().as_u16(), status);
        let url = header(&send(&fake, "GET", &path).await, "location");
        assert_eq!(http().get(&url).send().await.unwrap().text().await.unwrap(), "0123456789");
    }
}

#[tokio::test]
async fn a_list_of_referrers_may_be_a_login_and_its_tag_a_digest() {
    let fake = FakeRegistry::start().await;
    for habit in ["referrers-login-forbidden", "tag-is-digest"] {
        fake.behave(habit);
    }
    let put = put_index(&fake, "1").await;
    assert!(put.status() == 201 && put.headers().get("oci-subject").is_none());
    let digest = header(&send(&fake, "GET", "/v2/app/manifests/1").await, "docker-content-digest");
    let list = send(&fake, "GET", &format!("/v2/app/referrers/{digest}")).await;
    assert_eq!(list.status(), 302);
    let login = http().get(header(&list, "location")).send().await.unwrap();
    assert_eq!(login.status(), 403);
    let tag = digest.replace(':', "-");
    for method in ["GET", "HEAD"] {
        let named = send(&fake, method, &format!("/v2/app/manifests/{tag}")).await;
        assert_eq!(header(&named, "docker-content-digest"), digest);
    }
    let other = ask(&fake, "PUT", &format!("/v2/app/manifests/{tag}"))
        .header("content-type", media_type::OCI_INDEX)
        .body(r#"{"schemaVersion":2,"manifests":[]}"#);
    assert_eq!(other.send().await.unwrap().status(), 400, "the digest is of other bytes");
}

#[tokio::test]
async fn a_head_that_is_presigned_is_refused_by_the_storage() {
    let fake = FakeRegistry::start().await;
    fake.behave("head-presigned");
    let path = format!("/v2/app/blobs/{}", fake.put_blob("app", "0123456789"));
    let head = send(&fake, "HEAD", &path).await;
    assert_eq!(head.status(), 307);
    let url = header(&head, "location");
    assert_eq!(http().head(&url).send().await.unwrap().status(), 403);
    assert_eq!(http().get(&url).send().await.unwrap().text().await.unwrap(), "0123456789");
    let missing = format!("/v2/app/blobs/{}", Digest::sha256_of(b"missing"));
    assert_eq!(send(&fake, "HEAD", &missing).await.status(), 404);
}

#[tokio::test]
async fn writes_that_are_redirected_arrive() {
    let fake = FakeRegistry::start().await;
    fake.behave("uploads-redirected");
    let digest = Digest::sha256_of(b"blob");
    let location = begin_upload(&fake).await;
    let put = ask(&fake, "PUT", &format!("{location}&digest={digest}")).body("blob");
    let put = put.send().await.unwrap();
    assert_eq!(put.status(), 307);
    assert_eq!(fake.blob("app", &digest), None);
    let put = http().put(header(&put, "location")).body("blob").send().await.unwrap();
    assert_eq!(put.status(), 201);
    assert_eq!(fake.blob("app", &digest).unwrap(), "blob");
}

#[tokio::test]
async fn an_immutable_tag_says_which_it_is() {
    let fake = FakeRegistry::start().await;
    fake.behave("immutable-tags");
    assert_eq!(put_index(&fake, "1").await.status(), 201);
    let refused = put_index(&fake, "1").await;
    assert_eq!(refused.status(), 400);
    let message = json_of(refused).await["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("The image tag '1' already exists in the 'app' repository"));
    assert_eq!(put_index(&fake, "2").await.status(), 201);
}

#[tokio::test]
async fn an_answer_may_say_what_did_not_happen() {
    let fake = FakeRegistry::start().await;
    fake.behave("stored-nothing");
    assert_eq!(put_index(&fake, "1").await.status(), 201);
    assert_eq!(fake.manifests("app"), []);
}

#[tokio::test]
async fn a_token_may_state_its_lifetime_as_text() {
    let lifetime = std::time::Duration::from_mins(1);
    let auth = FakeAuth::Bearer { user: TokenUser::Anyone, lifetime };
    let fake = FakeRegistry::with(FakeOptions { auth, ..FakeOptions::default() }).await;
    fake.behave("token-lifetime-as-text");
    let refused = send(&fake, "GET", "/v2/app/tags/list").await;
    assert!(header(&refused, "www-authenticate").contains("scope=\"repository:app:pull\""));
    let path = "/token?service=fake+registry&scope=repository:app:pull";
    let token = json_of(send(&fake, "GET", path).await).await;
    assert_eq!(token["expires_in"], "300");
    let list = ask(&fake, "GET", "/v2/app/tags/list").bearer_auth(token["token"].as_str().unwrap());
    assert_eq!(code(list.send().await.unwrap()).await, "NAME_UNKNOWN");
}

#[tokio::test]
async fn conditions_decide_which_requests_are_hit() {
    let fake = FakeRegistry::start().await;
    fake.put_manifest("app", Some("1"), media_type::OCI_MANIFEST, "{}");
    let effect = Effect::SetHeader("x-quirk", "yes".to_owned());
    fake.quirk(Quirk::on(RequestKind::ManifestHead, effect).when(Condition::TagTaken).always());
    for (tag, hit) in [("1", true), ("2", false)] {
        let head = send(&fake, "HEAD", &format!("/v2/app/manifests/{tag}")).await;
        assert_eq!(head.headers().contains_key("x-quirk"), hit);
    }
}

#[tokio::test]
async fn bodies_over_a_limit_and_requests_without_a_referer_are_told_apart() {
    let fake = FakeRegistry::start().await;
    fake.quirk(
        Quirk::on(RequestKind::UploadPatch, Effect::status(413))
            .when(Condition::BodyOver(4))
            .always(),
    );
    let mut location = begin_upload(&fake).await;
    for (body, status) in [("12345", 413), ("1234", 202), ("", 202)] {
        let patch = ask(&fake, "PATCH", &location).body(body).send().await.unwrap();
        assert_eq!(patch.status(), status, "{body}");
        if status == 202 {
            location = header(&patch, "location");
        }
    }
    let standing = send(&fake, "GET", &location).await;
    assert_eq!(header(&standing, "range"), "0-3");
    assert_eq!(fake.requests_of(RequestKind::UploadGet).len(), 1);

    fake.quirk(
        Quirk::on(RequestKind::Tags, Effect::status(403)).when(Condition::NoReferer).always(),
    );
    assert_eq!(send(&fake, "GET", "/v2/app/tags/list").await.status(), 403);
    let referred = ask(&fake, "GET", "/v2/app/tags/list").header("referer", "http://r/");
    assert_eq!(referred.send().await.unwrap().status(), 404);
    assert_eq!(fake.requests_of(RequestKind::Tags)[1].referer.as_deref(), Some("http://r/"));
}

#[tokio::test]
async fn a_redirect_can_keep_the_query_and_lead_to_the_storage() {
    let fake = FakeRegistry::start().await;
    let effect = Effect::status_with(308, "location", "http://{storage}{path}?x&{query}");
    fake.quirk(Quirk::on(RequestKind::Tags, effect));
    let answer = send(&fake, "GET", "/v2/app/tags/list?n=1").await;
    let location = header(&answer, "location");
    assert!(location.ends_with("/v2/app/tags/list?x&n=1"), "{location}");
    assert!(!location.contains(&fake.host()), "{location}");
}

#[tokio::test]
async fn each_registry_has_its_own_words_for_a_tag_that_cannot_move() {
    for (name, status) in [
        ("google", 400),
        ("harbor", 412),
        ("quay", 409),
        ("gitlab", 401),
        ("azure", 405),
        ("alibaba", 400),
        ("nexus", 400),
        ("artifactory", 403),
    ] {
        let fake = FakeRegistry::start().await;
        fake.behave(&format!("immutable-tags-of-{name}"));
        assert_eq!(put_index(&fake, "1").await.status(), 201);
        assert_eq!(put_index(&fake, "1").await.status(), status, "{name}");
    }
}
