//! Lesson 06: what its screens promise on any machine.

mod common;
mod limits;
use common::{Run, assert_transcript, run};

use std::time::{Duration, Instant};

use simulator::INCREMENT;
use simulator::explorer::Program;

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-06-synchronization");
const ORDER: &str = env!("CARGO_BIN_EXE_order");
const ACCEPTED: &str = env!("CARGO_BIN_EXE_accepted");
const JUDGE: &str = env!("CARGO_BIN_EXE_judge");

#[test]
fn a_race_that_is_forced_loses_in_every_round_and_its_cures_lose_nothing() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn of_more_threads_all_but_one_lose_their_update() {
    let sizes = ["--threads", "5", "--rounds", "100", "--increments", "1_000", "--quiet"];
    assert_transcript("sizes", &[silent(LESSON, &sizes)]);
}

#[test]
fn a_semaphore_an_event_a_barrier_and_a_condition_order_threads() {
    assert_transcript("order", &[run(ORDER, &[])]);
    let sizes = [["--threads", "3", "--permits", "2"], ["--threads", "2", "--permits", "9"]];
    assert_transcript("order_sizes", &sizes.map(|flags| silent(ORDER, &flags)));
}

#[test]
fn check_then_act_and_a_deadlock_compile_happen_and_are_cured() {
    assert_transcript("accepted", &[run(ACCEPTED, &[])]);
    let sizes = ["--threads", "5", "--patience", "20ms", "--quiet"];
    assert_transcript("accepted_sizes", &[silent(ACCEPTED, &sizes)]);
}

#[test]
fn a_deadlock_lasts_as_long_as_the_patience() {
    let start = Instant::now();
    silent(ACCEPTED, &["--patience", "300ms", "--quiet"]);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn every_order_is_judged() {
    assert_transcript("judge", &[run(JUDGE, &[])]);
    assert_transcript("judge_sizes", &[silent(JUDGE, &["--threads", "3"])]);
}

#[test]
fn the_simulator_judges_the_race_alike() {
    let threads = ["a", "b"].map(|name| (name.into(), INCREMENT.to_vec())).into();
    let outcomes = Program { lock: None, threads }.explore().expect("the names differ");
    let judged = run(JUDGE, &[]).stdout;
    let row = judged.lines().find_map(|line| line.strip_prefix("count: read, then write "));
    let row: Vec<_> = row.expect("the race is judged").split_whitespace().take(2).collect();
    let expected = [outcomes.interleavings(), outcomes.losing()].map(|n| n.to_string());
    assert_eq!(row, expected);
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &["--quiet"]);
    limits::are_said_in_one_line(ORDER, &[]);
    limits::are_said_in_one_line(ACCEPTED, &["--patience", "20ms", "--quiet"]);
    limits::are_said_in_one_line(JUDGE, &[]);
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        (LESSON, ["--threads", "1"]),
        (LESSON, ["--rounds", "0"]),
        (LESSON, ["--rounds", "many"]),
        (LESSON, ["--increments", "-1"]),
        (LESSON, ["--locks", "2"]),
        (ORDER, ["--threads", "0"]),
        (ORDER, ["--permits", "65"]),
        (ACCEPTED, ["--threads", "27"]),
        (ACCEPTED, ["--patience", "0s"]),
        (ACCEPTED, ["--patience", "100"]),
        (JUDGE, ["--threads", "4"]),
    ];
    let errors = errors.map(|(program, flags)| run(program, &flags));
    assert_transcript("errors", &errors);
}

/// A run that succeeds and measures nothing.
fn silent(program: &str, flags: &[&str]) -> Run {
    let run = run(program, flags);
    assert!(run.status.success(), "{run}");
    assert_eq!(run.stderr, "", "{run}");
    run
}
