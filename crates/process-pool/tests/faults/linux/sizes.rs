//! Workers that come and go: those that idle for too long, and pools that change their size.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use ipc::SharedSlice;
use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use process_pool::{Error, Future, Policy, Pool};

use super::harness::{trial, until};
use super::work::{Act, Made, Share, Work, act, go, memory, pool, started};

/// So short that workers end all the time.
const SOON: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_hours(1);

pub fn trials() -> Vec<Trial> {
    type End = fn(Pool<Work>);
    let ends: [(_, End); 3] =
        [("shut_down", Pool::shutdown), ("ended_now", Pool::shutdown_now), ("dropped", drop)];
    let ends = ends.into_iter().flat_map(|(name, end)| {
        [
            trial(format!("a_pool_whose_workers_rest_can_be_{name}"), move || {
                let seen = memory();
                let pool = resting(&seen, 2);
                end(pool);
            }),
            trial(format!("a_pool_whose_workers_end_all_the_time_can_be_{name}"), move || {
                for turn in 0..30 {
                    let seen = memory();
                    let pool = pool(&seen).workers(2).idle_timeout(Duration::ZERO);
                    let pool = pool.build().unwrap();
                    let futures: Vec<_> =
                        (0..turn % 4).map(|n| pool.submit(act(n, Act::Count))).collect();
                    end(pool);
                    assert!(futures.iter().all(Future::done));
                }
            }),
            trial(format!("a_pool_that_has_just_changed_its_size_can_be_{name}"), move || {
                for (before, after) in [(1, 3), (3, 1)] {
                    let seen = memory();
                    let pool = pool(&seen).workers(before).build().unwrap();
                    let futures: Vec<_> =
                        (0..40).map(|n| pool.submit(act(n, Act::Count))).collect();
                    pool.resize(after).unwrap();
                    end(pool);
                    assert!(futures.iter().all(Future::done));
                    assert!((0..40).all(|n| seen.get(n) <= 1));
                }
            }),
        ]
    });
    let others = [
        trial("idle_workers_end_and_are_reaped_and_fresh_ones_go_on", idle),
        trial("no_more_processes_start_than_tasks_wait", as_many_as_wait),
        trial("all_workers_start_again_for_tasks_that_wait", all_again),
        trial("tasks_at_the_side_of_a_worker_wake_the_others_too", beside_a_worker),
        trial("a_chunk_wakes_all_its_workers", chunk),
        trial("little_work_lets_the_other_workers_end", little_work),
        trial("a_worker_that_works_does_not_idle", works),
        trial("a_stopped_idle_worker_is_killed_when_its_grace_is_over", stopped),
        trial("workers_killed_while_they_idle_or_end_cost_no_task", killed),
        trial("a_death_among_workers_that_rest_is_named_and_made_good", death),
        trial("a_pool_that_breaks_does_not_break_by_idling_but_by_a_death", breaks),
        trial("workers_that_rest_and_recycle_lose_no_task", recycled),
        trial("workers_that_start_again_are_initialized", initialized),
        trial(
            "a_worker_that_cannot_start_again_breaks_the_pool_with_its_cause",
            not_initialized,
        ),
        trial("more_workers_take_tasks_that_wait", grows),
        trial("more_workers_mix_no_tasks_up", grows_at_work),
        trial("fewer_workers_lose_nothing_of_ten_thousand_tasks", shrinks),
        trial("a_map_goes_on_while_its_pool_changes_its_size", maps),
        trial("a_surplus_worker_finishes_what_it_runs", finishes),
        trial("a_surplus_worker_that_is_wanted_again_stays", wanted_again),
        trial("a_pool_changes_its_size_while_its_workers_are_killed", changes_and_kills),
        trial("callbacks_may_change_the_size_of_their_pool", callbacks),
        trial("many_threads_may_change_the_size_of_one_pool", threads),
        trial("a_size_that_cannot_be_had_is_an_error", impossible),
        trial("workers_that_do_not_start_leave_the_pool_as_it_was", not_started),
        trial("a_pool_whose_workers_rest_changes_its_size", rest_and_resize),
    ];
    ends.chain(others).collect()
}

fn pids(pool: &Pool<Work>) -> BTreeSet<u32> {
    pool.metrics().workers.into_iter().filter_map(|worker| worker.pid).collect()
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap())
}

/// A process without a number may be one that has not joined its pool yet. Whoever is looked at
/// here is the pool's to reap.
fn has_ended(pool: &Pool<Work>) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    until("all have ended", || {
        pids(pool).is_empty() && waitid(Id::All, look) == Err(Errno::ECHILD)
    });
}

/// A pool without processes.
fn resting(seen: &SharedSlice<u64>, workers: usize) -> Pool<Work> {
    let pool = pool(seen).workers(workers).idle_timeout(SOON).build().unwrap();
    has_ended(&pool);
    pool
}

/// Tasks that run at the same time, for none of them ends: so many processes are there.
fn hold(
    pool: &Pool<Work>,
    seen: &SharedSlice<u64>,
    tasks: std::ops::Range<u64>,
) -> Vec<Future<Work>> {
    let places = tasks.clone();
    let held = tasks.map(|n| pool.submit(act(n, Act::Hold))).collect();
    until("all run", || places.clone().all(|n| seen.get(place(n)) == 1));
    held
}

fn place(n: u64) -> usize {
    n.try_into().unwrap()
}

fn all_well(futures: impl IntoIterator<Item = Future<Work>>) {
    for future in futures {
        let n = future.id();
        assert!(matches!(future.result(), Ok(Made::Number(number)) if number == n), "{n}");
    }
}

fn idle() {
    let seen = memory();
    let pool = pool(&seen).workers(2).idle_timeout(SOON).build().unwrap();
    let first = pids(&pool);
    has_ended(&pool);
    let metrics = pool.metrics();
    assert_eq!((metrics.retired, metrics.replaced, pool.workers()), (2, 0, 2));
    assert!(metrics.workers.iter().all(|worker| worker.pid.is_none()));
    let held = hold(&pool, &seen, 0..2);
    let fresh = pids(&pool);
    assert!(fresh.len() == 2 && fresh.is_disjoint(&first), "{first:?}, {fresh:?}");
    go(&seen);
    all_well(held);
    has_ended(&pool);
    assert_eq!(pool.metrics().retired, 4);
    pool.shutdown();
}

fn as_many_as_wait() {
    let seen = memory();
    let pool = resting(&seen, 3);
    let before = started(&seen);
    let mut held = hold(&pool, &seen, 0..1);
    assert_eq!(started(&seen), before + 1);
    held.extend(hold(&pool, &seen, 1..2));
    assert_eq!(started(&seen), before + 2);
    go(&seen);
    all_well(held);
    pool.shutdown();
}

fn all_again() {
    let seen = memory();
    let pool = resting(&seen, 4);
    let held = hold(&pool, &seen, 0..4);
    go(&seen);
    all_well(held);
    pool.shutdown();
}

fn beside_a_worker() {
    for window in [1, 2, 16] {
        let seen = memory();
        let pool = pool(&seen).workers(3).window(window).idle_timeout(SOON).build().unwrap();
        has_ended(&pool);
        let held: Vec<_> = (0..20).map(|n| pool.submit(act(n, Act::Hold))).collect();
        until("three run", || (0..20).map(|n| seen.get(n)).sum::<u64>() == 3);
        go(&seen);
        all_well(held);
        assert!((0..20).all(|n| seen.get(n) == 1));
        has_ended(&pool);
        pool.shutdown();
    }
}

fn chunk() {
    let seen = memory();
    let pool = resting(&seen, 3);
    for held in [0..3, 10..13] {
        thread::scope(|scope| {
            scope.spawn(|| {
                until("three run", || held.clone().all(|n| seen.get(place(n)) == 1));
                go(&seen);
            });
            let outputs = pool.map(held.clone().map(|n| act(n, Act::Hold))).chunk_size(3);
            assert!(outputs.into_iter().all(|output| output.is_ok()));
        });
        super::work::halt(&seen);
        // The second time one of them has a process.
        until("one or none is left", || pids(&pool).len() <= 1);
    }
    pool.shutdown();
}

/// It goes to the worker that worked last, and the others have nothing to do.
fn little_work() {
    let seen = memory();
    let pool = pool(&seen).workers(3).idle_timeout(Duration::from_millis(200)).build().unwrap();
    until("one works and the others have ended", || {
        assert!(pool.submit(act(0, Act::Count)).result().is_ok());
        pids(&pool).len() <= 1
    });
    pool.shutdown();
}

fn works() {
    let seen = memory();
    let pool = pool(&seen).workers(1).idle_timeout(SOON).build().unwrap();
    let held = hold(&pool, &seen, 0..1);
    let before = pids(&pool);
    thread::sleep(5 * SOON);
    assert_eq!(pids(&pool), before);
    go(&seen);
    all_well(held);
    pool.shutdown();
}

fn stopped() {
    let seen = memory();
    let pool = pool(&seen).workers(2).idle_timeout(SOON).grace(SOON).build().unwrap();
    // Some may have ended already, or end as they are told.
    for worker in pids(&pool) {
        let _ = kill(pid(worker), Signal::SIGSTOP);
    }
    has_ended(&pool);
    let held = hold(&pool, &seen, 0..2);
    go(&seen);
    all_well(held);
    assert_eq!(pool.replaced(), 0, "they were told to end");
    pool.shutdown();
}

fn killed() {
    let seen = memory();
    let pool = pool(&seen).workers(2).idle_timeout(Duration::from_millis(2)).build().unwrap();
    for turn in 0..100 {
        for worker in pids(&pool) {
            // It may have ended, but not in favour of another one: this process has only a few.
            let _ = kill(pid(worker), Signal::SIGKILL);
        }
        let future = pool.submit(act(turn, Act::Count));
        match future.result() {
            Ok(_) => assert_eq!(seen.get(place(turn)), 1),
            // One that was just starting again for this task.
            Err(Error::Died(_)) => assert!(seen.get(place(turn)) <= 1),
            Err(other) => panic!("{other}"),
        }
    }
    has_ended(&pool);
    pool.shutdown();
}

fn death() {
    let seen = memory();
    let pool = resting(&seen, 2);
    let dies = pool.submit(act(0, Act::Abort));
    let waits: Vec<_> = (1..10).map(|n| pool.submit(act(n, Act::Count))).collect();
    assert_eq!(dies.result().unwrap_err().to_string(), "worker killed by SIGABRT");
    all_well(waits);
    assert_eq!(pool.replaced(), 1);
    has_ended(&pool);
    pool.shutdown();
}

fn breaks() {
    let seen = memory();
    let pool = pool(&seen).workers(3).policy(Policy::Break).idle_timeout(SOON);
    let pool = pool.build().unwrap();
    for n in 0..3 {
        has_ended(&pool);
        assert!(pool.submit(act(n, Act::Count)).result().is_ok());
    }
    has_ended(&pool);
    assert!(matches!(pool.submit(act(3, Act::Abort)).result(), Err(Error::Died(_))));
    assert!(matches!(pool.submit(act(4, Act::Count)).result(), Err(Error::Broken(_))));
    assert!(matches!(pool.resize(1), Err(Error::Broken(_))));
    // Two of its threads still wait for work.
    pool.shutdown();
}

fn recycled() {
    for max_tasks in [1, 3] {
        let seen = memory();
        let pool = pool(&seen).workers(2).max_tasks(max_tasks).idle_timeout(Duration::ZERO);
        let pool = pool.build().unwrap();
        let futures: Vec<_> = (0..60).map(|n| pool.submit(act(n, Act::Count))).collect();
        all_well(futures);
        assert!((0..60).all(|n| seen.get(n) == 1));
        has_ended(&pool);
        let metrics = pool.metrics();
        assert!(metrics.retired >= 60 / place(max_tasks) && metrics.replaced == 0);
        pool.shutdown();
    }
}

/// A worker that was not has no memory to count in, and panics.
fn initialized() {
    let seen = memory();
    let pool = resting(&seen, 2);
    assert_eq!(started(&seen), 2);
    let held = hold(&pool, &seen, 0..2);
    assert_eq!(started(&seen), 4);
    go(&seen);
    all_well(held);
    pool.shutdown();
}

fn not_initialized() {
    let seen = memory();
    let pool = pool(&seen).workers(2).initializer(Share::that_fails_after(2, &seen));
    let pool = pool.idle_timeout(SOON).build().unwrap();
    has_ended(&pool);
    match pool.submit(act(0, Act::Count)).result() {
        Err(Error::Broken(cause)) => assert!(matches!(*cause, Error::Initializer(_))),
        other => panic!("{other:?}"),
    }
    pool.shutdown();
}

fn grows() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let held: Vec<_> = (0..20).map(|n| pool.submit(act(n, Act::Hold))).collect();
    pool.resize(4).unwrap();
    assert_eq!((pool.workers(), pids(&pool).len()), (4, 4));
    until("four run", || (0..20).map(|n| seen.get(n)).sum::<u64>() == 4);
    go(&seen);
    all_well(held);
    assert!((0..20).all(|n| seen.get(n) == 1));
    pool.shutdown();
}

fn grows_at_work() {
    for turn in 0..20 {
        let seen = memory();
        let pool = pool(&seen).workers(1).window(64).build().unwrap();
        let futures: Vec<_> = (0..3000).map(|n| pool.submit(act(n, Act::Count))).collect();
        let mapped = thread::scope(|scope| {
            let tasks = (3000..6000).map(|n| act(n, Act::Count));
            let mapped = scope.spawn(|| {
                let outputs = pool.map(tasks).chunk_size(7).map(Result::unwrap);
                outputs.collect::<Vec<_>>()
            });
            pool.resize(2 + turn % 3).unwrap();
            pool.resize(5).unwrap();
            mapped.join().unwrap()
        });
        for (n, made) in (3000..).zip(mapped) {
            assert!(matches!(made, Made::Number(number) if number == n), "{n}");
        }
        for (n, future) in (0..).zip(futures) {
            assert!(matches!(future.result(), Ok(Made::Number(number)) if number == n), "{n}");
        }
        assert!((0..6000).all(|n| seen.get(n) == 1));
        pool.shutdown();
    }
}

fn shrinks() {
    for window in [1, 64, 1024] {
        let seen = memory();
        let pool = pool(&seen).workers(4).window(window).build().unwrap();
        let futures: Vec<_> = (0..10_000).map(|n| pool.submit(act(n, Act::Count))).collect();
        futures[1000].error();
        pool.resize(2).unwrap();
        assert_eq!(pool.workers(), 2);
        all_well(futures);
        assert!((0..10_000).all(|n| seen.get(n) == 1));
        until("two are left", || pids(&pool).len() == 2);
        assert_eq!((pool.replaced(), pool.metrics().retired), (0, 2));
        assert_eq!(
            pool.metrics().workers.iter().map(|worker| worker.tasks).sum::<u64>(),
            10_000
        );
        pool.shutdown();
    }
}

fn maps() {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    let outputs = pool.map((0..10_000).map(|n| act(n, Act::Count))).chunk_size(30);
    for (n, output) in (0..).zip(outputs) {
        assert!(matches!(output, Ok(Made::Number(number)) if number == n));
        match n {
            1000 | 5000 => pool.resize(4).unwrap(),
            3000 | 7000 => pool.resize(1).unwrap(),
            _ => {}
        }
    }
    assert!((0..10_000).all(|n| seen.get(n) == 1));
    until("one is left", || pids(&pool).len() == 1);
    pool.shutdown();
}

fn finishes() {
    let seen = memory();
    let pool = pool(&seen).workers(4).window(4).build().unwrap();
    let held = hold(&pool, &seen, 0..4);
    let waits: Vec<_> = (4..40).map(|n| pool.submit(act(n, Act::Count))).collect();
    pool.resize(1).unwrap();
    assert_eq!((pool.workers(), pids(&pool).len()), (1, 4), "all four run a task");
    go(&seen);
    all_well(held.into_iter().chain(waits));
    assert!((0..40).all(|n| seen.get(n) == 1));
    until("one is left", || pids(&pool).len() == 1);
    assert_eq!((pool.replaced(), pool.metrics().retired), (0, 3));
    pool.shutdown();
}

fn wanted_again() {
    let seen = memory();
    let pool = pool(&seen).workers(4).build().unwrap();
    let held = hold(&pool, &seen, 0..4);
    let before = pids(&pool);
    pool.resize(1).unwrap();
    pool.resize(4).unwrap();
    go(&seen);
    all_well(held);
    assert_eq!(pids(&pool), before);
    super::work::halt(&seen);
    let held = hold(&pool, &seen, 10..14);
    go(&seen);
    held.into_iter().for_each(|future| assert!(future.result().is_ok()));
    assert_eq!(pool.metrics().retired, 0);
    pool.shutdown();
}

fn changes_and_kills() {
    let seen = memory();
    let pool = pool(&seen).workers(4).policy(Policy::Replace { budget: 1000 }).window(8);
    let pool = pool.build().unwrap();
    for turn in 0..30_u64 {
        let numbers = 100 * turn..100 * (turn + 1);
        let futures: Vec<_> =
            numbers.clone().map(|n| pool.submit(act(n, Act::Count))).collect();
        if let Some(&victim) = pids(&pool).iter().nth(place(turn % 4)) {
            // As above: it may have ended.
            let _ = kill(pid(victim), Signal::SIGKILL);
        }
        pool.resize(if turn % 2 == 0 { 1 } else { 4 }).unwrap();
        for (n, future) in numbers.zip(futures) {
            match future.result() {
                Ok(_) => assert_eq!(seen.get(place(n)), 1, "{n}"),
                Err(Error::Died(_)) => assert!(seen.get(place(n)) <= 1, "{n}"),
                Err(other) => panic!("{n}: {other}"),
            }
        }
    }
    until("four are left", || pids(&pool).len() == 4);
    pool.resize(1).unwrap();
    until("one is left", || pids(&pool).len() == 1);
    pool.shutdown();
}

fn callbacks() {
    let seen = memory();
    let pool = Arc::new(pool(&seen).workers(2).build().unwrap());
    let futures: Vec<_> = (0..60).map(|n| pool.submit(act(n, Act::Count))).collect();
    for (future, size) in futures.iter().step_by(3).zip([1, 3, 2, 4].into_iter().cycle()) {
        let pool = pool.clone();
        future.on_done(move || pool.resize(size).unwrap());
    }
    all_well(futures);
    // The callbacks have the pool too, until they have run.
    until("all have called back", || Arc::strong_count(&pool) == 1);
    pool.resize(2).unwrap();
    until("two are left", || pids(&pool).len() == 2);
    Arc::into_inner(pool).unwrap().shutdown();
}

fn threads() {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for size in 1..=4 {
            let (pool, together) = (&pool, &together);
            scope.spawn(move || {
                together.wait();
                for turn in 0..10 {
                    pool.resize((size + turn) % 4 + 1).unwrap();
                }
            });
        }
        for turn in 0..20_u64 {
            let numbers = 100 * turn..100 * (turn + 1);
            all_well(numbers.map(|n| pool.submit(act(n, Act::Count))).collect::<Vec<_>>());
        }
    });
    pool.resize(3).unwrap();
    until("three are left", || pids(&pool).len() == 3);
    assert!((0..2000).all(|n| seen.get(n) == 1));
    pool.shutdown();
}

fn impossible() {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    let error = pool.resize(0).unwrap_err();
    assert!(matches!(error, Error::Rejected(_)));
    assert_eq!(error.to_string(), "a pool of 0 workers; 1 or more is allowed");
    let before = pids(&pool);
    pool.resize(2).unwrap();
    assert_eq!((pool.workers(), pids(&pool)), (2, before));
    pool.shutdown();
}

fn not_started() {
    let seen = memory();
    let pool = pool(&seen).workers(2).initializer(Share::that_fails_after(3, &seen));
    let pool = pool.build().unwrap();
    let held = hold(&pool, &seen, 0..1);
    assert!(matches!(pool.resize(5), Err(Error::Initializer(_))));
    assert_eq!((pool.workers(), pids(&pool).len()), (2, 2));
    go(&seen);
    all_well(held);
    all_well([pool.submit(act(1, Act::Count))]);
    pool.shutdown();
}

fn rest_and_resize() {
    let seen = memory();
    let pool = resting(&seen, 4);
    pool.resize(1).unwrap();
    has_ended(&pool);
    all_well((0..5).map(|n| pool.submit(act(n, Act::Count))).collect::<Vec<_>>());
    pool.resize(3).unwrap();
    has_ended(&pool);
    let held = hold(&pool, &seen, 10..13);
    go(&seen);
    held.into_iter().for_each(|future| assert!(future.result().is_ok()));
    drop(pool);
    let seen = memory();
    let pool = super::work::pool(&seen).workers(1).idle_timeout(NEVER).build().unwrap();
    pool.resize(2).unwrap();
    assert_eq!(pids(&pool).len(), 2, "both idle");
    pool.shutdown();
}
