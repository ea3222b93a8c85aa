//! Threads overlap waits, processes overlap computing. Work that does both wants threads inside
//! processes, as long as every process has a global lock. Rust's threads have none to escape.
//!
//! Python: a `ThreadPoolExecutor` in each worker of a `ProcessPoolExecutor`. Page:
//! `lessons/05-hybrid.md`.

use std::collections::HashSet;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use clap::Parser;
use gil::{Gil, Token};
use process_pool::{Failed, Future, Pool, Task, serve};
use serde::{Deserialize, Serialize};
use tasks::cpu::{formula, sum_of_squares, sum_of_squares_below};
use tasks::fetch::{self, FetchError, TimeOuts};
use tasks::grouped;
use tasks::measure::{Stopwatch, Table, median_and_spread, short};
use tasks::web::{Server, TEXT};
use timeline::{Lane, State, Timeline};

/// Five ways to run tasks that wait and then compute:
///
/// - one after another (one of them: the time for all is an estimate);
/// - threads under one global lock;
/// - processes, each with a lock of its own and one task at a time;
/// - threads in processes: both;
/// - Rust threads, without any lock.
///
/// A task waits for a local web server, then adds up squares: so many that one
/// core of this machine is busy for --cpu. The threads without processes are as
/// many as those in all processes together, --workers times --threads.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/05-hybrid.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Tasks to run in each way
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = cli::count(1..=256))]
    tasks: usize,
    /// How long the server takes to answer a task
    #[arg(long, default_value = "50ms", value_name = "TIME", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(5)))]
    io: Duration,
    /// How long a task computes
    #[arg(long, default_value = "50ms", value_name = "TIME", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(5)))]
    cpu: Duration,
    /// Worker processes
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(1..=64))]
    workers: usize,
    /// Threads in each of them
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = cli::count(1..=64))]
    threads: usize,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    // A worker is this very program, and never gets beyond this line.
    serve::<Share>();
    let args: Args = cli::parse();
    let Args { tasks, workers, threads, .. } = args;
    let (pool, all) = (Some(workers), workers * threads);
    let models = [
        Model { name: "one after another", tasks: 1, workers: None, threads: 1, gil: true },
        Model { name: "threads under one GIL", tasks, workers: None, threads: all, gil: true },
        Model { name: "processes", tasks, workers: pool, threads: 1, gil: true },
        Model { name: "threads in processes", tasks, workers: pool, threads, gil: true },
        Model { name: "Rust threads, no lock", tasks, workers: None, threads: all, gil: false },
    ];

    let [io, cpu] = [args.io, args.cpu].map(short);
    println!("1. Five ways to run the same tasks. Who ran where is counted.");
    println!("   Tasks: {tasks}. Each gets a page (--io {io}), then computes (--cpu {cpu}).\n");
    println!("{HEADER}");
    let squares = squares_in(args.cpu);
    let mut table = Table::for_stderr();
    let mut peaks = Vec::new();
    for model in models {
        let web = Server::start(args.io).context("cannot start the web server")?;
        let progress = args.output.progress(model.name, 0);
        let watch = Stopwatch::start();
        let reports = run(&model, &web.url(), squares).context(model.name)?;
        let times = tasks / model.tasks;
        table.row(model.name, watch.stop().scaled(times.try_into()?));
        drop(progress);
        peaks.push(web.peak().to_string());
        print_counts(&model, &reports, squares, web.requests());
    }
    println!("\n   inside: the most threads that had one and the same lock at once");
    println!("   one after another: a single task is run, to estimate the time of all");

    args.output.measured("\n2. How long they take, measured here.\n");
    args.output.measured(table);
    args.output.measured(format!(
        "\n   At the server at once, at most: {}.\n   Squares in {cpu}: {}.",
        peaks.join(", "),
        grouped(squares.into()),
    ));
    args.output.measured(HOW_TO_READ);
    println!("\nThe page of this lesson: lessons/05-hybrid.md");
    Ok(())
}

const HEADER: &str =
    "                          processes  threads  locks  inside  requests      right";

const HOW_TO_READ: &str = "
   Threads under one lock wait together and compute one at a time. Processes
   compute on all cores, but a process waits for one request at a time. Threads
   in processes wait together and compute on all cores. Rust threads do so in
   one process: no lock, nothing to get around.";

/// A model is an argument: the tasks are the same, what runs them differs.
struct Model {
    name: &'static str,
    tasks: usize,
    /// Processes; `None` is this very one.
    workers: Option<usize>,
    /// In each process.
    threads: usize,
    /// One in each process.
    gil: bool,
}

fn run(model: &Model, url: &str, squares: u64) -> Result<Vec<Report>> {
    let &Model { tasks, threads, gil, .. } = model;
    let share = |tasks| Share { tasks, threads, gil, url: url.into(), squares };
    let Some(workers) = model.workers else {
        return Ok(vec![share(tasks).run().map_err(Error::from_boxed)?]);
    };
    let pool = Pool::new(workers)?;
    // A share for each worker, so that who runs what is no chance. Handed in one by one, the
    // tasks would go to whoever is free, which suits tasks of different lengths better.
    let futures: Vec<_> = deal(tasks, workers).map(|tasks| pool.submit(share(tasks))).collect();
    let reports = futures.into_iter().map(Future::result).collect::<Result<_, _>>()?;
    // The processor time of a worker counts when it has ended.
    pool.shutdown();
    Ok(reports)
}

/// Deals tasks out like cards, as evenly as it goes; an empty hand is left out.
fn deal(tasks: usize, hands: usize) -> impl Iterator<Item = usize> {
    let hands = hands.min(tasks);
    (0..hands).map(move |hand| (tasks - hand).div_ceil(hands))
}

/// The tasks for one process: what its threads do, here or in a worker.
#[derive(Serialize, Deserialize)]
struct Share {
    tasks: usize,
    threads: usize,
    gil: bool,
    url: String,
    squares: u64,
}

#[derive(Serialize, Deserialize)]
struct Report {
    answers: Vec<Answer>,
    /// The most threads that had the lock at once; `None` without a lock.
    inside: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    length: usize,
    sum: u128,
    process: u32,
    thread: String,
}

impl Task for Share {
    type Output = Report;

    fn run(self) -> Result<Report, Failed> {
        // Made here, where the share arrives: each process has a lock of its own, as Python's
        // processes have. One lock for all would line them up again.
        let gil = self.gil.then(Gil::new);
        let timeline = Timeline::new();
        let answers = thread::scope(|scope| {
            let threads: Vec<_> = deal(self.tasks, self.threads)
                .map(|tasks| {
                    let (share, gil, mut lane) =
                        (&self, &gil, timeline.lane("process", "thread"));
                    let task = move |_| share.task(gil.as_ref(), &mut lane);
                    scope.spawn(move || (0..tasks).map(task).collect::<Vec<_>>())
                })
                .collect();
            let answers =
                threads.into_iter().flat_map(|thread| thread.join().expect("no task panics"));
            answers.collect::<Result<_, _>>()
        })?;
        Ok(Report { answers, inside: gil.map(|_| timeline.peak(State::Run)) })
    }
}

impl Share {
    /// Under a lock as an interpreter does it: given up while the thread waits, kept while it
    /// computes.
    fn task(&self, gil: Option<&Gil>, lane: &mut Lane) -> Result<Answer, FetchError> {
        let get = || fetch::get(&self.url, TimeOuts::default());
        let (length, sum) = match gil {
            Some(gil) => {
                let mut token = gil.acquire_on(lane);
                (token.allow_threads(get)?, compute_under(&mut token, self.squares))
            }
            None => (get()?, sum_of_squares_below(self.squares)),
        };
        let thread = format!("{:?}", thread::current().id());
        Ok(Answer { length, sum, process: process::id(), thread })
    }
}

/// With a check point for each square: there another thread gets the lock if it has asked.
fn compute_under(token: &mut Token<'_>, squares: u64) -> u128 {
    sum_of_squares((0..squares).inspect(|_| token.check_point()))
}

/// How many squares keep one core busy for `time`, here. The median of many short looks is not
/// moved by what else the machine does.
fn squares_in(time: Duration) -> u64 {
    const LOOK: u64 = 1_000_000;
    let gil = Gil::new();
    let mut token = gil.acquire();
    let mut looks = [(); 31].map(|()| {
        let start = Instant::now();
        let sum = compute_under(&mut token, LOOK);
        let took = start.elapsed();
        assert_eq!(sum, formula::sum_of_squares_below(LOOK));
        took
    });
    let (look, _) = median_and_spread(&mut looks);
    let squares = u128::from(LOOK) * time.as_nanos() / look.as_nanos();
    squares.try_into().expect("no core adds up that many")
}

fn print_counts(model: &Model, reports: &[Report], squares: u64, requests: usize) {
    let answers = || reports.iter().flat_map(|report| &report.answers);
    let known = (TEXT.len(), formula::sum_of_squares_below(squares));
    let right = answers().filter(|answer| (answer.length, answer.sum) == known).count();
    assert_eq!(right, model.tasks, "the model changes the time, not the answers");
    assert_eq!(requests, model.tasks, "one request for each task");

    let right = format!("{right} of {}", model.tasks);
    let processes = answers().map(|answer| answer.process).collect::<HashSet<_>>().len();
    let threads =
        answers().map(|answer| (answer.process, &answer.thread)).collect::<HashSet<_>>().len();
    let locks: Vec<_> = reports.iter().filter_map(|report| report.inside).collect();
    let inside = locks.iter().max().map_or("-".into(), usize::to_string);
    let (name, locks) = (model.name, locks.len());
    println!(
        "   {name:<21}{processes:>11}{threads:>9}{locks:>7}{inside:>8}{requests:>10}{right:>11}"
    );
}
