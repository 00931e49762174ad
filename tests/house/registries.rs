//! `docs/REGISTRIES.md` names the habits of the registry for tests: each that it names is there, and each
//! that is there it names, so that a claim has a test behind it and a test tells what it claims.

use std::collections::BTreeSet;

use regex::Regex;
use soci_registry_server::testing::habits;

use crate::none;
use crate::tree::text;

#[test]
fn the_habits_that_the_document_names_are_those_of_the_table() {
    none(&differences(&text("docs/REGISTRIES.md"), &habits()));
}

/// What only the document names, and what only the table has. The document names habits in code, after the
/// word `habit` or `habits`, with commas between them.
fn differences(document: &str, table: &[&str]) -> Vec<String> {
    let list = Regex::new(r"\bhabits?:? ((?:`[a-z0-9-]+`(?:, | and )?)+)").unwrap();
    let name = Regex::new(r"`([^`]+)`").unwrap();
    let named: BTreeSet<&str> = list
        .captures_iter(document)
        .flat_map(|found| name.captures_iter(found.get(1).unwrap().as_str()))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    let unknown = named.iter().filter(|name| !table.contains(name));
    let unnamed = table.iter().filter(|name| !named.contains(*name));
    unknown
        .map(|name| format!("docs/REGISTRIES.md: there is no habit `{name}`"))
        .chain(unnamed.map(|name| format!("docs/REGISTRIES.md does not name the habit `{name}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_habit_that_only_one_of_them_has_is_found() {
        let document = "habits `a-1`, `b`; `c`\n| habit `d` |\nthe habit\n";
        assert_eq!(
            differences(document, &["a-1", "d", "e"]),
            [
                "docs/REGISTRIES.md: there is no habit `b`",
                "docs/REGISTRIES.md does not name the habit `e`",
            ]
        );
    }
}
