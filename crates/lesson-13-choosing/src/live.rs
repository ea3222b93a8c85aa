//! The models with real threads and processes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use gil::Gil;
use process_pool::{Failed, Future, Pool, Task};
use serde::{Deserialize, Serialize};
use tasks::cpu::{formula, sum_of_squares_below};

use crate::costs::compute;
use crate::model::{Computer, DRAW, FRAME, Model};
use crate::workload::Workload;

/// What came of a model.
#[derive(Debug)]
pub struct Outcome {
    pub took: Duration,
    /// How late the interface was at worst, where there is one.
    pub pause: Option<Duration>,
    /// Tasks with the right answer.
    pub right: usize,
}

/// Runs the workload; `squares` keep a core busy as long as a task computes.
pub fn run(
    model: Model,
    workload: &Workload,
    computer: Computer,
    squares: u64,
) -> Result<Outcome> {
    let hands = model.deal(workload, computer);
    let payload = |tasks: usize| match model.has_processes() {
        true => vec![1; workload.payload * tasks],
        // It is here already.
        false => Vec::new(),
    };
    let share = |threads: Vec<usize>| Share {
        payload: payload(threads.iter().sum()),
        threads,
        io: workload.io,
        squares,
        gil: computer.gil,
        interface: workload.interface && model == Model::Threads,
    };
    let begun = Instant::now();
    let (reports, pause) = match model {
        Model::OneAfterAnother => {
            let report = share(hands[0].clone()).run().map_err(Error::from_boxed)?;
            (vec![report], Some(begun.elapsed()))
        }
        Model::Threads => {
            let report = share(hands[0].clone()).run().map_err(Error::from_boxed)?;
            let pause = report.pause;
            (vec![report], Some(pause))
        }
        Model::Processes | Model::Hybrid => {
            let in_workers = || -> Result<_> {
                let pool = Pool::new(hands.len())?;
                let shares = hands.iter().flat_map(|threads| match model {
                    // One task at a time, to the worker that is free.
                    Model::Processes => vec![vec![1]; threads.iter().sum()],
                    _ => vec![threads.clone()],
                });
                let futures: Vec<_> =
                    shares.map(|threads| pool.submit(share(threads))).collect();
                let reports =
                    futures.into_iter().map(Future::result).collect::<Result<Vec<_>, _>>()?;
                pool.shutdown();
                Ok(reports)
            };
            match workload.interface {
                true => {
                    let (reports, pause) = beside_an_interface(None, in_workers);
                    (reports?, Some(pause))
                }
                false => (in_workers()?, None),
            }
        }
    };
    let took = begun.elapsed();
    let right = formula::sum_of_squares_below(squares);
    let answers = || reports.iter().flat_map(|report| &report.answers);
    let sent: usize = reports.iter().map(|report| report.bytes).sum();
    assert!(!model.has_processes() || sent == workload.payload * workload.tasks);
    Ok(Outcome {
        took,
        pause: pause.filter(|_| workload.interface),
        right: answers().filter(|&&answer| answer == right).count(),
    })
}

/// The tasks of one process: so many for each of its threads.
#[derive(Serialize, Deserialize, Default)]
pub struct Share {
    pub threads: Vec<usize>,
    pub io: Duration,
    pub squares: u64,
    pub gil: bool,
    /// Whether an interface shares the process.
    pub interface: bool,
    /// In one run of bytes: number by number, encoding would cost more than the transfer.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
pub struct Report {
    pub answers: Vec<u128>,
    /// How late the interface was at worst.
    pub pause: Duration,
    /// That arrived with the tasks.
    pub bytes: usize,
}

impl Task for Share {
    type Output = Report;

    fn run(self) -> Result<Report, Failed> {
        let gil = self.gil.then(Gil::new);
        let run = || match &self.threads[..] {
            // One after another, on this thread.
            &[tasks] => (0..tasks).map(|_| self.task(gil.as_ref())).collect(),
            threads => self.run_in(threads, gil.as_ref()),
        };
        let (answers, pause) = match self.interface {
            true => beside_an_interface(gil.as_ref(), run),
            false => (run(), Duration::ZERO),
        };
        let bytes = self.payload.iter().map(|&byte| usize::from(byte)).sum();
        Ok(Report { answers, pause, bytes })
    }
}

impl Share {
    fn run_in(&self, threads: &[usize], gil: Option<&Gil>) -> Vec<u128> {
        thread::scope(|scope| {
            let threads: Vec<_> = threads
                .iter()
                .map(|&tasks| {
                    scope.spawn(move || (0..tasks).map(|_| self.task(gil)).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("it adds up")).collect()
        })
    }

    /// Waits, then computes. The wait is a sleep: it stands for the world outside, and orders
    /// nothing.
    fn task(&self, gil: Option<&Gil>) -> u128 {
        let wait = || {
            if !self.io.is_zero() {
                thread::sleep(self.io);
            }
        };
        match gil {
            Some(gil) => {
                let mut token = gil.acquire();
                token.allow_threads(wait);
                compute(&mut token, self.squares)
            }
            None => {
                wait();
                sum_of_squares_below(self.squares)
            }
        }
    }
}

/// Does `work` while an interface draws its frames: what came of it, and how late the latest
/// frame was.
fn beside_an_interface<R>(gil: Option<&Gil>, work: impl FnOnce() -> R) -> (R, Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let interface = scope.spawn(|| {
            let mut latest = Duration::ZERO;
            while !over.load(Relaxed) {
                let due = Instant::now() + FRAME;
                thread::sleep(FRAME);
                let token = gil.map(Gil::acquire);
                latest = latest.max(due.elapsed());
                let draw = Instant::now();
                while draw.elapsed() < DRAW {}
                drop(token);
            }
            latest
        });
        let result = work();
        over.store(true, Relaxed);
        (result, interface.join().expect("it draws"))
    })
}
