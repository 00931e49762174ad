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
use crate::status::{RegistryMessage, StatusError};

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
    /// The beginning of an upload.
    UploadStart,
    /// The end of an upload.
    UploadEnd,
    /// That a manifest is stored, under this tag if there is one.
    ManifestPut(Option<&'a Tag>),
}

/// Codes under which a registry says that something which a manifest names is not there: those of the
/// specification, and those of ECR's API.
const MISSING_CONTENT: [&str; 5] = [
    "MANIFEST_BLOB_UNKNOWN",
    "BLOB_UNKNOWN",
    "MANIFEST_UNKNOWN",
    "LayersNotFoundException",
    "ReferencedImagesNotFoundException",
];

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
/// | the end of an upload | 4xx and `DIGEST_INVALID` or `SIZE_INVALID` | the bytes were damaged on the way |
/// | a manifest stored under a tag | 4xx that speaks of immutability | the tag cannot move |
/// | a manifest stored | 4xx and a code of what is unknown, or 404 of no repository | what it names is missing |
/// | any other write | 404 | there is no place for it, which says nothing of what was read there |
/// | a token | 404 | the status, as it is |
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
        (Asked::UploadEnd, _) if status.has_code("BLOB_UPLOAD_INVALID") => {
            Error::UploadLost { status }
        }
        (Asked::UploadEnd, 400..500)
            if status.has_code("DIGEST_INVALID") || status.has_code("SIZE_INVALID") =>
        {
            Error::UploadDamaged { status }
        }
        (Asked::ManifestPut(Some(tag)), _) if status.is_immutable_tag() => {
            Error::TagImmutable { tag: tag.clone(), status }
        }
        (Asked::ManifestPut(_), 400..500)
            if MISSING_CONTENT.iter().any(|code| status.has_code(code)) =>
        {
            Error::MissingContent { status }
        }
        (Asked::ManifestPut(_), 404) if !names_no_repository(&status) => {
            Error::MissingContent { status }
        }
        (Asked::UploadStart | Asked::UploadEnd | Asked::ManifestPut(_), 404) => {
            Error::WriteNotFound { status }
        }
        (Asked::Token(_), 404) => Error::Status(status),
        (_, 404) => Error::NotFound(status),
        _ => Error::Status(status),
    }
}

fn names_no_repository(status: &StatusError) -> bool {
    status.has_code("NAME_UNKNOWN") || status.has_code("RepositoryNotFoundException")
}

/// Whether an answer to a request that was sent with authorization may mean that this has ended,
/// although it does not ask for another: private registries of ECR say it by 403, the public one by
/// 400, and to a HEAD without a word. A 400 that speaks of the content does not.
pub(crate) fn doubts_credentials(status: &StatusError) -> bool {
    if status.is_transient() || status.is_immutable_tag() {
        return false;
    }
    let of_access = |message: &RegistryMessage| {
        ["", "DENIED", "UNAUTHORIZED"].iter().any(|code| message.code.eq_ignore_ascii_case(code))
            || message.message.to_ascii_lowercase().contains("authorization token")
    };
    match status.status {
        StatusCode::FORBIDDEN => true,
        StatusCode::BAD_REQUEST => {
            status.messages.is_empty() || status.messages.iter().any(of_access)
        }
        _ => false,
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

    fn status_of(status: u16, body: &str) -> StatusError {
        let url = Url::parse("https://r.example/v2/a").unwrap();
        StatusError {
            request: RequestLine::new(&Method::GET, &url),
            status: StatusCode::from_u16(status).unwrap(),
            messages: messages(body.as_bytes()),
            request_id: None,
            retry_after: None,
        }
    }

    fn of(asked: Asked<'_>, status: u16, code: &str) -> Error {
        let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
        verdict(asked, Box::new(status_of(status, &body)))
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
    }

    #[test]
    fn no_404_of_a_write_means_that_what_was_read_is_gone() {
        let tag: Tag = "v1".parse().unwrap();
        let writes = [
            Asked::UploadStart,
            Asked::UploadEnd,
            Asked::ManifestPut(None),
            Asked::ManifestPut(Some(&tag)),
        ];
        for asked in writes {
            for code in ["", "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UPLOAD_UNKNOWN", "UNKNOWN"] {
                let error = of(asked, 404, code);
                assert!(!matches!(error, Error::NotFound(_)), "{asked:?} {code}");
                assert!(error.is_transient(), "{asked:?} {code}");
            }
            assert!(matches!(of(asked, 404, "NAME_UNKNOWN"), Error::WriteNotFound { .. }));
        }
        assert!(matches!(of(Asked::Token("r.example"), 404, ""), Error::Status(_)));
        assert!(matches!(of(Asked::Plain, 404, ""), Error::NotFound(_)));
    }

    #[test]
    fn a_manifest_that_names_what_is_missing_is_told_from_a_bad_one() {
        for (status, code) in [
            (404, "MANIFEST_BLOB_UNKNOWN"),
            (400, "MANIFEST_BLOB_UNKNOWN"),
            (400, "blob_unknown"),
            (400, "MANIFEST_UNKNOWN"),
            (400, "LayersNotFoundException"),
            (404, ""),
        ] {
            let error = of(Asked::ManifestPut(None), status, code);
            assert!(error.is_missing_content() && error.is_transient(), "{status} {code}");
        }
        for (status, code) in [(400, "MANIFEST_INVALID"), (404, "NAME_UNKNOWN"), (403, "DENIED")] {
            assert!(!of(Asked::ManifestPut(None), status, code).is_missing_content());
        }
        assert!(!of(Asked::Plain, 404, "MANIFEST_UNKNOWN").is_missing_content());
    }

    #[test]
    fn bytes_that_arrived_as_others_were_damaged() {
        for code in ["DIGEST_INVALID", "SIZE_INVALID"] {
            let error = of(Asked::UploadEnd, 400, code);
            assert!(matches!(error, Error::UploadDamaged { .. }) && error.is_transient());
            assert!(matches!(of(Asked::ManifestPut(None), 400, code), Error::Status(_)));
        }
    }

    #[test]
    fn an_ended_token_is_suspected_behind_answers_that_may_mean_it() {
        let ended = "Your authorization token has expired. Reauthenticate and try again.";
        let list = |code: &str, message: &str| {
            format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#)
        };
        for (code, body) in [
            (403, list("DENIED", ended)),
            (400, list("DENIED", ended)),
            (400, list("UNKNOWN", ended)),
            (400, format!(r#"{{"message":"{ended}"}}"#)),
            (403, String::new()),
            (400, String::new()),
        ] {
            assert!(doubts_credentials(&status_of(code, &body)), "{code} {body}");
        }
        for (code, body) in [
            (400, list("MANIFEST_INVALID", "bad")),
            (400, list("TAG_INVALID", "the tag is immutable")),
            (403, list("DENIED", "the tag is immutable")),
            (403, list("TOOMANYREQUESTS", "")),
            (404, String::new()),
            (500, list("DENIED", ended)),
        ] {
            assert!(!doubts_credentials(&status_of(code, &body)), "{code} {body}");
        }
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
        let asked = Asked::ManifestPut(Some(&tag));
        assert!(matches!(of(asked, 409, code), Error::TagImmutable { .. }));
        assert!(matches!(of(asked, 404, "NAME_UNKNOWN"), Error::WriteNotFound { .. }));
        assert!(matches!(of(Asked::Plain, 409, code), Error::Status(_)));
    }
}
