//! What the workers of these tests can do, and how it is seen.

use std::io::Write;
use std::process::{Command, exit};
use std::sync::OnceLock;
use std::time::Duration;
use std::{fmt, io, panic, process, thread};

use ipc::SharedSlice;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, close, dup2_stdout};
use process_pool::{Builder, Error, Failed, Pool, Task, TaskOptions, kill_this_process, log};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Memory of a test and of all its workers. The number of a task is the place where its runs are
/// counted.
pub static SEEN: OnceLock<SharedSlice<u64>> = OnceLock::new();

/// The place of a word that lets held tasks go on.
const GO: usize = PLACES - 1;
/// The place where the workers are counted.
const STARTED: usize = PLACES - 2;
const PLACES: usize = 11_000;

/// The initializer: brings the memory, to so many workers.
#[derive(Serialize, Deserialize)]
pub struct Share {
    memory: SharedSlice<u64>,
    workers: u64,
    /// What one too many does.
    dies: bool,
}

impl Share {
    pub fn that_fails_after(workers: u64, memory: &SharedSlice<u64>) -> Self {
        Self { memory: memory.clone(), workers, dies: false }
    }

    pub fn that_dies_after(workers: u64, memory: &SharedSlice<u64>) -> Self {
        Self { dies: true, ..Self::that_fails_after(workers, memory) }
    }
}

impl Task for Share {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        log("starts");
        if self.memory.fetch_add(STARTED, 1) >= self.workers {
            if self.dies {
                kill_this_process();
            }
            return Err("too many workers".into());
        }
        drop(SEEN.set(self.memory));
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Clone)]
pub struct Work {
    pub number: u64,
    pub act: Act,
}

#[derive(Serialize, Deserialize, Clone)]
pub enum Act {
    /// Nothing but to be counted.
    Count,
    /// Goes on when told.
    Hold,
    Fail,
    Panic,
    PanicWithoutText,
    /// Of a thread that it waited for.
    PanicOfThread,
    /// Carries on with another panic than the one that it caught.
    PanicAfterCaught,
    /// Catches it.
    CatchPanic,
    /// With a text, which no hook sees.
    ResumePanic,
    /// With a hook of its own.
    PanicUnseen,
    Raise(i32),
    Abort,
    Exit(i32),
    /// Recurs for ever.
    Overflow,
    Spin,
    Park,
    Sleep(Duration),
    Stop,
    CloseEverything,
    StartProgram,
    Print,
    Log(u64),
    /// Leaves an unwritten line for a standard output that takes no more: the process cannot
    /// exit.
    Clog,
    /// A pool of its own, whose tasks compute for ever.
    Nest,
    Output(usize),
    Input(#[serde(with = "serde_bytes")] Vec<u8>),
    /// In the task, and in its output.
    Carry(Poison),
    Make(When),
}

impl Task for Work {
    type Output = Made;

    fn run(self) -> Result<Made, Failed> {
        let number = usize::try_from(self.number)?;
        let seen = SEEN.get().expect("the initializer has run");
        seen.fetch_add(number, 1);
        match self.act {
            Act::Count | Act::Carry(_) | Act::Input(_) => {}
            Act::Hold => {
                while seen.get(GO) == 0 {
                    thread::sleep(Duration::from_micros(100));
                }
            }
            Act::Fail => return Err("as told".into()),
            Act::Panic => panic!("as told"),
            Act::PanicWithoutText => panic::panic_any(PanicsOnceMore),
            Act::PanicOfThread => {
                let panicked = thread::spawn(|| panic!("in a thread")).join();
                panic::resume_unwind(panicked.unwrap_err());
            }
            Act::PanicAfterCaught => {
                panic::catch_unwind(|| panic!("caught")).unwrap_err();
                panic::resume_unwind(Box::new(7));
            }
            Act::CatchPanic => _ = panic::catch_unwind(|| panic!("caught")).unwrap_err(),
            Act::ResumePanic => panic::resume_unwind(Box::new("carried on")),
            Act::PanicUnseen => {
                panic::set_hook(Box::new(|_| ()));
                panic!("unseen, {number}");
            }
            // More than once: Rust's own handler of SIGSEGV takes the first for a fault that
            // comes again.
            Act::Raise(signal) => loop {
                kill(Pid::this(), Signal::try_from(signal)?)?;
            },
            Act::Abort => process::abort(),
            Act::Exit(code) => exit(code),
            Act::Overflow => drop(recur(0)),
            Act::Spin => loop {
                std::hint::spin_loop();
            },
            Act::Park => loop {
                thread::park();
            },
            Act::Sleep(time) => thread::sleep(time),
            Act::Stop => kill(Pid::this(), Signal::SIGSTOP)?,
            Act::CloseEverything => {
                for descriptor in 0..100 {
                    let _ = close(descriptor);
                }
            }
            Act::StartProgram => {
                let pid = Command::new("sleep").arg("1000").spawn()?.id();
                seen.set(number + 1, pid.into());
                kill_this_process();
            }
            Act::Print => {
                io::stdout().write_all(&[0xff; 100])?;
                io::stderr().write_all(&[0; 100])?;
                println!();
                eprintln!();
            }
            Act::Log(count) => (0..count).for_each(|n| log(format!("{number}: {n}"))),
            Act::Clog => {
                let (reader, mut writer) = io::pipe()?;
                dup2_stdout(&writer)?;
                thread::spawn(move || while writer.write_all(&[0; 4096]).is_ok() {});
                print!("the rest of a line");
                // It stays open, and nobody reads.
                Box::leak(Box::new(reader));
            }
            Act::Nest => {
                let pool = pool(seen).workers(2).build()?;
                let spins = [1, 2].map(|n| pool.submit(act(self.number + n, Act::Spin)));
                for future in spins {
                    future.result()?;
                }
            }
            Act::Output(size) => return Ok(Made::Bytes(vec![7; size])),
            Act::Make(when) => return Ok(Made::Poison(Poison(when))),
        }
        Ok(Made::Number(self.number))
    }
}

#[expect(unconditional_recursion, reason = "it is the fault")]
fn recur(depth: u64) -> [u64; 100] {
    let mut frame = std::hint::black_box([depth; 100]);
    frame[1] = recur(frame[0] + 1)[0];
    frame
}

#[derive(Serialize, Deserialize)]
pub enum Made {
    Number(u64),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Poison(Poison),
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Poison(_) => f.write_str("poison"),
        }
    }
}

pub struct PanicsOnceMore;

impl Drop for PanicsOnceMore {
    fn drop(&mut self) {
        panic!("once more");
    }
}

/// When a value does what it should not.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    Never,
    PanicsEncoded,
    PanicsDecoded,
    FailsEncoded,
    FailsDecoded,
    /// In a worker: the parent drops what it has sent.
    PanicsDropped,
}

#[derive(Clone)]
pub struct Poison(pub When);

impl Serialize for Poison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            When::PanicsEncoded => panic!("as told"),
            When::FailsEncoded => Err(serde::ser::Error::custom("as told")),
            when => when.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Poison {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match When::deserialize(deserializer)? {
            When::PanicsDecoded => panic!("as told"),
            When::FailsDecoded => Err(serde::de::Error::custom("as told")),
            when => Ok(Self(when)),
        }
    }
}

impl Drop for Poison {
    fn drop(&mut self) {
        if self.0 == When::PanicsDropped && SEEN.get().is_some() {
            panic!("as told");
        }
    }
}

/// What a task gives back that it was given: large both ways, or with an end that travels.
#[derive(Serialize, Deserialize)]
pub enum Bulk {
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Memory(SharedSlice<u64>),
    /// Brings nothing and takes much.
    Of(usize),
    Wait(Duration),
}

impl Task for Bulk {
    type Output = Self;

    fn run(self) -> Result<Self, Failed> {
        Ok(match self {
            Self::Of(size) => Self::Bytes(vec![7; size]),
            Self::Wait(time) => {
                thread::sleep(time);
                self
            }
            other => other,
        })
    }
}

pub fn memory() -> SharedSlice<u64> {
    SharedSlice::zeroed(PLACES).unwrap()
}

pub fn go(seen: &SharedSlice<u64>) {
    seen.set(GO, 1);
}

/// Held tasks that begin from now on wait for the next word.
pub fn halt(seen: &SharedSlice<u64>) {
    seen.set(GO, 0);
}

/// How many processes were initialized.
pub fn started(seen: &SharedSlice<u64>) -> u64 {
    seen.get(STARTED)
}

pub fn pool(seen: &SharedSlice<u64>) -> Builder<Work> {
    Pool::builder().initializer(Share::that_fails_after(u64::MAX, seen)).on_log(drop)
}

pub fn act(number: u64, act: Act) -> Work {
    Work { number, act }
}

pub fn within(millis: u64) -> TaskOptions {
    TaskOptions { time_out: Some(Duration::from_millis(millis)), ..TaskOptions::default() }
}

/// A pool, and how tasks get to it.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// Handed in one by one, with a window of this size.
    Window(usize),
    /// In chunks of this size.
    Chunks(usize),
}

/// Two workers, 40 tasks, some of which do something else than the others: just these must fail,
/// as `expected` says, and all must have begun once.
pub fn among_others(
    options: TaskOptions,
    fault: &Act,
    places: &[u64],
    expected: impl Fn(u64, &Error) -> bool,
) {
    for way in [Way::Window(1), Way::Window(16), Way::Chunks(10)] {
        let seen = memory();
        let window = if let Way::Window(window) = way { window } else { 3 };
        let pool = pool(&seen).workers(2).window(window).options(options).build().unwrap();
        let at = |n| act(n, if places.contains(&n) { fault.clone() } else { Act::Count });
        let outcomes: Vec<_> = match way {
            Way::Window(_) => {
                let futures: Vec<_> = (0..40).map(|n| pool.submit(at(n))).collect();
                futures.into_iter().map(process_pool::Future::result).collect()
            }
            Way::Chunks(size) => pool.map((0..40).map(at)).chunk_size(size).collect(),
        };
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(Made::Number(number)) if number == n && !places.contains(&n) => {}
                Err(error) if places.contains(&n) && expected(n, &error) => {}
                other => panic!("{way:?}, task {n}: {other:?}"),
            }
        }
        let begun: Vec<_> = (0..40).map(|n| seen.get(n)).collect();
        let decoded = |n: u64| !matches!(fault, Act::Carry(_)) || !places.contains(&n);
        let once: Vec<_> = (0..40).map(|n| u64::from(decoded(n))).collect();
        assert_eq!(begun, once, "{way:?}: how often each has begun");
        // And the pool goes on.
        assert!(pool.submit(act(50, Act::Count)).result().is_ok());
        pool.shutdown();
    }
}
