//! Values and callbacks that do what they should not, and standard streams that are not there.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::Trial;
use process_pool::{Error, Pool, TaskOptions};

use super::harness::trial;
use super::work::{
    Act, Made, PanicsOnceMore, Poison, When, Work, act, among_others, go, memory, pool,
};

pub fn trials() -> Vec<Trial> {
    let panicked = |error: &Error, n, text: &str| match error {
        Error::Panicked { message, at, place, .. } => {
            message == text && at.task == n && !place.is_empty()
        }
        _ => false,
    };
    let told = "as told";
    type Expected = Box<dyn Fn(u64, &Error) -> bool + Send>;
    let poisons: Vec<(_, _, Expected)> = vec![
        ("an_error", Act::Fail, Box::new(|_, error| matches!(error, Error::Failed(_)))),
        ("a_panic", Act::Panic, Box::new(move |n, error| panicked(error, n, told))),
        (
            "a_panic_without_text_that_panics_in_drop",
            Act::PanicWithoutText,
            Box::new(move |n, error| panicked(error, n, "a panic without a text")),
        ),
        (
            "a_task_that_does_not_decode",
            Act::Carry(Poison(When::FailsDecoded)),
            Box::new(|_, error| error.to_string() == "the task cannot be decoded"),
        ),
        (
            "a_task_that_panics_when_decoded",
            Act::Carry(Poison(When::PanicsDecoded)),
            Box::new(move |n, error| panicked(error, n, told)),
        ),
        (
            "a_task_that_does_not_encode",
            Act::Carry(Poison(When::FailsEncoded)),
            Box::new(|_, error| error.to_string() == "the task cannot be encoded"),
        ),
        (
            "an_output_that_does_not_encode",
            Act::Make(When::FailsEncoded),
            Box::new(|_, error| error.to_string() == "the output cannot be encoded"),
        ),
        (
            "an_output_that_panics_when_encoded",
            Act::Make(When::PanicsEncoded),
            Box::new(move |n, error| panicked(error, n, told)),
        ),
        (
            "an_output_that_panics_when_dropped",
            Act::Make(When::PanicsDropped),
            Box::new(move |n, error| panicked(error, n, told)),
        ),
        (
            "an_output_that_does_not_decode",
            Act::Make(When::FailsDecoded),
            Box::new(|_, error| error.to_string() == "the output cannot be decoded"),
        ),
    ];
    let poisons = poisons.into_iter().map(|(name, fault, expected)| {
        trial(format!("{name}_fails_alone"), move || {
            among_others(TaskOptions::default(), &fault, &[3, 17, 38], expected);
        })
    });
    let others = [
        trial("a_panic_is_reported_as_its_own_and_no_other", panics),
        trial("a_task_that_panics_when_dropped_fails_alone", task_dropped),
        trial("a_task_that_panics_when_encoded_harms_its_caller_only", task_encoded),
        trial("an_output_that_panics_when_decoded_harms_its_caller_only", output_decoded),
        trial("stray_prints_harm_nobody", prints),
        trial("callbacks_may_panic_and_hand_in_more", callbacks),
        trial("a_panic_of_a_callback_may_panic_when_dropped", callback_twice),
        trial("an_initializer_may_write_to_the_log", log_of_initializer),
        trial("what_is_told_of_log_records_may_panic", log_callback),
    ];
    poisons.chain(others).collect()
}

/// One worker runs all, one by one and together: what it kept of one is not told of the next.
fn panics() {
    let cases = [
        (Act::PanicOfThread, Some("in a thread")),
        (Act::PanicAfterCaught, Some("a panic without a text")),
        (Act::CatchPanic, None),
        (Act::ResumePanic, Some("carried on")),
        // For good: the last one.
        (Act::PanicUnseen, Some("unseen, 4")),
    ];
    let tasks = || (0..).zip(&cases).map(|(n, (fault, _))| act(n, fault.clone()));
    let alone = |pool: &Pool<Work>| tasks().map(|task| pool.submit(task).result()).collect();
    let together = |pool: &Pool<Work>| pool.map(tasks()).chunk_size(5).collect();
    type Way<'a> = &'a dyn Fn(&Pool<Work>) -> Vec<Result<Made, Error>>;
    for way in [&alone as Way<'_>, &together] {
        let seen = memory();
        let pool = pool(&seen).workers(1).build().unwrap();
        for (outcome, (fault, text)) in way(&pool).into_iter().zip(&cases) {
            match outcome {
                Err(Error::Panicked { message, place, backtrace, .. }) => {
                    assert_eq!(Some(message.as_str()), *text);
                    assert_eq!((place.as_str(), backtrace.as_str()), ("an unknown place", ""));
                }
                Ok(_) if matches!(fault, Act::CatchPanic) => {}
                other => panic!("{text:?}: {other:?}"),
            }
        }
        pool.shutdown();
    }
}

/// It has begun: unlike the others that are not decoded, it is counted.
fn task_dropped() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let dropped = || act(0, Act::Carry(Poison(When::PanicsDropped)));
    assert!(matches!(pool.submit(dropped()).result(), Err(Error::Panicked { .. })));
    let mut outputs = pool.map([act(1, Act::Count), dropped(), act(2, Act::Count)]);
    assert!(outputs.next().unwrap().is_ok());
    assert!(matches!(outputs.next().unwrap(), Err(Error::Panicked { .. })));
    assert!(outputs.next().unwrap().is_ok());
    drop(outputs);
    assert_eq!(([0, 1, 2].map(|n| seen.get(n)), pool.replaced()), ([2, 1, 1], 0));
    pool.shutdown();
}

fn task_encoded() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let poison = || act(0, Act::Carry(Poison(When::PanicsEncoded)));
    let before = pool.submit(act(1, Act::Count));
    catch_unwind(AssertUnwindSafe(|| pool.submit(poison()))).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| pool.map([poison()]).count())).unwrap_err();
    assert!(before.result().is_ok() && pool.submit(act(2, Act::Count)).result().is_ok());
    assert_eq!(seen.get(0), 0);
    pool.shutdown();
}

fn output_decoded() {
    let seen = memory();
    let pool = pool(&seen).workers(1).build().unwrap();
    let poison = || act(0, Act::Make(When::PanicsDecoded));
    let poisoned = pool.submit(poison());
    catch_unwind(AssertUnwindSafe(|| poisoned.result())).unwrap_err();
    let mut outputs = pool.map([poison(), act(1, Act::Count)]);
    catch_unwind(AssertUnwindSafe(|| outputs.next())).unwrap_err();
    assert!(outputs.next().unwrap().is_ok() && outputs.next().is_none());
    drop(outputs);
    assert!(pool.submit(act(2, Act::Count)).result().is_ok());
    pool.shutdown();
}

fn prints() {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    let futures: Vec<_> = (0..20).map(|n| pool.submit(act(n, Act::Print))).collect();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
    let outputs = pool.map((20..40).map(|n| act(n, Act::Print))).chunk_size(5);
    assert!(outputs.into_iter().all(|output| output.is_ok()));
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

fn callbacks() {
    let seen = memory();
    let pool = std::sync::Arc::new(pool(&seen).workers(2).build().unwrap());
    let (ended, ends) = mpsc::channel();
    for n in 0..20 {
        let future = pool.submit(act(n, if n % 3 == 0 { Act::Abort } else { Act::Count }));
        future.on_done(|| panic!("of a callback"));
        let (pool, ended) = (std::sync::Arc::downgrade(&pool), ended.clone());
        future.on_done(move || {
            let next = pool.upgrade().map(|pool| pool.submit(act(100 + n, Act::Count)));
            ended.send(next).unwrap();
        });
    }
    for _ in 0..20 {
        assert!(ends.recv().unwrap().unwrap().result().is_ok());
    }
    assert!((0..20).all(|n| seen.get(n) == 1 && seen.get(n + 100) == 1));
    // A callback may hold it a moment longer.
    drop(pool);
    super::harness::until("the callbacks are over", || ends.try_recv().is_err());
}

fn log_of_initializer() {
    let seen = memory();
    let (records, arrived) = mpsc::channel();
    let pool = pool(&seen).workers(2).on_log(move |record| _ = records.send(record.worker));
    let pool = pool.build().unwrap();
    assert!(pool.submit(act(0, Act::Count)).result().is_ok());
    pool.shutdown();
    let mut workers: Vec<_> = arrived.iter().collect();
    workers.sort_unstable();
    assert_eq!(workers, [0, 1]);
}

/// Both kinds of callbacks, on the thread that serves the worker.
fn callback_twice() {
    let seen = memory();
    let pool = pool(&seen).workers(1).on_log(|_| panic_any(PanicsOnceMore)).build().unwrap();
    let held = pool.submit(act(0, Act::Hold));
    held.on_done(|| panic_any(PanicsOnceMore));
    go(&seen);
    let logs = pool.submit(act(1, Act::Log(3)));
    assert!(logs.wait_timeout(Duration::from_secs(10)), "its worker is not listened to");
    assert!(held.result().is_ok() && logs.result().is_ok());
    pool.shutdown();
}

fn log_callback() {
    let seen = memory();
    let pool = pool(&seen).workers(1).on_log(|_| panic!("of a log")).build().unwrap();
    let future = pool.submit(act(0, Act::Log(3)));
    assert!(future.wait_timeout(Duration::from_secs(10)), "its worker is not listened to");
    assert!(future.result().is_ok());
    pool.shutdown();
}
