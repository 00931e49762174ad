//! A server that is told how images end, by a signed POST, for those without EventBridge.
//!
//! Headers and signature are those of Standard Webhooks (the specification of that name, "Signature scheme"), so that the
//! libraries of its authors check them. `docs/ANNOUNCEMENTS.md` tells a receiver how to without one.
//!
//! The address may carry a secret as well as the secret does: many services put one into the path. So neither is ever
//! printed, in no error and no `Debug`, and plain http is for this machine only. A redirect is not followed, since whoever
//! answers with one would choose where the announcement goes next. Nothing of an answer is read but its status and
//! `Retry-After`, so it may be as long as it likes.

mod secret;
mod url;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use soci_announce::{Announcement, Delivering, DeliveryError, Destination};
use soci_registry::TlsOptions;
use soci_text::error_chain;
use tokio::time::timeout;

pub use secret::{WebhookSecret, WebhookSecretError};
pub use url::{WebhookUrl, WebhookUrlError};

/// Longest time to open a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time from sending to the status of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest pause that a server may ask for: an announcement is given up after a quarter of an hour.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// A server that takes announcements. Clones are the same.
#[derive(Clone)]
pub struct Webhook {
    client: reqwest::Client,
    url: WebhookUrl,
    secret: WebhookSecret,
    user_agent: &'static str,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

impl Webhook {
    /// The server at `url`, which knows `secret`. It goes by the system's authorities and the proxies of the environment.
    pub fn new(
        url: WebhookUrl,
        secret: WebhookSecret,
        user_agent: &'static str,
    ) -> Result<Self, soci_registry::Error> {
        let client = soci_registry::http_client(&TlsOptions::default(), CONNECT_TIMEOUT)?;
        Ok(Self { client, url, secret, user_agent })
    }

    async fn post(&self, announcement: &Announcement) -> Result<(), DeliveryError> {
        let body = announcement.json();
        // A try has a time of its own, as a receiver takes none that is old.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = self.secret.sign(&announcement.id, now, body.as_bytes());
        let request = self
            .client
            .post(self.url.expose())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, self.user_agent)
            .header("webhook-id", &announcement.id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(body);
        let answer = match timeout(ANSWER_TIMEOUT, request.send()).await {
            Ok(Ok(answer)) => answer,
            // The address stays unsaid.
            Ok(Err(error)) => {
                return Err(DeliveryError::passing(error_chain(&error.without_url())));
            }
            Err(_) => {
                return Err(DeliveryError::passing(format!("no answer within {ANSWER_TIMEOUT:?}")));
            }
        };
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        judge(answer.status(), after)
    }
}

impl Destination for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn deliver<'a>(&'a self, announcement: &'a Announcement) -> Delivering<'a> {
        Box::pin(self.post(announcement))
    }
}

/// What a status means. What is not there now, or has too much to do, may take it later; everything else that is no success
/// is said of the request, and is said again.
fn judge(status: StatusCode, retry_after: Option<&str>) -> Result<(), DeliveryError> {
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        return Err(DeliveryError::lasting(format!("{status}: redirects are not followed")));
    }
    let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    let seconds = retry_after.and_then(|value| value.trim().parse().ok());
    Err(DeliveryError {
        reason: status.to_string(),
        transient: passing,
        retry_after: seconds.map(Duration::from_secs).map(|pause| pause.min(MAX_PAUSE)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_pass_or_last() {
        for (status, passes) in [
            (200, None),
            (204, None),
            (301, Some(false)),
            (307, Some(false)),
            (400, Some(false)),
            (401, Some(false)),
            (404, Some(false)),
            (408, Some(true)),
            (410, Some(false)),
            (425, Some(true)),
            (429, Some(true)),
            (500, Some(true)),
            (503, Some(true)),
        ] {
            let judged = judge(StatusCode::from_u16(status).unwrap(), None);
            assert_eq!(judged.err().map(|error| error.transient), passes, "{status}");
        }
    }

    #[test]
    fn a_server_may_ask_for_a_pause_and_not_for_an_hour() {
        let pause =
            |value| judge(StatusCode::TOO_MANY_REQUESTS, Some(value)).unwrap_err().retry_after;
        assert_eq!(pause("30"), Some(Duration::from_secs(30)));
        assert_eq!(pause("99999999"), Some(MAX_PAUSE));
        assert_eq!(pause("tomorrow"), None);
    }
}
