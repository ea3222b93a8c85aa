//! The end of a pool, whatever state it is in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ipc::SharedSlice;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_pool::{Error, Future, Policy, Pool};

use super::harness::{trial, until};
use super::work::{Act, Work, act, go, memory, pool};

pub fn trials() -> Vec<Trial> {
    /// Brings a pool, with the memory of its test, into a state.
    type Enter = fn(&Pool<Work>, &SharedSlice<u64>) -> Vec<Future<Work>>;
    let states: [(_, Enter); 8] = [
        ("has_done_nothing", |_, _| Vec::new()),
        ("runs_and_waits", |pool, seen| {
            let futures = (0..20).map(|n| pool.submit(act(n, Act::Hold))).collect();
            until("some run", || seen.get(0) + seen.get(1) == 2);
            futures
        }),
        ("loses_its_workers", |pool, _| {
            (0..20).map(|n| pool.submit(act(n, Act::Abort))).collect()
        }),
        ("has_idle_workers_just_killed", |pool, _| {
            for worker in pool.metrics().workers {
                let pid = Pid::from_raw(worker.pid.unwrap().try_into().unwrap());
                kill(pid, Signal::SIGKILL).unwrap();
            }
            (0..4).map(|n| pool.submit(act(n, Act::Count))).collect()
        }),
        ("receives_large_outputs", |pool, _| {
            (0..4).map(|n| pool.submit(act(n, Act::Output(16 << 20)))).collect()
        }),
        ("sees_callbacks_panic", |pool, _| {
            let future = pool.submit(act(0, Act::Count));
            future.on_done(|| panic!("of a callback"));
            vec![future]
        }),
        ("has_cancelled_what_waits", |pool, seen| {
            let futures: Vec<_> = (0..20).map(|n| pool.submit(act(n, Act::Hold))).collect();
            until("some run", || seen.get(0) + seen.get(1) == 2);
            assert!(futures[2..].iter().all(Future::cancel));
            futures
        }),
        ("serves_a_map", |pool, _| {
            let outputs = pool.map((0..1000).map(|n| act(n, Act::Count)));
            assert!(outputs.chunk_size(10).take(15).all(|output| output.is_ok()));
            Vec::new()
        }),
    ];
    let states = states.into_iter().flat_map(|(name, enter)| {
        [
            trial(format!("a_pool_that_{name}_can_be_dropped"), move || {
                let seen = memory();
                let pool = pool(&seen).workers(2).build().unwrap();
                let futures = enter(&pool, &seen);
                let begun = Instant::now();
                drop(pool);
                assert!(begun.elapsed() < Duration::from_secs(20));
                assert!(futures.iter().all(Future::done));
            }),
            trial(format!("a_pool_that_{name}_can_be_shut_down"), move || {
                let seen = memory();
                let pool = pool(&seen).workers(2).build().unwrap();
                let futures = enter(&pool, &seen);
                go(&seen);
                pool.shutdown();
                for future in futures {
                    assert!(
                        !matches!(future.error(), Some(Error::Cancelled)) || seen.get(0) == 1
                    );
                }
            }),
        ]
    });
    let others = [
        trial("shutdown_ends_when_all_that_waits_is_cancelled_and_the_worker_dies", cancelled),
        trial("shutdown_ends_when_a_worker_retires_with_only_cancelled_tasks_left", retired),
        trial("a_broken_pool_can_be_dropped_and_shut_down", broken),
        trial("a_pool_with_a_stopped_worker_ends_within_its_grace", stopped),
        trial("a_panic_beside_a_pool_ends_the_pool", panics),
        trial("a_grace_without_end_is_no_panic", endless_grace),
        trial("an_initializer_that_fails_later_breaks_the_pool_with_its_cause", initializer),
        trial("cancelled_tasks_do_not_pile_up", cancel_many),
        trial("what_runs_is_finished_and_what_waits_cancelled_if_asked", cancel_pending),
        trial("a_pool_dropped_by_its_own_callback_ends", callback),
        trial("a_deaf_worker_ends_whose_own_callback_drops_the_pool", deaf_callback),
    ];
    states.chain(others).collect()
}

/// Nobody but the end of the worker's replacement can tell who waits in `shutdown`.
fn cancelled() {
    let seen = memory();
    let pool = pool(&seen).workers(1).window(1).build().unwrap();
    let runs = pool.submit(act(0, Act::Hold));
    until("it runs", || seen.get(0) == 1);
    let waits = pool.submit(act(1, Act::Count));
    let worker = pool.metrics().workers[0].pid.unwrap();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let ends = thread::spawn(move || {
        pool.shutdown();
        drop(ended);
    });
    // It waits in there by now, or comes in later: both must end.
    thread::sleep(Duration::from_millis(50));
    assert!(waits.cancel());
    kill(Pid::from_raw(worker.try_into().unwrap()), Signal::SIGKILL).unwrap();
    assert!(matches!(runs.result(), Err(Error::Died(_))));
    let end = end.recv_timeout(Duration::from_secs(10));
    assert_eq!(end, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "shutdown hangs");
    ends.join().unwrap();
    assert_eq!(seen.get(1), 0);
}

fn retired() {
    let seen = memory();
    let pool = pool(&seen).workers(1).max_tasks(1).build().unwrap();
    let runs = pool.submit(act(0, Act::Hold));
    until("it runs", || seen.get(0) == 1);
    let waits = pool.submit(act(1, Act::Count));
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let ends = thread::spawn(move || {
        pool.shutdown();
        drop(ended);
    });
    // As above: early or late, both must end.
    thread::sleep(Duration::from_millis(50));
    assert!(waits.cancel());
    go(&seen);
    assert!(runs.result().is_ok());
    let end = end.recv_timeout(Duration::from_secs(10));
    assert_eq!(end, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "shutdown hangs");
    ends.join().unwrap();
}

fn broken() {
    for shut_down in [false, true] {
        let seen = memory();
        let pool = pool(&seen).workers(2).policy(Policy::Break).build().unwrap();
        let futures: Vec<_> = (0..6).map(|n| pool.submit(act(n, Act::Abort))).collect();
        futures.iter().for_each(|future| drop(future.error().unwrap()));
        if shut_down {
            pool.shutdown();
        } else {
            drop(pool);
        }
    }
}

fn stopped() {
    let seen = memory();
    let grace = Duration::from_millis(100);
    let pool = pool(&seen).workers(2).grace(grace).build().unwrap();
    let pids = pool.metrics().workers.into_iter().map(|worker| worker.pid.unwrap());
    for pid in pids {
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGSTOP).unwrap();
    }
    let futures: Vec<_> = (0..4).map(|n| pool.submit(act(n, Act::Count))).collect();
    let begun = Instant::now();
    pool.shutdown_now();
    assert!(begun.elapsed() < grace + Duration::from_secs(10));
    for future in futures {
        assert!(matches!(future.result(), Err(Error::Cancelled)));
    }
}

fn panics() {
    let seen = memory();
    let mut futures = Vec::new();
    let panics = AssertUnwindSafe(|| {
        let pool = pool(&seen).workers(2).build().unwrap();
        futures.extend((0..5).map(|n| pool.submit(act(n, Act::Hold))));
        panic!("beside the pool");
    });
    catch_unwind(panics).unwrap_err();
    for future in futures {
        assert!(matches!(future.result(), Err(Error::Cancelled)));
    }
}

fn endless_grace() {
    let seen = memory();
    let pool = pool(&seen).workers(1).grace(Duration::MAX).build().unwrap();
    assert!(pool.submit(act(0, Act::Count)).result().is_ok());
    pool.shutdown();
}

/// The memory that it brings runs out of places after so many workers.
fn initializer() {
    let seen = memory();
    let pool = pool(&seen).workers(1).start_deadline(Duration::from_secs(60));
    let pool =
        pool.initializer(super::work::Share::that_fails_after(1, &seen)).build().unwrap();
    let dies = pool.submit(act(0, Act::Abort));
    let waits: Vec<_> = (1..5).map(|n| pool.submit(act(n, Act::Count))).collect();
    assert!(matches!(dies.result(), Err(Error::Died(_))));
    for future in waits {
        let Err(Error::Broken(cause)) = future.result() else { panic!("it runs") };
        let failed = std::error::Error::source(&*cause).unwrap();
        let told = failed.source().unwrap();
        let texts = [cause.to_string(), failed.to_string(), told.to_string()];
        assert_eq!(
            texts,
            ["the initializer of a worker failed", "the task failed", "too many workers"]
        );
    }
    pool.shutdown();
}

/// Tasks in the queue, and of a map.
fn cancel_pending() {
    let seen = memory();
    let pool = pool(&seen).workers(2).window(4).build().unwrap();
    let held = [0, 1].map(|n| pool.submit(act(n, Act::Hold)));
    until("both run", || seen.get(0) + seen.get(1) == 2);
    let wait: Vec<_> = (2..30).map(|n| pool.submit(act(n, Act::Count))).collect();
    thread::scope(|scope| {
        let outputs = scope.spawn(|| {
            let tasks = (30..40).map(|n| act(n, Act::Count));
            pool.map(tasks).chunk_size(2).ahead(10).collect::<Vec<_>>()
        });
        until("the map waits", || pool.metrics().queued == 28 + 5);
        pool.cancel_pending();
        let outputs = outputs.join().unwrap();
        assert_eq!(outputs.len(), 10);
        assert!(outputs.into_iter().all(|output| matches!(output, Err(Error::Cancelled))));
    });
    assert_eq!(pool.metrics().queued, 0);
    let later = pool.submit(act(40, Act::Count));
    assert!(wait.iter().all(Future::cancelled));
    go(&seen);
    pool.shutdown();
    assert!(held.into_iter().chain([later]).all(|future| future.result().is_ok()));
    assert!((2..40).all(|n| seen.get(n) == 0) && seen.get(40) == 1);
}

/// Behind a worker that is busy for ever, tasks are handed in and cancelled for ever.
fn cancel_many() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let spins = pool.submit(act(0, Act::Spin));
    until("it runs", || seen.get(0) == 1);
    for n in 0..1000 {
        assert!(pool.submit(act(1 + n, Act::Count)).cancel());
    }
    assert_eq!(pool.metrics().queued, 0);
    drop(pool);
    assert!(matches!(spins.result(), Err(Error::Cancelled)));
}

/// It waits for the others, and not for the worker whose thread it runs on.
fn callback() {
    for grace in [Duration::from_millis(50), Duration::MAX] {
        let seen = memory();
        let pool = Arc::new(pool(&seen).workers(2).grace(grace).build().unwrap());
        let held = pool.submit(act(0, Act::Hold));
        let spins = pool.submit(act(1, Act::Spin));
        until("both run", || seen.get(0) + seen.get(1) == 2);
        let last = std::sync::Mutex::new(Some(pool));
        let (dropped, end) = std::sync::mpsc::channel();
        held.on_done(move || {
            drop(last.lock().unwrap().take());
            dropped.send(()).unwrap();
        });
        go(&seen);
        assert!(held.result().is_ok());
        assert!(matches!(spins.result(), Err(Error::Cancelled)));
        end.recv_timeout(Duration::from_secs(20)).expect("it waits for itself");
        // The thread that called back has yet to see that its worker is gone.
        let ends = super::harness::orphans_end(Duration::from_secs(20));
        assert!(ends.len() <= 1, "{ends:?}");
    }
}

/// The worker whose thread drops the pool is deaf to the word to end: it has its grace, and no
/// longer, though nobody waits for it.
fn deaf_callback() {
    let seen = memory();
    let grace = Duration::from_millis(100);
    let pool = pool(&seen).workers(1).grace(grace).build().unwrap();
    let held = pool.submit(act(0, Act::Hold));
    until("it runs", || seen.get(0) == 1);
    let worker = pool.metrics().workers[0].pid.unwrap();
    let (dropped, end) = std::sync::mpsc::channel();
    held.on_done(move || {
        kill(Pid::from_raw(worker.try_into().unwrap()), Signal::SIGSTOP).unwrap();
        drop(pool);
        dropped.send(()).unwrap();
    });
    go(&seen);
    end.recv_timeout(Duration::from_secs(20)).expect("it waits for itself");
    super::harness::orphans_end(Duration::from_secs(20));
}
