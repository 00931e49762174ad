//! What the campaign found, as tables in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::job::JobFate;

/// What is counted of one kind of fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) injected: usize,
    indexed: usize,
    clean: BTreeMap<String, usize>,
    unexplained: usize,
    unfinished: usize,
    lost: usize,
    wrong: usize,
}

/// The tables: a section has rows.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sections: BTreeMap<&'static str, BTreeMap<String, Tally>>,
    /// What is not as it should be, a line each.
    stories: Vec<String>,
    /// What is worth saying of a run that went well, too.
    notes: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.injected += other.injected;
        self.indexed += other.indexed;
        self.unexplained += other.unexplained;
        self.unfinished += other.unfinished;
        self.lost += other.lost;
        self.wrong += other.wrong;
        for (code, count) in &other.clean {
            *self.clean.entry(code.clone()).or_default() += count;
        }
    }

    fn bad(&self) -> usize {
        self.unexplained + self.unfinished + self.lost + self.wrong
    }

    fn cells(&self) -> String {
        let clean: Vec<String> =
            self.clean.iter().map(|(code, count)| format!("{code} {count}")).collect();
        format!(
            "{} | {} | {} | {} | {} | {} | {}",
            self.injected,
            self.indexed,
            clean.join(", "),
            self.unexplained,
            self.unfinished,
            self.lost,
            self.wrong
        )
    }
}

impl Report {
    /// Counts faults that came.
    pub(crate) fn injected(&mut self, section: &'static str, row: &str, count: usize) {
        self.row(section, row).injected += count;
    }

    /// Counts how a job ended; `of` says which it was.
    pub(crate) fn ended(&mut self, section: &'static str, row: &str, fate: &JobFate, of: &str) {
        let tally = self.row(section, row);
        let what = match fate {
            JobFate::Indexed => {
                tally.indexed += 1;
                return;
            }
            JobFate::Clean(code) => {
                *tally.clean.entry(code.clone()).or_default() += 1;
                return;
            }
            JobFate::Unexplained => {
                tally.unexplained += 1;
                "UNEXPLAINED: on the dead-letter queue without a reason"
            }
            JobFate::Unfinished => {
                tally.unfinished += 1;
                "UNFINISHED: still on the queue"
            }
            JobFate::Lost(how) => {
                tally.lost += 1;
                &format!("LOST: {how}")
            }
            JobFate::Wrong(what) => {
                tally.wrong += 1;
                &format!("WRONG: {what}")
            }
        };
        self.stories.push(format!("{row} ({of}): {what}"));
    }

    /// Something that must not be and that no job's end tells.
    pub(crate) fn fail(&mut self, story: String) {
        self.stories.push(story);
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (section, rows) in other.sections {
            for (row, tally) in rows {
                self.row(section, &row).add(&tally);
            }
        }
        self.stories.extend(other.stories);
        self.notes.extend(other.notes);
    }

    /// Whether nothing was lost, wrong, or otherwise as it must not be.
    pub(crate) fn is_good(&self) -> bool {
        self.stories.is_empty()
    }

    /// How many faults of a section have come, and of how many kinds.
    pub(crate) fn come(&self, section: &str) -> (usize, usize) {
        let rows = self.sections.get(section).into_iter().flat_map(BTreeMap::values);
        let come = rows.filter(|tally| tally.injected > 0);
        come.fold((0, 0), |(count, kinds), tally| (count + tally.injected, kinds + 1))
    }

    /// The tables, the totals and everything that is not as it should be.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for (section, rows) in &self.sections {
            let _ = write!(text, "\n{}", table(section, rows));
        }
        let _ = writeln!(text, "\n## Summary");
        for (section, rows) in &self.sections {
            let _ = write!(text, "\n{}", summary(section, rows));
        }
        for (heading, lines) in [("Notes", &self.notes), ("Failures", &self.stories)] {
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{heading}:\n");
                for line in lines {
                    let _ = writeln!(text, "- {line}");
                }
            }
        }
        text
    }

    fn row(&mut self, section: &'static str, row: &str) -> &mut Tally {
        self.sections.entry(section).or_default().entry(row.to_owned()).or_default()
    }
}

/// The table of a section.
fn table(section: &str, rows: &BTreeMap<String, Tally>) -> String {
    let mut text = format!(
        "| {section} | injected | indexed | ended with a true code | unexplained | unfinished | \
         lost | wrong |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    let mut total = Tally::default();
    for (row, tally) in rows {
        total.add(tally);
        let mark = if tally.bad() > 0 { " **!**" } else { "" };
        let _ = writeln!(text, "| {row}{mark} | {} |", tally.cells());
    }
    let _ = writeln!(text, "| **all** | {} |", total.cells());
    text
}

/// The same with one row for all that a row's name says before its colon.
fn summary(section: &str, rows: &BTreeMap<String, Tally>) -> String {
    let mut groups: BTreeMap<&str, (Tally, usize)> = BTreeMap::new();
    for (row, tally) in rows {
        let group = row.split_once(": ").map_or(row.as_str(), |(group, _)| group);
        let (sum, kinds) = groups.entry(group).or_default();
        sum.add(tally);
        *kinds += usize::from(tally.injected > 0);
    }
    let named = groups.into_iter().map(|(group, (tally, kinds))| {
        let kinds = if kinds > 1 { format!(" ({kinds} kinds)") } else { String::new() };
        (format!("{group}{kinds}"), tally)
    });
    table(section, &named.collect())
}
