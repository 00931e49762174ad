//! The repository as the checks see it: its packages, and the text of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Folders that hold nothing of the repository's own.
const SKIPPED: [&str; 3] = ["target", ".git", "__pycache__"];

/// A package of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Where it lies, from the root of the repository, as `crates/soci-oci`.
    pub(crate) folder: String,
    /// What its library and its programs are called in sources, as `soci_oci`.
    pub(crate) crates: BTreeSet<String>,
    /// What it needs outside of its tests, by name.
    pub(crate) dependencies: BTreeSet<String>,
    /// Its Rust files: path from the root of the repository, and text.
    pub(crate) files: BTreeMap<String, String>,
}

impl Package {
    /// A made-up package, for the tests of the checks.
    pub(crate) fn made_up(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = format!("crates/{name}");
        let files = files
            .iter()
            .map(|(path, text)| (format!("{folder}/{path}"), (*text).to_owned()))
            .collect();
        Self { name: name.to_owned(), folder, files, ..Self::default() }
    }

    /// A made-up package without files.
    pub(crate) fn needing(name: &str, dependencies: &[&str]) -> Self {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        Self { dependencies, ..Self::made_up(name, &[]) }
    }
}

/// All packages of the workspace.
pub(crate) fn packages() -> &'static [Package] {
    static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(read_packages);
    &PACKAGES
}

/// Cargo itself says what the packages are and need; the manifests are not parsed a second time.
fn read_packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn package(metadata: &serde_json::Value) -> Package {
    let manifest = Path::new(metadata["manifest_path"].as_str().unwrap());
    let folder = from_root(manifest.parent().unwrap());
    // The kind of an ordinary dependency is null.
    let dependencies = metadata["dependencies"].as_array().unwrap().iter();
    let dependencies = dependencies
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect();
    let compiled = metadata["targets"].as_array().unwrap().iter().filter(|target| {
        let kinds = target["kind"].as_array().unwrap();
        kinds.iter().any(|kind| kind == "lib" || kind == "bin")
    });
    let crates = compiled.map(|target| target["name"].as_str().unwrap().replace('-', "_"));
    Package {
        name: metadata["name"].as_str().unwrap().to_owned(),
        crates: crates.collect(),
        files: texts(&folder, ".rs"),
        folder,
        dependencies,
    }
}

/// The files of the repository whose names end so, with their text, below a folder.
pub(crate) fn texts(folder: &str, end: &str) -> BTreeMap<String, String> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found
        .into_iter()
        .map(|path| (from_root(&path), path))
        .filter(|(name, _)| name.ends_with(end))
        .map(|(name, path)| (name, std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The text of one file.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether a path from the root names a file or a folder.
pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
