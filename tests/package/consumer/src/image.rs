//! An image of one layer, in an OCI layout on disk.

use std::error::Error;
use std::fs;
use std::path::Path;

use soci_indexer::{
    Digest, ImageName, ImageStore, IndexError, Layout, Options, SociIndexSettings, Tag,
    TagOrDigest, index_image, verify_image,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Indexes an image of a layer with twenty files.
pub async fn index(layer: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    write(folder.path(), layer)?;
    let store = Layout::open(folder.path()).await?;
    let name = ImageName::from("app".parse::<Tag>()?);

    let small = index_image(&store, &name, &Options::default()).await;
    assert!(matches!(small, Err(IndexError::Nothing { .. })), "{small:?}");

    let settings = SociIndexSettings { min_layer_size: 0, ..Default::default() };
    let options = Options { settings, ..Options::default() };
    let report = index_image(&store, &name, &options).await?;
    assert!(!report.already_there);
    assert_eq!(report.tag.as_ref().map(Tag::as_str), Some("app-soci"));
    let [built] = &report.layers[..] else { return Err("not one layer".into()) };
    assert_eq!((built.digest, built.files), (Digest::sha256_of(layer), 20));

    let bytes = store.blob_bytes(&built.ztoc, usize::try_from(built.ztoc_size)?).await?;
    // The crate on its own, and as a module of the indexer, is the same one.
    let reader: soci_indexer::ztoc::Reader<_> = soci_ztoc::Reader::from_bytes(bytes)?;
    assert!(reader.find("usr/share/11").is_some());

    let result = TagOrDigest::Digest(report.index);
    let verified = verify_image(&store, &result, &options.budget).await?;
    assert_eq!(verified.layers.len(), 1);
    let again = index_image(&store, &name, &options).await?;
    assert!(again.already_there && again.index == report.index);
    println!("{}: {} files", report.index, built.files);
    Ok(())
}

fn write(folder: &Path, layer: &[u8]) -> Result<(), Box<dyn Error>> {
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let layer = blob(folder, "application/vnd.oci.image.layer.v1.tar+gzip", layer)?;
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config = blob(folder, "application/vnd.oci.image.config.v1+json", config)?;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{{config}}},"layers":[{{{layer}}}]}}"#
    );
    let manifest = blob(folder, MANIFEST, manifest.as_bytes())?;
    let tag = r#""annotations":{"org.opencontainers.image.ref.name":"app"}"#;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{{manifest},{tag}}}]}}"#);
    Ok(fs::write(folder.join("index.json"), index)?)
}

/// Writes a blob, and says how others name it.
fn blob(folder: &Path, media_type: &str, bytes: &[u8]) -> Result<String, Box<dyn Error>> {
    let (digest, size) = (Digest::sha256_of(bytes), bytes.len());
    let blobs = folder.join("blobs").join(digest.algorithm().as_str());
    fs::create_dir_all(&blobs)?;
    fs::write(blobs.join(digest.hex()), bytes)?;
    Ok(format!(r#""mediaType":"{media_type}","digest":"{digest}","size":{size}"#))
}
