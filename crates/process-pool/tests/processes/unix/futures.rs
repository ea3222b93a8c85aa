//! Looking at futures, waiting for them, and taking them back.

use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{process, thread};

use ipc::{Pipe, pipe};
use libtest_mimic::Trial;
use process_pool::{Error, Future, Life, Pool, Until, as_completed, wait};

use super::harness::{trial, until};
use super::{Meet, Work, pid};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_future_is_pending_then_running_then_finished", life),
        trial("a_future_comes_back_when_its_time_is_over", time_out),
        trial("callbacks_run_in_the_parent_and_their_panics_harm_nobody", callbacks),
        trial("a_callback_may_hand_in_and_drop_the_pool", callback_and_pool),
        trial("a_task_that_has_not_begun_can_be_cancelled", cancel),
        trial("futures_come_as_they_end", completed),
        trial("waiting_ends_with_the_first_the_first_error_or_all", waiting),
        trial("an_error_can_be_looked_at_and_stays", error),
        trial("a_dropped_future_leaves_its_task_alone", dropped),
    ]
}

type Meeting = (Pipe<(), u32>, Future<Meet>);

fn meet(pool: &Pool<Meet>) -> Meeting {
    let (ours, theirs) = pipe().unwrap();
    (ours, pool.submit(Meet(theirs)))
}

fn life() {
    let pool = Pool::new(1).unwrap();
    let (mut first, runs) = meet(&pool);
    first.recv().unwrap();
    assert_eq!((runs.life(), runs.running(), runs.done()), (Life::Running, true, false));
    let others = [meet(&pool), meet(&pool)];
    assert_eq!(others[1].1.life(), Life::Pending);
    first.send(&()).unwrap();
    for (mut pipe, future) in others {
        pipe.recv().unwrap();
        pipe.send(&()).unwrap();
        until("it is done", || future.done());
        assert_eq!((future.life(), future.cancelled()), (Life::Finished, false));
        future.result().unwrap();
    }
    assert_eq!([runs.id(), pool.submit_meet()], [0, 3]);
    pool.shutdown();
}

trait SubmitMeet {
    fn submit_meet(&self) -> u64;
}

impl SubmitMeet for Pool<Meet> {
    /// The number of a fourth task, whose other end is gone.
    fn submit_meet(&self) -> u64 {
        let (_, future) = meet(self);
        let id = future.id();
        future.result().unwrap_err();
        id
    }
}

fn time_out() {
    let pool = Pool::new(1).unwrap();
    let (mut pipe, future) = meet(&pool);
    let begun = Instant::now();
    let soon = Duration::from_millis(20);
    let future = future.result_timeout(soon).unwrap_err();
    assert!(begun.elapsed() >= soon);
    assert!(!future.wait_timeout(Duration::ZERO));
    let running = pipe.recv().unwrap();
    pipe.send(&()).unwrap();
    assert!(future.wait_timeout(Duration::MAX));
    assert_eq!(future.result_timeout(Duration::ZERO).unwrap().unwrap(), running);
    pool.shutdown();
}

fn callbacks() {
    let pool = Pool::new(1).unwrap();
    let (called, calls) = mpsc::channel();
    let (mut pipe, future) = meet(&pool);
    future.on_done(|| panic!("of a callback"));
    let tell = called.clone();
    future.on_done(move || tell.send(process::id()).unwrap());
    pipe.recv().unwrap();
    pipe.send(&()).unwrap();
    assert_eq!(calls.recv().unwrap(), process::id());
    assert!(future.done());
    // Too late is at once.
    future.on_done(move || called.send(0).unwrap());
    assert_eq!(calls.try_recv().unwrap(), 0);
    pool.shutdown();
}

fn callback_and_pool() {
    let pool = Pool::builder().workers(2).grace(Duration::from_millis(50)).build().unwrap();
    let (dropped, drops) = mpsc::channel();
    let (mut pipe, future) = meet(&pool);
    future.on_done(move || {
        let others = [(); 3].map(|()| meet(&pool));
        drop(pool);
        dropped.send(others).unwrap();
    });
    pipe.recv().unwrap();
    pipe.send(&()).unwrap();
    for (_, other) in drops.recv().unwrap() {
        assert!(matches!(other.result(), Err(Error::Cancelled)));
    }
}

fn cancel() {
    let pool = Pool::builder().workers(1).window(3).build().unwrap();
    let (mut pipe, runs) = meet(&pool);
    pipe.recv().unwrap();
    assert!(!runs.cancel(), "it has begun");
    let (mut first, before) = meet(&pool);
    let futures: Vec<_> = (0..6).map(|_| meet(&pool).1).collect();
    pipe.send(&()).unwrap();
    runs.result().unwrap();
    first.recv().unwrap();
    // Two of them are at the worker's side, behind the one that runs.
    assert_eq!(futures.iter().filter(|future| future.running()).count(), 2);
    for future in futures {
        assert!(future.cancel());
        assert!(future.cancelled() && future.cancel());
        assert!(matches!(future.result(), Err(Error::Cancelled)));
    }
    first.send(&()).unwrap();
    before.result().unwrap();
    assert_eq!(pool.metrics().workers[0].tasks, 2);
    let (mut pipe, after) = meet(&pool);
    pipe.recv().unwrap();
    pipe.send(&()).unwrap();
    after.result().unwrap();
    pool.shutdown();
}

fn completed() {
    let pool = Pool::new(3).unwrap();
    let (mut pipes, futures): (Vec<_>, Vec<_>) = (0..3).map(|_| meet(&pool)).unzip();
    for pipe in &mut pipes {
        pipe.recv().unwrap();
    }
    let mut ended = as_completed(futures);
    for place in [1, 2, 0] {
        pipes[place].send(&()).unwrap();
        let (came, future) = ended.next().unwrap();
        assert_eq!(came, place);
        future.result().unwrap();
    }
    assert!(ended.next().is_none());
    pool.shutdown();
}

fn waiting() {
    let pool = Pool::new(3).unwrap();
    let (mut pipes, mut futures): (Vec<_>, Vec<_>) = (0..3).map(|_| meet(&pool)).unzip();
    for pipe in &mut pipes {
        pipe.recv().unwrap();
    }
    let soon = Some(Duration::from_millis(10));
    assert!(wait(&futures, Until::First, soon).is_empty());
    pipes[1].send(&()).unwrap();
    assert_eq!(wait(&futures, Until::First, None), [1]);
    assert_eq!(wait(&futures, Until::FirstError, soon), [1]);
    // Its other end is gone: an error.
    pipes.remove(0);
    assert_eq!(wait(&futures, Until::FirstError, None), [0, 1]);
    assert_eq!(wait(&futures, Until::All, soon), [0, 1]);
    pipes[1].send(&()).unwrap();
    assert_eq!(wait(&futures, Until::All, None), [0, 1, 2]);
    futures.clear();
    assert!(wait(&futures, Until::All, None).is_empty());
    pool.shutdown();
}

fn error() {
    let pool = Pool::new(1).unwrap();
    let future = pool.submit(Work::Fail);
    let texts = [0; 2].map(|_| future.error().unwrap().to_string());
    assert_eq!(texts, ["the task failed"; 2]);
    assert!(matches!(future.result(), Err(Error::Failed(_))));
    let well = pool.submit(Work::Pid);
    assert!(well.error().is_none());
    pid(well.result().unwrap());
    pool.shutdown();
}

fn dropped() {
    let pool = Pool::new(1).unwrap();
    let (mut pipe, future) = meet(&pool);
    drop(future);
    pipe.recv().unwrap();
    pipe.send(&()).unwrap();
    pool.shutdown();
    thread::yield_now();
}
