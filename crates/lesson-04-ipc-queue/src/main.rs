//! Processes share nothing, so they must talk: through a queue, through a pipe, or in memory that
//! they share after all. Every message arrives once, and a dead process holds nobody up.
//!
//! Python: `multiprocessing.Queue`, `Pipe`, `Array`, `Manager().Queue()`.
//! Page: `lessons/04-ipc-queue.md`.

use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use clap::Parser;
use ipc::{SharedSlice, bounded, pipe};
use process_pool::{Error, Failed, Pool, Process, Task, serve};
use tasks::cpu::formula;
use tasks::grouped;
use tasks::measure::{Measurement, Stopwatch, median_and_spread, short};

mod jobs;
use jobs::{AddUp, Consume, Fill, Greet, GreetBack, Produce, Report};

/// A queue, a pipe and shared memory: three ways for processes to talk.
///
/// 1. A child process greets its parent through a queue.
/// 2. The same through a pipe, which goes both ways.
/// 3. One bounded queue, many producers and consumers: threads, then processes.
/// 4. A producer is killed: what it had sent arrives, and nobody hangs.
/// 5. Processes fill the parts of one shared memory.
/// 6. What it costs to hand numbers over, by queue, pipe and shared memory.
/// 7. A pool whose tasks answer through a queue each.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/04-ipc-queue.md
///
/// More programs:
///   cargo run -p lesson-04-ipc-queue --bin message_sizes
///   cargo run -p lesson-04-ipc-queue --bin break_even
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Messages that each producer sends
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = cli::number(1..=100_000))]
    messages: u64,
    /// Producers at the queue
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = cli::number(1..=64))]
    producers: u64,
    /// Consumers at the queue
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = cli::number(1..=64))]
    consumers: u64,
    /// Messages that the queue has room for
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = cli::count(1..=10_000))]
    capacity: usize,
    /// Processes that fill the shared memory, and workers of the pool
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(1..=64))]
    workers: usize,
    /// Numbers in the shared memory
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = cli::number(1..=10_000_000))]
    numbers: u64,
    /// Each task of the pool adds up the numbers below N
    #[arg(long, default_value_t = 100_000_000, value_name = "N", value_parser = cli::number(0..=10_000_000_000))]
    below: u64,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    serve::<((Greet, GreetBack), (Produce, Consume), (Fill, AddUp), Report)>();
    let args: Args = cli::parse();
    a_child_greets_through_a_queue()?;
    a_child_greets_through_a_pipe()?;
    every_message_arrives_once(&args)?;
    a_killed_producer_holds_nobody_up(&args)?;
    processes_fill_one_memory(&args)?;
    numbers_are_handed_over_in_three_ways(&args)?;
    every_task_has_a_queue_of_its_own(&args)?;
    println!("\nThe page of this lesson: lessons/04-ipc-queue.md");
    Ok(())
}

fn a_child_greets_through_a_queue() -> Result<()> {
    println!("1. A child process puts a greeting into a queue, and ends.");
    // Room for the one message: the child must not wait for a parent that waits for its end.
    let (sender, receiver) = bounded(1)?;
    Process::spawn(Greet { parent: sender })?.join()?;
    println!("   then the parent reads: {}", receiver.recv()?);
    Ok(())
}

fn a_child_greets_through_a_pipe() -> Result<()> {
    println!("\n2. The same through a pipe, which goes both ways.");
    let (mut ours, theirs) = pipe::<String, String>()?;
    let mut child = Process::spawn(GreetBack { parent: theirs })?;
    child.heard(ours.send(&"parent".into()))?;
    println!("   the parent says its name, and reads: {}", child.heard(ours.recv())?);
    child.join()?;
    Ok(())
}

fn every_message_arrives_once(args: &Args) -> Result<()> {
    println!(
        "\n3. One queue of capacity {}; producers: {}, consumers: {}.",
        args.capacity, args.producers, args.consumers
    );
    let sent = args.producers * args.messages;
    let sum = formula::sum_below(sent);
    println!("   sent:         {} messages, sum {}", grouped(sent.into()), grouped(sum));

    let watch = Stopwatch::start();
    let taken = in_threads(args)?;
    show_received(args, "in threads:", taken, watch.stop());

    let watch = Stopwatch::start();
    let (ended, taken) = in_processes(args, None)?;
    ended.into_iter().collect::<Result<(), Error>>()?;
    show_received(args, "in processes:", taken, watch.stop());
    Ok(())
}

/// What each consumer took.
type Taken = Vec<Vec<u64>>;

fn in_threads(args: &Args) -> Result<Taken> {
    let (producers, consumers) = jobs_at_one_queue(args, None)?;
    let producers: Vec<_> =
        producers.into_iter().map(|job| thread::spawn(|| job.run())).collect();
    let consumers: Vec<_> =
        consumers.into_iter().map(|job| thread::spawn(|| job.run())).collect();
    producers.into_iter().try_for_each(join)?;
    consumers.into_iter().map(join).collect()
}

/// The same jobs in processes. How each producer ended is a value: a dead one fails nobody else.
fn in_processes(
    args: &Args,
    killed_after: Option<u64>,
) -> Result<(Vec<Result<(), Error>>, Taken)> {
    let (producers, consumers) = jobs_at_one_queue(args, killed_after)?;
    let producers: Vec<_> =
        producers.into_iter().map(Process::spawn).collect::<Result<_, _>>()?;
    let consumers: Vec<_> =
        consumers.into_iter().map(Process::spawn).collect::<Result<_, _>>()?;
    let ended = producers.into_iter().map(Process::join).collect();
    let taken = consumers.into_iter().map(Process::join).collect::<Result<_, _>>()?;
    Ok((ended, taken))
}

/// Jobs that hold the ends of one queue. In a thread an end stays here, into a process it
/// travels. Producer n sends the n-th `messages` numbers; the first one may be killed.
fn jobs_at_one_queue(
    args: &Args,
    killed_after: Option<u64>,
) -> Result<(Vec<Produce>, Vec<Consume>)> {
    let (sender, receiver) = bounded(args.capacity)?;
    let producers = (0..args.producers).map(|n| Produce {
        numbers: n * args.messages..(n + 1) * args.messages,
        killed_after: killed_after.filter(|_| n == 0),
        queue: sender.clone(),
    });
    let consumers = (0..args.consumers).map(|_| Consume { queue: receiver.clone() });
    // The first two ends close here. A sender that stayed open would be one more producer: the
    // consumers would wait for its messages for ever.
    Ok((producers.collect(), consumers.collect()))
}

fn join<T>(thread: JoinHandle<Result<T, Failed>>) -> Result<T> {
    thread.join().expect("the job does not panic").map_err(anyhow::Error::from_boxed)
}

fn show_received(args: &Args, label: &str, taken: Taken, took: Measurement) {
    let received = sorted(&taken);
    // Number by number: a sum alone would take a second 5 for a lost 2 and a lost 3.
    assert!(received.iter().copied().eq(0..args.producers * args.messages));
    let (count, sum) = (received.len() as u128, received.iter().map(|&n| u128::from(n)).sum());
    println!("   {label:13} {} received, sum {}, each once", grouped(count), grouped(sum));
    let each = short(took.wall.div_f64(received.len() as f64));
    // Who takes how many is chance.
    let taken: Vec<_> = taken.iter().map(|numbers| numbers.len().to_string()).collect();
    let taken = taken.join(" + ");
    args.output.measured(format!("   {each} a message; the consumers took {taken}"));
}

fn sorted(taken: &Taken) -> Vec<u64> {
    let mut numbers = taken.concat();
    numbers.sort_unstable();
    numbers
}

fn a_killed_producer_holds_nobody_up(args: &Args) -> Result<()> {
    println!("\n4. The same processes. Producer 1 is killed half way, as `kill -9` does.");
    let half = args.messages / 2;
    let (ended, taken) = in_processes(args, Some(half))?;
    let received = sorted(&taken);
    let from_others = args.messages..args.producers * args.messages;
    assert!(received.iter().copied().eq((0..half).chain(from_others)));
    for (n, ended) in (0..).zip(ended) {
        let ended = match ended {
            Ok(()) => "done".into(),
            Err(error @ Error::Died(_)) => error.to_string(),
            Err(other) => return Err(other.into()),
        };
        let from_n = received.iter().filter(|&number| number / args.messages == n).count();
        println!("   producer {}: {ended}; received: {}", n + 1, grouped(from_n as u128));
    }
    println!("   the consumers saw the end of the queue: nobody waits for the dead");
    Ok(())
}

fn processes_fill_one_memory(args: &Args) -> Result<()> {
    let workers = args.workers;
    let count = usize::try_from(args.numbers).context("--numbers is beyond this machine")?;
    println!(
        "\n5. {workers} processes fill a part each of {} numbers.",
        grouped(count as u128)
    );
    let memory = SharedSlice::zeroed(count)?;
    let fill = |worker| {
        let places = count * worker / workers..count * (worker + 1) / workers;
        Process::spawn(Fill { first: places.start as u64, part: memory.part(places) })
    };
    let processes: Vec<_> = (0..workers).map(fill).collect::<Result<_, _>>()?;
    // The memory does not say when it is full: the end of a process does.
    processes.into_iter().try_for_each(Process::join)?;
    let sum = memory.iter().map(u128::from).sum();
    assert_eq!(sum, formula::sum_below(args.numbers), "no part is missing");
    println!("   no number is sent; the parent adds up what they wrote: {}", grouped(sum));
    Ok(())
}

fn numbers_are_handed_over_in_three_ways(args: &Args) -> Result<()> {
    println!("\n6. A process adds up what its parent hands over. Three ways:");
    let mut table =
        format!("   {:16}{:>10}{:>10}{:>10}", "round trip", "1 number", "1 000", "100 000");
    let (to_child, numbers) = bounded(1)?;
    let (sums, from_child) = bounded(1)?;
    let mut child = Process::spawn(AddUp::Queue(numbers, sums))?;
    let row = round_trips("queue", |numbers| {
        to_child.send(numbers)?;
        from_child.recv()
    });
    table += &child.heard(row)?;
    child.join()?;

    let (mut ours, theirs) = pipe()?;
    let mut child = Process::spawn(AddUp::Pipe(theirs))?;
    let row = round_trips("pipe", |numbers| {
        ours.send(numbers)?;
        ours.recv()
    });
    table += &child.heard(row)?;
    child.join()?;

    let memory = SharedSlice::zeroed(LARGEST)?;
    let (mut ours, theirs) = pipe()?;
    let mut child = Process::spawn(AddUp::Memory(memory.clone(), theirs))?;
    let row = round_trips("shared memory", |numbers| {
        memory.write(numbers);
        // The numbers do not travel; the word that they are there does.
        ours.send(&numbers.len())?;
        ours.recv()
    });
    table += &child.heard(row)?;
    child.join()?;
    println!("   all sums are right, by queue, by pipe and in shared memory");
    args.output.measured(table);
    Ok(())
}

/// How many numbers are handed over at once.
const SIZES: [usize; 3] = [1, 1_000, LARGEST];
const LARGEST: usize = 100_000;
/// Round trips of each size.
const ROUNDS: usize = 21;

/// A row of the table: there with the numbers, back with their sum.
fn round_trips(
    way: &str,
    mut add_up: impl FnMut(&Vec<u64>) -> Result<u64, ipc::Error>,
) -> Result<String, ipc::Error> {
    let mut row = format!("\n   {way:16}");
    let mut speed = 0.0;
    for size in SIZES {
        let numbers: Vec<u64> = (0..size as u64).collect();
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let watch = Stopwatch::start();
            let sum = add_up(&numbers)?;
            times.push(watch.stop().wall);
            assert_eq!(sum, numbers.iter().sum(), "the way changes the time, not the sum");
        }
        let (median, _) = median_and_spread(&mut times);
        row += &format!("{:>10}", short(median));
        speed = size_of_val(&*numbers) as f64 / median.as_secs_f64() / 1e6;
    }
    Ok(row + &format!("{speed:>8.0} MB/s"))
}

fn every_task_has_a_queue_of_its_own(args: &Args) -> Result<()> {
    let (workers, n) = (args.workers, grouped(args.below.into()));
    println!("\n7. A pool of {workers} adds up the numbers below {n}. A queue for each task.");
    let pool = Pool::new(workers).context("cannot start the pool")?;
    let mut queues = Vec::new();
    let mut futures = Vec::new();
    for _ in 0..workers {
        let (sender, receiver) = bounded(1)?;
        queues.push(receiver);
        futures.push(pool.submit(Report { below: args.below, parent: sender }));
    }
    pool.shutdown();
    // All have answered. Whoever was first, the order is that of the queues.
    for (number, (future, queue)) in (1..).zip(futures.into_iter().zip(queues)) {
        future.result()?;
        let sum = queue.recv()?;
        assert_eq!(sum, formula::sum_below(args.below));
        println!("   task {number}: {}", grouped(sum));
    }
    Ok(())
}
