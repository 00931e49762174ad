//! Tables for people: every one that the program prints.
//!
//! Whoever prints one says of each column what is in it, and that decides how it stands: text begins at the left, as it is
//! read from there; numbers, with their units, end at the right, so that larger ones stick out. A head stands as its column,
//! and a word where a number could be, as `unknown`, stands as the numbers.

use std::fmt::Write as _;

/// A column by what is in it, with its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column<'a> {
    /// Names, digests, words.
    Text(&'a str),
    /// Counts, sizes, times.
    Number(&'a str),
}

impl Column<'_> {
    fn head(&self) -> &str {
        match self {
            Self::Text(head) | Self::Number(head) => head,
        }
    }
}

/// The form of a table, whose rows are written one by one.
#[derive(Clone, Debug)]
pub(crate) struct Table<'a, const COLUMNS: usize> {
    columns: [Column<'a>; COLUMNS],
    /// Characters of the widest cell of each column.
    widths: [usize; COLUMNS],
}

impl<'a, const COLUMNS: usize> Table<'a, COLUMNS> {
    pub(crate) fn new(columns: [Column<'a>; COLUMNS]) -> Self {
        let widths = columns.each_ref().map(|column| characters(column.head()));
        Self { columns, widths }
    }

    /// Makes room for a row.
    pub(crate) fn fit(&mut self, row: &[String; COLUMNS]) {
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(characters(cell));
        }
    }

    /// The line of the heads.
    pub(crate) fn head(&self) -> String {
        self.line(self.columns.each_ref().map(Column::head))
    }

    /// The line of a row.
    pub(crate) fn row(&self, row: &[String; COLUMNS]) -> String {
        self.line(row.each_ref().map(String::as_str))
    }

    fn line(&self, cells: [&str; COLUMNS]) -> String {
        let mut line = String::new();
        for ((column, &width), cell) in self.columns.iter().zip(&self.widths).zip(cells) {
            // Writing to a string cannot fail.
            let _ = match column {
                Column::Text(_) => write!(line, "  {cell:<width$}"),
                Column::Number(_) => write!(line, "  {cell:>width$}"),
            };
        }
        line.truncate(line.trim_end_matches(' ').len());
        line.push('\n');
        line
    }
}

/// A whole table.
pub(crate) fn table<const COLUMNS: usize>(
    columns: [Column<'_>; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let rows: Vec<_> = rows.collect();
    let mut table = Table::new(columns);
    for row in &rows {
        table.fit(row);
    }
    let lines = rows.iter().map(|row| table.row(row));
    std::iter::once(table.head()).chain(lines).collect()
}

fn characters(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::Column::{Number, Text};
    use super::*;

    #[test]
    fn text_begins_at_the_left_and_numbers_end_at_the_right() {
        let rows = [["é", "10.0 MiB", "tag 1 is gone", ""], ["sha256:ab", "unknown", "none", "x"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        let told = table([Text("digest"), Number("size"), Text("why"), Text("")], rows.into_iter());
        assert_eq!(
            told,
            "  digest         size  why\n  \
               é          10.0 MiB  tag 1 is gone\n  \
               sha256:ab   unknown  none           x\n"
        );
        assert_eq!(table([Number("files")], std::iter::empty()), "  files\n");
    }
}
