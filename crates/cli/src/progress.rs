//! How far a measurement is: nobody should wonder for seconds whether a program hangs.

use std::env;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Output;

/// A line on the terminal that goes when this is dropped. Facts are printed before or after it.
///
/// Nothing is drawn between two steps: a thread that did so would be measured too.
pub struct Progress(ProgressBar);

impl Output {
    /// Shows that so many steps are to come, or one that takes its time (0), where stderr is a
    /// terminal, unless `--quiet` or `NO_COLOR`.
    #[must_use]
    pub fn progress(self, doing: &'static str, steps: usize) -> Progress {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let bar = if self.quiet || plain || !io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        };
        let style = ProgressStyle::with_template(match steps {
            0 => "   {msg} ...",
            _ => "   {msg}: {pos} of {len} {wide_bar}",
        });
        let bar = bar.with_style(style.expect("all its words are known")).with_message(doing);
        bar.set_length(steps as u64);
        bar.tick();
        Progress(bar)
    }
}

impl Progress {
    /// One more step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Says something else meanwhile: the line would stand in its way.
    pub fn aside(&self, say: impl FnOnce()) {
        self.0.suspend(say);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
