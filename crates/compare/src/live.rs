//! Our lock on real threads. The loops are those of `lessons/python/scenarios.py`, statement by
//! statement, with a check point wherever Python has one.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gil::{CheckPoints, Gil, Settings, Site, Token};
use tasks::cpu::{sum_of_squares, sum_of_squares_below};
use timeline::State;

use crate::scenario::{
    APART, CHECK_POINTS, CHECKING_THREADS, COUNT, COUNT_WITH_A_CALL, COUNTING_THREADS,
    CPU_THREADS, INTERVALS, Interval, NAPS, Scenario, Series, TASK, WAIT, WAITS, compared,
    wake_ups, wake_ups_by_check_points,
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
                (wake_ups(threads, interval), wake_ups_beside(threads, interval, || ()))
            })
            .collect(),
        Scenario::CheckPoints => CHECKING_THREADS
            .iter()
            .flat_map(|&threads| {
                let interval = &INTERVALS[1];
                let close = wake_ups_beside(threads, interval, || ());
                let apart = wake_ups_beside(threads, interval, || spin(APART));
                CHECK_POINTS.into_iter().zip([close, apart]).map(move |(name, wake_ups)| {
                    (wake_ups_by_check_points(threads, name), wake_ups)
                })
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
    let starts = at_once(asked_after(interval), 2, |me, token| watch_the_clock(me, end, token));
    turns(starts.concat())
}

/// When a thread begins to run, or goes on behind a gap, and the number of the thread.
type Start = (Instant, usize);

fn watch_the_clock(me: usize, end: Instant, token: &mut Token<'_>) -> Vec<Start> {
    let mut last = Instant::now();
    let mut starts = vec![(last, me)];
    while last < end {
        let now = Instant::now();
        if now - last > GAP && now < end {
            starts.push((now, me));
        }
        last = now;
        token.check_point();
    }
    starts
}

/// From one hand-over to the next, in seconds.
fn turns(mut starts: Vec<Start>) -> Vec<f64> {
    starts.sort_unstable();
    // Interrupted, but not by the other one: still the same turn.
    starts.dedup_by_key(|(_, me)| *me);
    // The first turn began before the other thread was there.
    let begun = starts.iter().skip(1).map(|(start, _)| *start);
    begun
        .clone()
        .zip(begun.skip(1))
        .map(|(start, after)| (after - start).as_secs_f64())
        .collect()
}

/// Beside threads that do such work from one check point to the next.
fn wake_ups_beside(
    cpu_threads: usize,
    interval: &Interval,
    work: impl Fn() + Sync,
) -> Vec<f64> {
    let done = AtomicBool::new(false);
    let nap_and_wake = |token: &mut Token<'_>| {
        let mut latencies = Vec::new();
        let end = Instant::now() + interval.window;
        while Instant::now() < end {
            let nap = NAPS[latencies.len() % NAPS.len()];
            let start = Instant::now();
            token.allow_threads(|| thread::sleep(nap));
            latencies.push(start.elapsed().saturating_sub(nap).as_secs_f64());
        }
        done.store(true, Ordering::Relaxed);
        latencies
    };
    let compute = |token: &mut Token<'_>| {
        while !done.load(Ordering::Relaxed) {
            work();
            token.check_point();
        }
        Vec::new()
    };
    let latencies = at_once(asked_after(interval), 1 + cpu_threads, |me, token| match me {
        0 => nap_and_wake(token),
        _ => compute(token),
    });
    latencies.concat()
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {}
}

/// The fraction of all increments that is missing in the end.
fn lost_by(check_points: CheckPoints, call: bool) -> f64 {
    let counter = AtomicU64::new(0);
    let settings = Settings { check_points, ..asked_after(&INTERVALS[0]) };
    let behind_the_read = if call { Site::Call } else { Site::Instruction };
    at_once(settings, COUNTING_THREADS, |_, token| {
        for _ in 0..INCREMENTS {
            let seen = black_box(counter.load(Ordering::Relaxed));
            token.executed(behind_the_read);
            let next = black_box(seen + 1);
            token.executed(Site::Instruction);
            counter.store(next, Ordering::Relaxed);
            token.executed(Site::Instruction);
            token.executed(Site::BackEdge);
        }
    });
    let made = INCREMENTS * COUNTING_THREADS as u64;
    1.0 - counter.into_inner() as f64 / made as f64
}

/// Runs the task in so many threads, all let go at once, and returns what each returns. The
/// task gets the number of its thread.
fn at_once<R: Send>(
    settings: Settings,
    threads: usize,
    task: impl Fn(usize, &mut Token<'_>) -> R + Sync,
) -> Vec<R> {
    let gil = Gil::with(settings);
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

fn asked_after(interval: &Interval) -> Settings {
    Settings { interval: interval.time, ..Settings::default() }
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
    fn a_turn_lasts_until_the_other_thread_begins() {
        let origin = Instant::now();
        let at = |ms| origin + Duration::from_millis(ms);
        // The threads one after the other, as they write down when they began; thread 1 was
        // interrupted once.
        let starts = vec![(at(0), 0), (at(21), 0), (at(10), 1), (at(16), 1), (at(30), 1)];
        assert_eq!(turns(starts), [0.011, 0.009]);
    }

    #[test]
    fn the_first_turn_and_the_last_do_not_count() {
        let now = Instant::now();
        assert_eq!(turns(vec![(now, 0)]), [0.0; 0]);
        assert_eq!(turns(vec![(now, 0), (now, 1)]), [0.0; 0]);
    }

    #[test]
    fn without_a_check_point_between_read_and_write_no_increment_is_lost() {
        assert_eq!(lost_by(CheckPoints::BackEdgesAndCalls, false), 0.0);
    }
}
