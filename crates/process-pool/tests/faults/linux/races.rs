//! Many threads, and words that cross on their way.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_pool::{Error, Future, Process};

use super::harness::trial;
use super::work::{Act, Made, Work, act, memory, pool};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("what_is_cancelled_never_begins_and_the_rest_runs_once", cancel),
        trial("the_same_while_workers_are_killed_from_outside", cancel_and_kill),
        trial("futures_dropped_early_leave_their_tasks_alone", dropped_early),
        trial("many_pools_from_many_threads_live_side_by_side", many_pools),
        trial("many_threads_may_share_one_pool", one_pool),
        trial("a_process_killed_from_outside_at_any_moment_says_so", processes),
    ]
}

/// How a task that somebody tries to cancel ends.
fn check(future: Future<Work>, cancelled: bool, runs: u64) -> bool {
    let n = future.id();
    match future.result() {
        Ok(Made::Number(number)) => assert!(number == n && !cancelled && runs == 1, "{n}"),
        Err(Error::Cancelled) => assert!(cancelled && runs == 0, "{n}: {cancelled}, {runs}"),
        Err(Error::Died(death)) => {
            assert!(death.at.task == n && !cancelled && runs == 1, "{n}");
            return true;
        }
        other => panic!("{n}: {other:?}"),
    }
    false
}

fn cancel() {
    for window in [1, 4, 64] {
        let seen = memory();
        let pool = pool(&seen).workers(2).window(window).build().unwrap();
        let futures: Vec<_> = (0..1500).map(|n| pool.submit(act(n, Act::Count))).collect();
        // From behind and from everywhere, while the workers come from in front.
        let cancelled: Vec<_> = thread::scope(|scope| {
            let futures = &futures;
            let every = |rest| {
                scope.spawn(move || {
                    let places = (0..1500).rev().filter(|place| place % 3 == rest);
                    places.map(|place| (place, futures[place].cancel())).collect::<Vec<_>>()
                })
            };
            let threads = [every(0), every(0), every(1)];
            threads.map(|thread| thread.join().unwrap()).concat()
        });
        for future in &futures {
            future.error();
        }
        let mut is_cancelled = vec![false; 1500];
        for &(place, cancelled) in &cancelled {
            // Two have asked for some; both are told the same, unless one came too late.
            is_cancelled[place] |= cancelled;
        }
        for (n, future) in futures.into_iter().enumerate() {
            assert!(!check(future, is_cancelled[n], seen.get(n)));
        }
        pool.shutdown();
    }
}

fn cancel_and_kill() {
    let seen = memory();
    let pool = pool(&seen).workers(2).window(16).build().unwrap();
    let futures: Vec<_> =
        (0..1900).map(|n| pool.submit(act(n, Act::Sleep(Duration::from_micros(20))))).collect();
    let done = AtomicBool::new(false);
    let cancelled = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                thread::sleep(Duration::from_millis(7));
                let workers = pool.metrics().workers;
                if let Some(pid) = workers.iter().find_map(|worker| worker.pid) {
                    // A worker may have been replaced since: then there is none of this number.
                    let _ = kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL);
                }
            }
        });
        let cancelled: Vec<_> = futures
            .iter()
            .enumerate()
            .map(|(place, future)| {
                if place % 16 == 0 {
                    thread::sleep(Duration::from_micros(200));
                }
                place % 2 == 0 && future.cancel()
            })
            .collect();
        for future in &futures {
            future.error();
        }
        done.store(true, Relaxed);
        cancelled
    });
    let died = futures.into_iter().enumerate();
    let died = died.map(|(n, future)| check(future, cancelled[n], seen.get(n)));
    let died = died.filter(|&died| died).count();
    assert!(died <= pool.replaced(), "{died} tasks died with {} workers", pool.replaced());
    pool.shutdown();
}

fn dropped_early() {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    for n in 0..200 {
        let future = pool.submit(act(n, if n % 50 == 7 { Act::Abort } else { Act::Count }));
        if n % 2 == 0 {
            future.on_done(|| ());
        }
    }
    pool.shutdown();
    assert!((0..200).all(|n| seen.get(n) == 1));
}

fn many_pools() {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..3 {
                    let seen = memory();
                    let pools = [1, 2].map(|n| pool(&seen).workers(n).build().unwrap());
                    let futures: Vec<_> = (0..20)
                        .map(|n| (n, pools[usize::from(n % 2 == 0)].submit(act(n, Act::Count))))
                        .collect();
                    for (n, future) in futures {
                        assert!(matches!(future.result(), Ok(Made::Number(m)) if m == n));
                    }
                    let [one, other] = pools;
                    drop(one);
                    if turn == 1 { other.shutdown_now() } else { other.shutdown() }
                }
            });
        }
    });
}

fn one_pool() {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                let numbers = || 400 * thread..400 * thread + 200;
                let futures: Vec<_> =
                    numbers().map(|n| (n, pool.submit(act(n, Act::Count)))).collect();
                let mapped = pool.map(numbers().map(|n| act(n + 200, Act::Count)));
                for (output, n) in mapped.zip(numbers()) {
                    assert!(matches!(output, Ok(Made::Number(m)) if m == n + 200));
                }
                for (n, future) in futures {
                    assert!(matches!(future.result(), Ok(Made::Number(m)) if m == n));
                }
            });
        }
    });
    assert!((0..1600).all(|n| seen.get(n) == 1));
    pool.shutdown();
}

fn processes() {
    for delay in 0..20 {
        let process = Process::spawn(super::work::Bulk::Of(4 << 20)).unwrap();
        thread::sleep(Duration::from_micros(200 * delay));
        process.kill();
        match process.join() {
            Ok(super::work::Bulk::Bytes(bytes)) => assert_eq!(bytes.len(), 4 << 20),
            Err(Error::Died(death)) => assert_eq!(death.to_string(), "killed by SIGKILL"),
            _ => panic!("neither"),
        }
    }
}
