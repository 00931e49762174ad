//! An answer with an error status, and what it says of itself. What it means to whoever asked is
//! decided in `verdict`.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::redact::{RequestLine, sanitize, words_of};

/// Codes by which a server wants fewer requests: of the distribution specification, of ECR and the APIs of AWS, and of S3.
const THROTTLING: [&str; 8] = [
    "TOOMANYREQUESTS",
    "TooManyRequestsException",
    "ThrottlingException",
    "ThrottledException",
    "Throttling",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
];

/// Most entries kept of a registry's list of errors.
const MAX_MESSAGES: usize = 4;

/// A response with an error status, with what helps to find it in the registry's logs.
#[derive(Debug, thiserror::Error)]
pub struct StatusError {
    /// The request.
    pub request: RequestLine,
    /// The status.
    pub status: StatusCode,
    /// The registry's own words, shortened and without control characters.
    pub messages: Vec<RegistryMessage>,
    /// The request's identifier in the registry, if it sent one.
    pub request_id: Option<String>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl StatusError {
    /// Whether the status stands for a passing condition: it throttles, or is 408 or a 5xx other
    /// than 501 and 505.
    pub(crate) fn is_transient(&self) -> bool {
        let passing = match self.status {
            StatusCode::REQUEST_TIMEOUT => true,
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
            status => status.is_server_error(),
        };
        passing || self.is_throttling()
    }

    /// Whether the registry wants fewer requests. It says so by 429, or by a code under any status, in a list of errors
    /// or in the formats of AWS (`THROTTLING`).
    pub fn is_throttling(&self) -> bool {
        let throttles = |message: &RegistryMessage| {
            let (code, words) = (&message.code, &message.message);
            // Without a list of errors the code begins the words.
            THROTTLING.iter().any(|known| {
                code.eq_ignore_ascii_case(known)
                    || code.is_empty()
                        && words.split([':', ' ']).any(|word| word.eq_ignore_ascii_case(known))
            }) || code.is_empty() && words.eq_ignore_ascii_case("Rate exceeded")
        };
        self.status == StatusCode::TOO_MANY_REQUESTS || self.messages.iter().any(throttles)
    }

    /// Whether one of the registry's errors has this code; upper and lower case are the same.
    pub fn has_code(&self, code: &str) -> bool {
        self.messages.iter().any(|message| message.code.eq_ignore_ascii_case(code))
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the server answered {}", self.request, self.status)?;
        for message in &self.messages {
            write!(f, "; {message}")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

/// One entry of the error list of the OCI distribution specification, "Error Codes".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryMessage {
    /// The code, for example `MANIFEST_UNKNOWN`; empty if there was none.
    pub code: String,
    /// The message; of a body in another format, its words for people.
    pub message: String,
}

impl fmt::Display for RegistryMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (true, _) => f.write_str(&self.message),
            (false, true) => f.write_str(&self.code),
            (false, false) => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

/// Reads the error list of a response body; of a body in another format the words for people become one
/// message. As for Go, `null` is what is absent. A detail that is a text, as Nexus has it, ends the message.
pub(crate) fn messages(body: &[u8]) -> Vec<RegistryMessage> {
    #[derive(Deserialize)]
    struct List {
        errors: Vec<Option<Entry>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Entry {
        code: Option<String>,
        message: Option<String>,
        detail: Option<serde_json::Value>,
    }
    let entries = match serde_json::from_slice::<List>(body) {
        Ok(list) => list.errors.into_iter().flatten().collect(),
        Err(_) => match words_of(body) {
            message if message.is_empty() => Vec::new(),
            message => vec![Entry { message: Some(message), ..Entry::default() }],
        },
    };
    let entry = |entry: Entry| {
        let mut message = entry.message.unwrap_or_default();
        if let Some(detail) = entry.detail.as_ref().and_then(serde_json::Value::as_str) {
            let between = if message.is_empty() || detail.is_empty() { "" } else { ": " };
            message = format!("{message}{between}{detail}");
        }
        let code = sanitize(&entry.code.unwrap_or_default());
        RegistryMessage { code, message: sanitize(&message) }
    };
    entries.into_iter().take(MAX_MESSAGES).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use reqwest::Url;

    use super::*;
    use crate::redact::MAX_TEXT;

    fn status(code: u16, body: &str) -> StatusError {
        let url = Url::parse("https://r.example/v2/a/manifests/t?secret=1").unwrap();
        StatusError {
            request: RequestLine::new(&Method::PUT, &url),
            status: StatusCode::from_u16(code).unwrap(),
            messages: messages(body.as_bytes()),
            request_id: Some("abc".to_owned()),
            retry_after: None,
        }
    }

    #[test]
    fn an_error_list_is_read_and_shown() {
        let error =
            status(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such\u001b[2J"}]}"#);
        assert_eq!(
            error.to_string(),
            "PUT https://r.example/v2/a/manifests/t: the server answered 404 Not Found; \
             NAME_UNKNOWN: no such [2J (request id abc)"
        );
    }

    #[test]
    fn a_body_in_another_format_is_cut() {
        let long = "words ".repeat(1000);
        assert_eq!(messages(long.as_bytes())[0].message.len(), MAX_TEXT - 1);
        assert_eq!(messages(b""), []);
        assert_eq!(messages(b"<html><body>SECRET</body></html>"), []);
        let many = format!(r#"{{"errors":[{}{{}}]}}"#, r#"{"code":"A"},"#.repeat(100));
        assert_eq!(messages(many.as_bytes()).len(), MAX_MESSAGES);
    }

    #[test]
    fn statuses_are_passing_or_permanent() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(status(code, "").is_transient(), "{code}");
        }
        for code in [400, 401, 403, 404, 409, 501, 505] {
            assert!(!status(code, "").is_transient(), "{code}");
        }
        for code in ["TOOMANYREQUESTS", "ThrottlingException"] {
            let throttled = status(400, &format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#));
            assert!(throttled.is_throttling() && throttled.is_transient());
        }
        for body in [
            r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
            r#"{"code":"ThrottlingException"}"#,
            r#"{"code":"Throttling","message":"Rate exceeded"}"#,
            "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
            "<Error><Code>RequestLimitExceeded</Code></Error>",
            "toomanyrequests: too many",
        ] {
            for code in [400, 403] {
                assert!(status(code, body).is_throttling(), "{code} {body}");
            }
        }
        for body in ["", "not allowed", r#"{"message":"the rate exceeded what is allowed"}"#] {
            assert!(!status(400, body).is_throttling(), "{body}");
        }
        assert!(status(429, "").is_throttling() && !status(503, "").is_throttling());
    }

    #[test]
    fn a_list_of_errors_is_read_as_go_reads_it() {
        let message = |code: &str, message: &str| RegistryMessage {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        for (entry, expected) in [
            (r#"{"code":"A","message":null,"detail":null}"#, message("A", "")),
            (r#"{"code":null,"message":"b","detail":{"x":"y"}}"#, message("", "b")),
            (r#"{"code":"A","message":"b","detail":"c"}"#, message("A", "b: c")),
            (r#"{"code":"A","detail":"c"}"#, message("A", "c")),
        ] {
            let body = format!(r#"{{"errors":[null,{entry}]}}"#);
            assert_eq!(messages(body.as_bytes()), [expected], "{entry}");
        }
    }
}
