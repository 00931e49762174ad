//! Queue URLs.

use std::fmt;

use http::Uri;
use soci_text::clip;

/// A queue's URL: `https://sqs.eu-west-1.amazonaws.com/123456789012/jobs`, or that of another
/// server that speaks SQS's protocol. The queue's name is the last part of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrl {
    text: String,
    name_at: usize,
    region: Option<String>,
}

/// A string that is no [`QueueUrl`] of a standard queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not the URL of a queue: {reason}")]
pub struct QueueUrlError {
    /// The string, cut short.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl QueueUrl {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.text[self.name_at..]
    }

    /// The region that the host names; `None` for servers that are not AWS's.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for QueueUrl {
    type Err = QueueUrlError;

    fn from_str(text: &str) -> Result<Self, QueueUrlError> {
        let wrong = |reason| QueueUrlError { url: clip(text), reason };
        let url: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(wrong("it does not begin with https:// or http://"));
        }
        let Some(host) = url.host().filter(|host| !host.is_empty()) else {
            return Err(wrong("it names no host"));
        };
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("it holds a user name, which SQS has no use for"));
        }
        if url.query().is_some() || text.contains('#') {
            return Err(wrong("it goes on behind the path"));
        }
        let name = url.path().rsplit('/').next().unwrap_or_default();
        if name.strip_suffix(".fifo").is_some() {
            return Err(wrong("the queue is FIFO, and jobs need a standard queue"));
        }
        let in_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(in_name) {
            return Err(wrong("its path does not end in a queue's name"));
        }
        let (name_at, region) = (text.len() - name.len(), region_of(host));
        Ok(Self { text: text.to_owned(), name_at, region })
    }
}

/// Longest name of a queue (Amazon SQS API reference, `CreateQueue`).
const MAX_NAME: usize = 80;

/// The region in `sqs.<region>.amazonaws.com`, its FIPS and dual-stack forms and the legacy
/// `<region>.queue.amazonaws.com` ("Amazon Simple Queue Service endpoints and quotas" in the AWS
/// general reference).
fn region_of(host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let (first, rest) = host.split_once('.')?;
    let region: &str = if matches!(first, "sqs" | "sqs-fips") {
        rest.split('.').next()?
    } else if rest.starts_with("queue.amazonaws.com") {
        first
    } else {
        return None;
    };
    region.parse::<soci_push::event::Region>().ok().map(|region| region.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> QueueUrl {
        text.parse().unwrap()
    }

    #[test]
    fn the_name_is_the_last_part_of_the_path() {
        for (text, name) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/soci-jobs", "soci-jobs"),
            ("http://127.0.0.1:4566/000000000000/a_B-1", "a_B-1"),
            ("http://localhost:9324/jobs", "jobs"),
        ] {
            assert_eq!(url(text).name(), name);
            assert_eq!(url(text).as_str(), text);
        }
    }

    #[test]
    fn the_region_is_that_of_the_host() {
        for (host, region) in [
            ("sqs.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("SQS.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("sqs-fips.us-east-2.amazonaws.com", Some("us-east-2")),
            ("sqs.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("sqs.eu-west-1.api.aws", Some("eu-west-1")),
            ("eu-west-2.queue.amazonaws.com", Some("eu-west-2")),
            ("localhost", None),
            ("sqs.example", None),
            ("vpce-1.sqs.eu-west-1.vpce.amazonaws.com", None),
        ] {
            assert_eq!(url(&format!("https://{host}/1/q")).region(), region, "{host}");
        }
    }

    #[test]
    fn what_is_no_queue_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "not a URL"),
            ("jobs", "begin with https"),
            ("arn:aws:sqs:eu-west-1:123456789012:jobs", "not a URL"),
            ("ftp://host/1/jobs", "begin with https"),
            ("https://host/", "does not end in a queue's name"),
            ("https://host/1/jobs/", "does not end in a queue's name"),
            ("https://host/1/jo%20bs", "does not end in a queue's name"),
            ("https://u:p@host/1/jobs", "user name"),
            ("https://host/1/jobs?Action=DeleteQueue", "behind the path"),
            ("https://host/1/jobs.fifo", "FIFO"),
        ] {
            let error = text.parse::<QueueUrl>().unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
        let long = format!("https://host/1/{}", "a".repeat(200));
        assert!(long.parse::<QueueUrl>().unwrap_err().url.len() < long.len());
    }
}
