//! Tasks that travel together, and answers that come back together.
//!
//! A chunk is `CHUNK`, 1 if the time of its tasks is limited or else 0, the number of tasks
//! (u32), and each task as its length (u32) and its bytes. A bundle is `BUNDLE`, 1 if it is the
//! last one of its chunk or else 0, two bytes of nothing, the number of answers (u32), the
//! nanoseconds that they took (u64), and each answer as its length (u32), its bytes and as many
//! zeros as make it a multiple of 8. All numbers are little endian.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use ipc::Packet;
use serde::Serialize;

use crate::message::{BUNDLE, CHUNK};
use crate::slot::{Outcome, Watcher};
use crate::{At, Error, TaskOptions, call};

/// The most tasks of one chunk: a few of them fit beside each other into a worker's board.
pub(crate) const MOST: u32 = 1024;
const CHUNK_HEADER: usize = 6;
const BUNDLE_HEADER: usize = 16;

/// Appends a message to bytes, behind its length. Ends of pipes and queues do not travel this
/// way: then nothing is appended.
pub(crate) fn append<T: Serialize>(bytes: &mut Vec<u8>, message: &T) -> postcard::Result<()> {
    let from = bytes.len();
    bytes.extend([0; 4]);
    if let Err(error) = postcard::to_extend(message, Tail(bytes)) {
        bytes.truncate(from);
        return Err(error);
    }
    let length = u32::try_from(bytes.len() - from - 4);
    let length = length.map_err(|_| postcard::Error::SerializeBufferFull)?;
    bytes[from..from + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

struct Tail<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Tail<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

/// The next message of some that were appended, and the bytes behind it.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// A chunk in the making.
pub(crate) struct Tasks {
    bytes: Vec<u8>,
    pub(crate) count: u32,
}

impl Tasks {
    pub(crate) fn new(timed: bool) -> Self {
        Self { bytes: vec![CHUNK, timed.into(), 0, 0, 0, 0], count: 0 }
    }

    /// Refuses a task that does not travel this way, or makes the chunk longer than a message.
    pub(crate) fn push<T: Serialize>(&mut self, task: &T) -> postcard::Result<()> {
        let from = self.bytes.len();
        append(&mut self.bytes, task)?;
        if self.bytes.len() > ipc::MAX_MESSAGE {
            self.bytes.truncate(from);
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.count += 1;
        Ok(())
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    fn into_packet(mut self) -> Packet {
        self.bytes[2..CHUNK_HEADER].copy_from_slice(&self.count.to_le_bytes());
        self.bytes.into()
    }
}

/// For the worker: whether the tasks of a chunk are timed, how many they are, and their bytes.
pub(crate) fn read_chunk(bytes: &[u8]) -> Option<(bool, u32, &[u8])> {
    let (header, tasks) = bytes.split_first_chunk::<CHUNK_HEADER>()?;
    let [_, timed, count @ ..] = *header;
    Some((timed == 1, u32::from_le_bytes(count), tasks))
}

/// For the worker: the head of a bundle, to be filled in by [`finish_bundle`].
pub(crate) fn begin_bundle(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend([0; BUNDLE_HEADER]);
    bytes[0] = BUNDLE;
}

/// For the worker: makes an answer a multiple of 8 long.
pub(crate) fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

pub(crate) fn finish_bundle(bytes: &mut [u8], last: bool, count: u32, took: Duration) {
    bytes[1] = last.into();
    bytes[4..8].copy_from_slice(&count.to_le_bytes());
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    bytes[8..BUNDLE_HEADER].copy_from_slice(&nanos.to_le_bytes());
}

/// Answers of a chunk that have arrived, still encoded.
#[derive(Debug)]
pub(crate) struct Bundle {
    packet: Packet,
    at: usize,
    pub(crate) count: u32,
    pub(crate) last: bool,
    pub(crate) took: Duration,
}

impl Bundle {
    /// Checks what a worker says of its answers before anybody relies on it.
    pub(crate) fn read(packet: Packet) -> Option<Self> {
        let header = packet.bytes().first_chunk::<BUNDLE_HEADER>()?;
        let [_, last, _, _, c0, c1, c2, c3, nanos @ ..] = *header;
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        let took = Duration::from_nanos(u64::from_le_bytes(nanos));
        let bundle = Self { packet, at: BUNDLE_HEADER, count, last: last == 1, took };
        (bundle.whole() == count as usize).then_some(bundle)
    }

    /// What a dead worker had made of a bundle.
    pub(crate) fn salvage(mut bytes: Vec<u8>) -> Option<Self> {
        bytes.first_chunk_mut::<BUNDLE_HEADER>()?[1..].fill(0);
        let packet = bytes.into();
        let mut bundle =
            Self { packet, at: BUNDLE_HEADER, count: 0, last: false, took: Duration::ZERO };
        bundle.count = u32::try_from(bundle.whole()).ok()?;
        Some(bundle)
    }

    /// How many whole answers there are.
    fn whole(&self) -> usize {
        let mut at = self.at;
        std::iter::from_fn(|| {
            let (answer, _) = split(self.packet.bytes().get(at..)?)?;
            at += (4 + answer.len()).next_multiple_of(8);
            Some(())
        })
        .count()
    }

    /// The next answer.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let (answer, _) = split(self.packet.bytes().get(self.at..)?)?;
        self.at += (4 + answer.len()).next_multiple_of(8);
        Some(answer)
    }
}

/// A chunk in the parent: the tasks, and what came of them so far.
pub(crate) struct Chunk {
    pub(crate) first_id: u64,
    pub(crate) count: u32,
    pub(crate) options: TaskOptions,
    packet: Packet,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    pieces: Vec<Piece>,
    /// How many tasks have not ended.
    left: u32,
    /// How often tasks have begun again, by their places.
    tries: BTreeMap<u32, u32>,
    cancelled: bool,
    awaited: bool,
    watcher: Option<Watcher>,
}

/// What came of some tasks of a chunk that lie side by side.
pub(crate) struct Piece {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) outcomes: Outcomes,
}

pub(crate) enum Outcomes {
    /// Answers, one each; who gave them, and which task the first one is of.
    Bundle(Bundle, At),
    /// The same for all.
    All(Outcome),
}

impl Chunk {
    pub(crate) fn new(first_id: u64, tasks: Tasks, options: TaskOptions) -> Self {
        let count = tasks.count;
        let state = State {
            pieces: Vec::new(),
            left: count,
            tries: BTreeMap::new(),
            cancelled: false,
            awaited: false,
            watcher: None,
        };
        let packet = tasks.into_packet();
        Self { first_id, count, options, packet, state: state.into(), ended: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while a chunk is locked")
    }

    /// Bytes of the encoded tasks.
    pub(crate) fn size(&self) -> usize {
        self.packet.bytes().len()
    }

    /// Sends some of the tasks.
    pub(crate) fn send(
        &self,
        tasks: Range<u32>,
        line: &ipc::SendHalf,
    ) -> Result<(), ipc::Error> {
        if tasks == (0..self.count) {
            return line.send(&self.packet);
        }
        let (mut bytes, mut rest) = self.packet.bytes().split_at(CHUNK_HEADER);
        let mut part = bytes.to_vec();
        for task in 0..tasks.end {
            (bytes, rest) = split(rest).expect("the chunk was put together here");
            if task >= tasks.start {
                part.extend(u32::try_from(bytes.len()).expect("it was one").to_le_bytes());
                part.extend(bytes);
            }
        }
        let count = tasks.end - tasks.start;
        line.send(&Tasks { bytes: part, count }.into_packet())
    }

    /// Some of the tasks have ended. The last of them wakes who waits.
    pub(crate) fn end(&self, piece: Piece) {
        let mut state = self.state();
        state.left -= piece.count;
        state.pieces.push(piece);
        if state.left > 0 {
            return;
        }
        let (watcher, awaited) = (state.watcher.take(), state.awaited);
        drop(state);
        if awaited {
            self.ended.notify_all();
        }
        watcher.into_iter().for_each(call);
    }

    /// The same for tasks that all end with one error.
    pub(crate) fn fail(&self, tasks: Range<u32>, error: Error) {
        let count = tasks.end - tasks.start;
        let outcomes = Outcomes::All(Err(error.into()));
        self.end(Piece { first: tasks.start, count, outcomes });
    }

    /// One more try, for a task that may begin twice.
    pub(crate) fn retry(&self, task: u32) -> bool {
        let mut state = self.state();
        let tries = state.tries.entry(task).or_default();
        *tries += 1;
        *tries <= self.options.retries
    }

    /// Nobody wants the outcomes any more.
    pub(crate) fn cancel(&self) {
        self.state().cancelled = true;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Calls `watcher` at the end; at most one.
    pub(crate) fn watch(&self, watcher: Watcher) {
        let mut state = self.state();
        if state.left == 0 {
            drop(state);
            return call(watcher);
        }
        state.watcher = Some(watcher);
    }

    /// Waits for the end of all tasks; what came of them, in their order.
    pub(crate) fn wait(&self) -> Vec<Piece> {
        let mut state = self.state();
        while state.left > 0 {
            state.awaited = true;
            state = self.ended.wait(state).expect("no panic while a chunk is locked");
        }
        let mut pieces = std::mem::take(&mut state.pieces);
        drop(state);
        pieces.sort_by_key(|piece| piece.first);
        pieces
    }
}
