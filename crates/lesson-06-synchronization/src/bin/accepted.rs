//! What the compiler accepts and is wrong all the same: a check that is old when the thread acts,
//! and locks taken in an order that closes a circle. Each is forced, named and cured.
//!
//! Python: `threading.Lock`, `acquire(timeout=...)`. Page: `lessons/06-synchronization.md`.

use std::iter;
use std::sync::Barrier;
use std::time::Duration;

use clap::Parser;
use lesson_06_synchronization::in_threads;
use parking_lot::Mutex;
use tasks::measure::{Stopwatch, short};

/// What the compiler accepts and is wrong all the same.
///
/// 1. Check, then act: all see the last ticket, meet, and sell it.
/// 2. Check and act under one lock.
/// 3. Each thread locks its own lock, then its neighbour's: a deadlock, found
///    by a time-out and named.
/// 4. Each locks the lower number first: no deadlock.
///
/// Facts go to stdout, measurements to stderr. The page:
/// lessons/06-synchronization.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many threads, and how many locks
    #[arg(long, default_value = "2", value_name = "N", value_parser = cli::count(2..=26))]
    threads: usize,
    /// How long a thread waits for a lock before it gives up
    #[arg(long, default_value = "100ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(10)))]
    patience: Duration,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    let threads = args.threads;
    println!(
        "1. One ticket, {threads} threads. Each looks whether it is left, meets, and sells it."
    );
    check_then_act(&args);
    println!("\n2. The same with one lock around both.");
    check_and_act(&args);
    println!(
        "\n3. {threads} locks. Each thread locks its own, meets, then locks the next one."
    );
    own_lock_first(&args);
    println!("\n4. The same, but each locks the lower number first.");
    lower_lock_first(&args);
    println!("\nThe page of this program: lessons/06-synchronization.md");
    Ok(())
}

/// The bug, on purpose. Every access has the lock, so there is no data race and nothing for the
/// compiler to refuse; but between the two locks the answer grows old.
fn check_then_act(args: &Args) {
    let tickets = Mutex::new(1);
    let meeting = Barrier::new(args.threads);
    let sold = in_threads(args.threads, |_| {
        let is_left = *tickets.lock() > 0;
        meeting.wait();
        if is_left {
            *tickets.lock() -= 1;
        }
        is_left
    });
    say(&sold, tickets.into_inner());
}

fn check_and_act(args: &Args) {
    let tickets = Mutex::new(1);
    let sold = in_threads(args.threads, |_| {
        let mut tickets = tickets.lock();
        let is_left = *tickets > 0;
        if is_left {
            *tickets -= 1;
        }
        is_left
    });
    say(&sold, tickets.into_inner());
}

fn say(sold: &[bool], left: i32) {
    let sold = sold.iter().filter(|sold| **sold).count();
    println!("   sold: {sold}, left: {left}");
}

/// A thread that gave up.
struct Stuck {
    thread: char,
    has: usize,
    wants: usize,
}

/// The bug, on purpose: `lock` in place of `try_lock_for` would wait for ever.
fn own_lock_first(args: &Args) {
    let locks = locks(args);
    let meeting = Barrier::new(args.threads);
    let watch = Stopwatch::start();
    let stuck = in_threads(args.threads, |me| {
        let [own, next] = [me, (me + 1) % args.threads];
        let _own = locks[own].lock();
        // Each has its first lock, so nobody can get a second one.
        meeting.wait();
        let gave_up = locks[next].try_lock_for(args.patience).is_none();
        // Who let go at once would save the others, and the circle would be luck.
        meeting.wait();
        gave_up.then_some(Stuck { thread: name(me), has: own, wants: next })
    });
    let took = short(watch.stop().wall);
    let stuck: Vec<_> = stuck.into_iter().flatten().collect();
    let patience = short(args.patience);
    println!("   gave up after {patience}: {} of {}", stuck.len(), args.threads);
    for Stuck { thread, has, wants } in &stuck {
        println!("   {thread} has lock {} and wants lock {}", has + 1, wants + 1);
    }
    let circle = circle(&stuck).expect("nobody lets go before everybody has given up");
    println!("   a deadlock, each waits for the next: {circle}");
    args.output.measured(format_args!("   all had given up after {took}"));
}

/// From the first thread to the one that has what it wants, and so on: `A B A`. `None` when that
/// does not lead back to the first.
fn circle(stuck: &[Stuck]) -> Option<String> {
    let holder = |waiter: &&Stuck| stuck.iter().find(|other| other.has == waiter.wants);
    let chain = iter::successors(stuck.first(), holder).take(stuck.len() + 1);
    let names: Vec<_> = chain.map(|stuck| stuck.thread.to_string()).collect();
    (names.len() > 1 && names.first() == names.last()).then(|| names.join(" "))
}

/// One order for all: who has a lock wants only higher ones, so whoever has the highest wants
/// none, and ends. To give up and try again would do too, at the price of trying for ever.
fn lower_lock_first(args: &Args) {
    let locks = locks(args);
    let meeting = Barrier::new(args.threads);
    let came_first = in_threads(args.threads, |me| {
        let [own, next] = [me, (me + 1) % args.threads];
        let [lower, higher] = [own.min(next), own.max(next)];
        let lock = locks[lower].try_lock();
        meeting.wait();
        let came_first = lock.is_some();
        let mut lower = lock.unwrap_or_else(|| locks[lower].lock());
        let mut higher = locks[higher].lock();
        *lower += 1;
        *higher += 1;
        came_first
    });
    let held = came_first.iter().filter(|came_first| **came_first).count();
    let [last, all] = [name(args.threads - 1), name(0)];
    println!(
        "   {all} and {last} both begin with lock 1: at the meeting {held} of {} have a lock",
        args.threads
    );
    let users: Vec<_> = locks.into_iter().map(|lock| lock.into_inner().to_string()).collect();
    println!("   all end; threads that had each lock: {}", users.join(" "));
}

/// Each protects how many threads have had it.
fn locks(args: &Args) -> Vec<Mutex<u32>> {
    (0..args.threads).map(|_| Mutex::new(0)).collect()
}

fn name(thread: usize) -> char {
    ('A'..='Z').nth(thread).expect("there are at most 26")
}
