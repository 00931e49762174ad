//! Which of the jobs that ended lately are shown: a form that needs no script, and the query that it makes.

use maud::{Markup, html};

use crate::status_store::EndedStatus;

/// Most characters of a value that are looked at.
const MAX_VALUE: usize = 200;

/// What the reader wants to see. An empty value wants everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Filter {
    /// A part of the image's name, tag or digest.
    image: String,
    outcome: String,
    reason: String,
}

impl Filter {
    /// Reads the query of a URL. What is not known is passed over.
    pub(in crate::http) fn of_query(query: &str) -> Self {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim().chars().take(MAX_VALUE).collect();
            match &*name {
                "image" => filter.image = value,
                "outcome" => filter.outcome = value,
                "reason" => filter.reason = value,
                _ => {}
            }
        }
        filter
    }

    pub(super) fn is_on(&self) -> bool {
        *self != Self::default()
    }

    pub(super) fn shows(&self, job: &EndedStatus) -> bool {
        let parts = [&job.repository, &job.tag, &job.digest].map(Option::as_deref);
        let name = match (parts[0], parts[1]) {
            (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
            _ => String::new(),
        };
        let named = |part: &str| part.contains(&self.image);
        (self.image.is_empty()
            || named(&name)
            || parts.into_iter().flatten().any(named)
            || named(&job.message_id))
            && (self.outcome.is_empty() || job.outcome == self.outcome)
            && (self.reason.is_empty() || job.reason == self.reason)
    }

    /// The form. It offers the outcomes and reasons that there are among the jobs.
    pub(super) fn form(&self, ended: &[EndedStatus]) -> Markup {
        let outcomes = values(ended.iter().map(|job| job.outcome), &self.outcome);
        let reasons = values(ended.iter().map(|job| job.reason), &self.reason);
        html! {
            form.filter method="get" role="search" aria-label="Which jobs" data-key="filter" {
                label { "Image " input type="search" name="image" value=(self.image) placeholder="name, tag or digest"; }
                label { "Outcome " (choice("outcome", &outcomes, &self.outcome)) }
                label { "Reason " (choice("reason", &reasons, &self.reason)) }
                button { "Show" }
                @if self.is_on() { " " a href="." { "all" } }
            }
        }
    }
}

/// The values that there are, in order and once; the one that is wanted is among them in any case.
fn values<'a>(values: impl Iterator<Item = &'a str>, wanted: &'a str) -> Vec<&'a str> {
    let mut values: Vec<_> = values.chain([wanted]).filter(|value| !value.is_empty()).collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn choice(name: &str, values: &[&str], wanted: &str) -> Markup {
    html! {
        select name=(name) {
            option value="" { "all" }
            @for value in values {
                option value=(value) selected[*value == wanted] { (value) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_nothing_of_it_is_believed() {
        let filter = Filter::of_query("image=team%2Fapp+&reason=panic&x=y&outcome=");
        let expected = Filter {
            image: "team/app".to_owned(),
            outcome: String::new(),
            reason: "panic".to_owned(),
        };
        assert_eq!(filter, expected);
        assert!(filter.is_on() && !Filter::of_query("a=b&&=").is_on());
        let long = format!("image={}", "x".repeat(10_000));
        assert_eq!(Filter::of_query(&long).image.len(), MAX_VALUE);
        let form = Filter::of_query("image=%22%3E%3Cscript%3E").form(&[]).into_string();
        assert!(!form.contains("<script"), "{form}");
    }
}
