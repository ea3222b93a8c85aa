//! The lock on real threads. No test asserts that something was quick: a deadline, far above
//! what any machine needs, turns a thread that is blocked for ever into a failure.

use gil::{CheckPoints, Gil, Settings, Site};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use timeline::{Gauge, Span, State, Timeline};

const DEADLINE: Duration = Duration::from_secs(120);

/// Long enough that no waiter of a test lives to see it pass: only a signal can wake it.
const NEVER: Duration = Duration::from_secs(100_000);

/// Runs a test on a thread of its own and fails if it does not end.
fn ends(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let running = thread::spawn(move || {
        test();
        done.send(()).expect("the receiver waits");
    });
    match ended.recv_timeout(DEADLINE) {
        Ok(()) => {}
        Err(RecvTimeoutError::Disconnected) => {
            resume_unwind(running.join().expect_err("it ended without saying so"));
        }
        Err(RecvTimeoutError::Timeout) => panic!("somebody is blocked"),
    }
}

fn gil_with_interval(interval: Duration) -> Gil {
    Gil::with(Settings { interval, ..Settings::default() })
}

/// A lost update, if any other thread runs between the load and the store.
fn increment(counter: &AtomicUsize) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Eight threads that run under the lock and leave it after every so many pieces of work, until
/// it has changed hands so often.
fn hammer(gil: &Gil, pieces: usize, switches: u64) {
    let gauge = Gauge::new();
    let counter = AtomicUsize::new(0);
    let run = || {
        let mut done = 0;
        while gil.switches() < switches {
            let mut token = gil.acquire();
            for _ in 0..pieces {
                let inside = gauge.enter();
                increment(&counter);
                drop(inside);
                done += 1;
                token.check_point();
            }
            token.allow_threads(thread::yield_now);
        }
        done
    };
    let done: usize = thread::scope(|scope| {
        let threads = [(); 8].map(|()| scope.spawn(run));
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
    });
    assert_eq!(gauge.peak(), 1);
    assert_eq!(counter.into_inner(), done);
}

#[test]
fn one_thread_at_a_time_and_no_wait_for_a_switch_is_missed() {
    // The shortest interval and long turns: nearly every drop is a requested one.
    ends(|| hammer(&gil_with_interval(Duration::ZERO), 1_000_000, 1_000));
}

#[test]
fn one_thread_at_a_time_and_no_signal_to_a_waiter_is_lost() {
    // No time-out ever helps: a waiter that misses its signal waits for ever.
    ends(|| hammer(&gil_with_interval(NEVER), 1, 50_000));
}

#[test]
fn two_cpu_threads_both_make_progress() {
    ends(|| {
        let gil = gil_with_interval(Duration::from_micros(100));
        let progress = [AtomicUsize::new(0), AtomicUsize::new(0)];
        thread::scope(|scope| {
            for [me, other] in [[0, 1], [1, 0]] {
                let (gil, progress) = (&gil, &progress);
                scope.spawn(move || {
                    // Neither sleeps nor ends before the other has moved: only the request
                    // at a check point lets it.
                    let mut token = gil.acquire();
                    for round in 1..=100 {
                        progress[me].store(round, Ordering::Relaxed);
                        while progress[other].load(Ordering::Relaxed) < round {
                            token.check_point();
                        }
                    }
                });
            }
        });
    });
}

/// What two CPU threads did under a lock with this interval, until it changed hands so often.
fn two_cpu_threads(interval: Duration, switches: u64) -> [Vec<Span>; 2] {
    let gil = gil_with_interval(interval);
    let timeline = Timeline::new();
    thread::scope(|scope| {
        for name in ["A", "B"] {
            let (gil, mut lane) = (&gil, timeline.lane("test", name));
            scope.spawn(move || {
                let mut token = gil.acquire_on(&mut lane);
                while gil.switches() < switches {
                    token.check_point();
                }
            });
        }
    });
    let threads: Vec<_> = timeline.threads().into_iter().map(|thread| thread.spans).collect();
    threads.try_into().expect("two threads")
}

#[test]
fn o5_a_thread_that_drops_the_lock_on_request_is_followed_by_the_other() {
    ends(|| {
        let threads = two_cpu_threads(Duration::from_micros(50), 100);
        let mut spans: Vec<_> = threads
            .iter()
            .zip(["A", "B"])
            .flat_map(|(spans, thread)| spans.iter().map(move |span| (thread, span)))
            .filter(|(_, span)| span.state != State::WaitForLock)
            .collect();
        spans.sort_by_key(|(_, span)| span.start);
        let mut forced = 0;
        for [(dropper, wait), (next, turn)] in spans.array_windows() {
            if wait.state == State::ForcedWait {
                assert_eq!(turn.state, State::Run);
                assert_ne!(dropper, next);
                forced += 1;
            }
        }
        assert!(forced > 50, "only {forced} forced switches");
    });
}

#[test]
#[cfg_attr(windows, ignore = "time-outs count the ticks of another clock than `Instant`")]
fn o10_no_turn_is_shorter_than_the_interval() {
    ends(|| {
        let interval = Duration::from_millis(2);
        for spans in two_cpu_threads(interval, 50) {
            let turns: Vec<_> =
                spans.into_iter().filter(|span| span.state == State::Run).collect();
            let (_ends_with_its_thread, turns) = turns.split_last().expect("each has a turn");
            for turn in turns {
                assert!(turn.end - turn.start >= interval, "{turn:?}");
            }
        }
    });
}

/// Whether a thread that asks at once gets the lock while its holder executes such sites for
/// ever. If it is not `expected` to, the holder gives up after many.
fn another_gets_in(check_points: CheckPoints, site: Site, expected: bool) -> bool {
    let gil =
        Gil::with(Settings { interval: Duration::ZERO, check_points, ..Settings::default() });
    let (there, other_ran) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let mut token = gil.acquire();
        scope.spawn(|| {
            there.store(true, Ordering::Relaxed);
            let _token = gil.acquire();
            other_ran.store(true, Ordering::Relaxed);
        });
        while !there.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let mut executed = 0;
        while !other_ran.load(Ordering::Relaxed) && (expected || executed < 20_000_000) {
            token.executed(site);
            executed += 1;
        }
        other_ran.load(Ordering::Relaxed)
    })
}

#[test]
fn the_check_points_say_where_another_thread_gets_in() {
    ends(|| {
        use CheckPoints::{BackEdgesAndCalls, EveryInstruction, Never, Ticks};
        for (check_points, expected) in [
            (EveryInstruction, [true, true, true]),
            (BackEdgesAndCalls, [false, true, true]),
            (Ticks(100), [true, true, true]),
            (Never, [false, false, false]),
        ] {
            let sites = [Site::Instruction, Site::BackEdge, Site::Call];
            for (site, expected) in sites.into_iter().zip(expected) {
                let got_in = another_gets_in(check_points, site, expected);
                assert_eq!(got_in, expected, "{check_points:?} {site:?}");
            }
        }
    });
}

#[test]
fn where_ticks_count_the_lock_is_dropped_after_each_so_many_wanted_or_not() {
    for (ticks, drops) in [(100, 10), (1, 1_000), (0, 1_000), (1_001, 0)] {
        let gil = Gil::with(Settings {
            check_points: CheckPoints::Ticks(ticks),
            ..Settings::default()
        });
        let timeline = Timeline::new();
        let mut lane = timeline.lane("test", "A");
        let mut token = gil.acquire_on(&mut lane);
        (0..1_000).for_each(|_| token.executed(Site::Instruction));
        drop(token);
        drop(lane);
        assert_eq!(timeline.threads()[0].spans.len(), drops + 1, "{ticks} ticks");
        assert_eq!(gil.switches(), 1);
    }
}

#[test]
fn where_nobody_asks_a_check_point_drops_nothing() {
    let gil = Gil::new();
    let timeline = Timeline::new();
    let mut lane = timeline.lane("test", "A");
    let mut token = gil.acquire_on(&mut lane);
    for _ in 0..1_000 {
        token.executed(Site::BackEdge);
        token.check_point();
    }
    drop(token);
    drop(lane);
    assert_eq!(timeline.threads()[0].spans.len(), 1);
}

#[test]
fn where_ticks_count_nobody_asks() {
    ends(|| {
        let check_points = CheckPoints::Ticks(u32::MAX);
        let interval = Duration::ZERO;
        let gil = Gil::with(Settings { interval, check_points, ..Settings::default() });
        let (there, others) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let mut token = gil.acquire();
            scope.spawn(|| {
                there.store(true, Ordering::Relaxed);
                let _token = gil.acquire();
                others.fetch_add(1, Ordering::Relaxed);
            });
            while !there.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            // A request, if there were one, would be followed here, whatever the policy.
            (0..20_000_000).for_each(|_| token.check_point());
            assert_eq!(others.load(Ordering::Relaxed), 0);
        });
    });
}

#[test]
fn without_a_lock_threads_run_side_by_side() {
    ends(|| {
        let gil = Gil::free_threaded();
        let inside = Barrier::new(3);
        let timeline = Timeline::new();
        thread::scope(|scope| {
            for name in ["A", "B", "C"] {
                let (gil, inside, mut lane) = (&gil, &inside, timeline.lane("test", name));
                scope.spawn(move || {
                    let mut token = gil.acquire_on(&mut lane);
                    // Nobody passes before all three have their tokens.
                    inside.wait();
                    token.check_point();
                    token.allow_threads(|| ());
                });
            }
        });
        assert_eq!(timeline.peak(State::Run), 3);
        for thread in timeline.threads() {
            let states: Vec<_> = thread.spans.iter().map(|span| span.state).collect();
            assert_eq!(states, [State::Run, State::Io, State::Run]);
        }
        assert_eq!(gil.switches(), 0);
    });
}

#[test]
fn only_one_lane_runs_at_any_moment() {
    ends(|| {
        let gil = gil_with_interval(Duration::ZERO);
        let timeline = Timeline::new();
        thread::scope(|scope| {
            for name in ["A", "B", "C", "D"] {
                let (gil, mut lane) = (&gil, timeline.lane("test", name));
                scope.spawn(move || {
                    while gil.switches() < 1_000 {
                        let mut token = gil.acquire_on(&mut lane);
                        (0..100).for_each(|_| token.check_point());
                        token.allow_threads(thread::yield_now);
                    }
                });
            }
        });
        assert_eq!(timeline.peak(State::Run), 1);
    });
}

#[test]
fn a_lane_tells_what_its_thread_did_without_the_lock() {
    let gil = Gil::new();
    let timeline = Timeline::new();
    let mut lane = timeline.lane("test", "A");
    let mut token = gil.acquire_on(&mut lane);
    token.allow_threads(|| ());
    token.allow_threads_as(State::Native, || ());
    drop(token);
    drop(gil.acquire_on(&mut lane));
    drop(lane);
    let states: Vec<_> = timeline.threads()[0].spans.iter().map(|span| span.state).collect();
    assert_eq!(
        states,
        [State::Run, State::Io, State::Run, State::Native, State::Run, State::Run]
    );
}

#[test]
fn others_have_the_lock_while_a_thread_allows_it() {
    ends(|| {
        let gil = Gil::new();
        let mut token = gil.acquire();
        let answer = token.allow_threads(|| {
            thread::scope(|scope| {
                let other = scope.spawn(|| {
                    let _token = gil.acquire();
                    42
                });
                other.join().expect("it does not panic")
            })
        });
        assert_eq!(answer, 42);
        assert_eq!(gil.switches(), 3);
    });
}

#[test]
fn a_panic_releases_the_lock() {
    ends(|| {
        let gil = gil_with_interval(NEVER);
        thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _token = gil.acquire();
                panic!("on purpose");
            });
            assert!(panics.join().is_err());
        });
        drop(gil.acquire());
    });
}

#[test]
fn a_panic_without_the_lock_takes_it_back_before_it_goes_on() {
    ends(|| {
        let gil = Gil::new();
        let mut token = gil.acquire();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            token.allow_threads(|| panic!("on purpose"));
        }));
        assert!(panicked.is_err());
        assert!(is_held_by_this_thread(&gil));
        drop(token);
        assert!(!is_held_by_this_thread(&gil));
    });
}

/// Whether the lock refuses to let this thread wait for itself.
fn is_held_by_this_thread(gil: &Gil) -> bool {
    catch_unwind(AssertUnwindSafe(|| drop(gil.acquire()))).is_err()
}

#[test]
fn a_refused_acquisition_leaves_the_lock_usable() {
    ends(|| {
        let gil = Gil::new();
        let token = gil.acquire();
        assert!(is_held_by_this_thread(&gil));
        drop(token);
        thread::scope(|scope| {
            scope.spawn(|| drop(gil.acquire()));
        });
        assert_eq!(gil.switches(), 2);
    });
}

#[test]
fn o15_threads_that_end_while_others_wait_leave_nobody_blocked() {
    ends(|| {
        for interval in [Duration::ZERO, NEVER] {
            let gil = gil_with_interval(interval);
            let token = gil.acquire();
            thread::scope(|scope| {
                for _ in 0..32 {
                    scope.spawn(|| gil.acquire().check_point());
                }
                // Most of them wait by now or will; each ends right after its turn.
                drop(token);
            });
            drop(gil.acquire());
        }
    });
}

#[test]
fn taking_the_lock_back_oneself_is_no_switch() {
    let gil = Gil::new();
    (0..3).for_each(|_| drop(gil.acquire()));
    assert_eq!(gil.switches(), 1);
    thread::scope(|scope| {
        scope.spawn(|| drop(gil.acquire()));
    });
    assert_eq!(gil.switches(), 2);
}
