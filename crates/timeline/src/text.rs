use crate::{Span, State, Thread, Timeline};
use std::fmt::Write;
use std::time::Duration;

/// The fewest columns of a bar, and the fewest from one mark of the axis to the next.
const NARROWEST: u16 = 10;

impl Timeline {
    /// One bar per thread, a time axis, and a legend of the states that occur.
    ///
    /// Lines are at most `width` columns wide, unless that leaves the bars fewer than ten (the
    /// legend needs 56 beside the names). A column stands for an equal part of the time from
    /// the origin to the last end, and shows the state that took the most of it, or a blank
    /// where none took as much as passed in no state; at a tie the earlier state of the legend
    /// wins. What is much shorter than a column is therefore not seen. The glyphs differ
    /// without colour. Empty when nothing took time.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        let recorded = self.lock();
        let (threads, total) = (&recorded.threads, recorded.end());
        if total.is_zero() {
            return String::new();
        }

        let lengths = threads.iter().map(|thread| thread.label().chars().count());
        let indent = lengths.max().unwrap_or(0);
        let columns = width
            .saturating_sub(u16::try_from(indent).unwrap_or(u16::MAX))
            .saturating_sub(1)
            .max(NARROWEST);

        let mut text = String::new();
        let mut line = |label: &str, rest: &str| {
            let rest = rest.trim_end();
            writeln!(text, "{label:indent$} {rest}").expect("a String takes everything");
        };
        for thread in threads {
            line(&thread.label(), &bar(&thread.spans, total, columns));
        }
        line("", &axis(total, columns));
        line("", &legend(threads));
        text
    }
}

fn glyph(state: State) -> char {
    match state {
        State::Run => '█',
        State::WaitForLock => '░',
        State::Io => '─',
        State::Native => '▓',
        State::ForcedWait => '×',
    }
}

fn bar(spans: &[Span], total: Duration, columns: u16) -> String {
    let edge = |column: u16| {
        let nanos = total.as_nanos() * u128::from(column) / u128::from(columns);
        Duration::from_nanos_u128(nanos)
    };
    (0..columns)
        .map(|column| {
            let (start, end) = (edge(column), edge(column + 1));
            // The spans are in order of time: skip to the first that reaches into the column.
            let first = spans.partition_point(|span| span.end <= start);
            let mut taken = State::ALL.map(|state| (state, Duration::ZERO));
            let mut idle = end - start;
            for span in spans[first..].iter().take_while(|span| span.start < end) {
                let overlap = span.end.min(end) - span.start.max(start);
                taken[span.state as usize].1 += overlap;
                idle -= overlap;
            }
            // The last of equals wins, so the earlier state comes last.
            let (state, longest) =
                taken.into_iter().rev().max_by_key(|(_, time)| *time).expect("five states");
            if longest.is_zero() || idle > longest { ' ' } else { glyph(state) }
        })
        .collect()
}

/// Marks at round times, each label left out that would not fit.
fn axis(total: Duration, columns: u16) -> String {
    let step = step_for(total, f64::from(columns / NARROWEST));
    let mut axis = String::new();
    for (mark, label) in marks(step, total) {
        let column = mark.as_nanos() * u128::from(columns) / total.as_nanos();
        let column = usize::try_from(column).expect("a mark before the end is inside the bar");
        let label = format!("|{label}");
        if column + label.chars().count() <= usize::from(columns) {
            axis = format!("{axis:column$}{label}");
        }
    }
    axis
}

/// The shortest round time, 1, 2 or 5 times a power of ten, of which at most `most` fit.
pub(crate) fn step_for(total: Duration, most: f64) -> Duration {
    let longest = Duration::MAX.as_nanos();
    let steps = (3..).flat_map(|power| [1, 2, 5].map(|n| n * 10_u128.pow(power)));
    steps
        .map(|nanos| Duration::from_nanos_u128(nanos.min(longest)))
        .find(|step| total.div_duration_f64(*step) <= most)
        .expect("the longest time of all fits once")
}

/// The multiples of `step` before the end, in words.
pub(crate) fn marks(
    step: Duration,
    total: Duration,
) -> impl Iterator<Item = (Duration, String)> {
    (0..).map_while(move |n| step.checked_mul(n)).take_while(move |mark| *mark < total).map(
        move |mark| {
            let label = match step.as_micros() {
                1_000_000.. => format!("{} s", mark.as_secs()),
                1_000.. => format!("{} ms", mark.as_millis()),
                _ => format!("{} µs", mark.as_micros()),
            };
            (mark, label)
        },
    )
}

fn legend(threads: &[Thread]) -> String {
    let occurs = |state: &State| {
        threads.iter().flat_map(|thread| &thread.spans).any(|span| span.state == *state)
    };
    let entries = State::ALL.into_iter().filter(occurs);
    entries
        .map(|state| format!("{} {}", glyph(state), state.name()))
        .collect::<Vec<_>>()
        .join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thread does one after another, each up to a time in ms.
    type Row<'a> = &'a [(Option<State>, u64)];

    fn timeline(threads: &[(&str, &str, Row)]) -> Timeline {
        let timeline = Timeline::new();
        for (process, name, spans) in threads {
            let mut lane = timeline.lane(process, name);
            let mut start = Duration::ZERO;
            for (state, end) in *spans {
                let end = Duration::from_millis(*end);
                if let Some(state) = *state {
                    lane.push(Span { state, start, end });
                }
                start = end;
            }
        }
        timeline
    }

    const RUN: Option<State> = Some(State::Run);
    const WAIT: Option<State> = Some(State::WaitForLock);
    const IO: Option<State> = Some(State::Io);
    const NATIVE: Option<State> = Some(State::Native);
    const FORCED: Option<State> = Some(State::ForcedWait);

    #[test]
    fn two_threads_take_turns_and_a_third_waits_for_the_world() {
        let timeline = timeline(&[
            ("python", "A", &[(RUN, 5), (FORCED, 6), (WAIT, 10), (RUN, 15), (NATIVE, 20)]),
            ("python", "B", &[(WAIT, 5), (RUN, 10), (WAIT, 15), (RUN, 20)]),
            ("web", "server", &[(IO, 18), (None, 19), (RUN, 20)]),
        ]);
        assert_eq!(
            timeline.text(51),
            "\
python A   ██████████××░░░░░░░░██████████▓▓▓▓▓▓▓▓▓▓
python B   ░░░░░░░░░░██████████░░░░░░░░░░██████████
web server ────────────────────────────────────  ██
           |0 ms     |5 ms     |10 ms    |15 ms
           █ run  ░ wait for lock  ─ I/O  ▓ native  × forced wait
"
        );
    }

    #[test]
    fn a_column_shows_what_took_most_of_its_time() {
        // Ten columns of 10 ms: mostly run, a tie, mostly nothing, nothing, then five of I/O.
        let spans = [
            (RUN, 6),
            (IO, 10),
            (IO, 15),
            (RUN, 20),
            (RUN, 24),
            (None, 40),
            (IO, 90),
            (WAIT, 91),
            (None, 99),
            (RUN, 100),
        ];
        let text = timeline(&[("p", "A", &spans)]).text(14);
        assert_eq!(text.lines().next(), Some("p A ██  ─────"));
    }

    #[test]
    fn spans_shorter_than_a_column_add_up() {
        let spans: Vec<_> =
            (0..1_000).map(|n| ([RUN, RUN, WAIT][n % 3], n as u64 + 1)).collect();
        let text = timeline(&[("p", "A", &spans)]).text(14);
        assert_eq!(text.lines().next(), Some("p A ██████████"));
    }

    #[test]
    fn the_axis_marks_round_times_in_the_unit_of_its_steps() {
        let axes = [7, 150, 4_000, 150_000, 3_500_000, 86_400_000_000]
            .map(|micros| axis(Duration::from_micros(micros), 40));
        assert_eq!(
            axes,
            [
                "|0 µs      |2 µs      |4 µs       |6 µs",
                "|0 µs        |50 µs       |100 µs",
                "|0 ms     |1 ms     |2 ms     |3 ms",
                "|0 ms        |50 ms       |100 ms",
                "|0 s       |1 s       |2 s        |3 s",
                "|0 s                   |50000 s",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_asked_for_while_that_leaves_a_bar() {
        let spans = [(RUN, 1), (FORCED, 2), (WAIT, 3), (IO, 4), (NATIVE, 7)];
        let timeline = timeline(&[("process 12", "worker 34", &spans)]);
        for width in 76..=132 {
            for line in timeline.text(width).lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
        }
        let narrow = timeline.text(0);
        assert_eq!(narrow.lines().next(), Some("process 12 worker 34 █××░──▓▓▓▓"));
    }

    #[test]
    fn a_picture_may_last_for_a_moment_or_for_ever() {
        for (total, first, last) in [
            (Duration::from_nanos(1), "|0 µs", "█"),
            (Duration::from_secs(u64::MAX), "|0 s", "█"),
            (Duration::MAX, "|0 s", "█"),
        ] {
            let timeline = Timeline::new();
            let mut lane = timeline.lane("p", "A");
            lane.push(Span { state: State::Run, start: Duration::ZERO, end: total });
            lane.push(Span { state: State::Run, start: total, end: total });
            drop(lane);
            for width in [0, 80, u16::MAX] {
                let text = timeline.text(width);
                let lines: Vec<_> = text.lines().collect();
                assert!(lines[0].ends_with(last), "{total:?}: {}", lines[0]);
                assert!(lines[1].trim_start().starts_with(first), "{total:?}: {}", lines[1]);
            }
            assert_eq!(timeline.shares()[0].has, total);
            assert!(timeline.shares_text().contains(" 100.0 % "));
            roxmltree::Document::parse(&timeline.svg()).unwrap();
        }
    }

    #[test]
    fn no_name_gives_an_order_to_the_terminal_or_takes_a_second_line() {
        let names =
            "a\u{1b}[31mb\0c\r\n\td\u{7f}e\u{9b}f\u{85}g\u{202e}h\u{2066}i\u{2028}j\u{200f}k";
        let timeline = timeline(&[(names, "é ☃ 😀", &[(RUN, 1)])]);
        let clean = "a\u{fffd}[31mb\u{fffd}c\u{fffd}\u{fffd}\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g\u{fffd}h\u{fffd}i\u{fffd}j\u{fffd}k é ☃ 😀";
        let (text, shares) = (timeline.text(80), timeline.shares_text());
        assert_eq!((text.lines().count(), shares.lines().count()), (3, 2));
        for text in [text, shares] {
            assert!(text.contains(clean), "{text:?}");
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    }

    #[test]
    fn what_took_no_time_is_no_text() {
        assert_eq!(Timeline::new().text(80), "");
        assert_eq!(timeline(&[("p", "A", &[])]).text(80), "");
        assert_eq!(timeline(&[("p", "A", &[(RUN, 0)])]).text(80), "");
    }
}
