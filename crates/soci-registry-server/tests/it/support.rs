//! A registry of its own for every test.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use soci_oci::{Digest, Repository, media_type};
use soci_registry::Client;
use soci_registry_server::{
    LocalRegistry, Push, RegistryServerLimits, RegistryServerSettings, RegistryStorage,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub(crate) struct Local {
    pub(crate) registry: LocalRegistry,
    pub(crate) pushes: mpsc::Receiver<Push>,
    http: reqwest::Client,
}

impl Local {
    pub(crate) async fn start() -> Self {
        Self::with(RegistryServerLimits::default()).await
    }

    pub(crate) async fn with(limits: RegistryServerLimits) -> Self {
        Self::open(RegistryServerSettings { storage: RegistryStorage::Temporary, limits }).await
    }

    pub(crate) async fn open(settings: RegistryServerSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (registry, pushes) = LocalRegistry::start(listener, settings).await.unwrap();
        // The client installs the TLS provider that the HTTP library asks for.
        let _ = Client::builder().plain_http(true).build().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { registry, pushes, http }
    }

    pub(crate) async fn stop(self) {
        self.registry.stop(Duration::from_secs(5)).await;
    }

    pub(crate) fn repository(&self, name: &str) -> Repository {
        Repository::new(&self.registry.address().to_string(), name).unwrap()
    }

    /// A request with a path as it is, or one that the registry gave as a location.
    pub(crate) fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.registry.address());
        self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url)
    }

    pub(crate) async fn send(&self, method: &str, path: &str) -> Response {
        self.ask(method, path).send().await.unwrap()
    }

    /// Begins an upload and returns its path.
    pub(crate) async fn begin(&self, name: &str) -> String {
        let begun = self.send("POST", &format!("/v2/{name}/blobs/uploads/")).await;
        assert_eq!(begun.status(), 202);
        header(&begun, "location")
    }

    /// Pushes a blob and returns its descriptor.
    pub(crate) async fn push_blob(&self, name: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256_of(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let pushed = self.ask("POST", &path).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(pushed.status(), 201);
        json!({ "mediaType": "application/x", "digest": digest.to_string(), "size": bytes.len() })
    }

    /// Pushes a manifest and returns the answer.
    pub(crate) async fn push_manifest(
        &self,
        name: &str,
        target: &str,
        kind: &str,
        manifest: &Value,
    ) -> Response {
        let path = format!("/v2/{name}/manifests/{target}");
        let request = self.ask("PUT", &path).header("content-type", kind);
        request.body(manifest.to_string()).send().await.unwrap()
    }

    /// Pushes a manifest of one small layer, with these members on top, and returns its descriptor.
    pub(crate) async fn push_image(&self, name: &str, tag: &str, more: &Value) -> Value {
        let config = self.push_blob(name, b"{}").await;
        let layer = self.push_blob(name, b"layer").await;
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config, "layers": [layer],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            manifest[key] = value.clone();
        }
        let bytes = manifest.to_string();
        let digest = Digest::sha256_of(bytes.as_bytes()).to_string();
        let target = if tag.is_empty() { &digest } else { tag };
        let pushed = self.push_manifest(name, target, media_type::OCI_MANIFEST, &manifest).await;
        assert_eq!(pushed.status(), 201);
        json!({ "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": bytes.len() })
    }
}

pub(crate) fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("no {name}"));
    value.to_str().unwrap().to_owned()
}

/// The error code of an answer.
pub(crate) async fn code(response: Response) -> String {
    json_of(response).await["errors"][0]["code"].as_str().unwrap().to_owned()
}

/// The JSON body of an answer.
pub(crate) async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}
