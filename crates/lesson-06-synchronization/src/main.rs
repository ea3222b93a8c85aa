//! Threads share memory, so they can race: between the read and the write of one, another reads
//! the same. Here they meet there, and lose all updates but one in every round; then the same
//! meeting with a mutex, an atomic, a read-write lock and a channel, which lose none.
//!
//! Python: `threading.Lock`, `queue.Queue`. Page: `lessons/06-synchronization.md`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Barrier, Mutex, RwLock};
use std::thread::{self, JoinHandle};

use clap::Parser;
use lesson_06_synchronization::in_threads;
use tasks::grouped;
use tasks::measure::{Stopwatch, Table};
use timeline::Gauge;

/// A race that loses updates in every run, and what cures it.
///
/// 1. Threads count: all read, meet, and write. All updates but one are lost.
/// 2. The same with a mutex: one is between read and write, the others wait.
/// 3. The same with an atomic: one update wins, the others see that and repeat.
/// 4. The same with a read-write lock: all may read at once, one may write.
/// 5. The same with a channel: nothing is shared, one owner counts.
/// 6. All of them without a meeting.
///
/// Facts go to stdout, measurements to stderr. The page:
/// lessons/06-synchronization.md
///
/// More programs:
///   cargo run -p lesson-06-synchronization --bin order
///   cargo run -p lesson-06-synchronization --bin accepted
///   cargo run -p lesson-06-synchronization --bin judge
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many threads count
    #[arg(long, default_value = "2", value_name = "N", value_parser = cli::count(2..=64))]
    threads: usize,
    /// How often they meet: each counts 1 in a round
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = cli::number(1..=100_000))]
    rounds: u64,
    /// How far each counts without a meeting
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = cli::number(1..=100_000_000))]
    increments: u64,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    let (threads, rounds) = (args.threads, grouped(args.rounds.into()));
    println!(
        "1. {threads} threads count {rounds} each: all read, meet, write what they read plus 1."
    );
    read_meet_write(&args);
    println!("\n2. A mutex, locked from the read to the write. They meet in between.");
    with_a_mutex(&args);
    println!("\n3. An atomic. They meet between the read and the compare-exchange.");
    with_an_atomic(&args);
    println!("\n4. A read-write lock. They meet as readers; then each writes.");
    with_a_read_write_lock(&args);
    println!("\n5. A channel. Each sends what is to be added; one owner adds.");
    with_a_channel(&args);
    println!("\n6. No meeting: {} each, as fast as it goes.", grouped(args.increments.into()));
    at_full_speed(&args);
    println!("\nThe page of this lesson: lessons/06-synchronization.md");
    Ok(())
}

/// The bug, on purpose. Two instructions on an atomic, and no undefined behaviour: a plain `u64`
/// for two writers does not compile, but nothing says that a read and a write belong together.
fn read_meet_write(args: &Args) {
    let counter = AtomicU64::new(0);
    let meeting = Barrier::new(args.threads);
    each_round(args, || {
        let seen = counter.load(Relaxed);
        // All have read and none has written. Nothing but the meeting makes this sure.
        meeting.wait();
        counter.store(seen + 1, Relaxed);
        // All have written. Without this line some would read too early for the next round.
        meeting.wait();
    });
    let counter = counter.into_inner();
    assert_eq!(counter, args.rounds, "all write the same");
    say(args, counter);
}

fn with_a_mutex(args: &Args) {
    let counter = Mutex::new(0);
    let meeting = Barrier::new(args.threads);
    let refused = AtomicU64::new(0);
    each_round(args, || {
        if let Ok(mut counter) = counter.try_lock() {
            let seen = *counter;
            meeting.wait();
            *counter = seen + 1;
        } else {
            // With `lock` the thread would never come to the meeting, nor the holder away from it.
            refused.fetch_add(1, Relaxed);
            meeting.wait();
            *counter.lock().expect(NOT_POISONED) += 1;
        }
        meeting.wait();
    });
    say(args, counter.into_inner().expect(NOT_POISONED));
    assert_refused(args, refused);
    println!("   at each meeting: 1 has the lock, the others are refused and count later");
}

fn with_an_atomic(args: &Args) {
    let counter = AtomicU64::new(0);
    let meeting = Barrier::new(args.threads);
    let refused = AtomicU64::new(0);
    each_round(args, || {
        let seen = counter.load(Relaxed);
        meeting.wait();
        // Writes if the counter is still what was seen. For all but one it is not.
        if counter.compare_exchange(seen, seen + 1, Relaxed, Relaxed).is_err() {
            refused.fetch_add(1, Relaxed);
            // To read again and try again until it succeeds; `fetch_add` does it in one.
            counter.fetch_add(1, Relaxed);
        }
        meeting.wait();
    });
    say(args, counter.into_inner());
    assert_refused(args, refused);
    println!("   at each meeting: all have read the same, 1 writes, the others repeat");
}

fn with_a_read_write_lock(args: &Args) {
    let counter = RwLock::new(0);
    let meeting = Barrier::new(args.threads);
    let [readers, writers] = [Gauge::new(), Gauge::new()];
    each_round(args, || {
        {
            let _counter = counter.read().expect(NOT_POISONED);
            let _inside = readers.enter();
            // Under a mutex nobody would pass this line.
            meeting.wait();
        }
        {
            // What was read above is old here: whoever writes reads again, under this guard.
            let mut counter = counter.write().expect(NOT_POISONED);
            let _inside = writers.enter();
            *counter += 1;
        }
        // Without this line a reader of the next round keeps a writer of this one out, and waits
        // at the meeting for it.
        meeting.wait();
    });
    say(args, counter.into_inner().expect(NOT_POISONED));
    let (readers, writers) = (readers.peak(), writers.peak());
    println!("   readers inside at once: {readers}; writers inside at once: {writers}");
}

fn with_a_channel(args: &Args) {
    let (add, owner) = start_owner();
    each_round(args, || add.send(1).expect(OWNER_LISTENS));
    drop(add);
    say(args, owner.join().expect(OWNER_LISTENS));
}

/// A thread whose own the counter is. When all senders are gone, it returns what it has.
fn start_owner() -> (SyncSender<u64>, JoinHandle<u64>) {
    // Who is this far ahead of the owner waits: without a bound, memory is the bound.
    let (add, additions) = mpsc::sync_channel(1_000);
    (add, thread::spawn(move || additions.iter().sum()))
}

/// The cures as people write them, each beside the others.
fn at_full_speed(args: &Args) {
    let mut table = Table::for_stderr();
    let expected = args.increments * args.threads as u64;
    let mut timed = |label, increment: &(dyn Fn() + Sync)| {
        let start = Barrier::new(args.threads);
        let watch = Stopwatch::start();
        in_threads(args.threads, |_| {
            start.wait();
            (0..args.increments).for_each(|_| increment());
        });
        table.row(label, watch.stop());
    };

    let plain = AtomicU64::new(0);
    timed("read, then write", &|| plain.store(plain.load(Relaxed) + 1, Relaxed));
    let mutex = Mutex::new(0);
    timed("Mutex", &|| *mutex.lock().expect(NOT_POISONED) += 1);
    let parking_lot = parking_lot::Mutex::new(0);
    timed("parking_lot::Mutex", &|| *parking_lot.lock() += 1);
    let rw_lock = RwLock::new(0);
    timed("RwLock, write", &|| *rw_lock.write().expect(NOT_POISONED) += 1);
    let atomic = AtomicU64::new(0);
    timed("fetch_add", &|| _ = atomic.fetch_add(1, Relaxed));
    let (add, owner) = start_owner();
    timed("channel, send", &|| add.send(1).expect(OWNER_LISTENS));
    drop(add);

    let cures = [
        mutex.into_inner().expect(NOT_POISONED),
        parking_lot.into_inner(),
        rw_lock.into_inner().expect(NOT_POISONED),
        atomic.into_inner(),
        owner.join().expect(OWNER_LISTENS),
    ];
    assert_eq!(cures, [expected; 5], "a cure loses nothing");
    println!("   mutex, atomic, read-write lock, channel: each {}", grouped(expected.into()));
    let lost = grouped((expected - plain.into_inner()).into());
    args.output.measured(format_args!("   read, then write, by luck: {lost} lost\n{table}"));
}

const OWNER_LISTENS: &str = "the owner ends when all senders are gone, and does not panic";
const NOT_POISONED: &str = "no thread panics while it has the lock";

fn each_round(args: &Args, count: impl Fn() + Sync) {
    in_threads(args.threads, |_| (0..args.rounds).for_each(|_| count()));
}

fn say(args: &Args, counter: u64) {
    let expected = args.rounds * args.threads as u64;
    let [counter, lost] = [counter, expected - counter].map(|n| grouped(n.into()));
    println!("   counter: {counter}, lost updates: {lost}");
}

/// In every round all but one found another one between its read and its write.
fn assert_refused(args: &Args, refused: AtomicU64) {
    assert_eq!(refused.into_inner(), args.rounds * (args.threads as u64 - 1));
}
