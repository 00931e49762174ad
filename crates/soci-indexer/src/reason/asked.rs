//! What a registry was asked when it gave the answer that an image failed for.

use soci_manifest::ImageError;

use crate::error::{IndexError, LayerError, StoreError};

impl IndexError {
    /// What was asked of the registry when it said this: short and stable, such as `put-manifest`; empty where
    /// no answer of a registry is the reason. Two answers say the same only if they are about the same.
    pub fn asked(&self) -> &'static str {
        match self {
            Self::Superseded { .. } | Self::TagGone { .. } => "tag",
            Self::NotFound { .. } => "image",
            Self::ReferrersList { .. } | Self::Referrers { .. } | Self::NoReferrers { .. } => {
                "referrers"
            }
            Self::Layer { source: LayerError::Read(_), .. } => "layer",
            Self::Read { .. }
            | Self::Image(ImageError::ManifestMissing { .. } | ImageError::ConfigMissing { .. }) => {
                "document"
            }
            Self::Write { source: StoreError::Registry(error), .. } => {
                error.status().map_or("write", |status| written(&status.request))
            }
            _ => "",
        }
    }
}

/// Which part of a write a request is.
fn written(request: &soci_registry::RequestLine) -> &'static str {
    let url = request.url.to_string();
    let upload = url.contains("/blobs/uploads");
    match (request.method.as_str(), upload) {
        ("POST", true) => "begin-upload",
        (_, true) => "upload",
        ("PUT", false) => "put-manifest",
        ("HEAD" | "GET", false) => "look",
        _ => "write",
    }
}
