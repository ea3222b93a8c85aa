//! Why there is a lock at all: an interpreter counts the references to each object, and
//! `count += 1` is no single step. Atomic counts need no lock and cost every thread; biased
//! counts cost only those who share.
//!
//! Python: `sys.getrefcount`, free-threaded builds. Page: `lessons/09-reference-counts.md`.

mod picture;

use std::fmt::Display;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use gil::{Gil, Settings};
use lesson_09_reference_counts::{
    Atomic, Biased, Counts, Me, Op, Plain, Played, Queues, Regime, Script, Step, Verdict,
};
use simulator::INCREMENT;
use simulator::explorer::Program;
use tasks::grouped;
use tasks::measure::{Stopwatch, median_and_spread};
use timeline::{State, Timeline};

/// Why there is a lock: reference counts, without it and with it.
///
/// 1. Two threads count at once, in an order that is forced: one is lost.
/// 2. Every order: what becomes of the object, under four regimes.
///    no lock        the count is read, changed and written
///    under the GIL  the same, and no check point inside
///    atomic         the count is changed in one operation
///    biased         as in PEP 703: the thread that made the object counts
///    plainly, all others atomically, and the two counts are merged
/// 3. Two real threads: what each counts with, counted; and, on stderr, what
///    it costs.
///
/// Facts go to stdout, measurements to stderr.
/// The page: lessons/09-reference-counts.md
///
/// More programs:
///   cargo run -p lesson-09-reference-counts --bin bytecode
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How often a thread takes a reference and drops it
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = cli::number(1..=100_000_000))]
    pairs: u64,
    /// How often each time is measured; the median counts
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = cli::count(1..=100))]
    rounds: usize,
    /// How long a thread waits for the lock before it asks for it
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::from_micros(1)..=Duration::from_secs(10)))]
    interval: Duration,
    /// Draw the trade-off
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    two_threads_count_at_once()?;
    let orders = every_order();
    let steps = what_a_pair_takes(&args);
    args.output.measured(what_a_pair_costs(&args));
    if let Some(path) = &args.svg {
        fs::write(path, picture::svg(&orders, &steps))
            .with_context(|| format!("cannot write the picture to {}", path.display()))?;
    }
    println!("\nThe page of this lesson: lessons/09-reference-counts.md");
    Ok(())
}

/// Each thread has a reference. The one that made the object took both.
fn script(ops: &[Op]) -> Script {
    Script { threads: vec![ops.to_vec(); 2], taken: false }
}

fn two_threads_count_at_once() -> Result<()> {
    println!("1. a and b have a reference each and take one more: `count += 1`, no lock.");
    let mut order = [0, 1, 0, 1].into_iter();
    // A hand-shake before each step, and no luck: b reads before a has written.
    let played = script(&[Op::Incref])
        .play(Regime::NoLock, &mut |ready| order.next().unwrap_or(ready[0]));
    assert_eq!(played.count, 3, "one of two is lost");
    println!("   {}", steps(&played));
    println!("   References: 4. The count: {}.", played.count);
    let explored = |lock| {
        let threads = ["a", "b"].map(|name| (name.into(), INCREMENT.to_vec())).into();
        Program { lock, threads }.explore().map(|all| (all.losing(), all.interleavings()))
    };
    let (free, locked) = (explored(None)?, explored(Some(Settings::default()))?);
    println!(
        "   As bytecode: {} of {} orders lose one; under the GIL since 3.10",
        free.0, free.1
    );
    println!(
        "   {} of {}, for there is no check point between load and store.",
        locked.0, locked.1
    );
    Ok(())
}

/// `a loads 2, a stores 3`: with the count that was read, or is written.
fn steps(played: &Played) -> String {
    let after = played.moves.iter().skip(1).map(|(_, _, count)| *count).chain([played.count]);
    let text = played.moves.iter().zip(after).map(|((thread, step, before), after)| {
        let (verb, count) = match step {
            Step::Load => ("loads", *before),
            _ => ("stores", after),
        };
        format!("{} {verb} {count}", ["a", "b"][*thread])
    });
    text.collect::<Vec<_>>().join(", ")
}

/// How many orders there are, and how many are right, for each regime.
fn every_order() -> [(u64, u64); 4] {
    println!("\n2. Each takes one, drops it, and drops its own. In every order:");
    println!("{:16}    orders     right  never freed  freed early  freed twice", "");
    let script = script(&[Op::Incref, Op::Decref, Op::Decref]);
    let explored = Regime::ALL.map(|regime| (regime, script.explore(regime)));
    let orders = explored.each_ref().map(|(regime, verdicts)| {
        let [right, never, early, twice] =
            Verdict::ALL.map(|verdict| verdicts.get(&verdict).map_or(0, |(orders, _)| *orders));
        let orders = right + never + early + twice;
        let name = regime.name();
        println!("   {name:13}{orders:>10}{right:>10}{never:>13}{early:>13}{twice:>13}");
        (orders, right)
    });
    println!("   Without a lock, the first order that frees it");
    let [(_, without), ..] = &explored;
    let wrong = ["never", "early", "twice"].into_iter().zip(&Verdict::ALL[1..]);
    for (how, verdict) in wrong {
        let (_, first) = &without[verdict];
        let mut order = first.moves.iter().map(|(thread, ..)| *thread);
        let again = script.play(Regime::NoLock, &mut |ready| order.next().unwrap_or(ready[0]));
        assert_eq!(&again, first, "an order that is forced leads to one end");
        let letters: Vec<_> =
            first.moves.iter().map(|(thread, ..)| ["a", "b"][*thread]).collect();
        println!("     {how}: {}", letters.join(" "));
    }
    orders
}

/// What a pair takes in the thread that made the object, and in another one, where that is right.
#[derive(Clone, Copy)]
struct Steps {
    owner: Taken,
    other: Option<Taken>,
    /// How many of both run at once.
    at_once: usize,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    /// Loads and stores.
    plain: u64,
    atomic: u64,
}

fn what_a_pair_takes(args: &Args) -> [Steps; 4] {
    let n = grouped(args.pairs.into());
    println!("\n3. Real threads. a made the object. Each takes one and drops it, {n} x.");
    println!("   A pair is so many plain loads and stores, and so many atomic operations:");
    println!("{:15} a: plain  atomic  b: plain  atomic  both at once  merges  freed", "");
    Regime::ALL.map(|regime| {
        // Without a lock b would make the outcome luck.
        let threads = if regime == Regime::NoLock { 1 } else { 2 };
        let mut taken = [Taken::default(); 2];
        let watchers = taken.iter_mut().take(threads).map(|taken| {
            |step| match step {
                Step::Atomic | Step::Queue => taken.atomic += 1,
                Step::Load | Step::Store | Step::Own | Step::Look => taken.plain += 1,
                Step::Merge => {}
            }
        });
        let run = run_with(regime, args, 1, watchers.collect());
        for taken in &mut taken {
            for steps in [&mut taken.plain, &mut taken.atomic] {
                assert!(steps.is_multiple_of(args.pairs), "all pairs alike");
                *steps /= args.pairs;
            }
        }
        let [owner, other] = taken;
        let steps =
            Steps { owner, other: (threads > 1).then_some(other), at_once: run.at_once };
        let b = |n: &dyn Display| if threads > 1 { n.to_string() } else { "-".into() };
        println!(
            "   {:13}{:>8}{:>8}{:>10}{:>8}{:>14}{:>8}{:>7}",
            regime.name(),
            owner.plain,
            owner.atomic,
            b(&other.plain),
            b(&other.atomic),
            b(&run.at_once),
            run.merges,
            run.freed,
        );
        steps
    })
}

/// A table: nanoseconds from one pair of a thread to its next.
fn what_a_pair_costs(args: &Args) -> String {
    let situations = [(1, 1), (2, 2), (2, 1)];
    let regimes = Regime::ALL.map(|regime| {
        let time = move |threads, objects| {
            let races = regime == Regime::NoLock && objects < threads;
            let time = || run_with(regime, args, objects, vec![|_: Step| {}; threads]).time;
            (!races).then(time)
        };
        (regime.name(), Box::new(time) as Box<dyn Fn(usize, usize) -> Option<Duration>>)
    });
    let rc =
        |threads, objects| (threads == objects).then(|| time_of(args, threads, |_| Rc::new(0)));
    let arc = |threads, objects| {
        let all: Vec<_> = (0..objects).map(|_| Arc::new(Apart(0))).collect();
        Some(time_of(args, threads, |id| Arc::clone(&all[id % objects])))
    };
    let rows: Vec<_> = regimes
        .into_iter()
        .chain([("Rc", Box::new(rc) as _), ("Arc", Box::new(arc) as _)])
        .collect();

    // Round by round, not row by row: a machine that changes its speed meanwhile changes it for all.
    let mut times = vec![situations.map(|_| Vec::new()); rows.len()];
    let progress = args.output.progress("rounds", args.rounds);
    for _ in 0..args.rounds {
        for ((_, time), cells) in rows.iter().zip(&mut times) {
            for ((threads, objects), cell) in situations.into_iter().zip(cells) {
                cell.extend(time(threads, objects));
            }
        }
        progress.step();
    }
    drop(progress);
    let mut text = format!(
        "   ns a pair{:8}in one thread  in two, an object each  in two, one object",
        ""
    );
    for ((name, _), cells) in rows.iter().zip(times) {
        let [alone, each, both] = cells.map(|cell| a_pair(args, cell));
        text += &format!("\n   {name:13}{alone:>17}{each:>24}{both:>20}");
    }
    text
}

/// The median, in nanoseconds; nothing where nothing was measured.
fn a_pair(args: &Args, mut times: Vec<Duration>) -> String {
    if times.is_empty() {
        return "-".into();
    }
    let (median, _) = median_and_spread(&mut times);
    #[expect(clippy::cast_precision_loss, reason = "a hundred million fits")]
    let pairs = args.pairs as f64;
    format!("{:.1}", median.as_secs_f64() * 1e9 / pairs)
}

/// What a run on real threads led to.
struct Run {
    time: Duration,
    at_once: usize,
    merges: u32,
    freed: u32,
}

fn run_with<W: FnMut(Step) + Send>(
    regime: Regime,
    args: &Args,
    objects: usize,
    watchers: Vec<W>,
) -> Run {
    match regime {
        Regime::NoLock | Regime::Gil => run::<Plain, W>(regime, args, objects, watchers),
        Regime::Atomic => run::<Atomic, W>(regime, args, objects, watchers),
        Regime::Biased => run::<Biased, W>(regime, args, objects, watchers),
    }
}

/// A thread for each watcher, on one object or on one each.
fn run<O: Counts, W: FnMut(Step) + Send>(
    regime: Regime,
    args: &Args,
    objects: usize,
    watchers: Vec<W>,
) -> Run {
    let threads = watchers.len();
    let all: Vec<_> = (0..objects).map(|owner| Apart(O::new(owner))).collect();
    let queues = Queues::new(threads);
    (objects..threads).for_each(|_| all[0].0.incref(&mut queues.thread(0, |_| {})));
    let gil = Gil::with(Settings { interval: args.interval, ..Settings::default() });
    let timeline = Timeline::new();
    let start = Barrier::new(threads);
    let watch = Stopwatch::start();
    thread::scope(|scope| {
        for (id, watcher) in watchers.into_iter().enumerate() {
            let (object, gil, start) = (&all[id % objects].0, &gil, &start);
            let mut me = queues.thread(id, watcher);
            let mut lane = timeline.lane("", &id.to_string());
            scope.spawn(move || {
                if regime == Regime::Gil {
                    // Not behind `acquire`: who waits here has what the other one needs.
                    start.wait();
                    let mut token = gil.acquire_on(&mut lane);
                    return pairs(object, args.pairs, &mut me, |me| {
                        me.about_to(Step::Look);
                        token.check_point();
                    });
                }
                lane.enter(State::Run);
                start.wait();
                match regime {
                    Regime::Biased => pairs(object, args.pairs, &mut me, |me| me.check_point()),
                    _ => pairs(object, args.pairs, &mut me, |_| {}),
                }
            });
        }
    });
    let time = watch.stop().wall;
    // First a drops its own and ends, then b: it finds that the owner has left.
    let mut merges = 0;
    for id in 0..threads {
        let mut me = queues.thread(id, |step| merges += u32::from(step == Step::Merge));
        all[id % objects].0.decref(&mut me);
        me.leave();
    }
    assert!(all.iter().all(|object| object.0.freed() == 1), "{}: freed once", regime.name());
    let freed = all.iter().map(|object| object.0.freed()).sum();
    Run { time, at_once: timeline.peak(State::Run), merges, freed }
}

/// On cache lines of its own. Beside each other, two objects that nobody shares would cost what
/// a shared one costs: processors keep memory from each other by the line.
#[repr(align(128))]
struct Apart<T>(T);

/// What `x = y` and `del x` do to the count of the object.
fn pairs<'h, O: Counts, W: FnMut(Step)>(
    object: &'h O,
    pairs: u64,
    me: &mut Me<'_, 'h, W>,
    mut check_point: impl FnMut(&mut Me<'_, 'h, W>),
) {
    for _ in 0..pairs {
        check_point(me);
        // Out of sight of the optimizer, which may not take a pair for nothing.
        let object = black_box(object);
        object.incref(me);
        object.decref(me);
    }
}

/// The same with the pointers of the standard library.
fn time_of<T: Clone>(
    args: &Args,
    threads: usize,
    pointer: impl Fn(usize) -> T + Sync,
) -> Duration {
    let watch = Stopwatch::start();
    thread::scope(|scope| {
        for id in 0..threads {
            let pointer = &pointer;
            scope.spawn(move || {
                let pointer = pointer(id);
                for _ in 0..args.pairs {
                    drop(black_box(pointer.clone()));
                }
            });
        }
    });
    watch.stop().wall
}
