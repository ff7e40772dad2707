//! What a scenario leaves behind: a summary for the reader, one JSON object on the last line of stdout
//! for a script, and where one is wanted a page of HTML.

mod chart;
mod html;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args as ClapArgs;
use serde::Serialize;

pub(crate) use self::chart::{Axis, Chart, Series};
use crate::histogram::{Latencies, Quantiles};
use crate::kernel::StateCounts;
use crate::machine::Machine;

/// How a report is given out.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct OutputArgs {
    /// Print the report as one JSON object on the last line of stdout; the summary then goes to stderr.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the report as a page, with its curves, that needs nothing but itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// A report for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// Name and value, in the order in which they are read.
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) tables: Vec<Table>,
    pub(crate) charts: Vec<Chart>,
}

/// Rows under a heading.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Page {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    pub(crate) fn fact(&mut self, name: &str, value: impl ToString) {
        self.facts.push((name.to_owned(), value.to_string()));
    }

    /// A fact with the bound that it is held against.
    pub(crate) fn measured(&mut self, name: &str, value: f64, unit: &str, goal: &str) {
        let goal = if goal.is_empty() { String::new() } else { format!("   (goal {goal})") };
        self.fact(name, format!("{}{}{unit}{goal}", number(value), if unit.is_empty() { "" } else { " " }));
    }

    pub(crate) fn quantiles(&mut self, name: &str, quantiles: Option<Quantiles>) {
        let text = quantiles.map_or_else(
            || "none".to_owned(),
            |q| format!("p50 {:.2} · p90 {:.2} · p99 {:.2} · p99.9 {:.2} ms", q.p50, q.p90, q.p99, q.p999),
        );
        self.fact(name, text);
    }

    /// Where the figures come from.
    pub(crate) fn machine(&mut self, machine: &Machine) {
        self.fact("machine", machine);
        self.fact("version", concat!("sim-loadtest ", env!("CARGO_PKG_VERSION")));
    }

    /// Sockets by state, as netstat's users know the table.
    pub(crate) fn states(&mut self, title: &str, counts: &StateCounts) {
        let rows = counts.iter().map(|(state, count)| vec![(*state).to_owned(), count.to_string()]).collect();
        self.tables.push(Table { title: title.to_owned(), head: vec!["state".into(), "sockets".into()], rows });
    }

    /// Latency at each quantile, so many nines apart.
    pub(crate) fn latency_curve(&mut self, title: &str, curves: &[(&str, &Latencies)]) {
        let series: Vec<_> = curves
            .iter()
            .filter(|(_, latencies)| !latencies.is_empty())
            .map(|(name, latencies)| Series { name: (*name).to_owned(), points: latencies.curve() })
            .collect();
        if !series.is_empty() {
            let (x, y) = (Axis::nines("quantile"), Axis::log("ms"));
            self.charts.push(Chart { title: title.to_owned(), x, y, series });
        }
    }

    /// Figures over something that grows.
    pub(crate) fn lines(&mut self, title: &str, x: &str, y: &str, series: Vec<Series>) {
        if series.iter().any(|series| series.points.len() > 1) {
            let (x, y) = (Axis::linear(x), Axis::linear(y));
            self.charts.push(Chart { title: title.to_owned(), x, y, series });
        }
    }

    fn text(&self) -> String {
        let mut out = format!("\n{}\n", self.title);
        let width = self.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        for (name, value) in &self.facts {
            out.push_str(&format!("  {name:<width$}  {value}\n"));
        }
        for table in &self.tables {
            out.push_str(&format!("\n  {}\n", table.title));
            let columns = table.head.len();
            let widths: Vec<_> = (0..columns)
                .map(|column| {
                    let cells = table.rows.iter().chain([&table.head]).filter_map(|row| row.get(column));
                    cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
                })
                .collect();
            for row in [&table.head].into_iter().chain(&table.rows) {
                let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
                out.push_str(&format!("    {}\n", cells.join("  ").trim_end()));
            }
        }
        out
    }
}

/// Gives a report out.
pub(crate) fn publish(report: &impl Serialize, page: &Page, args: &OutputArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.html {
        std::fs::write(file, html::render(page)).with_context(|| format!("write {}", file.display()))?;
        eprintln!("the report is in {}", file.display());
    }
    if args.json {
        eprint!("{}", page.text());
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{}", page.text());
    }
    Ok(())
}

/// With as many digits as a person reads, and groups of three.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        magnitude if magnitude >= 100.0 || magnitude.fract() == 0.0 => 0,
        magnitude if magnitude >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let cases = [(0.1504, "0.150"), (17.8, "17.80"), (1_234_567.0, "1,234,567"), (-4_200.4, "-4,200"), (7.0, "7")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_summary_aligns_names_and_columns() {
        let mut page = Page::new("idle");
        page.fact("connections", 15_000);
        page.measured("login", 0.25, "ms", "≤ 0.30 ms");
        page.states("sockets", &StateCounts::from([("ESTABLISHED", 30_000), ("TIME_WAIT", 2)]));
        let expected = "
idle
  connections  15000
  login        0.250 ms   (goal ≤ 0.30 ms)

  sockets
    state        sockets
    ESTABLISHED  30000
    TIME_WAIT    2
";
        assert_eq!(page.text(), expected);
    }
}
