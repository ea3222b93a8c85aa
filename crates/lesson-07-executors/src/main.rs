//! One interface, whoever runs the tasks: threads, rayon or processes. Futures, time-outs and
//! cancelling are the same on all; an error in the middle of a batch costs no answer.
//!
//! Python: `concurrent.futures`, `ThreadPoolExecutor` and `ProcessPoolExecutor`. Page:
//! `lessons/07-executors.md`.

use std::collections::HashSet;
use std::error::Error as _;
use std::num::ParseIntError;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};
use std::{iter, process, thread};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ipc::{Pipe, pipe};
use lesson_07_executors::{
    Error, Executor, Future, ProcessPerTask, ThreadPerTask, ThreadPool, as_completed,
    rayon_pool, wait,
};
use process_pool::{Failed, Pool, Task, TaskOptions, kill_this_process, serve};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use tasks::measure::{Stopwatch, Table};

/// One interface over threads, rayon and processes; the same code runs on all.
///
/// 1. Answers as they come, not as the tasks were handed in.
/// 2. Waiting for the first, for all, and no longer than a time-out.
/// 3. A task is taken back before it begins, and not after.
/// 4. Ten tasks, some of which go wrong: the other answers all arrive.
/// 5. A task that hangs: only a process can be ended from outside.
/// 6. A worker for each task, or a pool: how many workers that takes.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/07-executors.md
///
/// More programs:
///   cargo run -p lesson-07-executors --bin pays_from
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Workers of each pool
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(3..=64))]
    workers: usize,
    /// Tasks in section 6
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = cli::count(1..=100))]
    tasks: usize,
    /// How long a task is waited for that does not end
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(60)))]
    time_out: Duration,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    // Every worker process runs this very program: this line makes it one.
    serve::<Job>();
    let args: Args = cli::parse();
    let workers = args.workers;
    let threads = ThreadPool::new(workers).context("cannot start the threads")?;
    let rayon = rayon_pool(workers)?;
    let processes = Pool::new(workers).context("cannot start the processes")?;
    let all: Executors = [("threads", &threads), ("rayon", &rayon), ("processes", &processes)];

    println!("1. Three tasks under way. They are told to end in the order 3, 1, 2.");
    on_each(&all, answers_as_they_come)?;
    println!("\n2. Three tasks under way. Only the second is told to end; then all are.");
    on_each(&all, |executor| waits_end(executor, args.time_out))?;
    println!("\n3. {workers} tasks hold all workers. One more is handed in, and cancelled.");
    on_each(&all, |executor| only_what_waits_is_taken_back(executor, workers))?;
    println!("\n4. Ten squares. Task 3 fails, task 5 panics; in processes, task 7 is killed.");
    on_each(&all[..2], |executor| errors_keep_no_answer_back(executor, ten(Job::Square(7))))?;
    on_each(&all[2..], |executor| errors_keep_no_answer_back(executor, ten(Job::Die)))?;
    println!("   {:<26} {}", "rayon's parallel iterator", a_panic_takes_all(&rayon)?);
    only_a_process_is_ended_from_outside(&processes, args.time_out)?;
    a_worker_for_each_task_or_a_pool(&args)?;
    println!("\nThe page of this lesson: lessons/07-executors.md");
    Ok(())
}

type Executors<'a> = [(&'a str, &'a dyn Executor<Job>); 3];

/// Runs the same code on each executor. Those that say the same share a line.
fn on_each(
    executors: &[(&str, &dyn Executor<Job>)],
    run: impl Fn(&dyn Executor<Job>) -> Result<String>,
) -> Result<()> {
    let mut said: Vec<(String, String)> = Vec::new();
    for &(name, executor) in executors {
        let facts = run(executor).with_context(|| format!("on {name}"))?;
        match said.last_mut() {
            Some((names, before)) if *before == facts => *names += &format!(", {name}"),
            _ => said.push((name.into(), facts)),
        }
    }
    for (names, facts) in said {
        for (name, fact) in iter::once(&*names).chain(iter::repeat("")).zip(facts.lines()) {
            println!("   {name:<26} {fact}");
        }
    }
    Ok(())
}

/// Hands tasks in that stay until they are told to go. They have all begun.
fn under_way(executor: &dyn Executor<Job>, tasks: usize) -> Result<(Vec<Turn>, Futures)> {
    let (mut turns, mut futures) = (Vec::new(), Vec::new());
    for _ in 0..tasks {
        let (turn, theirs) = pipe()?;
        turns.push(turn);
        futures.push(executor.submit(Job::Stay(theirs.into())));
    }
    turns.iter_mut().try_for_each(|turn| turn.recv().map(drop))?;
    Ok((turns, futures))
}

type Turn = Pipe<(), Who>;
type Futures = Vec<Box<dyn Future<u64>>>;

fn answers_as_they_come(executor: &dyn Executor<Job>) -> Result<String> {
    let (turns, futures) = under_way(executor, 3)?;
    let mut order = [2, 0, 1].into_iter();
    let mut next = || order.next().map_or(Ok(()), |place| turns[place].send(&()));
    let mut came = Vec::new();
    next()?;
    for (place, future) in as_completed(futures) {
        future.result()?;
        came.push(place);
        // Only now may another one end.
        next()?;
    }
    Ok(format!("as_completed: {}", numbers(&came)))
}

fn waits_end(executor: &dyn Executor<Job>, time_out: Duration) -> Result<String> {
    let (turns, futures) = under_way(executor, 3)?;
    turns[1].send(&())?;
    let first = wait(&futures, 1, None);
    let begun = Instant::now();
    let in_time = wait(&futures, 3, Some(time_out));
    assert!(begun.elapsed() >= time_out, "two of them have not ended: it waits");
    for turn in [0, 2] {
        turns[turn].send(&())?;
    }
    let all = wait(&futures, 3, None);
    let [first, in_time, all] = [first, in_time, all].map(|places| numbers(&places));
    Ok(format!(
        "until one has ended: {first}\nuntil all have, or {time_out:?}: {in_time}\n\
         until all have: {all}"
    ))
}

fn only_what_waits_is_taken_back(
    executor: &dyn Executor<Job>,
    workers: usize,
) -> Result<String> {
    let (turns, mut futures) = under_way(executor, workers)?;
    let (mut silent, theirs) = pipe::<(), Who>()?;
    let waiting = executor.submit(Job::Stay(theirs.into()));
    let (taken_back, begun) = (waiting.cancel(), futures[0].cancel());
    turns.iter().try_for_each(|turn| turn.send(&()))?;
    futures.drain(..).try_for_each(|future| future.result().map(drop))?;
    // A task that begins says so. This one's end of the pipe closes without a word.
    ensure!(matches!(silent.recv(), Err(ipc::Error::Disconnected)), "a cancelled task ran");
    let error = waiting.result().err().context("a cancelled task has an answer")?;
    Ok(format!(
        "what waits: {taken_back}, and it says: {error}\nwhat has begun: {begun}, and it answers"
    ))
}

fn ten(seventh: Job) -> Vec<Job> {
    let mut batch: Vec<_> = (1..=10).map(Job::Square).collect();
    batch[2] = Job::Fail;
    batch[4] = Job::Panic;
    batch[6] = seventh;
    batch
}

fn errors_keep_no_answer_back(executor: &dyn Executor<Job>, batch: Vec<Job>) -> Result<String> {
    let (mut answers, mut errors) = (Vec::new(), String::new());
    for (number, outcome) in (1..).zip(executor.map(batch)) {
        match outcome {
            Ok(square) => answers.push(square.to_string()),
            Err(error) => {
                answers.push("-".into());
                errors += &format!("\n{number}: {}", with_source(&error));
            }
        }
    }
    Ok(answers.join(" ") + &errors)
}

fn with_source(error: &Error) -> String {
    match error.source() {
        Some(source) if source.is::<ParseIntError>() => {
            format!("{error}: {source}\n   the source is the ParseIntError itself")
        }
        Some(source) => format!("{error}: {source}\n   the source came along as text"),
        None => error.to_string(),
    }
}

/// The same batch the way that rayon is used mostly: shorter, and all or nothing.
fn a_panic_takes_all(rayon: &rayon::ThreadPool) -> Result<String> {
    let batch = ten(Job::Square(7));
    let squares = || batch.into_par_iter().map(Task::run).collect::<Vec<_>>();
    let caught = panic::catch_unwind(AssertUnwindSafe(|| rayon.install(squares)));
    let panic = caught.err().context("a panic was lost")?;
    let text = panic.downcast_ref::<&str>().context("a panic without words")?;
    Ok(format!("no answer, only the panic: {text}"))
}

fn only_a_process_is_ended_from_outside(pool: &Pool<Job>, time_out: Duration) -> Result<()> {
    println!("\n5. A task hangs. A thread would be lost with it; a process is killed.");
    let options = TaskOptions { time_out: Some(time_out), ..TaskOptions::default() };
    let begun = Instant::now();
    let hung = pool.submit_with(Job::Hang, options).result();
    assert!(begun.elapsed() >= time_out, "it has all of its time");
    let error = hung.err().context("nothing ends this task")?;
    let square = pool.submit(Job::Square(12)).result()?;
    let replaced = pool.replaced();
    println!("   {error}; processes replaced so far: {replaced}; the pool goes on: {square}");
    Ok(())
}

fn a_worker_for_each_task_or_a_pool(args: &Args) -> Result<()> {
    let &Args { workers, tasks, .. } = args;
    println!("\n6. {tasks} tasks: how many workers they take, counted by the tasks.");
    let executors: [(&str, usize, Start<'_>); 4] = [
        ("a thread for each", tasks, &|| Ok(Box::new(ThreadPerTask))),
        ("a pool of threads", workers, &|| Ok(Box::new(ThreadPool::new(workers)?))),
        ("a process for each", tasks, &|| Ok(Box::new(ProcessPerTask))),
        ("a pool of processes", workers, &|| Ok(Box::new(Pool::new(workers)?))),
    ];
    let mut table = Table::for_stderr();
    for (name, at_once, start) in executors {
        let watch = Stopwatch::start();
        // The pool ends with this line: its price has two parts.
        let workers = workers_that_took_part(&*start()?, tasks, at_once.min(tasks))?;
        table.row(name, watch.stop());
        println!("   {name:<26} {}", workers.len());
    }
    args.output.measured(table);
    Ok(())
}

type Start<'a> = &'a dyn Fn() -> Result<Box<dyn Executor<Job>>>;

fn workers_that_took_part(
    executor: &dyn Executor<Job>,
    tasks: usize,
    at_once: usize,
) -> Result<HashSet<Who>> {
    let (mut turns, mut futures) = (Vec::new(), Vec::new());
    for _ in 0..tasks {
        let (turn, theirs) = pipe()?;
        turns.push(turn);
        futures.push(executor.submit(Job::Stay(theirs.into())));
    }
    let mut who = HashSet::new();
    // Nobody goes on before these have spoken. They are all there at once: no number of a
    // process or thread that has ended comes again, and no worker is left out by chance.
    for turn in &mut turns[..at_once] {
        who.insert(turn.recv()?);
    }
    turns.iter().try_for_each(|turn| turn.send(&()))?;
    for turn in &mut turns[at_once..] {
        who.insert(turn.recv()?);
    }
    futures.into_iter().try_for_each(|future| future.result().map(drop))?;
    Ok(who)
}

/// People count from 1.
fn numbers(places: &[usize]) -> String {
    places.iter().map(|place| (place + 1).to_string()).collect::<Vec<_>>().join(" ")
}

/// Which worker: its process, and its thread there.
type Who = String;

/// What the tasks do. Any executor runs them: a pipe works inside a process too.
#[derive(Serialize, Deserialize)]
enum Job {
    Square(u64),
    /// Says who runs it, and ends when it is told to.
    Stay(Box<Pipe<Who, ()>>),
    Fail,
    Panic,
    Die,
    Hang,
}

impl Task for Job {
    type Output = u64;

    fn run(self) -> Result<u64, Failed> {
        match self {
            Self::Square(n) => Ok(n * n),
            Self::Stay(mut parent) => {
                parent.send(&format!("{} {:?}", process::id(), thread::current().id()))?;
                parent.recv()?;
                Ok(0)
            }
            Self::Fail => Ok("three".parse()?),
            Self::Panic => panic!("no square today"),
            Self::Die => kill_this_process(),
            Self::Hang => loop {
                thread::park();
            },
        }
    }
}
