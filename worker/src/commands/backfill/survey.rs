//! Which of a repository's images want a job.

use std::collections::{HashMap, HashSet};

use soci_aws::ecr::{ImageEntry, RepositoryEntry};
use soci_manifest::Version;
use soci_oci::{Digest, Tag};
use soci_push::event::EventKind;
use soci_push::event::Timestamp;
use soci_push::{JobMessage, PushEvent, PushRules};

use super::super::enqueue::Counts;

/// Label of images that seem to be indexed.
pub(super) const INDEXED: &str = "indexed";

/// Which images are work.
#[derive(Clone, Copy, Debug)]
pub(super) struct SurveyRules<'a> {
    /// Of those whose push would be.
    pub(super) pushes: &'a PushRules,
    /// Older images are left alone.
    pub(super) pushed_after: Option<Timestamp>,
    /// Whether what seems to be indexed is work nevertheless.
    pub(super) recheck: bool,
}

/// What a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Survey {
    /// How many images there are. One with several tags counts once for each, since each has a
    /// converted image of its own.
    pub(super) images: u64,
    /// Why images are no work.
    pub(super) skipped: Counts,
    /// The others, those pushed last first.
    pub(super) jobs: Vec<JobMessage>,
    /// Bytes of the layers of these, each image once; of an image index those of its largest manifest.
    pub(super) bytes: u64,
}

/// Judges all images of a repository. Text alone decides, as with the event of a push:
///
/// - V2: an image is indexed if the tag of its converted image exists and was pushed no earlier
///   than the image itself. That errs where a tag was moved back to an older image, whose event
///   has then been lost as well; `recheck` mends that.
/// - V1: a manifest is indexed if a SOCI index refers to it. SOCI indexes refer to the manifests
///   under an image index, not to the image index itself, so image indexes are always work.
pub(super) fn survey(
    repository: &RepositoryEntry,
    mut images: Vec<ImageEntry>,
    rules: SurveyRules<'_>,
    now: Timestamp,
) -> Survey {
    images.sort_by(|a, b| b.pushed_at.cmp(&a.pushed_at).then_with(|| a.tags.cmp(&b.tags)));
    let evidence = IndexedEvidence::of(&images);
    let mut survey = Survey { images: 0, skipped: Counts::default(), jobs: Vec::new(), bytes: 0 };
    for image in &images {
        let tags: Vec<_> = image.tags.iter().map(Some).collect();
        let before = survey.jobs.len();
        for tag in if tags.is_empty() { vec![None] } else { tags } {
            survey.images += 1;
            let push = push(repository, image, tag);
            match evidence.why_not(image, &push, rules) {
                Some(reason) => survey.skipped.add(reason),
                None => survey.jobs.push(JobMessage::from_push(&push, now)),
            }
        }
        if survey.jobs.len() > before {
            survey.bytes = survey.bytes.saturating_add(image.size);
        }
    }
    survey
}

/// What tells whether images are indexed.
struct IndexedEvidence<'a> {
    pushed_at: HashMap<&'a Tag, Option<Timestamp>>,
    /// What SOCI indexes refer to.
    subjects: HashSet<Digest>,
}

impl<'a> IndexedEvidence<'a> {
    fn of(images: &'a [ImageEntry]) -> Self {
        let tags = images.iter().flat_map(|i| i.tags.iter().map(|tag| (tag, i.pushed_at)));
        let soci_index = |image: &&ImageEntry| {
            image.artifact_media_type.as_deref() == Some(Version::V1.artifact_type())
        };
        let subjects = images.iter().filter(soci_index).filter_map(|image| image.subject);
        Self { pushed_at: tags.collect(), subjects: subjects.collect() }
    }

    fn why_not(
        &self,
        image: &ImageEntry,
        push: &PushEvent,
        rules: SurveyRules<'_>,
    ) -> Option<&'static str> {
        let SurveyRules { pushes, pushed_after, recheck } = rules;
        if let Err(skipped) = pushes.judge(push) {
            return Some(skipped.label());
        }
        if let (Some(after), Some(pushed)) = (pushed_after, image.pushed_at)
            && pushed < after
        {
            return Some("pushed-before");
        }
        (!recheck && self.is_indexed(image, push, pushes)).then_some(INDEXED)
    }

    fn is_indexed(&self, image: &ImageEntry, push: &PushEvent, rules: &PushRules) -> bool {
        if rules.version == Version::V1 {
            return self.subjects.contains(&image.digest);
        }
        // Without a suffix the converted image has taken the image's own tag, and does not show.
        let output = push.tag.as_ref().filter(|_| !rules.output_suffix.is_empty());
        let output = output.and_then(|tag| format!("{tag}{}", rules.output_suffix).parse().ok());
        let converted = output.and_then(|output: Tag| self.pushed_at.get(&output));
        converted.is_some_and(|converted| *converted >= image.pushed_at)
    }
}

/// The event that the push of this image caused. An image that came without one is taken for pushed: a
/// list of images does not tell, and whoever asks for what is missing means all of it.
fn push(repository: &RepositoryEntry, image: &ImageEntry, tag: Option<&Tag>) -> PushEvent {
    let RepositoryEntry { repository, account, region } = repository.clone();
    PushEvent {
        kind: EventKind::Push,
        id: None,
        time: image.pushed_at,
        account,
        region,
        repository,
        digest: image.digest,
        tag: tag.cloned(),
        manifest_media_type: image.manifest_media_type.clone(),
        artifact_media_type: image.artifact_media_type.clone(),
    }
}

#[cfg(test)]
mod tests {
    use soci_oci::{Repository, media_type};

    use super::*;

    fn image(name: &str, tags: &[&str], day: u64) -> ImageEntry {
        ImageEntry {
            digest: Digest::sha256_of(name.as_bytes()),
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            pushed_at: Some(Timestamp::from_unix_seconds(day * 86_400)),
            size: 1,
            manifest_media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_media_type: Some(media_type::OCI_CONFIG.to_owned()),
            subject: None,
        }
    }

    fn pushes(version: Version) -> PushRules {
        let output_suffix = "-soci".to_owned();
        PushRules {
            version,
            output_suffix,
            filters: "*:*".parse().unwrap(),
            event_types: soci_push::EventTypes::default(),
            remove_results: false,
        }
    }

    fn look(pushes: &PushRules, images: Vec<ImageEntry>) -> Survey {
        look_with(SurveyRules { pushes, pushed_after: None, recheck: false }, images)
    }

    fn look_with(rules: SurveyRules<'_>, images: Vec<ImageEntry>) -> Survey {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let repository = RepositoryEntry {
            repository: Repository::new(host, "team/app").unwrap(),
            account: "123456789012".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
        };
        survey(&repository, images, rules, Timestamp::from_unix_seconds(7))
    }

    /// The tags of the jobs, or what stands for none.
    fn tags(survey: &Survey) -> String {
        let tag = |job: &JobMessage| job.tag.as_ref().map_or("-".to_owned(), ToString::to_string);
        survey.jobs.iter().map(tag).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_tag_is_a_job_and_the_latest_push_comes_first() {
        let images = vec![image("old", &["1"], 1), image("new", &["2", "latest"], 2)];
        let survey = look(&pushes(Version::V2), images);
        assert_eq!((survey.images, tags(&survey).as_str()), (3, "2 latest 1"));
        let job = &survey.jobs[2];
        assert_eq!(job.digest, Digest::sha256_of(b"old"));
        assert_eq!(job.repository.name(), "team/app");
        assert_eq!(job.enqueued_at.unix_seconds(), 7);
        assert_eq!(survey.bytes, 2, "an image with two tags counts once");
        assert_eq!(survey.skipped, Counts::default());
    }

    #[test]
    fn what_is_no_image_is_skipped_as_its_event_would_be() {
        let signature = ImageEntry {
            artifact_media_type: Some(
                "application/vnd.dev.cosign.simplesigning.v1+json".to_owned(),
            ),
            ..image("signature", &["sig"], 1)
        };
        let images = vec![signature, image("child", &[], 1), image("out", &["9-soci"], 1)];
        let survey = look(&pushes(Version::V2), images);
        assert_eq!(survey.skipped.to_string(), "1 output-tag, 1 signature, 1 untagged");
        assert!(survey.jobs.is_empty());
    }

    #[test]
    fn an_image_is_indexed_if_its_converted_image_is_not_older() {
        let images = vec![
            image("a", &["1"], 1),
            image("a converted", &["1-soci"], 1),
            image("b", &["2"], 3),
            image("b converted before", &["2-soci"], 2),
            image("c", &["3"], 1),
        ];
        let pushes = pushes(Version::V2);
        let mut survey = look(&pushes, images.clone());
        assert_eq!((tags(&survey).as_str(), survey.skipped.remove(INDEXED)), ("2 3", 1));
        let rechecked = SurveyRules { pushes: &pushes, pushed_after: None, recheck: true };
        assert_eq!(tags(&look_with(rechecked, images.clone())), "2 1 3");
        let replaced = PushRules { output_suffix: String::new(), ..pushes };
        assert_eq!(look(&replaced, images).skipped.remove(INDEXED), 0);
    }

    #[test]
    fn a_manifest_is_indexed_in_v1_if_a_soci_index_refers_to_it() {
        let (done, left) = (image("done", &[], 1), image("left", &["x"], 1));
        let index = ImageEntry {
            artifact_media_type: Some(Version::V1.artifact_type().to_owned()),
            subject: Some(done.digest),
            ..image("index", &[], 1)
        };
        let survey = look(&pushes(Version::V1), vec![done, left, index]);
        assert_eq!(survey.skipped.to_string(), "1 indexed, 1 soci-index");
        assert_eq!(tags(&survey), "x");
    }

    #[test]
    fn filters_and_dates_leave_images_out() {
        let filters = "team/*:v*,other:*".parse().unwrap();
        let pushes = PushRules { filters, ..pushes(Version::V2) };
        let after = Some(Timestamp::from_unix_seconds(2 * 86_400));
        let rules = SurveyRules { pushes: &pushes, pushed_after: after, recheck: false };
        let dateless = ImageEntry { pushed_at: None, ..image("dateless", &["v0"], 0) };
        let images = vec![
            image("old", &["v1"], 1),
            image("on the day", &["v2"], 2),
            image("unmatched", &["x"], 3),
            dateless,
        ];
        let survey = look_with(rules, images);
        assert_eq!(tags(&survey), "v2 v0");
        assert_eq!(survey.skipped.to_string(), "1 no-filter-matches, 1 pushed-before");
    }
}
