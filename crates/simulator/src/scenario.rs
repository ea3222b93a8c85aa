use crate::engine::Engine;
use crate::{Error, Run, Schedule, Step};
use gil::Settings;
use std::time::Duration;

/// Threads with scripts, the machine under them, and what decides where the rules leave a choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scenario {
    /// What the threads run on.
    pub machine: Machine,
    /// The threads, by what they share. Every thread has a name of its own.
    pub processes: Vec<Process>,
    /// When the run ends, if threads are left that have not.
    pub until: Option<Duration>,
    /// Chooses which waiter a release wakes, and how long it takes until who woke up can run.
    pub seed: u64,
    /// Chooses the waiters instead, one entry for each release that has a waiter to wake, as
    /// far as it goes. The delays stay those of the seed.
    pub schedule: Schedule,
}

/// Cores and the operating system on them.
///
/// It is a simple one: threads that can run form one queue, and each in turn gets a core until
/// it blocks or, with others in the queue, its slice is over. Who wakes up goes to the end of
/// the queue, however short its business; systems that let it in front answer sooner where
/// cores are few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// How many threads can run at once.
    pub cores: usize,
    /// How long a thread keeps its core from others that can run.
    pub slice: Duration,
    /// The longest time from waking up to being able to run. Each wake-up draws its own from
    /// zero to this: a signal, a time-out, an answer, a start.
    pub wake_up: Duration,
    /// How long an instruction of bytecode takes; also how long the lock is free when a thread
    /// drops it at a check point and takes it back at once.
    pub instruction: Duration,
}

impl Default for Machine {
    /// Two cores with slices of 4 ms, up to 50 us to wake up, and 20 ns for an instruction.
    fn default() -> Self {
        Machine {
            cores: 2,
            slice: Duration::from_millis(4),
            wake_up: Duration::from_micros(50),
            instruction: Duration::from_nanos(20),
        }
    }
}

/// Threads that share one lock and one counter: a process or, since Python 3.12, an interpreter
/// in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// For pictures.
    pub name: String,
    /// The global lock; a free-threaded build has none.
    pub lock: Option<Settings>,
    /// In order of their numbers, which count on from process to process.
    pub threads: Vec<Thread>,
}

/// A name and a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// For pictures and schedules.
    pub name: String,
    /// What it does, one step after another.
    pub script: Vec<Step>,
}

impl Thread {
    /// A thread that does these steps.
    pub fn new(name: impl Into<String>, script: impl Into<Vec<Step>>) -> Self {
        Thread { name: name.into(), script: script.into() }
    }
}

impl Scenario {
    /// Plays it.
    ///
    /// Costs about 32 bytes for each [event](crate::Event).
    ///
    /// # Errors
    ///
    /// When there is no core, no thread, a slice or instruction that takes no time, a name that
    /// two threads share, or a schedule that names a thread which does not exist, has ended, or
    /// does not wait for the lock when its turn comes.
    pub fn run(&self) -> Result<Run, Error> {
        Engine::new(self)?.run()
    }
}
