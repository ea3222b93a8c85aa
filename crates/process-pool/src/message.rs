//! What a parent and a worker say to each other, and the memory they share.
//!
//! The first byte of a message says what it is. The worker answers every task and every chunk,
//! in the order in which they came: no message carries a number.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::fence;

use ipc::SharedSlice;
use serde::{Deserialize, Serialize};

use crate::{Record, Remote};

/// Counted up with every change of what this file and `chunk.rs` lay down. A worker is this
/// program; but where a program is started by the name of its file (not on Linux), that file may
/// have been replaced since this process started. Tasks and outputs are the program's own: nobody
/// can see that they have changed.
pub(crate) const VERSION: u32 = 3;

/// What a worker hears; `T` is its task. The order of the variants is their first byte.
#[derive(Serialize, Deserialize)]
pub(crate) enum Order<T> {
    /// Run this, and answer.
    Task(T),
    /// The same, and note when it begins: its time is limited.
    Timed(T),
    /// Before the first task.
    Setup(Setup),
    /// Answer with `Pong`: large tasks go to a worker that is known to read.
    Ping,
    /// End: there are no more tasks.
    Bye,
    /// In the place of a task that was cancelled on its way.
    Nothing,
}

pub(crate) const NOTHING: u8 = 5;

/// The first byte of tasks that travel together, laid out in `chunk.rs`.
pub(crate) const CHUNK: u8 = 10;

#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) memory: Board,
    /// The type of the initializer, which is the next message.
    pub(crate) initializer: Option<String>,
    /// Seconds, at least 1, that its end may take.
    pub(crate) grace: u32,
    /// Whether to say when each task was decoded, run and encoded.
    pub(crate) traced: bool,
}

/// What a worker says; `O` is the output of its task.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer<O> {
    Done(O),
    Failed(Remote),
    Panicked(Panic),
    TaskUnreadable(Remote),
    OutputUnsendable(Remote),
    /// The parent has taken the task back.
    Skipped,
    /// The answer to `Ping`.
    Pong,
    /// The first word of every worker: its version.
    Ready(u32),
    /// A line of a task's log.
    Log(Record),
    /// When the task of the next answer began, and when it was decoded, run and encoded, as far as
    /// it came: nanoseconds. For tasks that came together: when they began, and were done.
    Times(Vec<u64>),
}

/// The first bytes of answers.
pub(crate) const DONE: u8 = 0;
pub(crate) const SKIPPED: u8 = 5;
pub(crate) const PONG: u8 = 6;
pub(crate) const LOG: u8 = 8;
pub(crate) const TIMES: u8 = 9;
/// The first byte of answers that travel together, laid out in `chunk.rs`.
pub(crate) const BUNDLE: u8 = 10;

#[derive(Serialize, Deserialize)]
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) place: String,
    pub(crate) backtrace: String,
}

/// The tasks that may be under way to one worker.
pub(crate) const CLAIMS: u32 = 4096;
/// Where the worker writes when the task that it runs began.
const BEGAN: usize = CLAIMS as usize;
/// Where it writes how much of the bundle that it makes lies in the record.
const RECORDED: usize = BEGAN + 8;
/// The bundle itself, up to here.
const RECORD: usize = BEGAN + 16;
const RECORD_WORDS: usize = 8192;

/// Memory that a worker and its parent share. There is no lock in it: a worker that dies leaves
/// every word as it was.
///
/// The tasks of a worker are numbered in the order in which they are sent. Each has a word here,
/// which either the worker takes, and then it runs the task, or the parent, and then the worker
/// skips it. So the parent knows which task a dead worker had begun, and can take back any other.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Board(SharedSlice<u64>);

impl Board {
    pub(crate) fn new() -> Result<Self, ipc::Error> {
        SharedSlice::zeroed(RECORD + RECORD_WORDS).map(Self)
    }

    /// For the worker: whether the task is its own to run.
    pub(crate) fn begin(&self, task: u64) -> bool {
        self.0.swap(word(task), begun(task)) != taken_back(task)
    }

    /// For the worker, before it begins a task whose time is limited.
    pub(crate) fn note_time(&self, nanos: u64) {
        self.0.set(BEGAN, nanos);
    }

    /// For the parent: takes back a task that the worker has not begun; false when it has.
    pub(crate) fn take_back(&self, task: u64) -> bool {
        let before = self.0.get(word(task));
        before != begun(task)
            && self.0.compare_exchange(word(task), before, taken_back(task)).is_ok()
    }

    /// For the parent: whether the worker has begun the task.
    pub(crate) fn has_begun(&self, task: u64) -> bool {
        self.0.get(word(task)) == begun(task)
    }

    /// When it began, for a task that has begun: then, or later.
    pub(crate) fn began(&self) -> u64 {
        // The worker wrote the time before it took the task.
        fence(Acquire);
        self.0.get(BEGAN)
    }

    /// For the worker: records the bytes of a bundle from `from` on, a multiple of 8. What does
    /// not fit is not recorded; false then.
    pub(crate) fn record(&self, bundle: u32, bytes: &[u8], from: usize) -> bool {
        if bytes.len() > 8 * RECORD_WORDS {
            return false;
        }
        let (words, _) = bytes[from..].as_chunks();
        for (at, word) in (RECORD + from / 8..).zip(words) {
            self.0.set(at, u64::from_le_bytes(*word));
        }
        // Last: what this says to be there is there. (A process that is killed has done all of
        // its writes up to some point, and none behind it.)
        fence(Release);
        self.0.set(RECORDED, u64::from(bundle) << 32 | bytes.len() as u64);
        true
    }

    /// For the parent, of a dead worker: the bundle that it had not sent yet.
    pub(crate) fn recorded(&self, bundle: u32) -> Vec<u8> {
        let recorded = self.0.get(RECORDED);
        let bytes = recorded.checked_sub(u64::from(bundle) << 32);
        // Another bundle: nothing of this one has been recorded.
        let Some(bytes) = bytes.and_then(|bytes| u32::try_from(bytes).ok()) else {
            return Vec::new();
        };
        let words = (bytes as usize / 8).min(RECORD_WORDS);
        (RECORD..RECORD + words).flat_map(|at| self.0.get(at).to_le_bytes()).collect()
    }
}

fn word(task: u64) -> usize {
    usize::try_from(task % u64::from(CLAIMS)).expect("less than a number of tasks")
}

/// Distinct from what the word's earlier tasks left there, and from a fresh word.
fn begun(task: u64) -> u64 {
    2 * task + 1
}

fn taken_back(task: u64) -> u64 {
    2 * task + 2
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ipc::Packet;

    use super::*;

    fn bytes(message: &impl Serialize) -> Vec<u8> {
        Packet::encode(message).unwrap().bytes().to_vec()
    }

    /// Who has to change this test has to count the version up.
    #[test]
    fn the_words_of_version_3() {
        assert_eq!(VERSION, 3);
        let setup = Setup {
            memory: Board::new().unwrap(),
            initializer: Some("I".into()),
            grace: 3,
            traced: true,
        };
        let memory = bytes(&setup.memory);
        let setup_bytes = [&[2][..], &memory, &[1, 1, b'I', 3, 1]].concat();
        for (order, expected) in [
            (Order::Task(7_u8), vec![0, 7]),
            (Order::Timed(7), vec![1, 7]),
            (Order::Setup(setup), setup_bytes),
            (Order::Ping, vec![3]),
            (Order::Bye, vec![4]),
            (Order::Nothing, vec![NOTHING]),
        ] {
            assert_eq!(bytes(&order), expected);
        }

        let remote = || Remote::new(&std::fmt::Error);
        let text = bytes(&remote());
        let with_text = |first| [&[first][..], &text].concat();
        let panic = Panic { message: "m".into(), place: "p".into(), backtrace: "b".into() };
        let time = SystemTime::UNIX_EPOCH;
        let record = Record { time, worker: 1, number: 2, text: "t".into() };
        for (answer, expected) in [
            (Answer::Done(7_u8), vec![DONE, 7]),
            (Answer::Failed(remote()), with_text(1)),
            (Answer::Panicked(panic), vec![2, 1, b'm', 1, b'p', 1, b'b']),
            (Answer::TaskUnreadable(remote()), with_text(3)),
            (Answer::OutputUnsendable(remote()), with_text(4)),
            (Answer::Skipped, vec![SKIPPED]),
            (Answer::Pong, vec![PONG]),
            (Answer::Ready(9), vec![7, 9]),
            (Answer::Log(record), vec![LOG, 0, 0, 1, 2, 1, b't']),
            (Answer::Times(vec![1, 2]), vec![TIMES, 2, 1, 2]),
        ] {
            assert_eq!(bytes(&answer), expected);
        }

        assert_eq!([CHUNK, BUNDLE], [10, 10]);
        assert_eq!([CLAIMS as usize, BEGAN, RECORDED, RECORD], [4096, 4096, 4104, 4112]);
        assert_eq!([begun(3), taken_back(3)], [7, 8]);
    }
}
