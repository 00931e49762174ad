//! One door to the subscriber of a process, so that nothing logs past the cap on what libraries may say
//! (`crates/soci-logs/src/process.rs`), and a list there of the crates that are free to speak.

use std::collections::BTreeSet;

use crate::none;
use crate::tree::{Package, packages};

/// Where a process gets its subscriber.
const DOOR: &str = "crates/soci-logs/src/process.rs";

/// What gives a process a subscriber or a logger.
const MAKES_ONE: [&str; 6] = [
    ".try_init(",
    "::try_init(",
    ".init()",
    "set_global_default(",
    "set_logger(",
    "set_boxed_logger(",
];

/// Tests only, so it logs nothing in a program.
const OF_TESTS: &str = "soci-tests";

#[test]
fn only_one_file_gives_a_process_its_subscriber() {
    none(&packages().iter().flat_map(other_doors).collect::<Vec<_>>());
}

#[test]
fn every_crate_of_the_workspace_and_no_other_is_free_to_log() {
    none(&differences(packages(), &soci_logs::OWN_CRATES));
}

fn other_doors(package: &Package) -> Vec<String> {
    let sources = package.files.iter().filter(|(path, _)| path.contains("/src/") && *path != DOOR);
    let mut found = Vec::new();
    for (path, text) in sources {
        for (number, line) in (1..).zip(text.lines()) {
            if MAKES_ONE.iter().any(|call| line.contains(call)) {
                found.push(format!("{path}:{number}: logs are set up here and not by {DOOR}"));
            }
        }
    }
    found
}

fn differences(packages: &[Package], listed: &[&str]) -> Vec<String> {
    let listed: BTreeSet<&str> = listed.iter().copied().collect();
    let own = packages.iter().filter(|package| package.name != OF_TESTS);
    let own: BTreeSet<&str> =
        own.flat_map(|package| package.crates.iter().map(String::as_str)).collect();
    let missing = own.difference(&listed).map(|name| format!("{DOOR} does not list {name}"));
    let foreign = listed.difference(&own).map(|name| format!("{DOOR} lists {name}, not a crate"));
    missing.chain(foreign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_door_is_found() {
        let package = Package::made_up(
            "soci-a",
            &[("src/lib.rs", "fn f() {\n    fmt().init();\n}"), ("tests/it.rs", "x.try_init()")],
        );
        let said = format!("crates/soci-a/src/lib.rs:2: logs are set up here and not by {DOOR}");
        assert_eq!(other_doors(&package), [said]);
    }

    #[test]
    fn a_crate_that_is_not_listed_is_found_and_so_is_one_that_is_none() {
        let package = Package {
            crates: ["soci_a".to_owned(), "a_program".to_owned()].into(),
            ..Package::needing("soci-a", &[])
        };
        let found = differences(&[package], &["soci_a", "hyper"]);
        assert_eq!(
            found,
            [format!("{DOOR} does not list a_program"), format!("{DOOR} lists hyper, not a crate")]
        );
    }
}
