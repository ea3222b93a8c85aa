//! Frames and the gaps between them, whichever clock they were drawn by.

use std::iter;
use std::time::Duration;

use crate::design::Design;

/// From one frame to the next: 60 a second.
pub const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// How long the loop takes to draw one.
pub const DRAW: Duration = Duration::from_millis(2);

/// A frame is due at every multiple of [`PERIOD`]. One that the loop is late for is dropped, and
/// the next is drawn at its own time: to catch up would only make the freeze longer.
pub fn next_after(now: Duration) -> Duration {
    let number = now.as_nanos() / PERIOD.as_nanos() + 1;
    PERIOD * u32::try_from(number).expect("nobody watches for two years")
}

/// The frames that were drawn, and the work beside them.
pub struct Watched {
    /// When each frame was begun.
    pub frames: Vec<Duration>,
    /// From the start of the work to its answer.
    pub answer_after: Duration,
}

/// The rows of the histogram. None ends at a multiple of the period, where most gaps lie.
const BUCKETS: [(Duration, &str); 4] = [
    (Duration::from_millis(20), "up to 20 ms"),
    (Duration::from_millis(60), "up to 60 ms"),
    (Duration::from_millis(250), "up to 250 ms"),
    (Duration::MAX, "longer"),
];

impl Watched {
    pub fn gaps(&self) -> Vec<Duration> {
        self.frames.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    pub fn worst(&self) -> Duration {
        self.quantile(100)
    }

    /// Nearest rank: a gap that was there, and none in between.
    fn quantile(&self, percent: usize) -> Duration {
        let mut gaps = self.gaps();
        gaps.sort_unstable();
        let rank = (gaps.len() * percent).div_ceil(100);
        gaps[rank - 1]
    }

    /// How many frames were due between the first and the last, and not drawn.
    fn dropped(&self) -> u128 {
        let due = |frame: &Duration| frame.as_nanos() / PERIOD.as_nanos();
        let [first, .., last] = &self.frames[..] else { return 0 };
        due(last) - due(first) + 1 - self.frames.len() as u128
    }

    fn histogram(&self) -> [usize; BUCKETS.len()] {
        let mut counts = [0; BUCKETS.len()];
        for gap in self.gaps() {
            let bucket = BUCKETS.iter().position(|(most, _)| gap <= *most);
            counts[bucket.expect("the last bucket takes all")] += 1;
        }
        counts
    }
}

/// A row for each design.
pub fn table(rows: &[(Design, Watched)]) -> String {
    let mut text = format!("   {:<38}frames          gap           answer\n", "in ms");
    text += &format!("{:37}drawn  dropped      p99    worst     after\n", "");
    for (design, watched) in rows {
        text += &format!(
            "   {:<10}  {:<22} {:>4} {:>8} {:>8} {:>8} {:>9}\n",
            design.name(),
            design.words(),
            watched.frames.len(),
            watched.dropped(),
            ms(watched.quantile(99)),
            ms(watched.worst()),
            ms(watched.answer_after),
        );
    }
    text
}

/// A column for each design: how many gaps are how long.
pub fn histogram(columns: &[(Design, Watched)], bars: bool) -> String {
    let counts: Vec<_> = columns.iter().map(|(_, watched)| watched.histogram()).collect();
    let most = counts.iter().flatten().copied().max().filter(|_| bars);
    let names: String =
        columns.iter().map(|(design, _)| format!(" {:<10}", design.name())).collect();
    let mut text = format!("   gaps       {}\n", names.trim_end());
    for (row, (_, label)) in BUCKETS.iter().enumerate() {
        let cells: String = counts.iter().map(|counts| cell(counts[row], most)).collect();
        text += &format!("   {label:<12}{}\n", cells.trim_end());
    }
    text
}

/// A number, and a bar in eighths of a column beside it. A single gap is still seen.
fn cell(count: usize, most: Option<usize>) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    const WIDTH: usize = 5;
    let eighths = most.map_or(0, |most| (count * 8 * WIDTH).div_ceil(most));
    let bar: String = iter::repeat_n("█", eighths / 8).chain([PARTS[eighths % 8]]).collect();
    format!(" {count:>3} {bar:<WIDTH$} ")
}

/// In milliseconds, to a hundredth.
fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}
