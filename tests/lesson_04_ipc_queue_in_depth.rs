//! Lesson 04 in depth: the way and the size change what a message costs, not what arrives.

mod common;
mod limits;
use common::{Run, assert_transcript, run};

const MESSAGE_SIZES: &str = env!("CARGO_BIN_EXE_message_sizes");
const BREAK_EVEN: &str = env!("CARGO_BIN_EXE_break_even");

#[test]
fn messages_of_every_size_arrive_whole_in_every_way() {
    assert_transcript("message_sizes", &[run(MESSAGE_SIZES, &[])]);
    let sizes = ["--messages", "3", "--mib", "1", "--capacity", "1", "--quiet"];
    assert_transcript("message_sizes_sizes", &[silent(MESSAGE_SIZES, &sizes)]);
}

#[test]
fn a_pool_pays_for_tasks_longer_than_the_rule_says() {
    assert_transcript("break_even", &[run(BREAK_EVEN, &[])]);
    let sizes = ["--cost", "1ms", "--workers", "4", "--lengths", "3", "--quiet"];
    assert_transcript("break_even_sizes", &[silent(BREAK_EVEN, &sizes)]);
}

#[test]
fn one_worker_never_pays() {
    let one = silent(BREAK_EVEN, &["--workers", "1", "--lengths", "1", "--quiet"]);
    assert!(one.stdout.contains("\n   a pool never pays\n"), "{one}");
}

#[test]
fn a_measurement_is_there_for_every_size_and_length_and_fits_the_screen() {
    let sizes = run(MESSAGE_SIZES, &["--messages", "1"]);
    assert_eq!(sizes.stderr.matches(" MB/s\n").count(), 6, "{}", sizes.stderr);
    let lengths = run(BREAK_EVEN, &["--lengths", "4"]);
    assert_eq!(lengths.stderr.lines().count(), 1 + 4 + 4, "{}", lengths.stderr);
    for screen in [&sizes, &lengths].map(|run| run.stdout.clone() + &run.stderr) {
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    }
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(MESSAGE_SIZES, &["--messages", "3", "--mib", "1", "--quiet"]);
    limits::are_said_in_one_line(BREAK_EVEN, &["--lengths", "3", "--quiet"]);
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        (MESSAGE_SIZES, ["--messages", "0"]),
        (MESSAGE_SIZES, ["--mib", "5000"]),
        (MESSAGE_SIZES, ["--capacity", "0"]),
        (BREAK_EVEN, ["--cost", "0s"]),
        (BREAK_EVEN, ["--workers", "17"]),
        (BREAK_EVEN, ["--lengths", "-1"]),
        (BREAK_EVEN, ["--tasks", "3"]),
    ]
    .map(|(program, flags)| {
        let error = run(program, &flags);
        assert_eq!((error.status.code(), error.stdout.as_str()), (Some(2), ""), "{error}");
        error
    });
    assert_transcript("errors", &errors);
}

/// A run that succeeds and measures nothing.
fn silent(program: &str, flags: &[&str]) -> Run {
    let run = run(program, flags);
    assert!(run.status.success(), "{run}");
    assert_eq!(run.stderr, "", "{run}");
    run
}
