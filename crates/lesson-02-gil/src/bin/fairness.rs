//! Who gets how much of the lock: threads that all compute, with and without the rule that who
//! was asked may not come back before another thread had the lock.
//!
//! Python: `FORCE_SWITCHING` in `Python/ceval_gil.c`. Page: `lessons/02-gil-in-depth.md`.

use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use gil::{Gil, Settings};
use lesson_02_gil::{asked_after, scenario};
use simulator::{Error, Scenario, Step, Thread};
use tasks::cpu::sum_of_squares;
use timeline::Timeline;

/// Who gets how much of the lock, with and without forced switching.
///
/// Facts of the virtual clock go to stdout, the same on real threads to stderr.
/// The page: lessons/02-gil-in-depth.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many threads compute
    #[arg(long, default_value = "4", value_name = "N", value_parser = cli::count(1..=8))]
    threads: usize,
    /// How long a thread waits for the lock before it asks for it
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::from_micros(1)..=Duration::from_secs(10)))]
    interval: Duration,
    /// How long they are watched
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(10)))]
    time: Duration,
    /// Stands for what an operating system leaves open
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = cli::number(0..=u64::MAX))]
    seed: u64,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    println!("{} threads compute for {:?} under one GIL.", args.threads, args.time);
    for (number, forced_switching) in [(1, true), (2, false)] {
        let switching =
            if forced_switching { "Forced switching" } else { "No forced switching" };
        println!("\n{number}. {switching}, virtual clock.");
        let settings = Settings { forced_switching, ..asked_after(args.interval) };
        print!("{}", simulated(&args, settings)?.shares_text());
        if !args.output.quiet {
            let shares = live(&args, settings).shares_text();
            args.output.measured(format_args!("   on real threads:\n{}", shares.trim_end()));
        }
    }
    println!("\nThe page of this program: lessons/02-gil-in-depth.md");
    Ok(())
}

fn simulated(args: &Args, settings: Settings) -> Result<Timeline, Error> {
    let thread = |name| Thread::new(name, [Step::Compute(Duration::MAX)]);
    let scenario = scenario(Some(settings), names(args).map(thread).collect(), args.seed);
    let run = Scenario { until: Some(args.time), ..scenario }.run()?;
    Ok(run.timeline())
}

fn live(args: &Args, settings: Settings) -> Timeline {
    let gil = Gil::with(settings);
    let timeline = Timeline::new();
    let end = Instant::now() + args.time;
    thread::scope(|scope| {
        for name in names(args) {
            let mut lane = timeline.lane("GIL", &name);
            let gil = &gil;
            scope.spawn(move || {
                let mut token = gil.acquire_on(&mut lane);
                while Instant::now() < end {
                    sum_of_squares((0..1000).inspect(|_| token.check_point()));
                }
            });
        }
    });
    timeline
}

fn names(args: &Args) -> impl Iterator<Item = String> {
    (1..=args.threads).map(|n| format!("CPU {n}"))
}
