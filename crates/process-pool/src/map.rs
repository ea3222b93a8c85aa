use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ipc::Packet;

use crate::chunk::{Chunk, MOST, Outcomes, Piece, Tasks};
use crate::dispatch::failure;
use crate::job::{Job, LARGE};
use crate::message::Answer;
use crate::slot::Slot;
use crate::{At, Error, Pool, Task, TaskOptions, os};

/// How long the tasks of a chunk run together: long beside what a message costs, and short beside
/// what people notice.
const CHUNK: Duration = Duration::from_micros(300);
/// Chunks under way for each worker: the one it runs, the one at its side, and one that waits.
const AHEAD: usize = 3;

/// The outputs of many tasks: see [`Pool::map`].
///
/// A task that fails is an error in its place, and the others go on. Tasks travel in chunks; a
/// chunk is as long as runs for 0.3 ms, measured as they run, and at most 1024 tasks or 32 KiB.
/// Each task of a chunk is a task of its own all the same: a panic, a time-out or the death of
/// its worker fails it and no other, those before it have their outputs and those behind it run
/// elsewhere. None runs twice, but for one whose worker died in the middle of it and that may
/// ([`TaskOptions::retries`]): that one alone. Dropped, it takes back what has not begun.
pub struct Map<'a, T: Task, I> {
    pool: &'a Pool<T>,
    tasks: I,
    /// Set by the caller.
    chunk: Option<u32>,
    ahead: Option<usize>,
    options: TaskOptions,
    /// The ends of parts, where their order does not matter.
    ended: Option<(mpsc::Sender<Part>, mpsc::Receiver<Part>)>,
    /// Under way, in the order of the tasks.
    parts: VecDeque<Part>,
    /// Tasks taken whose outputs have not been given out.
    taken: usize,
    outputs: Outputs,
    /// How long a task runs, in the mean of the last chunks.
    pace: Option<Duration>,
}

#[derive(Clone)]
enum Part {
    Chunk(Arc<Chunk>),
    /// One that cannot travel with others: it is large, or has an end of a pipe in it.
    Task(Arc<Slot>),
}

impl Part {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Chunk(this), Self::Chunk(other)) => Arc::ptr_eq(this, other),
            (Self::Task(this), Self::Task(other)) => Arc::ptr_eq(this, other),
            _ => false,
        }
    }
}

/// What came of a part, piece by piece.
#[derive(Default)]
struct Outputs {
    pieces: std::vec::IntoIter<Piece>,
    piece: Option<(Piece, u32)>,
}

impl<T: Task, I> fmt::Debug for Map<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl<'a, T: Task, I: Iterator<Item = T>> Map<'a, T, I> {
    pub(crate) fn new(pool: &'a Pool<T>, tasks: I) -> Self {
        Self {
            pool,
            tasks,
            chunk: None,
            ahead: None,
            options: pool.shared.settings.options,
            ended: None,
            parts: VecDeque::new(),
            taken: 0,
            outputs: Outputs::default(),
            pace: None,
        }
    }

    /// So many tasks travel together: at least 1, at most 1024.
    #[must_use]
    pub fn chunk_size(mut self, tasks: usize) -> Self {
        self.chunk = Some(u32::try_from(tasks).unwrap_or(MOST).clamp(1, MOST));
        self
    }

    /// At most so many tasks, at least 1, are taken from the iterator whose outputs have not been
    /// given out. If nothing is said, three chunks for each worker.
    #[must_use]
    pub fn ahead(mut self, tasks: usize) -> Self {
        self.ahead = Some(tasks.max(1));
        self
    }

    /// What each of the tasks asks for, if it is more than what the pool's others do.
    #[must_use]
    pub fn options(mut self, options: TaskOptions) -> Self {
        self.options = options;
        self
    }

    /// Gives the outputs out as they come, not in the order of the tasks. A task that takes long
    /// holds up those of its own chunk only.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.ended = Some(mpsc::channel());
        self
    }

    /// Keeps the workers busy.
    fn send_ahead(&mut self) {
        loop {
            let size = self.chunk.unwrap_or_else(|| {
                let pace = self.pace.map_or(u128::MAX, |pace| pace.as_nanos().max(1));
                let tasks = u32::try_from(CHUNK.as_nanos() / pace).unwrap_or(MOST);
                tasks.clamp(1, MOST)
            });
            let room = match self.ahead {
                Some(ahead) => ahead.saturating_sub(self.taken),
                None if self.parts.len() >= AHEAD * self.pool.workers() => 0,
                None => usize::MAX,
            };
            let size = u32::try_from(room).map_or(size, |room| room.min(size));
            if size == 0 || !self.send_chunk(size) {
                return;
            }
        }
    }

    /// Sends at most so many tasks; false when there was none.
    fn send_chunk(&mut self, size: u32) -> bool {
        let shared = self.pool.shared.clone();
        let mut chunk = Tasks::new(self.options.time_out.is_some());
        let mut alone = None;
        while chunk.count < size && chunk.size() < LARGE / 2 && alone.is_none() {
            let Some(task) = self.tasks.next() else { break };
            self.taken += 1;
            if chunk.push(&task).is_err() {
                alone = Some(task);
            }
        }
        let any = chunk.count > 0 || alone.is_some();
        if chunk.count > 0 {
            let count = chunk.count;
            let chunk = Arc::new(Chunk::new(shared.ids(count), chunk, self.options));
            if shared.settings.traced {
                shared.trace.handed_in(chunk.first_id, os::now());
            }
            self.put(Part::Chunk(chunk.clone()));
            shared.submit(Job::Chunk(chunk, 0..count));
        }
        if let Some(task) = alone {
            match shared.encode(task, &self.options) {
                Ok(slot) => {
                    self.put(Part::Task(slot.clone()));
                    shared.submit(Job::Task(slot));
                }
                Err(slot) => self.put(Part::Task(slot)),
            }
        }
        any
    }

    fn put(&mut self, part: Part) {
        self.watch(&part);
        self.parts.push_back(part);
    }

    fn watch(&self, part: &Part) {
        let Some((ended, _)) = &self.ended else { return };
        let (ended, this) = (ended.clone(), part.clone());
        // Nobody listens any more when this is dropped.
        let tell = Box::new(move || drop(ended.send(this)));
        match part {
            Part::Chunk(chunk) => chunk.watch(tell),
            Part::Task(slot) => _ = slot.watch(tell),
        }
    }

    /// Waits for the next part.
    fn next_part(&mut self) -> Option<Outputs> {
        let part = match &self.ended {
            None => self.parts.pop_front()?,
            Some(_) if self.parts.is_empty() => return None,
            Some((_, ends)) => {
                let part = ends.recv().expect("the other end lives as long");
                self.parts.retain(|other| !part.is(other));
                part
            }
        };
        let pieces = match part {
            Part::Chunk(chunk) => chunk.wait(),
            Part::Task(slot) => {
                slot.wait(None);
                vec![Piece { first: 0, count: 1, outcomes: Outcomes::All(slot.take()) }]
            }
        };
        for piece in &pieces {
            if let Outcomes::Bundle(bundle, _) = &piece.outcomes {
                let pace = bundle.took / bundle.count.max(1);
                self.pace = Some(self.pace.map_or(pace, |before| (before + pace) / 2));
            }
        }
        Some(Outputs { pieces: pieces.into_iter(), piece: None })
    }
}

impl Outputs {
    fn next<T: Task>(&mut self) -> Option<Result<T::Output, Error>> {
        loop {
            let Some((piece, given)) = &mut self.piece else {
                self.piece = Some((self.pieces.next()?, 0));
                continue;
            };
            if *given == piece.count {
                self.piece = None;
                continue;
            }
            let before = *given;
            *given += 1;
            return Some(match &mut piece.outcomes {
                Outcomes::Bundle(bundle, at) => {
                    let answer = bundle.next().expect("the answers were counted");
                    decode(answer, At { task: at.task + u64::from(before), ..*at })
                }
                Outcomes::All(Err(error)) => Err((**error).clone()),
                Outcomes::All(outcome) => {
                    let cancelled = Err(Error::Cancelled.into());
                    match std::mem::replace(outcome, cancelled).map(Packet::decode) {
                        Ok(Ok(Answer::Done(output))) => Ok(output),
                        Ok(Ok(_)) => unreachable!("its first byte said that it is an output"),
                        Ok(Err(error)) => Err(Error::decode("output", error)),
                        Err(error) => Err(*error),
                    }
                }
            });
        }
    }
}

fn decode<O: serde::de::DeserializeOwned>(answer: &[u8], at: At) -> Result<O, Error> {
    match ipc::decode(answer) {
        Ok((Answer::Done(output), [])) => Ok(output),
        Ok((_, rest @ [_, ..])) => {
            Err(Error::decode("output", ipc::Error::LeftOver(rest.len())))
        }
        Ok((answer, [])) => Err(failure(answer, at)
            .unwrap_or_else(|| Error::decode("output", crate::dispatch::Confused))),
        Err(error) => Err(Error::decode("output", error)),
    }
}

impl<T: Task, I: Iterator<Item = T>> Iterator for Map<'_, T, I> {
    type Item = Result<T::Output, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(output) = self.outputs.next::<T>() {
                self.taken -= 1;
                return Some(output);
            }
            self.send_ahead();
            self.outputs = self.next_part()?;
        }
    }
}

impl<T: Task, I> Drop for Map<'_, T, I> {
    fn drop(&mut self) {
        let shared = &self.pool.shared;
        let mut chunks = false;
        for part in &self.parts {
            match part {
                Part::Chunk(chunk) => {
                    chunk.cancel();
                    chunks = true;
                }
                Part::Task(slot) => drop(shared.cancel(slot)),
            }
        }
        if chunks {
            shared.state().chunks_cancelled();
        }
    }
}
