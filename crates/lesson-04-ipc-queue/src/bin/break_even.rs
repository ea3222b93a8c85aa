//! How long a task must be before a pool of processes pays: predicted from what a task costs
//! that does nothing, and measured.
//!
//! Python: `ProcessPoolExecutor.submit`. Page: `lessons/04-ipc-queue-in-depth.md`.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use process_pool::{Error, Failed, Pool, Task, serve};
use serde::{Deserialize, Serialize};
use tasks::cpu::{formula, sum_below};
use tasks::grouped;
use tasks::measure::{pictures_on_stderr, short};

/// How long a task must be before a pool of processes pays.
///
/// 1. The rule, for a task that costs --cost: the speed-up by its length.
/// 2. The break-even by cost and by cores.
/// 3. The same with a real pool: what every sum came to on stdout; on stderr the
///    speed-up, beside what the rule predicts from tasks that do nothing.
///
/// The page: lessons/04-ipc-queue-in-depth.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// What a task costs in section 1, beside its computation
    #[arg(long, default_value = "20us", value_name = "TIME", value_parser = cli::duration(Duration::from_nanos(100)..=Duration::from_secs(1)))]
    cost: Duration,
    /// Processes in the pool, each with a core of its own in section 1
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = cli::count(1..=16))]
    workers: usize,
    /// Lengths of tasks in section 3, each twice the one before
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = cli::number(1..=20))]
    lengths: u64,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    serve::<Sum>();
    let args: Args = cli::parse();
    the_rule(&args);
    by_cost_and_cores();
    with_a_real_pool(&args)?;
    println!("\nThe page of this program: lessons/04-ipc-queue-in-depth.md");
    Ok(())
}

/// What each of many tasks takes in a pool. The cores share the computation; what it costs to
/// hand a task over is paid one after another, by the one process that hands the tasks out.
fn in_a_pool(task: Duration, cost: Duration, cores: usize) -> Duration {
    task.div_f64(cores as f64) + cost
}

/// The task that takes as long in a pool as here: `task / cores + cost = task`.
fn break_even(cost: Duration, cores: usize) -> Option<Duration> {
    (cores > 1).then(|| cost.mul_f64(cores as f64 / (cores - 1) as f64))
}

fn the_rule(args: &Args) {
    let (cost, cores) = (args.cost, args.workers);
    println!("1. Predicted. Workers: {cores}, a core for each; a task costs {}.", short(cost));
    println!("      a task  in a pool  speed-up  {}", scale(cores));
    for costs in [0.0625, 0.25, 1.0, 2.0, 4.0, 16.0, 64.0] {
        let task = cost.mul_f64(costs);
        let pooled = in_a_pool(task, cost, cores);
        let speed_up = task.div_duration_f64(pooled);
        let curve = plot(cores, &[(speed_up, '●')]);
        println!("   {:>9}  {:>9}  {speed_up:>8.2}  {curve}", short(task), short(pooled));
    }
    println!("   {}", verdict(break_even(cost, cores)));
}

fn verdict(break_even: Option<Duration>) -> String {
    match break_even {
        Some(task) => format!("a pool pays for tasks longer than {}", short(task)),
        None => "a pool never pays".into(),
    }
}

fn by_cost_and_cores() {
    const CORES: [usize; 4] = [2, 4, 8, 64];
    println!("\n2. From how long on it pays: a matter of the cost, hardly of the cores.");
    print!("   a task costs");
    for cores in CORES {
        print!("{:>12}", format!("{cores} cores"));
    }
    for cost in [1, 10, 100].map(Duration::from_micros) {
        print!("\n   {:>12}", short(cost));
        for task in CORES.map(|cores| break_even(cost, cores)) {
            print!("{:>12}", short(task.expect("more than one core")));
        }
    }
    println!();
}

/// The additions of the shortest task: about a microsecond.
const SHORTEST: u64 = 1 << 11;
/// The additions of all tasks of one length.
const BATCH: u64 = 1 << 24;
const MOST_TASKS: u64 = 512;

fn with_a_real_pool(args: &Args) -> Result<()> {
    let shortest = grouped(SHORTEST.into());
    println!(
        "\n3. Sums of {shortest} numbers, of twice as many, ...: {} lengths.",
        args.lengths
    );
    let pool = Pool::new(args.workers).context("cannot start the pool")?;
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(args.workers);
    // The time of a task that does nothing is all cost.
    let nothing = Batch { below: 0, tasks: MOST_TASKS }.measure(&pool)?;

    let progress = args.output.progress("lengths", usize::try_from(args.lengths)?);
    let mut tasks = 0;
    let mut curve = Vec::new();
    for doublings in 0..args.lengths {
        let below = SHORTEST << doublings;
        let batch =
            Batch { below, tasks: (BATCH / below).clamp(args.workers as u64, MOST_TASKS) };
        curve.push(batch.measure(&pool)?);
        tasks += batch.tasks;
        progress.step();
    }
    drop(progress);
    pool.shutdown();
    let tasks = grouped(tasks.into());
    println!("   {tasks} tasks, computed here and in the pool: every sum is right");
    args.output.measured(drawn(&curve, &nothing, cores));
    Ok(())
}

fn drawn(curve: &[Times], nothing: &Times, cores: usize) -> String {
    let pictures = pictures_on_stderr();
    let head = if pictures { scale(cores) } else { "predicted".into() };
    let mut text = format!("      a task  one by one  all at once  speed-up  {head}");
    for Times { here, one_by_one, all_at_once } in curve {
        let measured = here.div_duration_f64(*all_at_once);
        let predicted = here.div_duration_f64(in_a_pool(*here, nothing.all_at_once, cores));
        let curve = match pictures {
            true => plot(cores, &[(predicted, '○'), (measured, '●')]),
            false => format!("{predicted:>9.2}"),
        };
        let [here, one_by_one, all_at_once] =
            [here, one_by_one, all_at_once].map(|&t| short(t));
        text += &format!(
            "\n   {here:>9}  {one_by_one:>10}  {all_at_once:>11}  {measured:>8.2}  {curve}"
        );
    }
    let pays = match curve.iter().find(|times| times.here > times.all_at_once) {
        Some(first) => format!("from tasks of {} on", short(first.here)),
        None => "for none of these".into(),
    };
    // The marks of the picture, where there is one.
    let [dot, circle] = if pictures { ["● ", "○ "] } else { [""; 2] };
    text + &format!(
        "\n   one by one, a task costs a round trip, {}: a pool never pays\
         \n   all at once, it costs {}\
         \n   {circle}predicted from that, cores: {cores}: {}\
         \n   {dot}measured: it pays {pays}",
        short(nothing.one_by_one),
        short(nothing.all_at_once),
        verdict(break_even(nothing.all_at_once, cores)),
    )
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

/// Equal tasks.
struct Batch {
    below: u64,
    tasks: u64,
}

/// What each task of a batch takes.
struct Times {
    here: Duration,
    one_by_one: Duration,
    all_at_once: Duration,
}

impl Batch {
    /// The best of five rounds, a way at a time: other programs on this machine only add.
    fn measure(&self, pool: &Pool<Sum>) -> Result<Times> {
        let mut best = self.round(pool)?;
        for _ in 1..5 {
            let round = self.round(pool)?;
            best.here = best.here.min(round.here);
            best.one_by_one = best.one_by_one.min(round.one_by_one);
            best.all_at_once = best.all_at_once.min(round.all_at_once);
        }
        Ok(best)
    }

    fn round(&self, pool: &Pool<Sum>) -> Result<Times> {
        let here = self
            .each(|| (0..self.tasks).try_for_each(|_| self.check(Ok(sum_below(self.below)))))?;
        // Never two tasks under way: one worker computes, the other waits.
        let one_by_one = self.each(|| {
            (0..self.tasks).try_for_each(|_| self.check(pool.submit(self.task()).result()))
        })?;
        let all_at_once = self.each(|| {
            let futures: Vec<_> = (0..self.tasks).map(|_| pool.submit(self.task())).collect();
            futures.into_iter().try_for_each(|future| self.check(future.result()))
        })?;
        Ok(Times { here, one_by_one, all_at_once })
    }

    fn each(&self, run: impl FnOnce() -> Result<(), Error>) -> Result<Duration> {
        let begun = Instant::now();
        run()?;
        Ok(begun.elapsed().div_f64(self.tasks as f64))
    }

    fn task(&self) -> Sum {
        Sum { below: self.below }
    }

    fn check(&self, sum: Result<u128, Error>) -> Result<(), Error> {
        assert_eq!(sum?, formula::sum_below(self.below), "here or there, the sum is the same");
        Ok(())
    }
}

/// Columns of the plot: the logarithm of the speed-up, from 1/32 to one for each core.
const COLUMNS: usize = 29;

fn column(cores: usize, speed_up: f64) -> usize {
    let (least, most) = (-5.0, (cores as f64).log2());
    let end =
        |column: usize| least + (column as f64 + 0.5) * (most - least) / (COLUMNS - 1) as f64;
    (0..COLUMNS - 1).find(|&column| speed_up.log2() < end(column)).unwrap_or(COLUMNS - 1)
}

/// The marks in a line; a later one covers an earlier one. Right of `│` the pool pays.
fn plot(cores: usize, marks: &[(f64, char)]) -> String {
    let mut line = [' '; COLUMNS];
    line[column(cores, 1.0)] = '│';
    for &(speed_up, mark) in marks {
        line[column(cores, speed_up)] = mark;
    }
    String::from_iter(line).trim_end().to_owned()
}

fn scale(cores: usize) -> String {
    let one = column(cores, 1.0);
    let gain = COLUMNS - 1 - one;
    let most = if gain > 0 { format!("{cores:>gain$}") } else { String::new() };
    format!("{:<one$}1{most}", "1/32")
}
