//! Why the counter no longer loses: `counter += 1` reads, adds and writes. It loses updates where
//! a thread can lose the lock between the read and the write: in Python 3.9 yes, from 3.10 on
//! no, and with a call in between always.
//!
//! Python: `counter += 1` in threads. Page: `lessons/02-gil-in-depth.md`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use cli::Output;
use gil::{CheckPoints, Gil, Settings};
use lesson_02_gil::{asked_after, scenario};
use simulator::explorer::Program;
use simulator::{Error, INCREMENT, Instruction, Machine, Scenario, Schedule, Step, Thread};

/// Why the counter no longer loses.
///
/// 1. Threads count up a common counter on the virtual clock. How many
///    increments are missing? On stderr: the same code on real threads.
/// 2. Threads a and b make one increment each, in every order that can be. How
///    many orders lose one?
///
/// With --schedule: one of these orders.
///
/// The page: lessons/02-gil-in-depth.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Only this Python [default: all; with --schedule free-threaded]
    #[arg(long)]
    policy: Option<Policy>,
    /// How many threads count
    #[arg(long, default_value = "4", value_name = "N", value_parser = cli::count(1..=16))]
    threads: usize,
    /// How many increments each thread makes
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = cli::number(1..=100_000))]
    increments: u64,
    /// How long a thread waits for the lock before it asks for it
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::from_micros(1)..=Duration::from_secs(10)))]
    interval: Duration,
    /// Stands for what an operating system leaves open
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = cli::number(0..=u64::MAX))]
    seed: u64,
    /// Who moves, one after another: a,a,b,b; then the first who can
    #[arg(long, value_name = "NAMES", conflicts_with_all = ["threads", "increments", "interval", "seed"])]
    schedule: Option<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// Check points between any two instructions
    #[value(name = "3.9")]
    EveryInstruction,
    /// At the back edge of a loop and after a call
    #[value(name = "3.10")]
    BackEdgesAndCalls,
    /// No lock
    FreeThreaded,
}

/// An instruction on the virtual clock. Slow: as many turns as real ones, and a shorter trace.
const INSTRUCTION: Duration = Duration::from_micros(1);
/// How long real threads count for one figure.
const WINDOW: Duration = Duration::from_millis(50);

fn main() -> cli::Result {
    let args: Args = cli::parse();
    if let Some(schedule) = &args.schedule {
        replay(&args, schedule);
        return Ok(());
    }
    let policies = args.policy.as_ref().map_or(Policy::value_variants(), std::slice::from_ref);
    println!(
        "1. {} threads count up to {} each, on the virtual clock. Lost updates:",
        args.threads, args.increments
    );
    println!("   {:<15}{:>14}{:>14}{:>14}", "", "counter += 1", "with a call", "atomic add");
    for policy in policies {
        let [plain, call, atomic] = bodies().map(|body| lost(&args, *policy, body));
        println!("   {:<15}{:>14}{:>14}{:>14}", policy.name(), plain?, call?, atomic?);
    }
    if !args.output.quiet {
        args.output.measured(format_args!(
            "   on {} real threads, as many as {WINDOW:?} are enough for:",
            args.threads
        ));
        for policy in policies {
            let [plain, call, atomic] = bodies().map(|body| lost_live(&args, *policy, &body));
            args.output.measured(format_args!(
                "   {:<15}{plain:>12.1} %{call:>12.1} %{atomic:>12.1} %",
                policy.name()
            ));
        }
    }
    println!("\n2. a and b count 1 each, in every order. Orders that lose an update:");
    for policy in policies {
        let [plain, call, atomic] = bodies().map(|body| explored(&args, *policy, body));
        println!("   {:<15}{:>14}{:>14}{:>14}", policy.name(), plain?, call?, atomic?);
    }
    println!("\nThe page of this program: lessons/02-gil-in-depth.md");
    Ok(())
}

/// `counter += 1`, the same with a call between read and write, and all of it in one instruction.
fn bodies() -> [Vec<Instruction>; 3] {
    let mut with_a_call = INCREMENT.to_vec();
    with_a_call.insert(1, Instruction::Call);
    [INCREMENT.to_vec(), with_a_call, vec![Instruction::AtomicAdd]]
}

fn lost(args: &Args, policy: Policy, body: Vec<Instruction>) -> Result<u64, Error> {
    let count = [Step::Loop(args.increments, vec![Step::Bytecode(body)])];
    let thread = |n: usize| Thread::new(n.to_string(), count.clone());
    let threads = (0..args.threads).map(thread).collect();
    let machine = Machine { instruction: INSTRUCTION, ..Machine::default() };
    let scenario = scenario(policy.lock(args), threads, args.seed);
    Ok(Scenario { machine, ..scenario }.run()?.lost_updates(0))
}

/// The percentage lost where real threads execute the same instructions, under the same settings.
fn lost_live(args: &Args, policy: Policy, body: &[Instruction]) -> f64 {
    let gil = policy.lock(args).map_or_else(Gil::free_threaded, Gil::with);
    let counter = AtomicU64::new(0);
    let end = Instant::now() + WINDOW;
    let count = || {
        let mut token = gil.acquire();
        let mut made = 0;
        while Instant::now() < end {
            let mut place = 0;
            for instruction in body.iter().chain(&[Instruction::JumpBack]) {
                match instruction {
                    Instruction::Load => place = counter.load(Relaxed),
                    Instruction::Add => place += 1,
                    Instruction::Store => counter.store(place, Relaxed),
                    Instruction::AtomicAdd => _ = counter.fetch_add(1, Relaxed),
                    Instruction::Const | Instruction::Call | Instruction::JumpBack => {}
                }
                token.executed(instruction.site());
            }
            made += 1;
        }
        made
    };
    let made: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it counts")).sum()
    });
    100.0 * (1.0 - counter.into_inner() as f64 / made.max(1) as f64)
}

fn explored(args: &Args, policy: Policy, body: Vec<Instruction>) -> Result<String, Error> {
    let outcomes = two_threads(args, policy, body).explore()?;
    Ok(format!("{} of {}", outcomes.losing(), outcomes.interleavings()))
}

fn replay(args: &Args, schedule: &str) {
    let policy = args.policy.unwrap_or(Policy::FreeThreaded);
    let program = two_threads(args, policy, INCREMENT.to_vec());
    let outcome = program.run(&Schedule::from(schedule)).unwrap_or_else(|error| {
        let value = format_args!("'{schedule}' for '--schedule <NAMES>'");
        cli::refuse(format_args!("invalid value {value}: {error}"))
    });
    println!("{}: {}", policy.name(), outcome.schedule);
    let switches = outcome.schedule.0.windows(2).filter(|moves| moves[0] != moves[1]).count();
    println!("a and b count 1 each; lost updates: {}; switches: {switches}", outcome.lost);
}

fn two_threads(args: &Args, policy: Policy, body: Vec<Instruction>) -> Program {
    let threads = ["a", "b"].map(|name| (name.into(), body.clone())).into();
    Program { lock: policy.lock(args), threads }
}

impl Policy {
    fn name(self) -> String {
        let value = self.to_possible_value().expect("no policy is hidden");
        value.get_name().to_owned()
    }

    fn lock(self, args: &Args) -> Option<Settings> {
        let check_points = match self {
            Policy::EveryInstruction => CheckPoints::EveryInstruction,
            Policy::BackEdgesAndCalls => CheckPoints::BackEdgesAndCalls,
            Policy::FreeThreaded => return None,
        };
        Some(Settings { check_points, ..asked_after(args.interval) })
    }
}
