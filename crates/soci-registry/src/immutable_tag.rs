//! How registries say that a tag cannot be moved: one table, with where each row was found.
//!
//! Registries agree on no status and on no code. So the code decides where there is one for it, and words where
//! there is none: phrases of several words, which no name of a repository or a tag can be mistaken for. What is
//! no refusal of the client (4xx) is none of these, and neither is a denial that says nothing of overwriting, nor a
//! quota. GitLab's protected tags are for others to push, and stay the denial that they are.
//!
//! Some registries use one answer for a tag that cannot be moved and for more: a locked repository, a missing
//! permission. It means the former only if the tag is there ([`Immutability::IfTaken`]).

use crate::status::StatusError;

/// What an answer says of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Immutability {
    /// It cannot be moved.
    Said,
    /// It cannot be moved if it exists. If it does not, nothing else can be written there either.
    IfTaken,
}

/// A way to say it: an error with this code, if there is one, and with all of these phrases, in lower case.
struct Row {
    code: Option<&'static str>,
    phrases: &'static [&'static str],
    means: Immutability,
}

const fn code(code: &'static str, means: Immutability) -> Row {
    Row { code: Some(code), phrases: &[], means }
}

const fn words(phrases: &'static [&'static str], means: Immutability) -> Row {
    Row { code: None, phrases, means }
}

const TABLE: &[Row] = &[
    // ECR's API. https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html
    code("ImageTagAlreadyExistsException", Immutability::Said),
    // Quay. https://github.com/quay/quay/blob/master/endpoints/v2/errors.py
    code("TAG_ALREADY_EXISTS", Immutability::Said),
    // A locked tag or repository of ACR.
    // https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation
    code("REGISTRY_DISALLOWED_OPERATION", Immutability::IfTaken),
    words(&["operation is disallowed on this registry"], Immutability::IfTaken),
    // ECR by the protocol: TAG_INVALID, "... already exists in the ... repository and cannot be overwritten
    // because the tag is immutable".
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
    Row { code: Some("TAG_INVALID"), phrases: &["already exists"], means: Immutability::Said },
    // ECR, GitLab (`tag "..." is immutable` in the detail), Docker Hub, early Harbor.
    // https://gitlab.com/gitlab-org/container-registry/-/blob/master/registry/handlers/manifests.go
    // https://docs.docker.com/docker-hub/repos/manage/hub-images/immutable-tags
    words(&["is immutable"], Immutability::Said),
    words(&["immutable tag"], Immutability::Said),
    // Google Artifact Registry: MANIFEST_INVALID or DENIED, "cannot update tag ... The repository has enabled tag
    // immutability". https://cloud.google.com/artifact-registry/docs/docker/troubleshoot#push
    words(&["tag immutability"], Immutability::Said),
    // Harbor: 412 PRECONDITION, "Failed to process request due to '...' configured as immutable".
    // https://github.com/goharbor/harbor/blob/main/src/server/middleware/immutable/pushmf.go
    words(&["configured as immutable"], Immutability::Said),
    // Alibaba: "The requested tag already exists and cannot be overwritten".
    // https://www.alibabacloud.com/help/doc-detail/186029.htm
    words(&["already exists", "cannot be overwritten"], Immutability::Said),
    // Nexus, whose manifests cannot be stored under a second tag either: BLOB_UPLOAD_INVALID with the detail
    // "Repository does not allow updating assets: ...", or "... cannot be updated as asset already exists and
    // redeploy is not allowed". https://github.com/GoogleContainerTools/jib/issues/3057
    words(&["does not allow updating assets"], Immutability::IfTaken),
    words(&["redeploy is not allowed"], Immutability::IfTaken),
    // Artifactory, to those who may deploy and not delete: "Not enough permissions to delete/overwrite ...".
    // https://github.com/pypa/twine/blob/main/tests/test_upload.py
    words(&["permissions to delete/overwrite"], Immutability::IfTaken),
];

/// What an answer to a manifest's PUT says of the tag that it was for; `None` if it says nothing of it.
pub(crate) fn immutable_tag(status: &StatusError) -> Option<Immutability> {
    if !status.status.is_client_error() {
        return None;
    }
    let rows = TABLE.iter().filter(|row| {
        status.messages.iter().any(|message| {
            let text = message.message.to_ascii_lowercase();
            row.code.is_none_or(|code| message.code.eq_ignore_ascii_case(code))
                && row.phrases.iter().all(|phrase| says(&text, phrase))
        }) || row.code.is_some_and(|code| row.phrases.is_empty() && names(status, code))
    });
    // One that is certain outdoes one that is not.
    rows.map(|row| row.means).min_by_key(|means| *means == Immutability::IfTaken)
}

/// Whether a message contains this code, as where a proxy has made text of a list of errors.
fn names(status: &StatusError, code: &str) -> bool {
    status.messages.iter().any(|message| says(&message.message, code))
}

/// Whether a text has this phrase, and not as a part of a longer word or name.
fn says(text: &str, phrase: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || matches!(c, '/' | '-' | '_');
    text.match_indices(phrase).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + phrase.len()..]);
        !before.ends_with(of_name) && !after.starts_with(of_name)
    })
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use reqwest::Url;

    use super::*;
    use crate::redact::RequestLine;
    use crate::status::messages;

    fn of(status: u16, body: &str) -> Option<Immutability> {
        let url = Url::parse("https://r.example/v2/a/manifests/t").unwrap();
        immutable_tag(&StatusError {
            request: RequestLine::new(&Method::PUT, &url),
            status: StatusCode::from_u16(status).unwrap(),
            messages: messages(body.as_bytes()),
            request_id: None,
            retry_after: None,
        })
    }

    fn list(code: &str, message: &str, detail: &str) -> String {
        format!(r#"{{"errors":[{{"code":"{code}","message":"{message}","detail":{detail}}}]}}"#)
    }

    #[test]
    fn every_registry_is_understood_in_its_own_words() {
        let said = Some(Immutability::Said);
        let if_taken = Some(Immutability::IfTaken);
        for (status, code, message, detail, means) in [
            (
                400,
                "TAG_INVALID",
                "The image tag 'a' already exists in the 'b' repository and cannot be overwritten because the tag is immutable.",
                "null",
                said,
            ),
            (
                400,
                "TAG_INVALID",
                "The image tag 'a' already exists in the 'b' repository and cannot be overwritten because the repository is immutable.",
                "{}",
                said,
            ),
            (409, "ImageTagAlreadyExistsException", "", "null", said),
            (
                400,
                "MANIFEST_INVALID",
                "cannot update tag 1.0. The repository has enabled tag immutability",
                "null",
                said,
            ),
            (
                403,
                "DENIED",
                "cannot update tag 1.0. The repository has enabled tag immutability",
                "null",
                said,
            ),
            (
                412,
                "PRECONDITION",
                "Failed to process request due to 'app:1' configured as immutable.",
                "null",
                said,
            ),
            (403, "DENIED", "The tag:app:1 is immutable, cannot be overwrite.", "null", said),
            (409, "TAG_ALREADY_EXISTS", "tag was already pushed", "{}", said),
            (401, "UNAUTHORIZED", "cannot push", r#""tag \"1\" is immutable""#, said),
            (
                400,
                "UNKNOWN",
                "The requested tag already exists and cannot be overwritten.",
                "null",
                said,
            ),
            (
                400,
                "BLOB_UPLOAD_INVALID",
                "blob upload invalid",
                r#""Repository does not allow updating assets: d""#,
                if_taken,
            ),
            (
                409,
                "UNKNOWN",
                "d/v2/a/manifests/1 cannot be updated as asset already exists and redeploy is not allowed",
                "null",
                if_taken,
            ),
            (405, "REGISTRY_DISALLOWED_OPERATION", "", "null", if_taken),
            (
                405,
                "UNKNOWN",
                "The operation is disallowed on this registry, repository or image. View https://aka.ms/acr/faq",
                "null",
                if_taken,
            ),
            (
                403,
                "UNAUTHORIZED",
                "Not enough permissions to delete/overwrite artifacts",
                "null",
                if_taken,
            ),
        ] {
            assert_eq!(of(status, &list(code, message, detail)), means, "{code}: {message}");
        }
        assert_eq!(of(400, "ImageTagAlreadyExistsException: the tag exists"), said);
    }

    #[test]
    fn a_denial_a_quota_and_names_that_sound_like_it_are_none() {
        for (status, code, message) in [
            (403, "DENIED", "requested access to the resource is denied"),
            (403, "DENIED", "Quota has been exceed on namespace"),
            (403, "DENIED", "push to team/immutable is denied"),
            (403, "DENIED", "access to this/is immutable-app denied"),
            (403, "DENIED", "you need push permission for immutable-tag-demo"),
            (401, "UNAUTHORIZED", r#"tag \"1\" is protected"#),
            (400, "TAG_INVALID", "manifest tag did not match URI"),
            (400, "MANIFEST_INVALID", "manifest invalid"),
            (405, "DENIED", "System is currently read-only."),
            (409, "CONFLICT", "the repository already exists"),
            (500, "TAG_INVALID", "the tag is immutable"),
            (429, "TOOMANYREQUESTS", ""),
        ] {
            assert_eq!(of(status, &list(code, message, "null")), None, "{code}: {message}");
        }
        assert_eq!(of(403, ""), None);
    }
}
