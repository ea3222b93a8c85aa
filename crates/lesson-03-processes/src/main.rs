//! Processes share nothing: each has memory of its own, a lock of its own if it has one, and a
//! death of its own. A pool of them uses every core and goes on when a worker is killed.
//!
//! Python: `multiprocessing.Process`, `multiprocessing.Pool`. Page: `lessons/03-processes.md`.

use std::collections::HashSet;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use ipc::{Pipe, pipe};
use process_pool::{Error, Failed, Pool, Process, Task, kill_this_process, serve};
use serde::{Deserialize, Serialize};
use tasks::cpu::{sum_below, sum_of_squares_below};
use tasks::grouped;
use tasks::measure::{Stopwatch, Table, median_and_spread, short};

/// A pool of processes uses every core, and survives a killed worker.
///
/// 1. Two processes wait side by side.
/// 2. Two processes compute side by side, on two cores.
/// 3. A pool of worker processes adds up one range several times.
/// 4. A worker is killed: one task fails, by name, and the pool goes on.
/// 5. What a process costs beside a thread.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/03-processes.md
///
/// More programs:
///   cargo run -p lesson-03-processes --bin futures
///   cargo run -p lesson-03-processes --bin cost
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Worker processes in the pool
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(1..=64))]
    workers: usize,
    /// Tasks for the pool
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(1..=1000))]
    tasks: usize,
    /// Each task adds up the numbers below N
    #[arg(long, default_value_t = 100_000_000, value_name = "N", value_parser = cli::number(0..=10_000_000_000))]
    below: u64,
    /// Each of the two processes adds up the squares below N
    #[arg(long, default_value_t = 20_000_000, value_name = "N", value_parser = cli::number(0..=10_000_000_000))]
    squares: u64,
    /// How long each of the two processes waits
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(60)))]
    wait: Duration,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    // Every worker runs this very program: this line makes it one, and never returns there.
    serve::<(Nap, Squares, Job, Nothing)>();
    let args: Args = cli::parse();
    two_processes_wait(&args)?;
    two_processes_compute(&args)?;
    a_pool_uses_every_core(&args)?;
    a_killed_worker_fails_only_its_task(&args)?;
    a_process_costs_more_than_a_thread(&args)?;
    println!("\nThe page of this lesson: lessons/03-processes.md");
    Ok(())
}

fn two_processes_wait(args: &Args) -> Result<()> {
    println!("1. Two processes, A and B. Each starts, waits and finishes.");
    let watch = Stopwatch::start();
    let mut running = Vec::new();
    for name in ["A", "B"] {
        let (ours, theirs) = pipe()?;
        let process = Process::spawn(Nap { time: args.wait, parent: theirs })?;
        running.push((name, ours, process));
    }
    for (name, pipe, process) in &mut running {
        println!("   {name}: {}", process.heard(pipe.recv())?);
    }
    // Both have started; only now may either go on. Without this line a slow machine could
    // print "finished" before the second "starting".
    for (_, pipe, process) in &mut running {
        process.heard(pipe.send(&()))?;
    }
    for (name, mut pipe, mut process) in running {
        println!("   {name}: {}", process.heard(pipe.recv())?);
        process.join()?;
    }
    println!("   all completed, and both had started before either finished");
    let took = short(watch.stop().wall);
    args.output.measured(format!("   two waits of {} took {took}", short(args.wait)));
    Ok(())
}

fn two_processes_compute(args: &Args) -> Result<()> {
    let n = grouped(args.squares.into());
    println!("\n2. Two processes. Each adds up the squares below {n}: no lock in common.");
    let mut table = Table::for_stderr();
    let watch = Stopwatch::start();
    let expected = [(); 2].map(|()| sum_of_squares_below(args.squares));
    table.row("one after another", watch.stop());

    let watch = Stopwatch::start();
    let processes = [
        Process::spawn(Squares { below: args.squares })?,
        Process::spawn(Squares { below: args.squares })?,
    ];
    let mut sums = Vec::new();
    for process in processes {
        sums.push(process.join()?);
    }
    table.row("in two processes", watch.stop());

    assert_eq!(sums, expected, "the model changes the time, not the answer");
    sums.iter().for_each(|&sum| println!("   {}", grouped(sum)));
    args.output.measured(table);
    Ok(())
}

fn a_pool_uses_every_core(args: &Args) -> Result<()> {
    let (tasks, workers) = (args.tasks, args.workers);
    let n = grouped(args.below.into());
    println!("\n3. A pool of {workers} processes. {tasks} tasks add up the numbers below {n}.");
    println!("   They are handed in without waiting; the answers keep that order.");
    let mut table = Table::for_stderr();
    let watch = Stopwatch::start();
    let expected: Vec<_> = (0..tasks).map(|_| sum_below(args.below)).collect();
    table.row("one after another", watch.stop());

    let watch = Stopwatch::start();
    let pool = Pool::new(workers).context("cannot start the pool")?;
    // `submit` does not wait: all tasks are under way before the first answer is asked for.
    let futures: Vec<_> =
        (0..tasks).map(|_| pool.submit(Job::Sum { below: args.below })).collect();
    let mut answers = Vec::new();
    for future in futures {
        answers.push(future.result()?);
    }
    pool.shutdown();
    table.row(format!("in a pool of {workers}"), watch.stop());

    for (number, (answer, expected)) in (1..).zip(answers.iter().zip(expected)) {
        assert_eq!(answer.sum, expected, "the model changes the time, not the answer");
        println!("   task {number}: {}", grouped(answer.sum));
    }
    // Which process takes a task that had to wait is chance; the first ones get one each.
    let first: HashSet<_> = answers.iter().take(workers).map(|answer| answer.pid).collect();
    println!(
        "   the first {} came from {} different processes",
        tasks.min(workers),
        first.len()
    );
    args.output.measured(table);
    Ok(())
}

fn a_killed_worker_fails_only_its_task(args: &Args) -> Result<()> {
    println!(
        "\n4. A pool again. The second of three tasks kills its worker, as `kill -9` does."
    );
    let pool = Pool::new(args.workers).context("cannot start the pool")?;
    let sum = || Job::Sum { below: args.below };
    let futures = [sum(), Job::Die, sum()].map(|job| pool.submit(job));
    for (number, future) in (1..).zip(futures) {
        match future.result() {
            Ok(answer) => println!("   task {number}: {}", grouped(answer.sum)),
            Err(error @ Error::Died(_)) => println!("   task {number}: {error}"),
            Err(other) => return Err(other.into()),
        }
    }
    println!("   workers replaced: {}, and the pool goes on", pool.replaced());
    println!("   task 4: {}", grouped(pool.submit(sum()).result()?.sum));
    pool.shutdown();
    Ok(())
}

fn a_process_costs_more_than_a_thread(args: &Args) -> Result<()> {
    println!("\n5. A thread or a process that does nothing: start it, and wait for its end.");
    let mut threads = Vec::new();
    let mut processes = Vec::new();
    for _ in 0..ROUNDS {
        let watch = Stopwatch::start();
        thread::spawn(|| {}).join().expect("it does nothing");
        threads.push(watch.stop().wall);

        let watch = Stopwatch::start();
        Process::spawn(Nothing)?.join()?;
        processes.push(watch.stop().wall);
    }
    println!("   {ROUNDS} of each came and went");
    let (thread, _) = median_and_spread(&mut threads);
    let (process, _) = median_and_spread(&mut processes);
    args.output.measured(format!(
        "   median: a thread {}, a process {}, {:.0} times as much",
        short(thread),
        short(process),
        process.div_duration_f64(thread),
    ));
    Ok(())
}

/// Starts and ends of each kind that are measured.
const ROUNDS: usize = 20;

/// Says that it starts, waits for a nod, sleeps, says that it has finished.
#[derive(Serialize, Deserialize)]
struct Nap {
    time: Duration,
    parent: Pipe<String, ()>,
}

impl Task for Nap {
    type Output = ();

    fn run(mut self) -> Result<(), Failed> {
        self.parent.send(&"starting".into())?;
        self.parent.recv()?;
        thread::sleep(self.time);
        self.parent.send(&"finished".into())?;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Squares {
    below: u64,
}

impl Task for Squares {
    type Output = u128;

    fn run(self) -> Result<u128, Failed> {
        Ok(sum_of_squares_below(self.below))
    }
}

/// What the pool's workers can do. A pool has one type of task; an `enum` makes it several.
#[derive(Serialize, Deserialize)]
enum Job {
    Sum { below: u64 },
    Die,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    sum: u128,
    pid: u32,
}

impl Task for Job {
    type Output = Answer;

    fn run(self) -> Result<Answer, Failed> {
        match self {
            Self::Sum { below } => Ok(Answer { sum: sum_below(below), pid: process::id() }),
            Self::Die => kill_this_process(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Nothing;

impl Task for Nothing {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        Ok(())
    }
}
