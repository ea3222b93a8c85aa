//! The convoy: a thread that mostly waits for the world, beside threads that compute. Each
//! answer costs it an interval, or several: for the lock, not for the answer.
//!
//! Python: a thread that reads from a socket beside `threading.Thread`s that compute.
//! Page: `lessons/02-gil-in-depth.md`.

use std::io::Write;
use std::iter;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use gil::{Gil, Settings};
use lesson_02_gil::{asked_after, create, ms, scenario};
use simulator::{Error, Run, Scenario, Step, Thread};
use tasks::cpu::sum_of_squares;

/// How long an I/O thread waits for the lock, beside threads that compute.
///
/// 1. A table from the virtual clock: 0, 1, 2 and 4 threads that compute, and
///    intervals of 0.5, 5 and 50 ms.
/// 2. A picture from the virtual clock, with --threads and --interval.
/// 3. The row of --interval on real threads, on stderr.
///
/// The page: lessons/02-gil-in-depth.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many threads compute in the picture
    #[arg(long, default_value = "2", value_name = "N", value_parser = cli::count(0..=8))]
    threads: usize,
    /// How long a thread waits before it asks, in the picture and live
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::from_micros(1)..=Duration::from_secs(1)))]
    interval: Duration,
    /// How much time the picture shows
    #[arg(long, default_value = "80ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(1)))]
    time: Duration,
    /// Stands for what an operating system leaves open
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = cli::number(0..=u64::MAX))]
    seed: u64,
    /// Write the picture for https://ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write the picture for a browser
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    output: cli::Output,
}

/// How many threads compute, in the rows of the table.
const CPU_THREADS: [usize; 4] = [0, 1, 2, 4];
const INTERVALS: [Duration; 3] =
    [Duration::from_micros(500), Duration::from_millis(5), Duration::from_millis(50)];
/// How long a row of the table is watched, on the virtual clock.
const WINDOW: Duration = Duration::from_secs(20);
/// The same on real threads, where a wait that has begun still ends.
const LIVE_WINDOW: Duration = Duration::from_millis(500);
/// How long an answer keeps the I/O thread busy.
const HANDLING: Duration = Duration::from_micros(200);
/// How long the world takes to answer, in ms. Equal times would keep step with the turns.
const NAPS: [u64; 4] = [7, 10, 13, 16];

fn main() -> cli::Result {
    let args: Args = cli::parse();
    if let (Some(trace), Some(svg)) = (&args.trace, &args.svg)
        && trace == svg
    {
        let file = trace.display();
        cli::refuse(format_args!(
            "'--trace' and '--svg' name the same file '{file}': each needs its own"
        ));
    }
    // The files first: one that cannot be written is known at once.
    let picture = run(&args, args.threads, args.interval, args.time)?.timeline();
    if let Some(path) = &args.trace {
        picture.write_perfetto(create("trace", path)?).context("cannot write the trace")?;
    }
    if let Some(path) = &args.svg {
        let mut file = create("picture", path)?;
        file.write_all(picture.svg().as_bytes()).context("cannot write the picture")?;
    }
    table(&args)?;
    println!(
        "\n2. The first {:?}, CPU threads: {}, interval {:?}.",
        args.time, args.threads, args.interval
    );
    print!("{}\n{}", picture.text(80), picture.shares_text());
    let head = format!("\nOn real threads, interval {:?}:", args.interval);
    args.output.measured(format_args!("{head:<37}p50      p90      max"));
    for threads in CPU_THREADS.into_iter().filter(|_| !args.output.quiet) {
        let [p50, p90, max] = quantiles(live(threads, args.interval));
        args.output.measured(format_args!("   {:>8}  {threads:>11} {p50} {p90} {max}", ""));
    }
    println!("\nThe page of this program: lessons/02-gil-in-depth.md");
    Ok(())
}

fn table(args: &Args) -> Result<(), Error> {
    println!("1. From the answer to running again, in ms. Virtual clock, {WINDOW:?} a row.");
    println!("   interval  CPU threads      p50      p90      max");
    for interval in INTERVALS {
        for threads in CPU_THREADS {
            let [p50, p90, max] = quantiles(run(args, threads, interval, WINDOW)?.wake_ups(0));
            println!("   {:>8}  {threads:>11} {p50} {p90} {max}", format!("{interval:?}"));
        }
    }
    Ok(())
}

/// Thread 0 waits and handles the answer, again and again; the others compute without end.
fn run(
    args: &Args,
    cpu_threads: usize,
    interval: Duration,
    until: Duration,
) -> Result<Run, Error> {
    let rounds = naps().map(|nap| [Step::Io(nap), Step::Compute(HANDLING)]);
    let io = Thread::new("I/O", [Step::Loop(u64::MAX, rounds.concat())]);
    let cpu = |n: usize| Thread::new(format!("CPU {}", n + 1), [Step::Compute(Duration::MAX)]);
    let threads = iter::once(io).chain((0..cpu_threads).map(cpu)).collect();
    let scenario = scenario(Some(asked_after(interval)), threads, args.seed);
    Scenario { until: Some(until), ..scenario }.run()
}

/// The same on real threads.
fn live(cpu_threads: usize, interval: Duration) -> Vec<Duration> {
    let gil = Gil::with(Settings { interval, ..Settings::default() });
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..cpu_threads {
            scope.spawn(|| {
                let mut token = gil.acquire();
                while !done.load(Ordering::Relaxed) {
                    sum_of_squares((0..1000).inspect(|_| token.check_point()));
                }
            });
        }
        let mut token = gil.acquire();
        let end = Instant::now() + LIVE_WINDOW;
        let naps = naps().into_iter().cycle().take_while(|_| Instant::now() < end);
        let wake_up = |nap| {
            let answered = token.allow_threads(|| {
                thread::sleep(nap);
                Instant::now()
            });
            let wake_up = answered.elapsed();
            let handled = Instant::now() + HANDLING;
            while Instant::now() < handled {
                token.check_point();
            }
            wake_up
        };
        let wake_ups = naps.map(wake_up).collect();
        done.store(true, Ordering::Relaxed);
        wake_ups
    })
}

fn naps() -> [Duration; 4] {
    NAPS.map(Duration::from_millis)
}

/// The median, the ninth of ten, and the longest.
fn quantiles(mut times: Vec<Duration>) -> [String; 3] {
    times.sort_unstable();
    [50, 90, 100].map(|percent| {
        let rank = (times.len() * percent).div_ceil(100);
        let time =
            times.get(rank.saturating_sub(1)).expect("the window is long enough for one");
        format!("{:>8}", ms(*time))
    })
}
