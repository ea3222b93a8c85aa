//! What orders threads: a semaphore lets so many in, an event holds all until it is set, a barrier
//! all until the last has come, a condition each until its own moment.
//!
//! Python: `threading.Semaphore`, `Event`, `Barrier`, `Condition`.
//! Page: `lessons/06-synchronization.md`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Condvar, Mutex, OnceLock};
use std::thread;

use clap::Parser;
use crossbeam_channel::bounded;
use lesson_06_synchronization::in_threads;
use timeline::Gauge;

/// What orders threads.
///
/// 1. A semaphore: so many may be inside at once.
/// 2. An event: nobody passes before it is set.
/// 3. A barrier: nobody passes before all have come.
/// 4. A condition: each waits until its turn has come.
///
/// The page: lessons/06-synchronization.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many threads come
    #[arg(long, default_value = "8", value_name = "N", value_parser = cli::count(1..=64))]
    threads: usize,
    /// How many the semaphore lets in at once
    #[arg(long, default_value = "3", value_name = "N", value_parser = cli::count(1..=64))]
    permits: usize,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    let threads = args.threads;
    println!("1. A semaphore: {threads} threads come, permits: {}.", args.permits);
    semaphore(&args);
    println!("\n2. An event: {threads} threads wait for it.");
    event(&args);
    println!("\n3. A barrier for {threads} threads.");
    barrier(&args);
    println!(
        "\n4. A condition: {threads} threads start in order, and go when it is their turn."
    );
    condition(&args);
    println!("\nThe page of this program: lessons/06-synchronization.md");
    Ok(())
}

/// The standard library has no semaphore. A channel with so many places is one: who sends takes
/// a place or waits for one, who receives gives a place back. crossbeam's receivers can be
/// shared; those of the standard library cannot. The price: a panic inside keeps its place.
fn semaphore(args: &Args) {
    let (enter, leave) = bounded(args.permits);
    let inside = Gauge::new();
    let most = args.permits.min(args.threads);
    let come = AtomicUsize::new(0);
    let full = Barrier::new(most);
    in_threads(args.threads, |_| {
        enter.send(()).expect(BOTH_ENDS_LIVE);
        {
            let _inside = inside.enter();
            // The first do not leave before it is full: the peak is no luck.
            if come.fetch_add(1, Relaxed) < most {
                full.wait();
            }
        }
        leave.recv().expect(BOTH_ENDS_LIVE);
    });
    println!("   all have been inside, at most {} at once", inside.peak());
    assert_eq!(inside.peak(), most);
}

/// A cell that is written once is an event that is set once.
fn event(args: &Args) {
    let event = OnceLock::new();
    let passed = AtomicUsize::new(0);
    let all_have_come = Barrier::new(args.threads + 1);
    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                all_have_come.wait();
                event.wait();
                passed.fetch_add(1, Relaxed);
            });
        }
        all_have_come.wait();
        println!("   passed before it is set: {}", passed.load(Relaxed));
        event.set(()).expect("it is set only here");
    });
    println!("   passed behind it: {}", passed.into_inner());
}

fn barrier(args: &Args) {
    let barrier = Barrier::new(args.threads);
    let come = AtomicUsize::new(0);
    let behind = in_threads(args.threads, |_| {
        come.fetch_add(1, Relaxed);
        let is_leader = barrier.wait().is_leader();
        (come.load(Relaxed), is_leader)
    });
    let fewest = behind.iter().map(|(come, _)| come).min().expect("there is a thread");
    let leaders = behind.iter().filter(|(_, is_leader)| *is_leader).count();
    println!("   behind it, each sees that {fewest} have come; leaders: {leaders}");
}

/// The last thread goes first. The list is what the mutex protects and what the condition is about.
fn condition(args: &Args) {
    let went = Mutex::new(Vec::new());
    let changed = Condvar::new();
    in_threads(args.threads, |me| {
        let turn = args.threads - 1 - me;
        let went = went.lock().expect(NOT_POISONED);
        // Gives the lock up while it waits, and looks again whenever it is woken.
        let mut went = changed.wait_while(went, |went| went.len() != turn).expect(NOT_POISONED);
        went.push((me + 1).to_string());
        // `notify_one` may wake a thread whose turn it is not: it sleeps again, and so do all.
        changed.notify_all();
    });
    println!("   they went: {}", went.into_inner().expect(NOT_POISONED).join(" "));
}

const BOTH_ENDS_LIVE: &str = "the function holds both ends";
const NOT_POISONED: &str = "no thread panics while it has the lock";
