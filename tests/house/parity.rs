//! The table of the reference's commands and flags has all of them, and says where they are.

use crate::none;
use crate::tree::text;

/// What the reference's own help lists, in its order: written by `tests/conformance/flags`.
const FLAGS: &str = "tests/conformance/reference-flags.txt";

const TABLE: &str = "docs/PARITY.md";

/// Names the release that everything is held against.
const MODULE: &str = "tests/conformance/go.mod";

#[test]
fn every_command_and_flag_of_the_reference_has_its_row() {
    none(&differences(&text(FLAGS), &text(TABLE)));
}

#[test]
fn the_table_names_the_release_that_it_is_held_against() {
    let module = text(MODULE);
    let version = module
        .lines()
        .find_map(|line| line.trim().strip_prefix("github.com/awslabs/soci-snapshotter "))
        .expect("the reference's module");
    assert!(text(TABLE).contains(&format!("v{}", version.trim_start_matches('v'))), "{version}");
}

/// What keeps the table from being the list.
fn differences(flags: &str, table: &str) -> Vec<String> {
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `soci"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut problems = Vec::new();
    let named: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let wanted: Vec<&str> = flags.lines().collect();
    if named != wanted {
        let missing = wanted.iter().filter(|flag| !named.contains(flag));
        problems.extend(missing.map(|flag| format!("{TABLE} has no row for {flag}")));
        let unknown = named.iter().filter(|flag| !wanted.contains(flag));
        problems.extend(unknown.map(|flag| format!("{TABLE}: the reference has no {flag}")));
        if problems.is_empty() {
            problems.push(format!("{TABLE}: the rows are not in the order of {FLAGS}"));
        }
    }
    for row in rows {
        let known = row.get(1).is_some_and(|state| ["have", "by design not"].contains(state));
        if !known || row.get(2).is_none_or(|words| words.is_empty()) {
            problems.push(format!("{TABLE}: {} says neither with what nor why not", row[0]));
        }
    }
    problems
}

#[test]
fn a_row_that_is_missing_unknown_empty_or_elsewhere_is_found() {
    let flags = "soci\nsoci push\n";
    let good = "| `soci` | have | x |\n| `soci push` | by design not | y |\n";
    assert_eq!(differences(flags, good), [""; 0]);
    for (table, words) in [
        ("| `soci` | have | x |\n", "no row for soci push"),
        (
            "| `soci` | have | x |\n| `soci push` | have | y |\n| `soci pull` | have | z |\n",
            "has no soci pull",
        ),
        ("| `soci push` | have | x |\n| `soci` | have | y |\n", "order"),
        ("| `soci` | have | |\n| `soci push` | have | y |\n", "neither"),
        ("| `soci` | maybe | x |\n| `soci push` | have | y |\n", "neither"),
    ] {
        let found = differences(flags, table);
        assert!(found.len() == 1 && found[0].contains(words), "{table}: {found:?}");
    }
}
