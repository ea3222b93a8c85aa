//! What a model costs besides the work: typical, or measured here.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use gil::{Gil, Token};
use process_pool::{Future, Pool};
use tasks::cpu::{formula, sum_of_squares};
use tasks::measure::median_and_spread;

use crate::live::Share;
use crate::workload::Workload;

#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Starting a thread, and joining it.
    pub thread: Duration,
    /// Starting a pool with a worker for each core, and ending it.
    pub pool: Duration,
    /// A task that goes to a worker and comes back, as long as it keeps that worker.
    pub task: Duration,
    /// The same for 1 MiB that goes along.
    pub mebibyte: Duration,
    /// How much longer than asked for a wait takes.
    pub waiting: Duration,
    /// How much longer computing takes while all cores compute: they share memory, and two may
    /// be halves of one.
    pub slowdown: f64,
}

/// Orders of magnitude of a machine of 2026, for a prediction that is the same everywhere.
pub const TYPICAL: Costs = Costs {
    thread: Duration::from_micros(40),
    pool: Duration::from_millis(5),
    task: Duration::from_micros(40),
    mebibyte: Duration::from_micros(800),
    waiting: Duration::from_micros(60),
    slowdown: 1.0,
};

impl Costs {
    /// Of sending so many bytes to a worker.
    pub fn bytes(&self, bytes: usize) -> Duration {
        self.mebibyte.mul_f64(bytes as f64 / f64::from(1 << 20))
    }

    /// Measures them here, for such a workload.
    pub fn measure(workload: &Workload, cores: usize) -> Result<Self> {
        let pool = |_| -> Result<_> {
            let begun = Instant::now();
            Pool::<Share>::new(cores)?.shutdown();
            Ok(begun.elapsed())
        };
        let pool = median((0..3).map(pool).collect::<Result<_>>()?);
        let workers = Pool::new(cores)?;
        let through = |payload, tasks| -> Result<Duration> {
            let share = || Share { payload: vec![0; payload], ..Share::default() };
            let once = |_| -> Result<_> {
                let begun = Instant::now();
                let futures: Vec<_> = (0..tasks).map(|_| workers.submit(share())).collect();
                futures.into_iter().try_for_each(|future| Future::result(future).map(drop))?;
                Ok(begun.elapsed())
            };
            let all = median((0..5).map(once).collect::<Result<_>>()?);
            // Each worker had its part of them, side by side.
            Ok(all * u32::try_from(cores)? / u32::try_from(tasks)?)
        };
        let task = through(0, 20 * cores)?;
        let mebibyte = match workload.payload {
            0 => Duration::ZERO,
            payload => {
                let more = through(payload, 4 * cores)?.saturating_sub(task);
                more.mul_f64(f64::from(1 << 20) / payload as f64)
            }
        };
        workers.shutdown();
        Ok(Self {
            thread: median((0..20).map(|_| thread_start()).collect()),
            pool,
            task,
            mebibyte,
            waiting: median((0..10).map(|_| late(workload.io)).collect()),
            slowdown: slowdown(cores),
        })
    }
}

fn thread_start() -> Duration {
    let begun = Instant::now();
    thread::spawn(|| {}).join().expect("it does nothing");
    begun.elapsed()
}

/// How much longer than asked for a wait takes; a shorter one is as late as a long one.
fn late(io: Duration) -> Duration {
    if io.is_zero() {
        return io;
    }
    let io = io.min(Duration::from_millis(2));
    let begun = Instant::now();
    thread::sleep(io);
    begun.elapsed().saturating_sub(io)
}

/// The squares of one look.
const LOOK: u64 = 1_000_000;

/// Adds up squares as an interpreter would, with a check point for each.
pub fn compute(token: &mut Token<'_>, squares: u64) -> u128 {
    sum_of_squares((0..squares).inspect(|_| token.check_point()))
}

fn look() -> Duration {
    let gil = Gil::new();
    let mut token = gil.acquire();
    let begun = Instant::now();
    let sum = compute(&mut token, LOOK);
    let took = begun.elapsed();
    assert_eq!(sum, formula::sum_of_squares_below(LOOK));
    took
}

/// How many squares keep one core busy for `time`, here.
pub fn squares_in(time: Duration) -> u64 {
    let look = median((0..61).map(|_| look()).collect());
    let squares = u128::from(LOOK) * time.as_nanos() / look.as_nanos();
    squares.try_into().expect("no core adds up that many")
}

/// Looks while every core takes looks, beside looks alone: the rounds take turns, and whatever
/// else this machine does counts.
fn slowdown(cores: usize) -> f64 {
    const ROUNDS: usize = 5;
    // Long enough for the threads to find a core each.
    let looks = || (0..60).for_each(|_| _ = look());
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        looks();
        alone.push(begun.elapsed());
        let begun = Instant::now();
        thread::scope(|scope| (0..cores).for_each(|_| _ = scope.spawn(looks)));
        together.push(begun.elapsed());
    }
    median(together).div_duration_f64(median(alone)).max(1.0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    median_and_spread(&mut times).0
}
