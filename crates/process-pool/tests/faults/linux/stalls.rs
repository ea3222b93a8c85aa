//! Workers that do not answer.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_pool::{Error, TaskOptions};

use super::harness::{trial, until};
use super::work::{Act, Made, act, among_others, go, memory, pool, within};

pub fn trials() -> Vec<Trial> {
    let stalls = [
        ("computes_for_ever", Act::Spin),
        ("sleeps_for_ever", Act::Park),
        ("is_stopped", Act::Stop),
    ];
    let stalls = stalls.map(|(name, fault)| {
        trial(format!("a_task_that_{name}_is_timed_out_alone"), move || {
            among_others(
                within(300),
                &fault,
                &[13],
                |n, error| matches!(error, Error::TimedOut { at, .. } if at.task == n),
            );
        })
    });
    let others = [
        trial("limits_of_nothing_and_of_for_ever_are_kept", extremes),
        trial("others_wait_no_longer_than_the_limit_of_one_before_them", others_wait),
        trial("a_limit_kills_no_task_that_has_none", slow_callback),
        trial("a_limit_holds_for_a_worker_stopped_while_idle", stopped_idle),
        trial("a_large_task_goes_past_workers_stopped_while_idle", large_past_stopped),
        trial("a_worker_that_cannot_exit_is_replaced_all_the_same", cannot_exit),
    ];
    Vec::from_iter(stalls.into_iter().chain(others))
}

fn extremes() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let for_ever = TaskOptions { time_out: Some(Duration::MAX), ..TaskOptions::default() };
    assert!(pool.submit_with(act(0, Act::Count), for_ever).result().is_ok());
    let error = pool.submit_with(act(1, Act::Park), within(0)).result().unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(pool.submit_with(act(2, Act::Count), for_ever).result().is_ok());
    pool.shutdown();
}

fn others_wait() {
    let seen = memory();
    let pool = pool(&seen).workers(1).window(8).build().unwrap();
    let begun = Instant::now();
    let hangs = [0, 1, 2].map(|n| pool.submit_with(act(n, Act::Spin), within(100)));
    let wait: Vec<_> = (3..10).map(|n| pool.submit(act(n, Act::Count))).collect();
    assert!(wait.into_iter().all(|future| future.result().is_ok()));
    assert!(begun.elapsed() >= Duration::from_millis(300), "one after another");
    for future in hangs {
        assert!(matches!(future.result(), Err(Error::TimedOut { .. })));
    }
    assert!((0..10).all(|n| seen.get(n) == 1));
    pool.shutdown();
}

/// Who brings the answers is held up; the answer of a task with a limit waits there, while its
/// worker has gone on to one without.
fn slow_callback() {
    let seen = memory();
    let pool = pool(&seen).workers(1).window(8).build().unwrap();
    let first = pool.submit(act(0, Act::Hold));
    until("it runs", || seen.get(0) == 1);
    let (held, word) = std::sync::mpsc::channel::<()>();
    let all = [
        pool.submit_with(act(1, Act::Count), within(250)),
        pool.submit(act(2, Act::Sleep(Duration::from_millis(1000)))),
    ];
    first.on_done(move || _ = word.recv_timeout(Duration::from_millis(700)));
    go(&seen);
    for future in all {
        assert!(matches!(future.result(), Ok(Made::Number(_))));
    }
    drop(held);
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

/// It never begins the task that it is given; the other worker, or another one, does.
fn stopped_idle() {
    for workers in [1, 2] {
        let seen = memory();
        let start = Duration::from_secs(2);
        let pool = pool(&seen).workers(workers).options(within(500)).start_deadline(start);
        let pool = pool.build().unwrap();
        let pids = pool.metrics().workers.into_iter().map(|worker| worker.pid.unwrap());
        let stopped = Pid::from_raw(pids.min().unwrap().try_into().unwrap());
        kill(stopped, Signal::SIGSTOP).unwrap();
        let futures: Vec<_> = (0..4).map(|n| pool.submit(act(n, Act::Count))).collect();
        for future in futures {
            let ended = future.wait_timeout(Duration::from_secs(10));
            if !ended {
                kill(stopped, Signal::SIGKILL).unwrap();
            }
            assert!(ended, "of {workers} workers one is stopped, and {future:?} waits for it");
        }
        pool.shutdown();
    }
}

/// A task that is too large to be sent without waiting goes to a worker that reads.
fn large_past_stopped() {
    let seen = memory();
    let pool = pool(&seen).workers(3).build().unwrap();
    let pids = pool.metrics().workers.into_iter().map(|worker| worker.pid.unwrap());
    let pids: Vec<_> = pids.map(|pid| Pid::from_raw(pid.try_into().unwrap())).collect();
    // The first two of those who idle, the longest first.
    for stopped in &pids[..2] {
        kill(*stopped, Signal::SIGSTOP).unwrap();
    }
    let large = |n| pool.submit(act(n, Act::Input(vec![1; 100_000])));
    let futures = [0, 1, 2].map(large);
    for future in futures {
        assert!(future.wait_timeout(Duration::from_secs(10)), "{future:?} waits");
        assert!(future.result().is_ok());
    }
    pool.shutdown_now();
}

fn cannot_exit() {
    let seen = memory();
    let pool = pool(&seen).workers(1).max_tasks(1).build().unwrap();
    assert!(pool.submit(act(0, Act::Clog)).result().is_ok());
    let next = pool.submit(act(1, Act::Count));
    assert!(next.wait_timeout(Duration::from_secs(10)), "the next task waits for the exit");
    pool.shutdown();
}
