//! Ten thousand waits need one thread, not ten thousand: a task that waits hands its thread to
//! the next one. It does so by itself or not at all: a task that blocks stops all the others.
//!
//! Python: `asyncio`. Page: `lessons/12-async.md`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::iter;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, ScopedJoinHandle, ThreadId};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tasks::grouped;
use tasks::measure::{Measurement, Stopwatch, Table, short};
use timeline::Gauge;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

/// Ten thousand waits on one thread, and what a blocking call does to them.
///
/// 1. Many waits: as tasks on one thread, as threads, one after another.
/// 2. A blocking call inside async, and in a thread that is there for it.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/12-async.md
///
/// More programs:
///   cargo run -p lesson-12-async --bin turns
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many waits there are
    #[arg(long, default_value = "10_000", value_name = "N", value_parser = cli::count(1..=10_000))]
    waits: usize,
    /// How long each takes
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(10)))]
    wait: Duration,
    /// How many threads wait at once, at most
    #[arg(long, default_value = "1000", value_name = "N", value_parser = cli::count(1..=10_000))]
    threads: usize,
    /// How long the blocking call takes
    #[arg(long, default_value = "200ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(10)))]
    blocking: Duration,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    many_waits(&args)?;
    a_blocking_call(&args)?;
    println!("\nThe page of this lesson: lessons/12-async.md");
    Ok(())
}

fn many_waits(args: &Args) -> Result<()> {
    let (n, wait) = (grouped(args.waits as u128), short(args.wait));
    println!("1. {n} waits of {wait}.");
    let mut table = Table::for_stderr();
    let a_task = each_a_task(args, &mut table)?;
    let a_thread = each_a_thread(args, &mut table)?;
    let wall = args.wait * u32::try_from(args.waits)?;
    println!("   one after another:    {n} x {wait} = {}, predicted, not run", short(wall));
    table.row("one after another, predicted", Measurement { wall, cpu: None, scaled: 1 });
    args.output.measured(table);
    if let (Some(task), Some(thread)) = (a_task, a_thread) {
        let [task, thread] = [task, thread].map(|bytes| grouped(bytes.into()));
        args.output.measured(format!("memory: {task} bytes a task, {thread} bytes a thread"));
    }
    Ok(())
}

/// Returns the memory of a task that waits.
fn each_a_task(args: &Args, table: &mut Table) -> Result<Option<u64>> {
    let watch = Stopwatch::start();
    let before = memory();
    let in_progress = Arc::new(Gauge::new());
    let all_are_here = Arc::new(Barrier::new(args.waits + 1));
    let (threads, growth) = on_one_thread()?.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..args.waits {
            tasks.spawn(one_wait(in_progress.clone(), all_are_here.clone(), args.wait));
        }
        all_are_here.wait().await;
        let growth = growth(before, args.waits);
        (tasks.join_all().await, growth)
    });
    let took = watch.stop();
    assert!(took.wall >= args.wait, "no wait is cut short");
    table.row("each a task", took);
    let done = threads.len();
    let threads = HashSet::<ThreadId>::from_iter(threads).len();
    let [done, peak, threads] = [done, in_progress.peak(), threads].map(|n| grouped(n as u128));
    println!("   each a task (tokio):  done: {done}; at once: {peak}; threads: {threads}");
    Ok(growth)
}

/// A runtime whose tasks all run on the thread that calls `block_on`.
fn on_one_thread() -> Result<Runtime> {
    Builder::new_current_thread().enable_time().build().context("cannot start the runtime")
}

/// Where it awaits, its thread goes on with other tasks.
async fn one_wait(
    in_progress: Arc<Gauge>,
    all_are_here: Arc<Barrier>,
    wait: Duration,
) -> ThreadId {
    let _inside = in_progress.enter();
    // Makes "at once" a fact. Without this line the first task could be done before a slow
    // machine begins the last one.
    all_are_here.wait().await;
    sleep(wait).await;
    thread::current().id()
}

/// Returns the memory of a thread that waits.
fn each_a_thread(args: &Args, table: &mut Table) -> Result<Option<u64>> {
    let watch = Stopwatch::start();
    let mut rounds: Vec<Round> = Vec::new();
    let mut left = args.waits;
    let progress = args.output.progress("rounds of threads", left.div_ceil(args.threads));
    while left > 0 {
        let round = threads_at_once(args, left)?;
        if let Some(error) = &round.refused {
            let n = round.threads.len();
            let limit = format!("no more than {} threads at once", grouped(n as u128));
            // Fewer are no failure, as long as the waits do not take minutes.
            ensure!(n * 10 >= left.min(args.threads), "{limit}: {error}");
            if rounds.is_empty() {
                progress.aside(|| args.output.measured(format!("{limit}: {error}")));
            }
        }
        left -= round.threads.len();
        rounds.push(round);
        progress.step();
    }
    drop(progress);
    let took = watch.stop();
    assert!(took.wall >= args.wait, "no wait is cut short");
    table.row("each a thread", took);
    let threads: Vec<_> = rounds.iter().flat_map(|round| &round.threads).collect();
    let done = threads.len();
    let threads = HashSet::<&ThreadId>::from_iter(threads).len();
    let [done, threads] = [done, threads].map(|n| grouped(n as u128));
    let most = grouped(args.threads as u128);
    println!(
        "   each a thread:        done: {done}; at once: {most} or less; threads: {threads}"
    );
    Ok(rounds[0].growth)
}

/// Waits that are over, each in its thread.
struct Round {
    threads: Vec<ThreadId>,
    /// Bytes a thread.
    growth: Option<u64>,
    /// Why there are no more of them.
    refused: Option<io::Error>,
}

/// As many threads as are allowed and as the system gives: the other waits come later.
fn threads_at_once(args: &Args, waits: usize) -> Result<Round> {
    let before = memory();
    let (arrive, arrivals) = mpsc::channel();
    let all_are_here = OnceLock::new();
    let one_wait = || {
        arrive.send(()).expect("this function listens");
        all_are_here.wait();
        thread::sleep(args.wait);
        thread::current().id()
    };
    thread::scope(|scope| {
        let (mut threads, mut refused) = (Vec::new(), None);
        while threads.len() < waits.min(args.threads) && refused.is_none() {
            let thread = thread::Builder::new().stack_size(STACK);
            match cli::room_for_a_thread().and_then(|()| thread.spawn_scoped(scope, one_wait)) {
                Ok(thread) => threads.push(thread),
                Err(error) if threads.is_empty() => {
                    return Err(error).context("cannot start a thread");
                }
                Err(error) => refused = Some(error),
            }
        }
        arrivals.iter().take(threads.len()).for_each(drop);
        let growth = growth(before, threads.len());
        all_are_here.set(()).expect("it is set once");
        let ended = |thread: ScopedJoinHandle<_>| thread.join().expect("a wait does not panic");
        Ok(Round { threads: threads.into_iter().map(ended).collect(), growth, refused })
    })
}

/// Enough to sleep on. The usual 2 MiB are addresses only, but some systems run out of those.
const STACK: usize = 64 * 1024;

/// What has been added since `before`, in bytes for each of the waits.
fn growth(before: Option<u64>, waits: usize) -> Option<u64> {
    Some(memory()?.saturating_sub(before?) / waits as u64)
}

/// What this process has in memory, in bytes; `None` where the system does not tell.
///
/// Source: proc(5), `smaps_rollup`. `statm` is cheaper, and late where there are many threads.
fn memory() -> Option<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let resident = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    resident.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn a_blocking_call(args: &Args) -> Result<()> {
    let (call, tick) = (short(args.blocking), short(TICK));
    println!("\n2. A call that blocks for {call}, beside a task that ticks every {tick}.");
    let (ticks, stopped) = on_one_thread()?.block_on(in_a_task(args.blocking));
    assert!(stopped >= args.blocking, "one poll is before the call, the next one behind it");
    println!("   in a task:          ticks meanwhile: {ticks}; not polled for {call} or more");
    let (ticks, moving) = on_one_thread()?.block_on(in_a_thread_for_it(args.blocking))?;
    println!("   in spawn_blocking:  ticks meanwhile: {ticks}; it does not end before");
    let [stopped, moving] = [stopped, moving].map(short);
    args.output.measured(format!("longest gap between polls: {stopped}, then {moving}"));
    Ok(())
}

const TICK: Duration = Duration::from_millis(10);
/// The call in a thread of its own ends after this many ticks, or later.
const TICKS: usize = 5;

/// How many ticks come during the call, and how long the ticker is not polled.
async fn in_a_task(call: Duration) -> (usize, Duration) {
    let (ticks, mut gaps) = unbounded_channel();
    tokio::spawn(ticker(ticks));
    gaps.recv().await.expect(TICKS_ON);
    while gaps.try_recv().is_ok() {}
    // Nothing is awaited here: the thread of all tasks sleeps.
    thread::sleep(call);
    let meanwhile = gaps.len();
    (meanwhile, gaps.recv().await.expect(TICKS_ON))
}

/// How many ticks the call waits for, and the longest time for which the ticker is not polled.
async fn in_a_thread_for_it(call: Duration) -> Result<(usize, Duration)> {
    let (ticks, mut gaps) = unbounded_channel();
    tokio::spawn(ticker(ticks));
    let call = move || {
        while gaps.try_recv().is_ok() {}
        thread::sleep(call);
        // Makes the ticks a fact. A task that waited so would wait for its own thread: tokio
        // panics there, and a lock or a channel of `std` waits for ever.
        let forced: Vec<_> = iter::from_fn(|| gaps.blocking_recv()).take(TICKS).collect();
        let ticks = forced.len();
        (ticks, forced.into_iter().chain(iter::from_fn(|| gaps.try_recv().ok())).max())
    };
    let (ticks, longest) = spawn_blocking(call).await?;
    Ok((ticks, longest.expect(TICKS_ON)))
}

const TICKS_ON: &str = "it ticks as long as somebody listens";

/// Says at each tick how long it was not polled.
async fn ticker(gaps: UnboundedSender<Duration>) {
    let mut polled = Instant::now();
    while gaps.send(polled.elapsed()).is_ok() {
        polled = Instant::now();
        sleep(TICK).await;
    }
}
