//! What the operating system refuses to calls that cannot return an error.
//!
//! `println!`, `thread::spawn`, `Scope::spawn` and rayon's own threads panic then. That is no bug
//! of the program, so it ends as it does for any other failure: with one line and status 1. A
//! lesson keeps the plain calls that it teaches.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{io, panic, process};

use crate::{FAILED, one_line, to_stderr};

/// From now on a panic that says what was refused ends the program at once.
///
/// It does not unwind: threads that were started may wait, at a barrier, for the one that was
/// refused, and a scope would wait for them for ever.
pub(crate) fn end_in_one_line() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let Some(refusal) = in_words(info.payload_as_str().unwrap_or_default()) else {
            return default(info);
        };
        // A reader that is gone is no failure of the lesson; a full disk is one.
        if refusal.starts_with(NO_OUTPUT)
            && READER_IS_GONE.iter().any(|os| refusal.ends_with(os))
        {
            process::exit(0);
        }
        say_once(refusal);
        process::exit(FAILED);
    }));
}

/// Why the program ends: where many threads fail together, what the first of them says.
pub(crate) fn say_once(why: impl Display) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        to_stderr(format_args!("Error: {why}"));
    }
}

const NO_OUTPUT: &str = "cannot write to stdout";
/// The kind of error is lost in the text: EPIPE, and what Windows calls it.
const READER_IS_GONE: [&str; 3] = ["(os error 32)", "(os error 109)", "(os error 232)"];

/// How such panics begin, and what was tried. The words are those of std, rayon and tokio; a test
/// that has threads refused says when they change.
const PANICS: [(&str, &str); 6] = [
    ("failed printing to stdout: ", NO_OUTPUT),
    ("failed to spawn thread: ", "cannot start a thread"),
    // The new thread itself, before it does anything.
    ("failed to allocate an alternative stack: ", "cannot start a thread"),
    ("failed to set up alternative stack guard page: ", "cannot start a thread"),
    ("The global thread pool has not been initialized", "cannot start the threads of rayon"),
    ("OS can't spawn worker thread: ", "cannot start a thread of tokio"),
];

/// What was tried and why it was refused, if that is what a panic says.
fn in_words(panic: &str) -> Option<String> {
    let (begins, tried) = PANICS.iter().find(|(begins, _)| panic.starts_with(begins))?;
    let rest = &panic[begins.len()..];
    let cause = system_error(rest).map_or_else(|| one_line(rest), |error| error.to_string());
    Some(format!("{tried}: {cause}"))
}

/// The error in `Os { code: 11, kind: WouldBlock, message: "..." }`, wherever that stands.
fn system_error(debug: &str) -> Option<io::Error> {
    let (_, rest) = debug.split_once("Os { code: ")?;
    let (code, _) = rest.split_once(',')?;
    code.parse().ok().map(io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_was_a_refusal_is_said_in_words() {
        let again = io::Error::from_raw_os_error(11);
        for (panic, words) in [
            (format!("failed to spawn thread: {again:?}"), "cannot start a thread: "),
            (
                format!(
                    "The global thread pool has not been initialized.: \
                     ThreadPoolBuildError {{ kind: IOError({again:?}) }}"
                ),
                "cannot start the threads of rayon: ",
            ),
            (
                format!("OS can't spawn worker thread: {again}"),
                "cannot start a thread of tokio: ",
            ),
            (format!("failed printing to stdout: {again}"), "cannot write to stdout: "),
        ] {
            assert_eq!(in_words(&panic), Some(format!("{words}{again}")));
        }
        for bug in ["", "index out of bounds", "a task failed to spawn thread: no"] {
            assert_eq!(in_words(bug), None);
        }
    }
}
