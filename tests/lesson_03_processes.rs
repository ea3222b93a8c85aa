//! Lesson 03: what its screen promises on any machine.

mod common;
mod limits;
use common::{assert_transcript, run};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-03-processes");
const SMALL: [&str; 6] = ["--below", "1_000", "--squares", "1000", "--wait", "1ms"];

#[test]
fn a_pool_uses_every_core_and_survives_a_killed_worker() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn more_tasks_than_workers_come_back_in_order_too() {
    let sizes = [&SMALL[..], &["--workers", "2", "--tasks", "6", "--quiet"]].concat();
    let small = run(LESSON, &sizes);
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("sizes", &[small]);
}

#[test]
fn one_worker_is_replaced_before_the_next_task() {
    let lonely = run(LESSON, &[&SMALL[..], &["--workers", "1"]].concat());
    assert!(lonely.status.success());
    assert!(lonely.stdout.contains("task 2: worker killed by SIGKILL\n   task 3: 499 500\n"));
}

#[cfg(unix)]
#[test]
fn who_starts_it_may_ignore_their_children() {
    let ignores = ["-c", "trap '' CHLD; exec \"$0\" \"$@\"", LESSON];
    let [ignored, well] = [run("sh", &[&ignores[..], &SMALL].concat()), run(LESSON, &SMALL)];
    assert_eq!((ignored.status, ignored.stdout), (well.status, well.stdout));
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &[&SMALL[..], &["--quiet"]].concat());
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        ["--workers", "0"],
        ["--workers", "four"],
        ["--tasks", "0"],
        ["--below", "-1"],
        ["--wait", "5"],
        ["--wait", "2h"],
        ["--cores", "2"],
    ];
    let errors = errors.map(|flags| run(LESSON, &flags));
    assert_transcript("errors", &errors);
}

#[cfg(unix)]
mod ends {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use nix::sys::signal::{SigSet, Signal, kill};
    use nix::unistd::Pid;

    use super::LESSON;

    /// Half as long as the naps: a process that only sleeps to its end is too late.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// Runs the check, and fails where it would hang.
    fn in_time(check: fn()) {
        let (done, checked) = mpsc::channel();
        thread::spawn(move || {
            check();
            done.send(()).expect("the test listens");
        });
        checked.recv_timeout(DEADLINE).expect("the check succeeds in time");
    }

    /// Starts the lesson, and waits until both of its first processes run.
    fn started() -> (Child, BufReader<impl Read>, BufReader<impl Read>) {
        started_by(Command::new(LESSON))
    }

    fn started_by(mut command: Command) -> (Child, BufReader<impl Read>, BufReader<impl Read>) {
        let mut lesson = command
            .args(["--wait", "60s"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo built it");
        let mut stdout = BufReader::new(lesson.stdout.take().expect("it is piped"));
        let stderr = BufReader::new(lesson.stderr.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("B: starting") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).expect("text"), 0, "it ended early");
        }
        (lesson, stdout, stderr)
    }

    fn signal(lesson: &Child, signal: Signal) {
        let pid = lesson.id().try_into().expect("a process number");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Reads what is left. The workers hold the lesson's stdout open: its end says that none of
    /// them is left.
    fn rest(mut reader: impl Read) -> String {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    }

    #[test]
    fn ctrl_c_ends_the_lesson_and_its_processes() {
        in_time(|| {
            let (mut lesson, stdout, stderr) = started();
            signal(&lesson, Signal::SIGINT);
            assert_eq!(lesson.wait().expect("our child").code(), Some(130));
            assert_eq!((rest(stdout).as_str(), rest(stderr).as_str()), ("", "interrupted\n"));
        });
    }

    /// As a job that a script starts in the background, and as the child of a program that waits
    /// for its own signals.
    #[test]
    fn ctrl_c_ends_a_lesson_that_was_started_with_it_ignored_and_blocked() {
        in_time(|| {
            SigSet::all().thread_block().expect("every mask can be set");
            let mut ignores = Command::new("sh");
            ignores.args(["-c", "trap '' INT; exec \"$0\" \"$@\"", LESSON]);
            let (mut lesson, stdout, stderr) = started_by(ignores);
            signal(&lesson, Signal::SIGINT);
            assert_eq!(lesson.wait().expect("our child").code(), Some(130));
            assert_eq!((rest(stdout).as_str(), rest(stderr).as_str()), ("", "interrupted\n"));
        });
    }

    #[test]
    fn a_killed_lesson_leaves_no_process_behind() {
        in_time(|| {
            let (mut lesson, stdout, stderr) = started();
            signal(&lesson, Signal::SIGKILL);
            lesson.wait().expect("our child");
            assert_eq!((rest(stdout), rest(stderr)), Default::default());
        });
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_lesson_quietly() {
        in_time(|| {
            let mut lesson = Command::new(LESSON)
                .args(super::SMALL)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("cargo built it");
            drop(lesson.stdout.take());
            let ended = lesson.wait_with_output().expect("our child");
            assert_eq!(ended.status.code(), Some(0));
            let stderr = String::from_utf8(ended.stderr).expect("text");
            assert!(!stderr.contains("panic"), "{stderr}");
        });
    }
}
