//! Platforms of an image that are left out, so that the others can be indexed.
//!
//! The reference fails on the image for each of these. Here that is so where a platform was asked for by name, with strict
//! settings, and where nothing else is left; the first reason stands for all then.

use soci_oci::{Digest, Platform};

use crate::error::ImageError;

/// A platform that gets no SOCI index, though the image has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOutPlatform {
    /// The platform, if anything tells it.
    pub platform: Option<Platform>,
    /// Digest of its manifest, if it is known which.
    pub image: Option<Digest>,
    /// Why, as a stable name: lower case, words joined by hyphens.
    pub code: &'static str,
    /// Why, in words.
    pub reason: String,
}

/// What is left out while a plan is made.
pub(super) struct LeftOutSoFar {
    /// Whether anything may be.
    allowed: bool,
    platforms: Vec<LeftOutPlatform>,
    first: Option<ImageError>,
}

impl LeftOutSoFar {
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed, platforms: Vec::new(), first: None }
    }

    /// What was found for a platform, or nothing if the platform is left out for `found`.
    pub(super) fn or_leave_out<T>(
        &mut self,
        platform: Option<&Platform>,
        image: Option<Digest>,
        found: Result<T, ImageError>,
    ) -> Result<Option<T>, ImageError> {
        let error = match found {
            Ok(found) => return Ok(Some(found)),
            Err(error) => error,
        };
        let Some(code) = error.of_one_platform().filter(|_| self.allowed) else {
            return Err(error);
        };
        let image = match &error {
            ImageError::ManifestMissing { digest, .. } => Some(*digest),
            _ => image,
        };
        let (platform, reason) = (platform.cloned(), error.to_string());
        self.platforms.push(LeftOutPlatform { platform, image, code, reason });
        self.first.get_or_insert(error);
        Ok(None)
    }

    /// The platforms, and the first reason. If nothing is left of the image, that is the error.
    pub(super) fn finish(
        self,
        nothing_left: bool,
    ) -> Result<(Vec<LeftOutPlatform>, Option<ImageError>), ImageError> {
        match self.first {
            Some(error) if nothing_left => Err(error),
            first => Ok((self.platforms, first)),
        }
    }
}
