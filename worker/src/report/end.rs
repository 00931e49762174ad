//! How an image ended for `index` and its dry run, whatever was found out: what all ends have in common.

use std::time::Duration;

use serde_json::{Value, json};
use soci_indexer::IndexError;
use soci_manifest::{LeftOutPlatform, SkipReason, SkippedLayer};
use soci_oci::{Digest, Repository};

use super::failure::Failure;
use super::seconds;

/// Why an image needs no index.
#[derive(Clone, Debug)]
pub(crate) struct NothingToIndex {
    pub(crate) image: Digest,
    pub(crate) reason: SkipReason,
}

impl NothingToIndex {
    /// Its code, as the service has it.
    pub(crate) fn code(&self) -> &'static str {
        let Self { image, reason } = self.clone();
        IndexError::Nothing { image, reason }.reason().code()
    }

    /// What is to be deployed all the same: the image itself, unless it has an index of another kind, which is kept.
    fn deploy(&self) -> Option<Digest> {
        match self.reason {
            SkipReason::PrefetchKept { .. } => None,
            _ => Some(self.image),
        }
    }

    fn skipped(&self) -> &[SkippedLayer] {
        match &self.reason {
            SkipReason::NothingToIndex { layers, .. } => layers,
            _ => &[],
        }
    }
}

/// How a command came out for an image: one that needs no index is no failure.
pub(crate) type IndexResult<T> = Result<Result<T, NothingToIndex>, Failure>;

/// What a command has found out of an image, or done.
pub(crate) trait ImageResult: Sized {
    /// Whether the very index was there before.
    fn is_there(&self) -> bool;

    /// What is to be deployed: the converted image (V2), or the image itself (V1). Nothing of what is not there yet.
    fn deploy(&self) -> Option<Digest> {
        None
    }

    /// The object of an image that ended so, without what all have.
    fn json(found: Option<&Self>, skipped: &[SkippedLayer]) -> Value;

    /// The outcome of an image that did not fail and was not skipped.
    fn outcome(&self) -> &'static str;

    /// What is printed of it for people, `image` as they named it.
    fn text(&self, image: &str) -> String;
}

/// How one image ended.
#[derive(Debug)]
pub(crate) struct IndexEnd<'a, T> {
    /// The image as it was named.
    pub(crate) image: &'a str,
    /// Where the result went instead, as it was named.
    pub(crate) output: Option<&'a str>,
    /// The repository that has the result, if it is in a registry.
    pub(crate) repository: Option<Repository>,
    pub(crate) result: IndexResult<T>,
    /// Bytes of layers that were read for it.
    pub(crate) bytes_read: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

impl<T: ImageResult> IndexEnd<'_, T> {
    /// The one object of an image that is printed with `--json`.
    pub(crate) fn json(&self) -> Value {
        let found = self.result.as_ref().ok().and_then(|result| result.as_ref().ok());
        let nothing = self.result.as_ref().ok().and_then(|result| result.as_ref().err());
        let failure = self.result.as_ref().err();
        let outcome = match (found, nothing) {
            (Some(found), _) => found.outcome(),
            (None, Some(_)) => "skipped",
            (None, None) => "failed",
        };
        let detail = nothing.map(|nothing| nothing.reason.to_string());
        // What every end has comes first, as people read it too.
        let mut object = json!({
            "outcome": outcome,
            "reason": nothing.map(NothingToIndex::code).or(failure.map(|failure| failure.code)),
            "detail": detail.or(failure.map(|failure| failure.detail.clone())),
            "image": self.image,
            "output": self.output,
        });
        let own = T::json(found, nothing.map(NothingToIndex::skipped).unwrap_or_default());
        if let (Some(object), Value::Object(own)) = (object.as_object_mut(), own) {
            object.extend(own);
        }
        // What was read in vain was read, too.
        if found.is_none()
            && let Some(bytes) = object.get_mut("bytes_read")
        {
            *bytes = self.bytes_read.into();
        }
        if let Some(nothing) = nothing {
            object["image_digest"] = nothing.image.to_string().into();
        }
        // An image that gets no index was brought nowhere.
        let itself = nothing.filter(|_| self.output.is_none()).and_then(NothingToIndex::deploy);
        let deploy = found.and_then(T::deploy).or(itself);
        if let Some(deploy) = deploy.and_then(|digest| self.deployable(digest)) {
            object["deploy"] = deploy.into();
        }
        object["seconds"] = seconds(self.elapsed).into();
        object
    }

    /// What is to be deployed, as `registry/repository@digest`, if it is in a registry.
    fn deployable(&self, digest: Digest) -> Option<String> {
        Some(format!("{}@{digest}", self.repository.as_ref()?))
    }

    /// What is printed for people; nothing of a failure, which is told elsewhere.
    pub(crate) fn text(&self) -> String {
        let image = match self.output {
            Some(output) => format!("{} to {output}", self.image),
            None => self.image.to_owned(),
        };
        match &self.result {
            Ok(Ok(found)) => match found.deploy().and_then(|digest| self.deployable(digest)) {
                Some(deploy) => format!("{}  deploy {deploy}\n", found.text(&image)),
                None => found.text(&image),
            },
            Ok(Err(nothing)) => format!("skipped {image}\n  {}\n", nothing.reason),
            Err(_) => String::new(),
        }
    }
}

/// A layer without a ztoc.
pub(super) fn skipped_json(layer: &SkippedLayer) -> Value {
    json!({
        "digest": layer.digest.to_string(),
        "size": layer.size,
        "reason": layer.decision.to_string(),
        "code": layer.decision.code(),
    })
}

/// A platform without a SOCI index.
pub(super) fn left_out_json(left_out: &LeftOutPlatform) -> Value {
    json!({
        "platform": left_out.platform.as_ref().map(ToString::to_string),
        "image_manifest": left_out.image.map(|image| image.to_string()),
        "reason": left_out.reason,
        "code": left_out.code,
    })
}

#[cfg(test)]
mod tests {
    use soci_indexer::Report;

    use super::*;

    #[test]
    fn a_failure_is_an_object_with_all_keys() {
        let end: IndexEnd<'_, Report> = IndexEnd {
            image: "r/i:1",
            output: None,
            repository: None,
            result: Err(Failure::new("image-gone", "no".to_owned())),
            bytes_read: 7,
            elapsed: Duration::from_millis(1500),
        };
        let value = end.json();
        assert_eq!((&value["outcome"], &value["reason"]), (&"failed".into(), &"image-gone".into()));
        assert_eq!((&value["detail"], &value["seconds"]), (&"no".into(), &1.5.into()));
        assert_eq!(value["bytes_read"], 7);
        let keys = ["image", "output", "index", "indexes", "tag", "layers", "built", "reused"];
        assert!(keys.iter().all(|key| value.get(key).is_some()));
        assert_eq!(end.text(), "");
    }

    #[test]
    fn an_image_without_an_index_is_deployed_itself_where_it_is() {
        let image = Digest::sha256_of(b"image");
        let deploy = |reason: SkipReason, output| {
            let end: IndexEnd<'_, Report> = IndexEnd {
                image: "r.example/i:1",
                output,
                repository: Some(Repository::new("r.example", "i").unwrap()),
                result: Ok(Err(NothingToIndex { image, reason })),
                bytes_read: 0,
                elapsed: Duration::ZERO,
            };
            end.json()["deploy"].clone()
        };
        let skipped = || SkipReason::OtherPlatforms {
            has: "linux/arm64".to_owned(),
            wanted: "linux/amd64".to_owned(),
        };
        assert_eq!(deploy(skipped(), None), format!("r.example/i@{image}"));
        assert!(deploy(skipped(), Some("r.example/other")).is_null());
        let kept = SkipReason::PrefetchKept { tag: "1-soci".parse().unwrap() };
        assert!(deploy(kept, None).is_null());
    }
}
