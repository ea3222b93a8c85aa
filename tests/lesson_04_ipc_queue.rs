//! Lesson 04: what its screen promises on any machine.

mod common;
mod limits;
use common::{assert_transcript, run};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-04-ipc-queue");
const QUIET: [&str; 3] = ["--below", "1_000", "--quiet"];

#[test]
fn every_message_arrives_once() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn many_producers_and_consumers_lose_nothing_in_a_queue_of_one_place() {
    let queue = ["--messages", "20", "--producers", "5", "--consumers", "4", "--capacity", "1"];
    let memory = ["--workers", "3", "--numbers", "10"];
    let small = run(LESSON, &[&queue[..], &memory, &QUIET].concat());
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("sizes", &[small]);
}

#[test]
fn the_death_of_the_only_producer_is_the_end_of_the_queue() {
    let lonely = ["--messages", "10", "--producers", "1", "--consumers", "3"];
    let lonely = run(LESSON, &[&lonely[..], &QUIET].concat());
    let end =
        "   producer 1: worker killed by SIGKILL; received: 5\n   the consumers saw the end";
    assert!(lonely.status.success() && lonely.stdout.contains(end), "{lonely}");
}

#[test]
fn a_producer_may_die_before_its_first_message() {
    let one = run(LESSON, &[&["--messages", "1"][..], &QUIET].concat());
    let first = "   producer 1: worker killed by SIGKILL; received: 0\n   producer 2: done; received: 1\n";
    assert!(one.status.success() && one.stdout.contains(first), "{one}");
}

#[test]
fn a_part_of_the_memory_may_be_empty() {
    let few = ["--messages", "1", "--numbers", "2", "--workers", "5"];
    let few = run(LESSON, &[&few[..], &QUIET].concat());
    assert!(few.status.success() && few.stdout.contains("what they wrote: 1\n"), "{few}");
}

#[cfg(unix)]
#[test]
fn who_starts_it_may_ignore_their_children() {
    let ignores = ["-c", "trap '' CHLD; exec \"$0\" \"$@\"", LESSON];
    let [ignored, well] = [run("sh", &[&ignores[..], &QUIET].concat()), run(LESSON, &QUIET)];
    assert_eq!((ignored.status, ignored.stdout), (well.status, well.stdout));
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &QUIET);
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        ["--capacity", "0"],
        ["--producers", "0"],
        ["--consumers", "65"],
        ["--messages", "many"],
        ["--numbers", "0"],
        ["--workers", "0"],
        ["--below", "-1"],
        ["--queues", "2"],
    ];
    let errors = errors.map(|flags| run(LESSON, &flags));
    assert_transcript("errors", &errors);
}
