//! From samples to figures: percentiles, tables for people, a document for programs.

use serde::Serialize;

use crate::scenario::{
    BEYOND, CHECK_POINTS, CHECKING_THREADS, COUNT, COUNT_WITH_A_CALL, CPU_THREADS, IN_A_ROW,
    IN_THREADS, INTERVALS, Interval, RATIO, Scenario, Series, wake_ups,
    wake_ups_by_check_points,
};

/// One series of one scenario in figures: seconds, or fractions. Without a sample there are none.
#[derive(Debug, PartialEq, Serialize)]
pub struct Figures {
    scenario: Scenario,
    series: String,
    samples: usize,
    min: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    max: Option<f64>,
}

impl Figures {
    /// The figures of each series.
    pub fn all(scenario: Scenario, series: &Series) -> Vec<Self> {
        let figures = |name: String| {
            let samples = sorted(series, &name);
            let percentile = |p| percentile(&samples, p);
            Figures {
                scenario,
                samples: samples.len(),
                min: percentile(0),
                p50: percentile(50),
                p90: percentile(90),
                max: percentile(100),
                series: name,
            }
        };
        scenario.series().into_iter().map(figures).collect()
    }
}

fn sorted(series: &Series, name: &str) -> Vec<f64> {
    let mut samples = series.get(name).cloned().unwrap_or_default();
    samples.sort_by(f64::total_cmp);
    samples
}

/// The smallest of the sorted samples that at least `p` per cent of them do not exceed (the
/// nearest rank): a value that was really measured.
fn percentile(sorted: &[f64], p: usize) -> Option<f64> {
    let rank = (sorted.len() * p).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Figures side by side, a row for each of those who took part. At most 80 columns wide.
struct Table {
    heading: String,
    columns: Vec<Column>,
}

struct Column {
    /// What it has in common with its neighbours.
    group: &'static str,
    heading: &'static str,
    series: String,
    /// Which percentile.
    p: usize,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    PerCent,
    Ratio,
}

/// Width of the names of those who took part; longer ones are cut.
const NAME: usize = 16;
/// Width of the narrowest column.
const COLUMN: usize = 7;

/// The tables of a scenario, an empty line before each. Who has no samples has no row.
pub fn tables(scenario: Scenario, rows: &[(&str, &Series)]) -> String {
    let tables = match scenario {
        Scenario::CpuCpu => vec![two_tasks("Two tasks that compute")],
        Scenario::CpuIo => vec![two_tasks("A task that waits and one that computes")],
        Scenario::Native => vec![two_tasks("Two tasks of native code that gives the lock up")],
        Scenario::Turns => vec![Table {
            heading: "Turns of two threads that compute, by interval, in ms".into(),
            columns: by_interval(&[("least", 0), ("p50", 50), ("p90", 90)], |interval| {
                interval.name.into()
            }),
        }],
        Scenario::WakeUps => CPU_THREADS.map(wake_ups_beside).into(),
        Scenario::CheckPoints => CHECKING_THREADS.map(wake_ups_by_their_check_points).into(),
        Scenario::LostUpdates => vec![Table {
            heading: "Increments of four threads that are lost, in per cent".into(),
            columns: [COUNT, COUNT_WITH_A_CALL].map(|name| column(name, Unit::PerCent)).into(),
        }],
    };
    tables.iter().map(|table| table.text(rows)).collect()
}

fn two_tasks(tasks: &str) -> Table {
    let ms = |name| column(name, Unit::Milliseconds);
    Table {
        heading: format!("{tasks}, in ms"),
        columns: vec![ms(IN_A_ROW), ms(IN_THREADS), column(RATIO, Unit::Ratio), ms(BEYOND)],
    }
}

fn wake_ups_beside(threads: usize) -> Table {
    Table {
        heading: format!(
            "Wake-up of an I/O thread beside {threads} that compute, by interval, in ms"
        ),
        columns: by_interval(&[("p50", 50), ("p90", 90)], |interval| {
            wake_ups(threads, interval)
        }),
    }
}

fn wake_ups_by_their_check_points(threads: usize) -> Table {
    let columns = CHECK_POINTS.into_iter().flat_map(|group| {
        [("p50", 50), ("p90", 90)].map(|(heading, p)| Column {
            group,
            heading,
            series: wake_ups_by_check_points(threads, group),
            p,
            unit: Unit::Milliseconds,
        })
    });
    Table {
        heading: format!(
            "Wake-up beside {threads}, their check points close or 0.2 ms apart, in ms"
        ),
        columns: columns.collect(),
    }
}

/// A series in one column: its median.
fn column(name: &'static str, unit: Unit) -> Column {
    Column { group: "", heading: name, series: name.into(), p: 50, unit }
}

/// A group of columns for each interval, one for each of the percentiles.
fn by_interval(
    percentiles: &'static [(&'static str, usize)],
    series: impl Fn(&Interval) -> String,
) -> Vec<Column> {
    let columns = INTERVALS.iter().flat_map(|interval| {
        let series = series(interval);
        percentiles.iter().map(move |&(heading, p)| Column {
            group: interval.name,
            heading,
            series: series.clone(),
            p,
            unit: Unit::Milliseconds,
        })
    });
    columns.collect()
}

impl Table {
    fn text(&self, rows: &[(&str, &Series)]) -> String {
        let mut text = format!("\n{}\n", self.heading);
        let groups = self.columns.chunk_by(|a, b| a.group == b.group);
        let groups = groups.map(|columns| {
            (columns[0].group.to_owned(), columns.iter().map(Column::width).sum())
        });
        let headings =
            self.columns.iter().map(|column| (column.heading.to_owned(), column.width()));
        if self.columns.iter().any(|column| !column.group.is_empty()) {
            text += &line("", groups);
        }
        text += &line("", headings);
        for (name, series) in rows {
            let cells = self.columns.iter().map(|column| (column.cell(series), column.width()));
            if self.columns.iter().any(|column| column.figure(series).is_some()) {
                text += &line(name, cells);
            }
        }
        text
    }
}

fn line(name: &str, cells: impl Iterator<Item = (String, usize)>) -> String {
    let mut line = format!("{name:NAME$.NAME$}");
    for (cell, width) in cells {
        line += &format!("{cell:>width$}");
    }
    line.trim_end().to_owned() + "\n"
}

impl Column {
    fn width(&self) -> usize {
        COLUMN.max(self.heading.len() + 2)
    }

    fn figure(&self, series: &Series) -> Option<f64> {
        percentile(&sorted(series, &self.series), self.p)
    }

    /// The figure in three significant digits.
    fn cell(&self, series: &Series) -> String {
        let Some(figure) = self.figure(series) else { return "-".into() };
        let figure = match self.unit {
            Unit::Milliseconds => figure * 1e3,
            Unit::PerCent => figure * 1e2,
            Unit::Ratio => figure,
        };
        let decimals = match figure.abs() {
            ..0.9995 => 3,
            ..9.995 => 2,
            ..99.95 => 1,
            _ => 0,
        };
        format!("{figure:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let samples: Vec<f64> = (1..=10).map(f64::from).collect();
        let of = |samples: &[f64], p| percentile(samples, p).unwrap();
        assert_eq!(
            [0, 1, 50, 51, 90, 91, 100].map(|p| of(&samples, p)),
            [1., 1., 5., 6., 9., 10., 10.]
        );
        assert_eq!([0, 50, 90, 100].map(|p| of(&[7.], p)), [7.; 4]);
        assert_eq!([50, 90].map(|p| of(&[1., 2.], p)), [1., 2.]);
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn figures_are_of_the_sorted_samples_of_each_series() {
        let series =
            Series::from([("5 ms".into(), vec![3., 1., 2.]), ("50 ms".into(), vec![])]);
        let figures = Figures::all(Scenario::Turns, &series);
        let names: Vec<_> = figures.iter().map(|figures| figures.series.as_str()).collect();
        assert_eq!(names, ["0.5 ms", "5 ms", "50 ms"]);
        let Figures { samples, min, p50, p90, max, .. } = figures[1];
        assert_eq!((samples, [min, p50, p90, max]), (3, [1., 2., 3., 3.].map(Some)));
        let Figures { samples, min, p50, p90, max, .. } = figures[2];
        assert_eq!((samples, [min, p50, p90, max]), (0, [None; 4]));
    }

    #[test]
    fn a_table_has_a_row_for_each_who_has_samples() {
        let live = Series::from([
            ("0.5 ms".into(), vec![0.000_501, 0.000_52, 0.02]),
            ("5 ms".into(), vec![0.005]),
        ]);
        let text = tables(
            Scenario::Turns,
            &[
                ("live", &live),
                ("failed", &Series::new()),
                ("an interpreter with a long name", &live),
            ],
        );
        assert_eq!(
            text,
            "
Turns of two threads that compute, by interval, in ms
                               0.5 ms                 5 ms                50 ms
                  least    p50    p90  least    p50    p90  least    p50    p90
live              0.501  0.520   20.0   5.00   5.00   5.00      -      -      -
an interpreter w  0.501  0.520   20.0   5.00   5.00   5.00      -      -      -
"
        );
    }

    #[test]
    fn no_table_is_wider_than_a_terminal() {
        for scenario in Scenario::value_variants() {
            let series =
                scenario.series().into_iter().map(|name| (name, vec![123.456])).collect();
            let text = tables(*scenario, &[("simulated as 3.9", &series)]);
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }
}
