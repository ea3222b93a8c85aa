//! Oracle O12, and what else follows from running every interleaving.

use gil::{CheckPoints, Settings};
use simulator::Instruction::{Add, AtomicAdd, Call, Const, JumpBack, Load, Store};
use simulator::explorer::{Outcomes, Program, every};
use simulator::{Error, INCREMENT, Instruction, Schedule};

/// Two rounds of a loop, as far as they matter: `for _ in range(2): counter += 1`.
const TWICE: [Instruction; 9] = [Load, Const, Add, Store, JumpBack, Load, Const, Add, Store];

fn program(lock: Option<Settings>, threads: &[&[Instruction]]) -> Program {
    let names = ["a", "b", "c"].map(str::to_owned);
    let threads = names.into_iter().zip(threads.iter().map(|code| code.to_vec()));
    Program { lock, threads: threads.collect() }
}

fn under(check_points: CheckPoints, threads: &[&[Instruction]]) -> Program {
    program(Some(Settings { check_points, ..Settings::default() }), threads)
}

fn explore(program: &Program) -> Outcomes {
    let outcomes = program.explore().expect("the names differ");
    // Whatever was found can be seen again by its schedule.
    for (lost, (_, schedule)) in &outcomes.by_lost {
        let again = program.run(schedule).expect("it was run before");
        assert_eq!((again.lost, &again.schedule), (*lost, schedule));
    }
    outcomes
}

#[test]
fn o12_without_a_lock_68_of_70_interleavings_lose_an_update() {
    let outcomes = explore(&program(None, &[&INCREMENT, &INCREMENT]));
    assert_eq!((outcomes.interleavings(), outcomes.losing()), (70, 68));
    assert_eq!(outcomes.by_lost[&1].0, 68);
}

#[test]
fn every_interleaving_is_run_once() {
    // Three threads of four: 12! / (4! 4! 4!). All three updates survive if none overlap: 3!.
    let outcomes = explore(&program(None, &[&INCREMENT, &INCREMENT, &INCREMENT]));
    assert_eq!(outcomes.interleavings(), 34_650);
    assert_eq!(outcomes.by_lost[&0].0, 6);
}

#[test]
fn o12_under_the_lock_without_a_check_point_inside_none_is_lost() {
    for check_points in [CheckPoints::BackEdgesAndCalls, CheckPoints::Never] {
        for code in [&INCREMENT[..], &TWICE] {
            let outcomes = explore(&under(check_points, &[code, code]));
            assert_eq!(outcomes.losing(), 0, "{check_points:?}");
            assert!(outcomes.interleavings() > 2, "there is something to explore");
        }
    }
    let outcomes =
        explore(&under(CheckPoints::BackEdgesAndCalls, &[&TWICE, &INCREMENT, &INCREMENT]));
    assert_eq!(outcomes.losing(), 0);
}

#[test]
fn o12_with_a_check_point_between_instructions_an_update_can_be_lost() {
    for forced_switching in [true, false] {
        let settings = Settings { forced_switching, ..Settings::default() };
        let lock = Settings { check_points: CheckPoints::EveryInstruction, ..settings };
        let outcomes = explore(&program(Some(lock), &[&INCREMENT, &INCREMENT]));
        assert!(outcomes.losing() > 0 && outcomes.losing() < outcomes.interleavings());
    }
}

#[test]
fn o12_a_call_between_read_and_write_lets_another_thread_in() {
    let code = [Load, Call, Const, Add, Store];
    let program = under(CheckPoints::BackEdgesAndCalls, &[&code, &code]);
    assert!(explore(&program).losing() > 0);
    // a takes the lock and reads; b asks for it; a calls, drops the lock, and has to wait;
    // b takes the lock and counts; a takes the lock and writes what it had read plus 1.
    let schedule = Schedule::from("a,a,b,a,b,b,b,b,b,b,a,a,a,a");
    let outcome = program.run(&schedule).unwrap();
    assert_eq!((outcome.lost, outcome.schedule), (1, schedule));
    // Had b not asked, nothing would have been lost.
    let outcome = program.run(&Schedule::from("a,a,a")).unwrap();
    assert_eq!(outcome.lost, 0);
}

#[test]
fn ticks_let_another_thread_in_only_between_drop_and_take() {
    let program = under(CheckPoints::Ticks(2), &[&INCREMENT, &INCREMENT]);
    assert!(explore(&program).losing() > 0);
    let program = under(CheckPoints::Ticks(100), &[&INCREMENT, &INCREMENT]);
    assert_eq!(explore(&program).losing(), 0);
    let error = program.run(&"a,b".into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "entry 2 of the schedule names `b`, but the choice is among a",
        "nobody asks"
    );
}

#[test]
fn o12_an_atomic_addition_is_never_lost() {
    for lock in [None, Some(Settings::default())] {
        let code = [AtomicAdd, JumpBack, AtomicAdd];
        let outcomes = explore(&program(lock, &[&code, &code]));
        assert_eq!(outcomes.losing(), 0);
        assert!(outcomes.interleavings() >= 20);
    }
}

#[test]
fn a_schedule_steers_as_far_as_it_goes() {
    let program = program(None, &[&INCREMENT, &INCREMENT]);
    let lost = |schedule: &str| program.run(&schedule.into()).unwrap().lost;
    assert_eq!(lost("a,a,a,a,b,b,b,b"), 0);
    assert_eq!(lost("a,b,a,a,a,b,b,b"), 1);
    assert_eq!(lost("a,b"), 1, "a, the first, then moves as long as it can");
}

#[test]
fn a_schedule_that_cannot_be_kept_says_where_and_why() {
    let program = under(CheckPoints::EveryInstruction, &[&INCREMENT, &[Load]]);
    let error = |schedule: &str| program.run(&schedule.into()).unwrap_err().to_string();
    assert_eq!(error("a,x"), "entry 2 of the schedule names `x`, but the threads are a, b");
    assert_eq!(error("b,b,b"), "entry 3 of the schedule names `b`, which has ended by then");
    let all = "b,b,a,a,a,a,a";
    assert_eq!(program.run(&all.into()).unwrap().schedule.to_string(), all);
    let error_behind = error("b,b,a,a,a,a,a,a");
    assert_eq!(error_behind, "entry 8 of the schedule names `a`, which has ended by then");
    // b asked; a dropped the lock and has to wait for the switch.
    assert_eq!(
        error("a,b,a,a"),
        "entry 4 of the schedule names `a`, but the choice is among b"
    );
}

#[test]
fn what_cannot_run_is_refused() {
    assert_eq!(program(None, &[]).explore().unwrap_err(), Error::NoThreads);
    let mut twins = program(None, &[&INCREMENT, &INCREMENT]);
    twins.threads[1].0 = "a".into();
    assert_eq!(twins.explore().unwrap_err(), Error::SameName("a".into()));
}

#[test]
fn o16_every_interleaving_comes_to_an_end() {
    // `explore` panics where nobody can move: threads with nothing to do, threads that end while
    // others wait for the lock or for the switch.
    let codes: [&[Instruction]; 3] = [&[Call, Call], &[Call], &[]];
    for forced_switching in [true, false] {
        for check_points in [
            CheckPoints::EveryInstruction,
            CheckPoints::BackEdgesAndCalls,
            CheckPoints::Ticks(1),
            CheckPoints::Never,
        ] {
            let settings = Settings { forced_switching, ..Settings::default() };
            let outcomes =
                explore(&program(Some(Settings { check_points, ..settings }), &codes));
            assert!(outcomes.interleavings() > 1);
        }
    }
}

#[test]
fn every_sequence_of_answers_occurs_once_in_order() {
    let mut seen = Vec::new();
    every(|choices| {
        let first = choices.pick(3);
        // How many choices there are may depend on the answers so far.
        let then = if first == 1 { vec![] } else { vec![choices.pick(2)] };
        seen.push((first, then));
    });
    let expected = [(0, vec![0]), (0, vec![1]), (1, vec![]), (2, vec![0]), (2, vec![1])];
    assert_eq!(seen, expected);
}

#[test]
#[should_panic = "the same answers led to another choice"]
fn a_run_that_is_not_repeatable_is_noticed() {
    let mut options = 1;
    every(|choices| {
        options += 1;
        choices.pick(options);
    });
}
