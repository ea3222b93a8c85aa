#![allow(clippy::unwrap_used, reason = "a test fails with a bare panic")]

use std::error::Error as _;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{collections::HashSet, env, io, panic, process, thread};

use ipc::{Pipe, Receiver, Sender, SharedSlice, bounded, pipe};
use libtest_mimic::Arguments;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_pool::{
    Death, Ended, Error, Failed, Pool, Process, Task, kill_this_process, serve,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod futures;
mod harness;
mod limits;
mod maps;
mod rules;
mod signals;
mod traces;

use harness::{trial, until};

pub fn main() {
    if env::var_os(FORGETFUL).is_some() {
        return a_main_that_forgets_serve();
    }
    serve::<(
        (Work, Meet, Stubborn, Tell),
        (rules::Prepare, rules::Step, maps::Item, signals::Ask),
        traces::Odd,
    )>();
    match env::args().nth(1).as_deref() {
        Some("a-parent-that-dies") => a_parent_that_dies(),
        Some("a-parent-that-prefixes") => return a_parent_that_prefixes(),
        Some("a-parent-with-signals") => signals::a_parent_with_signals(&[]),
        Some("a-parent-with-nohup") => signals::a_parent_with_signals(&[Signal::SIGHUP]),
        Some("a-parent-on-a-terminal") => signals::a_parent_on_a_terminal(),
        _ => {}
    }
    let trials = vec![
        trial("a_process_runs_one_task", a_process_runs_one_task),
        trial("outcomes_come_back_named", outcomes_come_back_named),
        trial("a_pool_goes_on_after_every_fault", a_pool_goes_on_after_every_fault),
        trial("fresh_tasks_reach_every_worker", fresh_tasks_reach_every_worker),
        trial(
            "tasks_that_wait_survive_a_killed_worker",
            tasks_that_wait_survive_a_killed_worker,
        ),
        trial("large_tasks_and_outputs_pass", large_tasks_and_outputs_pass),
        trial("shutdown_waits_for_every_task", shutdown_waits_for_every_task),
        trial("a_dropped_pool_ends_what_runs_and_what_waits", a_dropped_pool_cancels),
        trial("a_dropped_process_is_killed", a_dropped_process_is_killed),
        trial("a_stopped_worker_ends_with_its_pool", a_stopped_worker_ends_with_its_pool),
        trial("what_cannot_travel_is_an_error", what_cannot_travel_is_an_error),
        trial("standard_input_of_a_task_is_empty", standard_input_of_a_task_is_empty),
        trial("stray_prints_do_no_harm", stray_prints_do_no_harm),
        trial("what_workers_print_comes_in_whole_lines_if_asked", lines_are_whole),
        trial("ends_of_pipes_and_queues_travel_in_tasks", ends_travel_in_tasks),
        trial("a_worker_does_not_outlive_its_parent", a_worker_does_not_outlive_its_parent),
        trial("a_worker_may_have_a_pool_of_its_own", a_worker_may_have_a_pool_of_its_own),
        trial("a_type_that_is_not_served_is_refused", a_type_that_is_not_served_is_refused),
        trial("a_main_without_serve_does_not_start_itself_again", no_serve_no_fork_bomb),
        trial("an_output_with_too_many_ends_is_an_error", too_many_ends_are_an_error),
        trial("ends_that_a_worker_has_no_room_for_name_the_limit", few_descriptors),
        trial("what_a_process_says_no_more_is_told_by_its_end", heard),
        trial("a_program_that_a_task_started_keeps_no_death_secret", grandchild),
        trial("a_worker_that_died_idle_costs_no_task", a_worker_that_died_idle_costs_no_task),
        trial("a_pool_of_no_workers_is_refused", a_pool_of_no_workers_is_refused),
    ];
    let trials = Vec::from([
        trials,
        futures::trials(),
        limits::trials(),
        maps::trials(),
        rules::trials(),
        signals::trials(),
        traces::trials(),
    ]);
    let mut arguments = Arguments::from_args();
    // One after another: each looks for children left behind.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// What the workers of these tests can do.
#[derive(Serialize, Deserialize, Debug)]
enum Work {
    Pid,
    Echo(Vec<u8>),
    Fail,
    Panic,
    PanicWithoutText,
    Signal(i32),
    Exit(i32),
    Hang,
    Spin,
    /// Milliseconds.
    Sleep(u64),
    /// Ends at no word, only at a kill.
    DeafToTerm,
    ReadStdin,
    Print,
    Say,
    SayAndDie,
    Nested,
    Slices(usize),
    /// Says which.
    StartProgramAndDie(Sender<u32>),
    /// How many files it may have open from now on.
    Limit(u64),
    Hold(Vec<Sender<u32>>),
    /// Has a pool with so many files to open.
    Few(u64),
}

#[derive(Serialize, Deserialize, Debug)]
enum Made {
    Slices(Vec<SharedSlice<u8>>),
    Pid(u32),
    Bytes(Vec<u8>),
    Nothing,
}

impl Task for Work {
    type Output = Made;

    fn run(self) -> Result<Made, Failed> {
        match self {
            Self::Pid => return Ok(Made::Pid(process::id())),
            Self::Echo(bytes) => return Ok(Made::Bytes(bytes)),
            Self::Fail => {
                return Err(Box::new(io::Error::other(io::Error::other("the disk is full"))));
            }
            Self::Panic => panic!("no such {}", "luck"),
            Self::PanicWithoutText => panic::panic_any(PanicsInDrop),
            // More than once: Rust's own handler of SIGSEGV takes the first for a fault that
            // comes again.
            Self::Signal(signal) => loop {
                kill(Pid::this(), Signal::try_from(signal)?)?;
            },
            Self::Exit(code) => process::exit(code),
            Self::Hang => {}
            Self::Spin => loop {
                std::hint::spin_loop();
            },
            Self::Sleep(millis) => {
                thread::sleep(Duration::from_millis(millis));
                return Ok(Made::Nothing);
            }
            Self::DeafToTerm => {
                // A stopped process does not even hear it.
                kill(Pid::this(), Signal::SIGSTOP)?;
            }
            Self::Slices(count) => {
                return Ok(Made::Slices(vec![SharedSlice::zeroed(1)?; count]));
            }
            Self::StartProgramAndDie(parent) => {
                parent.send(&Command::new("sleep").arg("60").spawn()?.id())?;
                kill_this_process();
            }
            Self::Limit(files) => {
                setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
                return Ok(Made::Nothing);
            }
            Self::Hold(_) => return Ok(Made::Nothing),
            Self::Few(files) => {
                setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
                Pool::new(4)?.submit(Self::Pid).result()?;
                return Ok(Made::Nothing);
            }
            Self::ReadStdin => {
                let mut bytes = Vec::new();
                io::stdin().read_to_end(&mut bytes)?;
                return Ok(Made::Bytes(bytes));
            }
            Self::Print => {
                io::stdout().write_all(&[0; 64])?;
                println!();
                return Ok(Made::Nothing);
            }
            Self::Say => {
                for half in ["one ", "two\n"] {
                    print!("{half}");
                    io::stdout().flush()?;
                    eprint!("{half}");
                }
                return Ok(Made::Nothing);
            }
            Self::SayAndDie => {
                print!("last");
                io::stdout().flush()?;
                kill_this_process();
            }
            Self::Nested => {
                let pool = Pool::new(2)?;
                let output = pool.submit(Self::Pid).result()?;
                pool.shutdown();
                return Ok(output);
            }
        }
        // What runs for ever, and the moment until a signal arrives.
        loop {
            thread::park();
        }
    }
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("once more");
    }
}

/// Says that it runs, and goes on when told.
#[derive(Serialize, Deserialize)]
struct Meet(Pipe<u32, ()>);

impl Task for Meet {
    type Output = u32;

    fn run(mut self) -> Result<u32, Failed> {
        self.0.send(&process::id())?;
        self.0.recv()?;
        Ok(process::id())
    }
}

/// Refuses to travel, on the way there or back.
#[derive(Debug)]
struct Stubborn {
    there: bool,
}

impl Task for Stubborn {
    type Output = Stubborn;

    fn run(self) -> Result<Self, Failed> {
        Ok(Self { there: !self.there })
    }
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.there.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match bool::deserialize(deserializer)? {
            true => Ok(Self { there: true }),
            false => Err(serde::de::Error::custom("not this way")),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Tell {
    numbers: Receiver<u64>,
    sums: Sender<u64>,
}

impl Task for Tell {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        self.sums.send(&self.numbers.iter().sum::<Result<u64, _>>()?)?;
        Ok(())
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn pid(made: Made) -> u32 {
    match made {
        Made::Pid(pid) => pid,
        other => panic!("{other:?} is no process"),
    }
}

fn a_process_runs_one_task() {
    let process = Process::spawn(Work::Pid).unwrap();
    let expected = process.pid();
    assert_ne!(expected, process::id());
    assert_eq!(pid(process.join().unwrap()), expected);
}

fn outcomes_come_back_named() {
    let outcome = |work| Process::spawn(work).unwrap().join().unwrap_err();

    let error = outcome(Work::Fail);
    assert_eq!(error.to_string(), "the task failed");
    assert_eq!(error.source().unwrap().to_string(), "the disk is full");

    match outcome(Work::Panic) {
        Error::Panicked { message, place, backtrace, at } => {
            assert_eq!(message, "no such luck");
            assert!(place.contains("unix.rs:"), "{place}");
            assert!(!backtrace.is_empty());
            assert_ne!(at.pid, process::id());
        }
        other => panic!("{other}"),
    }
    assert!(matches!(outcome(Work::PanicWithoutText), Error::Panicked { .. }));

    for (signal, name) in [
        (Signal::SIGKILL, "SIGKILL"),
        (Signal::SIGSEGV, "SIGSEGV"),
        (Signal::SIGABRT, "SIGABRT"),
    ] {
        let error = outcome(Work::Signal(signal as i32));
        assert_eq!(error.to_string(), format!("worker killed by {name}"));
    }
    for code in [0, 3] {
        match outcome(Work::Exit(code)) {
            Error::Died(Death { ended: Ended::Exited { code: was, .. }, .. }) => {
                assert_eq!(was, code);
            }
            other => panic!("{other}"),
        }
    }
}

fn a_pool_goes_on_after_every_fault() {
    let pool = Pool::new(2).unwrap();
    let faults = || {
        [
            Work::Fail,
            Work::Panic,
            Work::PanicWithoutText,
            Work::Signal(Signal::SIGKILL as i32),
            Work::Exit(0),
        ]
    };
    for fault in faults() {
        let text = format!("{fault:?}");
        assert!(pool.submit(fault).result().is_err(), "{text}");
        let after: Vec<_> = (0..4).map(|_| pool.submit(Work::Pid)).collect();
        assert!(after.into_iter().all(|future| future.result().is_ok()));
    }
    assert_eq!(pool.replaced(), 2, "a panic or an error costs no worker");
    // All at once, between tasks that are well.
    let futures: Vec<_> = faults()
        .into_iter()
        .flat_map(|fault| [fault, Work::Pid])
        .map(|work| pool.submit(work))
        .collect();
    let well: Vec<_> = futures.into_iter().map(|future| future.result().is_ok()).collect();
    assert_eq!(well, [false, true].repeat(5));
    assert_eq!(pool.replaced(), 4);
    pool.shutdown();
}

fn fresh_tasks_reach_every_worker() {
    let pool = Pool::new(4).unwrap();
    for _ in 0..5 {
        let (mut ends, futures): (Vec<_>, Vec<_>) = (0..4)
            .map(|_| {
                let (ours, theirs) = pipe::<(), u32>().unwrap();
                (ours, pool.submit(Meet(theirs)))
            })
            .unzip();
        // All four run at once, or this waits for ever.
        let running: HashSet<_> = ends.iter_mut().map(|end| end.recv().unwrap()).collect();
        assert_eq!(running.len(), 4);
        ends.iter().for_each(|end| end.send(&()).unwrap());
        let done: HashSet<_> = futures.into_iter().map(|f| f.result().unwrap()).collect();
        assert_eq!(done, running);
    }
    assert_eq!(pool.workers(), 4);
}

fn tasks_that_wait_survive_a_killed_worker() {
    let pool = Pool::new(1).unwrap();
    let (mut ours, theirs) = pipe::<(), u32>().unwrap();
    let doomed = pool.submit(Meet(theirs));
    let victim = ours.recv().unwrap();
    let (mut next, theirs) = pipe::<(), u32>().unwrap();
    let waits = pool.submit(Meet(theirs));
    kill(Pid::from_raw(victim.try_into().unwrap()), Signal::SIGKILL).unwrap();
    match doomed.result().unwrap_err() {
        Error::Died(Death { ended: Ended::Killed { signal, pid }, at }) => {
            assert_eq!((signal.as_str(), pid, at.pid), ("SIGKILL", victim, victim));
        }
        other => panic!("{other}"),
    }
    assert_ne!(next.recv().unwrap(), victim);
    next.send(&()).unwrap();
    assert_ne!(waits.result().unwrap(), victim);
    pool.shutdown();
}

fn large_tasks_and_outputs_pass() {
    let pool = Pool::new(2).unwrap();
    let sent: Vec<Vec<u8>> = (0..4).map(|n| vec![n; 16 << 20]).collect();
    let futures: Vec<_> = sent.iter().map(|b| pool.submit(Work::Echo(b.clone()))).collect();
    for (future, bytes) in futures.into_iter().zip(sent) {
        assert!(matches!(future.result().unwrap(), Made::Bytes(back) if back == bytes));
    }
    pool.shutdown();
}

fn shutdown_waits_for_every_task() {
    let pool = Pool::new(2).unwrap();
    let futures: Vec<_> = (0..50).map(|_| pool.submit(Work::Pid)).collect();
    pool.shutdown();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
}

fn a_dropped_pool_cancels() {
    let pool = Pool::new(2).unwrap();
    let futures: Vec<_> = (0..6).map(|_| pool.submit(Work::Hang)).collect();
    drop(pool);
    for future in futures {
        assert!(matches!(future.result(), Err(Error::Cancelled)));
    }
}

fn a_dropped_process_is_killed() {
    drop(Process::spawn(Work::Hang).unwrap());
}

fn a_stopped_worker_ends_with_its_pool() {
    let pool = Pool::new(1).unwrap();
    let (mut ours, theirs) = pipe::<(), u32>().unwrap();
    let future = pool.submit(Meet(theirs));
    let stopped = Pid::from_raw(ours.recv().unwrap().try_into().unwrap());
    kill(stopped, Signal::SIGSTOP).unwrap();
    drop(pool);
    assert!(matches!(future.result(), Err(Error::Cancelled)));
}

fn what_cannot_travel_is_an_error() {
    let pool = Pool::new(1).unwrap();
    let error = pool.submit(Stubborn { there: false }).result().unwrap_err();
    assert_eq!(error.to_string(), "the task cannot be decoded");
    assert!(chain(&error).ends_with(": not this way"), "{}", chain(&error));
    let error = pool.submit(Stubborn { there: true }).result().unwrap_err();
    assert_eq!(error.to_string(), "the output cannot be decoded");
    assert!(chain(&error).ends_with(": not this way"), "{}", chain(&error));
    for there in [false, true] {
        let outputs = pool.map([0; 3].map(|_| Stubborn { there })).chunk_size(3);
        for error in outputs.map(Result::unwrap_err) {
            assert!(chain(&error).ends_with(": not this way"), "{}", chain(&error));
        }
    }
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();

    let (ours, theirs) = pipe::<u32, ()>().unwrap();
    drop(theirs);
    let pool = Pool::new(1).unwrap();
    let error = pool.submit(Meet(ours)).result().unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "the other end is gone");
    pool.shutdown();
}

fn standard_input_of_a_task_is_empty() {
    let process = Process::spawn(Work::ReadStdin).unwrap();
    assert!(matches!(process.join().unwrap(), Made::Bytes(bytes) if bytes.is_empty()));
}

fn stray_prints_do_no_harm() {
    let pool = Pool::new(1).unwrap();
    assert!(matches!(pool.submit(Work::Print).result().unwrap(), Made::Nothing));
    pid(pool.submit(Work::Pid).result().unwrap());
    pool.shutdown();
}

/// A program of its own: its workers print halves of lines, at the same time.
fn a_parent_that_prefixes() {
    let pool = Pool::builder().workers(2).prefix_output().build().unwrap();
    let futures: Vec<_> = (0..200).map(|_| pool.submit(Work::Say)).collect();
    assert!(futures.into_iter().all(|future| future.result().is_ok()));
    // Printed before a death, and without an end.
    pool.submit(Work::SayAndDie).result().unwrap_err();
    pool.shutdown();
}

fn lines_are_whole() {
    let parent = Command::new(env::current_exe().unwrap())
        .arg("a-parent-that-prefixes")
        .output()
        .unwrap();
    assert!(parent.status.success());
    for (printed, last) in [(parent.stdout, 1), (parent.stderr, 0)] {
        let text = String::from_utf8(printed).unwrap();
        let whole = |line: &&str| ["worker 0: one two", "worker 1: one two"].contains(line);
        assert_eq!(text.lines().filter(whole).count(), 200);
        assert_eq!(text.lines().filter(|line| line.ends_with(": last")).count(), last);
        assert_eq!(text.lines().count(), 200 + last);
    }
}

fn ends_travel_in_tasks() {
    let (numbers, feed) = bounded(4).unwrap();
    let (sums, collected) = bounded(4).unwrap();
    let tell = || Tell { numbers: feed.clone(), sums: sums.clone() };
    let processes = [0; 2].map(|_| Process::spawn(tell()).unwrap());
    drop((feed, sums));
    (0..1000).for_each(|n| numbers.send(&n).unwrap());
    drop(numbers);
    let sum: u64 = collected.iter().map(Result::unwrap).sum();
    assert_eq!(sum, (0..1000).sum::<u64>());
    processes.into_iter().for_each(|process| process.join().unwrap());
}

/// A program of its own: starts a pool, keeps it busy, names the workers and waits to be killed.
fn a_parent_that_dies() -> ! {
    let pool = Pool::new(2).unwrap();
    let (mut ends, _futures): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (ours, theirs) = pipe::<(), u32>().unwrap();
            (ours, pool.submit(Meet(theirs)))
        })
        .unzip();
    for end in &mut ends {
        println!("{}", end.recv().unwrap());
    }
    drop(io::stdout().flush());
    // Closed for the reader: all names are out. The workers inherited it and hold it open.
    loop {
        thread::park();
    }
}

fn a_worker_does_not_outlive_its_parent() {
    let mut parent = Command::new(env::current_exe().unwrap())
        .arg("a-parent-that-dies")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = parent.stdout.take().unwrap();
    let mut text = Vec::new();
    while text.iter().filter(|&&byte| byte == b'\n').count() < 2 {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
    // The workers hold stdout open: its end comes when the last of them is gone.
    let killed = Instant::now();
    stdout.read_to_end(&mut text).unwrap();
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
}

fn a_worker_may_have_a_pool_of_its_own() {
    let process = Process::spawn(Work::Nested).unwrap();
    let worker = process.pid();
    assert_ne!(pid(process.join().unwrap()), worker);
}

#[derive(Serialize, Deserialize, Debug)]
struct Forgotten;

impl Task for Forgotten {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        Ok(())
    }
}

fn a_type_that_is_not_served_is_refused() {
    match Pool::<Forgotten>::new(1) {
        Err(Error::NotReady(Ended::Exited { code, .. })) => assert_eq!(code, 2),
        other => panic!("{other:?}"),
    }
}

const FORGETFUL: &str = "MAIN_FORGETS_SERVE";

/// Started as a worker, it would start a worker, which would start a worker.
fn a_main_that_forgets_serve() {
    let error = Process::spawn(Work::Pid).and_then(Process::join).unwrap_err();
    eprintln!("{error}");
    if !matches!(error, Error::NotServed) {
        eprintln!("{}", Pool::<Work>::new(1).unwrap_err());
    }
}

fn no_serve_no_fork_bomb() {
    let program =
        Command::new(env::current_exe().unwrap()).env(FORGETFUL, "1").output().unwrap();
    let text = String::from_utf8(program.stderr).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let not_served = Error::NotServed.to_string();
    let not_ready = "a worker did not become ready: exited with status 0; what it printed may say \
                     why. The first line of its main has to be serve, which the harness of a \
                     #[test] does not call";
    assert_eq!(lines, [not_served.as_str(), not_ready, not_served.as_str(), not_ready]);
}

fn too_many_ends_are_an_error() {
    let pool = Pool::new(1).unwrap();
    let error = pool.submit(Work::Slices(251)).result().unwrap_err();
    assert_eq!(error.to_string(), "the output cannot be encoded");
    match pool.submit(Work::Slices(250)).result().unwrap() {
        Made::Slices(slices) => assert_eq!(slices.len(), 250),
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.replaced(), 0);
    pool.shutdown();
}

/// The worker may open so many files; the ends of queues take two each.
fn few_descriptors() {
    let pool = Pool::new(1).unwrap();
    let mut refused = 0;
    for ends in 0..12 {
        pool.submit(Work::Limit(16)).result().unwrap();
        let (sender, _receiver) = bounded(1).unwrap();
        match pool.submit(Work::Hold(vec![sender; ends])).result() {
            Ok(made) => assert!(matches!(made, Made::Nothing) && refused == 0, "{ends}"),
            Err(error) => {
                refused += 1;
                assert!(chain(&error).contains("open files (ulimit -n)"), "{}", chain(&error));
            }
        }
    }
    assert!(refused > 3, "{refused}");
    pool.shutdown();
    let process = Process::spawn(Work::Few(8)).unwrap();
    let error = chain(&process.join().unwrap_err());
    assert!(error.contains("open files (ulimit -n)"), "{error}");
}

fn heard() {
    let (mut ours, theirs) = pipe::<(), u32>().unwrap();
    let mut process = Process::spawn(Meet(theirs)).unwrap();
    assert_eq!(process.heard(ours.recv()).unwrap(), process.pid());
    process.kill();
    let error = process.heard(ours.recv()).unwrap_err();
    assert_eq!(error.to_string(), "worker killed by SIGKILL");
}

fn grandchild() {
    let (sender, started) = bounded(1).unwrap();
    let process = Process::spawn(Work::StartProgramAndDie(sender)).unwrap();
    let program = Pid::from_raw(started.recv().unwrap().try_into().unwrap());
    assert_eq!(process.join().unwrap_err().to_string(), "worker killed by SIGKILL");
    // It lives on. Did it hold the worker's connection, `join` would have waited for its end.
    kill(program, Signal::SIGKILL).unwrap();
}

fn a_worker_that_died_idle_costs_no_task() {
    let pool = Pool::new(1).unwrap();
    let idle = pid(pool.submit(Work::Pid).result().unwrap());
    let victim = Pid::from_raw(idle.try_into().unwrap());
    kill(victim, Signal::SIGKILL).unwrap();
    // The pool notices without a task, and reaps it: no zombie waits for one.
    until("the pool reaps it", || kill(victim, None).is_err());
    assert_ne!(pid(pool.submit(Work::Pid).result().unwrap()), idle);
    assert_eq!(pool.replaced(), 1);
    pool.shutdown();
}

fn a_pool_of_no_workers_is_refused() {
    assert!(matches!(Pool::<Work>::new(0), Err(Error::Rejected(_))));
}
