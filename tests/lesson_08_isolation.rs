//! Lesson 08: what its screen promises on any machine.

mod common;
mod limits;
use common::{assert_transcript, run};

use std::time::{Duration, Instant};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-08-isolation");

#[test]
fn a_fault_stops_what_shares_its_fate_and_is_reported_by_name() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn the_sizes_change_no_fact_but_the_counts() {
    let small = run(LESSON, &["--tasks", "5", "--time-out", "10ms", "--quiet"]);
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("sizes", &[small]);
}

#[test]
fn a_hybrid_of_one_process_has_nothing_to_fall_back_on() {
    let one_process = run(LESSON, &["--tasks", "2", "--time-out", "1ms"]);
    let abort = ["abort", "0", "0", "1", "0", "0"];
    let shown = |line: &str| line.split_whitespace().eq(abort);
    assert!(one_process.stdout.lines().any(shown), "{one_process}");
}

#[test]
fn no_loop_is_given_up_before_its_time_out() {
    let start = Instant::now();
    let long = run(LESSON, &["--tasks", "2", "--time-out", "150ms"]);
    assert!(long.status.success(), "{long}");
    let loops_and_models = 2 * 5;
    assert!(start.elapsed() >= loops_and_models * Duration::from_millis(150), "{long}");
}

#[cfg(unix)]
#[test]
fn who_starts_it_may_ignore_their_children() {
    let ignores = ["-c", "trap '' CHLD; exec \"$0\" \"$@\"", LESSON];
    let [ignored, well] = [
        run("sh", &[&ignores[..], &["--time-out", "10ms"]].concat()),
        run(LESSON, &["--time-out", "10ms"]),
    ];
    assert_eq!((ignored.status, ignored.stdout), (well.status, well.stdout));
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &["--time-out", "10ms", "--quiet"]);
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        ["--tasks", "1"],
        ["--tasks", "17"],
        ["--tasks", "few"],
        ["--time-out", "0s"],
        ["--time-out", "100"],
        ["--time-out", "1m"],
        ["--faults", "3"],
    ];
    let errors = errors.map(|flags| run(LESSON, &flags));
    assert_transcript("errors", &errors);
}
