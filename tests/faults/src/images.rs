//! The images of the campaign, and what an undisturbed run makes of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;
use soci_oci::media_type::OCI_LAYER_GZIP;
use soci_oci::{Digest, TagOrDigest};
use soci_registry_server::testing::FakeRegistry;
use soci_tests::{TestImage, gzip_layer};

use crate::worker::IndexVersion;

/// The tag that images are pushed under.
pub(crate) const TAG: &str = "v1";

/// The tag of a result of version V2.
pub(crate) const OUTPUT_TAG: &str = "v1-soci";

/// Uncompressed bytes of a layer that is fetched in parts of 8 MiB.
const LARGE: usize = 36 << 20;

/// An image, and what faults aim at in it.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) image: TestImage,
    /// The configuration of its first platform.
    pub(crate) config: Digest,
    /// The last layer of its first platform, the largest.
    pub(crate) layer: Digest,
    /// What becomes of it, by version.
    expected: BTreeMap<IndexVersion, Expected>,
}

/// What is in a repository after an undisturbed run.
#[derive(Clone, Debug)]
struct Expected {
    manifests: BTreeSet<Digest>,
    output: Option<Digest>,
}

/// Which image a job has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShapeName {
    /// One platform, two small layers.
    Small,
    /// Two platforms.
    Index,
    /// One platform, one layer in parts.
    Large,
    /// A layer that is no archive, so that there never is an index.
    Broken,
}

impl ShapeName {
    /// Those that get an index.
    pub(crate) const SOUND: [Self; 3] = [Self::Small, Self::Index, Self::Large];
}

/// What a repository holds in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The index that an undisturbed run makes.
    Right,
    /// Nothing that can be taken for an index.
    Nothing,
    /// Something else, as told.
    Wrong(String),
}

/// All images.
#[derive(Debug)]
pub(crate) struct Shapes(Vec<Shape>);

impl Shapes {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let base = gzip_layer(1, 60 << 10);
        let (one, two) = (gzip_layer(2, 200 << 10), gzip_layer(3, 150 << 10));
        let images = [
            TestImage::single("linux/amd64", &[base.clone(), one.clone()]),
            TestImage::index(&[
                ("linux/amd64", &[base.clone(), one]),
                ("linux/arm64", &[base.clone(), two]),
            ]),
            TestImage::single("linux/amd64", &[base, gzip_layer(4, LARGE)]),
            TestImage::single("linux/amd64", &[(OCI_LAYER_GZIP, Bytes::from_static(b"no gzip"))]),
        ];
        images.into_iter().map(Shape::of).collect::<anyhow::Result<_>>().map(Self)
    }

    pub(crate) fn get(&self, name: ShapeName) -> &Shape {
        // `make` has an image for each name, in their order.
        &self.0[name as usize]
    }

    /// Remembers what a repository holds as what the image's undisturbed run makes.
    pub(crate) fn learn(
        &mut self,
        name: ShapeName,
        version: IndexVersion,
        registry: &FakeRegistry,
        repository: &str,
    ) -> anyhow::Result<()> {
        let expected = Expected {
            manifests: registry.manifests(repository).into_iter().collect(),
            output: output(registry, repository),
        };
        let own = self.get(name).image.manifests.len();
        let made = expected.manifests.len() > own;
        let tagged = (version == IndexVersion::V2) == expected.output.is_some();
        anyhow::ensure!(
            made && tagged,
            "the undisturbed run made no index of {name:?} {version:?}"
        );
        self.0[name as usize].expected.insert(version, expected);
        Ok(())
    }
}

impl Shape {
    /// What the result's tag names after an undisturbed run of version V2.
    pub(crate) fn output(&self) -> Option<Digest> {
        self.expected.get(&IndexVersion::V2)?.output
    }

    fn of(image: TestImage) -> anyhow::Result<Self> {
        let (_, first) = image.manifests.first().ok_or(anyhow::anyhow!("an empty image"))?;
        let document: Value = serde_json::from_slice(first)?;
        let digest = |value: &Value| value["digest"].as_str().unwrap_or_default().parse();
        let config = digest(&document["config"])?;
        let last = document["layers"].as_array().and_then(|layers| layers.last());
        let layer = digest(last.unwrap_or(&Value::Null))?;
        Ok(Self { image, config, layer, expected: BTreeMap::new() })
    }

    /// What a repository holds of the image's index.
    pub(crate) fn found(
        &self,
        version: IndexVersion,
        registry: &FakeRegistry,
        repository: &str,
    ) -> Found {
        let manifests: BTreeSet<Digest> = registry.manifests(repository).into_iter().collect();
        let Some(expected) = self.expected.get(&version) else {
            let own = manifests.len() == self.image.manifests.len();
            return if own { Found::Nothing } else { Found::Wrong("it got an index".to_owned()) };
        };
        let mut strangers = manifests.difference(&expected.manifests);
        if let Some(stranger) = strangers.find(|m| !is_list(registry, repository, m, expected)) {
            return Found::Wrong(format!("{stranger} is none of its manifests"));
        }
        if let Some(missing) = incomplete(registry, repository) {
            return Found::Wrong(missing);
        }
        match (output(registry, repository), &expected.output) {
            (None, Some(_)) => Found::Nothing,
            (Some(output), Some(expected)) if output != *expected => {
                Found::Wrong(format!("{OUTPUT_TAG} is {output}, not {expected}"))
            }
            (Some(output), None) => Found::Wrong(format!("{OUTPUT_TAG} is {output}")),
            _ if manifests.is_superset(&expected.manifests) => Found::Right,
            // Of version V1 a part may be there; it is found with the image, and right as it is.
            _ => Found::Nothing,
        }
    }
}

/// What the result's tag names.
pub(crate) fn output(registry: &FakeRegistry, repository: &str) -> Option<Digest> {
    let tags = registry.tags(repository);
    tags.into_iter().find_map(|(tag, digest)| (tag == OUTPUT_TAG).then_some(digest))
}

/// Whether a manifest is a list of referrers, as clients keep it where the registry says that it does
/// not, and lists nothing but what belongs to the image.
fn is_list(
    registry: &FakeRegistry,
    repository: &str,
    manifest: &Digest,
    expected: &Expected,
) -> bool {
    let Some((_, bytes)) = registry.manifest(repository, &TagOrDigest::Digest(*manifest)) else {
        return false;
    };
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let own = |listed: &Value| {
        let digest = listed["digest"].as_str().and_then(|digest| digest.parse().ok());
        digest.is_some_and(|digest| expected.manifests.contains(&digest))
    };
    let listed = document["manifests"].as_array();
    expected.output.is_none() && listed.is_some_and(|listed| listed.iter().all(own))
}

/// What a manifest in the repository names and the repository lacks.
fn incomplete(registry: &FakeRegistry, repository: &str) -> Option<String> {
    let manifests = registry.manifests(repository);
    let there: BTreeSet<Digest> =
        registry.blobs(repository).into_iter().chain(manifests.iter().copied()).collect();
    for manifest in manifests {
        let target = TagOrDigest::Digest(manifest);
        let Some((_, bytes)) = registry.manifest(repository, &target) else { continue };
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let lists = ["layers", "manifests"].map(|list| document[list].as_array());
        let named = lists.into_iter().flatten().flatten().chain([&document["config"]]);
        for name in named.filter_map(|named| named["digest"].as_str()) {
            if !name.parse().is_ok_and(|digest| there.contains(&digest)) {
                return Some(format!("{manifest} names {name}, which is not there"));
            }
        }
    }
    None
}
