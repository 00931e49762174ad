//! Serves a registry with a temporary folder until it is stopped:
//!
//! ```text
//! cargo run -p soci-registry-server --example serve
//! cargo run -p soci-registry-server --example serve -- profiles
//! cargo run -p soci-registry-server --example serve -- PROFILE [LAYOUT REPOSITORY...]
//! ```
//!
//! The first is the registry of this crate. The second prints the names of the habits that the registry
//! for tests knows, one a line. The third is that registry with one of these habits, or with none if
//! PROFILE is `none`: it gives tokens to everybody, redirects blobs to its storage where that has the
//! habit, and each repository has the image of the layout as tag `1`.
//!
//! Prints host and port, on which nothing else is, in the first line; the third prints a second line once
//! a request has met the habit.

use std::error::Error;
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use soci_registry_server::testing::{
    FakeAuth, FakeOptions, FakeRegistry, TokenUser, habits, shows_at_storage,
};
use soci_registry_server::{LocalRegistry, RegistryServerSettings};
use tokio::net::TcpListener;

/// The tag of the image in each repository.
const TAG: &str = "1";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => ordinary().await,
        [word] if word == "profiles" => {
            for name in habits() {
                println!("{name}");
            }
            Ok(())
        }
        [profile] => misbehaving(profile, None).await,
        [profile, layout, repositories @ ..] => {
            misbehaving(profile, Some((Path::new(layout), repositories))).await
        }
    }
}

async fn ordinary() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (registry, mut pushes) =
        LocalRegistry::start(listener, RegistryServerSettings::default()).await?;
    println!("{}", registry.address());
    // Pushes are told for as long as the registry runs, and nobody wants to know of them.
    while pushes.recv().await.is_some() {}
    Ok(())
}

async fn misbehaving(
    profile: &str,
    image: Option<(&Path, &[String])>,
) -> Result<(), Box<dyn Error>> {
    // Some habits are those of the token endpoint.
    let auth = FakeAuth::Bearer { user: TokenUser::Anyone, lifetime: Duration::from_mins(10) };
    let known = habits().contains(&profile);
    if !known && profile != "none" {
        return Err(format!("no habit is named {profile:?}").into());
    }
    let redirect_blobs = known && shows_at_storage(profile);
    let fake =
        FakeRegistry::with(FakeOptions { auth, redirect_blobs, ..FakeOptions::default() }).await;
    if known {
        fake.behave(profile);
    }
    if let Some((layout, repositories)) = image {
        for repository in repositories {
            put(&fake, layout, repository)?;
        }
    }
    println!("{}", fake.host());
    while known && !fake.has_shown(profile) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{profile} was met");
    pending().await
}

/// Puts the image of a layout there, past all habits.
fn put(fake: &FakeRegistry, layout: &Path, repository: &str) -> Result<(), Box<dyn Error>> {
    let read = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().ok_or("a descriptor without a digest")?;
        let bytes = std::fs::read(layout.join("blobs").join(digest.replace(':', "/")))?;
        Ok::<_, Box<dyn Error>>(bytes)
    };
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let root = index["manifests"].get(0).ok_or("the layout has no image")?;
    let mut left = vec![(root.clone(), Some(TAG))];
    while let Some((descriptor, tag)) = left.pop() {
        let bytes = read(&descriptor)?;
        let manifest: Value = serde_json::from_slice(&bytes)?;
        let media_type = descriptor["mediaType"].as_str().ok_or("a manifest without a type")?;
        fake.put_manifest(repository, tag, media_type, bytes);
        let list = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
        for blob in list("layers").iter().chain(manifest.get("config")) {
            fake.put_blob(repository, read(blob)?);
        }
        left.extend(list("manifests").into_iter().map(|child| (child, None)));
    }
    Ok(())
}
