//! Answers, and the errors among them.
//!
//! Source: OCI distribution specification 1.1, "Error Codes".

use std::fmt;
use std::io;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use soci_oci::Digest;

/// Why a request is refused: the specification's codes, and a few states that it has none for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Denied,
    Unsupported,
    TooManyRequests,
    /// A manifest over the limit, for which the specification asks for 413.
    TooLarge,
    /// A tag that is none; docker's code.
    TagInvalid,
    /// A chunk that does not continue its upload, for which the specification asks for 416.
    OutOfOrder,
    /// An upload that another request is writing to.
    Busy,
    /// A number of entries that is none; docker's code.
    PaginationInvalid,
    /// A path that leads nowhere.
    NotFound,
    /// The request's body broke off, or sent nothing for too long.
    Broken,
    /// The disk failed; the registry's log says why.
    Internal,
}

impl Code {
    fn status_and_name(self) -> (StatusCode, &'static str) {
        match self {
            Self::BlobUnknown => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::BlobUploadInvalid | Self::Broken => {
                (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID")
            }
            Self::BlobUploadUnknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Self::DigestInvalid => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::ManifestBlobUnknown => (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
            Self::ManifestInvalid => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Self::ManifestUnknown => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::NameInvalid => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::NameUnknown => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            Self::SizeInvalid => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            Self::Denied => (StatusCode::FORBIDDEN, "DENIED"),
            Self::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"),
            Self::TagInvalid => (StatusCode::BAD_REQUEST, "TAG_INVALID"),
            Self::OutOfOrder => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Self::Busy => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
            Self::PaginationInvalid => (StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
            Self::NotFound => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        }
    }
}

/// A request that is refused.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    message: String,
    headers: Vec<(&'static str, String)>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), headers: Vec::new() }
    }

    /// The registry's disk failed, which is no business of the client.
    pub(crate) fn disk(error: &io::Error) -> Self {
        tracing::error!(%error, "the registry's folder cannot be read or written");
        Self::new(Code::Internal, "the registry's folder cannot be read or written")
    }

    /// What should be in the folder cannot be read. What somebody has deleted there is not there, and can be pushed again.
    pub(crate) fn unread(error: &io::Error, unknown: Self) -> Self {
        if error.kind() == io::ErrorKind::NotFound { unknown } else { Self::disk(error) }
    }

    /// A header that helps the client to go on.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn into_response(self) -> Response {
        let (status, code) = self.code.status_and_name();
        let body = json!({ "errors": [{ "code": code, "message": self.message }] });
        let response = json_response(status, "application/json", &body);
        self.headers
            .into_iter()
            .fold(response, |response, (name, value)| with_header(response, name, value))
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    // RFC 9110, section 8.6: an answer of 204 states no length.
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// An answer with a JSON document.
pub(crate) fn json_response(status: StatusCode, media_type: &str, body: &Value) -> Response {
    let mut response =
        with_header(Response::new(Body::from(body.to_string())), CONTENT_TYPE.as_str(), media_type);
    *response.status_mut() = status;
    response
}

/// The answer with another header. Values come from parsed names, so none is refused; a value that
/// is none is left out.
pub(crate) fn with_header(
    mut response: Response,
    name: &str,
    value: impl fmt::Display,
) -> Response {
    let name = HeaderName::try_from(name);
    let value = HeaderValue::try_from(value.to_string());
    if let (Ok(name), Ok(value)) = (name, value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// The answer with the digest of what it is about.
pub(crate) fn digest_header(response: Response, digest: &Digest) -> Response {
    with_header(response, "docker-content-digest", digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_has_the_form_of_the_specification() {
        let error = ApiError::new(Code::OutOfOrder, "say \"0-9\"").with_header("range", "0-9");
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(response.headers()["range"], "0-9");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 1 << 10).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errors"][0]["code"], "BLOB_UPLOAD_INVALID");
        assert_eq!(body["errors"][0]["message"], "say \"0-9\"");
    }
}
