//! Credentials for ECR.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use serde_json::json;
use soci_aws::EcrCredentials;
use soci_aws::ecr::{MIN_HOLD, RENEW_AHEAD, RENEWAL};
use soci_aws::sdk::ATTEMPT_TIMEOUT;
use soci_registry::{CredentialProvider, Credentials, CredentialsError, Granted};

use crate::fake::{Answer, Fake};

const OWN: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// Tokens last this long.
const LIFETIME: Duration = Duration::from_hours(12);

/// Gives a new password with every call, `pass1` first, that lasts this long from now on.
fn tokens(lifetime: i64) -> Fake {
    let mut calls = 0;
    Fake::new(move |operation, _| {
        assert_eq!(operation, "GetAuthorizationToken");
        calls += 1;
        Answer::Ok(token(calls, lifetime))
    })
}

fn token(number: u32, lifetime: i64) -> serde_json::Value {
    let token = base64::engine::general_purpose::STANDARD.encode(format!("AWS:pass{number}"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    json!({"authorizationData": [{
        "authorizationToken": token,
        "expiresAt": i64::try_from(now.as_secs()).unwrap() + lifetime,
        "proxyEndpoint": "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    }]})
}

fn hours_12() -> i64 {
    i64::try_from(LIFETIME.as_secs()).unwrap()
}

fn password(granted: &Granted) -> &str {
    match &granted.credentials {
        Credentials::Basic { username, password } if username == "AWS" => password.expose(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_until_shortly_before_its_end() {
    let fake = tokens(hours_12());
    let credentials = EcrCredentials::new(&fake.config());
    let granted = credentials.credentials(OWN, "app").await.unwrap();
    assert_eq!(password(&granted), "pass1");
    let valid_for = granted.valid_for.unwrap();
    let expected = LIFETIME.checked_sub(RENEW_AHEAD).unwrap();
    assert!(expected.abs_diff(valid_for) < Duration::from_secs(5), "{valid_for:?}");
    tokio::time::advance(valid_for).await;
    assert_eq!(password(&credentials.credentials(OWN, "app").await.unwrap()), "pass2");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_another_registry_meanwhile_gets_the_rest_of_the_time() {
    let fake = tokens(hours_12());
    let credentials = EcrCredentials::new(&fake.config());
    let first = credentials.credentials(OWN, "app").await.unwrap();
    tokio::time::advance(Duration::from_mins(1)).await;
    let other = "999999999999.dkr.ecr.eu-west-1.amazonaws.com";
    let second = credentials.clone().credentials(other, "app").await.unwrap();
    assert_eq!(password(&second), "pass1");
    let between = first.valid_for.unwrap().checked_sub(second.valid_for.unwrap()).unwrap();
    assert_eq!(between.as_secs(), 60);
    assert_eq!(fake.calls("GetAuthorizationToken").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_registry_refuses_is_replaced_but_not_all_the_time() {
    let fake = tokens(hours_12());
    let credentials = EcrCredentials::new(&fake.config());
    let first = credentials.credentials(OWN, "app").await.unwrap().credentials;
    let after = || credentials.credentials_after(OWN, "app", &first);
    for _ in 0..10 {
        assert_eq!(password(&after().await.unwrap()), "pass1");
    }
    tokio::time::advance(MIN_HOLD).await;
    // Who was not refused has no need of another, and who was refused gets it once.
    assert_eq!(password(&credentials.credentials(OWN, "app").await.unwrap()), "pass1");
    for _ in 0..10 {
        assert_eq!(password(&after().await.unwrap()), "pass2");
    }
    tokio::time::advance(MIN_HOLD).await;
    assert_eq!(password(&after().await.unwrap()), "pass2", "pass1 was refused, pass2 was not");
    assert_eq!(fake.calls("GetAuthorizationToken").len(), 2);
}

/// Gives one token, then refuses until told otherwise.
fn failing(status: u16, code: &'static str) -> (Fake, Arc<AtomicU32>) {
    let down = Arc::new(AtomicU32::new(0));
    let switch = Arc::clone(&down);
    let mut given = 0;
    let fake = Fake::new(move |_, _| match switch.load(Ordering::Relaxed) {
        0 => {
            given += 1;
            Answer::Ok(token(given, hours_12()))
        }
        1 => Answer::Refused { status, code },
        _ => Answer::Late(Duration::from_hours(1), token(9, hours_12())),
    });
    (fake, down)
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again_after_growing_pauses_and_not_by_everybody() {
    // Neither a passing failure nor a lasting one makes the old token worse.
    for (status, code) in [(503, "ServiceUnavailable"), (400, "AccessDeniedException")] {
        let (fake, down) = failing(status, code);
        let credentials = EcrCredentials::new(&fake.config());
        let valid_for = credentials.credentials(OWN, "app").await.unwrap().valid_for.unwrap();
        down.store(1, Ordering::Relaxed);
        let calls = |fake: &Fake| fake.calls("GetAuthorizationToken").len();
        tokio::time::advance(valid_for).await;
        // What one renewal costs with the tries of the SDK.
        let before = calls(&fake);
        let granted = credentials.credentials(OWN, "app").await.unwrap();
        let one = calls(&fake) - before;
        assert!(granted.valid_for.unwrap() > RENEWAL.first / 4, "{:?}", granted.valid_for);
        for _ in 0..20 {
            assert_eq!(password(&credentials.credentials(OWN, "app").await.unwrap()), "pass1");
        }
        assert_eq!(calls(&fake) - before, one);
        // To the end of the old token.
        for _ in 0..28 * 60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(password(&credentials.credentials(OWN, "app").await.unwrap()), "pass1");
        }
        let renewals = (calls(&fake) - before) / one;
        assert!((10..=40).contains(&renewals), "{renewals}");
        down.store(0, Ordering::Relaxed);
        tokio::time::advance(RENEWAL.max).await;
        assert_eq!(password(&credentials.credentials(OWN, "app").await.unwrap()), "pass2");
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_does_not_get_the_refused_token_again_when_the_renewal_fails() {
    let (fake, down) = failing(503, "ServiceUnavailable");
    let credentials = EcrCredentials::new(&fake.config());
    let first = credentials.credentials(OWN, "app").await.unwrap().credentials;
    tokio::time::advance(MIN_HOLD).await;
    down.store(1, Ordering::Relaxed);
    let before = fake.calls("GetAuthorizationToken").len();
    assert!(credentials.credentials_after(OWN, "app", &first).await.unwrap_err().is_transient());
    let one = fake.calls("GetAuthorizationToken").len() - before;
    for _ in 0..20 {
        assert!(credentials.credentials_after(OWN, "app", &first).await.is_err());
    }
    assert_eq!(fake.calls("GetAuthorizationToken").len(), before + one);
    // Others have no reason to do without it.
    assert_eq!(password(&credentials.credentials(OWN, "app").await.unwrap()), "pass1");
    down.store(0, Ordering::Relaxed);
    tokio::time::advance(RENEWAL.first).await;
    let renewed = credentials.credentials_after(OWN, "app", &first).await.unwrap();
    assert_eq!(password(&renewed), "pass2");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_silent_does_not_hold_up_those_who_have_a_token() {
    let (fake, down) = failing(503, "ServiceUnavailable");
    let credentials = EcrCredentials::new(&fake.config());
    let valid_for = credentials.credentials(OWN, "app").await.unwrap().valid_for.unwrap();
    tokio::time::advance(valid_for).await;
    down.store(2, Ordering::Relaxed);
    let asked = tokio::time::Instant::now();
    assert_eq!(password(&credentials.credentials(OWN, "app").await.unwrap()), "pass1");
    // Less than one try of the SDK.
    assert!(asked.elapsed() < ATTEMPT_TIMEOUT, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_ended_already_causes_no_storm() {
    let fake = tokens(-300_000_000);
    let credentials = EcrCredentials::new(&fake.config());
    for _ in 0..100 {
        let granted = credentials.credentials(OWN, "app").await.unwrap();
        assert!(granted.valid_for.unwrap() > Duration::ZERO);
        tokio::time::advance(Duration::from_secs(6)).await;
    }
    assert_eq!(fake.calls("GetAuthorizationToken").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_many_that_ask_at_once_one_calls() {
    let fake = tokens(hours_12());
    let credentials = EcrCredentials::new(&fake.config());
    let mut tasks = tokio::task::JoinSet::new();
    for account in 0..50 {
        let credentials = credentials.clone();
        tasks.spawn(async move {
            let host = format!("{account:012}.dkr.ecr.eu-west-1.amazonaws.com");
            password(&credentials.credentials(&host, "app").await.unwrap()).to_owned()
        });
    }
    let passwords = tasks.join_all().await;
    assert!(passwords.len() == 50 && passwords.iter().all(|password| password == "pass1"));
    assert_eq!(fake.calls("GetAuthorizationToken").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_those_who_waited_for_it_and_the_next_one_tries_again() {
    let fake = Fake::refusing(400, "AccessDeniedException");
    let credentials = EcrCredentials::new(&fake.config());
    let (one, two) =
        tokio::join!(credentials.credentials(OWN, "app"), credentials.credentials(OWN, "app"));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(!error.is_transient());
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.to_string().starts_with("ECR did not give an authorization token"));
        assert_eq!(source.source().unwrap().to_string(), "AccessDeniedException: no");
    }
    assert_eq!(fake.calls("GetAuthorizationToken").len(), 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(credentials.credentials(OWN, "app").await.is_err());
    assert_eq!(fake.calls("GetAuthorizationToken").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_renewal_does_not_matter_while_the_old_token_lasts() {
    let down = Arc::new(AtomicU32::new(0));
    let switch = Arc::clone(&down);
    let fake = Fake::new(move |_, _| match switch.load(Ordering::Relaxed) {
        0 => Answer::Ok(token(1, hours_12())),
        _ => Answer::Refused { status: 503, code: "ServiceUnavailable" },
    });
    let credentials = EcrCredentials::new(&fake.config());
    let valid_for = credentials.credentials(OWN, "app").await.unwrap().valid_for.unwrap();
    down.store(1, Ordering::Relaxed);
    tokio::time::advance(valid_for).await;
    assert_eq!(password(&credentials.credentials(OWN, "app").await.unwrap()), "pass1");
    tokio::time::advance(RENEW_AHEAD).await;
    assert!(credentials.credentials(OWN, "app").await.unwrap_err().is_transient());
}

#[tokio::test(start_paused = true)]
async fn hosts_that_are_not_ecrs_get_nothing() {
    let fake = tokens(hours_12());
    let credentials = EcrCredentials::new(&fake.config()).also_for(["localhost:5000".to_owned()]);
    for host in [
        "docker.io",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com:8443",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        "localhost",
    ] {
        let granted = credentials.credentials(host, "app").await.unwrap();
        assert_eq!(granted.credentials, Credentials::Anonymous, "{host}");
    }
    for host in ["localhost:5000", "123456789012.dkr-ecr.eu-west-1.on.aws"] {
        assert_eq!(
            password(&credentials.credentials(host, "app").await.unwrap()),
            "pass1",
            "{host}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_of_another_region_is_an_error_that_says_so() {
    let fake = tokens(hours_12());
    let credentials = EcrCredentials::new(&fake.config());
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let error = credentials.credentials(host, "app").await.unwrap_err();
    let CredentialsError::Provider { transient: false, source, .. } = error else { panic!() };
    assert!(source.to_string().contains("us-east-1") && source.to_string().contains("eu-west-1"));
    assert!(fake.calls("GetAuthorizationToken").is_empty());
}
