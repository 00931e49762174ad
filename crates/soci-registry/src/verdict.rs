//! What an answer means that is not the one hoped for: the one place that reads error statuses.
//!
//! Registries agree on little beyond 404, so a status alone decides nothing. What was asked for
//! decides with it, and sometimes the code or the words of the body. [`verdict`] is the table;
//! whether its result may pass is [`Error::is_transient`]'s to say.
//!
//! Some answers are no errors and never come here: a HEAD that meets 404 has found that nothing is
//! there, and [`lacks_referrers_api`] is how a registry says that it is an older one.

use http::StatusCode;
use soci_oci::Tag;

use crate::error::Error;
use crate::status::StatusError;

/// What was asked for when the answer came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// Something that has no rules of its own.
    Plain,
    /// Something of the registry of this name, with credentials or a token that were just renewed.
    WithNewCredentials(&'a str),
    /// A token for the registry of this name.
    Token(&'a str),
    /// Bytes of a blob. The registry itself answered.
    Blob,
    /// Bytes of a blob, at a URL that the registry has just redirected to.
    RedirectedBlob,
    /// Bytes of a blob, at a URL that the registry redirected to some time ago.
    RememberedBlob,
    /// The end of an upload.
    UploadEnd,
    /// That a manifest is stored under this tag.
    TaggedManifest(&'a Tag),
}

/// What the answer `status` means to somebody who asked for `asked`.
///
/// | asked for | answer | means |
/// | --- | --- | --- |
/// | anything with new credentials | 401 | refused for good |
/// | a token | 400, 401 or 403, unless it throttles | refused for good |
/// | a blob behind a redirect | 400, 401, 403 | the storage refuses: its URL has expired |
/// | a blob behind an old redirect | 404, 410 as well | the same: what it names may be gone |
/// | the end of an upload | 404 and `BLOB_UPLOAD_UNKNOWN` | the upload is lost |
/// | the end of an upload | any other and `BLOB_UPLOAD_INVALID` | the upload is lost |
/// | a manifest under a tag | 4xx, not 404, that speaks of immutability | the tag cannot move |
/// | anything else | 404 | it does not exist |
/// | anything else | any other | the status, as it is |
pub(crate) fn verdict(asked: Asked<'_>, status: Box<StatusError>) -> Error {
    match (asked, status.status.as_u16()) {
        (Asked::WithNewCredentials(registry), 401) => {
            let reason = status.to_string();
            Error::Unauthorized { request: status.request, registry: registry.to_owned(), reason }
        }
        (Asked::Token(registry), 400 | 401 | 403) if !status.is_transient() => {
            let reason = format!("its token endpoint gives no token: {status}");
            Error::Unauthorized { request: status.request, registry: registry.to_owned(), reason }
        }
        // Storages differ in which of these an expired signature is.
        (Asked::RedirectedBlob | Asked::RememberedBlob, 400 | 401 | 403) => {
            Error::StorageRefused { status }
        }
        // Of a new URL a 404 is final.
        (Asked::RememberedBlob, 404 | 410) => Error::StorageRefused { status },
        // The session ended before its bytes did; a new one may live longer.
        (Asked::UploadEnd, 404) if status.has_code("BLOB_UPLOAD_UNKNOWN") => {
            Error::UploadLost { status }
        }
        (_, 404) => Error::NotFound(status),
        (Asked::UploadEnd, _) if status.has_code("BLOB_UPLOAD_INVALID") => {
            Error::UploadLost { status }
        }
        (Asked::TaggedManifest(tag), _) if status.is_immutable_tag() => {
            Error::TagImmutable { tag: tag.clone(), status }
        }
        _ => Error::Status(status),
    }
}

/// Whether the answer to a request for referrers says that the registry has no such API: the path
/// is unknown to it, or taken for something else.
pub(crate) fn lacks_referrers_api(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    )
}

/// Whether the answer to a GET or HEAD leads elsewhere.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use reqwest::Url;

    use super::*;
    use crate::redact::RequestLine;
    use crate::status::messages;

    fn of(asked: Asked<'_>, status: u16, code: &str) -> Error {
        let url = Url::parse("https://r.example/v2/a").unwrap();
        let status = StatusError {
            request: RequestLine::new(&Method::GET, &url),
            status: StatusCode::from_u16(status).unwrap(),
            messages: messages(format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#).as_bytes()),
            request_id: None,
            retry_after: None,
        };
        verdict(asked, Box::new(status))
    }

    #[test]
    fn an_expired_url_is_the_storages_refusal_and_a_registrys_own_answer_is_not() {
        for status in [400, 401, 403] {
            assert!(matches!(of(Asked::Blob, status, ""), Error::Status(_)));
            for asked in [Asked::RedirectedBlob, Asked::RememberedBlob] {
                assert!(matches!(of(asked, status, ""), Error::StorageRefused { .. }));
            }
        }
        assert!(matches!(of(Asked::RedirectedBlob, 404, ""), Error::NotFound(_)));
        assert!(matches!(of(Asked::RememberedBlob, 404, ""), Error::StorageRefused { .. }));
    }

    #[test]
    fn an_upload_is_lost_only_where_one_was_to_end() {
        for (status, code) in [(404, "BLOB_UPLOAD_UNKNOWN"), (400, "BLOB_UPLOAD_INVALID")] {
            assert!(matches!(of(Asked::UploadEnd, status, code), Error::UploadLost { .. }));
            assert!(!matches!(of(Asked::Plain, status, code), Error::UploadLost { .. }));
        }
        assert!(matches!(of(Asked::UploadEnd, 404, "NAME_UNKNOWN"), Error::NotFound(_)));
    }

    #[test]
    fn a_token_endpoint_that_throttles_refuses_nobody() {
        for status in [400, 401, 403] {
            let refused = of(Asked::Token("r.example"), status, "DENIED");
            assert!(matches!(refused, Error::Unauthorized { .. }));
            let busy = of(Asked::Token("r.example"), status, "TOOMANYREQUESTS");
            assert!(busy.is_transient(), "{busy}");
        }
    }

    #[test]
    fn a_tag_that_cannot_move_is_told_from_a_missing_repository() {
        let tag: Tag = "v1".parse().unwrap();
        let code = "ImageTagAlreadyExistsException";
        let asked = Asked::TaggedManifest(&tag);
        assert!(matches!(of(asked, 409, code), Error::TagImmutable { .. }));
        assert!(matches!(of(asked, 404, code), Error::NotFound(_)));
        assert!(matches!(of(Asked::Plain, 409, code), Error::Status(_)));
    }
}
