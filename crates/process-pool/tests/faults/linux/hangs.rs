//! What hangs, or breaks, the pools of others: each name begins with theirs.

use std::time::{Duration, Instant};
use std::{process, thread};

use ipc::{Sender, bounded};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_pool::{Ended, Error, Failed, Pool, Process, Task};
use serde::{Deserialize, Serialize};

use super::harness::{trial, until};
use super::work::{Act, Bulk, Made, When, act, memory, pool};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("multiprocessing_pool_loses_the_task_of_a_killed_worker", killed_busy),
        trial("multiprocessing_pool_hangs_when_an_idle_worker_is_killed", killed_idle),
        trial("multiprocessing_pool_hangs_when_a_worker_exits", exits),
        trial(
            "multiprocessing_pool_hangs_after_an_outcome_that_cannot_be_rebuilt",
            not_rebuilt,
        ),
        trial("multiprocessing_pool_reads_an_endless_input_for_ever", endless),
        trial("multiprocessing_queue_hangs_when_a_producer_is_killed_inside_a_put", large_put),
        trial("multiprocessing_process_joined_before_its_output_is_read_hangs", joined_first),
        trial("process_pool_executor_is_broken_by_one_killed_worker", not_broken),
        trial("process_pool_executor_hangs_when_its_workers_are_recycled", recycled),
        trial("process_pool_executor_says_only_broken_when_its_initializer_fails", says_why),
        trial("process_pool_executor_hangs_on_large_arguments_and_outputs", both_large),
        trial("procspawn_hangs_when_an_output_does_not_survive_the_way_back", not_rebuilt),
        trial("procspawn_hangs_when_a_worker_dies_before_it_connects", dies_at_once),
        trial("procspawn_hangs_on_large_arguments_and_outputs", both_large),
    ]
}

fn kill_worker(pool: &Pool<super::work::Work>) {
    let pid = pool.metrics().workers[0].pid.unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
}

fn killed_busy() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let busy = pool.submit(act(0, Act::Spin));
    until("it runs", || seen.get(0) == 1);
    kill_worker(&pool);
    assert_eq!(busy.result().unwrap_err().to_string(), "worker killed by SIGKILL");
    assert!(pool.submit(act(1, Act::Count)).result().is_ok());
    pool.shutdown();
}

fn killed_idle() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    kill_worker(&pool);
    assert!(pool.submit(act(0, Act::Count)).result().is_ok());
    pool.shutdown();
}

fn exits() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let error = pool.submit(act(0, Act::Exit(0))).result().unwrap_err();
    assert_eq!(error.to_string(), "worker exited with status 0");
    assert!(pool.submit(act(1, Act::Count)).result().is_ok());
    pool.shutdown();
}

fn not_rebuilt() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let error = pool.submit(act(0, Act::Make(When::FailsDecoded))).result().unwrap_err();
    assert_eq!(error.to_string(), "the output cannot be decoded");
    assert!(pool.submit(act(1, Act::Count)).result().is_ok());
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

fn endless() {
    let pool = Pool::new(2).unwrap();
    let outputs = pool.map((0..).map(Bulk::Of)).take(100);
    assert!(
        outputs.enumerate().all(|(n, output)| {
            matches!(output, Ok(Bulk::Bytes(bytes)) if bytes.len() == n)
        })
    );
    pool.shutdown();
}

/// Puts a message that fills the pipe and more, and is killed while it does.
#[derive(Serialize, Deserialize)]
pub struct Put(Sender<Vec<u8>>);

impl Task for Put {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        self.0.send(&vec![1])?;
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(20));
            process_pool::kill_this_process();
        });
        loop {
            self.0.send(&vec![2; 32 << 20])?;
        }
    }
}

fn large_put() {
    let (sender, messages) = bounded(1).unwrap();
    let process = Process::spawn(Put(sender)).unwrap();
    assert_eq!(messages.recv().unwrap(), [1]);
    // Somebody was in the middle of it; whole messages come, and then the news of the death.
    let begun = Instant::now();
    let end = loop {
        match messages.recv_timeout(Duration::from_secs(20)) {
            Ok(message) => assert_eq!(message.len(), 32 << 20),
            Err(error) => break error,
        }
    };
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(end.to_string(), ipc::Error::Disconnected.to_string());
    assert_eq!(process.join().unwrap_err().to_string(), "worker killed by SIGKILL");
}

fn joined_first() {
    let process = Process::spawn(Bulk::Of(4 << 20)).unwrap();
    assert!(matches!(process.join(), Ok(Bulk::Bytes(bytes)) if bytes.len() == 4 << 20));
    drop(Process::spawn(Bulk::Of(4 << 20)).unwrap());
}

fn not_broken() {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    let futures: Vec<_> = (0..20)
        .map(|n| pool.submit(act(n, if n == 5 { Act::Abort } else { Act::Count })))
        .collect();
    let failed: Vec<_> = (0..20).zip(futures).filter(|(_, f)| f.error().is_some()).collect();
    assert!(matches!(&failed[..], [(5, _)]));
    assert!(pool.submit(act(30, Act::Count)).result().is_ok());
    pool.shutdown();
}

fn recycled() {
    let seen = memory();
    let pool = pool(&seen).workers(2).max_tasks(2).window(8).build().unwrap();
    let futures: Vec<_> = (0..41).map(|n| pool.submit(act(n, Act::Count))).collect();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
    let outputs = pool.map((50..91).map(|n| act(n, Act::Count))).chunk_size(7);
    assert!(outputs.into_iter().all(|output| matches!(output, Ok(Made::Number(_)))));
    // The last two are seen a moment later.
    assert!(pool.metrics().retired >= 38, "{:?}", pool.metrics());
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

fn says_why() {
    let seen = memory();
    let fails = super::work::Share::that_fails_after(0, &seen);
    let error = pool(&seen).workers(1).initializer(fails).build().unwrap_err();
    let Error::Initializer(cause) = error else { panic!("{error}") };
    assert_eq!(std::error::Error::source(&*cause).unwrap().to_string(), "too many workers");
}

fn both_large() {
    let pool = Pool::builder().workers(1).window(4).build().unwrap();
    let futures = [0; 4].map(|_| pool.submit(Bulk::Bytes(vec![9; 4 << 20])));
    for future in futures {
        assert!(matches!(future.result(), Ok(Bulk::Bytes(bytes)) if bytes.len() == 4 << 20));
    }
    pool.shutdown();
}

/// No worker of this program serves it: each ends before its first word.
#[derive(Serialize, Deserialize)]
struct Unknown;

impl Task for Unknown {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        unreachable!("no worker gets here: {}", process::id())
    }
}

fn dies_at_once() {
    match Pool::<Unknown>::new(2) {
        Err(Error::NotReady(Ended::Exited { code: 2, .. })) => {}
        other => panic!("{other:?}"),
    }
}
