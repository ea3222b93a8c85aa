//! The oracles O1 to O16 of a lock like CPython's, over random scenarios and seeds.
//!
//! Each reads the trace alone, and knows nothing of how the engine or the rules got there. O12 is
//! the explorer's too.
//!
//! A failure is replayed in either of two ways:
//! - proptest writes a line `cc ...` into `oracles.proptest-regressions` beside this file, and
//!   prints it. While the line is there, `cargo test -p simulator --test oracles` begins with the
//!   scenario it stands for. It stands for no other while the strategies below stay as they are.
//! - The message has the schedule of the run and, at its end, the scenario with its seed.
//!   `Scenario { schedule: "t1,t2".into(), ..scenario }.run()` wakes the same waiters even where
//!   the engine draws them in another way; an empty schedule is left out.

use gil::{CheckPoints, Settings};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use simulator::{
    BODY, Event, INCREMENT, Instruction, Machine, Process, Run, Scenario, Step, Thread, What,
};
use std::ops::Range;
use std::time::Duration;
use timeline::State;

/// Runs a scenario and asks an oracle: whether a claim about the run holds, or why not.
fn holds(
    scenario: &Scenario,
    oracle: impl Fn(&Scenario, &Run) -> Result<(), String>,
) -> TestCaseResult {
    let run = scenario.run().expect("the scenario is sound");
    oracle(scenario, &run).map_err(|why| {
        let (seed, schedule) = (scenario.seed, run.schedule());
        TestCaseError::fail(format!(
            "{why}\nseed {seed}, schedule {schedule}\n{run}{scenario:#?}"
        ))
    })
}

fn micros(range: Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_micros)
}

fn check_points() -> impl Strategy<Value = CheckPoints> {
    prop_oneof![
        Just(CheckPoints::EveryInstruction),
        Just(CheckPoints::BackEdgesAndCalls),
        (0..200_u32).prop_map(CheckPoints::Ticks),
        Just(CheckPoints::Never),
    ]
}

fn lock() -> impl Strategy<Value = Settings> {
    (micros(0..1_000), any::<bool>(), check_points()).prop_map(
        |(interval, forced_switching, check_points)| Settings {
            interval,
            forced_switching,
            check_points,
        },
    )
}

fn machine() -> impl Strategy<Value = Machine> {
    (1..4_usize, micros(1..3_000), micros(0..100), 1..200_u64).prop_map(
        |(cores, slice, wake_up, instruction)| Machine {
            cores,
            slice,
            wake_up,
            instruction: Duration::from_nanos(instruction),
        },
    )
}

fn instruction() -> impl Strategy<Value = Instruction> {
    use Instruction::{Add, AtomicAdd, Call, Const, JumpBack, Load, Store};
    prop::sample::select(vec![Load, Const, Add, Store, AtomicAdd, Call, JumpBack])
}

fn step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        micros(0..3_000).prop_map(Step::Compute),
        prop::collection::vec(instruction(), 0..6).prop_map(Step::Bytecode),
        Just(Step::Bytecode(INCREMENT.to_vec())),
        (micros(0..2_000), any::<bool>())
            .prop_map(|(time, gives_lock)| Step::Native { time, gives_lock }),
        micros(0..2_000).prop_map(Step::Io),
        micros(0..2_000).prop_map(Step::Tick),
    ];
    leaf.prop_recursive(2, 8, 3, |step| {
        (0..4_u64, prop::collection::vec(step, 0..3))
            .prop_map(|(rounds, steps)| Step::Loop(rounds, steps))
    })
}

/// Up to two processes, with locks or without, of up to four threads each.
fn scenario(
    lock: impl Strategy<Value = Option<Settings>>,
    threads: Range<usize>,
) -> impl Strategy<Value = Scenario> {
    let script = prop::collection::vec(step(), 0..5);
    let process = (lock, prop::collection::vec(script, threads));
    let processes = prop::collection::vec(process, 1..3);
    (machine(), processes, any::<u64>()).prop_map(|(machine, processes, seed)| {
        let mut number = 0;
        let mut thread = |script| {
            number += 1;
            Thread::new(format!("t{number}"), script)
        };
        let processes =
            processes.into_iter().enumerate().map(|(place, (lock, scripts))| Process {
                name: format!("p{place}"),
                lock,
                threads: scripts.into_iter().map(&mut thread).collect(),
            });
        let processes = processes.collect();
        Scenario { machine, processes, seed, ..Scenario::default() }
    })
}

fn any_scenario() -> impl Strategy<Value = Scenario> {
    scenario(prop::option::weighted(0.9, lock()), 1..5)
}

/// The events of each process with a lock, and that lock.
fn locked<'a>(scenario: &'a Scenario, run: &'a Run) -> Vec<(Settings, Vec<Event>)> {
    let mut first = 0;
    let mut parts = Vec::new();
    for process in &scenario.processes {
        let threads = first..first + process.threads.len();
        first = threads.end;
        if let Some(lock) = process.lock {
            let events = run.events.iter().filter(|event| threads.contains(&event.thread));
            parts.push((lock, events.copied().collect()));
        }
    }
    parts
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a short time")
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

proptest! {
    #[test]
    fn o1_the_lock_has_one_holder_and_only_it_reads_or_writes(scenario in any_scenario()) {
        holds(&scenario, |scenario, run| {
            for (_, events) in locked(scenario, run) {
                let mut holder = None;
                for event in events {
                    match event.what {
                        What::Take { .. } => {
                            check(holder.is_none(), || format!("{holder:?} has it: {event:?}"))?;
                            holder = Some(event.thread);
                        }
                        What::Drop { .. } | What::Read(_) | What::Write(_) => {
                            let holds = holder == Some(event.thread);
                            check(holds, || format!("{holder:?} has it: {event:?}"))?;
                            holder = holder.filter(|_| !matches!(event.what, What::Drop { .. }));
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn o2_a_thread_alone_never_waits_and_is_never_asked(
        scenario in scenario(lock().prop_map(Some), 1..2),
    ) {
        holds(&scenario, |_, run| {
            for event in &run.events {
                let alone = !matches!(
                    event.what,
                    What::Wait | What::Ask | What::Signal | What::Force
                        | What::Drop { requested: true }
                );
                check(alone, || format!("{event:?}"))?;
            }
            Ok(())
        })?;
    }

    #[test]
    fn o3_and_o4_a_request_follows_a_whole_interval_without_a_switch(scenario in any_scenario()) {
        holds(&scenario, |scenario, run| {
            for (lock, events) in locked(scenario, run) {
                let interval = nanos(lock.interval).max(1_000);
                let mut switches = 0;
                let mut begun = vec![None; 10];
                for event in events {
                    match event.what {
                        What::Ask => {
                            let ticks = matches!(lock.check_points, CheckPoints::Ticks(_));
                            check(!ticks, || format!("where ticks count: {event:?}"))?;
                            let (at, before) = begun[event.thread].ok_or("asks without a wait")?;
                            check(event.at - at >= interval, || format!("too early: {event:?}"))?;
                            check(switches == before, || format!("after a switch: {event:?}"))?;
                            begun[event.thread] = Some((event.at, switches));
                        }
                        What::Wait => begun[event.thread] = Some((event.at, switches)),
                        What::Take { switch: true } => switches += 1,
                        _ => {}
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn o5_and_o6_a_switch_is_forced_by_a_request_and_by_nothing_else(scenario in any_scenario()) {
        holds(&scenario, |scenario, run| {
            for (lock, events) in locked(scenario, run) {
                let (mut last, mut forced) = (None, None);
                for (place, event) in events.iter().enumerate() {
                    match event.what {
                        What::Drop { requested } => {
                            // A request is that of a waiter, and all waiters live.
                            let mut rest = events[place + 1..].iter();
                            let next = rest.find(|next| next.thread == event.thread);
                            let waits = next.is_some_and(|next| next.what == What::Force);
                            let must = requested && lock.forced_switching;
                            check(waits == must, || format!("{event:?}, then {next:?}"))?;
                            forced = must.then_some(event.thread);
                        }
                        What::Take { switch } => {
                            check(forced != Some(event.thread), || format!("back: {event:?}"))?;
                            let other = last.replace(event.thread) != Some(event.thread);
                            check(switch == other, || format!("miscounted: {event:?}"))?;
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn o8_every_take_clears_the_request(scenario in any_scenario()) {
        holds(&scenario, |scenario, run| {
            for (_, events) in locked(scenario, run) {
                let mut asked = false;
                for event in events {
                    match event.what {
                        What::Ask => asked = true,
                        What::Take { .. } => asked = false,
                        What::Drop { requested } => {
                            check(requested == asked, || format!("asked {asked}: {event:?}"))?;
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn o9_without_a_check_point_only_a_call_that_gives_the_lock_up_ends_a_turn(
        scenario in scenario(
            lock().prop_map(|lock| Some(Settings { check_points: CheckPoints::Never, ..lock })),
            1..5,
        ),
    ) {
        holds(&scenario, |_, run| {
            for (place, event) in run.events.iter().enumerate() {
                if let What::Drop { .. } = event.what {
                    let rest = run.events[place + 1..].iter();
                    let mut rest = rest.filter(|next| next.thread == event.thread);
                    let next = rest.find(|next| next.what != What::Force);
                    let next = next.map(|next| next.what);
                    let gives = [What::Io, What::Native, What::End].map(Some).contains(&next);
                    check(gives, || format!("{event:?}, then {next:?}"))?;
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn o10_no_turn_of_computing_threads_is_shorter_than_the_interval(
        machine in machine(),
        (interval, threads, seed) in (micros(0..1_000), 2..6_usize, any::<u64>()),
        every_instruction: bool,
    ) {
        let check_points = if every_instruction {
            CheckPoints::EveryInstruction
        } else {
            CheckPoints::BackEdgesAndCalls
        };
        let settings = Settings { interval, ..Settings::default() };
        let thread = |name: usize| Thread::new(name.to_string(), [Step::Compute(Duration::MAX)]);
        let process = Process {
            name: "p".into(),
            lock: Some(Settings { check_points, ..settings }),
            threads: (0..threads).map(thread).collect(),
        };
        let until = Some(Duration::from_millis(20));
        let processes = vec![process];
        let scenario = Scenario { machine, processes, until, seed, ..Scenario::default() };
        holds(&scenario, |scenario, run| {
            let settings = scenario.processes[0].lock.unwrap();
            let interval = settings.interval.max(Duration::from_micros(1));
            let turns = run.turns(0);
            let short = turns.iter().find(|turn| **turn < interval);
            check(short.is_none(), || format!("a turn of {short:?}"))?;
            let most = run.end.as_nanos() / interval.as_nanos() + 1;
            // One more is not over yet.
            check((turns.len() as u128) < most, || format!("{} turns", turns.len() + 1))
        })?;
    }

    #[test]
    fn o11_an_answer_beside_a_computation_waits_an_interval_and_little_more(
        (interval, wake_up) in (micros(1..1_000), micros(0..100)),
        (io, instruction, seed) in (micros(1_000..3_000), 1..200_u64, any::<u64>()),
        every_instruction: bool,
    ) {
        let check_points = if every_instruction {
            CheckPoints::EveryInstruction
        } else {
            CheckPoints::BackEdgesAndCalls
        };
        let instruction = Duration::from_nanos(instruction);
        let instructions = if every_instruction { 1 } else { BODY };
        let gap = instruction * u32::try_from(instructions).unwrap();
        let settings = Settings { interval, ..Settings::default() };
        let scenario = Scenario {
            machine: Machine { wake_up, instruction, ..Machine::default() },
            processes: vec![Process {
                name: "p".into(),
                lock: Some(Settings { check_points, ..settings }),
                threads: vec![
                    Thread::new("cpu", [Step::Compute(Duration::MAX)]),
                    Thread::new("io", [Step::Loop(5, vec![Step::Io(io)])]),
                ],
            }],
            until: Some(Duration::from_millis(50)),
            seed,
            ..Scenario::default()
        };
        // From the answer to the wait, from the time-out to the request, from the release to
        // the take: three delays.
        let bounds = interval..=interval + gap + 3 * wake_up;
        holds(&scenario, |_, run| {
            let wake_ups = run.wake_ups(1);
            check(wake_ups.len() == 5, || format!("{} answers", wake_ups.len()))?;
            let other = wake_ups.iter().find(|latency| !bounds.contains(latency));
            check(other.is_none(), || format!("{other:?} is not in {bounds:?}"))
        })?;
    }

    #[test]
    fn o12_increments_without_a_check_point_inside_are_never_lost(
        (machine, interval, seed) in (machine(), micros(0..100), any::<u64>()),
        rounds in prop::collection::vec(0..300_u64, 2..5),
        never: bool,
    ) {
        let check_points =
            if never { CheckPoints::Never } else { CheckPoints::BackEdgesAndCalls };
        let settings = Settings { interval, ..Settings::default() };
        let script = |rounds| [Step::Loop(rounds, vec![Step::Bytecode(INCREMENT.to_vec())])];
        let threads = rounds.iter().enumerate();
        let scenario = Scenario {
            machine,
            processes: vec![Process {
                name: "p".into(),
                lock: Some(Settings { check_points, ..settings }),
                threads: threads
                    .map(|(name, rounds)| Thread::new(name.to_string(), script(*rounds)))
                    .collect(),
            }],
            seed,
            ..Scenario::default()
        };
        holds(&scenario, |_, run| {
            check(run.lost_updates(0) == 0, || format!("{} lost", run.lost_updates(0)))
        })?;
    }

    #[test]
    fn o13_an_interval_of_zero_acts_as_a_microsecond(scenario in any_scenario()) {
        let with = |interval| {
            let mut scenario = scenario.clone();
            for process in &mut scenario.processes {
                if let Some(lock) = &mut process.lock {
                    lock.interval = interval;
                }
            }
            scenario
        };
        holds(&with(Duration::ZERO), |_, run| {
            let other = with(Duration::from_micros(1)).run().unwrap();
            check(other == *run, || format!("a microsecond:\n{other}zero:"))
        })?;
    }

    #[test]
    fn o15_and_o16_every_thread_comes_to_its_end(scenario in any_scenario()) {
        // Requesters end, holders end with a request pending, droppers wait for a switch: if
        // anybody were left behind, or waited in a circle, a thread would have no end.
        holds(&scenario, |scenario, run| {
            let sizes = scenario.processes.iter().map(|process| process.threads.len());
            let threads: usize = sizes.sum();
            let ends = run.events.iter().filter(|event| event.what == What::End).count();
            check(ends == threads, || format!("{ends} of {threads} threads ended"))
        })?;
    }

    #[test]
    fn the_same_scenario_runs_the_same_way_by_seed_and_by_schedule(scenario in any_scenario()) {
        holds(&scenario, |scenario, run| {
            let by_seed = scenario.run().unwrap();
            check(by_seed == *run, || format!("by seed:\n{by_seed}before:"))?;
            let again = Scenario { schedule: run.schedule(), ..scenario.clone() };
            let by_schedule = again.run().unwrap();
            check(by_schedule == *run, || format!("by schedule:\n{by_schedule}before:"))
        })?;
    }

    #[test]
    fn every_switch_of_a_lock_but_its_first_is_a_hand_over(scenario in any_scenario()) {
        holds(&scenario, |scenario, run| {
            let mut switches = [0; 10];
            for (_, events) in locked(scenario, run) {
                let takes = events.iter().filter(|e| e.what == What::Take { switch: true });
                takes.skip(1).for_each(|take| switches[take.thread] += 1);
            }
            let timeline = run.timeline();
            for (share, switches) in timeline.shares().iter().zip(switches) {
                check(share.switches == switches, || format!("{switches} in {share:?}"))?;
            }
            let threads = timeline.threads();
            let hand_overs = timeline.hand_overs();
            check(hand_overs.len() == switches.iter().sum::<usize>(), || format!("{hand_overs:?}"))?;
            for hand_over in hand_overs {
                let turns = |thread: usize| {
                    threads[thread].spans.iter().filter(|span| span.state == State::Run)
                };
                let given = turns(hand_over.from).any(|span| span.end == hand_over.given);
                let had = turns(hand_over.to).any(|span| span.start == hand_over.at);
                let drawn = given && had && hand_over.given <= hand_over.at;
                check(drawn, || format!("{hand_over:?} in {threads:?}"))?;
            }
            Ok(())
        })?;
    }

    #[test]
    fn events_come_in_order_of_time_and_shares_add_up(scenario in any_scenario()) {
        holds(&scenario, |_, run| {
            check(run.events.is_sorted_by_key(|event| event.at), || "out of order".into())?;
            let timeline = run.timeline();
            let threads = timeline.threads();
            let ends = threads.iter().filter_map(|thread| thread.spans.last()).map(|s| s.end);
            let total = ends.max().unwrap_or_default();
            for share in timeline.shares() {
                let sum = share.has + share.waits + share.neither;
                check(sum == total, || format!("{share:?} is not {total:?}"))?;
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_more_threads_run_than_there_are_cores(scenario in scenario(Just(None), 1..5)) {
        holds(&scenario, |scenario, run| {
            let mut running = [false; 10];
            for event in &run.events {
                match event.what {
                    What::Go | What::Native | What::Resume => running[event.thread] = true,
                    What::Io | What::Preempt | What::End => running[event.thread] = false,
                    _ => {}
                }
                let cores = running.iter().filter(|running| **running).count();
                check(cores <= scenario.machine.cores, || format!("{cores} at {event:?}"))?;
            }
            Ok(())
        })?;
    }
}

#[test]
fn random_scenarios_show_what_the_oracles_ask_about() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let events = (0..200).flat_map(|_| {
        let scenario = any_scenario().new_tree(&mut runner).unwrap().current();
        scenario.run().unwrap().events
    });
    let seen: Vec<What> = events.map(|event| event.what).collect();
    for what in [
        What::Wait,
        What::Ask,
        What::Take { switch: true },
        What::Take { switch: false },
        What::Drop { requested: true },
        What::Drop { requested: false },
        What::Force,
        What::Signal,
        What::Preempt,
        What::Write(2),
    ] {
        assert!(seen.iter().filter(|seen| **seen == what).count() > 10, "{what:?}");
    }
}

/// Two threads under a lock, on two cores.
fn pair(lock: Settings, scripts: [Vec<Step>; 2], until: Duration, seed: u64) -> Scenario {
    let [a, b] = scripts;
    Scenario {
        processes: vec![Process {
            name: "p".into(),
            lock: Some(lock),
            threads: vec![Thread::new("a", a), Thread::new("b", b)],
        }],
        until: Some(until),
        seed,
        ..Scenario::default()
    }
}

const CPU: Step = Step::Compute(Duration::MAX);

#[test]
fn o7_a_holder_that_releases_often_keeps_a_waiter_from_ever_asking() {
    // Every 0.2 ms for 20 ns: who is signalled then mostly comes too late, and waits afresh.
    let pause = Step::Native { time: Duration::from_nanos(20), gives_lock: true };
    let barging =
        vec![Step::Loop(5_000, vec![Step::Compute(Duration::from_micros(200)), pause])];
    let mut longest = Duration::ZERO;
    for seed in 0..20 {
        let scripts = [barging.clone(), vec![Step::Compute(Duration::from_millis(1))]];
        let until = Duration::from_secs(1);
        let run = pair(Settings::default(), scripts, until, seed).run().unwrap();
        let asked = run.events.iter().any(|event| event.what == What::Ask && event.thread == 1);
        assert!(!asked, "seed {seed}");
        longest = longest.max(run.timeline().shares()[1].longest_wait);
    }
    assert!(longest > 100 * Settings::default().interval, "{longest:?}");
}

#[test]
fn o9_native_code_that_keeps_the_lock_is_a_turn_as_long_as_the_call() {
    let call = Step::Native { time: Duration::from_millis(120), gives_lock: false };
    let scripts = [vec![call.clone(), call], vec![CPU]];
    let run = pair(Settings::default(), scripts, Duration::from_millis(500), 1).run().unwrap();
    // b asks during the call and has the lock right after it; a second call is as long.
    assert_eq!(run.turns(0)[0], Duration::from_millis(120));
    assert_eq!(run.turns(0)[2], Duration::from_millis(120));
}

#[test]
fn o14_without_forced_switching_who_was_asked_mostly_wins_the_lock_back() {
    let longest_wait = |forced_switching| {
        let lock = Settings { forced_switching, ..Settings::default() };
        let until = Duration::from_secs(2);
        let run = pair(lock, [vec![CPU], vec![CPU]], until, 1).run().unwrap();
        let back = run.events.iter().any(|event| event.what == What::Take { switch: false });
        assert_eq!(back, !forced_switching);
        let shares = run.timeline().shares();
        shares[0].longest_wait.max(shares[1].longest_wait)
    };
    assert!(longest_wait(true) < Duration::from_millis(6));
    assert!(longest_wait(false) > Duration::from_millis(500));
}

#[test]
fn o1_at_most_one_thread_of_a_process_runs() {
    let scripts = [vec![CPU], vec![CPU]];
    let run = pair(Settings::default(), scripts, Duration::from_millis(100), 1).run().unwrap();
    assert_eq!(run.timeline().peak(State::Run), 1);
}
