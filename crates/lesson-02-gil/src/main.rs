//! One lock, many threads. Threads that compute take turns under it and gain nothing; a wait, or
//! native code that gives the lock up, keeps nobody from running.
//!
//! Python: `threading.Thread` and the global interpreter lock. Page: `lessons/02-gil.md`.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use gil::{Gil, Settings, Token};
use lesson_02_gil::{asked_after, create, ms, scenario};
use simulator::{Step, Thread};
use tasks::cpu::{formula, sum_of_squares};
use tasks::fetch::{FetchError, TimeOuts, check_url, get};
use tasks::grouped;
use tasks::measure::{Measurement, Stopwatch, Table, pictures_on_stderr, short};
use tasks::web::{Server, TEXT};
use timeline::{Lane, State, Timeline};

/// One lock, many threads: when it costs everything, and when nothing.
///
/// 1. A task that computes, twice in a row.
/// 2. The same in two threads under one lock: they take turns.
/// 3. The same in two threads with a lock each: they run side by side.
/// 4. The same as native code that gives the lock up: side by side too.
/// 5. A task that computes beside one that waits for a web page.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/02-gil.md
///
/// More programs:
///   cargo run -p lesson-02-gil --bin convoy
///   cargo run -p lesson-02-gil --bin fairness
///   cargo run -p lesson-02-gil --bin native
///   cargo run -p lesson-02-gil --bin counter
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// The CPU task adds up the squares below N
    #[arg(long, default_value_t = 20_000_000, value_name = "N", value_parser = cli::number(0..=10_000_000_000))]
    squares: u64,
    /// ... in so many rounds: one is too quick to measure
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = cli::count(1..=1000))]
    rounds: usize,
    /// How long a thread waits for the lock before it asks for it
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::from_micros(1)..=Duration::from_secs(10)))]
    interval: Duration,
    /// How long the local web server keeps the I/O task waiting
    #[arg(long, default_value = "50ms", value_name = "TIME", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(5)))]
    delay: Duration,
    /// The page that the I/O task gets instead of the local one
    #[arg(long, value_name = "URL", conflicts_with = "delay", value_parser = url)]
    url: Option<String>,
    /// Write the turns of section 2 for https://ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    output: cli::Output,
}

fn url(text: &str) -> Result<String, String> {
    check_url(text).map(|()| text.into())
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    // The file first: one that cannot be made is known at once.
    let trace = args.trace.as_deref().map(|path| create("trace", path)).transpose()?;
    let mut table = Table::for_stderr();
    let time = twice_in_a_row(&args, &mut table);
    two_threads_under_one_gil(&args, &mut table, trace)?;
    virtual_row(&mut table, shared(&args), [Step::Compute(time), Step::Compute(time)])?;
    two_threads_with_a_gil_each(&args, &mut table);
    // A lock that nobody else wants is like none.
    virtual_row(&mut table, None, [Step::Compute(time), Step::Compute(time)])?;
    two_threads_in_native_code(&args, &mut table);
    let native = || Step::Native { time, gives_lock: true };
    virtual_row(&mut table, shared(&args), [native(), native()])?;
    args.output.measured(format_args!("Sections 1 to 4, measured:\n{table}"));
    one_computes_and_one_waits(&args)?;
    println!("\nThe page of this lesson: lessons/02-gil.md");
    Ok(())
}

/// Returns how long one task takes.
fn twice_in_a_row(args: &Args, table: &mut Table) -> Duration {
    let (n, rounds) = (grouped(args.squares.into()), args.rounds);
    println!("1. The CPU task, twice in a row: the sum of the squares below {n}, {rounds} x.");
    let gil = new_gil(args);
    let watch = Stopwatch::start();
    let mut token = gil.acquire();
    let sums = [(); 2].map(|()| cpu_task(args, &mut token));
    let both = watch.stop();
    table.row("twice in a row", both);
    println!("   first: {}  second: {}", grouped(sums[0]), grouped(sums[1]));
    both.wall / 2
}

fn two_threads_under_one_gil(
    args: &Args,
    table: &mut Table,
    trace: Option<File>,
) -> Result<()> {
    println!("\n2. The same in two threads, A and B, under one GIL.");
    let gil = new_gil(args);
    let task = |token: &mut Token| cpu_task(args, token);
    let timeline = in_two_threads([&gil, &gil], task, "two threads, one GIL", table);
    println!("   at most {} had the lock at once", timeline.peak(State::Run));
    let end = simulated(shared(args), [Step::Compute(TASK), Step::Compute(TASK)])?;
    let (task, end) = (short(TASK), ms(end));
    println!("   virtual clock, not this code: two tasks of {task} end after {end} ms");
    args.output.measured(format!("   the lock changed hands {} times", gil.switches()));
    show(args, &timeline);
    if let Some(file) = trace {
        timeline.write_perfetto(file).context("cannot write the trace")?;
    }
    Ok(())
}

fn two_threads_with_a_gil_each(args: &Args, table: &mut Table) {
    println!("\n3. The same without a common lock: A and B have a GIL each, as processes do.");
    // Without any lock the loop would lose its check points and be another, quicker one. With a
    // lock each the threads run the same code as before: only who waits for whom differs.
    let gils = [new_gil(args), new_gil(args)];
    let both_run = Barrier::new(2);
    let task = |token: &mut Token| {
        // Makes "2 at once" a fact. Under one GIL this line blocks for ever: who waits here has
        // the lock that the other one needs to get here.
        both_run.wait();
        cpu_task(args, token)
    };
    let timeline = in_two_threads(gils.each_ref(), task, "two threads, a GIL each", table);
    println!("   {} had a lock at once", timeline.peak(State::Run));
}

fn two_threads_in_native_code(args: &Args, table: &mut Table) {
    println!("\n4. One GIL again, but the task is native code that gives the lock up.");
    let gil = new_gil(args);
    let both_in_native_code = Barrier::new(2);
    let task = |token: &mut Token| {
        token.allow_threads_as(State::Native, || {
            both_in_native_code.wait();
            native_task(args)
        })
    };
    let timeline = in_two_threads([&gil, &gil], task, "two threads, native code", table);
    let [locked, native] = [State::Run, State::Native].map(|state| timeline.peak(state));
    println!("   at most {locked} had the lock at once, {native} were in native code at once");
}

fn one_computes_and_one_waits(args: &Args) -> Result<()> {
    println!("\n5. The CPU task and an I/O task, which gets a web page, under one GIL.");
    let (_server, url) = match &args.url {
        Some(url) => (None, url.clone()),
        None => {
            let server = Server::start(args.delay).context("cannot start the web server")?;
            let url = server.url();
            (Some(server), url)
        }
    };
    let gil = new_gil(args);
    let mut table = Table::for_stderr();
    let (watch, start) = (Stopwatch::start(), Instant::now());
    let mut token = gil.acquire();
    cpu_task(args, &mut token);
    let computes = start.elapsed();
    io_task(&url, &mut token)?;
    drop(token);
    let both = watch.stop();
    table.row("one after another", both);

    let timeline = Timeline::new();
    let watch = Stopwatch::start();
    let (sum, length) = thread::scope(|scope| {
        let lane = |name| timeline.lane("GIL", name);
        let cpu = scope.spawn(under(&gil, lane("CPU"), |token| cpu_task(args, token)));
        let io = scope.spawn(under(&gil, lane("I/O"), |token| io_task(&url, token)));
        (cpu.join().expect(NO_PANIC), io.join().expect(NO_PANIC))
    });
    table.row("in two threads", watch.stop());
    let waits = both.wall.saturating_sub(computes);
    virtual_row(&mut table, shared(args), [Step::Compute(computes), Step::Io(waits)])?;

    let (sum, length) = (grouped(sum), length?);
    let arrived = format!("I/O: a text of {length} characters");
    if args.url.is_none() {
        assert_eq!(length, TEXT.chars().count(), "the model changes the time, not the answer");
        println!("   CPU: {sum}  {arrived}");
    } else {
        println!("   CPU: {sum}");
        args.output.measured(format!("   {arrived}"));
    }
    let end = simulated(shared(args), [Step::Compute(TASK), Step::Io(args.delay)])?;
    let (task, wait, end) = (short(TASK), short(args.delay), ms(end));
    println!("   virtual clock, not this code: {task} and a wait of {wait} end after {end} ms");
    show(args, &timeline);
    args.output.measured(table);
    Ok(())
}

/// How long a CPU task takes on the virtual clock.
const TASK: Duration = Duration::from_millis(100);
/// Width of the pictures.
const COLUMNS: u16 = 80;
const NO_PANIC: &str = "a task that is wrong ends the lesson";

/// The rules on the virtual clock: when both of two threads with one step each have ended.
fn simulated(lock: Option<Settings>, [a, b]: [Step; 2]) -> Result<Duration, simulator::Error> {
    let threads = vec![Thread::new("A", [a]), Thread::new("B", [b])];
    Ok(scenario(lock, threads, 0).run()?.end)
}

/// Below the row of real threads: the same on the virtual clock, with tasks as long as measured.
fn virtual_row(table: &mut Table, lock: Option<Settings>, steps: [Step; 2]) -> Result<()> {
    let wall = simulated(lock, steps)?;
    table.row("  on the virtual clock", Measurement { wall, cpu: None, scaled: 1 });
    Ok(())
}

fn shared(args: &Args) -> Option<Settings> {
    Some(asked_after(args.interval))
}

fn new_gil(args: &Args) -> Gil {
    Gil::with(asked_after(args.interval))
}

/// Runs the task in two threads, A and B, each under its lock. Prints both answers, and returns
/// who ran and who waited when.
fn in_two_threads(
    gils: [&Gil; 2],
    task: impl Fn(&mut Token) -> u128 + Sync,
    label: &str,
    table: &mut Table,
) -> Timeline {
    let timeline = Timeline::new();
    let watch = Stopwatch::start();
    let [a, b] = thread::scope(|scope| {
        let [a, b] = gils;
        let threads = [("A", a), ("B", b)]
            .map(|(name, gil)| scope.spawn(under(gil, timeline.lane("GIL", name), &task)));
        threads.map(|thread| thread.join().expect(NO_PANIC))
    });
    table.row(label, watch.stop());
    println!("   A: {}  B: {}", grouped(a), grouped(b));
    timeline
}

/// Who ran and who waited, where a picture can be seen.
fn show(args: &Args, timeline: &Timeline) {
    if pictures_on_stderr() {
        args.output.measured(timeline.text(COLUMNS).trim_end());
    }
}

/// A thread's whole life under a lock: it takes the lock first, and releases it at the end.
fn under<T>(
    gil: &Gil,
    mut lane: Lane,
    task: impl FnOnce(&mut Token) -> T,
) -> impl FnOnce() -> T {
    move || task(&mut gil.acquire_on(&mut lane))
}

/// As an interpreter computes: after each item it looks whether another thread asks.
fn cpu_task(args: &Args, token: &mut Token) -> u128 {
    rounds(args, || sum_of_squares((0..args.squares).inspect(|_| token.check_point())))
}

/// As a native library computes: without a look at the lock.
fn native_task(args: &Args) -> u128 {
    rounds(args, || sum_of_squares(0..args.squares))
}

/// As an interpreter waits: without the lock.
fn io_task(url: &str, token: &mut Token) -> Result<usize, FetchError> {
    token.allow_threads(|| get(url, TimeOuts::default()))
}

fn rounds(args: &Args, mut sum: impl FnMut() -> u128) -> u128 {
    let sums: Vec<_> = (0..args.rounds).map(|_| sum()).collect();
    let expected = formula::sum_of_squares_below(args.squares);
    assert!(sums.iter().all(|&sum| sum == expected), "wrong: {sums:?}, not {expected}");
    sums[0]
}
