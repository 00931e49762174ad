//! Images for tests of the whole: made from layers, put into a registry or an OCI layout. And this
//! product's client of a registry for tests.

mod json_schema;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use soci_oci::{Digest, media_type};
use soci_registry::{Client, ClientBuilder, RetryPolicy, Timeouts};
use soci_registry_server::testing::FakeRegistry;

pub use json_schema::violations;

/// An image with all its blobs and manifests, the root last.
#[derive(Clone, Debug, Default)]
pub struct TestImage {
    /// Blobs by digest.
    pub blobs: HashMap<Digest, Bytes>,
    /// Media type and bytes of the manifests, children first.
    pub manifests: Vec<(String, Bytes)>,
}

/// A layer of a [`TestImage`]: its media type and bytes.
pub type TestLayer = (&'static str, Bytes);

impl TestImage {
    /// An image for one platform, `os/arch`.
    pub fn single(platform: &str, layers: &[TestLayer]) -> Self {
        let mut image = Self::default();
        image.add_manifest(platform, layers, &Value::Null);
        image
    }

    /// The same with what its configuration says of how it is run.
    pub fn run(platform: &str, layers: &[TestLayer], config: &Value) -> Self {
        let mut image = Self::default();
        image.add_manifest(platform, layers, config);
        image
    }

    /// An image index of several platforms.
    pub fn index(platforms: &[(&str, &[TestLayer])]) -> Self {
        let mut image = Self::default();
        let entries: Vec<Value> = platforms
            .iter()
            .map(|(platform, layers)| {
                let mut entry = image.add_manifest(platform, layers, &Value::Null);
                let (os, architecture) = platform.split_once('/').unwrap_or((platform, ""));
                entry["platform"] = json!({ "architecture": architecture, "os": os });
                entry
            })
            .collect();
        let index = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries,
        });
        image.manifests.push((media_type::OCI_INDEX.to_owned(), index.to_string().into()));
        image
    }

    /// A manifest of something else than an image.
    pub fn artifact(config_type: &str) -> Self {
        let mut image = Self::default();
        let config = image.add_blob(config_type, Bytes::from_static(b"{}"));
        let layer = image.add_blob("application/x", Bytes::from_static(b"content"));
        image.add_document(
            media_type::OCI_MANIFEST,
            &json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": config, "layers": [layer],
            }),
        );
        image
    }

    /// The digest of the root.
    ///
    /// # Panics
    /// If the image is empty.
    pub fn digest(&self) -> Digest {
        let Some((_, root)) = self.manifests.last() else { panic!("an empty image") };
        Digest::sha256_of(root)
    }

    /// Puts the image into a registry.
    pub fn put(&self, registry: &FakeRegistry, repository: &str, tag: &str) -> Digest {
        for bytes in self.blobs.values() {
            registry.put_blob(repository, bytes.clone());
        }
        let last = self.manifests.len().saturating_sub(1);
        for (index, (kind, bytes)) in self.manifests.iter().enumerate() {
            let tag = (index == last).then_some(tag);
            registry.put_manifest(repository, tag, kind, bytes.clone());
        }
        self.digest()
    }

    /// Writes the image into a new OCI layout.
    pub fn write_layout(&self, root: &Path, tag: &str) -> std::io::Result<()> {
        let folder = root.join("blobs/sha256");
        std::fs::create_dir_all(&folder)?;
        for bytes in self.blobs.values().chain(self.manifests.iter().map(|(_, bytes)| bytes)) {
            std::fs::write(folder.join(Digest::sha256_of(bytes).hex()), bytes)?;
        }
        let Some((kind, bytes)) = self.manifests.last() else { return Ok(()) };
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": kind,
                "digest": self.digest().to_string(),
                "size": bytes.len(),
                "annotations": { "org.opencontainers.image.ref.name": tag },
            }],
        });
        std::fs::write(root.join("index.json"), index.to_string())?;
        std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn add_manifest(&mut self, platform: &str, layers: &[TestLayer], run: &Value) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap_or((platform, ""));
        let mut config = json!({
            "architecture": architecture, "os": os, "rootfs": { "type": "layers", "diff_ids": [] },
        });
        if !run.is_null() {
            config["config"] = run.clone();
        }
        let config = self.add_blob(media_type::OCI_CONFIG, config.to_string().into());
        let layers: Vec<Value> =
            layers.iter().map(|(kind, bytes)| self.add_blob(kind, bytes.clone())).collect();
        self.add_document(
            media_type::OCI_MANIFEST,
            &json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": config, "layers": layers,
            }),
        )
    }

    fn add_blob(&mut self, kind: &str, bytes: Bytes) -> Value {
        let digest = Digest::sha256_of(&bytes);
        let size = bytes.len();
        self.blobs.insert(digest, bytes);
        json!({ "mediaType": kind, "digest": digest.to_string(), "size": size })
    }

    fn add_document(&mut self, kind: &str, document: &Value) -> Value {
        let bytes = Bytes::from(document.to_string());
        let digest = Digest::sha256_of(&bytes).to_string();
        let size = bytes.len();
        self.manifests.push((kind.to_owned(), bytes));
        json!({ "mediaType": kind, "digest": digest, "size": size })
    }
}

/// This product's client of a fake registry.
pub trait FakeRegistryClient {
    /// A client builder: plain http without proxies, retries a few milliseconds apart, a stall of a
    /// second is an error.
    fn client_builder(&self) -> ClientBuilder;

    /// An anonymous client.
    ///
    /// # Panics
    /// If the client cannot be set up.
    fn client(&self) -> Client {
        match self.client_builder().build() {
            Ok(client) => client,
            Err(error) => panic!("{error}"),
        }
    }
}

impl FakeRegistryClient for FakeRegistry {
    fn client_builder(&self) -> ClientBuilder {
        let retry = RetryPolicy {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(5),
            retry_after_cap: Duration::from_millis(20),
            ..RetryPolicy::default()
        };
        let timeouts = Timeouts { stall: Duration::from_secs(1), ..Timeouts::default() };
        Client::builder().plain_http(true).proxies(false).retry(retry).timeouts(timeouts)
    }
}

/// A gzip layer of about `size` uncompressed bytes, another one for every seed.
pub fn gzip_layer(seed: u64, size: usize) -> TestLayer {
    let archive = soci_ztoc::testing::plain_archive(seed, size);
    (media_type::OCI_LAYER_GZIP, soci_ztoc::testing::gzip(&archive).into())
}

/// A layer of empty files, whose ztoc is many times as large as the layer.
pub fn many_files_layer(files: usize) -> std::io::Result<TestLayer> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in 0..files {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        archive.append_data(&mut header, format!("{file}"), &[][..])?;
    }
    let layer = soci_ztoc::testing::gzip(&archive.into_inner()?);
    Ok((media_type::OCI_LAYER_GZIP, layer.into()))
}

/// The folder with the reference's layers and images.
pub fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}
