//! Where the counts and the check points are: the articles' sum on a small interpreter. A count
//! changes inside an instruction, a check point lies between two, and so a plain count is enough
//! under the GIL.
//!
//! Python: `dis`. Page: `lessons/09-reference-counts.md`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use gil::{Gil, Settings, Token};
use tasks::cpu::formula;
use tasks::grouped;
use tasks::measure::{Stopwatch, short};

/// Where the reference counts and the check points are.
///
/// 1. `total = 0`, `for i in range(n): total += i`, instruction by instruction:
///    how often each runs, what it does to the counts, how many check points
///    lie behind it.
/// 2. Threads do it under one GIL, on one heap that has no other lock.
///
/// Facts go to stdout, measurements to stderr.
/// The page: lessons/09-reference-counts.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Each thread adds up the numbers below N
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = cli::number(0..=10_000_000))]
    below: u64,
    /// How many threads do it
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = cli::count(1..=64))]
    threads: usize,
    /// Only this Python [default: both]
    #[arg(long)]
    policy: Option<Policy>,
    /// How long a thread waits for the lock before it asks for it
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::from_micros(1)..=Duration::from_secs(10)))]
    interval: Duration,
    #[command(flatten)]
    output: cli::Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    // CPython has none behind those that only move a local variable or a constant: nothing that
    // another thread could tell from one just before or behind.
    /// Check points between any two instructions
    #[value(name = "3.9")]
    EveryInstruction,
    /// At the back edge of a loop and after a call
    #[value(name = "3.10")]
    BackEdgesAndCalls,
}

/// An instruction. A place is the number of a local variable.
#[derive(Clone, Copy)]
enum Instruction {
    /// Pushes the object of the constant.
    Const,
    Load(usize),
    /// Pops into the place, and drops what was there.
    Store(usize),
    /// Calls `range` with what it pops.
    CallRange,
    /// Pushes the next number of the range, or goes there behind the last one.
    Next(usize),
    Add,
    JumpBack(usize),
    /// Returns what it pops, and drops the local variables.
    Return,
}

use Instruction::{Add, CallRange, Const, JumpBack, Load, Next, Return, Store};

const TOTAL: usize = 0;
const I: usize = 1;
const N: usize = 2;

/// As CPython compiles it, without what only it needs.
const SUM: [(&str, Instruction); 13] = [
    ("CONST     0", Const),
    ("STORE     total", Store(TOTAL)),
    ("LOAD      n", Load(N)),
    ("CALL      range", CallRange),
    ("NEXT      else 11", Next(11)),
    ("STORE     i", Store(I)),
    ("LOAD      total", Load(TOTAL)),
    ("LOAD      i", Load(I)),
    ("ADD", Add),
    ("STORE     total", Store(TOTAL)),
    ("JUMP BACK 4", JumpBack(4)),
    ("LOAD      total", Load(TOTAL)),
    ("RETURN", Return),
];

fn main() -> cli::Result {
    let args: Args = cli::parse();
    let policies = args.policy.as_ref().map_or(Policy::value_variants(), std::slice::from_ref);
    let n = grouped(args.below.into());
    println!("1. total = 0; for i in range({n}): total += i");
    let runs = policies.iter().map(|policy| in_threads(&args, *policy));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    show(policies, &runs);
    println!(
        "\n2. Threads that did it under one GIL, with plain counts on one heap: {}",
        args.threads
    );
    for (policy, run) in policies.iter().zip(&runs) {
        println!(
            "   {:4}  each has {}; objects left behind: {}",
            policy.name(),
            grouped(run.total.into()),
            run.left
        );
        let (took, switches) = (short(run.took), run.switches);
        let measured = format!("   took {took}; the lock changed hands {switches} times");
        args.output.measured(measured);
    }
    println!("\nThe page of this program: lessons/09-reference-counts.md");
    Ok(())
}

/// What all threads have done.
struct Run {
    total: u64,
    /// Of one thread: all did the same.
    seen: Seen,
    left: usize,
    switches: u64,
    took: Duration,
}

/// What one thread has done, instruction by instruction.
type Seen = [Line; SUM.len()];

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Line {
    times: u64,
    made: u64,
    increfs: u64,
    decrefs: u64,
    freed: u64,
    check_points: u64,
}

fn in_threads(args: &Args, policy: Policy) -> Result<Run> {
    let heap = Heap::new(args.threads);
    let zero = heap.make(0).context("there is room for a constant")?;
    let n = heap.make(args.below).context("there is room for an argument")?;
    let gil = Gil::with(Settings { interval: args.interval, ..Settings::default() });
    let watch = Stopwatch::start();
    let sums: Vec<_> = thread::scope(|scope| {
        let sum = || {
            let mut token = gil.acquire();
            heap.add(n, 1);
            let mut frame = Frame { heap: &heap, zero, seen: Seen::default(), at: 0 };
            frame.run(policy, n, &mut token).map(|total| (total, frame.seen))
        };
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(sum)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect(NO_PANIC);
        threads.into_iter().map(join).collect::<Result<_>>()
    })?;
    let took = watch.stop().wall;
    let (total, seen) = sums[0];
    assert_eq!(u128::from(total), formula::sum_below(args.below));
    assert!(sums.iter().all(|other| *other == sums[0]), "all threads do the same: {sums:?}");
    assert_eq!([zero, n].map(|object| heap.count(object)), [1, 1], "as before");
    Ok(Run { total, seen, left: heap.objects() - 2, switches: gil.switches(), took })
}

const NO_PANIC: &str = "a sum does not panic";

impl Policy {
    fn name(self) -> String {
        let value = self.to_possible_value().expect("no policy is hidden");
        value.get_name().to_owned()
    }

    fn check_point_behind(self, instruction: Instruction) -> bool {
        match self {
            Policy::EveryInstruction => true,
            Policy::BackEdgesAndCalls => matches!(instruction, JumpBack(_) | CallRange),
        }
    }
}

/// One table of all runs: only the check points differ.
fn show(policies: &[Policy], runs: &[Run]) {
    println!("{:57}  check points in", "");
    print!("{:21}{:>9}{:>9}{:>9}{:>9}", "", "times", "increfs", "decrefs", "freed");
    policies.iter().for_each(|policy| print!("{:>9}", policy.name()));
    println!();
    let row = |name: &str, lines: &[Line]| {
        let Line { times, increfs, decrefs, freed, .. } = lines[0];
        print!("   {name:18}{times:>9}{increfs:>9}{decrefs:>9}{freed:>9}");
        lines.iter().for_each(|line| print!("{:>9}", line.check_points));
        println!();
    };
    let mut all = vec![Line::default(); runs.len()];
    for (at, (name, _)) in SUM.iter().enumerate() {
        let lines: Vec<_> = runs.iter().map(|run| run.seen[at]).collect();
        all.iter_mut().zip(&lines).for_each(|(all, line)| *all = all.and(*line));
        row(&format!("{at:>2} {name}"), &lines);
    }
    row("   together", &all);
    let Line { made, increfs, decrefs, freed, .. } = all[0];
    assert_eq!(made, freed);
    assert_eq!(made + increfs + 1, decrefs, "the caller took one reference");
    let made = grouped(made.into());
    println!("   numbers made, with one reference each: {made}; freed: all of them");
}

impl Line {
    fn and(self, other: Line) -> Line {
        Line {
            times: self.times + other.times,
            made: self.made + other.made,
            increfs: self.increfs + other.increfs,
            decrefs: self.decrefs + other.decrefs,
            freed: self.freed + other.freed,
            check_points: self.check_points + other.check_points,
        }
    }
}

/// One call of the sum, on the interpreter.
struct Frame<'h> {
    heap: &'h Heap,
    zero: Object,
    seen: Seen,
    /// The instruction that runs.
    at: usize,
}

impl Frame<'_> {
    fn run(&mut self, policy: Policy, n: Object, token: &mut Token) -> Result<u64> {
        let mut stack = Vec::new();
        let mut locals = [None; 3];
        // An argument: the caller has counted it.
        locals[N] = Some(n);
        let mut range = 0..0;
        let empty = "the code pops what it has pushed";
        loop {
            let (_, instruction) = SUM[self.at];
            let mut next = self.at + 1;
            match instruction {
                Const => stack.push(self.incref(self.zero)),
                Load(place) => {
                    let object = locals[place].context("a variable without a value")?;
                    stack.push(self.incref(object));
                }
                Store(place) => {
                    let before = locals[place].replace(stack.pop().context(empty)?);
                    before.into_iter().for_each(|object| self.decref(object));
                }
                CallRange => {
                    let end = stack.pop().context(empty)?;
                    range = 0..self.heap.value(end);
                    self.decref(end);
                }
                Next(behind) => match range.next() {
                    Some(number) => stack.push(self.make(number)?),
                    None => next = behind,
                },
                Add => {
                    let [b, a] = [stack.pop().context(empty)?, stack.pop().context(empty)?];
                    stack.push(self.make(self.heap.value(a) + self.heap.value(b))?);
                    [b, a].into_iter().for_each(|object| self.decref(object));
                }
                JumpBack(to) => next = to,
                Return => {
                    let object = stack.pop().context(empty)?;
                    let total = self.heap.value(object);
                    locals.into_iter().flatten().for_each(|object| self.decref(object));
                    self.decref(object);
                    self.line().times += 1;
                    return Ok(total);
                }
            }
            self.line().times += 1;
            if policy.check_point_behind(instruction) {
                self.line().check_points += 1;
                // The only place where another thread can run: no count is half changed here.
                token.check_point();
            }
            self.at = next;
        }
    }

    fn line(&mut self) -> &mut Line {
        &mut self.seen[self.at]
    }

    fn make(&mut self, value: u64) -> Result<Object> {
        self.line().made += 1;
        self.heap.make(value)
    }

    fn incref(&mut self, object: Object) -> Object {
        self.line().increfs += 1;
        self.heap.add(object, 1);
        object
    }

    fn decref(&mut self, object: Object) {
        self.line().decrefs += 1;
        self.line().freed += u64::from(self.heap.add(object, -1) == 0);
    }
}

/// The place of an object on the heap.
type Object = usize;

/// Memory for a few numbers, for all threads. A place whose count is 0 is free.
///
/// Every access is an ordinary load or store. Two threads in here at once would lose counts and
/// get the same place for two numbers: the GIL protects the allocator too.
struct Heap(Vec<Place>);

#[derive(Default)]
struct Place {
    count: AtomicU64,
    value: AtomicU64,
}

impl Heap {
    /// Two objects that all threads share; in each, `i`, `total` and the next of either.
    fn new(threads: usize) -> Self {
        Heap((0..2 + 3 * threads).map(|_| Place::default()).collect())
    }

    /// A number with one reference.
    fn make(&self, value: u64) -> Result<Object> {
        let free = self.0.iter().position(|place| place.count.load(Relaxed) == 0);
        let object = free.context("the heap is full")?;
        self.0[object].count.store(1, Relaxed);
        self.0[object].value.store(value, Relaxed);
        Ok(object)
    }

    fn value(&self, object: Object) -> u64 {
        self.0[object].value.load(Relaxed)
    }

    fn count(&self, object: Object) -> u64 {
        self.0[object].count.load(Relaxed)
    }

    fn add(&self, object: Object, n: i64) -> u64 {
        let count = self.count(object).wrapping_add_signed(n);
        self.0[object].count.store(count, Relaxed);
        count
    }

    fn objects(&self) -> usize {
        self.0.iter().filter(|place| place.count.load(Relaxed) > 0).count()
    }
}
