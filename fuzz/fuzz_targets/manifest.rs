//! A manifest or image index that somebody made up: read, planned, written again.
#![no_main]

use soci_oci::{Digest, Index, Manifest, media_type};
use soci_manifest::{Image, ImageLimits, Platforms, SociIndexSettings};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::decode(bytes) {
        assert_eq!(Manifest::decode(&manifest.encode()).ok(), Some(manifest));
    }
    if let Ok(index) = Index::decode(bytes) {
        assert_eq!(Index::decode(&index.encode()).ok(), Some(index));
    }
    for media_type in [media_type::OCI_MANIFEST, media_type::OCI_INDEX] {
        let digest = Digest::sha256_of(bytes);
        let Ok(image) = Image::new(media_type, digest, bytes, ImageLimits::DEFAULT) else { continue };
        let _ = image.missing();
        let _ = image.plan(&SociIndexSettings::default(), &Platforms::All);
    }
});
