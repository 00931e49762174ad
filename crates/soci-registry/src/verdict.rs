//! What an answer means that is not the one hoped for: the one place that reads error statuses.
//!
//! Registries agree on little beyond 404, so a status alone decides nothing. What was asked for
//! decides with it, and sometimes the code or the words of the body. [`verdict`] is the table;
//! whether its result may pass is [`Error::is_transient`]'s to say.
//!
//! Some answers are no errors and never come here: a HEAD that meets 404 has found that nothing is
//! there, [`lacks_referrers_api`] is how a registry says that it is an older one, and what
//! [`may_refuse_the_way`] is asked for again in another one.

use http::StatusCode;
use soci_oci::Tag;

use crate::error::Error;
use crate::immutable_tag::immutable_tag;
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
    /// A part of an upload, or its end.
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
/// | an upload or a manifest stored | 413 | no body of this size gets through |
/// | a part or the end of an upload | 404 and `BLOB_UPLOAD_UNKNOWN`, or 416 | the upload is lost |
/// | a part or the end of an upload | any other and `BLOB_UPLOAD_INVALID` | the upload is lost |
/// | a part or the end of an upload | 4xx and `DIGEST_INVALID` or `SIZE_INVALID` | the bytes were damaged on the way |
/// | a manifest stored under a tag | 4xx that speaks of immutability (`immutable_tag`) | the tag cannot move |
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
        (Asked::UploadEnd | Asked::ManifestPut(_), 413) => Error::BodyRefused { status },
        // The session ended before its bytes did; a new one may live longer.
        (Asked::UploadEnd, 404) if status.has_code("BLOB_UPLOAD_UNKNOWN") => {
            Error::UploadLost { status }
        }
        (Asked::UploadEnd, 416) => Error::UploadLost { status },
        (Asked::UploadEnd, _) if status.has_code("BLOB_UPLOAD_INVALID") => {
            Error::UploadLost { status }
        }
        (Asked::UploadEnd, 400..500)
            if status.has_code("DIGEST_INVALID") || status.has_code("SIZE_INVALID") =>
        {
            Error::UploadDamaged { status }
        }
        (Asked::ManifestPut(Some(tag)), _) if immutable_tag(&status).is_some() => {
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

/// What a failed PUT of a whole blob says of sending it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WholeRefusal {
    /// Nothing.
    No,
    /// It may be for this. If the next one fails so as well, another way is worth a try.
    Perhaps(WhyNotWhole),
    /// It is not taken so.
    Sure(WhyNotWhole),
}

/// Why a blob is not taken by one PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyNotWhole {
    /// It is too large for one request.
    Size,
    /// No blob is taken so.
    Method,
}

/// Size in bytes from which a connection that breaks while a body is sent may be that of a proxy that does not
/// take it.
const SUSPECT_SIZE: u64 = 1 << 20;

/// What a failed PUT of a blob of `size` bytes says of sending it so.
///
/// | failure | means |
/// | --- | --- |
/// | 413 | it is too large |
/// | 405, 411, 415, 501, or `UNSUPPORTED` | no blob is taken so |
/// | 400 without a code, or with one that says nothing | no blob is taken so |
/// | `BLOB_UPLOAD_INVALID`, 416 | perhaps that |
/// | 404 that names neither an upload nor a repository | perhaps that |
/// | 502, silence, a broken connection, of more than 1 MiB | perhaps it is too large |
/// | anything else | nothing of it |
pub(crate) fn refuses_whole(error: &Error, size: u64) -> WholeRefusal {
    use WholeRefusal::{No, Perhaps, Sure};
    use WhyNotWhole::{Method, Size};
    match error {
        Error::BodyRefused { .. } => Sure(Size),
        Error::Status(status) if status.is_throttling() => No,
        Error::Status(status) => match status.status.as_u16() {
            405 | 411 | 415 | 501 => Sure(Method),
            400 if status.messages.iter().all(says_nothing) => Sure(Method),
            400..=499 if status.has_code("UNSUPPORTED") => Sure(Method),
            502 if size > SUSPECT_SIZE => Perhaps(Size),
            _ => No,
        },
        Error::UploadLost { status } if !status.has_code("BLOB_UPLOAD_UNKNOWN") => Perhaps(Method),
        Error::WriteNotFound { status } if !names_no_repository(status) => Perhaps(Method),
        Error::Transport { source, .. } if !source.is_connect() && size > SUSPECT_SIZE => {
            Perhaps(Size)
        }
        Error::Stalled { .. } if size > SUSPECT_SIZE => Perhaps(Size),
        _ => No,
    }
}

/// Whether a refusal is the server's own, which the next blob would meet as well. A connection that breaks, and a
/// gateway that gets no answer, may just be that.
pub(crate) fn is_said(refusal: &Error) -> bool {
    refusal.status().is_some_and(|status| status.status != StatusCode::BAD_GATEWAY)
}

/// Whether a failure of an upload in parts says that none is taken so. One that only lost an upload does not.
pub(crate) fn refuses_parts(error: &Error) -> bool {
    let Error::Status(status) = error else { return false };
    matches!(status.status.as_u16(), 400 | 405 | 411 | 415 | 501) || status.has_code("UNSUPPORTED")
}

fn says_nothing(message: &RegistryMessage) -> bool {
    ["", "UNKNOWN", "UNSUPPORTED"].iter().any(|code| message.code.eq_ignore_ascii_case(code))
}

fn names_no_repository(status: &StatusError) -> bool {
    status.has_code("NAME_UNKNOWN") || status.has_code("RepositoryNotFoundException")
}

/// Whether an answer to a request that was sent with authorization may mean that this has ended,
/// although it does not ask for another: private registries of ECR say it by 403, the public one by
/// 400, and to a HEAD without a word. A 400 that speaks of the content does not.
pub(crate) fn doubts_credentials(status: &StatusError) -> bool {
    if status.is_transient() || immutable_tag(status).is_some() {
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

/// Whether an answer to a request for referrers, other than a list of them, says that the registry has no such
/// API. Whoever does not know the path answers as it answers any other one: 404 by the specification; 400
/// and 406 are what the well-used clients count as well; 403, 405 and 501 come from gateways and older registries.
/// So it is whatever does not pass. Where reading is forbidden indeed, the list under a tag is, too, and says so.
pub(crate) fn lacks_referrers_api(status: &StatusError) -> bool {
    !status.is_transient()
}

/// Whether an answer may be about how something was asked for, by HEAD or with a `Range`, and not about what. URLs of
/// storages are signed for one method, and what stands in between may know no other way than a plain GET; the
/// statuses for that are as many as for anything else. Asking plainly tells.
pub(crate) fn may_refuse_the_way(status: &StatusError) -> bool {
    !status.is_transient() && !matches!(status.status, StatusCode::NOT_FOUND | StatusCode::GONE)
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
    fn a_refused_put_says_whether_another_way_is_worth_a_try() {
        use WhyNotWhole::{Method, Size};
        let (small, large) = (1000, 2 << 20);
        let of_put = |status, code: &str| match code {
            "" => verdict(Asked::UploadEnd, Box::new(status_of(status, ""))),
            code => of(Asked::UploadEnd, status, code),
        };
        for (status, code, size, expected) in [
            (413, "", small, WholeRefusal::Sure(Size)),
            (413, "SIZE_INVALID", small, WholeRefusal::Sure(Size)),
            (400, "", small, WholeRefusal::Sure(Method)),
            (400, "UNKNOWN", small, WholeRefusal::Sure(Method)),
            (405, "", small, WholeRefusal::Sure(Method)),
            (411, "", small, WholeRefusal::Sure(Method)),
            (415, "", small, WholeRefusal::Sure(Method)),
            (501, "", small, WholeRefusal::Sure(Method)),
            (403, "UNSUPPORTED", small, WholeRefusal::Sure(Method)),
            (416, "", small, WholeRefusal::Perhaps(Method)),
            (404, "", small, WholeRefusal::Perhaps(Method)),
            (400, "BLOB_UPLOAD_INVALID", small, WholeRefusal::Perhaps(Method)),
            (502, "", large, WholeRefusal::Perhaps(Size)),
            (502, "", small, WholeRefusal::No),
            (404, "BLOB_UPLOAD_UNKNOWN", small, WholeRefusal::No),
            (404, "NAME_UNKNOWN", small, WholeRefusal::No),
            (400, "DIGEST_INVALID", small, WholeRefusal::No),
            (400, "TOOMANYREQUESTS", small, WholeRefusal::No),
            (400, "DENIED", small, WholeRefusal::No),
            (401, "", small, WholeRefusal::No),
            (403, "", small, WholeRefusal::No),
            (429, "", large, WholeRefusal::No),
            (500, "", large, WholeRefusal::No),
            (503, "", large, WholeRefusal::No),
        ] {
            assert_eq!(refuses_whole(&of_put(status, code), size), expected, "{status} {code}");
        }
    }

    #[test]
    fn only_what_passes_says_nothing_of_the_way_it_was_asked() {
        let busy = r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#;
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(!lacks_referrers_api(&status_of(status, "")), "{status}");
            assert!(!may_refuse_the_way(&status_of(status, "")), "{status}");
        }
        for status in [204, 304, 400, 401, 403, 404, 405, 406, 410, 415, 416, 422, 501, 505] {
            assert!(lacks_referrers_api(&status_of(status, "")), "{status}");
            let of_content = matches!(status, 404 | 410);
            assert_eq!(may_refuse_the_way(&status_of(status, "")), !of_content, "{status}");
        }
        for status in [400, 403] {
            assert!(!lacks_referrers_api(&status_of(status, busy)), "{status}");
            assert!(!may_refuse_the_way(&status_of(status, busy)), "{status}");
        }
    }

    #[test]
    fn a_body_that_does_not_get_through_is_no_passing_failure() {
        for asked in [Asked::UploadEnd, Asked::ManifestPut(None)] {
            let error = of(asked, 413, "");
            assert!(matches!(error, Error::BodyRefused { .. }) && !error.is_transient());
        }
        assert!(matches!(of(Asked::Plain, 413, ""), Error::Status(_)));
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
