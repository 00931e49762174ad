//! Where a server takes announcements.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The address of a server: https, or http on this machine. It may carry a secret, so its `Debug` form says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// A text that is no [`WebhookUrl`]. It does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookUrlError {
    /// It is no URL of a server.
    #[error("a URL that begins with https:// is expected")]
    Form,
    /// It is plain http, and not on this machine.
    #[error(
        "https is expected, as anybody on the way could read and change it; http is for this machine only"
    )]
    Plain,
    /// It has a name or password before the host.
    #[error("a name and password in the URL are not sent; the signature says who it is")]
    User,
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, WebhookUrlError> {
        let url = Url::parse(text).map_err(|_| WebhookUrlError::Form)?;
        let Some(host) = url.host_str() else { return Err(WebhookUrlError::Form) };
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(WebhookUrlError::Plain),
            _ => return Err(WebhookUrlError::Form),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookUrlError::User);
        }
        Ok(Self(url))
    }
}

impl WebhookUrl {
    /// The address itself, to put into a request.
    pub(crate) fn expose(&self) -> Url {
        self.0.clone()
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Whether a host is this machine without a look-up: `localhost` is (RFC 6761, section 6.3), and addresses are that say so.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_told_in_plain() {
        for good in [
            "https://hooks.example/soci?token=1",
            "https://hooks.example:8443/",
            "http://localhost:9000/soci",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
        ] {
            assert!(good.parse::<WebhookUrl>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://hooks.example/", WebhookUrlError::Plain),
            ("http://localhost.example/", WebhookUrlError::Plain),
            ("http://10.0.0.1/", WebhookUrlError::Plain),
            ("https://me:secret@hooks.example/", WebhookUrlError::User),
            ("ftp://hooks.example/", WebhookUrlError::Form),
            ("hooks.example", WebhookUrlError::Form),
        ] {
            let error = bad.parse::<WebhookUrl>().unwrap_err();
            assert_eq!(error, why, "{bad}");
            assert!(!error.to_string().contains("example"), "{error}");
        }
        let url: WebhookUrl = "https://hooks.example/T0/secret".parse().unwrap();
        assert_eq!(format!("{url:?}"), "[redacted]");
    }
}
