//! Who moves when: tasks that give way by themselves, threads that are made to, and cores, which
//! decide how many move at one instant.
//!
//! Python: `await asyncio.sleep(0)` beside `threading.Thread`. Page: `lessons/12-async.md`.

mod executor;

use std::cell::{Cell, RefCell};
use std::iter;
use std::thread;
use std::time::Duration;

use clap::Parser;
use simulator::{CheckPoints, Error, Machine, Process, Run, Scenario, Settings, Step, Thread};
use tasks::cpu::{formula, sum_of_squares};
use tasks::measure::{Stopwatch, Table};
use timeline::State;

/// Who moves when: cooperative, preemptive, parallel.
///
/// 1. Cooperative: a task runs until it gives way.
/// 2. Preemptive: a thread is made to give way.
/// 3. Concurrency is not parallelism: one core, and two.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/12-async.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many steps each task makes, and how many ms each thread computes
    #[arg(long, default_value = "20", value_name = "N", value_parser = cli::count(1..=30))]
    steps: usize,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    cooperative(&args);
    preemptive(&args)?;
    one_core_and_two(&args)?;
    println!("\nThe page of this program: lessons/12-async.md");
    Ok(())
}

fn cooperative(args: &Args) {
    println!(
        "1. Cooperative: the steps of tasks a and b, {} of each, on a runtime of ours.",
        args.steps
    );
    println!("   neither yields:  {}", order(args.steps, [false, false]));
    println!("   only a yields:   {}", order(args.steps, [true, false]));
    println!("   both yield:      {}", order(args.steps, [true, true]));
}

/// The order of the steps of two tasks, which yield after each step or never.
fn order(steps: usize, yields: [bool; 2]) -> String {
    let order = RefCell::new(String::new());
    let task = async |name, yields| {
        for _ in 0..steps {
            order.borrow_mut().push(name);
            if yields {
                executor::yield_now().await;
            }
        }
    };
    let [a, b] = yields;
    executor::run(vec![Box::pin(task('a', a)), Box::pin(task('b', b))]);
    order.into_inner()
}

fn preemptive(args: &Args) -> Result<(), Error> {
    println!(
        "\n2. Preemptive: threads a and b under one GIL. Virtual clock; a letter is 1 ms."
    );
    let compute = vec![Step::Compute(Duration::from_millis(args.steps as u64))];
    let asked = Settings::default();
    let never_asked = Settings { check_points: CheckPoints::Never, ..asked };
    for (how, lock) in [("never asked:", never_asked), ("asked:", asked)] {
        let run = on_the_virtual_clock(&[compute.clone(), compute.clone()], Some(lock), 2)?;
        println!("   {how:<15}  {}", who_ran(&run));
    }
    Ok(())
}

/// Who had the lock in the middle of each millisecond.
fn who_ran(run: &Run) -> String {
    let threads = run.timeline().threads();
    let middles = (0..).map(|ms| Duration::from_micros(ms * 1000 + 500));
    let ran = |at: Duration| {
        let mut spans =
            threads.iter().flat_map(|thread| iter::repeat(thread).zip(&thread.spans));
        let had = spans
            .find(|(_, span)| span.state == State::Run && (span.start..span.end).contains(&at));
        had.map_or("-", |(thread, _)| &thread.name)
    };
    middles.take_while(|&at| at < run.end).map(ran).collect()
}

fn one_core_and_two(args: &Args) -> Result<(), Error> {
    println!("\n3. Concurrency is not parallelism. Virtual clock; both are done after, in ms:");
    println!("{:38}1 core   2 cores", "");
    let time = Duration::from_millis(100);
    let (wait, work) = (Step::Io(time), Step::Compute(time));
    for (what, scripts) in [
        ("two threads wait for 100 ms", &[vec![wait.clone()], vec![wait]][..]),
        ("two threads compute for 100 ms", &[vec![work.clone()], vec![work.clone()]]),
        ("two tasks of one thread compute", &[vec![work.clone(), work]]),
    ] {
        let [one, two] = [1, 2].map(|cores| on_the_virtual_clock(scripts, None, cores));
        println!("   {what:<34}{:>7}{:>10}", one?.end.as_millis(), two?.end.as_millis());
    }
    let mut table = Table::for_stderr();
    let watch = Stopwatch::start();
    let in_tasks = two_sums_in_tasks();
    table.row("two tasks of one thread", watch.stop());
    let watch = Stopwatch::start();
    let in_threads = thread::scope(|scope| {
        let sum = || sum_of_squares(0..SQUARES);
        [scope.spawn(sum), scope.spawn(sum)].map(|sum| sum.join().expect("sums do not panic"))
    });
    table.row("two threads", watch.stop());
    let expected = formula::sum_of_squares_below(SQUARES);
    assert_eq!([in_tasks, in_threads], [[expected; 2]; 2], "the model changes the time only");
    args.output.measured(table);
    Ok(())
}

/// Both are in progress, and one of them moves.
fn two_sums_in_tasks() -> [u128; 2] {
    let sums = [Cell::new(0), Cell::new(0)];
    let task = async |sum: &Cell<u128>| {
        for start in (0..SQUARES).step_by(CHUNK) {
            let end = SQUARES.min(start + CHUNK as u64);
            sum.set(sum.get() + sum_of_squares(start..end));
            executor::yield_now().await;
        }
    };
    let [a, b] = &sums;
    executor::run(vec![Box::pin(task(a)), Box::pin(task(b))]);
    sums.map(Cell::into_inner)
}

const SQUARES: u64 = 50_000_000;
const CHUNK: usize = 1_000_000;

/// One process with a thread for each script, a and b. Who wakes up can run at once.
fn on_the_virtual_clock(
    scripts: &[Vec<Step>],
    lock: Option<Settings>,
    cores: usize,
) -> Result<Run, Error> {
    let named = ["a", "b"].into_iter().zip(scripts);
    let threads = named.map(|(name, script)| Thread::new(name, script.as_slice())).collect();
    let processes = vec![Process { name: "process".into(), lock, threads }];
    let machine = Machine { cores, wake_up: Duration::ZERO, ..Machine::default() };
    Scenario { machine, processes, ..Scenario::default() }.run()
}
