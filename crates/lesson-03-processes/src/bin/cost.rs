//! A process has memory of its own and takes longer to start than a thread: a pool pays that
//! once, a process for each task pays it each time.
//!
//! Python: `multiprocessing.Process` in a loop against `multiprocessing.Pool`. Page:
//! `lessons/03-processes-in-depth.md`.

use std::collections::HashSet;
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
/// 1. The same tasks: each in a thread, in a process, through a pool.
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
    /// Worker processes in the pool
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(1..=64))]
    workers: usize,
    /// How many threads, and how many processes, wait at the same time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = cli::count(1..=100))]
    at_once: usize,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    serve::<(Sum, Stay)>();
    let args: Args = cli::parse();
    one_for_each_task_or_a_pool(&args)?;
    memory(&args)?;
    start_and_end(&args)?;
    processes_for_work_alone(&args)?;
    println!("\nThe page of this program: lessons/03-processes-in-depth.md");
    Ok(())
}

fn one_for_each_task_or_a_pool(args: &Args) -> Result<()> {
    let &Args { tasks, below, workers, .. } = args;
    println!("1. {tasks} tasks. Each adds up the numbers below {}.", grouped(below.into()));
    let mut table = Table::for_stderr();
    let right = |answers: &[(u128, u32)]| {
        answers.iter().filter(|(sum, _)| *sum == formula::sum_below(below)).count()
    };

    let watch = Stopwatch::start();
    let answers: Vec<_> = (0..tasks)
        .map(|_| thread::spawn(move || sum_below(below)).join().expect("it adds up"))
        .map(|sum| (sum, process::id()))
        .collect();
    table.row("a thread for each", watch.stop());
    println!("   a thread for each:   {} of {tasks} right, 1 process", right(&answers));

    let watch = Stopwatch::start();
    let mut answers = Vec::new();
    for _ in 0..tasks {
        answers.push(Process::spawn(Sum { below })?.join()?);
    }
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

fn memory(args: &Args) -> Result<()> {
    let n = args.at_once;
    println!("\n2. {n} threads, then {n} processes, that only wait.");
    let before = own_memory("self");
    let (all_here, measured) = (Barrier::new(n + 1), Barrier::new(n + 1));
    let thread = thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                all_here.wait();
                measured.wait();
            });
        }
        all_here.wait();
        let after = own_memory("self");
        measured.wait();
        before.zip(after).map(|(before, after)| after.saturating_sub(before) / n as u64)
    });
    println!("   {n} threads waited at the same time");

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
        Some((thread, process)) => format!(
            "   memory of its own: a thread {thread} KiB, a process {process} KiB, {:.0} times as much",
            process as f64 / thread.max(1) as f64
        ),
        None => "   this system does not tell how much memory is a process's own".into(),
    });
    Ok(())
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
