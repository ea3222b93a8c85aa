//! `--watch`: what a person sees of an interface that answers, or does not.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::design::Design;
use crate::live::Stage;

/// Refuses a value where nobody could see the view.
pub fn on_a_terminal(design: Design) -> Result<Design, &'static str> {
    if io::stderr().is_terminal() {
        Ok(design)
    } else {
        Err("it draws on a terminal, and stderr is none")
    }
}

/// Draws one line again and again, and rests at the start of the one below. So there is nothing
/// to put right when Ctrl-C ends the program in between.
pub fn line(frames: &[Duration], stage: &Stage) {
    let line = drawn(frames, stage);
    // What does not fit is left out while this is written: a line that a narrow terminal breaks is
    // two, of which the next one would replace the second. In one piece, so that Ctrl-C finds the
    // terminal as it was.
    let line = format!("\x1b[?7l\x1b[A\r{line}\x1b[K\n\x1b[?7h");
    // A terminal that is gone ends the program by a signal, not here.
    let _ = io::stderr().write_all(line.as_bytes());
}

fn drawn(frames: &[Duration], stage: &Stage) -> String {
    const WIDTH: usize = 24;
    let way = frames.len() % (2 * WIDTH);
    let ball = way.min(2 * WIDTH - way);
    let longest = frames.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    let stage = match stage {
        Stage::Before => "idle",
        Stage::During => "working",
        Stage::Behind => "answered",
    };
    format!(
        "   |{:ball$}o{:rest$}|  frame {:>4}  longest gap {:>5} ms  {stage}",
        "",
        "",
        frames.len(),
        longest.as_millis(),
        rest = WIDTH - ball,
    )
}
