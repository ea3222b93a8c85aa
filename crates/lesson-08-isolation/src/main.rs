//! Who survives a fault: a panic ends its task, a crash its process. A loop that never gives way
//! stops all that take turns with it. The other processes go on, whatever it is.
//!
//! Python: `ThreadPoolExecutor`, `multiprocessing.Process`, `ProcessPoolExecutor`. Page:
//! `lessons/08-isolation.md`.

mod cell;
mod crew;
mod fault;
mod os;

use std::collections::BTreeSet;
use std::iter;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use process_pool::serve;
use tasks::measure::short;

use crate::cell::Cell;
use crate::crew::{Crew, Inside, Report};
use crate::fault::Fault;

/// Seven faults against five models. Of some tasks that have begun, one is faulty:
///
/// - panic, abort, stack overflow, memory limit, kill (as with kill -9);
/// - an endless loop that lets others in: at check points of a GIL, at awaits;
/// - an endless loop that never gives way.
///
/// The tasks are threads, threads under a GIL, processes, processes with two
/// threads under a GIL each (hybrid), and async tasks on one thread. They run in
/// processes made for it: crashes are real.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/08-isolation.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Tasks of each model; one of them is faulty
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(2..=16))]
    tasks: usize,
    /// How long a task may run when it should be over
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(2)))]
    time_out: Duration,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    // The processes made for a fault are this very program.
    serve::<Crew>();
    let args: Args = cli::parse();
    let matrix = matrix(&args)?;

    let Args { tasks, time_out, .. } = args;
    println!(
        "1. {tasks} tasks have begun. One of them does what the row says. Then the others"
    );
    println!("   are asked to go on. So many of the {} do:", tasks - 1);
    print!("{}", grid(&matrix, |cell| cell.done.to_string()));
    println!("\n2. What is reported of the one. A loop has a time-out of {}.", short(time_out));
    print!("{}", grid(&matrix, |cell| cell.report.to_string()));
    println!("{HOW_TO_READ}");
    last_words(&matrix);
    args.output.measured("\n4. How long that takes, from its turn on. Measured here.");
    args.output.measured(grid(&matrix, |cell| short(cell.noticed)).trim_end());
    println!("\nThe page of this lesson: lessons/08-isolation.md");
    Ok(())
}

const HOW_TO_READ: &str =
    "   SIG...: its process died of it. A loop that has timed out runs on, as nobody
   can stop a thread; is cancelled at an await; or is killed from outside.";

/// A row for each fault, with a cell for each model.
type Matrix = Vec<(Fault, Vec<Cell>)>;

struct Model {
    name: &'static str,
    inside: Inside,
    /// All of them, if nothing is said.
    tasks_in_each_process: Option<usize>,
}

const MODELS: [Model; 5] = [
    Model { name: "thread", inside: Inside::Threads, tasks_in_each_process: None },
    Model { name: "GIL", inside: Inside::ThreadsUnderGil, tasks_in_each_process: None },
    Model { name: "process", inside: Inside::Process, tasks_in_each_process: Some(1) },
    Model { name: "hybrid", inside: Inside::ThreadsUnderGil, tasks_in_each_process: Some(2) },
    Model { name: "async", inside: Inside::AsyncTasks, tasks_in_each_process: None },
];

fn matrix(args: &Args) -> Result<Matrix> {
    let mut rows = Vec::new();
    let progress = args.output.progress("faults in models", Fault::ALL.len() * MODELS.len());
    for fault in Fault::ALL {
        let mut row = Vec::new();
        for model in &MODELS {
            let in_each = model.tasks_in_each_process.unwrap_or(args.tasks);
            let cell = cell::run(model.inside, fault, args.tasks, in_each, args.time_out);
            row.push(cell.with_context(|| format!("{fault}, {}", model.name))?);
            progress.step();
        }
        rows.push((fault, row));
    }
    Ok(rows)
}

fn grid(matrix: &Matrix, show: impl Fn(&Cell) -> String) -> String {
    let line = |label: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>11}")).collect();
        format!("   {label:<16}{cells}\n")
    };
    let head = line("", MODELS.iter().map(|model| model.name.into()).collect());
    let rows = matrix
        .iter()
        .map(|(fault, cells)| line(&fault.to_string(), cells.iter().map(&show).collect()));
    iter::once(head).chain(rows).collect()
}

/// What a fault leaves to read: the text of a panic, or what was written to stderr. A set: all
/// models say the same.
fn last_words(matrix: &Matrix) {
    println!("\n3. Its last words, if it has any.");
    for (fault, cells) in matrix {
        let words: BTreeSet<_> = cells.iter().map(words_of).collect();
        for words in words.into_iter().flatten() {
            println!("   {:<16}{words}", fault.to_string());
        }
    }
}

fn words_of(cell: &Cell) -> Option<&str> {
    match &cell.report {
        Report::Panicked(text) => Some(text),
        // Rust names the thread that overflows with a number that differs from run to run.
        Report::Signal(_) => {
            let mut lines = cell.stderr.lines();
            lines.find(|line| !line.is_empty() && !line.starts_with("thread '"))
        }
        Report::RunsOn | Report::Cancelled | Report::Killed => None,
    }
}
