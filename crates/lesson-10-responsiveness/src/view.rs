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
    const WIDTH: usize = 24;
    let way = frames.len() % (2 * WIDTH);
    let ball = way.min(2 * WIDTH - way);
    let longest = frames.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    let stage = match stage {
        Stage::Before => "idle",
        Stage::During => "working",
        Stage::Behind => "answered",
    };
    let line = format!(
        "   |{:ball$}o{:rest$}|  frame {:>4}  longest gap {:>5} ms  {stage}",
        "",
        "",
        frames.len(),
        longest.as_millis(),
        rest = WIDTH - ball,
    );
    // A terminal that is gone ends the program by a signal, not here.
    let _ = write!(io::stderr(), "\x1b[A\r{line}\x1b[K\n");
}
