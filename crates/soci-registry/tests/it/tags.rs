//! The list of tags.

use soci_registry::Error;
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::FakeRegistryClient;

use crate::support::{NAME, start, start_with};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn tagged(fake: &FakeRegistry, tags: usize) -> Vec<String> {
    let names: Vec<String> = (0..tags).map(|tag| format!("t{tag:04}")).collect();
    for name in &names {
        fake.put_manifest(NAME, Some(name), INDEX, "{}");
    }
    names
}

async fn listed(fake: &FakeRegistry, pages: usize) -> Result<Vec<String>, Error> {
    let tags = fake.client().tags(&fake.repository(NAME), pages).await?;
    Ok(tags.iter().map(ToString::to_string).collect())
}

#[tokio::test(start_paused = true)]
async fn pages_are_followed_as_far_as_wanted() {
    let fake = start_with(FakeOptions { referrers_page: Some(3), ..FakeOptions::default() }).await;
    let names = tagged(&fake, 10);
    assert_eq!(listed(&fake, 100).await.unwrap(), names);
    assert_eq!(fake.requests_of(RequestKind::Tags).len(), 4);
    assert_eq!(listed(&fake, 2).await.unwrap(), names[..6]);
    assert!(listed(&fake, 0).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_once_and_later_pages_may_fail() {
    let options = FakeOptions { referrers_page: Some(3), ..FakeOptions::default() };
    let fake = start_with(options).await;
    let names = tagged(&fake, 10);
    let order = fake.quirk(Quirk::on(RequestKind::Tags, Effect::status(503)).after(1).always());
    assert_eq!(listed(&fake, 100).await.unwrap(), names[..3]);
    fake.lift(order);
    fake.clear_requests();
    fake.quirk(Quirk::on(RequestKind::Tags, Effect::status(503)).always());
    assert!(listed(&fake, 100).await.is_err());
    assert_eq!(fake.requests_of(RequestKind::Tags).len(), 1, "nothing is tried twice");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_list_is_an_error_and_what_is_no_tag_is_left_out() {
    let page = |body: &str| Effect::page(200, "application/json", body);
    for (body, expected) in [
        ("<html>", None),
        (r#"{"tags":7}"#, None),
        (r#"{"name":"x","tags":null}"#, Some(vec![])),
        ("{}", Some(vec![])),
        (r#"{"tags":["a","../b","","c d","e"]}"#, Some(vec!["a", "e"])),
    ] {
        let fake = start().await;
        fake.quirk(Quirk::on(RequestKind::Tags, page(body)).always());
        let expected: Option<Vec<String>> =
            expected.map(|tags: Vec<&str>| tags.into_iter().map(str::to_owned).collect());
        assert_eq!(listed(&fake, 4).await.ok(), expected, "{body}");
    }
    let fake = start().await;
    let long = format!(r#"{{"tags":["{}"]}}"#, "x".repeat(1 << 20));
    fake.quirk(Quirk::on(RequestKind::Tags, page(&long)).always());
    assert!(listed(&fake, 4).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_leads_elsewhere_or_in_a_circle_ends() {
    let link = |target: &str| Effect::SetHeader("link", format!("<{target}>; rel=\"next\""));
    let fake = start().await;
    let names = tagged(&fake, 2);
    let order = fake
        .quirk(Quirk::on(RequestKind::Tags, link("http://198.51.100.1/v2/x/tags/list")).always());
    assert_eq!(listed(&fake, 4).await.unwrap(), names);
    fake.lift(order);
    fake.quirk(Quirk::on(RequestKind::Tags, link(&format!("/v2/{NAME}/tags/list"))).always());
    assert_eq!(listed(&fake, 3).await.unwrap().len(), 3 * names.len());
}

#[tokio::test(start_paused = true)]
async fn a_whole_list_is_whole_or_fails() {
    let options = FakeOptions { referrers_page: Some(3), ..FakeOptions::default() };
    let fake = start_with(options).await;
    let names = tagged(&fake, 10);
    let list = async |pages| fake.client().tag_list(&fake.repository(NAME), pages).await;
    // A failure that passes costs another try.
    fake.quirk(Quirk::on(RequestKind::Tags, Effect::status(503)).after(2));
    let whole = list(100).await.unwrap();
    let tags: Vec<String> = whole.tags.iter().map(ToString::to_string).collect();
    assert_eq!((tags, whole.complete), (names, true));
    let part = list(2).await.unwrap();
    assert_eq!((part.tags.len(), part.complete), (6, false));
    let order = fake.quirk(Quirk::on(RequestKind::Tags, Effect::status(403)).after(2).always());
    assert!(list(100).await.is_err());
    fake.lift(order);
    let page = |body: &str| Effect::page(200, "application/json", body);
    for body in ["<html>", r#"{"tags":["a","../b"]}"#] {
        let order = fake.quirk(Quirk::on(RequestKind::Tags, page(body)).always());
        assert!(list(100).await.is_err(), "{body}");
        fake.lift(order);
    }
}
