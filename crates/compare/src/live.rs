//! Our lock on real threads. The loops are those of `lessons/python/scenarios.py`, statement by
//! statement, with a check point wherever Python has one.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gil::{Gil, Settings, Token};
use tasks::cpu::{sum_of_squares, sum_of_squares_below};
use timeline::State;

use crate::CheckPoints;
use crate::scenario::{
    COUNT, COUNT_WITH_A_CALL, COUNTING_THREADS, CPU_THREADS, INTERVALS, Interval, NAPS,
    Scenario, Series, TASK, WAIT, WAITS, compared, wake_ups,
};

/// The squares that native code adds up in one call, about as long as Python hashes 1 MiB.
const BUFFER: u64 = 500_000;
/// A loop that looks at the clock all the time and misses so much of it was interrupted.
const GAP: Duration = Duration::from_micros(50);
/// By each thread.
const INCREMENTS: u64 = 20_000_000;

/// Measures a scenario once.
pub fn measure(scenario: Scenario, check_points: CheckPoints) -> Series {
    match scenario {
        Scenario::CpuCpu => {
            let n = sized(cpu_task, 10_000_000);
            in_a_row_and_in_threads(|token| cpu_task(token, n), |token| cpu_task(token, n))
        }
        Scenario::CpuIo => {
            let n = sized(cpu_task, 10_000_000);
            in_a_row_and_in_threads(io_task, |token| cpu_task(token, n))
        }
        Scenario::Native => {
            let n = sized(native_task, 10);
            in_a_row_and_in_threads(
                |token| native_task(token, n),
                |token| native_task(token, n),
            )
        }
        Scenario::Turns => INTERVALS
            .iter()
            .map(|interval| (interval.name.into(), turns_at(interval)))
            .collect(),
        Scenario::WakeUps => CPU_THREADS
            .iter()
            .flat_map(|&threads| INTERVALS.iter().map(move |interval| (threads, interval)))
            .map(|(threads, interval)| {
                (wake_ups(threads, interval), wake_ups_beside(threads, interval))
            })
            .collect(),
        Scenario::LostUpdates => [(COUNT, false), (COUNT_WITH_A_CALL, true)]
            .map(|(name, call)| (name.into(), vec![lost_by(check_points, call)]))
            .into(),
    }
}

fn cpu_task(token: &mut Token<'_>, n: u64) {
    black_box(sum_of_squares((0..n).inspect(|_| token.check_point())));
}

fn native_task(token: &mut Token<'_>, n: u64) {
    for _ in 0..n {
        token.allow_threads_as(State::Native, || black_box(sum_of_squares_below(BUFFER)));
    }
}

fn io_task(token: &mut Token<'_>) {
    for _ in 0..WAITS {
        token.allow_threads(|| thread::sleep(WAIT));
    }
}

/// As many rounds of the task as take [`TASK`] here.
fn sized(task: fn(&mut Token<'_>, u64), n: u64) -> u64 {
    let gil = Gil::new();
    let mut token = gil.acquire();
    let quickest =
        [(); 3].map(|()| timed(|| task(&mut token, n))).into_iter().min().expect("three");
    let rounds = u128::from(n) * TASK.as_nanos() / quickest.as_nanos().max(1);
    u64::try_from(rounds).expect("a task takes more than a nanosecond")
}

fn in_a_row_and_in_threads(
    first: impl Fn(&mut Token<'_>) + Sync,
    second: impl Fn(&mut Token<'_>) + Sync,
) -> Series {
    let gil = Gil::new();
    let mut token = gil.acquire();
    let each = [timed(|| first(&mut token)), timed(|| second(&mut token))];
    drop(token);
    let together = timed(|| {
        thread::scope(|scope| {
            scope.spawn(|| first(&mut gil.acquire()));
            scope.spawn(|| second(&mut gil.acquire()));
        });
    });
    compared(each, together)
}

fn turns_at(interval: &Interval) -> Vec<f64> {
    let end = Instant::now() + interval.window;
    let pieces = at_once(interval, 2, |me, token| watch_the_clock(me, end, token));
    whole_turns(pieces.concat())
}

/// What a thread saw of the clock without a gap: from, to, and the number of the thread.
type Piece = (Instant, Instant, usize);

fn watch_the_clock(me: usize, end: Instant, token: &mut Token<'_>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = Instant::now();
    let mut last = start;
    while last < end {
        let now = Instant::now();
        if now - last > GAP {
            pieces.push((start, last, me));
            start = now;
        }
        last = now;
        token.check_point();
    }
    pieces.push((start, last, me));
    pieces
}

/// Puts the pieces together, and measures the turns in seconds.
fn whole_turns(mut pieces: Vec<Piece>) -> Vec<f64> {
    pieces.sort_unstable();
    // Interrupted, but not by the other one: still the same turn.
    let turns: Vec<_> = pieces.chunk_by(|(_, _, a), (_, _, b)| a == b).collect();
    // The first turn began before the other thread was there, the last was cut.
    let whole = turns.get(1..turns.len() - 1).unwrap_or_default();
    let length = |turn: &&[Piece]| (turn[turn.len() - 1].1 - turn[0].0).as_secs_f64();
    whole.iter().map(length).collect()
}

fn wake_ups_beside(cpu_threads: usize, interval: &Interval) -> Vec<f64> {
    let done = AtomicBool::new(false);
    let nap_and_wake = |token: &mut Token<'_>| {
        let mut latencies = Vec::new();
        let end = Instant::now() + interval.window;
        while Instant::now() < end {
            let nap = NAPS[latencies.len() % NAPS.len()];
            let start = Instant::now();
            token.allow_threads(|| thread::sleep(nap));
            latencies.push((start.elapsed() - nap).as_secs_f64());
        }
        done.store(true, Ordering::Relaxed);
        latencies
    };
    let compute = |token: &mut Token<'_>| {
        while !done.load(Ordering::Relaxed) {
            token.check_point();
        }
        Vec::new()
    };
    let latencies = at_once(interval, 1 + cpu_threads, |me, token| match me {
        0 => nap_and_wake(token),
        _ => compute(token),
    });
    latencies.concat()
}

/// The fraction of all increments that is missing in the end.
fn lost_by(check_points: CheckPoints, call: bool) -> f64 {
    let counter = AtomicU64::new(0);
    let every_instruction = check_points == CheckPoints::Python39;
    at_once(&INTERVALS[0], COUNTING_THREADS, |_, token| {
        for _ in 0..INCREMENTS {
            let seen = black_box(counter.load(Ordering::Relaxed));
            if every_instruction || call {
                token.check_point();
            }
            let next = black_box(seen + 1);
            if every_instruction {
                token.check_point();
            }
            counter.store(next, Ordering::Relaxed);
            if every_instruction {
                token.check_point();
            }
            // The back edge of the loop.
            token.check_point();
        }
    });
    let made = INCREMENTS * COUNTING_THREADS as u64;
    1.0 - counter.into_inner() as f64 / made as f64
}

/// Runs the task in so many threads, all let go at once, and returns what each returns. The
/// task gets the number of its thread.
fn at_once<R: Send>(
    interval: &Interval,
    threads: usize,
    task: impl Fn(usize, &mut Token<'_>) -> R + Sync,
) -> Vec<R> {
    let gil = Gil::with(Settings { interval: interval.time, ..Settings::default() });
    let gate = Barrier::new(threads);
    let behind_the_gate = |me| {
        gate.wait();
        task(me, &mut gil.acquire())
    };
    thread::scope(|scope| {
        let behind_the_gate = &behind_the_gate;
        let threads: Vec<_> =
            (0..threads).map(|me| scope.spawn(move || behind_the_gate(me))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_one_thread_in_a_row_are_one_turn() {
        let origin = Instant::now();
        let at = |ms| origin + Duration::from_millis(ms);
        // Threads write their pieces down at their own times: any order.
        let pieces = vec![
            (at(30), at(33), 1),
            (at(0), at(9), 0),
            (at(10), at(12), 1),
            (at(16), at(20), 1),
            (at(21), at(28), 0),
        ];
        assert_eq!(whole_turns(pieces), [0.010, 0.007]);
    }

    #[test]
    fn without_an_other_thread_in_between_no_turn_is_whole() {
        let now = Instant::now();
        assert_eq!(whole_turns(vec![(now, now, 0)]), [0.0; 0]);
        assert_eq!(whole_turns(vec![(now, now, 0), (now, now, 1)]), [0.0; 0]);
    }

    #[test]
    fn only_a_check_point_between_read_and_write_loses_an_increment() {
        assert_eq!(lost_by(CheckPoints::Python310, false), 0.0);
    }
}
