//! The trade-off in one picture.

use lesson_09_reference_counts::Regime;

use crate::{Steps, Taken};

const STYLE: &str = "\
<style>
  svg { --ground: #fff; --ink: #1f2328; --faint: #d0d7de; --plain: #0969da; --atomic: #d1242f }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0d1117; --ink: #e6edf3; --faint: #3d444d; --plain: #4493f8; --atomic: #f85149 }
  }
  .ground { fill: var(--ground) } text { fill: var(--ink); font: 14px system-ui, sans-serif }
  .head { font-weight: 600 } .line { stroke: var(--faint) }
  .plain { fill: var(--plain) } .atomic { fill: var(--atomic) }
</style>
";

/// Where the columns begin.
const COLUMNS: [u32; 5] = [16, 150, 310, 500, 690];
const HEADS: [&str; 5] =
    ["", "right orders", "its maker counts", "another thread counts", "run at once"];

/// For each regime: how many orders there are and how many are right, what a pair takes, and how
/// many threads run at once. An SVG file of its own, for light ground and dark.
pub fn svg(orders: &[(u64, u64); 4], steps: &[Steps; 4]) -> String {
    let mut lines = vec![
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 800 270' role='img' \
         aria-label='Four ways to count references: right or not, at what price'>"
            .to_owned(),
    ];
    lines.push(format!("{STYLE}<rect class='ground' width='800' height='270'/>"));
    for (x, head) in COLUMNS.into_iter().zip(HEADS) {
        lines.push(format!("<text class='head' x='{x}' y='30'>{head}</text>"));
    }
    let rows = Regime::ALL.into_iter().zip(orders).zip(steps).zip((44..).step_by(46));
    for (((regime, (all, right)), steps), top) in rows {
        let y = top + 28;
        lines.push(format!("<path class='line' d='M16 {top}H784'/>"));
        let at_once = steps.other.map_or(String::new(), |_| steps.at_once.to_string());
        let cells = [regime.name(), &format!("{right} of {all}"), "", "", &at_once];
        for (x, cell) in COLUMNS.into_iter().zip(cells) {
            lines.push(format!("<text x='{x}' y='{y}'>{cell}</text>"));
        }
        lines.push(boxes(COLUMNS[2], top + 14, Some(steps.owner)));
        lines.push(boxes(COLUMNS[3], top + 14, steps.other));
    }
    lines.push("<path class='line' d='M16 228H784'/>".into());
    lines.push(boxes(COLUMNS[2], 240, Some(Taken { plain: 1, atomic: 0 })));
    lines.push("<text x='332' y='254'>plain load or store</text>".into());
    lines.push(boxes(COLUMNS[3], 240, Some(Taken { plain: 0, atomic: 1 })));
    lines.push("<text x='522' y='254'>atomic operation</text>".into());
    lines.push("</svg>\n".into());
    lines.join("\n")
}

/// A box for each, the atomic ones last: round, to be told apart without colour.
fn boxes(left: u32, top: u32, taken: Option<Taken>) -> String {
    let Some(taken) = taken else {
        return format!("<text x='{left}' y='{}'>wrong</text>", top + 14);
    };
    let classes = [("plain", 0, taken.plain), ("atomic", 8, taken.atomic)];
    let classes =
        classes.into_iter().flat_map(|(class, round, n)| (0..n).map(move |_| (class, round)));
    let boxes = classes.zip((left..).step_by(20)).map(|((class, round), x)| {
        format!("<rect class='{class}' x='{x}' y='{top}' width='16' height='16' rx='{round}'/>")
    });
    boxes.collect()
}
