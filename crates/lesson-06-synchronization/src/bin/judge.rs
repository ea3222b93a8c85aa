//! No luck and no meeting: every order in which the moves of a few threads can come, and how many
//! of these orders lose an update, sell too much, or get stuck.
//!
//! Python has no such thing. Page: `lessons/06-synchronization.md`.

use clap::Parser;
use simulator::explorer::{Choices, every};

use Move::{
    Add, AtomicAdd, CompareExchange, Const, Load, Lock, ReadLock, ReadUnlock, Receive, Sell,
    Send, Store, Unlock,
};

/// Every order of the moves of a few threads: how many go wrong?
///
/// - counting: each adds 1 to a counter; wrong is a counter that misses one;
/// - selling: each sells the last ticket if it is left; wrong is to sell two;
/// - two locks at once: wrong is to get stuck.
///
/// The page: lessons/06-synchronization.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How many threads
    #[arg(long, default_value = "2", value_name = "N", value_parser = cli::count(2..=3))]
    threads: usize,
}

/// What no other thread can come into.
#[derive(Clone, Copy)]
enum Move {
    /// Reads the counter into a place of its own.
    Load,
    /// Brings the 1 that is added.
    Const,
    /// Adds it, in the place.
    Add,
    /// Writes the place to the counter.
    Store,
    /// Reads, adds and writes in one.
    AtomicAdd,
    /// Writes the place plus 1 if the counter is still what was read; else begins again.
    CompareExchange,
    /// Waits until nobody has this lock.
    Lock(usize),
    Unlock(usize),
    /// Waits until no writer has lock 0.
    ReadLock,
    ReadUnlock,
    Send,
    /// Waits for something sent.
    Receive,
    /// Sells a ticket if one was left when the counter was read.
    Sell,
}

/// `counter += 1`, as CPython compiles it.
const COUNT: [Move; 4] = [Load, Const, Add, Store];
/// Reads it as one of the readers.
const READ: [Move; 3] = [ReadLock, Load, ReadUnlock];

struct Variant {
    name: &'static str,
    threads: Vec<Vec<Move>>,
    /// The counter at the start, and at the end if all went well.
    counter: [i32; 2],
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    println!("{} threads, every order of their moves.", args.threads);
    println!("{:<32}{:>7}{:>7}{:>7}  first bad one", "", "orders", "wrong", "stuck");
    for variant in variants(args.threads) {
        println!("{}", judged(&variant));
    }
    println!("\nThe page of this program: lessons/06-synchronization.md");
    Ok(())
}

fn variants(threads: usize) -> Vec<Variant> {
    let counted = i32::try_from(threads).expect("a few");
    let each = |name, counter, moves: &[Move]| Variant {
        name,
        threads: vec![moves.to_vec(); threads],
        counter,
    };
    let counting = |name, moves: &[&[Move]]| each(name, [0, counted], &moves.concat());
    let selling = |name, moves: &[Move]| each(name, [1, 0], moves);
    let locking = |name, order: fn(usize, usize) -> [usize; 2]| {
        let both = |[first, second]: [usize; 2]| {
            vec![Lock(first), Lock(second), Unlock(second), Unlock(first)]
        };
        let threads = (0..threads).map(|me| both(order(me, (me + 1) % threads))).collect();
        Variant { name, threads, counter: [0, 0] }
    };
    let owner = [&[Receive], &COUNT[..]].concat().repeat(threads);
    let mut channel = counting("count: channel, one owner", &[&[Send]]);
    channel.threads.push(owner);
    vec![
        counting("count: read, then write", &[&COUNT]),
        counting("count: mutex", &[&[Lock(0)], &COUNT, &[Unlock(0)]]),
        counting("count: atomic add", &[&[AtomicAdd]]),
        counting("count: compare-exchange", &[&[Load, CompareExchange]]),
        counting(
            "count: read lock, write old + 1",
            &[&READ, &[Lock(0), Const, Add, Store, Unlock(0)]],
        ),
        counting("count: read lock, read again", &[&READ, &[Lock(0)], &COUNT, &[Unlock(0)]]),
        channel,
        selling("sell: check, then act", &[Lock(0), Load, Unlock(0), Lock(0), Sell, Unlock(0)]),
        selling("sell: check and act in one lock", &[Lock(0), Load, Sell, Unlock(0)]),
        locking("two locks: own, then next", |own, next| [own, next]),
        locking("two locks: lower first", |own, next| [own.min(next), own.max(next)]),
    ]
}

/// Runs every order and prints what became of them.
fn judged(variant: &Variant) -> String {
    let [mut orders, mut wrong, mut stuck] = [0_u64; 3];
    let mut first_bad = String::new();
    every(|choices| {
        let (end, moves) = play(variant, choices);
        orders += 1;
        wrong += u64::from(end.is_some_and(|counter| counter != variant.counter[1]));
        stuck += u64::from(end.is_none());
        if wrong + stuck > 0 && first_bad.is_empty() {
            first_bad = moves;
        }
    });
    let name = variant.name;
    format!("{name:<32}{orders:>7}{wrong:>7}{stuck:>7}  {first_bad}").trim_end().to_owned()
}

/// One order, to its end. Returns the counter, or `None` when threads are left and none can move;
/// and who moved.
fn play(variant: &Variant, choices: &mut Choices) -> (Option<i32>, String) {
    let mut shared = Shared { counter: variant.counter[0], ..Shared::default() };
    let mut threads = vec![Thread::default(); variant.threads.len()];
    let mut moves = String::new();
    loop {
        let next = |me: usize| variant.threads[me].get(threads[me].at).copied();
        let left = (0..threads.len()).filter_map(|me| Some((me, next(me)?)));
        let left: Vec<_> = left.collect();
        let ready: Vec<_> = left.iter().filter(|(_, next)| shared.allows(*next)).collect();
        if ready.is_empty() {
            return (left.is_empty().then_some(shared.counter), moves);
        }
        let (me, next) = *ready[choices.pick(ready.len())];
        shared.make(next, &mut threads[me]);
        moves.push(('a'..).nth(me).expect("a few"));
    }
}

#[derive(Clone, Default)]
struct Thread {
    at: usize,
    place: i32,
}

/// What the threads share.
#[derive(Default)]
struct Shared {
    counter: i32,
    locked: [bool; 3],
    readers: usize,
    sent: usize,
}

impl Shared {
    fn allows(&self, next: Move) -> bool {
        match next {
            Lock(lock) => !self.locked[lock] && self.readers == 0,
            ReadLock => !self.locked[0],
            Receive => self.sent > 0,
            _ => true,
        }
    }

    fn make(&mut self, next: Move, thread: &mut Thread) {
        thread.at += 1;
        match next {
            Load => thread.place = self.counter,
            Const => {}
            Add => thread.place += 1,
            Store => self.counter = thread.place,
            AtomicAdd => self.counter += 1,
            CompareExchange if self.counter == thread.place => self.counter += 1,
            CompareExchange => thread.at = 0,
            Lock(lock) => self.locked[lock] = true,
            Unlock(lock) => self.locked[lock] = false,
            ReadLock => self.readers += 1,
            ReadUnlock => self.readers -= 1,
            Send => self.sent += 1,
            Receive => self.sent -= 1,
            Sell if thread.place > 0 => self.counter -= 1,
            Sell => {}
        }
    }
}
