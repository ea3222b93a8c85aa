//! Lesson 02 in depth: what the virtual clock says is the same everywhere, to the last digit.

mod common;
mod limits;
use common::{Run, assert_transcript, run};

use std::env;
use std::fs;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Command;

const CONVOY: &str = env!("CARGO_BIN_EXE_convoy");
const FAIRNESS: &str = env!("CARGO_BIN_EXE_fairness");
const NATIVE: &str = env!("CARGO_BIN_EXE_native");
const COUNTER: &str = env!("CARGO_BIN_EXE_counter");

#[test]
fn an_answer_costs_an_interval_or_several() {
    assert_transcript("convoy", &[run(CONVOY, &[])]);
    let sizes =
        ["--threads", "1", "--interval", "500us", "--time", "20ms", "--seed", "1", "--quiet"];
    assert_transcript("convoy_sizes", &[silent(CONVOY, &sizes)]);
}

#[test]
fn without_forced_switching_a_thread_waits_most_of_a_second() {
    assert_transcript("fairness", &[run(FAIRNESS, &[])]);
    let sizes =
        ["--threads", "2", "--interval", "50ms", "--time", "2s", "--seed", "1", "--quiet"];
    assert_transcript("fairness_sizes", &[silent(FAIRNESS, &sizes)]);
}

#[test]
fn no_seed_saves_all_threads_from_starving() {
    for seed in ["1", "2", "3", "4", "5", "6", "7", "8"] {
        let fairness = silent(FAIRNESS, &["--quiet", "--seed", seed]);
        let (forced, not_forced) =
            fairness.stdout.split_once("No forced switching").expect("both are there");
        assert!(longest_wait(forced) < 500.0, "{fairness}");
        assert!(longest_wait(not_forced) > 500.0, "{fairness}");
    }
}

#[test]
fn a_check_point_is_what_lets_others_in() {
    assert_transcript("native", &[run(NATIVE, &[])]);
    let sizes = ["--task", "20ms", "--interval", "1ms", "--seed", "7"];
    assert_transcript("native_sizes", &[silent(NATIVE, &sizes)]);
}

#[test]
fn a_counter_loses_where_the_lock_can_go_between_read_and_write() {
    assert_transcript("counter", &[run(COUNTER, &[])]);
    let sizes = [
        &["--policy", "3.10", "--threads", "2", "--increments", "5_000"][..],
        &["--interval", "500us", "--seed", "1", "--quiet"],
    ];
    assert_transcript("counter_sizes", &[silent(COUNTER, &sizes.concat())]);
}

#[test]
fn a_schedule_replays_one_order() {
    let orders = [
        &["--schedule", "a,a,a,a,b"][..],
        &["--schedule", "a,b"],
        &["--policy", "3.9", "--schedule", "a,a,b,a,b,b"],
        &["--policy", "3.10", "--schedule", "a,a,b"],
    ];
    assert_transcript("schedule", &orders.map(|flags| silent(COUNTER, flags)));
}

/// The page asks for these.
#[test]
fn the_exercises_have_answers() {
    let few_switches = silent(COUNTER, &["--policy", "3.9", "--schedule", "a,b,a,b,b,b,b,b"]);
    assert!(few_switches.stdout.contains("lost updates: 1; switches: 4\n"), "{few_switches}");

    for (interval, alike) in [("54ms", 1), ("55ms", 2)] {
        let native = silent(NATIVE, &["--interval", interval]);
        let (_, preemptive) = native.stdout.split_once("\n4. ").expect("the fourth section");
        let alike_here = preemptive.matches("hand-overs: 2\n").count();
        assert_eq!(alike_here, alike, "{native}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_stderr_that_takes_nothing_changes_no_exit_status() {
    for (status, program, flags) in [
        (0, COUNTER, &["--increments", "10"][..]),
        (0, FAIRNESS, &["--time", "10ms"]),
        (2, COUNTER, &["--schedule", "a,c"]),
        (2, CONVOY, &["--trace", "convoy.out", "--svg", "convoy.out"]),
    ] {
        let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let output = Command::new(program).args(flags).stderr(full).output();
        let output = output.expect("cargo built the program");
        assert_eq!(output.status.code(), Some(status), "{program} {flags:?}");
    }
}

/// `INSTA_UPDATE=always`, as in `just bless`, writes the picture again.
#[test]
fn the_picture_of_the_page_is_what_the_program_draws() {
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("02-gil-convoy.svg");
    let flags = ["--quiet", "--svg", new.to_str().expect("cargo's path is text")];
    silent(CONVOY, &flags);
    let new = fs::read_to_string(new).expect("the program wrote it");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = root.join("lessons/pictures/02-gil-convoy.svg");
    if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&page, &new).expect("the picture can be written");
    }
    // A checkout may have given the file other line ends.
    let old = fs::read_to_string(page).expect("the page has its picture").replace("\r\n", "\n");
    assert!(old == new, "the picture differs from `convoy --svg`; `just bless` writes it");
}

#[test]
fn the_trace_has_a_track_for_each_thread() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("02-gil-convoy.json");
    silent(CONVOY, &["--quiet", "--trace", path.to_str().expect("cargo's path is text")]);
    let trace = fs::read_to_string(path).expect("the program wrote it");
    for expected in [r#""name":"I/O""#, r#""name":"CPU 1""#, r#""name":"CPU 2""#] {
        assert!(trace.contains(expected), "no {expected} in {trace}");
    }
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(CONVOY, &["--quiet"]);
    limits::are_said_in_one_line(COUNTER, &["--increments", "1000", "--quiet"]);
    limits::are_said_in_one_line(FAIRNESS, &["--quiet"]);
    limits::are_said_in_one_line(NATIVE, &[]);
}

#[test]
fn bad_arguments_and_failed_operations_are_named_in_one_line() {
    let errors = [
        (2, CONVOY, &["--interval", "0s"][..]),
        (2, CONVOY, &["--threads", "17"]),
        (2, CONVOY, &["--trace", "convoy.out", "--svg", "convoy.out"]),
        (2, CONVOY, &["--time", "10s"]),
        (1, CONVOY, &["--svg", "no/such/folder/convoy.svg"]),
        (1, CONVOY, &["--trace", "no/such/folder/convoy.json"]),
        (2, FAIRNESS, &["--threads", "0"]),
        (2, FAIRNESS, &["--time", "1h"]),
        (2, NATIVE, &["--task", "0s"]),
        (2, NATIVE, &["--seed", "-1"]),
        (2, COUNTER, &["--policy", "2.7"]),
        (2, COUNTER, &["--threads", "0"]),
        (2, COUNTER, &["--interval", "-5ms"]),
        (2, COUNTER, &["--schedule", "a,b", "--threads", "2"]),
        (2, COUNTER, &["--schedule", "a,c"]),
        (2, COUNTER, &["--schedule", "a,a,a,a,a"]),
        (2, COUNTER, &["--policy", "3.10", "--schedule", "a,b,b"]),
    ]
    .map(|(status, program, flags)| {
        let error = run(program, flags);
        assert_eq!((error.status.code(), error.stdout.as_str()), (Some(status), ""), "{error}");
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

/// The greatest number before the unit that ends a line of a table, in ms.
fn longest_wait(table: &str) -> f64 {
    let waits = table.lines().filter_map(|line| line.strip_suffix(" ms"));
    let waits = waits.filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    waits.fold(0.0, f64::max)
}
