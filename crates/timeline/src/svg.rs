use std::fmt::{self, Write};
use std::time::Duration;

use crate::text::{marks, step_for};
use crate::{HandOver, State, Thread, Timeline};

/// Sizes in pixels; the picture scales, so only their proportions matter.
const WIDTH: f64 = 960.0;
const ROW: f64 = 34.0;
const BAR: f64 = 22.0;
const MARGIN: f64 = 14.0;
/// The width of a character of the labels, on average.
const CHARACTER: f64 = 7.2;
const AXIS: f64 = 26.0;
const LEGEND: f64 = 26.0;
/// The fewest pixels from one mark of the axis to the next.
const MARK: f64 = 80.0;

/// Colours that keep their contrast on white and on dark grey: the picture follows what the
/// reader's system prefers. Hatching tells the two kinds of waiting apart without colour.
const STYLE: &str = "\
<style>
  svg { --ground: #fff; --ink: #1f2328; --faint: #d0d7de; --run: #0969da; --lock: #d1242f;
        --io: #8c959f; --native: #1a7f37; --forced: #bf8700; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0d1117; --ink: #e6edf3; --faint: #3d444d; --run: #4493f8; --lock: #f85149;
          --io: #656c76; --native: #3fb950; --forced: #d29922; }
  }
  .ground { fill: var(--ground) } text { fill: var(--ink); font: 13px system-ui, sans-serif }
  .mark { stroke: var(--faint) } .handover { stroke: var(--ink); stroke-width: 1.2 }
  .run { fill: var(--run) } .lock { fill: url(#hatched) } .hatch { stroke: var(--lock) }
  .io { fill: var(--io) } .native { fill: var(--native) } .forced { fill: var(--forced) }
</style>
<defs><pattern id='hatched' width='5' height='5' patternUnits='userSpaceOnUse' \
patternTransform='rotate(45)'><path class='hatch' d='M0 0V5' stroke-width='4'/></pattern></defs>
";

impl Timeline {
    /// The timeline as a picture of its own: one bar per thread, a time axis, the hand-overs of
    /// the lock as lines from bar to bar, and a legend of the states that occur.
    ///
    /// A self-contained SVG file; it reads well on light and on dark ground. The state and the
    /// times of a span appear where the pointer rests. Empty when nothing took time.
    #[must_use]
    pub fn svg(&self) -> String {
        let recorded = self.lock();
        let total = recorded.end();
        if total.is_zero() {
            return String::new();
        }
        Picture::new(&recorded.threads, total).draw(&recorded.hand_overs())
    }
}

struct Picture<'a> {
    threads: &'a [Thread],
    total: Duration,
    /// Where the bars begin, beside the labels.
    left: f64,
    svg: String,
}

impl<'a> Picture<'a> {
    fn new(threads: &'a [Thread], total: Duration) -> Self {
        let longest = threads.iter().map(|thread| thread.label().chars().count()).max();
        let columns = u32::try_from(longest.unwrap_or(0)).unwrap_or(u32::MAX);
        let left = (MARGIN * 2.0 + CHARACTER * f64::from(columns)).min(WIDTH / 2.0);
        Self { threads, total, left, svg: String::new() }
    }

    fn draw(mut self, hand_overs: &[HandOver]) -> String {
        let rows = u32::try_from(self.threads.len()).expect("fewer threads than a u32 counts");
        let bottom = MARGIN + ROW * f64::from(rows);
        let height = bottom + AXIS + LEGEND + MARGIN;
        self.line(format_args!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' \
             role='img' aria-label='Who ran and who waited when'>"
        ));
        self.svg.push_str(STYLE);
        self.line(format_args!("<rect class='ground' width='{WIDTH}' height='{height}'/>"));
        self.axis(bottom);
        for (thread, row) in self.threads.iter().zip(0_u32..) {
            self.bar(thread, MARGIN + ROW * f64::from(row));
        }
        for hand_over in hand_overs {
            self.hand_over(hand_over);
        }
        self.legend(bottom + AXIS + LEGEND / 2.0);
        self.svg.push_str("</svg>\n");
        self.svg
    }

    fn axis(&mut self, bottom: f64) {
        let room = WIDTH - MARGIN - self.left;
        let step = step_for(self.total, (room / MARK).floor().max(1.0));
        for (at, label) in marks(step, self.total) {
            let x = self.x(at);
            self.line(format_args!(
                "<path class='mark' d='M{x:.1} {MARGIN}V{bottom}'/>\
                 <text x='{x:.1}' y='{:.1}'>{label}</text>",
                bottom + AXIS * 0.7
            ));
        }
    }

    fn bar(&mut self, thread: &Thread, top: f64) {
        let middle = top + ROW / 2.0;
        let label = escaped(&thread.label());
        self.line(format_args!("<text x='{MARGIN}' y='{:.1}'>{label}</text>", middle + 4.5));
        for span in &thread.spans {
            let (start, end) = (self.x(span.start), self.x(span.end));
            // Waiting for the world is a thin line: nobody is kept from anything.
            let thickness = if span.state == State::Io { BAR / 4.0 } else { BAR };
            self.line(format_args!(
                "<rect class='{}' x='{start:.2}' y='{:.1}' width='{:.2}' height='{thickness}'>\
                 <title>{}: {:?} to {:?}</title></rect>",
                class(span.state),
                middle - thickness / 2.0,
                end - start,
                span.state.name(),
                span.start,
                span.end,
            ));
        }
    }

    fn hand_over(&mut self, HandOver { from, to, at, .. }: &HandOver) {
        let middle = |row: usize| {
            let row = u32::try_from(row).expect("fewer threads than a u32 counts");
            MARGIN + ROW * (f64::from(row) + 0.5)
        };
        let (upper, lower) = (middle(*from.min(to)), middle(*from.max(to)));
        let (x, upper, lower) = (self.x(*at), upper + BAR / 2.0, lower - BAR / 2.0);
        self.line(format_args!("<path class='handover' d='M{x:.2} {upper:.1}V{lower:.1}'/>"));
    }

    fn legend(&mut self, y: f64) {
        let mut x = self.left;
        for state in State::ALL {
            let occurs = |thread: &Thread| thread.spans.iter().any(|span| span.state == state);
            if self.threads.iter().any(occurs) {
                let thickness = if state == State::Io { 3.5 } else { 14.0 };
                self.line(format_args!(
                    "<rect class='{}' x='{x:.1}' y='{:.1}' width='18' height='{thickness}'/>\
                     <text x='{:.1}' y='{:.1}'>{}</text>",
                    class(state),
                    y - thickness / 2.0,
                    x + 24.0,
                    y + 4.5,
                    state.name()
                ));
                let letters = u32::try_from(state.name().len()).expect("a short name");
                x += 48.0 + CHARACTER * f64::from(letters);
            }
        }
    }

    fn x(&self, at: Duration) -> f64 {
        self.left + (WIDTH - MARGIN - self.left) * at.div_duration_f64(self.total)
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.svg, "{line}").expect("a String takes everything");
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Run => "run",
        State::WaitForLock => "lock",
        State::Io => "io",
        State::Native => "native",
        State::ForcedWait => "forced",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    fn turns() -> Timeline {
        let timeline = Timeline::new();
        let ms = Duration::from_millis;
        let mut a = timeline.lane("python", "A & <B>");
        a.push(Span { state: State::Run, start: ms(0), end: ms(5) });
        a.push(Span { state: State::WaitForLock, start: ms(5), end: ms(10) });
        let mut b = timeline.lane("python", "B");
        b.push(Span { state: State::WaitForLock, start: ms(0), end: ms(5) });
        b.push(Span { state: State::Run, start: ms(5), end: ms(10) });
        drop((a, b));
        timeline
    }

    #[test]
    fn a_picture_has_a_bar_for_each_span_a_line_for_each_hand_over_and_a_legend() {
        let svg = turns().svg();
        let count = |part: &str| svg.matches(part).count();
        assert_eq!(count("<title>run: "), 2);
        assert_eq!(count("<title>wait for lock: 0ns to 5ms</title>"), 1);
        assert_eq!(count("<path class='handover'"), 1);
        assert_eq!(count("<rect class='run'"), 3, "two spans and the legend");
        assert_eq!(count("<rect class='io'"), 0, "what does not occur is not explained");
        assert_eq!(count(">python A &amp; &lt;B&gt;</text>"), 1);
    }

    #[test]
    fn a_picture_is_well_formed_xml_within_its_frame() {
        let svg = turns().svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let frame = document.root_element().attribute("viewBox").unwrap();
        let frame: Vec<f64> = frame.split(' ').map(|n| n.parse().unwrap()).collect();
        for rect in document.descendants().filter(|node| node.has_tag_name("rect")) {
            let number = |name| rect.attribute(name).map_or(0.0, |n| n.parse::<f64>().unwrap());
            assert!(number("x") + number("width") <= frame[2] + 0.01);
            assert!(number("y") + number("height") <= frame[3] + 0.01);
        }
    }

    #[test]
    fn a_picture_is_well_formed_whatever_a_name_holds() {
        let all = ('\0'..='\u{ffff}').chain(['\u{10fffe}', '😀']);
        let timeline = Timeline::new();
        for c in all {
            let (start, end) = (Duration::ZERO, Duration::from_millis(1));
            let mut lane = timeline.lane("a", &format!("<{c}]]>&amp;{c}"));
            lane.push(Span { state: State::Run, start, end });
        }
        let svg = timeline.svg();
        assert!(!svg.contains(|c: char| c.is_control() && c != '\n'));
        roxmltree::Document::parse(&svg).unwrap();
    }

    #[test]
    fn what_took_no_time_is_no_picture() {
        let timeline = Timeline::new();
        assert_eq!(timeline.svg(), "");
        let (start, end) = (Duration::ZERO, Duration::ZERO);
        timeline.lane("p", "A").push(Span { state: State::Run, start, end });
        assert_eq!(timeline.svg(), "");
    }
}
