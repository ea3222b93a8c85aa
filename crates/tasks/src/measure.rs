//! A stopwatch for wall time and processor time, and the table that shows its measurements.
//!
//! Wall time says how long one waits. Processor time says what it cost: two threads that
//! compute in parallel halve the first and leave the second as it is.

mod cpu_time;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use cpu_time::cpu_time;

/// Measures from [`start`](Self::start) to [`stop`](Self::stop).
#[derive(Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Option<Duration>,
}

impl Stopwatch {
    /// Begins a measurement.
    pub fn start() -> Self {
        Self { cpu: cpu_time(), wall: Instant::now() }
    }

    /// Ends the measurement.
    ///
    /// Processor time is that of the whole process, all threads, and of its children that have
    /// **ended and been waited for**: a worker process that is still there has cost nothing yet.
    /// Work that goes on elsewhere in this process is counted too.
    pub fn stop(self) -> Measurement {
        let wall = self.wall.elapsed();
        let cpu = cpu_time().zip(self.cpu).map(|(now, then)| now.saturating_sub(then));
        Measurement { wall, cpu, scaled: 1 }
    }
}

/// What a piece of work took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Time on the clock on the wall.
    pub wall: Duration,
    /// Processor time of all threads and of children that have ended; `None` where the
    /// operating system does not tell.
    pub cpu: Option<Duration>,
    /// How many times as much work as was measured this stands for; above 1 it is an estimate.
    pub scaled: u32,
}

impl Measurement {
    /// The estimate for `times` as much work.
    pub fn scaled(self, times: u32) -> Self {
        Self {
            wall: self.wall * times,
            cpu: self.cpu.map(|cpu| cpu * times),
            scaled: self.scaled * times,
        }
    }
}

/// Measurements side by side: wall time, processor time, the ratio of the wall times to the
/// first row's, and a bar.
///
/// Displayed as plain text without colours, at most 80 columns wide while times stay below a
/// day. `~` marks an estimate, `-` what is unknown.
///
/// ```
/// use std::time::Duration;
/// use tasks::measure::{Measurement, Table};
///
/// let [whole, half] = [2000, 1000].map(|wall| Measurement {
///     wall: Duration::from_millis(wall),
///     cpu: Some(Duration::from_millis(1990)),
///     scaled: 1,
/// });
/// let mut table = Table::default().bars(true);
/// table.row("one after another", whole);
/// table.row("in two threads", half);
/// assert_eq!(table.to_string(), "
///                        wall       CPU   ratio
/// one after another       2 s    1.99 s    1.00  ████████████████████
/// in two threads          1 s    1.99 s    0.50  ██████████".trim_start_matches('\n'));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<(String, Measurement)>,
    bars: bool,
}

/// Longer labels are cut. With it and with [`BAR`] a line fits into 80 columns.
const LABEL: usize = 28;
/// Width of the longest bar.
const BAR: usize = 20;

impl Table {
    /// A table for stderr: with bars where that is a terminal and `NO_COLOR` is not set.
    pub fn for_stderr() -> Self {
        Self::default().bars(pictures_on_stderr())
    }

    /// With or without bars; a table has none until it is asked for them.
    pub fn bars(self, bars: bool) -> Self {
        Self { bars, ..self }
    }

    /// Adds a row below the others. What a terminal would obey in the label is replaced.
    pub fn row(&mut self, label: impl Into<String>, measurement: Measurement) {
        let mut label = label.into().replace(char::is_control, "\u{fffd}");
        if let Some((end, _)) = label.char_indices().nth(LABEL) {
            label.truncate(end);
        }
        self.rows.push((label, measurement));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let walls = || self.rows.iter().map(|(_, measurement)| measurement.wall);
        // At least a nanosecond, because both divide.
        let first = walls().next().unwrap_or_default().max(Duration::from_nanos(1));
        let longest = walls().max().unwrap_or_default().max(Duration::from_nanos(1));
        let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);

        write!(f, "{:width$}  {:>8}  {:>8}  {:>6}", "", "wall", "CPU", "ratio")?;
        for (label, measurement) in &self.rows {
            let mark = if measurement.scaled > 1 { "~" } else { "" };
            let wall = format!("{mark}{}", short(measurement.wall));
            let cpu = measurement.cpu.map_or("-".into(), |cpu| format!("{mark}{}", short(cpu)));
            let ratio = measurement.wall.div_duration_f64(first);
            let decimals = if ratio < 100.0 { 2 } else { 0 };
            write!(f, "\n{label:width$}  {wall:>8}  {cpu:>8}  {ratio:>6.decimals$}")?;
            if self.bars {
                write!(f, "  {}", bar(measurement.wall, longest))?;
            }
        }
        for (label, Measurement { scaled, .. }) in &self.rows {
            if *scaled > 1 {
                write!(f, "\n~ {label}: estimated from 1/{scaled} of the work")?;
            }
        }
        Ok(())
    }
}

/// [`BAR`] columns for the longest, in steps of an eighth; the shortest is still seen.
fn bar(time: Duration, longest: Duration) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (time.as_nanos() * 8 * BAR as u128).div_ceil(longest.as_nanos());
    let eighths = usize::try_from(eighths).expect("at most those of the longest").max(1);
    format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
}

/// Whether bars and timelines belong on stderr: it is a terminal, and `NO_COLOR` is not set.
pub fn pictures_on_stderr() -> bool {
    pictures(io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}

/// Pictures are for people who look at a terminal. `NO_COLOR` asks for plain text when it is set
/// and not empty (no-color.org).
fn pictures(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

/// A time in the unit that suits it, with three significant digits and no zeros behind them:
/// `52.1 ms`, `1.62 s`, `43 us`.
pub fn short(time: Duration) -> String {
    let nanoseconds = time.as_secs_f64() * 1e9;
    // 999.5 of a unit is rounded to 1 of the next.
    let (value, unit) = [(1.0, "ns"), (1e3, "us"), (1e6, "ms")]
        .map(|(size, unit)| (nanoseconds / size, unit))
        .into_iter()
        .find(|&(value, _)| value < 999.5)
        .unwrap_or((nanoseconds / 1e9, "s"));
    let number = match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => return format!("{value:.0} {unit}"),
    };
    format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

/// The median of repeated measurements, and how wide their middle half is (the interquartile
/// range): one slow round moves neither. Sorts the times.
///
/// # Panics
///
/// When there is no measurement.
pub fn median_and_spread(times: &mut [Duration]) -> (Duration, Duration) {
    assert!(!times.is_empty(), "the median of no measurement");
    times.sort_unstable();
    let n = times.len();
    ((times[(n - 1) / 2] + times[n / 2]) / 2, times[3 * n / 4] - times[n / 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(wall: u64, cpu: u64) -> Measurement {
        let [wall, cpu] = [wall, cpu].map(Duration::from_micros);
        Measurement { wall, cpu: Some(cpu), scaled: 1 }
    }

    fn rows() -> Table {
        let mut table = Table::default().bars(true);
        table.row("one after another", took(200_000, 101_000).scaled(16));
        table.row("threads under one GIL", took(1_720_000, 1_690_000));
        table.row("processes", took(859_000, 1_700_000));
        table.row("processes × threads", Measurement { cpu: None, ..took(813_049, 0) });
        table.row("nothing", took(43, 40));
        table
    }

    #[test]
    fn a_table_with_bars() {
        let expected = "
                           wall       CPU   ratio
one after another        ~3.2 s   ~1.62 s    1.00  ████████████████████
threads under one GIL    1.72 s    1.69 s    0.54  ██████████▊
processes                859 ms     1.7 s    0.27  █████▍
processes × threads      813 ms         -    0.25  █████▏
nothing                   43 us     40 us    0.00  ▏
~ one after another: estimated from 1/16 of the work";
        assert_eq!(format!("\n{}", rows()), expected);
    }

    #[test]
    fn a_table_without_bars_is_plain_text() {
        let expected = "
                           wall       CPU   ratio
one after another        ~3.2 s   ~1.62 s    1.00
threads under one GIL    1.72 s    1.69 s    0.54
processes                859 ms     1.7 s    0.27
processes × threads      813 ms         -    0.25
nothing                   43 us     40 us    0.00
~ one after another: estimated from 1/16 of the work";
        assert_eq!(format!("\n{}", rows().bars(false)), expected);
    }

    #[test]
    fn a_line_has_at_most_80_columns() {
        let mut table = Table::default().bars(true);
        table.row("é".repeat(100), took(999_400, 0).scaled(2));
        table.row("a day", took(864_000_000, 864_000_000).scaled(100));
        for line in table.to_string().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn no_label_gives_an_order_to_the_terminal_or_takes_a_second_line() {
        let mut table = Table::default();
        table.row("a\u{1b}[31mb\0c\n\u{9b}d", took(0, 0));
        let line = "a\u{fffd}[31mb\u{fffd}c\u{fffd}\u{fffd}d ";
        assert!(table.to_string().lines().nth(1).unwrap().starts_with(line), "{table}");
    }

    #[test]
    fn a_table_of_nothing_divides_by_nothing() {
        let mut table = Table::default().bars(true);
        assert_eq!(table.to_string(), "      wall       CPU   ratio");
        table.row("idle", took(0, 0));
        let idle = "idle      0 ns      0 ns    0.00  ▏";
        assert_eq!(table.to_string(), format!("          wall       CPU   ratio\n{idle}"));
    }

    #[test]
    fn bars_need_a_terminal_and_no_color_unset_or_empty() {
        assert!(pictures(true, None));
        assert!(pictures(true, Some(OsStr::new(""))));
        assert!(!pictures(true, Some(OsStr::new("1"))));
        assert!(!pictures(false, None));
    }

    #[test]
    fn a_time_has_three_digits_and_a_unit() {
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1 us"),
            (4_368, "4.37 us"),
            (43_000, "43 us"),
            (43_210, "43.2 us"),
            (99_949, "99.9 us"),
            (99_951, "100 us"),
            (999_499, "999 us"),
            (999_500, "1 ms"),
            (52_100_000, "52.1 ms"),
            (100_000_000, "100 ms"),
            (1_620_000_000, "1.62 s"),
            (59_960_000_000, "60 s"),
            (3_600_000_000_000, "3600 s"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanoseconds)), text);
        }
    }

    #[test]
    fn the_median_and_the_middle_half_ignore_an_outlier() {
        let check = |times: &[u64], median, spread| {
            let mut times: Vec<_> = times.iter().copied().map(Duration::from_millis).collect();
            let [median, spread] = [median, spread].map(Duration::from_millis);
            assert_eq!(median_and_spread(&mut times), (median, spread));
        };
        check(&[7], 7, 0);
        check(&[3, 1], 2, 2);
        check(&[12, 10, 9000, 11, 13], 12, 2);
        check(&[5, 1, 9, 3], 4, 6);
    }
}
