//! Token endpoints: where they lead, and what they answer.

use std::time::Duration;

use soci_registry::{Credentials, Error, Secret};
use soci_registry_server::testing::{Condition, Effect, Quirk, RequestKind, TokenUser};

use crate::auth::{basic, bearer, client, user, works};
use crate::support::start_with;

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_has_moved_is_found() {
    let identity = || Credentials::IdentityToken(Secret::new("i&t"));
    for status in [301, 302, 303, 307, 308] {
        let kept = matches!(status, 307 | 308);
        for (user, credentials, works_out) in [
            (TokenUser::Anyone, Credentials::Anonymous, true),
            (user(), basic("u", "p"), true),
            // A POST that becomes a GET has lost its form.
            (TokenUser::IdentityToken("i&t".to_owned()), identity(), kept),
        ] {
            let fake = start_with(bearer(user, Duration::from_mins(1))).await;
            let moved = Effect::status_with(status, "location", "{path}?again&{query}");
            let moved = Quirk::on(RequestKind::Token, moved).always();
            fake.quirk(moved.when(Condition::QueryLacks("again")));
            let result = works(&fake, &client(&fake, credentials)).await;
            assert_eq!(result.is_ok(), works_out, "{status}: {result:?}");
            let token = &fake.requests_of(RequestKind::Token)[1];
            assert_eq!(token.referer, Some(format!("http://{}/token", fake.host())));
            if !works_out {
                assert!(matches!(result, Err(Error::Unauthorized { .. })), "{result:?}");
                assert_eq!((token.method.as_str(), token.body_size), ("GET", 0));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_credentials_go_to_where_a_token_endpoint_leads() {
    let lead = || {
        let location = "http://{storage}{path}?again&{query}";
        let moved = Effect::status_with(307, "location", location);
        Quirk::on(RequestKind::Token, moved).always().when(Condition::QueryLacks("again"))
    };
    let minute = Duration::from_mins(1);
    let fake = start_with(bearer(TokenUser::Anyone, minute)).await;
    fake.quirk(lead());
    works(&fake, &client(&fake, Credentials::Anonymous)).await.unwrap();

    let fake = start_with(bearer(user(), minute)).await;
    fake.quirk(lead());
    let error = works(&fake, &client(&fake, basic("u", "p"))).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let tokens = fake.requests_of(RequestKind::Token);
    assert!(tokens[0].authorization.is_some() && tokens[1].authorization.is_none());

    let identity = TokenUser::IdentityToken("i&t".to_owned());
    let fake = start_with(bearer(identity, minute)).await;
    fake.quirk(lead());
    let credentials = Credentials::IdentityToken(Secret::new("i&t"));
    let error = works(&fake, &client(&fake, credentials)).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert_eq!(fake.requests_of(RequestKind::Token).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_taken_with_whatever_success_and_lifetime() {
    let lifetime = |value: serde_json::Value| Effect::Json("/expires_in", value);
    for effect in [
        Effect::Status(201),
        Effect::Status(202),
        Effect::Status(203),
        Effect::DropHeader("content-type"),
        Effect::Chunked,
        lifetime(serde_json::Value::Null),
        lifetime("300".into()),
        lifetime((-1).into()),
        lifetime(0.into()),
        lifetime(1_000_000_000_000_000_000_u64.into()),
        lifetime(1e300.into()),
    ] {
        let fake = start_with(bearer(user(), Duration::from_hours(1))).await;
        fake.quirk(Quirk::on(RequestKind::Token, effect.clone()).always());
        works(&fake, &client(&fake, basic("u", "p"))).await.unwrap();
        assert_eq!(fake.requests_of(RequestKind::Token).len(), 2, "{effect:?}");
    }
}
