//! What scenarios do, exactly: without delays every figure follows from the scripts.

use gil::{CheckPoints, Settings};
use simulator::Instruction::{Add, AtomicAdd, Call, Const, Load, Store};
use simulator::explorer::Program;
use simulator::{
    Error, INCREMENT, Instruction, Machine, Process, Run, Scenario, Step, Thread, What,
};
use std::collections::BTreeSet;
use std::time::Duration;
use timeline::{Request, State};

const GIL: Option<Settings> = Some(Settings {
    interval: Duration::from_millis(5),
    forced_switching: true,
    check_points: CheckPoints::BackEdgesAndCalls,
});

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ns(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

fn policy(check_points: CheckPoints) -> Option<Settings> {
    Some(Settings { check_points, ..Settings::default() })
}

fn process(name: &str, lock: Option<Settings>, threads: &[(&str, &[Step])]) -> Process {
    let threads = threads.iter().map(|(name, script)| Thread::new(*name, *script)).collect();
    Process { name: name.into(), lock, threads }
}

fn one(lock: Option<Settings>, threads: &[(&str, &[Step])]) -> Scenario {
    Scenario { processes: vec![process("p", lock, threads)], ..Scenario::default() }
}

/// A machine on which everything that wakes up can run at once.
fn prompt(cores: usize) -> Machine {
    Machine { cores, wake_up: Duration::ZERO, ..Machine::default() }
}

fn promptly(cores: usize, lock: Option<Settings>, threads: &[(&str, &[Step])]) -> Run {
    Scenario { machine: prompt(cores), ..one(lock, threads) }.run().expect("it is sound")
}

fn increments(times: u64, instructions: &[Instruction]) -> [Step; 1] {
    [Step::Loop(times, vec![Step::Bytecode(instructions.to_vec())])]
}

fn count(run: &Run, what: What) -> usize {
    run.events.iter().filter(|event| event.what == what).count()
}

/// Two threads that compute, and one that waits for the world outside now and then.
fn busy() -> Scenario {
    one(
        GIL,
        &[
            ("a", &[Step::Compute(ms(40))]),
            ("b", &[Step::Compute(ms(40))]),
            ("io", &[Step::Loop(10, vec![Step::Io(ms(2)), Step::Compute(ms(1))])]),
        ],
    )
}

#[test]
fn the_trace_of_a_computation_beside_an_answer() {
    let run = one(
        GIL,
        &[("cpu", &[Step::Compute(ms(9))]), ("io", &[Step::Io(ms(1)), Step::Compute(ms(1))])],
    );
    let run = run.run().unwrap();
    assert_eq!(
        format!("\n{run}"),
        "
    0.021576 ms  io   takes the lock
    0.021576 ms  io   drops the lock
    0.021576 ms  io   waits for an answer
    0.044166 ms  cpu  takes the lock
    1.021576 ms  io   is answered
    1.022897 ms  io   waits for the lock
    6.071442 ms  io   asks for the lock
    6.071466 ms  cpu  drops the lock on request
    6.071466 ms  io   is signalled
    6.071466 ms  cpu  waits for the switch
    6.080159 ms  io   takes the lock
    6.118737 ms  cpu  waits for the lock
    7.080159 ms  io   drops the lock
    7.080159 ms  cpu  is signalled
    7.080159 ms  io   ends
    7.099982 ms  cpu  takes the lock
   10.072682 ms  cpu  drops the lock
   10.072682 ms  cpu  ends
"
    );
    assert_eq!(
        run.timeline().text(60),
        "\
p cpu █████████████████████████████████░░░░░████████████████
p io  ─────░░░░░░░░░░░░░░░░░░░░░░░░░░░░█████
      |0 ms                     |5 ms
      █ run  ░ wait for lock  ─ I/O  × forced wait
"
    );
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let run = |seed| Scenario { seed, ..busy() }.run().unwrap();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_run_can_be_replayed_by_its_schedule() {
    let run = busy().run().unwrap();
    let schedule = run.schedule();
    assert!(schedule.0.len() > 10, "{schedule}");
    let printed = schedule.to_string();
    let again = Scenario { schedule: printed.as_str().into(), ..busy() };
    assert_eq!(again.run().unwrap(), run);
}

#[test]
fn a_schedule_chooses_who_is_woken() {
    let threads: [(&str, &[Step]); 3] = [
        ("a", &[Step::Compute(ms(1)), Step::Io(ms(50))]),
        ("b", &[Step::Compute(ms(1))]),
        ("c", &[Step::Compute(ms(1))]),
    ];
    let order = |schedule: &str| {
        let scenario =
            Scenario { machine: prompt(4), schedule: schedule.into(), ..one(GIL, &threads) };
        let run = scenario.run().unwrap();
        let takes = run.events.iter().filter(|event| matches!(event.what, What::Take { .. }));
        takes.map(|event| event.thread).collect::<Vec<_>>()
    };
    assert_eq!(order("b,c"), [0, 1, 2, 0]);
    assert_eq!(order("c,b"), [0, 2, 1, 0]);
    assert_eq!(order("c"), [0, 2, 1, 0], "the rest is left to the seed");
}

#[test]
fn without_a_schedule_the_seed_chooses_who_is_woken() {
    let cpu: &[Step] = &[Step::Compute(ms(1))];
    let threads = [("a", cpu), ("b", cpu), ("c", cpu), ("d", cpu)];
    let first_woken = |seed| {
        let scenario = Scenario { machine: prompt(4), seed, ..one(GIL, &threads) };
        scenario.run().unwrap().schedule().0.swap_remove(0)
    };
    let woken: BTreeSet<String> = (0..50).map(first_woken).collect();
    assert_eq!(woken.into_iter().collect::<Vec<_>>(), ["b", "c", "d"]);
}

#[test]
fn a_schedule_that_cannot_be_kept_says_where_and_why() {
    let threads = ["a", "b", "c", "d"].map(|name| Thread::new(name, [Step::Compute(ms(1))]));
    let process = Process { name: "p".into(), lock: GIL, threads: threads.into() };
    let scenario =
        Scenario { machine: prompt(4), processes: vec![process], ..Scenario::default() };
    let error = |schedule: &str| {
        let scenario = Scenario { schedule: schedule.into(), ..scenario.clone() };
        scenario.run().unwrap_err().to_string()
    };
    assert_eq!(
        error("b,e"),
        "entry 2 of the schedule names `e`, but the threads are a, b, c, d"
    );
    assert_eq!(error("b,c,b"), "entry 3 of the schedule names `b`, which has ended by then");
    assert_eq!(error("b,b"), "entry 2 of the schedule names `b`, but the choice is among d, c");
    // The fourth release has nobody to wake.
    assert_eq!(error("b,c,d,d"), "entry 4 of the schedule names `d`, which has ended by then");
}

#[test]
fn what_cannot_run_is_refused() {
    let scenario = one(GIL, &[("a", &[])]);
    let machine = |machine| Scenario { machine, ..scenario.clone() }.run().unwrap_err();
    assert_eq!(machine(Machine { cores: 0, ..prompt(1) }), Error::NoCores);
    let slice = Machine { slice: Duration::ZERO, ..prompt(1) };
    assert_eq!(machine(slice).to_string(), "a time slice of 0: it takes at least 1 ns");
    let instruction = Machine { instruction: Duration::ZERO, ..prompt(1) };
    assert_eq!(machine(instruction).to_string(), "an instruction of 0: it takes at least 1 ns");
    assert_eq!(Scenario::default().run().unwrap_err(), Error::NoThreads);
    let twins = one(GIL, &[("a", &[]), ("a", &[])]);
    assert_eq!(twins.run().unwrap_err().to_string(), "two threads are named `a`");
}

#[test]
fn under_one_lock_two_computations_take_the_sum_without_it_the_longer() {
    let threads: [(&str, &[Step]); 2] =
        [("a", &[Step::Compute(ms(30))]), ("b", &[Step::Compute(ms(20))])];
    // Each hand-over costs the holder the rest of its loop, at most 100 ns.
    let locked = promptly(2, GIL, &threads);
    assert_eq!(locked.end, ms(50));
    let timeline = locked.timeline();
    assert_eq!(timeline.peak(State::Run), 1);
    let asked: Vec<_> = locked.events.iter().filter(|event| event.what == What::Ask).collect();
    assert!(asked.len() > 4, "{locked}");
    let requests = asked.iter().map(|event| Request {
        by: event.thread,
        at: ns(event.at),
        interval: ms(5),
    });
    assert_eq!(timeline.requests(), requests.collect::<Vec<_>>());
    assert_eq!(promptly(2, None, &threads).end, ms(30));
}

#[test]
fn a_process_has_a_lock_of_its_own() {
    let cpu: &[Step] = &[Step::Compute(ms(30))];
    let processes = vec![process("p", GIL, &[("a", cpu)]), process("q", GIL, &[("b", cpu)])];
    let scenario = Scenario { machine: prompt(2), processes, ..Scenario::default() };
    let run = scenario.run().unwrap();
    assert_eq!(run.end, ms(30));
    assert_eq!(count(&run, What::Wait), 0);
}

#[test]
fn cores_are_shared_in_turns_of_a_slice() {
    let cpu: &[Step] = &[Step::Compute(ms(10))];
    let run = promptly(1, None, &[("a", cpu), ("b", cpu)]);
    assert_eq!(run.end, ms(20));
    assert_eq!(
        run.timeline().text(44),
        "\
p a ████████        ████████        ████
p b         ████████        ████████    ████
    |0 ms     |5 ms     |10 ms    |15 ms
    █ run
"
    );
}

#[test]
fn a_thread_alone_on_its_core_is_not_preempted() {
    let run = promptly(2, None, &[("a", &[Step::Compute(ms(100))]), ("b", &[])]);
    assert_eq!(count(&run, What::Preempt), 0);
}

#[test]
fn a_holder_without_a_core_still_has_the_lock() {
    let cpu: &[Step] = &[Step::Compute(ms(8))];
    let processes = vec![process("p", GIL, &[("a", cpu)]), process("q", GIL, &[("b", cpu)])];
    let scenario = Scenario { machine: prompt(1), processes, ..Scenario::default() };
    let run = scenario.run().unwrap();
    assert_eq!(count(&run, What::Preempt), 2);
    let shares = run.timeline().shares();
    assert_eq!([shares[0].has, shares[1].has], [ms(12), ms(12)]);
}

#[test]
fn native_code_that_gives_the_lock_up_runs_beside_the_others() {
    let native = |gives_lock| [Step::Native { time: ms(20), gives_lock }];
    let run = |gives_lock| {
        let native = native(gives_lock);
        promptly(2, GIL, &[("a", &native), ("b", &native)])
    };
    assert_eq!(run(true).end, ms(20));
    assert_eq!(run(true).timeline().peak(State::Native), 2);
    assert_eq!(run(false).end, ms(40));
}

#[test]
fn waits_for_the_world_need_no_core() {
    let io: &[Step] = &[Step::Io(ms(20))];
    assert_eq!(promptly(1, GIL, &[("a", io), ("b", io), ("c", io)]).end, ms(20));
}

#[test]
fn a_timer_keeps_its_beat_and_loses_what_a_thread_is_late_for() {
    let tick = Step::Tick(ms(10));
    let compute = |time| Step::Compute(ms(time));
    let script = [tick.clone(), compute(3), tick.clone(), compute(25), tick.clone(), tick];
    let run = promptly(1, GIL, &[("a", &script)]);
    let answers = run.events.iter().filter(|event| event.what == What::Answer);
    let answers: Vec<_> = answers.map(|event| ns(event.at)).collect();
    // At 45 ms those of 30 and 40 ms are lost; at 50 ms, on time, the next is that of 60 ms.
    assert_eq!(answers, [10, 20, 50, 60].map(ms));
}

#[test]
fn without_delays_an_answer_waits_an_interval_and_a_gap() {
    let io: &[Step] = &[Step::Io(ns(3_000_030)), Step::Compute(ms(12))];
    let run = promptly(2, GIL, &[("cpu", &[Step::Compute(ms(40))]), ("io", io)]);
    // It asks at 8.000030 ms; the loop of the other one comes round every 100 ns. That it loses
    // the lock and takes it again later is no answer.
    assert_eq!(run.wake_ups(1), [ns(5_000_070)]);
    assert_eq!(count(&run, What::Take { switch: true }), 9);
}

#[test]
fn a_slice_that_ends_where_an_instruction_begins_makes_no_check_point() {
    // a is asked at 5 ms, and looks behind its call, at 16 ms.
    let machine = Machine { slice: ms(8), instruction: ms(8), ..prompt(2) };
    let a = [Step::Bytecode(vec![Const, Call, Const])];
    let run = Scenario { machine, ..one(GIL, &[("a", &a), ("b", &[])]) }.run().unwrap();
    assert_eq!(run.turns(0)[0], ms(16));
}

#[test]
fn a_turn_lasts_from_a_switch_to_the_last_release_before_the_next() {
    let round = [Step::Compute(ms(2)), Step::Io(ms(1))];
    let run = promptly(
        2,
        GIL,
        &[
            ("a", &[Step::Loop(4, round.into())]),
            ("b", &[Step::Io(ms(9)), Step::Compute(ms(1))]),
        ],
    );
    // a has the lock up to 2 ms; b, who waited, for a moment; a from 3 ms on, with pauses in
    // which nobody else takes it; b, answered at 11 ms, when a pauses at 11.00006, after three
    // back edges; and a once more, which ends without a next.
    assert_eq!(run.turns(0), [ms(2), ms(0), ns(8_000_060), ms(1)]);
}

#[test]
fn loops_have_their_rounds_each_time_they_are_entered() {
    let add = Step::Bytecode(vec![AtomicAdd]);
    let inner = Step::Loop(3, vec![add.clone(), Step::Loop(0, vec![add])]);
    let run = promptly(1, GIL, &[("a", &[Step::Loop(4, vec![inner])])]);
    assert_eq!(
        run.events.iter().rev().find_map(|event| match event.what {
            What::Write(value) => Some(value),
            _ => None,
        }),
        Some(12)
    );
    // 12 additions, and a back edge before every round but the first: 4 x 2 + 3.
    assert_eq!(run.end, ns(20) * (12 + 8 + 3));
}

#[test]
fn a_run_is_over_when_the_scenario_says_so() {
    let endless = [Step::Loop(u64::MAX, vec![Step::Compute(Duration::MAX)])];
    let scenario = Scenario {
        machine: prompt(2),
        until: Some(ms(12)),
        ..one(GIL, &[("a", &endless), ("b", &endless)])
    };
    let run = scenario.run().unwrap();
    assert_eq!(run.end, ms(12));
    let shares = run.timeline().shares();
    assert_eq!(shares[0].has + shares[1].has, ms(12));
}

#[test]
fn the_longest_times_are_no_overflow() {
    let longest = Duration::MAX;
    let settings = Settings { interval: longest, ..Settings::default() };
    for check_points in [CheckPoints::BackEdgesAndCalls, CheckPoints::Ticks(u32::MAX)] {
        let scenario = Scenario {
            machine: Machine {
                cores: 1,
                slice: longest,
                wake_up: longest,
                instruction: longest,
            },
            ..one(
                Some(Settings { check_points, ..settings }),
                &[
                    ("a", &[Step::Io(longest), Step::Compute(longest)]),
                    ("b", &[Step::Native { time: longest, gives_lock: true }]),
                ],
            )
        };
        assert!(scenario.run().is_ok());
    }
}

#[test]
fn the_same_program_loses_updates_on_3_9_and_none_since_3_10() {
    let increments = increments(100_000, &INCREMENT);
    let lost = |lock| {
        let run = one(lock, &[("a", &increments), ("b", &increments)]).run().unwrap();
        run.lost_updates(0)
    };
    assert_eq!(lost(policy(CheckPoints::BackEdgesAndCalls)), 0);
    assert_eq!(lost(policy(CheckPoints::Never)), 0);
    assert_eq!(lost(policy(CheckPoints::EveryInstruction)), 50_473);
    assert_eq!(lost(None), 99_774);
}

#[test]
fn a_call_between_read_and_write_loses_updates_on_every_version() {
    let [load, one_more, add, store] = INCREMENT;
    let increments = increments(100_000, &[load, Call, one_more, add, store]);
    for check_points in [CheckPoints::BackEdgesAndCalls, CheckPoints::EveryInstruction] {
        let threads: [(&str, &[Step]); 2] = [("a", &increments), ("b", &increments)];
        let run = one(policy(check_points), &threads).run().unwrap();
        assert!(run.lost_updates(0) > 0, "{check_points:?}");
    }
}

#[test]
fn an_atomic_addition_loses_nothing_even_without_a_lock() {
    let increments = increments(100_000, &[AtomicAdd]);
    let run = one(None, &[("a", &increments), ("b", &increments)]).run().unwrap();
    assert_eq!(run.lost_updates(0), 0);
}

#[test]
fn adding_twice_before_a_write_is_no_lost_update() {
    let twice = [Load, Add, Add, Store];
    let run = promptly(1, None, &[("a", &increments(3, &twice))]);
    assert_eq!(run.lost_updates(0), 0);
    let program = Program { lock: None, threads: vec![("a".into(), twice.into())] };
    assert_eq!(program.explore().unwrap().losing(), 0);
}

#[test]
fn ticks_drop_the_lock_whether_or_not_anybody_wants_it() {
    // 1,000 instructions of 20 ns; the last drop is the end of the thread.
    let run =
        promptly(1, policy(CheckPoints::Ticks(100)), &[("a", &[Step::Compute(ns(20_000))])]);
    assert_eq!(count(&run, What::Drop { requested: false }), 10 + 1);
    // Taking it back costs an instruction each time.
    assert_eq!(run.end, ns(20_000 + 10 * 20));
    // Native code counts as nothing.
    let native = [Step::Native { time: ms(1), gives_lock: false }];
    let run = promptly(1, policy(CheckPoints::Ticks(100)), &[("a", &native)]);
    assert_eq!(count(&run, What::Drop { requested: false }), 1);
}

#[test]
fn under_ticks_nobody_asks_and_a_waiter_that_wakes_up_mostly_comes_too_late() {
    let cpu: &[Step] = &[Step::Compute(ms(50))];
    let run = one(policy(CheckPoints::Ticks(100)), &[("a", cpu), ("b", cpu)]).run().unwrap();
    assert_eq!(count(&run, What::Ask), 0);
    let switches = count(&run, What::Take { switch: true });
    assert!(switches > 2, "a thread that only ticks lets the other one in before it ends");
    assert!(count(&run, What::Signal) > 10 * switches);
}

#[test]
fn under_ticks_on_one_core_a_waiter_comes_in_where_a_slice_ends_between_drop_and_take() {
    let cpu: &[Step] = &[Step::Compute(ms(200))];
    let run = promptly(1, policy(CheckPoints::Ticks(100)), &[("a", cpu), ("b", cpu)]);
    // Five slices are 9,900 rounds of 101 instructions and 100 more: a has dropped the lock.
    assert_eq!(run.turns(0)[..3], [ms(20), ms(20), ms(20)]);
}
