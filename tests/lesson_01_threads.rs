//! Lesson 01: what its screen promises on any machine.

mod common;
mod limits;
use std::panic;
use std::time::{Duration, Instant};

use common::{Run, assert_transcript, run};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-01-threads");
const SMALL: [&str; 6] = ["--below", "1_000", "--rounds", "2", "--shared", "1001"];

#[test]
fn both_threads_start_before_either_finishes() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn the_last_chunk_may_be_shorter() {
    let small = small();
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("sizes", &[small]);
}

fn small() -> Run {
    run(LESSON, &[&SMALL[..], &["--chunk", "300", "--wait", "1ms", "--quiet"]].concat())
}

/// Those that the snapshot library forgives: all others it sees itself.
#[test]
fn no_difference_in_white_space_is_overlooked() {
    let small = small();
    let lines = small.stdout.trim_end();
    for changed in [
        small.stdout.replace('\n', "\r\n"),
        format!("{lines}\r\n"),
        lines.into(),
        format!("{lines}\n\n"),
        format!("{lines}\n\n\n\n"),
        format!("{lines} \n"),
        format!("{lines}\n\t"),
    ] {
        let what = changed.escape_debug().to_string();
        let changed = Run {
            command: small.command.clone(),
            stdout: changed,
            stderr: String::new(),
            status: small.status,
        };
        let compared = panic::catch_unwind(|| assert_transcript("sizes", &[changed]));
        assert!(compared.is_err(), "{what}");
    }
}

#[test]
fn each_thread_waits_as_long_as_it_was_told() {
    let start = Instant::now();
    assert!(run(LESSON, &[&SMALL[..], &["--wait", "300ms"]].concat()).status.success());
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_chunk_that_is_a_whole_sum_leaves_no_turns_to_take() {
    for (chunk, turns) in [("999", true), ("1000", false), ("1001", false)] {
        let ran = run(LESSON, &[&SMALL[..], &["--wait", "0s", "--chunk", chunk]].concat());
        assert_eq!(ran.stdout.contains("by turns in one thread"), turns, "{ran}");
        assert_eq!(ran.stdout.contains("Turns are concurrent"), turns, "{ran}");
        assert_eq!(ran.stdout.contains("with no turns"), !turns, "{ran}");
    }
}

#[test]
fn an_empty_sum_has_no_chunks() {
    let empty = run(LESSON, &["--wait", "0s", "--below", "0", "--shared", "0"]);
    assert!(empty.status.success(), "{empty}");
    assert!(empty.stdout.contains("A has 0, B has 0\n"));
    assert!(empty.stdout.contains("chunks: 0, together 0\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn one_core_is_enough_to_have_two_in_progress() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    let flags = [&SMALL[..], &["--wait", "1ms"]].concat();
    let on_one_core = || {
        let this_thread = Pid::from_raw(0);
        let allowed = sched_getaffinity(this_thread).expect("our own");
        let core = (0..CpuSet::count()).find(|&core| allowed.is_set(core) == Ok(true));
        let mut one_core = CpuSet::new();
        one_core.set(core.expect("we run on one")).expect("it is in range");
        sched_setaffinity(this_thread, &one_core).expect("a core that we may use");
        run(LESSON, &flags)
    };
    // A child inherits from the thread that starts it: the other tests keep their cores.
    let pinned = std::thread::scope(|scope| scope.spawn(on_one_core).join().expect("it runs"));
    assert!(pinned.stdout.contains("in progress at once: 2"), "{pinned}");
    assert_eq!(pinned.stdout, run(LESSON, &flags).stdout);
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &[&SMALL[..], &["--wait", "1ms", "--quiet"]].concat());
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        ["--chunk", "0"],
        ["--rounds", "0"],
        ["--below", "ten"],
        ["--below", "-1"],
        ["--shared", "10_000_001"],
        ["--wait", "5"],
        ["--wait", "2h"],
        ["--threads", "3"],
    ];
    let errors = errors.map(|flags| run(LESSON, &flags));
    assert_transcript("errors", &errors);
}
