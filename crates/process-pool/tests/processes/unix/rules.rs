//! Policies, initializers, recycling, order and what a process is asked.

use std::collections::HashSet;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ipc::{SharedSlice, pipe};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp};
use process_pool::{
    Death, Ended, Error, Failed, Policy, Pool, Process, Stop, Task, TaskOptions,
    kill_this_process, log,
};
use serde::{Deserialize, Serialize};

use super::harness::{trace_events, trial, until};
use super::{Meet, Work};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("workers_are_as_many_as_cores_if_nothing_is_said", default_workers),
        trial("what_is_impossible_is_refused", impossible),
        trial("a_pool_that_breaks_says_why", break_policy),
        trial("a_budget_of_deaths_in_a_row_is_kept", budget),
        trial("an_answer_fills_the_budget_again", budget_again),
        trial("the_initializer_runs_in_every_worker_before_its_first_task", initializer),
        trial("a_failing_initializer_breaks_the_pool_with_its_cause", failing_initializer),
        trial("a_worker_that_dies_in_its_initializer_is_replaced_again", dies_in_initializer),
        trial("an_initializer_that_hangs_is_late", late),
        trial("a_worker_ends_after_its_tasks_and_no_task_is_lost", max_tasks),
        trial("a_task_never_waits_behind_another_while_a_worker_idles", no_idling),
        trial("what_a_dead_worker_had_not_begun_runs_elsewhere_once", window_survives),
        trial("an_idempotent_task_is_tried_again", retries),
        trial("urgent_tasks_go_first", urgent),
        trial("workers_are_beyond_the_reach_of_ctrl_c", process_group),
        trial("tasks_that_look_stop_when_asked", stop),
        trial("log_records_arrive_whole_and_ordered_before_a_death", logs),
        trial("metrics_add_up", metrics),
        trial("a_trace_shows_where_the_time_of_each_task_went", trace),
        trial("a_trace_shows_the_chunks_of_a_map", trace_of_a_map),
        trial("a_process_has_a_name_and_an_end", named_process),
        trial("a_process_ends_as_it_is_told", signals),
        trial("many_workers_killed_at_once_fail_what_they_ran_and_nothing_else", massacre),
    ]
}

static PREPARED: AtomicU64 = AtomicU64::new(0);
pub static COUNTS: OnceLock<SharedSlice<u64>> = OnceLock::new();

/// Initializers.
#[derive(Serialize, Deserialize)]
pub enum Prepare {
    Set(u64),
    Share(SharedSlice<u64>),
    Fail,
    Die,
    /// In the second process that runs it.
    DieSecond(SharedSlice<u64>),
    Hang,
}

impl Task for Prepare {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        match self {
            Self::Set(number) => PREPARED.store(number, SeqCst),
            Self::Share(counts) => drop(COUNTS.set(counts)),
            Self::Fail => return Err("no such model".into()),
            Self::Die => kill_this_process(),
            Self::DieSecond(starts) => {
                if starts.fetch_add(0, 1) == 1 {
                    kill_this_process();
                }
            }
            Self::Hang => loop {
                thread::park();
            },
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
pub enum Step {
    Pid,
    /// Counts, and dies the first so many times.
    Count(SharedSlice<u64>, u64),
    Die,
    Prepared,
    Group,
    UntilStopped(Stop),
    Log(u64),
    LogAndDie,
    Hang,
}

impl Task for Step {
    type Output = u64;

    fn run(self) -> Result<u64, Failed> {
        Ok(match self {
            Self::Pid => process::id().into(),
            Self::Count(counts, deaths) => {
                let before = counts.fetch_add(0, 1);
                if before < deaths {
                    kill_this_process();
                }
                before
            }
            Self::Die => kill_this_process(),
            Self::Prepared => PREPARED.load(SeqCst),
            Self::Group => getpgrp().as_raw().unsigned_abs().into(),
            Self::UntilStopped(stop) => {
                while !stop.is_asked() {
                    thread::yield_now();
                }
                1
            }
            Self::Log(number) => {
                log(format!("number {number}"));
                number
            }
            Self::LogAndDie => {
                log("last words");
                kill_this_process();
            }
            Self::Hang => loop {
                thread::park();
            },
        })
    }
}

fn default_workers() {
    let pool = Pool::<Step>::builder().build().unwrap();
    assert_eq!(pool.workers(), thread::available_parallelism().unwrap().get());
    pool.shutdown();
}

fn impossible() {
    let builder = Pool::<Step>::builder;
    for refused in [builder().workers(0), builder().window(0), builder().max_tasks(0)] {
        assert!(matches!(refused.build(), Err(Error::Rejected(_))));
    }
}

fn break_policy() {
    let pool = Pool::<Step>::builder().workers(2).policy(Policy::Break).build().unwrap();
    let hangs = pool.submit(Step::Hang);
    until("it runs", || hangs.running());
    let dies = pool.submit(Step::Die);
    assert!(matches!(dies.result(), Err(Error::Died(_))));
    let of = |error: Error| match error {
        Error::Broken(cause) => cause.to_string(),
        other => panic!("{other}"),
    };
    assert_eq!(of(hangs.result().unwrap_err()), "worker killed by SIGKILL");
    assert_eq!(of(pool.submit(Step::Pid).result().unwrap_err()), "worker killed by SIGKILL");
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

fn budget() {
    let policy = Policy::Replace { budget: 2 };
    let pool = Pool::<Step>::builder().workers(1).policy(policy).build().unwrap();
    let futures: Vec<_> = (0..5).map(|_| pool.submit(Step::Die)).collect();
    let errors = futures.into_iter().map(|future| future.result().unwrap_err());
    let died: Vec<_> = errors.map(|error| matches!(error, Error::Died(_))).collect();
    assert_eq!(died, [true, true, true, false, false]);
    assert_eq!(pool.replaced(), 2);
    assert!(matches!(pool.submit(Step::Pid).result(), Err(Error::Broken(_))));
}

fn budget_again() {
    let policy = Policy::Replace { budget: 1 };
    let pool = Pool::<Step>::builder().workers(1).policy(policy).build().unwrap();
    for _ in 0..4 {
        assert!(matches!(pool.submit(Step::Die).result(), Err(Error::Died(_))));
        assert!(pool.submit(Step::Pid).result().is_ok());
    }
    pool.shutdown();
}

fn initializer() {
    let pool = Pool::<Step>::builder().workers(2).initializer(Prepare::Set(7)).build().unwrap();
    for _ in 0..2 {
        let prepared: Vec<_> = (0..4).map(|_| pool.submit(Step::Prepared)).collect();
        assert!(prepared.into_iter().all(|future| future.result().unwrap() == 7));
        // The replacements are prepared as well.
        for dies in [0; 2].map(|_| pool.submit(Step::Die)) {
            dies.result().unwrap_err();
        }
    }
    pool.shutdown();
}

fn failing_initializer() {
    let start =
        |prepare| Pool::<Step>::builder().workers(1).initializer(prepare).build().unwrap_err();
    let chain = |error: Error| {
        let mut texts = vec![error.to_string()];
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            texts.push(error.to_string());
            source = error.source();
        }
        texts
    };
    let failed = "the initializer of a worker failed";
    assert_eq!(chain(start(Prepare::Fail)), [failed, "the task failed", "no such model"]);
    assert_eq!(chain(start(Prepare::Die)), [failed, "worker killed by SIGKILL"]);
}

fn dies_in_initializer() {
    let starts = SharedSlice::zeroed(1).unwrap();
    let prepare = Prepare::DieSecond(starts.clone());
    let pool = Pool::<Step>::builder().workers(1).initializer(prepare).build().unwrap();
    pool.submit(Step::Die).result().unwrap_err();
    pool.submit(Step::Pid).result().unwrap();
    assert_eq!(starts.get(0), 3);
    pool.shutdown();
}

fn late() {
    let deadline = Duration::from_millis(50);
    let pool = Pool::<Step>::builder().workers(2).start_deadline(deadline);
    let begun = Instant::now();
    let error = pool.initializer(Prepare::Hang).build().unwrap_err();
    assert!(matches!(error, Error::Late(after) if after == deadline), "{error}");
    assert!(begun.elapsed() >= deadline);
}

fn max_tasks() {
    for window in [1, 3, 100] {
        let pool = Pool::<Step>::builder().workers(2).max_tasks(3).window(window);
        let pool = pool.build().unwrap();
        let pids: Vec<_> = (0..30).map(|_| pool.submit(Step::Pid)).collect();
        let pids = pids.into_iter().map(|future| future.result().unwrap());
        let pids: Vec<_> = pids.collect();
        let each: HashSet<_> = pids.iter().collect();
        for &pid in &each {
            assert!(pids.iter().filter(|&other| other == pid).count() <= 3);
        }
        assert!(pool.metrics().retired >= 8);
        assert_eq!(pool.replaced(), 0);
        pool.shutdown();
    }
}

/// Two workers, and a window in which one of them gets every task but the last.
fn no_idling() {
    let pool = Pool::<Meet>::builder().workers(2).window(64).build().unwrap();
    let meet = || {
        let (ours, theirs) = pipe::<(), u32>().unwrap();
        (ours, pool.submit(Meet(theirs)))
    };
    let (mut first, mut other) = (meet(), meet());
    let pids = [first.0.recv().unwrap(), other.0.recv().unwrap()];
    let mut waiting: Vec<_> = (0..6).map(|_| meet()).collect();
    // One worker answers, and takes all six into its window.
    other.0.send(&()).unwrap();
    assert_eq!(other.1.result().unwrap(), pids[1]);
    until("all are under way", || pool.metrics().queued == 0);
    assert_eq!(waiting[0].0.recv().unwrap(), pids[1]);
    // The other one answers, and must get some of them, while the first of them is running.
    first.0.send(&()).unwrap();
    first.1.result().unwrap();
    let stolen = waiting
        .iter_mut()
        .skip(1)
        .map(|(pipe, _)| pipe.recv_timeout(Duration::from_millis(200)).ok());
    let stolen: Vec<_> = stolen.flatten().collect();
    assert_eq!(stolen, [pids[0]], "one more runs, on the worker that had nothing to do");
    for (pipe, _) in &waiting {
        pipe.send(&()).unwrap();
    }
    assert!(waiting.into_iter().all(|(_, future)| future.result().is_ok()));
    pool.shutdown();
}

fn window_survives() {
    let counts: Vec<_> = (0..20).map(|_| SharedSlice::zeroed(1).unwrap()).collect();
    let pool = Pool::<Step>::builder().workers(1).window(32).build().unwrap();
    // The second of each five dies the first time, and is not to be tried again.
    let futures: Vec<_> = (0..20)
        .map(|n| pool.submit(Step::Count(counts[n].clone(), (n % 5 == 1).into())))
        .collect();
    for (n, future) in futures.into_iter().enumerate() {
        match future.result() {
            Ok(before) => assert!(before == 0 && n % 5 != 1, "{n}"),
            Err(Error::Died(Death { ended: Ended::Killed { signal, .. }, at })) => {
                assert_eq!((signal.as_str(), at.task, n % 5), ("SIGKILL", n as u64, 1));
            }
            Err(other) => panic!("{n}: {other}"),
        }
    }
    assert!(counts.iter().all(|count| count.get(0) == 1), "each began once");
    assert_eq!(pool.replaced(), 4);
    pool.shutdown();
}

fn retries() {
    let pool = Pool::<Step>::new(2).unwrap();
    let run = |deaths, retries| {
        let count = SharedSlice::zeroed(1).unwrap();
        let options = TaskOptions { retries, ..TaskOptions::default() };
        let result = pool.submit_with(Step::Count(count.clone(), deaths), options).result();
        (result, count.get(0))
    };
    assert!(matches!(run(2, 2), (Ok(2), 3)));
    assert!(matches!(run(3, 2), (Err(Error::Died(_)), 3)));
    assert!(matches!(run(1, 0), (Err(Error::Died(_)), 1)));
    pool.shutdown();
}

fn urgent() {
    let pool = Pool::<Work>::builder().workers(1).window(1).build().unwrap();
    let blocker = pool.submit(Work::Sleep(50));
    let order = std::sync::Arc::new(Mutex::new(Vec::new()));
    let futures = ["low", "low", "high"].map(|priority| {
        let options = TaskOptions { urgent: priority == "high", ..TaskOptions::default() };
        let future = pool.submit_with(Work::Pid, options);
        let order = order.clone();
        future.on_done(move || order.lock().unwrap().push(priority));
        future
    });
    blocker.result().unwrap();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
    pool.shutdown();
    assert_eq!(*order.lock().unwrap(), ["high", "low", "low"]);
}

fn process_group() {
    let pool = Pool::<Step>::new(2).unwrap();
    for _ in 0..2 {
        let group = pool.submit(Step::Group).result().unwrap();
        assert_ne!(group, u64::from(getpgrp().as_raw().unsigned_abs()));
    }
    pool.shutdown();
}

fn stop() {
    let pool = Pool::<Step>::new(2).unwrap();
    let stop = Stop::new().unwrap();
    let futures = [0; 2].map(|_| pool.submit(Step::UntilStopped(stop.clone())));
    assert!(!futures[0].wait_timeout(Duration::from_millis(20)));
    stop.stop();
    assert_eq!(futures.map(|future| future.result().unwrap()), [1, 1]);
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

fn logs() {
    let (records, written) = mpsc::channel();
    let pool = Pool::<Step>::builder().workers(2);
    let pool = pool.on_log(move |record| records.send(record).unwrap()).build().unwrap();
    let futures: Vec<_> = (0..100).map(|number| pool.submit(Step::Log(number))).collect();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
    pool.submit(Step::LogAndDie).result().unwrap_err();
    pool.shutdown();
    let mut records: Vec<_> = written.iter().collect();
    assert_eq!(records.len(), 101);
    let texts: HashSet<_> = records.iter().map(|record| record.text.clone()).collect();
    assert!((0..100).all(|number| texts.contains(&format!("number {number}"))));
    records.sort();
    assert_eq!(records.last().unwrap().text, "last words");
    for worker in 0..2 {
        let of = records.iter().filter(|record| record.worker == worker);
        assert!(of.clone().map(|record| record.number).is_sorted());
    }
}

fn metrics() {
    let pool = Pool::<Step>::new(1).unwrap();
    let futures: Vec<_> = (0..100).map(|_| pool.submit(Step::Pid)).collect();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
    let metrics = pool.metrics();
    assert_eq!((metrics.queued, metrics.under_way, metrics.replaced), (0, 0, 0));
    assert_eq!(metrics.workers.iter().map(|worker| worker.tasks).sum::<u64>(), 100);
    // Two bytes each: that it is a task, and which.
    assert_eq!(metrics.workers.iter().map(|worker| worker.sent).sum::<u64>(), 200);
    assert!(metrics.encoding > Duration::ZERO);
    assert_eq!(metrics.workers[0].silent, None, "it idles");
    let hanging = pool.submit(Step::Hang);
    let silent = || pool.metrics().workers[0].silent.unwrap();
    let before = silent();
    assert!(!hanging.wait_timeout(Duration::from_millis(20)));
    assert!(silent() >= before + Duration::from_millis(20));
}

fn trace() {
    let pool = Pool::<Step>::builder().workers(2).trace().build().unwrap();
    let futures: Vec<_> = (0..50).map(|_| pool.submit(Step::Pid)).collect();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
    let events = trace_events(pool);
    let named = |phase: &str, name: &str| {
        let of = |event: &&serde_json::Value| event["ph"] == phase && event["name"] == name;
        events.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    for name in ["encode", "wait"] {
        let [begins, ends] = ["b", "e"].map(|phase| named(phase, name));
        assert_eq!((begins.len(), ends.len()), (50, 50));
        for (begin, end) in begins.iter().zip(&ends) {
            assert!(begin["id"] == end["id"] && begin["ts"].as_f64() <= end["ts"].as_f64());
        }
    }
    let mut spans = ["decode", "run", "encode output"].map(|name| named("X", name)).concat();
    assert_eq!(spans.len(), 150);
    spans.sort_by(|a, b| a["ts"].as_f64().unwrap().total_cmp(&b["ts"].as_f64().unwrap()));
    for worker in 1..=2 {
        let of = spans.iter().filter(|span| span["tid"] == worker);
        let times = of.map(|span| [&span["ts"], &span["dur"]].map(|t| t.as_f64().unwrap()));
        let times: Vec<_> = times.collect();
        // None overlaps the next, however a viewer adds.
        assert!(times.windows(2).all(|pair| pair[0][0] + pair[0][1] <= pair[1][0]));
    }
}

fn trace_of_a_map() {
    let pool = Pool::<Step>::builder().workers(2).trace().build().unwrap();
    // The last one has memory in it: it cannot travel with others.
    let alone = || Step::Count(SharedSlice::zeroed(1).unwrap(), 0);
    let tasks = (0..51).map(|n| if n < 50 { Step::Pid } else { alone() });
    assert!(pool.map(tasks).chunk_size(10).all(|output| output.is_ok()));
    let events = trace_events(pool);
    let named = |phase: &str, name: &str| {
        let of =
            move |event: &&serde_json::Value| event["ph"] == phase && event["name"] == name;
        events.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    let runs = named("X", "run");
    let tasks: u64 = runs.iter().map(|run| run["args"]["tasks"].as_u64().unwrap()).sum();
    assert_eq!(tasks, 51, "each of them once");
    let mut begun: Vec<_> =
        runs.iter().map(|run| run["args"]["task"].as_u64().unwrap()).collect();
    begun.sort_unstable();
    assert!([0, 10, 20, 30, 40, 50].iter().all(|first| begun.contains(first)), "{begun:?}");
    assert_eq!([named("b", "wait").len(), named("e", "wait").len()], [6, 6]);
    for name in ["decode", "encode output"] {
        assert_eq!(named("X", name).len(), 1, "of the one that travelled alone");
    }
}

fn named_process() {
    let mut process = Process::spawn_named("stepper", Step::Hang).unwrap();
    assert_eq!(process.name(), "stepper");
    assert_eq!(process.ended(), None);
    assert!(!process.join_timeout(Duration::from_millis(20)));
    process.kill();
    let pid = process.pid();
    assert!(process.join_timeout(Duration::from_secs(20)));
    let killed = Ended::Killed { signal: "SIGKILL".into(), pid };
    assert_eq!(process.ended(), Some(killed.clone()));
    assert!(matches!(process.join(), Err(Error::Died(Death { ended, .. })) if ended == killed));

    let mut process = Process::spawn(Step::Pid).unwrap();
    assert_eq!(process.name(), "Step");
    assert!(process.join_timeout(Duration::from_secs(20)));
    let pid = process.pid();
    assert_eq!(process.ended(), Some(Ended::Exited { code: 0, pid }));
    assert_eq!(process.join().unwrap(), u64::from(pid));
}

fn signals() {
    for (end, name) in [
        (Process::terminate as fn(&Process<Step>), "SIGTERM"),
        (Process::interrupt, "SIGINT"),
        (Process::kill, "SIGKILL"),
    ] {
        let process = Process::spawn(Step::Hang).unwrap();
        end(&process);
        let error = process.join().unwrap_err();
        assert_eq!(error.to_string(), format!("worker killed by {name}"));
    }
}

fn massacre() {
    let pool = Pool::<Meet>::new(4).unwrap();
    let meet = || {
        let (ours, theirs) = pipe::<(), u32>().unwrap();
        (ours, pool.submit(Meet(theirs)))
    };
    let (mut running, waiting) = ([(); 4].map(|()| meet()), [(); 40].map(|()| meet()));
    let pids = running.each_mut().map(|(pipe, _)| pipe.recv().unwrap());
    for pid in pids {
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    }
    for ((_, future), pid) in running.into_iter().zip(pids) {
        match future.result().unwrap_err() {
            Error::Died(Death { at, .. }) => assert_eq!(at.pid, pid),
            other => panic!("{other}"),
        }
    }
    for (mut pipe, future) in waiting {
        let pid = pipe.recv().unwrap();
        pipe.send(&()).unwrap();
        assert!(future.result().unwrap() == pid && !pids.contains(&pid));
    }
    assert_eq!(pool.replaced(), 4);
    pool.shutdown();
}
