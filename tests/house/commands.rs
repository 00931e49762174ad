//! There is one list of commands: what `.ci/run` runs, a recipe of the justfile runs as well, so that a
//! check that fails in a pull request is one word away on a desk. And what a workflow takes from
//! others is pinned by commit: a tag can be moved to other code by whoever holds it.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::none;
use crate::tree::{text, texts};

#[test]
fn every_step_is_a_recipe() {
    none(&without_recipe(&text(".ci/run"), &text("justfile")));
}

#[test]
fn what_is_left_to_the_night_runs_then() {
    none(&not_at_night(&text(".ci/run"), &text(".github/workflows/nightly.yml")));
}

#[test]
fn actions_are_pinned_by_commit() {
    none(&unpinned(&texts(".github", ".yml")));
}

/// The commands of steps that no recipe has as a line.
fn without_recipe(steps: &str, recipes: &str) -> Vec<String> {
    let argument = Regex::new(r" \{\{[^}]+\}\}").unwrap();
    let recipes: BTreeSet<String> = recipes
        .lines()
        .filter(|line| line.starts_with(' '))
        .map(|line| argument.replace_all(line.trim().trim_start_matches('@'), "").into_owned())
        .collect();
    let step = Regex::new(r#"(?m)^\s*(?:night_)?step "([^"]+)" (.+)$"#).unwrap();
    // Which programs are tested is .ci/run's own affair.
    let chosen = Regex::new(r#"^env ("\$\{[a-z]+\[@\]\}" )?"#).unwrap();
    step.captures_iter(steps)
        .map(|found| (found[1].to_owned(), chosen.replace(&found[2], "").into_owned()))
        .filter(|(_, command)| !recipes.contains(command))
        .map(|(name, command)| format!("no recipe for the step {name}: {command}"))
        .collect()
}

/// The commands of steps of the night that its workflow does not run.
fn not_at_night(steps: &str, nightly: &str) -> Vec<String> {
    let step = Regex::new(r#"(?m)^\s*night_step "([^"]+)" .*?(tests/\S+)$"#).unwrap();
    let runs = |command: &str| nightly.lines().any(|line| line.trim_end().ends_with(command));
    let steps = step.captures_iter(steps).map(|found| (found[1].to_owned(), found[2].to_owned()));
    steps
        .filter(|(_, command)| !runs(command))
        .map(|(name, command)| format!("nightly.yml does not run {name}: {command}"))
        .collect()
}

fn unpinned(workflows: &BTreeMap<String, String>) -> Vec<String> {
    let uses = Regex::new(r"uses:\s*(.+)").unwrap();
    let pinned = Regex::new(r"^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$").unwrap();
    let mut found = Vec::new();
    for (file, text) in workflows {
        for (number, line) in (1..).zip(text.lines()) {
            let Some(action) = uses.captures(line).map(|found| found[1].to_owned()) else {
                continue;
            };
            if !pinned.is_match(&action) {
                found.push(format!(
                    "{file}:{number}: not pinned as `NAME@COMMIT # vN.N.N`: {action}"
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_without_a_recipe_is_found() {
        let steps = "step \"tests\" cargo test\n    step \"ends\" env \"${programs[@]}\" ./e2e\nstep \"x\" env A=1 run";
        assert!(
            without_recipe(
                steps,
                "test:\n    cargo test\n    A=1 run\ne2e *X:\n    @./e2e {{X}}\n"
            )
            .is_empty()
        );
        let found =
            without_recipe(steps, "test:\n    cargo test --quiet\n    A=1 run\n    ./e2e\n");
        assert_eq!(found, ["no recipe for the step tests: cargo test"]);
    }

    #[test]
    fn a_step_that_no_night_runs_is_found() {
        let steps = "night_step \"a\" tests/a/run\n  night_step \"b\" env X=1 tests/b/run\nstep \"c\" tests/c/run";
        assert!(not_at_night(steps, "- run: tests/a/run\n- run: X=2 tests/b/run\n").is_empty());
        let found = not_at_night(steps, "- run: tests/a/run\n- run: tests/b/run --other\n");
        assert_eq!(found, ["nightly.yml does not run b: tests/b/run"]);
    }

    #[test]
    fn an_action_named_by_its_tag_is_found() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let text = format!(
            "- uses: a/b@{commit} # v1.2.3\n- uses: a/b@v1\n  uses: a/b@{commit}\n- run: x\n"
        );
        let found = unpinned(&BTreeMap::from([("ci.yml".to_owned(), text)]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("ci.yml:2"));
    }
}
