//! What a caller decides: which image, where its result goes, and within which limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use soci_manifest::{ImageLimits, Platforms, SociIndexSettings};
use soci_oci::{Digest, Reference, Tag, TagOrDigest};

use crate::budget::Budget;
use crate::event::OnImageEvent;
use crate::output_tag::{OutputTag, USUAL_SUFFIX};
use crate::reuse::Reuse;

/// Which image of a store. It is made from a [`Tag`], a [`Digest`], or the [`Reference`] of an image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// What is read.
    pub target: TagOrDigest,
    /// The tag that the converted image's tag is made from. Without one it is made from the
    /// digest, `sha256-<hex>`.
    pub tag: Option<Tag>,
}

impl From<&Reference> for ImageName {
    fn from(reference: &Reference) -> Self {
        Self { target: reference.target(), tag: reference.tag.clone() }
    }
}

impl From<Tag> for ImageName {
    fn from(tag: Tag) -> Self {
        Self { target: TagOrDigest::Tag(tag.clone()), tag: Some(tag) }
    }
}

impl From<Digest> for ImageName {
    fn from(digest: Digest) -> Self {
        Self { target: TagOrDigest::Digest(digest), tag: None }
    }
}

/// How images are indexed. A later release may have more fields, so name those you set and take the others from
/// [`Options::default`]:
///
/// ```
/// use soci_indexer::{Generation, Options, OutputTag, SociIndexSettings};
///
/// let options = Options {
///     settings: SociIndexSettings { generation: Generation::Newer, ..Default::default() },
///     output: OutputTag::Suffix("-lazy".to_owned()),
///     ..Options::default()
/// };
/// ```
#[derive(Clone)]
pub struct Options {
    /// What is built. The default is the reference's.
    pub settings: SociIndexSettings,
    /// Which platforms.
    pub platforms: Platforms,
    /// Where the converted image goes. The default is the reference's suffix, `-soci`.
    pub output: OutputTag,
    /// Builds everything, whatever is there already, and takes nothing over. What is written is read back: a blob or
    /// manifest whose bytes are wrong by now is sent again, and [`IndexError::Damaged`](crate::IndexError::Damaged) if that
    /// does not help.
    pub force: bool,
    /// Whether the tag of an image that is named by digest and tag must still name it, in version
    /// V2: looked at before and again when the result is written, so that a later image's result
    /// is not replaced by an earlier one's. If not, [`IndexError::Superseded`](crate::IndexError::Superseded) or
    /// [`IndexError::TagGone`](crate::IndexError::TagGone). By default the tag is a name only.
    pub follow_tag: bool,
    /// Time after which a store is asked again for a manifest or layer that it does not have while others of the image
    /// are there, before the platform is left out. Replicas of a registry lag behind each other. By default it is
    /// believed at once.
    pub ask_again_after: Option<Duration>,
    /// Digest of an image index that may be this image's result (V2), for example under another
    /// tag. If it is, the ztocs in it are used.
    pub known_result: Option<Digest>,
    /// Which ztocs of layers that were indexed before are taken over. Whoever indexes several images gives all the same.
    pub reuse: Reuse,
    /// What an image may ask for.
    pub image_limits: ImageLimits,
    /// What a layer may claim.
    pub layer_limits: soci_ztoc::LayerLimits,
    /// What the layers share.
    pub budget: Budget,
    /// Told what happens.
    pub on_event: OnImageEvent,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: SociIndexSettings::default(),
            platforms: Platforms::default(),
            output: OutputTag::Suffix(USUAL_SUFFIX.to_owned()),
            force: false,
            follow_tag: false,
            ask_again_after: None,
            known_result: None,
            reuse: Reuse::default(),
            image_limits: ImageLimits::DEFAULT,
            layer_limits: soci_ztoc::LayerLimits::DEFAULT,
            budget: Budget::of_this_machine(),
            on_event: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("settings", &self.settings)
            .field("platforms", &self.platforms)
            .field("output", &self.output)
            .field("force", &self.force)
            .field("follow_tag", &self.follow_tag)
            .field("known_result", &self.known_result)
            .field("reuse", &self.reuse.scope())
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
