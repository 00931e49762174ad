//! Which crate may use which. `ARCHITECTURE.md` has the same table for the reader.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::none;
use crate::tree::{Package, packages, text};

/// What every package is called, so that its name says whose it is wherever it appears.
const PREFIX: &str = "soci-";

/// A crate and what it may know.
pub(crate) struct MayUse {
    pub(crate) name: &'static str,
    /// Pure: no files, sockets, clock, environment or threads. Time and limits are arguments.
    pub(crate) pure: bool,
    /// The crates of the workspace that it may use outside of its tests.
    pub(crate) others: &'static [&'static str],
}

const fn pure(name: &'static str, others: &'static [&'static str]) -> MayUse {
    MayUse { name, pure: true, others }
}

const fn crates(name: &'static str, others: &'static [&'static str]) -> MayUse {
    MayUse { name, pure: false, others }
}

/// From the ground up: a crate uses only what stands above it, so there can be no circle.
///
/// The formats know nothing of networks, the registry's client nothing of SOCI, the indexer nothing of
/// jobs and queues, jobs touch no queue, the service calls no SDK of AWS. Only programs know all.
#[rustfmt::skip]
pub(crate) const MAY_USE: &[MayUse] = &[
    pure("soci-text", &[]),
    pure("soci-retry", &[]),
    pure("soci-ztoc", &[]),
    pure("soci-oci", &["soci-text"]),
    pure("soci-startup", &[]),
    pure("soci-manifest", &["soci-oci", "soci-text", "soci-ztoc"]),
    pure("soci-push", &["soci-manifest", "soci-oci", "soci-text"]),
    crates("soci-config", &["soci-manifest", "soci-oci", "soci-push", "soci-text"]),
    crates("soci-logs", &["soci-text"]),
    crates("soci-announce", &["soci-logs", "soci-retry"]),
    crates("soci-queue", &[]),
    crates("soci-sandbox", &["soci-oci", "soci-queue"]),
    crates("soci-registry", &["soci-oci", "soci-retry", "soci-text"]),
    crates("soci-registry-server", &["soci-oci"]),
    crates("soci-indexer", &["soci-manifest", "soci-oci", "soci-registry", "soci-retry", "soci-startup", "soci-ztoc"]),
    crates("soci-jobs", &["soci-announce", "soci-indexer", "soci-manifest", "soci-oci", "soci-push", "soci-queue", "soci-registry", "soci-retry", "soci-text"]),
    crates("soci-service", &["soci-announce", "soci-indexer", "soci-jobs", "soci-logs", "soci-manifest", "soci-oci", "soci-push", "soci-queue", "soci-registry", "soci-retry", "soci-text"]),
    crates("soci-aws", &["soci-announce", "soci-oci", "soci-push", "soci-queue", "soci-registry", "soci-retry", "soci-text"]),
    crates("soci-webhook", &["soci-announce", "soci-registry", "soci-text"]),
    crates("soci-lambda", &["soci-config", "soci-logs", "soci-push", "soci-text"]),
    crates("soci-tests", &["soci-oci", "soci-registry", "soci-registry-server", "soci-ztoc"]),
    crates("soci-faults", &["soci-oci", "soci-push", "soci-registry-server", "soci-tests"]),
    crates("soci-filter-lambda", &["soci-aws", "soci-config", "soci-lambda", "soci-logs", "soci-manifest", "soci-oci", "soci-push", "soci-queue", "soci-text"]),
    crates("soci-index-lambda", &["soci-announce", "soci-aws", "soci-config", "soci-indexer", "soci-jobs", "soci-lambda", "soci-logs", "soci-oci", "soci-push", "soci-queue", "soci-registry", "soci-retry", "soci-text", "soci-webhook"]),
    crates("soci-index-builder", &["soci-announce", "soci-aws", "soci-config", "soci-filter-lambda", "soci-index-lambda", "soci-indexer", "soci-jobs", "soci-logs", "soci-manifest", "soci-oci", "soci-push", "soci-queue", "soci-registry", "soci-registry-server", "soci-sandbox", "soci-service", "soci-text", "soci-webhook", "soci-ztoc"]),
];

/// Ends the table of `ARCHITECTURE.md`, and begins it.
const MARK: &str = "<!-- crates -->";

#[test]
fn crates_use_only_what_they_may() {
    none(&forbidden(packages(), MAY_USE));
}

#[test]
fn the_table_has_no_circles() {
    none(&unordered(MAY_USE));
}

#[test]
fn packages_carry_the_prefix() {
    none(&unprefixed(packages()));
}

#[test]
fn the_architecture_says_what_each_crate_may_know() {
    none(&differences(&text("ARCHITECTURE.md"), MAY_USE));
}

fn forbidden(packages: &[Package], table: &[MayUse]) -> Vec<String> {
    let workspace: BTreeSet<&str> = packages.iter().map(|package| &*package.name).collect();
    let mut found: Vec<String> = table
        .iter()
        .filter(|row| !workspace.contains(row.name))
        .map(|row| format!("the table has a row for {}, which is no package", row.name))
        .collect();
    for package in packages {
        let name = &package.name;
        let Some(row) = table.iter().find(|row| row.name == name) else {
            found.push(format!("{name} has no row in the table of what a crate may use"));
            continue;
        };
        let needs = package.dependencies.iter().filter(|other| workspace.contains(&***other));
        for other in needs.filter(|other| !row.others.contains(&&***other)) {
            found.push(format!("{}/Cargo.toml: {name} may not use {other}", package.folder));
        }
    }
    found
}

/// Rows that use what does not stand above them, and pure ones that use what is not pure.
fn unordered(table: &[MayUse]) -> Vec<String> {
    let mut found = Vec::new();
    let mut above: BTreeMap<&str, bool> = BTreeMap::new();
    for row in table {
        for other in row.others {
            match above.get(other) {
                None => found.push(format!("{other} does not stand above {}", row.name)),
                Some(false) if row.pure => {
                    found.push(format!("{} is pure and may use {other}, which is not", row.name));
                }
                Some(_) => {}
            }
        }
        above.insert(row.name, row.pure);
    }
    found
}

fn unprefixed(packages: &[Package]) -> Vec<String> {
    let without = packages.iter().filter(|package| !package.name.starts_with(PREFIX));
    without.map(|package| format!("{} does not begin with {PREFIX}", package.name)).collect()
}

/// What a document's table between the marks says otherwise. Its columns: crate, what it may use, and
/// any others; `pure` in a row says that the crate is.
fn differences(document: &str, table: &[MayUse]) -> Vec<String> {
    let Some(shown) = document.split(MARK).nth(1) else {
        return vec![format!("no table between two {MARK}")];
    };
    let name = Regex::new("`(soci-[a-z-]+)`").unwrap();
    let names = |cell: &str| -> BTreeSet<String> {
        name.captures_iter(cell).map(|found| found[1].to_owned()).collect()
    };
    let mut rows: BTreeMap<String, (BTreeSet<String>, bool)> = BTreeMap::new();
    for line in shown.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, own, others, more @ ..] = cells.as_slice() else { continue };
        let Some(own) = names(own).pop_first() else { continue };
        rows.insert(own, (names(others), more.contains(&"pure")));
    }
    let mut found = Vec::new();
    for row in table {
        let others = row.others.iter().map(|other| (*other).to_owned()).collect();
        match rows.remove(row.name) {
            None => found.push(format!("{} is missing", row.name)),
            Some(shown) if shown != (others, row.pure) => {
                found.push(format!("{} may use {:?}, pure: {}", row.name, row.others, row.pure));
            }
            Some(_) => {}
        }
    }
    found.extend(rows.into_keys().map(|name| format!("{name} is no crate")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[MayUse] = &[pure("soci-a", &[]), crates("soci-b", &["soci-a"])];

    #[test]
    fn what_the_table_does_not_allow_is_found() {
        let packages =
            [Package::needing("soci-a", &["soci-b", "serde"]), Package::needing("soci-c", &[])];
        let found = forbidden(&packages, TABLE);
        assert_eq!(
            found,
            [
                "the table has a row for soci-b, which is no package",
                "soci-c has no row in the table of what a crate may use",
            ]
        );
        let packages = [Package::needing("soci-a", &["soci-b"]), Package::needing("soci-b", &[])];
        assert_eq!(
            forbidden(&packages, TABLE),
            ["crates/soci-a/Cargo.toml: soci-a may not use soci-b"]
        );
    }

    #[test]
    fn a_table_with_a_circle_or_an_impure_base_is_found() {
        assert_eq!(
            unordered(&[crates("soci-a", &["soci-b"])]),
            ["soci-b does not stand above soci-a"]
        );
        let impure = unordered(&[crates("soci-a", &[]), pure("soci-b", &["soci-a"])]);
        assert_eq!(impure, ["soci-b is pure and may use soci-a, which is not"]);
    }

    #[test]
    fn names_without_the_prefix_are_found() {
        assert_eq!(unprefixed(&[Package::needing("oci", &[])]), ["oci does not begin with soci-"]);
    }

    #[test]
    fn a_document_that_says_otherwise_is_found() {
        let document =
            |rows: &str| format!("x\n{MARK}\n| crate | may use | is |\n{rows}\n{MARK}\n");
        let good = "| `soci-a` | | pure |\n| `soci-b` | `soci-a` | |";
        assert!(differences(&document(good), TABLE).is_empty());
        let bad = "| `soci-a` | | |\n| `soci-b` | | |\n| `soci-c` | | |";
        assert_eq!(differences(&document(bad), TABLE).len(), 3);
        assert_eq!(differences("nothing", TABLE).len(), 1);
    }
}
