//! The page of results: a section a part, each with the circumstances under which it was measured, so that one part
//! can be measured anew without the others.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::figure::{Figure, Reading, Unit};

/// What stands above all sections.
const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench`, which measures the parts that it is asked for and replaces their sections. Only ratios taken
in one run on one host mean anything: measure again beside your own change. The programs take turns, and medians count. Times are
the host's, with the CPU time (user and system, all threads) in parentheses; a floor is held against the first. ✓ and ✗ say
whether it holds. What was not run is not quoted.

";

/// A table of times or sizes of one unit.
#[derive(Clone, Debug)]
pub struct Table {
    /// What it has.
    pub title: String,
    /// Of every number.
    pub unit: Unit,
    /// The heads, that of the names included.
    pub columns: Vec<String>,
    /// A name, and a number for each of the other columns.
    pub rows: Vec<(String, Vec<Reading>)>,
}

/// What one part came to.
#[derive(Clone, Debug)]
pub struct Section {
    /// The heading: of a section that is there already, it is what it is found by.
    pub title: &'static str,
    /// What is measured and how, in sentences.
    pub intro: String,
    /// Against floors.
    pub figures: Vec<Figure>,
    /// Beside them.
    pub tables: Vec<Table>,
    /// Command lines, by what they start.
    pub commands: Vec<(String, String)>,
}

/// What must stand beside a figure for it to mean anything, by name.
pub type Circumstances = [(String, String)];

impl Section {
    /// As Markdown, from its heading on.
    pub fn markdown(&self, circumstances: &Circumstances) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.intro.trim());
        if !self.figures.is_empty() {
            text += &rows(Figure::COLUMNS.map(str::to_owned), self.figures.iter().map(Figure::cells));
            text.push('\n');
        }
        for table in &self.tables {
            let cells = |(name, readings): &(String, Vec<Reading>)| {
                std::iter::once(name.clone()).chain(readings.iter().map(|it| it.show(table.unit))).collect::<Vec<_>>()
            };
            text += &format!("{}:\n\n", table.title);
            text += &rows(table.columns.clone(), table.rows.iter().map(cells));
            text.push('\n');
        }
        for (name, value) in circumstances {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "- {name}: {value}");
        }
        for (name, line) in &self.commands {
            let _ = write!(text, "\n{name}:\n\n    {line}\n");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let row = |table: &Table, (name, readings): &(String, Vec<Reading>)| {
            let named: serde_json::Map<_, _> =
                table.columns.iter().skip(1).cloned().zip(readings.iter().map(Reading::json)).collect();
            json!({ "name": name, "readings": named })
        };
        let table = |table: &Table| {
            let rows: Vec<Value> = table.rows.iter().map(|it| row(table, it)).collect();
            json!({ "title": table.title, "unit": table.unit.name(), "rows": rows })
        };
        json!({
            "title": self.title,
            "figures": self.figures.iter().map(Figure::json).collect::<Vec<_>>(),
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "commands": self.commands.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }
}

fn rows<R: IntoIterator<Item = String>>(
    columns: impl IntoIterator<Item = String>,
    lines: impl IntoIterator<Item = R>,
) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let columns: Vec<String> = columns.into_iter().collect();
    let mut text = line(columns.clone()) + &format!("|{}\n", "---|".repeat(columns.len()));
    for cells in lines {
        text += &line(cells.into_iter().map(|cell| cell.replace('|', "\\|")).collect());
    }
    text
}

/// The page `old` with the section in it: instead of the one with the same heading, or at the end.
pub fn replace(old: &str, title: &str, section: &str) -> String {
    let mut page = String::from(HEAD);
    let mut placed = false;
    for part in old.split("\n## ").skip(1) {
        if part.lines().next() == Some(title) {
            page += section.trim_end();
            placed = true;
        } else {
            page += &format!("## {}", part.trim_end());
        }
        page += "\n\n";
    }
    if !placed {
        page += section;
    }
    page.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(title: &'static str) -> Section {
        let table = Table {
            title: "Times".into(),
            unit: Unit::Seconds,
            columns: vec!["program".into(), "native".into()],
            rows: vec![("a|b".into(), vec![Reading::of(2.0)])],
        };
        let figures = vec![Figure::new("log", Unit::Bytes, Reading::of(9.0))];
        Section {
            title,
            intro: "Why.".into(),
            figures,
            tables: vec![table],
            commands: vec![("us".into(), "run x".into())],
        }
    }

    #[test]
    fn a_section_has_its_tables_and_circumstances() {
        let text = section("One").markdown(&[("date".into(), "2026-01-01".into())]);
        assert!(text.starts_with("## One\n\nWhy.\n\n| what |"), "{text}");
        assert!(text.contains("| log | – | 9 B | – | – |  |\n"), "{text}");
        assert!(text.contains("Times:\n\n| program | native |\n|---|---|\n| a\\|b | 2.00 s |\n"), "{text}");
        assert!(text.ends_with("- date: 2026-01-01\n\nus:\n\n    run x\n"), "{text}");
        assert_eq!(section("One").json()["tables"][0]["rows"][0]["readings"]["native"]["value"], 2.0);
    }

    #[test]
    fn sections_are_replaced_one_by_one() {
        let both = replace(&replace("", "One", "## One\n\nold\n"), "Two", "## Two\n\nkept\n");
        let new = replace(&both, "One", "## One\n\nnew\n");
        assert_eq!(new, format!("{HEAD}## One\n\nnew\n\n## Two\n\nkept\n"));
        assert_eq!(replace(&new, "Two", "## Two\n\nkept\n"), new);
    }
}
