//! Threads overlap their waits on any number of cores, and compute in parallel where there are
//! several. They share memory as it is: a scope proves that nothing outlives what it borrows.
//!
//! Python: `threading.Thread`. Page: `lessons/01-threads.md`.

use std::hint::black_box;
use std::ops::Range;
use std::sync::{Barrier, mpsc};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use rayon::prelude::*;
use tasks::cpu::{formula, sum, sum_below};
use tasks::grouped;
use tasks::measure::{Stopwatch, Table, short};
use timeline::Gauge;

/// Waits overlap, threads run in parallel, and chunks feed every core.
///
/// 1. Two threads wait side by side: in progress together, on any number of cores.
/// 2. Two sums: by turns in one thread, then in two threads, which run in parallel.
/// 3. rayon cuts one sum into chunks for every core.
/// 4. Two threads write and read one vector: no `Arc`, no lock, no copy.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/01-threads.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How long each of the two threads waits
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(60)))]
    wait: Duration,
    /// Each sum is that of the numbers below N
    #[arg(long, default_value_t = 10_000_000, value_name = "N", value_parser = cli::number(0..=10_000_000_000))]
    below: u64,
    /// How often each sum is added up; once is too quick to measure
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = cli::count(1..=1000))]
    rounds: usize,
    /// Numbers in a chunk of a sum, and in a turn
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = cli::number(1..=10_000_000_000))]
    chunk: u64,
    /// Numbers in the vector that two threads share
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = cli::number(0..=10_000_000))]
    shared: u64,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    let mut table = Table::for_stderr();
    two_threads_wait(&args);
    two_threads_compute(&args, &mut table);
    rayon_cuts_one_sum(&args, &mut table);
    args.output.measured(format_args!("\nSections 2 and 3, measured:\n{table}"));
    args.output.measured("CPU / wall: how many cores were at work at one instant, on average");
    two_threads_share_memory(&args)?;
    println!("\nThe page of this lesson: lessons/01-threads.md");
    Ok(())
}

fn two_threads_wait(args: &Args) {
    println!("1. Two threads, A and B. Each starts, waits and finishes.");
    let watch = Stopwatch::start();
    let (say, heard) = mpsc::channel();
    let both_have_started = Barrier::new(2);
    let in_progress = Gauge::new();
    let nap = |name: &str| {
        let _inside = in_progress.enter();
        say.send(format!("{name}: starting")).expect("main listens");
        // Without this line a slow machine could finish A before it starts B.
        both_have_started.wait();
        thread::sleep(args.wait);
        say.send(format!("{name}: finished")).expect("main listens");
    };
    thread::scope(|scope| {
        scope.spawn(|| nap("A"));
        scope.spawn(|| nap("B"));
        for _ in ["starting", "finished"] {
            let mut lines = [(); 2].map(|()| heard.recv().expect("both threads say it"));
            // Which of the two is first is chance, and no fact.
            lines.sort();
            lines.iter().for_each(|line| println!("   {line}"));
        }
    });
    println!("   all completed, and both had started before either finished");
    println!("   in progress at once: {}, and one core is enough for that", in_progress.peak());
    let (wait, took) = (short(args.wait), watch.stop());
    let cpu = took.cpu.map_or("-".into(), short);
    let took = short(took.wall);
    args.output.measured(format!("   two waits of {wait} took {took}, processor time {cpu}"));
}

fn two_threads_compute(args: &Args, table: &mut Table) {
    let (n, rounds) = (grouped(args.below.into()), args.rounds);
    println!("\n2. A and B each add up the numbers below {n}. Rounds: {rounds}.");
    let one_sum = || repeat(rounds, || sum_below(args.below));
    let watch = Stopwatch::start();
    let expected = [one_sum(), one_sum()];
    table.row("one after another", watch.stop());

    let watch = Stopwatch::start();
    let by_turns = repeat(rounds, || two_sums_by_turns(args));
    table.row("by turns, in one thread", watch.stop());

    let watch = Stopwatch::start();
    // Both are started before the first is joined. Joined at once, they would take turns.
    let in_threads =
        thread::scope(|scope| [scope.spawn(one_sum), scope.spawn(one_sum)].map(answer));
    table.row("in two threads", watch.stop());

    assert_eq!(expected, [formula::sum_below(args.below); 2]);
    assert_eq!([by_turns, in_threads], [expected; 2], "the model changes the time only");
    let [a, b] = in_threads.map(grouped);
    println!("   in two threads: A has {a}, B has {b}");
    let turn = grouped(args.chunk.into());
    if chunks(args) < 2 {
        println!(
            "   in one thread: the same, with no turns; one of {turn} numbers is a whole sum"
        );
        return;
    }
    println!("   by turns in one thread, {turn} numbers a turn: the same");
    println!("   Turns are concurrent; threads can be parallel too: two at one instant.");
}

/// Concurrency without parallelism: both sums are in progress, and one of them moves.
fn two_sums_by_turns(args: &Args) -> [u128; 2] {
    let mut sums = [0; 2];
    for number in 0..chunks(args) {
        for one in &mut sums {
            *one += sum(chunk(args, number));
        }
    }
    sums
}

fn rayon_cuts_one_sum(args: &Args, table: &mut Table) {
    let size = grouped(args.chunk.into());
    println!("\n3. rayon deals one sum out to all cores, in chunks of {size} numbers.");
    let watch = Stopwatch::start();
    // Two sums again, to be compared with the rows above.
    let (count, total) = repeat(2 * args.rounds, || {
        (0..chunks(args))
            .into_par_iter()
            .map(|number| (1_u64, sum(chunk(args, number))))
            .reduce(|| (0, 0), |(n, a), (m, b)| (n + m, a + b))
    });
    table.row("in chunks (rayon)", watch.stop());

    assert_eq!(total, formula::sum_below(args.below));
    println!("   chunks: {}, together {}", grouped(count.into()), grouped(total));
}

fn two_threads_share_memory(args: &Args) -> Result<()> {
    let n = grouped(args.shared.into());
    println!("\n4. A and B share one vector of {n} numbers: no Arc, no lock, no copy.");
    let mut numbers = vec![0; args.shared.try_into()?];
    let middle = args.shared / 2;
    // Two halves are two borrows: neither thread can reach the other's numbers.
    let (left, right) = numbers.split_at_mut(middle.try_into()?);
    thread::scope(|scope| {
        scope.spawn(|| fill(left, 0));
        scope.spawn(|| fill(right, middle));
    });
    println!("   A wrote one half, B the other");
    let watch = Stopwatch::start();
    // The writers are gone, or the compiler would refuse these readers.
    let read = || (numbers.as_ptr().addr(), sum(numbers.iter().copied()));
    let answers = thread::scope(|scope| [scope.spawn(read), scope.spawn(read)].map(answer));
    let sharing = short(watch.stop().wall);
    for (name, (_, sum)) in ["A", "B"].iter().zip(answers) {
        assert_eq!(sum, formula::sum_below(args.shared));
        println!("   {name} reads it all: {}", grouped(sum));
    }
    let [a, b] = answers.map(|(address, _)| address);
    assert_eq!(a, b, "a copy would be elsewhere");
    println!("   both at the same address");
    let watch = Stopwatch::start();
    black_box([numbers.clone(), numbers.clone()]);
    let copying = short(watch.stop().wall);
    args.output.measured(format!("   reading took {sharing}; two copies would add {copying}"));
    Ok(())
}

/// The last of several equal answers.
fn repeat<T>(times: usize, work: impl Fn() -> T) -> T {
    for _ in 1..times {
        work();
    }
    work()
}

fn answer<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().expect("a sum does not panic")
}

fn fill(part: &mut [u64], from: u64) {
    for (number, i) in part.iter_mut().zip(from..) {
        *number = i;
    }
}

fn chunks(args: &Args) -> u64 {
    args.below.div_ceil(args.chunk)
}

/// The numbers of a chunk; the last one may be shorter.
fn chunk(args: &Args, number: u64) -> Range<u64> {
    let start = number * args.chunk;
    start..args.below.min(start + args.chunk)
}
