//! Time-outs that kill, and tasks that never end.

use std::time::{Duration, Instant};

use ipc::pipe;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_pool::{Error, Pool, TaskOptions};

use super::harness::trial;
use super::maps::Item;
use super::{Meet, Work, pid};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_task_that_hangs_is_killed_and_the_others_go_on", hangs),
        trial("a_task_that_computes_for_ever_is_killed", spins),
        trial("a_stopped_worker_is_killed_by_the_limit_of_its_task", stopped),
        trial("a_limit_begins_with_the_task", begins_with_the_task),
        trial("a_shorter_limit_is_kept_beside_a_longer_one", shorter),
        trial("a_limit_of_no_time_is_told_as_it_was_set", no_time),
        trial("a_limit_in_a_chunk_fails_one_task_of_it", in_a_chunk),
        trial("a_pool_ends_within_its_grace_whatever_its_tasks_do", bounded_end),
    ]
}

const SOON: Duration = Duration::from_millis(100);

fn within(time_out: Duration) -> TaskOptions {
    TaskOptions { time_out: Some(time_out), ..TaskOptions::default() }
}

fn is_over(error: &Error) -> bool {
    matches!(error, Error::TimedOut { after: SOON, .. })
}

fn hangs() {
    let pool = Pool::builder().workers(1).window(16).build().unwrap();
    let first = pool.submit(Work::Pid);
    let begun = Instant::now();
    let hangs = pool.submit_with(Work::Hang, within(SOON));
    let others: Vec<_> = (0..10).map(|_| pool.submit(Work::Pid)).collect();
    let error = hangs.result().unwrap_err();
    assert!(is_over(&error), "{error}");
    assert!(begun.elapsed() >= SOON);
    let first = pid(first.result().unwrap());
    for other in others {
        assert_ne!(pid(other.result().unwrap()), first, "another worker ran it");
    }
    assert_eq!(pool.replaced(), 1);
    pool.shutdown();
}

fn spins() {
    let pool = Pool::new(1).unwrap();
    let error = pool.submit_with(Work::Spin, within(SOON)).result().unwrap_err();
    assert!(is_over(&error), "{error}");
    pid(pool.submit(Work::Pid).result().unwrap());
    pool.shutdown();
}

fn stopped() {
    let pool = Pool::new(1).unwrap();
    let (mut pipe, theirs) = pipe::<(), u32>().unwrap();
    let future = pool.submit_with(Meet(theirs), within(SOON));
    let worker = pipe.recv().unwrap();
    kill(Pid::from_raw(worker.try_into().unwrap()), Signal::SIGSTOP).unwrap();
    match future.result().unwrap_err() {
        Error::TimedOut { at, .. } => assert_eq!(at.pid, worker),
        other => panic!("{other}"),
    }
    pool.shutdown();
}

fn begins_with_the_task() {
    let pool = Pool::builder().workers(1).options(within(SOON)).build().unwrap();
    let futures: Vec<_> = (0..6).map(|_| pool.submit(Work::Sleep(30))).collect();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
    pool.shutdown();
}

fn shorter() {
    let pool = Pool::new(2).unwrap();
    let long = pool.submit_with(Work::Hang, within(Duration::from_secs(600)));
    let short = pool.submit_with(Work::Hang, within(SOON)).result();
    assert!(is_over(&short.unwrap_err()));
    // Once more: the limit is no longer news.
    let short = pool.submit_with(Work::Hang, within(SOON)).result();
    assert!(is_over(&short.unwrap_err()));
    assert!(!long.done());
}

fn no_time() {
    let pool = Pool::builder().workers(1).options(within(Duration::ZERO)).build().unwrap();
    let told = |error| match error {
        Error::TimedOut { after, .. } => after,
        other => panic!("{other}"),
    };
    assert_eq!(told(pool.submit(Work::Hang).result().unwrap_err()), Duration::ZERO);
    pool.shutdown();
    let pool = Pool::builder().workers(1).options(within(Duration::ZERO)).build().unwrap();
    let output = pool.map([Item::Hang]).next().unwrap();
    assert_eq!(told(output.unwrap_err()), Duration::ZERO);
    pool.shutdown();
}

fn in_a_chunk() {
    let pool = Pool::builder().workers(2).options(within(SOON)).build().unwrap();
    let items = (0..40).map(|n| if n == 17 { Item::Hang } else { Item::Number(n) });
    let outputs: Vec<_> = pool.map(items).chunk_size(20).collect();
    for (n, output) in (0..).zip(outputs) {
        match output {
            Ok(number) => assert_eq!(number, n),
            Err(error) => assert!(n == 17 && is_over(&error), "{n}: {error}"),
        }
    }
    assert_eq!(pool.replaced(), 1);
    pool.shutdown();
}

fn bounded_end() {
    let grace = Duration::from_millis(300);
    let pool = Pool::builder().workers(2).grace(grace).build().unwrap();
    let futures = [pool.submit(Work::Spin), pool.submit(Work::DeafToTerm)];
    super::until("both run", || pool.metrics().under_way == 2);
    let begun = Instant::now();
    pool.shutdown_now();
    assert!(begun.elapsed() < grace + Duration::from_secs(10));
    for future in futures {
        assert!(matches!(future.result(), Err(Error::Cancelled)));
    }
}
