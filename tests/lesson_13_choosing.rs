//! Lesson 13: what its screen promises on any machine.

mod common;
mod limits;
use common::{assert_transcript, run};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-13-choosing");

#[test]
fn every_model_gives_the_same_answers() {
    let default = run(LESSON, &[]);
    assert_eq!(default.stdout.matches("16 of 16 right").count(), 4);
    assert_transcript("default", &[default]);
}

#[test]
fn sixteen_cores_are_predicted_without_measuring() {
    let simulated = run(LESSON, &["--simulate", "--cores", "16", "--preset", "image-batch"]);
    assert_eq!(simulated.stderr, "", "nothing is measured");
    assert_transcript("sixteen_cores", &[simulated]);
}

#[test]
fn a_small_job_is_better_left_alone() {
    let small = run(LESSON, &["--simulate", "--tasks", "20", "--cpu", "500us"]);
    assert!(small.stdout.contains("1. one after another"), "{small}");
    assert_transcript("small_job", &[small]);
}

#[test]
fn without_a_gil_threads_need_no_processes() {
    assert_transcript("no_gil", &[run(LESSON, &["--simulate", "--no-gil"])]);
}

#[test]
fn an_open_window_rules_out_doing_the_work_in_it() {
    let window = run(LESSON, &["--preset", "interface", "--quiet"]);
    assert_eq!(window.stderr, "", "--quiet leaves the measurements out");
    assert!(window.stdout.contains("4. one after another"), "{window}");
    assert_transcript("interface", &[window]);
}

/// What runs in processes is right too when more bytes go along than a connection holds.
#[test]
fn megabytes_go_along_and_arrive() {
    let flags = ["--tasks", "5", "--cpu", "1ms", "--payload", "5000000", "--may-crash"];
    let heavy = run(LESSON, &[&flags[..], &["--cores", "2"]].concat());
    assert_eq!(heavy.stdout.matches("5 of 5 right").count(), 4, "{heavy}");
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(
        LESSON,
        &["--tasks", "4", "--cpu", "2ms", "--cores", "2", "--quiet"],
    );
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors: [&[&str]; 8] = [
        &["--tasks", "0"],
        &["--tasks", "8", "--cpu", "5"],
        &["--preset", "games"],
        &["--cores", "0"],
        &["--preset", "simulation", "--tasks", "3"],
        &["--cpu", "5ms"],
        &["--tasks", "1", "--payload", "1e9"],
        &["--check", "0"],
    ];
    let errors = errors.map(|flags| run(LESSON, flags));
    assert_transcript("errors", &errors);
}
