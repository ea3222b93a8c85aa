//! Workers that end in the middle of a task: it fails, and no other.

use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_pool::{Death, Error, Policy, TaskOptions};

use super::harness::{trial, until};
use super::work::{Act, Share, act, among_others, go, memory, pool, started};

pub fn trials() -> Vec<Trial> {
    let signal = |signal: Signal| Act::Raise(signal as i32);
    let killed = [
        ("by_sigkill", signal(Signal::SIGKILL), "worker killed by SIGKILL"),
        ("by_sigsegv", signal(Signal::SIGSEGV), "worker killed by SIGSEGV"),
        ("by_sigterm", signal(Signal::SIGTERM), "worker killed by SIGTERM"),
        ("by_abort", Act::Abort, "worker killed by SIGABRT"),
        ("by_a_stack_that_overflows", Act::Overflow, "worker killed by SIGABRT"),
        ("by_exit_with_0", Act::Exit(0), "worker exited with status 0"),
        ("by_exit_with_3", Act::Exit(3), "worker exited with status 3"),
    ];
    let killed = killed.map(|(name, fault, text)| {
        trial(format!("a_worker_ended_{name}_fails_the_task_it_ran"), move || {
            among_others(TaskOptions::default(), &fault, &[3, 17, 38], |n, error| {
                let ran = matches!(error, Error::Died(Death { at, .. }) if at.task == n);
                ran && error.to_string() == text
            });
        })
    });
    let others = [
        trial("a_program_that_a_task_started_may_outlive_the_pool", grandchild),
        trial("a_worker_that_closes_its_descriptors_costs_no_other_task", closes_everything),
        trial("a_spent_budget_breaks_the_pool_for_all_who_wait", budget),
        trial("workers_that_die_as_they_start_spend_the_budget", dead_starts),
    ];
    Vec::from_iter(killed.into_iter().chain(others))
}

fn grandchild() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let error = pool.submit(act(0, Act::StartProgram)).result().unwrap_err();
    assert_eq!(error.to_string(), "worker killed by SIGKILL");
    let program = Pid::from_raw(seen.get(1).try_into().unwrap());
    assert!(pool.submit(act(2, Act::Count)).result().is_ok());
    // Did it hold anything of the pool's, this would wait for it.
    pool.shutdown();
    kill(program, Signal::SIGKILL).unwrap();
    let ends = super::harness::orphans_end(Duration::from_secs(60));
    assert_eq!(ends.len(), 1, "{ends:?}");
}

/// It cannot say what came of its task. In a chunk it can: that lies in memory.
fn closes_everything() {
    let seen = memory();
    let pool = pool(&seen).workers(1).window(8).build().unwrap();
    let closes = pool.submit(act(0, Act::CloseEverything));
    let others: Vec<_> = (1..10).map(|n| pool.submit(act(n, Act::Count))).collect();
    assert!(matches!(closes.result(), Err(Error::Died(Death { at, .. })) if at.task == 0));
    assert!(others.into_iter().all(|future| future.result().is_ok()));
    let at = |n| act(n, if n == 15 { Act::CloseEverything } else { Act::Count });
    for (n, output) in (10..).zip(pool.map((10..20).map(at)).chunk_size(10)) {
        assert!(output.is_ok(), "{n}: {output:?}");
    }
    assert!((0..20).all(|n| seen.get(n) == 1));
    pool.shutdown();
}

fn budget() {
    let seen = memory();
    let policy = Policy::Replace { budget: 3 };
    let pool = pool(&seen).workers(2).window(4).policy(policy).build().unwrap();
    let held = pool.submit(act(0, Act::Hold));
    until("it runs", || seen.get(0) == 1);
    let die = Act::Raise(Signal::SIGKILL as i32);
    let futures: Vec<_> = (1..20).map(|n| pool.submit(act(n, die.clone()))).collect();
    let errors: Vec<_> = futures.into_iter().map(|f| f.result().unwrap_err()).collect();
    let died = errors.iter().filter(|error| matches!(error, Error::Died(_))).count();
    assert_eq!(died, 4, "three were replaced");
    for error in errors.into_iter().skip(4).chain(held.error()) {
        match error {
            Error::Broken(cause) => assert_eq!(cause.to_string(), "worker killed by SIGKILL"),
            other => panic!("{other}"),
        }
    }
    assert_eq!((1..20).map(|n| seen.get(n)).sum::<u64>(), 4);
    assert!(matches!(pool.submit(act(30, Act::Count)).result(), Err(Error::Broken(_))));
    go(&seen);
    pool.shutdown();
}

fn dead_starts() {
    let seen = memory();
    let pool = pool(&seen).workers(1).policy(Policy::Replace { budget: 3 });
    let pool = pool.initializer(Share::that_dies_after(1, &seen)).build().unwrap();
    assert!(matches!(pool.submit(act(0, Act::Abort)).result(), Err(Error::Died(_))));
    let waits = pool.submit(act(1, Act::Count));
    assert!(waits.wait_timeout(Duration::from_secs(30)), "it starts workers for ever");
    let Err(Error::Broken(cause)) = waits.result() else { panic!("it runs") };
    let Error::Initializer(cause) = &*cause else { panic!("{cause}") };
    assert_eq!(cause.to_string(), "worker killed by SIGKILL");
    assert_eq!(started(&seen), 1 + 3, "three replacements");
    pool.shutdown();
}
