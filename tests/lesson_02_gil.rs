//! Lesson 02: what its screen promises on any machine.

mod common;
mod limits;
use common::{assert_transcript, run};

use std::fs;
use std::time::Duration;

use tasks::web::Server;

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-02-gil");
const SMALL: [&str; 4] = ["--squares", "1_000", "--rounds", "1"];

#[test]
fn two_threads_under_one_gil_take_turns_unless_they_give_it_up() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn each_row_has_its_own_on_the_virtual_clock() {
    let run = run(LESSON, &[]);
    let ratios: Vec<_> = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("  on the virtual clock "))
        .map(|line| line.split_whitespace().last().expect("it has words"))
        .collect();
    // The fourth depends on how long the task takes here, beside the wait.
    let [one_gil, a_gil_each, native, _] = ratios[..] else { panic!("{}", run.stderr) };
    assert!(one_gil.starts_with("1.0"), "{}", run.stderr);
    assert_eq!([a_gil_each, native], ["0.50"; 2], "{}", run.stderr);
}

#[test]
fn neither_the_sizes_nor_the_interval_change_a_fact() {
    let sizes = ["--squares", "1_000_000", "--rounds", "3", "--interval", "1us"];
    let small = run(LESSON, &[&sizes[..], &["--delay", "0s", "--quiet"]].concat());
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("sizes", &[small]);
}

#[test]
fn a_thread_that_nobody_asks_keeps_the_lock_to_its_end() {
    // On the virtual clock neither waits as long as the interval: the three wake-ups that are
    // left, two starts and one hand-over, take at most 50 us each.
    let patient = run(LESSON, &[&SMALL[..], &["--interval", "10s", "--quiet"]].concat());
    assert!(patient.stdout.contains(" two tasks of 100 ms end after 200."), "{patient}");
}

#[test]
fn the_length_of_a_page_of_the_world_is_no_fact() {
    let server = Server::start(Duration::ZERO).expect("a free port");
    let url = server.url();
    let fetched = run(LESSON, &[&SMALL[..], &["--url", &url]].concat());
    assert!(fetched.status.success());
    assert!(!fetched.stdout.contains("characters"), "{fetched}");
    assert!(fetched.stderr.contains("   I/O: a text of 64 characters\n"), "{}", fetched.stderr);
    assert_eq!(server.requests(), 2, "one after another, and in two threads");
}

#[test]
fn the_trace_shows_the_turns_of_both_threads() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let path = format!("{folder}/lesson_02_gil.json");
    assert!(run(LESSON, &[&SMALL[..], &["--trace", &path]].concat()).status.success());
    let trace = fs::read_to_string(path).expect("the lesson wrote it");
    for expected in [r#""name":"A""#, r#""name":"B""#, r#""name":"run""#] {
        assert!(trace.contains(expected), "no {expected} in {trace}");
    }
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &[&SMALL[..], &["--quiet"]].concat());
}

#[test]
fn bad_arguments_and_failed_operations_are_named_in_one_line() {
    let bad = [
        ["--squares", "-1"],
        ["--squares", "20000000000"],
        ["--rounds", "0"],
        ["--interval", "0s"],
        ["--interval", "5"],
        ["--delay", "1h"],
        ["--url", "www.example.com"],
        ["--url", "http://localhost:65536/"],
        ["--turns", "2"],
    ];
    let bad = bad.map(|flags| run(LESSON, &flags));

    let quiet = [&SMALL[..], &["--quiet"]].concat();
    let failed = [["--trace", "no/such/folder/trace.json"], ["--url", "http://127.0.0.1:1/"]];
    let failed = failed.map(|flags| run(LESSON, &[&quiet[..], &flags].concat()));
    for error in &failed {
        assert_eq!(
            (error.status.code(), error.stderr.lines().count()),
            (Some(1), 1),
            "{error}"
        );
    }
    let errors: Vec<_> = bad.into_iter().chain(failed).collect();
    assert_transcript("errors", &errors);
}

#[test]
fn a_page_or_a_host_that_does_not_exist_is_named() {
    let server = Server::start(Duration::ZERO).expect("a free port");
    let missing = server.url() + "missing";
    // No name below `.invalid` resolves (RFC 6761); the words after it are the system's.
    for (url, why) in
        [(missing.as_str(), "404 Not Found\n"), ("http://no-such-host.invalid/", "")]
    {
        let failed = run(LESSON, &[&SMALL[..], &["--quiet", "--url", url]].concat());
        assert_eq!(failed.status.code(), Some(1), "{failed}");
        assert!(failed.stderr.starts_with(&format!("Error: GET {url}: {why}")), "{failed}");
        assert_eq!(failed.stderr.lines().count(), 1, "{failed}");
    }
}

/// `/dev/full` takes nothing.
#[cfg(target_os = "linux")]
mod stderr_that_takes_nothing {
    use super::LESSON;

    use std::fs::File;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    fn lesson(flags: &[&str]) -> Command {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let mut lesson = Command::new(LESSON);
        lesson.args(flags).stderr(full);
        lesson
    }

    #[test]
    fn ctrl_c_ends_the_lesson_all_the_same() {
        // Seconds of work. A lesson that goes on reaches its end, with another status.
        let long = ["--squares", "10_000_000_000", "--rounds", "1"];
        let mut lesson =
            lesson(&long).stdout(Stdio::piped()).spawn().expect("cargo built the program");
        // The first line comes after the flags are read.
        let mut line = String::new();
        let mut stdout = BufReader::new(lesson.stdout.take().expect("it is piped"));
        stdout.read_line(&mut line).expect("the lesson prints text");
        let pid = lesson.id().try_into().expect("a process number");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
        assert_eq!(lesson.wait().expect("our child").code(), Some(130), "{line}");
    }

    #[test]
    fn a_bad_argument_is_still_one() {
        let status = lesson(&["--rounds", "0"]).status().expect("cargo built the program");
        assert_eq!(status.code(), Some(2));
    }
}
