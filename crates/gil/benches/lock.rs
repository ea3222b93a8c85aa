//! What the lock costs, each figure beside the floor under it and measured in turn with it.
//!
//! `cargo bench -p gil --bench lock`. Figures are medians over the rounds, and so are ratios, each
//! of two measurements of one round, with the quartiles behind: a processor changes its speed by
//! more than the goals allow from minute to minute, but seldom within a round. Goals are for a
//! quiet machine with two cores.

use gil::{Gil, Settings};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};
#[cfg(unix)]
use timeline::Timeline;

fn main() -> ExitCode {
    let met = [check_point(), alone(), hand_over(), eight_threads(), tracing()]
        .iter()
        .all(|met| *met);
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A check point with nothing pending, beside the bare loop.
fn check_point() -> bool {
    const TIMES: u64 = 20_000_000;
    let gil = Gil::new();
    let mut token = gil.acquire();
    let [bare, checked] = measured(
        21,
        [&mut || per_call(TIMES, || ()), &mut || per_call(TIMES, || token.check_point())],
    )
    .map(median);
    let more = checked - bare;
    println!(
        "check point             {checked:7.2} ns   bare loop  {bare:7.2} ns   \
         {more:+.2} ns (goal +1){}",
        missed(more <= 1.0)
    );
    more <= 1.0
}

/// Taking and releasing with nobody waiting, beside std's mutex.
fn alone() -> bool {
    const TIMES: u64 = 1_000_000;
    let (gil, mutex) = (Gil::new(), Mutex::new(()));
    let [floor, ours] = measured(
        21,
        [&mut || per_call(TIMES, || drop(mutex.lock())), &mut || {
            per_call(TIMES, || drop(gil.acquire()))
        }],
    );
    print_ratio("acquire + release", &ours, "std Mutex", &floor, "ns", 5.0)
}

/// From a thread's decision to hand over until the other one runs, with turns of 1 ms, each
/// thread on a core of its own. On one core the floor is a context switch and several times
/// lower, and some systems put both threads there, and some do not.
///
/// A holder that looks all the time sees the request before the waiter is asleep again, which
/// makes it cheaper than the floor. One that looks every 0.1 ms has to wake it, as the floor does.
fn hand_over() -> bool {
    const TURN: Duration = Duration::from_millis(1);
    const HAND_OVERS: usize = 300;
    const GAP: Duration = Duration::from_micros(100);
    let [floor, rarely, always] = measured(
        9,
        [
            &mut || ping_pong(TURN, HAND_OVERS),
            &mut || forced(TURN, GAP, HAND_OVERS),
            &mut || forced(TURN, Duration::ZERO, HAND_OVERS),
        ],
    );
    print_ratio("hand-over, waiter asleep", &rarely, "ping-pong", &floor, "us", 1.3)
        & print_ratio("hand-over, holder looks", &always, "ping-pong", &floor, "us", 1.3)
}

/// Two threads, a mutex and a condition variable: the median hand-over in us.
fn ping_pong(turn: Duration, hand_overs: usize) -> f64 {
    let (whose, condition) = (Mutex::new(0), Condvar::new());
    let watch = Watch::new();
    thread::scope(|scope| {
        let threads = [0, 1].map(|me| {
            let (whose, condition, watch) = (&whose, &condition, &watch);
            scope.spawn(move || {
                stay_on_core(me);
                let mut samples = Vec::new();
                for _ in 0..hand_overs / 2 {
                    let guard = whose.lock().expect("nobody panics");
                    drop(
                        condition
                            .wait_while(guard, |whose| *whose != me)
                            .expect("nobody panics"),
                    );
                    samples.push(watch.since());
                    spin(turn);
                    watch.start();
                    *whose.lock().expect("nobody panics") = 1 - me;
                    condition.notify_one();
                }
                samples
            })
        });
        median(threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")))
    })
}

/// Two threads under the lock, with check points this far apart: the median hand-over in us.
fn forced(turn: Duration, gap: Duration, hand_overs: usize) -> f64 {
    let gil = Gil::with(Settings { interval: turn, ..Settings::default() });
    let (watch, holder, handed_over) = (Watch::new(), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let threads = [0, 1].map(|me| {
            let (gil, watch, holder, handed_over) = (&gil, &watch, &holder, &handed_over);
            scope.spawn(move || {
                stay_on_core(me);
                let mut samples = Vec::new();
                let mut token = gil.acquire();
                while handed_over.load(Ordering::Relaxed) < hand_overs {
                    if holder.swap(me, Ordering::Relaxed) != me {
                        samples.push(watch.since());
                        handed_over.fetch_add(1, Ordering::Relaxed);
                    }
                    spin(gap);
                    watch.start();
                    token.check_point();
                }
                samples
            })
        });
        median(threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")))
    })
}

/// For the calling thread. Where it cannot be had the system chooses.
#[cfg(target_os = "linux")]
fn stay_on_core(core: usize) {
    use nix::sched::{CpuSet, sched_setaffinity};
    use nix::unistd::Pid;
    let mut cores = CpuSet::new();
    let _ = cores.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
}

#[cfg(not(target_os = "linux"))]
fn stay_on_core(_: usize) {}

fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {}
}

/// A start time that one thread sets and another reads.
struct Watch {
    origin: Instant,
    started: AtomicU64,
}

impl Watch {
    fn new() -> Self {
        Watch { origin: Instant::now(), started: AtomicU64::new(0) }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("less than centuries")
    }

    fn start(&self) {
        self.started.store(self.nanos(), Ordering::Relaxed);
    }

    /// Microseconds since the start.
    fn since(&self) -> f64 {
        (self.nanos() - self.started.load(Ordering::Relaxed)) as f64 / 1e3
    }
}

/// The same work by one thread and by eight, both under the lock: on one core, where the
/// difference is the lock's, and on all, where the work moves from core to core as well.
#[cfg(unix)]
fn eight_threads() -> bool {
    let mut met = true;
    for (name, cores) in [("eight threads, one core", Some(0)), ("eight threads", None)] {
        let [one, eight] = measured(
            25,
            [&mut || under_the_lock(1, cores, None), &mut || under_the_lock(8, cores, None)],
        );
        met &= print_ratio(name, &eight, "one thread", &one, "ms", 1.02);
    }
    met
}

/// Two threads that compute under the lock and record on lanes, beside the same without.
#[cfg(unix)]
fn tracing() -> bool {
    let [off, on] = measured(
        25,
        [&mut || under_the_lock(2, None, None), &mut || {
            under_the_lock(2, None, Some(&Timeline::new()))
        }],
    );
    print_ratio("two threads, traced", &on, "not traced", &off, "ms", 1.05)
}

/// The same work in so many threads: the processor time that they spend on it and on the lock,
/// in ms. To start a thread is no part of it.
#[cfg(unix)]
fn under_the_lock(threads: u64, core: Option<usize>, timeline: Option<&Timeline>) -> f64 {
    const WORK: u64 = 1_000_000_000;
    let gil = Gil::new();
    let work = || {
        core.into_iter().for_each(stay_on_core);
        let mut lane = timeline.map(|timeline| timeline.lane("bench", "thread"));
        let before = processor_time();
        let mut token = match &mut lane {
            Some(lane) => gil.acquire_on(lane),
            None => gil.acquire(),
        };
        for i in 0..WORK / threads {
            black_box(i);
            token.check_point();
        }
        drop(token);
        processor_time() - before
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let spent = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        spent.sum::<Duration>().as_secs_f64() * 1e3
    })
}

/// Of the calling thread.
#[cfg(unix)]
fn processor_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has this clock").into()
}

#[cfg(not(unix))]
fn eight_threads() -> bool {
    println!("eight threads: this system's processor time is not read here");
    true
}

#[cfg(not(unix))]
fn tracing() -> bool {
    true
}

/// Nanoseconds per call.
fn per_call(times: u64, mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    for i in 0..times {
        black_box(i);
        call();
    }
    begun.elapsed().as_secs_f64() * 1e9 / times as f64
}

/// The samples of each measurement, by rounds. Every other round goes backwards, so that a drift
/// of the machine favours none.
fn measured<const N: usize>(
    rounds: usize,
    mut measure: [&mut dyn FnMut() -> f64; N],
) -> [Vec<f64>; N] {
    let mut samples = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for (samples, measure) in samples.iter_mut().zip(&mut measure) {
            samples.push(measure());
        }
        samples.reverse();
        measure.reverse();
    }
    if !rounds.is_multiple_of(2) {
        samples.reverse();
    }
    samples
}

fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    quartiles(samples)[1]
}

/// A quarter of the samples is below the first, half of them below the second.
fn quartiles(samples: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| samples[samples.len() * quarter / 4])
}

fn print_ratio(
    what: &str,
    ours: &[f64],
    beside: &str,
    floor: &[f64],
    unit: &str,
    goal: f64,
) -> bool {
    let ratios = ours.iter().zip(floor).map(|(ours, floor)| ours / floor);
    let [low, ratio, high] = quartiles(ratios);
    let [ours, floor] = [ours, floor].map(|samples| median(samples.iter().copied()));
    println!(
        "{what:24} {ours:6.2} {unit}   {beside:10} {floor:7.2} {unit}   \
         x{ratio:.3} ({low:.3}-{high:.3}; goal x{goal}){}",
        missed(ratio <= goal)
    );
    ratio <= goal
}

fn missed(met: bool) -> &'static str {
    if met { "" } else { " MISSED" }
}
