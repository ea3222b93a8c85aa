//! Lesson 07: one interface, whoever runs the tasks.

mod common;
mod limits;
use common::{assert_transcript, run};

use std::sync::mpsc;
use std::time::{Duration, Instant};

use lesson_07_executors::{
    Error, Executor, ThreadPerTask, ThreadPool, as_completed, rayon_pool, wait,
};
use process_pool::{Failed, Task};
use serde::{Deserialize, Serialize};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-07-executors");
const PAYS_FROM: &str = env!("CARGO_BIN_EXE_pays_from");

#[test]
fn futures_errors_and_cancelling_are_the_same_on_threads_rayon_and_processes() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn a_pool_takes_as_many_workers_as_it_has_however_many_tasks() {
    let sizes = ["--workers", "3", "--tasks", "5", "--time-out", "50ms", "--quiet"];
    let small = run(LESSON, &sizes);
    assert_eq!(small.stderr, "", "what a panic says comes with its future");
    assert_transcript("sizes", &[small]);
}

#[test]
fn with_fewer_tasks_than_workers_each_has_one() {
    let few = run(LESSON, &["--tasks", "2"]);
    assert!(few.status.success(), "{few}");
    assert_eq!(few.stdout.matches(" 2\n   a p").count(), 3, "{few}");
}

#[test]
fn a_task_that_does_not_end_has_its_time_first() {
    let begun = Instant::now();
    let patient = run(LESSON, &["--time-out", "200ms"]);
    // Once on each of three executors, and once by the process that hangs.
    assert!(begun.elapsed() >= Duration::from_millis(800));
    assert!(patient.stdout.contains("\n   timed out after 200ms;"), "{patient}");
}

#[test]
fn handing_over_changes_no_sum() {
    assert_transcript("pays_from", &[run(PAYS_FROM, &[])]);
    let sizes = ["--workers", "3", "--lengths", "2", "--quiet"];
    let small = run(PAYS_FROM, &sizes);
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("pays_from_sizes", &[small]);
}

#[test]
fn a_pool_of_threads_waits_for_what_was_handed_in() {
    let (told, heard) = mpsc::channel();
    let pool = ThreadPool::new(2).expect("two threads");
    for n in 0..10 {
        let told = told.clone();
        let done: Box<dyn FnOnce() + Send> = Box::new(move || told.send(n).expect("we listen"));
        pool.submit(Half(n)).on_done(done);
    }
    drop((pool, told));
    let mut ended: Vec<_> = heard.try_iter().collect();
    ended.sort_unstable();
    assert_eq!(ended, (0..10).collect::<Vec<u64>>());
}

#[test]
fn a_task_that_has_ended_keeps_its_answer() {
    let (threads, rayon) = (ThreadPool::new(1).expect("a thread"), rayon_pool(1).expect("one"));
    let executors: [&dyn Executor<Half>; 3] = [&threads, &rayon, &ThreadPerTask];
    for executor in executors {
        let future = [executor.submit(Half(42))];
        assert_eq!(wait(&future, 1, None), [0]);
        assert!(!future[0].cancel(), "it has ended");
        assert_eq!(wait(&future, 5, Some(Duration::ZERO)), [0], "the end is known at once");
        let [(place, future)]: [_; 1] =
            as_completed(future.into()).collect::<Vec<_>>().try_into().ok().expect("one");
        assert_eq!((place, future.result().expect("half")), (0, 21));
        assert!(matches!(executor.submit(Half(3)).result(), Err(Error::Failed(_))));
        assert!(matches!(executor.submit(Half(u64::MAX)).result(), Err(Error::Panicked(text))
                if text == format!("{} is too much", u64::MAX)));
        assert_eq!(executor.submit(Half(2)).result().expect("it goes on"), 1);
    }
}

#[derive(Serialize, Deserialize)]
struct Half(u64);

impl Task for Half {
    type Output = u64;

    fn run(self) -> Result<u64, Failed> {
        match self.0 {
            u64::MAX => panic!("{} is too much", u64::MAX),
            odd if !odd.is_multiple_of(2) => Err("no half".into()),
            even => Ok(even / 2),
        }
    }
}

#[cfg(unix)]
#[test]
fn who_starts_it_may_ignore_their_children() {
    let ignores = ["-c", "trap '' CHLD; exec \"$0\" \"$@\"", LESSON];
    let [ignored, well] =
        [run("sh", &[&ignores[..], &["--quiet"]].concat()), run(LESSON, &["--quiet"])];
    assert_eq!((ignored.status, ignored.stdout), (well.status, well.stdout));
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &["--time-out", "50ms", "--quiet"]);
    limits::are_said_in_one_line(PAYS_FROM, &["--lengths", "2", "--quiet"]);
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        run(LESSON, &["--workers", "2"]),
        run(LESSON, &["--workers", "four"]),
        run(LESSON, &["--tasks", "0"]),
        run(LESSON, &["--time-out", "0s"]),
        run(LESSON, &["--time-out", "100"]),
        run(LESSON, &["--threads", "2"]),
        run(PAYS_FROM, &["--workers", "0"]),
        run(PAYS_FROM, &["--lengths", "19"]),
    ];
    assert_transcript("errors", &errors);
}
