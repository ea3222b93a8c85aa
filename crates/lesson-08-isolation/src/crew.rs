//! Inside a process that is made for a fault: tasks that wait for their turn. One may be faulty.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{fmt, io, thread};

use gil::Gil;
use ipc::Pipe;
use process_pool::{Failed, Task};
use serde::{Deserialize, Serialize};
use tasks::cpu::sum_below;
use tokio::runtime;
use tokio::sync::oneshot::{self, Receiver};
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::timeout;

use crate::fault::Fault;
use crate::os;

/// What the tasks of a process are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inside {
    /// All that the process does: there is one.
    Process,
    Threads,
    ThreadsUnderGil,
    AsyncTasks,
}

impl Inside {
    /// Whether others in the same process run beside this fault.
    pub fn runs_beside(self, fault: Fault) -> bool {
        match self {
            Self::Process => false,
            Self::Threads => true,
            Self::ThreadsUnderGil | Self::AsyncTasks => fault != Fault::Busy,
        }
    }
}

/// The tasks of one process.
#[derive(Serialize, Deserialize)]
pub struct Crew {
    pub inside: Inside,
    /// Of the one task that is faulty, if one is.
    pub fault: Option<Fault>,
    /// The tasks that are not.
    pub bystanders: usize,
    /// How long a task may run until that is reported.
    pub time_out: Duration,
    /// Each message lets one task go on, the faulty one first.
    pub turns: Pipe<(), ()>,
    pub words: Pipe<Word, ()>,
    pub stderr: PathBuf,
}

/// What the parent hears.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    /// A task has begun, and waits for its turn.
    Here,
    /// A task cannot begin: why the system starts no thread for it.
    NoThread(String),
    /// The next thing that the faulty task does is an endless loop.
    Endless,
    /// What became of the faulty task.
    Noticed(Report),
    /// A task that is not faulty has its answer.
    Done(u128),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("a task has begun"),
            Self::NoThread(why) => write!(f, "a task has no thread: {why}"),
            Self::Endless => f.write_str("a task is about to loop"),
            Self::Noticed(Report::Panicked(text)) => write!(f, "a task has panicked: {text}"),
            Self::Noticed(Report::Signal(name)) => write!(f, "a process has ended by {name}"),
            Self::Noticed(report) => write!(f, "a task has timed out: {report}"),
            Self::Done(_) => f.write_str("a task has its answer"),
        }
    }
}

/// What is known of the faulty task, after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    Panicked(String),
    /// The signal that ended the process.
    Signal(String),
    /// Timed out: a thread cannot be stopped.
    RunsOn,
    /// Timed out, and stopped.
    Cancelled,
    /// Timed out, and its process killed.
    Killed,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Panicked(_) => "panic",
            Self::Signal(name) => name,
            Self::RunsOn => "runs on",
            Self::Cancelled => "cancelled",
            Self::Killed => "killed",
        })
    }
}

impl Task for Crew {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        os::prepare_for_a_crash(&self.stderr)?;
        let Self { inside, fault, time_out, mut turns, words, .. } = self;
        let tasks = usize::from(fault.is_some()) + self.bystanders;
        let (give, take): (Vec<_>, Vec<_>) = (0..tasks).map(|_| oneshot::channel()).unzip();
        // A thread under no lock and on no runtime: whatever the tasks do, turns are given.
        thread::Builder::new().spawn(move || {
            give.into_iter().try_for_each(|task| {
                turns.recv().ok()?;
                task.send(()).ok()
            })
        })?;
        let mut take = take.into_iter();
        let faulty = fault.and_then(|fault| Some((fault, take.next()?)));
        match inside {
            Inside::Process => alone(faulty, take, &words),
            Inside::Threads => threads(faulty, take, &words, time_out, &Gil::free_threaded()),
            Inside::ThreadsUnderGil => threads(faulty, take, &words, time_out, &Gil::new()),
            Inside::AsyncTasks => async_tasks(faulty, take, words, time_out)?,
        }
        Ok(())
    }
}

type Turn = Receiver<()>;

/// Nobody else is here who could tell of a fault: a panic unwinds to the pool's own code.
fn alone(
    faulty: Option<(Fault, Turn)>,
    mut bystander: impl Iterator<Item = Turn>,
    words: &Pipe<Word, ()>,
) {
    say(words, &Word::Here);
    if let Some((fault, turn)) = faulty {
        _ = turn.blocking_recv();
        if fault.is_endless() {
            say(words, &Word::Endless);
        }
        fault.commit(|| {});
    }
    _ = bystander.next().map(Turn::blocking_recv);
    say(words, &Word::Done(answer()));
}

fn threads(
    faulty: Option<(Fault, Turn)>,
    bystanders: impl Iterator<Item = Turn>,
    words: &Pipe<Word, ()>,
    time_out: Duration,
    gil: &Gil,
) {
    // `scope.spawn` would panic when the system has no thread left, and the scope then wait for
    // those that are here, which wait for a turn. The parent is told, and ends this process.
    let no_thread = |error: io::Error| say(words, &Word::NoThread(error.to_string()));
    thread::scope(|scope| {
        for turn in bystanders {
            let bystander = move || {
                let mut token = gil.acquire();
                say(words, &Word::Here);
                _ = token.allow_threads(|| turn.blocking_recv());
                say(words, &Word::Done(answer()));
            };
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, bystander) {
                return no_thread(error);
            }
        }
        let Some((fault, turn)) = faulty else { return };
        let (say_endless, endless) = mpsc::channel();
        let faulty = thread::Builder::new().spawn_scoped(scope, move || {
            let mut token = gil.acquire();
            say(words, &Word::Here);
            _ = token.allow_threads(|| turn.blocking_recv());
            if fault.is_endless() {
                // Under a lock it is in hand here: nobody gets in between this word and the loop.
                say(words, &Word::Endless);
                _ = say_endless.send(());
            }
            fault.commit(|| token.check_point())
        });
        let faulty = match faulty {
            Ok(faulty) => faulty,
            Err(error) => return no_thread(error),
        };
        // This thread is one of the interpreter's too: it needs the lock back to say a word.
        let mut token = gil.acquire();
        let report = token.allow_threads(|| match endless.recv() {
            // A thread cannot be joined with a time-out: a channel can be waited for so.
            Ok(()) => match endless.recv_timeout(time_out) {
                Err(RecvTimeoutError::Timeout) => Report::RunsOn,
                ended => unreachable!("an endless loop is over: {ended:?}"),
            },
            Err(_) => Report::Panicked(text(faulty.join().expect_err("no fault returns"))),
        });
        say(words, &Word::Noticed(report));
    });
}

fn async_tasks(
    faulty: Option<(Fault, Turn)>,
    bystanders: impl Iterator<Item = Turn>,
    words: Pipe<Word, ()>,
    time_out: Duration,
) -> io::Result<()> {
    let words = Arc::new(words);
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let mut others = JoinSet::new();
        for turn in bystanders {
            let words = words.clone();
            others.spawn(async move {
                say(&words, &Word::Here);
                _ = turn.await;
                say(&words, &Word::Done(answer()));
            });
        }
        if let Some((fault, turn)) = faulty {
            let report = watched(fault, turn, &words, time_out).await;
            say(&words, &Word::Noticed(report));
        }
        others.join_all().await;
    });
    Ok(())
}

/// The time-out is looked at by the same thread, between two polls of the tasks.
async fn watched(
    fault: Fault,
    turn: Turn,
    words: &Arc<Pipe<Word, ()>>,
    time_out: Duration,
) -> Report {
    let (say_endless, endless) = oneshot::channel();
    let words = words.clone();
    let mut faulty = tokio::spawn(async move {
        say(&words, &Word::Here);
        _ = turn.await;
        if fault.is_endless() {
            say(&words, &Word::Endless);
            _ = say_endless.send(());
        }
        if fault == Fault::Loop {
            loop {
                yield_now().await;
            }
        }
        fault.commit(|| {})
    });
    if endless.await.is_ok() && timeout(time_out, &mut faulty).await.is_err() {
        faulty.abort();
    }
    let end: JoinError = faulty.await.expect_err("no fault returns");
    match end.try_into_panic() {
        Ok(panic) => Report::Panicked(text(panic)),
        Err(_) => Report::Cancelled,
    }
}

/// What a bystander does when it may.
fn answer() -> u128 {
    sum_below(NUMBERS)
}

pub const NUMBERS: u64 = 1_000;

/// A parent that does not listen is gone, and this process with it in a moment.
fn say(words: &Pipe<Word, ()>, word: &Word) {
    _ = words.send(word);
}

fn text(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or_default().into(),
    }
}
