//! Lesson 03 in depth: how a future ends, and what a process costs.

mod common;
mod limits;
use common::{assert_transcript, run};

use std::time::{Duration, Instant};

const FUTURES: &str = env!("CARGO_BIN_EXE_futures");
const COST: &str = env!("CARGO_BIN_EXE_cost");

#[test]
fn every_future_ends_and_says_how() {
    let futures = run(FUTURES, &[]);
    assert_eq!(futures.stderr, "", "what a worker's panic says comes with its future");
    assert_transcript("futures", &[futures]);
}

#[test]
fn a_task_that_hangs_has_its_time_first() {
    let begun = Instant::now();
    let patient = run(FUTURES, &["--time-out", "700ms"]);
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert!(patient.stdout.contains("6 hangs: timed out after 700ms\n"), "{patient}");
}

#[test]
fn a_pool_starts_as_many_processes_as_it_has_workers() {
    assert_transcript("cost", &[run(COST, &[])]);
    let sizes = [["--tasks", "5"], ["--below", "10"], ["--workers", "2"], ["--at-once", "3"]];
    let small = run(COST, &[&sizes.concat()[..], &["--quiet"]].concat());
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("cost_sizes", &[small]);
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(FUTURES, &[]);
    limits::are_said_in_one_line(COST, &["--tasks", "5", "--below", "10", "--quiet"]);
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        run(FUTURES, &["--time-out", "0s"]),
        run(FUTURES, &["--time-out", "soon"]),
        run(COST, &["--tasks", "0"]),
        run(COST, &["--below", "-1"]),
        run(COST, &["--workers", "65"]),
        run(COST, &["--at-once", "many"]),
    ];
    assert_transcript("errors", &errors);
}
