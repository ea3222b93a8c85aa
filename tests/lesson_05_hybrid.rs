//! Lesson 05: what its screen promises on any machine.

mod common;
mod limits;
use common::{assert_transcript, run};

use std::time::{Duration, Instant};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-05-hybrid");
const SMALL: [&str; 4] = ["--io", "1ms", "--cpu", "1ms"];

#[test]
fn threads_run_in_every_process_and_one_at_a_time_has_its_lock() {
    let default = run(LESSON, &[]);
    let estimate = "\n~ one after another: estimated from 1/32 of the work\n";
    assert!(default.stderr.contains(estimate), "{}", default.stderr);
    assert_transcript("default", &[default]);
}

#[test]
fn tasks_are_dealt_evenly_and_nobody_starts_for_none() {
    let some = ["--tasks", "10", "--workers", "3", "--threads", "2", "--quiet"];
    let one = ["--tasks", "1", "--quiet"];
    let runs = [&some[..], &one].map(|sizes| run(LESSON, &[&SMALL[..], sizes].concat()));
    for run in &runs {
        assert_eq!(run.stderr, "", "--quiet leaves the measurements out");
    }
    assert_transcript("sizes", &runs);
}

#[test]
fn a_thread_waits_for_one_page_after_another() {
    let alone =
        ["--workers", "1", "--threads", "1", "--tasks", "4", "--io", "50ms", "--cpu", "0ms"];
    let start = Instant::now();
    assert!(run(LESSON, &alone).status.success());
    // One task alone, then four ways to run four of them in one thread.
    assert!(start.elapsed() >= Duration::from_millis(50) * (1 + 4 * 4));
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &[&SMALL[..], &["--quiet"]].concat());
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        ["--tasks", "0"],
        ["--tasks", "257"],
        ["--workers", "0"],
        ["--threads", "0"],
        ["--threads", "eight"],
        ["--io", "50"],
        ["--io", "1h"],
        ["--cpu", "soon"],
        ["--processes", "4"],
    ];
    let errors = errors.map(|flags| run(LESSON, &flags));
    assert_transcript("errors", &errors);
}

/// Linux tells which processes and threads a process has.
#[cfg(target_os = "linux")]
mod killed {
    use std::fs;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::LESSON;

    /// A worker of the lesson that runs a task: it has a thread for it, beside its own two.
    fn busy_worker(lesson: u32) -> Option<i32> {
        let children = fs::read_to_string(format!("/proc/{lesson}/task/{lesson}/children"));
        let children = children.expect("the lesson runs");
        let worker = children.split_whitespace().next()?;
        let threads = fs::read_dir(format!("/proc/{worker}/task")).ok()?.count();
        (threads > 2).then(|| worker.parse().expect("a process number"))
    }

    #[test]
    fn a_killed_worker_ends_the_lesson_with_the_cause() {
        let lesson = Command::new(LESSON)
            .args(["--tasks", "1", "--workers", "1", "--io", "1s", "--cpu", "0ms"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo built it");
        let deadline = Instant::now() + Duration::from_secs(30);
        let worker = loop {
            assert!(Instant::now() < deadline, "no worker is busy");
            match busy_worker(lesson.id()) {
                Some(worker) => break worker,
                None => thread::yield_now(),
            }
        };
        // The task waits for its page, a second long.
        kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it runs");
        let ended = lesson.wait_with_output().expect("our child");
        assert_eq!(ended.status.code(), Some(1));
        let stderr = String::from_utf8(ended.stderr).expect("text");
        assert!(stderr.ends_with("processes: worker killed by SIGKILL\n"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
