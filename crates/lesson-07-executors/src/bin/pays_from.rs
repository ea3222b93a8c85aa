//! How long a task must be before it pays to hand it to another thread, or to another process:
//! predicted from what a task costs that does nothing, and measured.
//!
//! Python: `ThreadPoolExecutor` against `ProcessPoolExecutor`. Page: `lessons/07-executors.md`.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use lesson_07_executors::{Executor, ProcessPerTask, ThreadPerTask, ThreadPool};
use process_pool::{Failed, Pool, Task, serve};
use serde::{Deserialize, Serialize};
use tasks::cpu::{formula, sum_below};
use tasks::grouped;
use tasks::measure::{pictures_on_stderr, short};

/// How long a task must be before another thread, or another process, pays.
///
/// 1. The rule: from what length on it pays, by what a task costs and by cores.
/// 2. Measured: the speed-up by length, through a pool of threads, a pool of
///    processes, a thread for each task, a process for each task.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/07-executors.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Workers of each pool
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = cli::count(1..=64))]
    workers: usize,
    /// Lengths of tasks, each twice the one before; 14 reach about 10 ms
    #[arg(long, default_value_t = 14, value_name = "N", value_parser = cli::number(1..=18))]
    lengths: u64,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    serve::<Sum>();
    let args: Args = cli::parse();
    the_rule();
    measured(&args)?;
    println!("\nThe page of this program: lessons/07-executors.md");
    Ok(())
}

/// The task that takes as long there as here: `task / cores + cost = task`.
fn pays_from(cost: Duration, cores: usize) -> Option<Duration> {
    (cores > 1).then(|| cost.mul_f64(cores as f64 / (cores - 1) as f64))
}

fn the_rule() {
    const CORES: [usize; 4] = [2, 3, 5, 101];
    println!("1. The rule. Handing a task over costs time; longer tasks than these pay:");
    print!("   a task costs");
    for cores in CORES {
        print!("{:>12}", format!("{cores} cores"));
    }
    for cost in [1, 10, 100, 1000].map(Duration::from_micros) {
        print!("\n   {:>12}", short(cost));
        for task in CORES.map(|cores| pays_from(cost, cores)) {
            print!("{:>12}", short(task.expect("more than one core")));
        }
    }
    println!();
}

/// The additions of the shortest task: about a microsecond.
const SHORTEST: u64 = 1 << 11;
/// The additions of all tasks of one length.
const BATCH: u64 = 1 << 22;

/// Who runs tasks.
struct Runner<'a> {
    name: &'a str,
    mark: char,
    executor: &'a dyn Executor<Sum>,
    /// In a batch; fewer where each costs more.
    most_tasks: u64,
}

fn measured(args: &Args) -> Result<()> {
    let &Args { workers, lengths, output } = args;
    let threads = ThreadPool::new(workers).context("cannot start the threads")?;
    let processes = Pool::new(workers).context("cannot start the processes")?;
    let runner = |name, mark, executor, most_tasks| Runner { name, mark, executor, most_tasks };
    let runners: [Runner<'_>; 4] = [
        runner("a pool of threads", 't', &threads, 256),
        runner("a pool of processes", 'p', &processes, 256),
        runner("a thread for each", 'T', &ThreadPerTask, 64),
        runner("a process for each", 'P', &ProcessPerTask, 8),
    ];
    let shortest = grouped(SHORTEST.into());
    println!("\n2. Sums of {shortest} numbers, of twice as many, ...: {lengths} lengths.");

    // The time of a task that does nothing is all cost.
    let mut costs = Vec::new();
    for runner in &runners {
        costs.push(runner.each(0, runner.most_tasks)?);
    }
    let progress = output.progress("lengths", usize::try_from(lengths)?);
    let mut tasks = 0;
    let mut curves = Vec::new();
    for below in (0..lengths).map(|doublings| SHORTEST << doublings) {
        let count = |most: u64| (BATCH / below).clamp(1, most).max(workers as u64);
        let here = best(count(256), |tasks| {
            (0..tasks).for_each(|_| check(below, sum_below(below)));
            Ok(())
        })?;
        let mut there = Vec::new();
        for runner in &runners {
            let count = count(runner.most_tasks);
            there.push(runner.each(below, count)?);
            tasks += count;
        }
        curves.push(Times { here, there });
        progress.step();
    }
    drop(progress);
    let tasks = grouped(tasks.into());
    println!("   {tasks} tasks, handed to four executors: every sum is right");
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(workers);
    output.measured(drawn(&runners, &costs, &curves, cores));
    Ok(())
}

impl Runner<'_> {
    /// What each of so many tasks takes, handed in all at once.
    fn each(&self, below: u64, tasks: u64) -> Result<Duration> {
        best(tasks, |tasks| {
            // Not `map`: there short tasks travel together, and this is about each.
            let futures: Vec<_> =
                (0..tasks).map(|_| self.executor.submit(Sum { below })).collect();
            for future in futures {
                check(below, future.result()?);
            }
            Ok(())
        })
    }
}

/// The best of five rounds: other programs on this machine only add.
fn best(tasks: u64, run: impl Fn(u64) -> Result<()>) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        run(tasks)?;
        best = best.min(begun.elapsed().div_f64(tasks as f64));
    }
    Ok(best)
}

fn check(below: u64, sum: u128) {
    assert_eq!(sum, formula::sum_below(below), "here or there, the sum is the same");
}

/// What each task of one length takes.
struct Times {
    here: Duration,
    there: Vec<Duration>,
}

impl Times {
    fn speed_up(&self, runner: usize) -> f64 {
        self.here.div_duration_f64(self.there[runner])
    }
}

fn drawn(runners: &[Runner], costs: &[Duration], curves: &[Times], cores: usize) -> String {
    let pictures = pictures_on_stderr();
    let mut text = String::from("   speed-up:");
    runners.iter().for_each(|runner| text += &format!("  {:>5}", runner.mark));
    text += &if pictures { format!("   {}", scale(cores)) } else { String::new() };
    for times in curves {
        text += &format!("\n   {:>9}", short(times.here));
        (0..runners.len()).for_each(|n| text += &format!("  {:>5.2}", times.speed_up(n)));
        if pictures {
            let marks = runners.iter().zip(0..).map(|(r, n)| (times.speed_up(n), r.mark));
            text += &format!("   {}", plot(cores, marks));
        }
    }
    text += &format!(
        "\n{:25}  {:>8}  {:>20}  {:>8}",
        "", "costs", "pays from, predicted", "measured"
    );
    for ((number, runner), &cost) in runners.iter().enumerate().zip(costs) {
        let time = |time: Option<Duration>| time.map_or("never".into(), short);
        // The first length from which on it is always faster.
        let losses = curves.iter().rposition(|times| times.speed_up(number) <= 1.0);
        let measured = curves.get(losses.map_or(0, |last| last + 1)).map(|times| times.here);
        text += &format!(
            "\n   {} {:<20}  {:>8}  {:>20}  {:>8}",
            runner.mark,
            runner.name,
            short(cost),
            time(pays_from(cost, cores)),
            time(measured),
        );
    }
    text
}

/// Columns of the plot: the logarithm of the speed-up, from 1/1024 to one for each core.
const COLUMNS: usize = 34;

fn column(cores: usize, speed_up: f64) -> usize {
    let (least, most) = (-10.0, (cores as f64).log2());
    let place = (speed_up.log2() - least) / (most - least) * (COLUMNS - 1) as f64;
    (0..COLUMNS - 1).find(|&column| place < column as f64 + 0.5).unwrap_or(COLUMNS - 1)
}

/// The marks in a line; a later one covers an earlier one. Right of `│` handing over pays.
fn plot(cores: usize, marks: impl Iterator<Item = (f64, char)>) -> String {
    let mut line = [' '; COLUMNS];
    line[column(cores, 1.0)] = '│';
    for (speed_up, mark) in marks {
        line[column(cores, speed_up)] = mark;
    }
    String::from_iter(line).trim_end().to_owned()
}

fn scale(cores: usize) -> String {
    let one = column(cores, 1.0);
    let gain = COLUMNS - 1 - one;
    let most = if gain > 0 { format!("{cores:>gain$}") } else { String::new() };
    format!("{:<one$}1{most}", "1/1024")
}

#[derive(Serialize, Deserialize)]
struct Sum {
    below: u64,
}

impl Task for Sum {
    type Output = u128;

    fn run(self) -> Result<u128, Failed> {
        Ok(sum_below(self.below))
    }
}
