use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, process, thread};

use ipc::SharedSlice;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_pool::{Error, Policy, Pool, TaskOptions};

use crate::harness::{orphans_end, run, trial};
use crate::work::{self, Act, Made, When, Work, act, memory, within};

/// A future that has not ended by then never does.
const NEVER: Duration = Duration::from_secs(60);
/// More memory than this is not what an allocator keeps in reserve.
const MUCH: usize = 48 << 20;
/// The most tasks at once.
const MOST: u64 = 300;

pub fn main() {
    process_pool::serve::<(Work, work::Share)>();
    let arguments: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (seconds, seed) = match words[..] {
        ["for", seconds] => (seconds, None),
        ["for", seconds, "--seed", seed] => (seconds, Some(number(seed))),
        ["for", ..] => refuse(&words[1..].join(" ")),
        _ => return run(vec![trial("ten_seconds_of_everything", || soak(10, None))]),
    };
    prctl::set_child_subreaper(true).unwrap();
    soak(number(seconds), seed);
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| refuse(text))
}

fn refuse(what: &str) -> ! {
    eprintln!("{what:?}: allowed are SECONDS and --seed NUMBER, whole numbers");
    process::exit(2);
}

/// Xorshift: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64, of: u64) -> Self {
        let mut random = Self((seed ^ of.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1));
        (0..8).for_each(|_| _ = random.below(1));
        random
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Short most of the time, and at most 1 MiB.
    fn size(&mut self) -> usize {
        let bits = self.below(21);
        usize::try_from(self.below(1 << bits)).unwrap()
    }

    fn micros(&mut self, end: u64) -> Duration {
        Duration::from_micros(self.below(end))
    }
}

/// What becomes of a task that nobody disturbs.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Expected {
    Done,
    Text(&'static str),
    Panicked,
    /// By its own hand.
    Died(&'static str),
    TimedOut,
}

fn task(random: &mut Random, may_hang: bool) -> (Act, Expected) {
    use Expected::{Died, Done, Panicked, Text, TimedOut};
    let signal = |signal: Signal| Act::Raise(signal as i32);
    match random.below(400) {
        0 => (signal(Signal::SIGKILL), Died("worker killed by SIGKILL")),
        1 => (signal(Signal::SIGSEGV), Died("worker killed by SIGSEGV")),
        2 => (Act::Abort, Died("worker killed by SIGABRT")),
        3 => (Act::Exit(3), Died("worker exited with status 3")),
        4 if may_hang => (Act::Spin, TimedOut),
        5 if may_hang => (Act::Park, TimedOut),
        7 => (Act::Panic, Panicked),
        8 => (Act::PanicWithoutText, Panicked),
        9 => (Act::Make(When::PanicsEncoded), Panicked),
        10..20 => (Act::Make(When::FailsDecoded), Text("the output cannot be decoded")),
        20..30 => (Act::Make(When::FailsEncoded), Text("the output cannot be encoded")),
        30..50 => (Act::Fail, Text("the task failed")),
        50..60 => (Act::Log(random.below(50)), Done),
        60..120 => (Act::Sleep(random.micros(3000)), Done),
        120..180 => (Act::Output(random.size()), Done),
        180..240 => (Act::Input(vec![1; random.size()]), Done),
        _ => (Act::Count, Done),
    }
}

#[derive(Default)]
struct Tally {
    rounds: u64,
    pools: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

/// Workers that were hit from outside.
#[derive(Default)]
struct Victims {
    hit: Mutex<HashSet<u32>>,
}

impl Victims {
    /// Hits workers of the pool at random moments until told to end.
    fn add(&self, pool: &Pool<Work>, mut random: Random, ends: &AtomicBool) {
        while !ends.load(Relaxed) {
            thread::sleep(random.micros(20_000));
            let workers = pool.metrics().workers;
            let place = usize::try_from(random.below(workers.len() as u64)).unwrap();
            let Some(pid) = workers[place].pid else { continue };
            self.hit.lock().unwrap().insert(pid);
            match random.below(5) {
                0 | 1 => hit(pid, Signal::SIGKILL),
                // Twice: Rust's own handler takes the first for a fault that comes again.
                2 => [0; 2].map(|_| hit(pid, Signal::SIGSEGV)).into_iter().collect(),
                deed => {
                    hit(pid, Signal::SIGSTOP);
                    thread::sleep(random.micros(20_000));
                    hit(pid, if deed == 3 { Signal::SIGKILL } else { Signal::SIGCONT });
                }
            }
        }
    }

    fn contain(&self, pid: u32) -> bool {
        self.hit.lock().unwrap().contains(&pid)
    }
}

/// Changes the size of the pool at random moments until told to end.
fn resize(pool: &Pool<Work>, mut random: Random, ends: &AtomicBool) {
    while !ends.load(Relaxed) {
        thread::sleep(random.micros(20_000));
        pool.resize(usize::try_from(1 + random.below(4)).unwrap()).unwrap();
    }
}

/// Sends a signal to a child of this process, and to nobody who has its number after it.
fn hit(pid: u32, signal: Signal) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent = stat.rsplit(") ").next().and_then(|stat| stat.split(' ').nth(1));
    if parent.is_some_and(|parent| parent == process::id().to_string()) {
        // It may end in this moment.
        let _ = kill(Pid::from_raw(pid.try_into().unwrap()), signal);
    }
}

fn pool(random: &mut Random, seen: &SharedSlice<u64>) -> Pool<Work> {
    let workers = usize::try_from(1 + random.below(3)).unwrap();
    let policy = Policy::Replace { budget: 10_000 };
    let mut pool = work::pool(seen).workers(workers).policy(policy).on_log(drop);
    if random.one_in(2) {
        pool = pool.window(usize::try_from(1 + random.below(64)).unwrap());
    }
    if random.one_in(4) {
        pool = pool.max_tasks(1 + random.below(200));
    }
    if random.one_in(3) {
        pool = pool.idle_timeout(random.micros(20_000));
    }
    pool.build().unwrap()
}

/// Some tasks, and what came of them.
fn round(
    pool: Pool<Work>,
    seen: &SharedSlice<u64>,
    random: &mut Random,
    killer: Option<Random>,
    abandoned: bool,
    tally: &mut Tally,
) -> Option<Pool<Work>> {
    let victims = Victims::default();
    let ends = AtomicBool::new(false);
    let sizes = random.one_in(3).then(|| Random::new(random.below(u64::MAX), 0));
    let count = 1 + random.below(MOST);
    let mapped = !abandoned && random.one_in(3);
    let tasks: Vec<_> = (0..count).map(|_| task(random, !mapped)).collect();
    let (acts, expected): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
    let works = (0..).zip(acts).map(|(n, what)| act(n, what));
    let chunk = 1 + random.below(50);
    let mut cancelled = HashSet::new();
    let mut back = None;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let hits = killer.map(|random| {
            let (pool, victims, ends) = (&pool, &victims, &ends);
            scope.spawn(move || victims.add(pool, random, ends))
        });
        let sizes = sizes.map(|random| {
            let (pool, ends) = (&pool, &ends);
            scope.spawn(move || resize(pool, random, ends))
        });
        let outcomes = if mapped {
            let map = pool.map(works).chunk_size(usize::try_from(chunk).unwrap());
            (0..).zip(map).map(|(n, outcome)| (n, None, outcome)).collect()
        } else {
            let futures: Vec<_> = works
                .zip(&expected)
                .map(|(work, expected)| {
                    let short = *expected == Expected::TimedOut;
                    let options = if short { within(50) } else { TaskOptions::default() };
                    pool.submit_with(work, options)
                })
                .collect();
            for (n, future) in futures.iter().enumerate() {
                if random.one_in(20) && future.cancel() {
                    cancelled.insert(n as u64);
                }
            }
            if abandoned {
                thread::sleep(random.micros(30_000));
                back = Some(futures);
                Vec::new()
            } else {
                let ended = |(n, future): (_, process_pool::Future<_>)| {
                    assert!(future.wait_timeout(NEVER), "{future:?} never ends");
                    (n, Some(future.id()), future.result())
                };
                (0..).zip(futures).map(ended).collect()
            }
        };
        ends.store(true, Relaxed);
        hits.into_iter().chain(sizes).for_each(|thread| thread.join().unwrap());
        outcomes
    });
    let (kept, outcomes) = match back {
        None => (Some(pool), outcomes),
        Some(futures) => {
            drop(pool);
            assert!(futures.iter().all(process_pool::Future::done), "a pool is gone before");
            let outcome = |(n, future): (_, process_pool::Future<_>)| {
                (n, Some(future.id()), future.result())
            };
            (None, (0..).zip(futures).map(outcome).collect())
        }
    };
    assert_eq!(outcomes.len() as u64, count);
    for (n, id, outcome) in outcomes {
        let place = usize::try_from(n).unwrap();
        let (expected, runs) = (expected[place], seen.get(place));
        seen.set(place, 0);
        let what = check(&outcome, n, id, expected, &victims);
        let what = match what {
            Some("cancelled") if !cancelled.contains(&n) && !abandoned => None,
            what if cancelled.contains(&n) => {
                what.filter(|&what| what == "cancelled" && runs == 0)
            }
            Some("done") => (runs == 1).then_some("done"),
            what => what.filter(|_| runs <= 1),
        };
        let Some(what) = what else {
            panic!(
                "round {}, task {n} of {count}, {expected:?}, cancelled: {}, ran {runs} times: \
                 {outcome:?}",
                tally.rounds,
                cancelled.contains(&n)
            );
        };
        tally.count(what);
    }
    kept
}

/// What came of a task, in a word; none for what should not have come of it.
fn check(
    outcome: &Result<Made, Error>,
    n: u64,
    id: Option<u64>,
    expected: Expected,
    victims: &Victims,
) -> Option<&'static str> {
    match outcome {
        Ok(Made::Number(number)) => {
            (*number == n && expected == Expected::Done).then_some("done")
        }
        Ok(_) => (expected == Expected::Done).then_some("done"),
        Err(Error::Cancelled) => Some("cancelled"),
        Err(Error::Died(death)) if id.is_none_or(|id| id == death.at.task) => {
            let own = matches!(expected, Expected::Died(text) if text == outcome_text(outcome));
            let hit = victims.contain(death.at.pid);
            if own {
                Some("killed by themselves")
            } else {
                hit.then_some("killed from outside")
            }
        }
        Err(Error::TimedOut { at, .. }) if id == Some(at.task) => {
            (expected == Expected::TimedOut).then_some("timed out")
        }
        Err(Error::Panicked { .. }) => (expected == Expected::Panicked).then_some("panicked"),
        Err(_) => match expected {
            Expected::Text(text) if text == outcome_text(outcome) => Some("failed"),
            _ => None,
        },
    }
}

fn outcome_text(outcome: &Result<Made, Error>) -> String {
    outcome.as_ref().err().map(ToString::to_string).unwrap_or_default()
}

fn soak(seconds: u64, seed: Option<u64>) {
    let seed = seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    println!("seed {seed}");
    let begun = Instant::now();
    let all = Duration::from_secs(seconds);
    let descriptors = held("fd");
    let threads = held("task");
    let mut tally = Tally::default();
    let mut warm = None;
    let seen = memory();
    let mut random = Random::new(seed, 0);
    let mut lasting = Some(pool(&mut random, &seen));
    while begun.elapsed() < all {
        tally.rounds += 1;
        let mut random = Random::new(seed, tally.rounds);
        let killer = random.one_in(2).then(|| Random::new(!seed, tally.rounds));
        if random.one_in(3) {
            let seen = memory();
            let pool = pool(&mut random, &seen);
            tally.pools += 1;
            let abandoned = random.one_in(3);
            if let Some(pool) = round(pool, &seen, &mut random, killer, abandoned, &mut tally) {
                if random.one_in(2) { pool.shutdown() } else { pool.shutdown_now() }
            }
        } else {
            let pool = lasting.take().unwrap();
            lasting = round(pool, &seen, &mut random, killer, false, &mut tally);
        }
        if begun.elapsed() > all / 5 {
            warm.get_or_insert_with(resident);
        }
    }
    let end = resident();
    lasting.unwrap().shutdown();
    drop(seen);
    assert!(orphans_end(NEVER).is_empty(), "a child is left");
    let warm = warm.unwrap_or(end);
    println!(
        "{} rounds, {} pools beside the lasting one, {:.0?}",
        tally.rounds,
        tally.pools,
        begun.elapsed()
    );
    let counts = tally.counts.iter().map(|(what, count)| format!("{count} {what}"));
    println!("tasks: {}", counts.collect::<Vec<_>>().join(", "));
    println!(
        "memory after a fifth of the time {} KiB, at the end {} KiB; descriptors {descriptors}, {}",
        warm >> 10,
        end >> 10,
        held("fd"),
    );
    assert!(end < warm + MUCH, "memory grows");
    assert_eq!(held("fd"), descriptors, "descriptors are left");
    // A thread that was waited for is gone a moment later.
    let deadline = Instant::now() + NEVER;
    while held("task") > threads {
        assert!(Instant::now() < deadline, "threads are left");
        thread::yield_now();
    }
}

fn held(what: &str) -> usize {
    fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}
