//! Pushes that are no work: what this project and other tools push beside images.
//!
//! ECR tells of every manifest that is pushed, and one V2 build causes three such events by itself.
//! What the event shows to be no image is stopped here, before anything is fetched. Two of the rules
//! are more than thrift: a converted image that was taken for input would be converted again, and
//! its result after it, without an end; and V2 has no tag to give the result of an untagged push.
//!
//! The rules err on one side. A skip is final, since nobody looks at the image afterwards, so a push
//! is skipped only for what its event says clearly. Everything else is work, and whoever indexes it
//! finds out from its documents that there is nothing to index.

use std::fmt;

use soci_manifest::Version;
use soci_oci::{Tag, referrers};

use super::PushEvent;

/// Why a push needs no SOCI index, as far as the event alone tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skip {
    /// The tag ends in the suffix of converted images, so it is output, not input.
    OutputTag {
        /// The tag.
        tag: Tag,
        /// The suffix.
        suffix: String,
    },
    /// A SOCI index.
    SociIndex {
        /// The media type that says so.
        media_type: String,
    },
    /// A signature: cosign, sigstore or Notary.
    Signature {
        /// The media type that says so.
        media_type: String,
    },
    /// A software bill of materials: SPDX, CycloneDX, Syft or Harbor.
    Sbom {
        /// The media type that says so.
        media_type: String,
    },
    /// An attestation: in-toto, DSSE or BuildKit.
    Attestation {
        /// The media type that says so.
        media_type: String,
    },
    /// A Helm chart.
    HelmChart {
        /// The media type that says so.
        media_type: String,
    },
    /// A tag that names what refers to another manifest.
    ReferrersTag {
        /// The tag.
        tag: Tag,
    },
    /// A manifest without a tag: V2 gives its output a tag made from the input's, and the
    /// manifests under an image index arrive so.
    Untagged,
}

impl Skip {
    /// A short name for counters and logs: stable, lower case, words joined by hyphens.
    pub fn label(&self) -> &'static str {
        match self {
            Self::OutputTag { .. } => "output-tag",
            Self::SociIndex { .. } => "soci-index",
            Self::Signature { .. } => "signature",
            Self::Sbom { .. } => "sbom",
            Self::Attestation { .. } => "attestation",
            Self::HelmChart { .. } => "helm-chart",
            Self::ReferrersTag { .. } => "referrers-tag",
            Self::Untagged => "untagged",
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutputTag { tag, suffix } => {
                write!(f, "tag \"{tag}\" ends in {suffix:?}, so the image is already converted")
            }
            Self::SociIndex { media_type } => {
                write!(f, "it is a SOCI index (media type {media_type:?})")
            }
            Self::Signature { media_type } => {
                write!(f, "it is a signature (media type {media_type:?})")
            }
            Self::Sbom { media_type } => write!(f, "it is an SBOM (media type {media_type:?})"),
            Self::Attestation { media_type } => {
                write!(f, "it is an attestation (media type {media_type:?})")
            }
            Self::HelmChart { media_type } => {
                write!(f, "it is a Helm chart (media type {media_type:?})")
            }
            Self::ReferrersTag { tag } => {
                write!(f, "tag \"{tag}\" names what refers to another manifest")
            }
            Self::Untagged => f.write_str(
                "it has no tag: V2 converts tagged images, with all manifests under them",
            ),
        }
    }
}

/// Why the push needs no SOCI index of `version`, or `None` if it may be an image that does.
/// `output_suffix` is what the tags of converted images end in; with an empty one no tag counts as
/// output, and the image's content has to tell.
///
/// The event's media types are optional, so `None` promises nothing.
pub fn why_not(event: &PushEvent, version: Version, output_suffix: &str) -> Option<Skip> {
    if let Some(skip) = is_output(event.tag.as_ref(), output_suffix) {
        return Some(skip);
    }
    // The artifact's type first: a manifest's own is mostly that of any OCI manifest.
    let media_types = [&event.artifact_media_type, &event.manifest_media_type];
    if let Some(skip) = media_types.into_iter().flatten().find_map(|given| by_media_type(given)) {
        return Some(skip);
    }
    why_not_tag(event.tag.as_ref(), version, output_suffix)
}

/// The same where only a tag is known, or that there is none.
pub(crate) fn why_not_tag(
    tag: Option<&Tag>,
    version: Version,
    output_suffix: &str,
) -> Option<Skip> {
    if let Some(skip) = is_output(tag, output_suffix) {
        return Some(skip);
    }
    match tag {
        Some(tag) if is_referrers_tag(tag.as_str()) => {
            Some(Skip::ReferrersTag { tag: tag.clone() })
        }
        None if version == Version::V2 => Some(Skip::Untagged),
        _ => None,
    }
}

fn is_output(tag: Option<&Tag>, suffix: &str) -> Option<Skip> {
    let tag = tag.filter(|tag| !suffix.is_empty() && tag.as_str().ends_with(suffix))?;
    Some(Skip::OutputTag { tag: tag.clone(), suffix: suffix.to_owned() })
}

/// What a media type says that an image's does not. Case and parameters make no difference
/// (RFC 6838, section 4.2).
///
/// Sources: the media types that cosign, sigstore, notation, Syft, Harbor, BuildKit and Helm
/// document or push; those of SPDX, CycloneDX and in-toto are IANA's.
fn by_media_type(given: &str) -> Option<Skip> {
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let media_type = given.to_owned();
    let of = |prefixes: &[&str]| prefixes.iter().any(|prefix| essence.starts_with(prefix));
    // From the narrow to the wide: cosign has types for SBOMs and attestations, the rest of its
    // types are signatures.
    if of(&["application/vnd.amazon.soci."]) {
        Some(Skip::SociIndex { media_type })
    } else if of(&[
        "application/spdx",
        "text/spdx",
        "application/vnd.cyclonedx",
        "application/vnd.syft",
        "application/vnd.dev.cosign.artifact.sbom.",
        "application/vnd.goharbor.harbor.sbom.",
    ]) {
        Some(Skip::Sbom { media_type })
    } else if of(&[
        "application/vnd.in-toto",
        "application/vnd.dsse.envelope.",
        "application/vnd.docker.attestation.",
        "application/vnd.dev.cosign.artifact.att.",
    ]) {
        Some(Skip::Attestation { media_type })
    } else if of(&[
        "application/vnd.dev.cosign.",
        "application/vnd.dev.sigstore.",
        "application/vnd.cncf.notary.",
    ]) {
        Some(Skip::Signature { media_type })
    } else if of(&["application/vnd.cncf.helm."]) {
        Some(Skip::HelmChart { media_type })
    } else {
        None
    }
}

/// Whether a tag lists the referrers of a manifest, or does so but for one of cosign's suffixes.
fn is_referrers_tag(tag: &str) -> bool {
    let cosign = [".sig", ".att", ".sbom"].iter().find_map(|suffix| tag.strip_suffix(suffix));
    referrers::is_tag(cosign.unwrap_or(tag))
}

#[cfg(test)]
mod tests {
    use soci_oci::{Digest, Repository, media_type};

    use super::*;

    fn event(tag: &str) -> PushEvent {
        let (account, region) = ("123456789012".parse().unwrap(), "eu-west-1".parse().unwrap());
        let host = super::super::registry_host(&account, &region);
        PushEvent {
            kind: crate::event::EventKind::Push,
            id: None,
            time: None,
            repository: Repository::new(&host, "app").unwrap(),
            account,
            region,
            digest: Digest::sha256_of(b"{}"),
            tag: (!tag.is_empty()).then(|| tag.parse().unwrap()),
            manifest_media_type: None,
            artifact_media_type: None,
        }
    }

    fn label(event: &PushEvent, version: Version, suffix: &str) -> Option<&'static str> {
        why_not(event, version, suffix).map(|skip| {
            assert!(!skip.to_string().is_empty());
            skip.label()
        })
    }

    fn by_type(media_type: &str) -> [Option<&'static str>; 2] {
        let (mut artifact, mut manifest) = (event("1"), event("1"));
        artifact.manifest_media_type = Some(media_type::OCI_MANIFEST.to_owned());
        artifact.artifact_media_type = Some(media_type.to_owned());
        manifest.manifest_media_type = Some(media_type.to_owned());
        [label(&artifact, Version::V1, "-soci"), label(&manifest, Version::V2, "-soci")]
    }

    #[test]
    fn an_image_is_work_in_both_versions() {
        for version in [Version::V1, Version::V2] {
            assert_eq!(label(&event("v1.0"), version, "-soci"), None);
        }
        for media_type in [
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
            media_type::OCI_CONFIG,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_MANIFEST_LIST,
            media_type::DOCKER_CONFIG,
        ] {
            assert_eq!(by_type(media_type), [None, None], "{media_type}");
        }
    }

    #[test]
    fn the_output_suffix_counts_at_the_end_and_only_if_there_is_one() {
        for (tag, suffix, expected) in [
            ("1-soci", "-soci", Some("output-tag")),
            ("1-soci-2", "-soci", None),
            ("1-SOCI", "-soci", None),
            ("1-soci", ".lazy", None),
            ("1-soci", "", None),
        ] {
            for version in [Version::V1, Version::V2] {
                assert_eq!(label(&event(tag), version, suffix), expected, "{tag} {suffix}");
            }
        }
    }

    #[test]
    fn every_kind_of_artifact_is_told_by_either_media_type() {
        for (media_type, expected) in [
            (Version::V1.artifact_type(), "soci-index"),
            (Version::V2.artifact_type(), "soci-index"),
            ("application/vnd.dev.cosign.artifact.sig.v1+json", "signature"),
            ("application/vnd.dev.cosign.simplesigning.v1+json", "signature"),
            ("application/vnd.dev.sigstore.bundle.v0.3+json", "signature"),
            ("application/vnd.cncf.notary.signature", "signature"),
            ("application/vnd.dev.cosign.artifact.sbom.v1+json", "sbom"),
            ("application/spdx+json", "sbom"),
            ("text/spdx", "sbom"),
            ("application/vnd.cyclonedx+json", "sbom"),
            ("application/vnd.syft+json", "sbom"),
            ("application/vnd.goharbor.harbor.sbom.v1", "sbom"),
            ("application/vnd.in-toto+json", "attestation"),
            ("application/vnd.dsse.envelope.v1+json", "attestation"),
            ("application/vnd.docker.attestation.manifest.v1+json", "attestation"),
            ("application/vnd.dev.cosign.artifact.att.v1+json", "attestation"),
            ("application/vnd.cncf.helm.config.v1+json", "helm-chart"),
            ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "helm-chart"),
            ("Application/VND.in-toto+json ; q=1", "attestation"),
        ] {
            assert_eq!(by_type(media_type), [Some(expected); 2], "{media_type}");
        }
    }

    #[test]
    fn tags_of_the_referrers_schema_are_told_from_others_like_them() {
        let hex = "0123456789abcdef".repeat(4);
        for tag in [
            format!("sha256-{hex}"),
            format!("sha256-{hex}.sig"),
            format!("sha256-{hex}.att"),
            format!("sha256-{hex}.sbom"),
            format!("sha512-{hex}"),
            format!("sha384-{}", "0".repeat(96)),
        ] {
            assert_eq!(label(&event(&tag), Version::V2, ""), Some("referrers-tag"), "{tag}");
        }
        for tag in [
            "sha256".to_owned(),
            format!("sha256-{}", &hex[1..]),
            format!("sha256-{}", hex.to_uppercase()),
            format!("sha256-{hex}.image"),
            format!("sha256-{hex}.sig.1"),
            format!("md5-{hex}"),
        ] {
            assert_eq!(label(&event(&tag), Version::V2, ""), None, "{tag}");
        }
    }

    #[test]
    fn without_a_tag_only_v1_has_work() {
        assert_eq!(label(&event(""), Version::V2, "-soci"), Some("untagged"));
        assert_eq!(label(&event(""), Version::V1, "-soci"), None);
    }
}
