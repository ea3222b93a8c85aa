//! What a message costs by its size: through a pipe, through a queue, and in shared memory. Small
//! ones pay for being sent, large ones for being copied.
//!
//! Python: `multiprocessing.Pipe`, `Queue`, `shared_memory`. Page: `lessons/04-ipc-queue-in-depth.md`.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use ipc::{Error, Pipe, Sender, SharedSlice, bounded, pipe};
use process_pool::{Failed, Process, Task, serve};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tasks::grouped;

/// What a message costs, by its size and by its way.
///
/// A process sends messages of 64 bytes to 16 MiB to its parent: through a pipe,
/// through a bounded queue, and in shared memory. The parent adds up each one.
///
/// Facts go to stdout: what arrived. Measurements go to stderr: messages and
/// bytes a second.
///
/// The page: lessons/04-ipc-queue-in-depth.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// At most this many messages of each size
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = cli::number(1..=1_000_000))]
    messages: u64,
    /// At most this many MiB of each size, but one message at least
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = cli::number(1..=4_096))]
    mib: u64,
    /// Messages that the queue has room for
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = cli::count(1..=10_000))]
    capacity: usize,
    #[command(flatten)]
    output: cli::Output,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// In bytes; whole numbers of u64.
const SIZES: [u64; 6] = [64, KIB, 16 * KIB, 256 * KIB, MIB, 16 * MIB];

fn main() -> cli::Result {
    serve::<SendAll>();
    let args: Args = cli::parse();
    println!("A process sends, its parent adds up: by pipe, by queue, in shared memory.");
    println!("       size  messages  the sum of all, each way");
    let mut table = format!("\n{:11}", "one way");
    for way in ["pipe", "queue", "shared memory"] {
        table += &format!("{way:>22}");
    }
    for size in SIZES {
        let load = Load { size, messages: args.messages.min(args.mib * MIB / size).max(1) };
        let sum = u128::from(load.messages) * u128::from(load.sum_of(0))
            + u128::from(load.messages * (load.messages - 1) / 2);
        let times = [
            through_a_pipe(load)?,
            through_a_queue(load, args.capacity)?,
            in_shared_memory(load)?,
        ];
        let messages = grouped(load.messages.into());
        println!("{:>11}  {messages:>8}  {}", bytes(size), grouped(sum));
        table += &format!("\n{:>11}", bytes(size));
        for time in times {
            table += &speed(load, time);
        }
    }
    println!("every message arrived once and whole, in order");
    args.output.measured(table);
    println!("\nThe page of this program: lessons/04-ipc-queue-in-depth.md");
    Ok(())
}

fn through_a_pipe(load: Load) -> Result<Duration> {
    let (mut ours, theirs) = pipe()?;
    receive(load, Way::Pipe(theirs), || Ok(sum_of(&ours.recv()?)))
}

fn through_a_queue(load: Load, capacity: usize) -> Result<Duration> {
    let (sender, receiver) = bounded(capacity)?;
    receive(load, Way::Queue(sender), || Ok(sum_of(&receiver.recv()?)))
}

fn in_shared_memory(load: Load) -> Result<Duration> {
    let places = [SharedSlice::zeroed(load.words())?, SharedSlice::zeroed(load.words())?];
    let (mut ours, theirs) = pipe()?;
    // Both places are free.
    ours.send(&0)?;
    ours.send(&1)?;
    receive(load, Way::Memory(places.clone(), theirs), || {
        // The numbers do not travel. The word does that they are there, and that they are read.
        let place: usize = ours.recv()?;
        let sum = places[place].iter().sum();
        ours.send(&place)?;
        Ok(sum)
    })
}

/// From the word that the sender may begin to the end of the last message.
fn receive(
    load: Load,
    way: Way,
    mut next: impl FnMut() -> Result<u64, Error>,
) -> Result<Duration> {
    let (mut start, theirs) = pipe()?;
    let mut child = Process::spawn(SendAll { load, way, start: theirs })?;
    child.heard(start.recv())?;
    // Before the word, not behind it: the sender may be at work before this thread runs again.
    let begun = Instant::now();
    child.heard(start.send(&()))?;
    for number in 0..load.messages {
        let sum = child.heard(next())?;
        assert_eq!(sum, load.sum_of(number), "message {number} comes next, and is whole");
    }
    let took = begun.elapsed();
    child.join()?;
    Ok(took)
}

/// Sends a load when it gets the word.
#[derive(Serialize, Deserialize)]
struct SendAll {
    load: Load,
    way: Way,
    start: Pipe<(), ()>,
}

#[derive(Serialize, Deserialize)]
enum Way {
    Pipe(Pipe<ByteBuf, ()>),
    Queue(Sender<ByteBuf>),
    /// Two places: one is written while the other is read.
    Memory([SharedSlice<u64>; 2], Pipe<usize, usize>),
}

impl Task for SendAll {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        let Self { load, way, start } = self;
        match way {
            Way::Pipe(parent) => send_all(load, start, |message| parent.send(message))?,
            Way::Queue(queue) => send_all(load, start, |message| queue.send(message))?,
            Way::Memory(places, mut parent) => {
                let mut numbers: Vec<u64> = (0..).take(load.words()).collect();
                ready(start)?;
                for number in 0..load.messages {
                    // A place that has been read. Any other would be written over unread.
                    let place = parent.recv()?;
                    numbers[0] = number;
                    places[place].write(&numbers);
                    parent.send(&place)?;
                }
                // An end that closes now would fail the parent, which still gives places back.
                for _ in &places {
                    parent.recv()?;
                }
            }
        }
        Ok(())
    }
}

fn send_all(
    load: Load,
    start: Pipe<(), ()>,
    send: impl Fn(&ByteBuf) -> Result<(), Error>,
) -> Result<(), Error> {
    let numbers = (0..).take(load.words());
    // A run of bytes, not a `Vec<u64>`: number by number, encoding would cost the most.
    let mut message = ByteBuf::from(numbers.flat_map(u64::to_le_bytes).collect::<Vec<_>>());
    ready(start)?;
    for number in 0..load.messages {
        message[..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
        send(&message)?;
    }
    Ok(())
}

/// Says so, and waits for the word to begin.
fn ready(mut start: Pipe<(), ()>) -> Result<(), Error> {
    start.send(&())?;
    start.recv()
}

/// Messages of one size. Message n holds the u64 n, 1, 2, 3, ...
#[derive(Serialize, Deserialize, Clone, Copy)]
struct Load {
    size: u64,
    messages: u64,
}

impl Load {
    fn words(self) -> usize {
        usize::try_from(self.size).expect("16 MiB are in reach") / size_of::<u64>()
    }

    /// What message `number` adds up to. No two have the same sum.
    fn sum_of(self, number: u64) -> u64 {
        let words = self.words() as u64;
        words * (words - 1) / 2 + number
    }
}

fn sum_of(message: &[u8]) -> u64 {
    let (words, _) = message.as_chunks();
    words.iter().copied().map(u64::from_le_bytes).sum()
}

fn bytes(size: u64) -> String {
    match size {
        ..KIB => format!("{size} B"),
        KIB..MIB => format!("{} KiB", size / KIB),
        _ => format!("{} MiB", size / MIB),
    }
}

/// Messages a second, and megabytes.
fn speed(load: Load, took: Duration) -> String {
    let took = took.as_nanos().max(1);
    let messages = u128::from(load.messages) * 1_000_000_000 / took;
    let megabytes = u128::from(load.messages * load.size) * 1_000 / took;
    format!("{:>10}/s{megabytes:>5} MB/s", grouped(messages))
}
