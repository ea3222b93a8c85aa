//! Many tasks at once: order, laziness, and chunks whose tasks fail one by one.

use std::cell::Cell;
use std::process;
use std::thread;
use std::time::Duration;

use ipc::{SharedSlice, pipe};
use libtest_mimic::Trial;
use process_pool::{Death, Ended, Error, Failed, Pool, Task, TaskOptions, kill_this_process};
use serde::{Deserialize, Serialize};

use super::harness::trial;
use super::rules::{COUNTS, Prepare, Step};
use super::{Meet, Stubborn};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("outputs_come_in_the_order_of_the_tasks", ordered),
        trial("outputs_come_as_they_end_if_asked", unordered),
        trial("an_endless_iterator_is_taken_from_as_needed", lazy),
        trial("a_task_of_a_chunk_fails_alone", fails_alone),
        trial("a_worker_killed_in_a_chunk_fails_the_running_task_only", killed_in_a_chunk),
        trial("a_task_of_a_chunk_begins_again_alone_if_it_may", retries),
        trial("a_task_of_a_chunk_that_takes_too_long_is_not_tried_again", retries_no_time_out),
        trial("a_task_that_is_mapped_by_itself_begins_again_if_it_may", retries_alone),
        trial("an_urgent_map_goes_first", urgent),
        trial("what_a_chunk_had_not_begun_goes_to_idle_workers", rest_is_shared),
        trial("tasks_with_ends_of_pipes_can_be_mapped", with_ends),
        trial("large_tasks_and_outputs_can_be_mapped", large),
        trial("what_cannot_travel_in_a_chunk_is_an_error_in_its_place", stubborn),
        trial("a_dropped_map_leaves_a_pool_that_works", dropped),
        trial("no_tasks_give_no_outputs", none),
        trial("a_million_short_tasks_pass", million),
    ]
}

/// Tasks without ends of pipes: they travel in chunks.
#[derive(Serialize, Deserialize, Clone)]
pub enum Item {
    Number(u64),
    /// Counts in the memory that the initializer brought.
    Count(u64),
    CountAndDie(u64),
    /// The first so many times.
    CountAndDieFirst(u64, u64),
    /// Says how many have done the same before.
    Stamp,
    Fail,
    Panic,
    Hang,
    /// Until the memory at this place says so; then the process that ran it.
    WaitFor(u64),
    Bytes(Vec<u8>),
}

impl Task for Item {
    type Output = u64;

    fn run(self) -> Result<u64, Failed> {
        let counts = || COUNTS.get().expect("the initializer has run");
        let place = |n: u64| usize::try_from(n).expect("few tasks");
        Ok(match self {
            Self::Number(number) => number,
            Self::Count(number) => {
                counts().fetch_add(place(number), 1);
                number
            }
            Self::CountAndDie(number) => {
                counts().fetch_add(place(number), 1);
                kill_this_process();
            }
            Self::CountAndDieFirst(number, deaths) => {
                if counts().fetch_add(place(number), 1) < deaths {
                    kill_this_process();
                }
                number
            }
            Self::Stamp => counts().fetch_add(2, 1),
            Self::Fail => return Err("as told".into()),
            Self::Panic => panic!("as told"),
            Self::Hang => loop {
                thread::park();
            },
            Self::WaitFor(number) => {
                counts().fetch_add(place(number), 1);
                while counts().get(0) == 0 {
                    thread::yield_now();
                }
                process::id().into()
            }
            Self::Bytes(bytes) => bytes.len() as u64,
        })
    }
}

fn pool(workers: usize, counts: &SharedSlice<u64>) -> Pool<Item> {
    let initializer = Prepare::Share(counts.clone());
    Pool::builder().workers(workers).initializer(initializer).build().unwrap()
}

fn ordered() {
    let pool = Pool::new(2).unwrap();
    for chunk in [1, 7, 1000] {
        let outputs: Vec<_> = pool
            .map((0..500).map(Item::Number))
            .chunk_size(chunk)
            .map(Result::unwrap)
            .collect();
        assert_eq!(outputs, Vec::from_iter(0..500));
    }
    let outputs = pool.map((0..20_000).map(Item::Number)).map(Result::unwrap);
    assert!(outputs.eq(0..20_000));
    pool.shutdown();
}

fn unordered() {
    let counts = SharedSlice::zeroed(4).unwrap();
    let pool = pool(2, &counts);
    let items = [Item::WaitFor(1), Item::Number(2), Item::Number(3)];
    let mut outputs = pool.map(items).chunk_size(1).unordered();
    let mut come: Vec<_> = outputs.by_ref().take(2).map(Result::unwrap).collect();
    come.sort_unstable();
    assert_eq!(come, [2, 3], "though the first task waits");
    counts.set(0, 1);
    assert_eq!(outputs.count(), 1);
    pool.shutdown();
}

fn lazy() {
    let pool = Pool::new(2).unwrap();
    let taken = Cell::new(0);
    let endless = || (0..).inspect(|_| taken.set(taken.get() + 1)).map(Item::Number);
    for (given, output) in pool.map(endless()).ahead(10).take(500).enumerate() {
        assert_eq!(output.unwrap(), given as u64);
        assert!(taken.get() <= given + 10, "{} taken, {given} given", taken.get());
    }
    taken.set(0);
    assert_eq!(pool.map(endless()).chunk_size(5).take(100).count(), 100);
    assert!(taken.get() <= 100 + 2 * 3 * 5);
    taken.set(0);
    assert_eq!(pool.map(endless()).unordered().take(100).count(), 100);
    assert!(taken.get() <= 100 + 2 * 3 * 1024);
    pool.shutdown();
}

fn fails_alone() {
    let pool = Pool::new(2).unwrap();
    let items = (0..30).map(|n| match n {
        3 => Item::Fail,
        11 => Item::Panic,
        n => Item::Number(n),
    });
    for (n, output) in (0..).zip(pool.map(items).chunk_size(10)) {
        match (n, output) {
            (3, Err(Error::Failed(error))) => assert_eq!(error.to_string(), "as told"),
            (11, Err(Error::Panicked { message, at, .. })) => {
                assert_eq!((message.as_str(), at.task), ("as told", 11));
            }
            (n, output) => assert_eq!(output.unwrap(), n),
        }
    }
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

fn killed_in_a_chunk() {
    let counts = SharedSlice::zeroed(300).unwrap();
    let pool = pool(2, &counts);
    let dies = |n| n % 100 == 57;
    let items = (0..300).map(|n| if dies(n) { Item::CountAndDie(n) } else { Item::Count(n) });
    for (n, output) in (0..).zip(pool.map(items).chunk_size(100)) {
        match output {
            Ok(number) => assert!(number == n && !dies(n), "{n}"),
            Err(Error::Died(Death { ended: Ended::Killed { signal, .. }, at })) => {
                assert!(signal == "SIGKILL" && at.task == n && dies(n), "{n}");
            }
            Err(other) => panic!("{n}: {other}"),
        }
    }
    assert!(counts.iter().all(|count| count == 1), "each began once");
    assert_eq!(pool.replaced(), 3);
    pool.shutdown();
}

fn retries() {
    let options = TaskOptions { retries: 2, ..TaskOptions::default() };
    for window in [1, 4] {
        let counts = SharedSlice::zeroed(300).unwrap();
        let pool = Pool::builder().workers(2).window(window);
        let pool = pool.initializer(Prepare::Share(counts.clone())).build().unwrap();
        // One that may begin often enough, and one that may not.
        let item = |n| match n {
            57 => Item::CountAndDieFirst(n, 2),
            123 => Item::CountAndDieFirst(n, 9),
            n => Item::Count(n),
        };
        let outputs = pool.map((0..300).map(item)).options(options).chunk_size(100);
        for (n, output) in (0..).zip(outputs) {
            match output {
                Ok(number) => assert!(number == n && n != 123),
                Err(Error::Died(death)) => assert_eq!((n, death.at.task), (123, 123)),
                Err(other) => panic!("{n}: {other}"),
            }
        }
        for (n, count) in counts.iter().enumerate() {
            assert_eq!(count, if n == 57 || n == 123 { 3 } else { 1 }, "{n}");
        }
        assert_eq!(pool.replaced(), 2 + 3);
        pool.shutdown();
    }
}

fn retries_no_time_out() {
    let counts = SharedSlice::zeroed(20).unwrap();
    let pool = pool(2, &counts);
    let time_out = Some(Duration::from_millis(100));
    let options = TaskOptions { time_out, retries: 5, ..TaskOptions::default() };
    let items = (1..20).map(|n| if n == 7 { Item::WaitFor(n) } else { Item::Count(n) });
    for (n, output) in (1..).zip(pool.map(items).options(options).chunk_size(10)) {
        assert!(matches!((n, output), (7, Err(Error::TimedOut { .. })) | (_, Ok(_))), "{n}");
    }
    assert!(counts.iter().skip(1).all(|count| count == 1));
    assert_eq!(pool.replaced(), 1);
    pool.shutdown();
}

fn retries_alone() {
    let pool = Pool::new(1).unwrap();
    let runs = |retries| {
        let count = SharedSlice::zeroed(1).unwrap();
        let options = TaskOptions { retries, ..TaskOptions::default() };
        let output = pool.map([Step::Count(count.clone(), 1)]).options(options).next();
        (output.unwrap(), count.get(0))
    };
    assert!(matches!(runs(1), (Ok(1), 2)));
    assert!(matches!(runs(0), (Err(Error::Died(_)), 1)));
    pool.shutdown();
}

fn urgent() {
    let counts = SharedSlice::zeroed(3).unwrap();
    let pool = Pool::builder().workers(1).window(1);
    let pool = pool.initializer(Prepare::Share(counts.clone())).build().unwrap();
    let runs = pool.submit(Item::WaitFor(1));
    super::until("it runs", || counts.get(1) == 1);
    let waits = pool.submit(Item::Stamp);
    let before: Vec<_> = thread::scope(|scope| {
        let mapped = scope.spawn(|| {
            let options = TaskOptions { urgent: true, ..TaskOptions::default() };
            let outputs = pool.map([Item::Stamp, Item::Stamp]).options(options).chunk_size(2);
            outputs.map(Result::unwrap).collect()
        });
        super::until("the chunk waits too", || pool.metrics().queued == 2);
        counts.set(0, 1);
        mapped.join().unwrap()
    });
    assert_eq!((before, waits.result().unwrap()), (vec![0, 1], 2));
    runs.result().unwrap();
    pool.shutdown();
}

fn rest_is_shared() {
    let counts = SharedSlice::zeroed(5).unwrap();
    let pool = pool(3, &counts);
    // One chunk, three workers: each gets one of its tasks, for none of them ends.
    let chunk = [Item::WaitFor(1), Item::WaitFor(2), Item::WaitFor(3)];
    let mut outputs = pool.map(chunk).chunk_size(3);
    thread::scope(|scope| {
        scope.spawn(|| {
            super::until("all three run", || (1..=3).all(|n| counts.get(n) == 1));
            counts.set(0, 1);
        });
        let mut pids: Vec<_> = outputs.by_ref().map(Result::unwrap).collect();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 3);
    });
    drop(outputs);
    pool.shutdown();
}

fn with_ends() {
    let pool = Pool::new(2).unwrap();
    let (pipes, tasks): (Vec<_>, Vec<_>) = (0..6)
        .map(|_| {
            let (ours, theirs) = pipe::<(), u32>().unwrap();
            ours.send(&()).unwrap();
            (ours, Meet(theirs))
        })
        .unzip();
    let pids: Vec<_> = pool.map(tasks).map(Result::unwrap).collect();
    for (mut pipe, pid) in pipes.into_iter().zip(pids) {
        assert_eq!(pipe.recv().unwrap(), pid);
    }
    pool.shutdown();
}

fn large() {
    let pool = Pool::new(2).unwrap();
    let items = (0..12).map(|n| Item::Bytes(vec![0; n * 50_000]));
    for (n, output) in (0..).zip(pool.map(items)) {
        assert_eq!(output.unwrap(), n * 50_000);
    }
    pool.shutdown();
}

fn stubborn() {
    let pool = Pool::new(1).unwrap();
    let there = [false, true, false];
    let outputs = pool.map(there.map(|there| Stubborn { there })).chunk_size(3);
    let errors: Vec<_> = outputs.map(|output| output.unwrap_err().to_string()).collect();
    let cannot = |what| format!("the {what} cannot be decoded");
    assert_eq!(errors, [cannot("task"), cannot("output"), cannot("task")]);
    pool.shutdown();
}

fn dropped() {
    let pool = Pool::new(2).unwrap();
    let mut outputs = pool.map((0..).map(Item::Number)).chunk_size(3);
    assert_eq!(outputs.next().unwrap().unwrap(), 0);
    drop(outputs);
    let mut outputs = pool.map((0..).map(Item::Number)).unordered();
    outputs.next().unwrap().unwrap();
    drop(outputs);
    assert_eq!(pool.submit(Item::Number(7)).result().unwrap(), 7);
    pool.shutdown();
}

fn none() {
    let pool = Pool::<Item>::new(1).unwrap();
    assert_eq!(pool.map([]).count(), 0);
    assert_eq!(pool.map([]).unordered().count(), 0);
    pool.shutdown();
}

fn million() {
    let pool = Pool::new(2).unwrap();
    let outputs = pool.map((0..1_000_000).map(Item::Number)).map(Result::unwrap);
    assert!(outputs.eq(0..1_000_000));
    let outputs = pool.map((0..1_000_000).map(Item::Number)).unordered().map(Result::unwrap);
    assert_eq!(outputs.sum::<u64>(), (0..1_000_000).sum::<u64>());
    let futures: Vec<_> = (0..100_000).map(|n| pool.submit(Item::Number(n))).collect();
    assert!(futures.into_iter().map(|future| future.result().unwrap()).eq(0..100_000));
    pool.shutdown();
}
