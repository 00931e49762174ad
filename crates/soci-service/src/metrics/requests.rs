//! How requests to registries are told apart when they are counted.

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use soci_registry::{Error, RequestDone, RetryScheduled};

/// Labels of a finished request. All values are of fixed sets, whatever a registry answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    method: &'static str,
    target: &'static str,
    status: &'static str,
}

/// Labels of the time that a request took.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LatencyLabels {
    method: &'static str,
    target: &'static str,
}

/// Label of a retry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RetryLabels {
    reason: &'static str,
}

impl RequestLabels {
    pub(super) fn of(done: &RequestDone<'_>) -> Self {
        let LatencyLabels { method, target } = LatencyLabels::of(done);
        Self { method, target, status: done.status.map_or("error", status_label) }
    }
}

impl LatencyLabels {
    pub(super) fn of(done: &RequestDone<'_>) -> Self {
        let target = target_label(&done.request.url.to_string());
        Self { method: method_label(&done.request.method), target }
    }
}

impl RetryLabels {
    pub(super) fn of(retry: &RetryScheduled<'_>) -> Self {
        Self { reason: retry_label(retry.error) }
    }
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// What of a registry a URL names (OCI distribution specification, "Endpoints"); `other` is a token
/// endpoint, or the storage that a registry redirects to.
fn target_label(url: &str) -> &'static str {
    // The nearest to the end decides: a repository may be called `manifests`.
    let parts: Vec<&str> = url.rsplit('/').take(4).collect();
    match parts.as_slice() {
        [_, "manifests", ..] => "manifest",
        [_, "referrers", ..] => "referrers",
        [_, "uploads", "blobs", ..] | ["uploads", "blobs", ..] => "upload",
        [_, "blobs", ..] => "blob",
        _ => "other",
    }
}

/// The status where it says something of its own, else its class.
fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        201 => "201",
        202 => "202",
        206 => "206",
        307 => "307",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        409 => "409",
        412 => "412",
        413 => "413",
        416 => "416",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        code => match code / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
    }
}

/// Why an operation is tried again.
fn retry_label(error: &Error) -> &'static str {
    match error {
        Error::Transport { .. } | Error::Refused { .. } => "connection",
        Error::Stalled { .. } => "stalled",
        Error::TooSlow { .. } => "too-slow",
        Error::UnknownHost { .. } => "unknown-host",
        Error::ShortBody { .. } => "short-body",
        Error::UploadLost { .. } => "upload-lost",
        Error::StorageRefused { .. } => "storage-refused",
        Error::Interrupted { .. } => "interrupted",
        Error::Credentials(_) => "credentials",
        Error::Status(status) if status.is_throttling() => "throttled",
        Error::Status(_) => "status",
        Error::Exhausted { source, .. } => retry_label(source),
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_what_was_asked_for() {
        for (url, target) in [
            ("https://r.example/v2/team/app/manifests/v1", "manifest"),
            ("https://r.example/v2/manifests/manifests/blobs/sha256:00", "blob"),
            ("https://r.example/v2/app/blobs/uploads/", "upload"),
            ("https://r.example/v2/app/blobs/uploads/4711", "upload"),
            ("https://r.example/v2/app/referrers/sha256:00", "referrers"),
            ("https://r.example/token", "other"),
            ("https://bucket.s3.example/x", "other"),
            ("", "other"),
        ] {
            assert_eq!(target_label(url), target, "{url}");
        }
    }

    #[test]
    fn no_status_makes_a_label_of_its_own_that_is_not_listed() {
        let labels: std::collections::HashSet<&str> = (100..1000)
            .filter_map(|code| StatusCode::from_u16(code).ok())
            .map(status_label)
            .collect();
        assert_eq!(labels.len(), 25);
        assert_eq!(status_label(StatusCode::TOO_MANY_REQUESTS), "429");
        assert_eq!(status_label(StatusCode::IM_A_TEAPOT), "4xx");
        assert_eq!(status_label(StatusCode::NO_CONTENT), "2xx");
    }
}
