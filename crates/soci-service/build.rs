//! Tells the crate which commit it is built from: what the build was told by `SOCI_INDEX_BUILDER_COMMIT`, as for releases,
//! else what git says of the clone. Where neither is, nothing, and the program says that it does not know.
//!
//! It runs again only when the clone is at another commit, and not with every build.

use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "SOCI_INDEX_BUILDER_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let told = std::env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = told.or_else(of_clone) {
        println!("cargo::rustc-env={VARIABLE}={commit}");
    }
}

/// The commit of the clone that this workspace is. Sources that lie within a clone of something else have none.
fn of_clone() -> Option<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().ok()?;
    let top = PathBuf::from(git(&workspace, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != workspace {
        return None;
    }
    // Both change when another commit is checked out, the second one with a new commit as well.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&workspace, &["rev-parse", "--git-path", file])?;
        let path = workspace.join(path);
        // One that is not there would have this run every time.
        if path.is_file() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(&workspace, &["rev-parse", "HEAD"])
}

/// What git says in one line, if it is there and has something to say.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
