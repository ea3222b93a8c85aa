//! What a check point is worth: native calls that keep the lock or give it up, a lock for each
//! process, threads that are never asked, and threads that drop the lock without being asked.
//!
//! Python: `Py_BEGIN_ALLOW_THREADS`, `multiprocessing`, `sys.setcheckinterval` before 3.2.
//! Page: `lessons/02-gil-in-depth.md`.

use std::time::Duration;

use clap::Parser;
use gil::{CheckPoints, Settings};
use lesson_02_gil::{asked_after, ms, scenario};
use simulator::{Error, Process, Run, Scenario, Step, Thread, What};

/// What a check point is worth. All of it on the virtual clock, with two cores.
///
/// 1. A native call that keeps the lock.
/// 2. A native call that gives it up.
/// 3. A lock for each process.
/// 4. Cooperative: a thread keeps the lock to its end.
/// 5. Preemptive: a thread is asked, and gives way at a check point.
/// 6. Before Python 3.2: a thread gives way every 100 ticks, and is back at once.
///
/// The page: lessons/02-gil-in-depth.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How long thread A computes
    #[arg(long, default_value = "60ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_millis(500)))]
    task: Duration,
    /// How long a thread waits for the lock before it asks for it
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::from_micros(1)..=Duration::from_secs(10)))]
    interval: Duration,
    /// Stands for what an operating system leaves open
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = cli::number(0..=u64::MAX))]
    seed: u64,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    let lock = asked_after(args.interval);
    let compute = || [Step::Compute(args.task)];
    let native = |gives_lock| [Step::Native { time: args.task, gives_lock }];

    println!("1. A is in one native call that keeps the lock. B answers requests.");
    show(&under_one(&args, lock, [&native(false), &requests()])?);

    println!("\n2. The same call gives the lock up.");
    show(&under_one(&args, lock, [&native(true), &requests()])?);

    println!("\n3. A and B compute, in a process each: there is a lock for each.");
    let together = under_one(&args, lock, [&compute(), &compute()])?;
    println!("   under one lock they end after {} ms", ms(together.end));
    let process = |process: &str, thread: &str| Process {
        name: process.into(),
        lock: Some(lock),
        threads: vec![Thread::new(thread, compute())],
    };
    let processes = vec![process("GIL 1", "A"), process("GIL 2", "B")];
    show(&Scenario { processes, seed: args.seed, ..Scenario::default() }.run()?);

    println!("\n4. Cooperative: A computes and is never asked. B answers requests.");
    let cooperative = Settings { check_points: CheckPoints::Never, ..lock };
    show(&under_one(&args, cooperative, [&compute(), &requests()])?);

    println!("\n5. Preemptive: B asks after {:?}, and A gives way.", args.interval);
    show(&under_one(&args, lock, [&compute(), &requests()])?);

    println!("\n6. Before Python 3.2: A gives way every 100 ticks, and is back at once.");
    let ticks = Settings { check_points: CheckPoints::Ticks(100), ..lock };
    show(&under_one(&args, ticks, [&compute(), &requests()])?);

    println!("\n{LEGEND}");
    println!("The page of this program: lessons/02-gil-in-depth.md");
    Ok(())
}

const LEGEND: &str = "█ run  ░ wait for lock  ─ I/O  ▓ native  × forced wait";

fn show(run: &Run) {
    let timeline = run.timeline();
    let [_, b] = timeline.shares()[..] else { unreachable!("every scenario has two threads") };
    let of_a = run.events.iter().filter(|event| event.thread == 0);
    let drops = of_a.filter(|event| matches!(event.what, What::Drop { .. })).count();
    println!(
        "   ends after {} ms; B waits up to {} ms; A drops: {drops}; hand-overs: {}",
        ms(run.end),
        ms(b.longest_wait),
        timeline.hand_overs().len(),
    );
    let text = timeline.text(80);
    // One legend, at the end, serves all pictures.
    let (picture, _legend) = text.trim_end().rsplit_once('\n').expect("two threads ran");
    println!("{picture}");
}

/// Threads A and B under one lock. B starts with a wait, so that A has the lock before it.
fn under_one(args: &Args, lock: Settings, scripts: [&[Step]; 2]) -> Result<Run, Error> {
    let [a, b] = scripts;
    let threads = vec![Thread::new("A", a), Thread::new("B", b)];
    scenario(Some(lock), threads, args.seed).run()
}

/// As a server does: five times a wait for a request, and a millisecond to answer it.
fn requests() -> [Step; 1] {
    let [wait, work] = [5, 1].map(Duration::from_millis);
    [Step::Loop(5, vec![Step::Io(wait), Step::Compute(work)])]
}
