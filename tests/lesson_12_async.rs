//! Lesson 12: what its screens promise on any machine.

mod common;
mod limits;
use common::{assert_transcript, run};

use std::time::{Duration, Instant};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-12-async");
const TURNS: &str = env!("CARGO_BIN_EXE_turns");

#[test]
fn ten_thousand_waits_need_one_thread_and_a_blocking_call_stops_it() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn the_sizes_change_no_fact_but_the_counts() {
    let sizes = ["--waits", "30", "--wait", "20ms", "--threads", "7", "--blocking", "50ms"];
    let small = run(LESSON, &[&sizes[..], &["--quiet"]].concat());
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("sizes", &[small]);
}

#[test]
fn fewer_threads_than_waits_wait_in_rounds() {
    let start = Instant::now();
    let rounds = run(LESSON, &["--waits", "10", "--wait", "50ms", "--threads", "3"]);
    assert!(rounds.stdout.contains("done: 10; at once: 3 or less; threads: 10\n"), "{rounds}");
    let tasks_and_four_rounds = 5 * Duration::from_millis(50);
    assert!(start.elapsed() >= tasks_and_four_rounds);
}

#[test]
fn a_task_yields_or_starves_the_other_and_a_thread_is_asked() {
    assert_transcript("turns", &[run(TURNS, &[])]);
}

#[test]
fn other_turns() {
    let three = run(TURNS, &["--steps", "3", "--quiet"]);
    assert_eq!(three.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("turns_sizes", &[three]);
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &["--wait", "20ms", "--quiet"]);
    limits::are_said_in_one_line(TURNS, &["--quiet"]);
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let lesson = [
        ["--waits", "0"],
        ["--waits", "10_001"],
        ["--wait", "0s"],
        ["--wait", "100"],
        ["--threads", "-1"],
        ["--blocking", "1m"],
        ["--tasks", "5"],
    ];
    let turns = [["--steps", "0"], ["--steps", "many"]];
    let errors: Vec<_> = lesson
        .iter()
        .map(|flags| run(LESSON, flags))
        .chain(turns.iter().map(|flags| run(TURNS, flags)))
        .collect();
    assert_transcript("errors", &errors);
}
