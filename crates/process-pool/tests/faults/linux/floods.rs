//! More than fits anywhere.

use std::time::Duration;

use ipc::SharedSlice;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use process_pool::{Error, Pool};

use super::harness::trial;
use super::work::{Act, Bulk, Made, Work, act, memory, pool};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_hundred_thousand_tasks_with_deaths_among_them_end", many),
        trial("64_mib_pass_both_ways_at_once", large),
        trial("a_worker_that_dies_with_64_mib_under_way_fails_one_task", large_and_deadly),
        trial("many_tasks_with_ends_do_not_block_a_large_output", ends_and_outputs),
        trial("a_hundred_thousand_log_records_arrive", logs),
    ]
}

fn many() {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    let dies = |n| n % 10_000 == 5_000;
    let at = |n: u64| match dies(n) {
        true => act(n / 10_000, Act::Raise(Signal::SIGKILL as i32)),
        false => act(100 + n % 1000, Act::Count),
    };
    let futures: Vec<_> = (0..100_000).map(|n| pool.submit(at(n))).collect();
    for (n, future) in (0..).zip(futures) {
        match future.result() {
            Ok(_) => assert!(!dies(n), "{n}"),
            Err(Error::Died(death)) => assert!(dies(n) && death.at.task == n, "{n}"),
            Err(other) => panic!("{n}: {other}"),
        }
    }
    assert!((0..10).all(|n| seen.get(n) == 1));
    assert_eq!((100..1100).map(|n| seen.get(n)).sum::<u64>(), 100_000 - 10);
    assert_eq!(pool.replaced(), 10);
    pool.shutdown();
}

const LARGE: usize = 64 << 20;

/// The workers send while they are sent to: an answer is on its way when the next task comes.
fn large() {
    let pool = Pool::builder().workers(2).window(4).build().unwrap();
    let futures: Vec<_> = (0..4_u8)
        .map(|n| (pool.submit(Bulk::Bytes(vec![n; LARGE])), pool.submit(Bulk::Of(LARGE))))
        .collect();
    for (n, (there_and_back, back)) in (0..).zip(futures) {
        let same = |outcome, byte| match outcome {
            Ok(Bulk::Bytes(bytes)) => bytes.len() == LARGE && bytes.iter().all(|&b| b == byte),
            _ => false,
        };
        assert!(same(there_and_back.result(), n) && same(back.result(), 7));
    }
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

/// Whoever sends to a worker, or reads from it, in the moment of its death goes on.
fn large_and_deadly() {
    let pool = Pool::builder().workers(1).build().unwrap();
    for delay in [0, 5, 20] {
        let future = pool.submit(Bulk::Bytes(vec![1; LARGE]));
        let next = pool.submit(Bulk::Wait(Duration::ZERO));
        std::thread::sleep(Duration::from_millis(delay));
        let pid = pool.metrics().workers[0].pid.unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        // It had not begun, or it fails: the kill comes at any moment.
        match future.result() {
            Ok(Bulk::Bytes(bytes)) => assert_eq!(bytes.len(), LARGE),
            Err(Error::Died(_)) => {}
            _ => panic!("neither"),
        }
        assert!(next.result().is_ok());
    }
    assert!(pool.replaced() >= 1);
    pool.shutdown();
}

/// An end takes more room on its way than its bytes. Were all of them sent at once, their sender
/// would wait for the worker, which waits for its answer to be read.
fn ends_and_outputs() {
    let pool = Pool::builder().workers(1).window(1024).build().unwrap();
    let first = pool.submit(Bulk::Wait(Duration::from_millis(100)));
    let large = pool.submit(Bulk::Of(LARGE));
    let memory = SharedSlice::zeroed(1).unwrap();
    let ends: Vec<_> = (0..1000).map(|_| pool.submit(Bulk::Memory(memory.clone()))).collect();
    assert!(first.result().is_ok());
    assert!(
        large.wait_timeout(Duration::from_secs(20)),
        "the worker and its pool wait for each other"
    );
    assert!(ends.into_iter().all(|future| future.result().is_ok()));
    pool.shutdown();
}

fn logs() {
    let seen = memory();
    let (records, arrived) = std::sync::mpsc::channel();
    let pool = pool(&seen).workers(2).on_log(move |record| _ = records.send(record.number));
    let pool: Pool<Work> = pool.build().unwrap();
    let futures: Vec<_> = (0..10).map(|n| pool.submit(act(n, Act::Log(10_000)))).collect();
    for future in futures {
        assert!(matches!(future.result(), Ok(Made::Number(_))));
    }
    pool.shutdown();
    // And one of each initializer.
    assert_eq!(arrived.iter().count(), 100_002);
}
