//! A future ends, always: with an output, or with the reason why there is none. Here each end is
//! forced, and named.
//!
//! Python: `concurrent.futures`. Page: `lessons/03-processes-in-depth.md`.

use std::error::Error as _;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ipc::{Pipe, pipe};
use process_pool::{
    Error, Failed, Policy, Pool, Task, TaskOptions, as_completed, kill_this_process, serve,
};
use serde::{Deserialize, Serialize};
use textwrap::{Options, WordSplitter, fill};

/// Futures of a pool of processes, and every way in which one ends.
///
/// 1. Answers as they come, not as the tasks were handed in.
/// 2. A task is taken back before it begins, and not after.
/// 3. Seven tasks, five of which go wrong in ways of their own.
/// 4. A pool that breaks with its first dead worker, as Python's executor does.
///
/// The page: lessons/03-processes-in-depth.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How long a task may run that hangs
    #[arg(long, default_value = "200ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(60)))]
    time_out: Duration,
}

fn main() -> cli::Result {
    // Every worker runs this very program: this line makes it one, and never returns there.
    serve::<(Turn, Job)>();
    let args: Args = cli::parse();
    answers_come_as_they_end()?;
    a_task_is_taken_back_before_it_begins()?;
    every_end_has_a_name(args.time_out)?;
    a_pool_may_break_instead()?;
    println!("\nThe page of this program: lessons/03-processes-in-depth.md");
    Ok(())
}

fn answers_come_as_they_end() -> Result<()> {
    println!("1. Three tasks at once. Each ends when it is told to: the last one first.");
    let pool = Pool::builder().workers(3).build()?;
    let (mut pipes, mut futures) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (ours, theirs) = pipe()?;
        pipes.push(ours);
        futures.push(pool.submit(Turn { parent: theirs }));
    }
    // All have begun, so that none waits for a worker.
    pipes.iter_mut().try_for_each(|pipe| pipe.recv())?;
    let mut order = vec![2, 0, 1].into_iter();
    let mut next = || order.next().map_or(Ok(()), |place| pipes[place].send(&()));
    next()?;
    for (place, future) in as_completed(futures) {
        future.result()?;
        println!("   task {}", place + 1);
        // Only now may another one end.
        next()?;
    }
    pool.shutdown();
    Ok(())
}

fn a_task_is_taken_back_before_it_begins() -> Result<()> {
    println!("\n2. One worker, two tasks. The first has begun, the second waits.");
    let pool = Pool::new(1)?;
    let (mut first, theirs) = pipe()?;
    let (_second, never_used) = pipe()?;
    let running = pool.submit(Turn { parent: theirs });
    let waiting = pool.submit(Turn { parent: never_used });
    first.recv().context("the first task did not begin")?;
    println!("   cancel the second: {}", waiting.cancel());
    println!("   cancel the first:  {}", running.cancel());
    first.send(&())?;
    running.result()?;
    println!("   the first has an answer, the second says: {}", error(waiting.result())?);
    pool.shutdown();
    Ok(())
}

fn every_end_has_a_name(time_out: Duration) -> Result<()> {
    println!("\n3. Seven tasks, two workers. The one that hangs may run for {time_out:?}.");
    let pool = Pool::new(2)?;
    let jobs =
        [Job::Answer, Job::Fail, Job::Panic, Job::Exit, Job::Die, Job::Hang, Job::Answer];
    let futures = jobs.map(|job| {
        let limit = matches!(job, Job::Hang).then_some(time_out);
        let options = TaskOptions { time_out: limit, ..TaskOptions::default() };
        (job, pool.submit_with(job, options))
    });
    for (number, (job, future)) in (1..).zip(futures) {
        match future.result() {
            Ok(answer) => println!("   {number} answers: {answer}"),
            Err(error) => {
                print_wrapped(&format!("{number} {}: {}", job.does(), in_one_line(&error)));
            }
        }
    }
    println!("   workers replaced: {}", pool.replaced());
    pool.shutdown();
    Ok(())
}

fn a_pool_may_break_instead() -> Result<()> {
    println!("\n4. A pool that breaks with its first dead worker.");
    let pool = Pool::builder().workers(2).policy(Policy::Break).build()?;
    println!("   the task that kills its worker: {}", error(pool.submit(Job::Die).result())?);
    let after = error(pool.submit(Job::Answer).result())?;
    println!("   every task after it: {after}");
    Ok(())
}

fn error<T>(result: Result<T, Error>) -> Result<String> {
    ensure!(result.is_err(), "a task has an answer that must have none");
    Ok(result.err().map(|error| in_one_line(&error)).unwrap_or_default())
}

/// An error and its sources. The worker's own words are among them: they came along as text.
fn in_one_line(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Prints a line that may be longer than a terminal's, which would break it in a word.
fn print_wrapped(line: &str) {
    let layout = Options::new(80).initial_indent("   ").subsequent_indent("     ");
    println!("{}", fill(line, layout.word_splitter(WordSplitter::NoHyphenation)));
}

/// Says that it has begun, and ends when it is told to.
#[derive(Serialize, Deserialize)]
struct Turn {
    parent: Pipe<(), ()>,
}

impl Task for Turn {
    type Output = ();

    fn run(mut self) -> Result<(), Failed> {
        self.parent.send(&())?;
        Ok(self.parent.recv()?)
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Job {
    Answer,
    Fail,
    Panic,
    Exit,
    Die,
    Hang,
}

impl Job {
    fn does(self) -> &'static str {
        match self {
            Self::Answer => "answers",
            Self::Fail => "fails",
            Self::Panic => "panics",
            Self::Exit => "exits",
            Self::Die => "is killed",
            Self::Hang => "hangs",
        }
    }
}

impl Task for Job {
    type Output = u64;

    fn run(self) -> Result<u64, Failed> {
        match self {
            Self::Answer => Ok(42),
            Self::Fail => {
                let text = "forty-two";
                Ok(text.parse().with_context(|| format!("{text:?} is no answer"))?)
            }
            Self::Panic => panic!("I have forgotten"),
            Self::Exit => process::exit(3),
            Self::Die => kill_this_process(),
            Self::Hang => loop {
                thread::park();
            },
        }
    }
}
