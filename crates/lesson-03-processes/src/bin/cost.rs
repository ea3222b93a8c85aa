//! A process has memory of its own and takes longer to start than a thread: a pool pays that
//! once, a process for each task pays it each time.
//!
//! Python: `multiprocessing.Process` in a loop against `multiprocessing.Pool`. Page:
//! `lessons/03-processes-in-depth.md`.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::process;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use ipc::{Pipe, pipe};
use process_pool::{Failed, Pool, Process, Task, serve};
use serde::{Deserialize, Serialize};
use tasks::cpu::{formula, sum_below};
use tasks::grouped;
use tasks::measure::{Stopwatch, Table, median_and_spread, short};

/// What processes cost beside threads, and a pool beside a process for each task.
///
/// 1. The same tasks, so many at once: each in a thread, in a process, through a pool.
/// 2. Threads and processes that only wait: how much memory each takes.
/// 3. How long each takes to start and to end.
/// 4. A pool that has no processes while it has nothing to do.
///
/// Facts go to stdout, measurements to stderr. The page:
/// lessons/03-processes-in-depth.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many tasks there are
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = cli::count(1..=10_000))]
    tasks: usize,
    /// Each adds up the numbers below N
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = cli::number(0..=1_000_000_000))]
    below: u64,
    /// Tasks under way at once: as many threads, processes, workers of a pool
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(1..=64))]
    workers: usize,
    /// How many processes wait at the same time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = cli::count(1..=100))]
    at_once: usize,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    serve::<(Sum, Stay)>();
    let args: Args = cli::parse();
    // First: the stacks of threads that have ended are used again, and would seem to cost nothing.
    let thread = memory_of_a_thread();
    one_for_each_task_or_a_pool(&args)?;
    memory(&args, thread)?;
    start_and_end(&args)?;
    processes_for_work_alone(&args)?;
    println!("\nThe page of this program: lessons/03-processes-in-depth.md");
    Ok(())
}

fn one_for_each_task_or_a_pool(args: &Args) -> Result<()> {
    let &Args { tasks, below, workers, .. } = args;
    let numbers = grouped(below.into());
    println!("1. {tasks} tasks, {workers} at once. Each adds up the numbers below {numbers}.");
    let mut table = Table::for_stderr();
    let right = |answers: &[(u128, u32)]| {
        answers.iter().filter(|(sum, _)| *sum == formula::sum_below(below)).count()
    };

    let watch = Stopwatch::start();
    let start = || Ok(thread::spawn(move || (sum_below(below), process::id())));
    let answers =
        one_for_each(tasks, workers, start, |thread| Ok(thread.join().expect("it adds up")))?;
    table.row("a thread for each", watch.stop());
    println!("   a thread for each:   {} of {tasks} right, 1 process", right(&answers));

    let watch = Stopwatch::start();
    let start = || Ok(Process::spawn(Sum { below })?);
    let answers = one_for_each(tasks, workers, start, |process| Ok(process.join()?))?;
    table.row("a process for each", watch.stop());
    // A number may come again when its process is gone: the answers are counted, not the pids.
    let processes = answers.len();
    println!(
        "   a process for each:  {} of {tasks} right, {processes} processes",
        right(&answers)
    );

    let watch = Stopwatch::start();
    let pool = Pool::new(workers)?;
    let answers = pool.map((0..tasks).map(|_| Sum { below })).collect::<Result<Vec<_>, _>>()?;
    let processes = pool.workers() + pool.replaced();
    pool.shutdown();
    table.row(format!("through a pool of {workers}"), watch.stop());
    let seen: HashSet<_> = answers.iter().map(|(_, pid)| pid).collect();
    assert!(seen.len() <= processes, "no other process takes part");
    println!(
        "   through a pool:      {} of {tasks} right, {processes} processes",
        right(&answers)
    );
    args.output.measured(table);
    Ok(())
}

/// Starts something new for each task, and has as many under way as a pool would: before the next
/// one starts, the oldest is waited for.
fn one_for_each<T, A>(
    tasks: usize,
    at_once: usize,
    start: impl Fn() -> Result<T>,
    join: impl Fn(T) -> Result<A>,
) -> Result<Vec<A>> {
    let (mut under_way, mut answers) = (VecDeque::new(), Vec::new());
    for _ in 0..tasks {
        if under_way.len() == at_once {
            answers.extend(under_way.pop_front().map(&join).transpose()?);
        }
        under_way.push_back(start()?);
    }
    for last in under_way {
        answers.push(join(last)?);
    }
    Ok(answers)
}

/// Enough that what a process has anyway counts for nothing beside them.
const THREADS: usize = 100;

/// In KiB, of one that only waits.
fn memory_of_a_thread() -> Option<u64> {
    let before = own_memory("self");
    let (all_here, measured) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    let after = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                all_here.wait();
                measured.wait();
            });
        }
        all_here.wait();
        let after = own_memory("self");
        measured.wait();
        after
    });
    let grown = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    grown.map(|grown| grown / THREADS as u64)
}

fn memory(args: &Args, thread: Option<u64>) -> Result<()> {
    let n = args.at_once;
    println!("\n2. {THREADS} threads, then {n} processes, that only wait.");
    println!("   {THREADS} threads waited at the same time");

    let (mut pipes, mut processes) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let (mut ours, theirs) = pipe()?;
        processes.push(Process::spawn(Stay { parent: theirs })?);
        ours.recv()?;
        pipes.push(ours);
    }
    let each: Vec<_> =
        processes.iter().filter_map(|process| own_memory(&process.pid().to_string())).collect();
    // The end of its pipe tells a process to go.
    drop(pipes);
    for process in processes {
        process.join()?;
    }
    println!("   {n} processes waited at the same time");
    let process = each.iter().sum::<u64>().checked_div(each.len() as u64);
    args.output.measured(match thread.zip(process) {
        Some((thread, process)) => own_memory_of(thread, process),
        None => "   this system does not tell how much memory is a process's own".into(),
    });
    Ok(())
}

/// Both in KiB. A ratio to nothing would say nothing.
fn own_memory_of(thread: u64, process: u64) -> String {
    let times = match process.checked_div(thread) {
        Some(_) => format!(", {:.0} times as much", process as f64 / thread as f64),
        None => " (a thread takes too little to compare)".into(),
    };
    format!("   memory of its own: a thread {thread} KiB, a process {process} KiB{times}")
}

/// Memory that nobody else has mapped, in KiB. The program's code and the libraries are shared
/// among all processes that run them, and do not count.
fn own_memory(pid: &str) -> Option<u64> {
    let told = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let own = told.lines().filter(|line| line.starts_with("Private_"));
    own.map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

fn start_and_end(args: &Args) -> Result<()> {
    const ROUNDS: usize = 50;
    println!(
        "\n3. {ROUNDS} threads and {ROUNDS} processes, one by one: start, and wait for the end."
    );
    let (mut threads, mut processes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let watch = Stopwatch::start();
        thread::spawn(|| {}).join().expect("it does nothing");
        threads.push(watch.stop().wall);

        let watch = Stopwatch::start();
        Process::spawn(Sum { below: 0 })?.join()?;
        processes.push(watch.stop().wall);
    }
    println!("   all came and went");
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

fn processes_for_work_alone(args: &Args) -> Result<()> {
    const IDLE: Duration = Duration::from_millis(50);
    println!("\n4. A pool of 2 workers. Each ends when it has had nothing to do for {IDLE:?}.");
    let pool = Pool::builder().workers(2).idle_timeout(IDLE).build()?;
    let before = at_once(&pool, 2)?;
    println!("   2 tasks at once: {} processes", before.len());
    // No task tells of this end: it is looked for.
    while !processes(&pool).is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    println!("   nothing to do:   0 processes");
    println!("   2 tasks at once: {} processes", at_once(&pool, 2)?.len());
    pool.resize(3)?;
    println!("   3 tasks at once: {} processes, after resize(3)", at_once(&pool, 3)?.len());
    if let Some(memory) = before.into_iter().sum::<Option<u64>>() {
        args.output.measured(format!("   two idle processes gave back {memory} KiB"));
    }
    pool.shutdown();
    Ok(())
}

/// The memory of each process while so many tasks run.
fn at_once(pool: &Pool<Stay>, tasks: usize) -> Result<Vec<Option<u64>>> {
    let (mut pipes, mut futures) = (Vec::new(), Vec::new());
    for _ in 0..tasks {
        let (ours, theirs) = pipe()?;
        pipes.push(ours);
        futures.push(pool.submit(Stay { parent: theirs }));
    }
    // Each has begun, and none ends before its pipe does: no process runs two of them.
    pipes.iter_mut().try_for_each(|pipe| pipe.recv())?;
    let memory = processes(pool).iter().map(|pid| own_memory(&pid.to_string())).collect();
    drop(pipes);
    futures.into_iter().try_for_each(|future| future.result())?;
    Ok(memory)
}

fn processes(pool: &Pool<Stay>) -> Vec<u32> {
    pool.metrics().workers.iter().filter_map(|worker| worker.pid).collect()
}

/// Adds up, and says which process did.
#[derive(Serialize, Deserialize)]
struct Sum {
    below: u64,
}

impl Task for Sum {
    type Output = (u128, u32);

    fn run(self) -> Result<(u128, u32), Failed> {
        Ok((sum_below(self.below), process::id()))
    }
}

/// Says that it is there, and stays until the other end of its pipe is gone.
#[derive(Serialize, Deserialize)]
struct Stay {
    parent: Pipe<(), ()>,
}

impl Task for Stay {
    type Output = ();

    fn run(mut self) -> Result<(), Failed> {
        self.parent.send(&())?;
        match self.parent.recv() {
            Err(ipc::Error::Disconnected) => Ok(()),
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_to_nothing_is_not_printed() {
        assert!(own_memory_of(8, 332).ends_with(" 332 KiB, 42 times as much"));
        assert!(
            own_memory_of(0, 332).ends_with(" 332 KiB (a thread takes too little to compare)")
        );
    }

    #[test]
    fn as_many_are_under_way_as_in_a_pool() {
        for (tasks, at_once) in [(10, 4), (3, 4), (1, 1), (0, 2)] {
            let (now, most) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
            let start = || {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                Ok(())
            };
            let answers = one_for_each(tasks, at_once, start, |()| {
                now.set(now.get() - 1);
                Ok(())
            });
            assert_eq!(answers.unwrap().len(), tasks);
            assert_eq!((now.get(), most.get()), (0, tasks.min(at_once)));
        }
    }
}
