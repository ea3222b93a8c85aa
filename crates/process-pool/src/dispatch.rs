//! Which worker gets which task: plain state under the lock of the pool. Nothing here waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipc::{Packet, SendHalf};

use crate::builder::Settings;
use crate::child::Child;
use crate::chunk::{Bundle, Chunk, Outcomes, Piece};
use crate::job::{Job, LARGE};
use crate::message::{Answer, BUNDLE, Board, CLAIMS, DONE, Order, PONG, SKIPPED, TIMES};
use crate::metrics::Counts;
use crate::queue::Queue;
use crate::slot::{Outcome, Rest, Slot};
use crate::trace::Span;
use crate::{At, Error, os};

#[cfg(test)]
mod tests;

/// The least that is kept under way to a worker: while it runs one task, the next one is there.
const WINDOW: u32 = 2;
/// The most messages under way to a worker.
const WIDEST: u32 = 1024;
/// As many messages are under way as keep a worker busy for so long: many times what it takes
/// to wake a process.
const AHEAD: Duration = Duration::from_micros(500);

/// How long the clock sleeps at least: a limit of no time at all would keep it awake.
const LEAST: Duration = Duration::from_millis(1);

/// The way to one process. Its replacement has another.
pub(crate) struct Line {
    pub(crate) out: SendHalf,
    pub(crate) board: Board,
    pub(crate) child: Child,
    /// The task that ran too long, counted from 1; 0 for none.
    pub(crate) overdue: AtomicU64,
    /// It was told to end.
    pub(crate) retired: AtomicBool,
}

impl Line {
    pub(crate) fn new(out: SendHalf, board: Board, child: Child) -> Self {
        Self { out, board, child, overdue: AtomicU64::new(0), retired: AtomicBool::new(false) }
    }

    pub(crate) fn say(&self, order: &Order<()>) {
        let order = Packet::encode(order).expect("it is a word");
        // A worker that is gone shows as the end of its answers.
        let _ = self.out.send(&order);
    }
}

/// What is to be sent, when the lock is released. The messages to a worker are numbered here:
/// they must be sent in this order. So the thread beside the worker sends them, and another one no
/// more than a single message, to a worker that idles, and says nothing before it has that.
pub(crate) enum Send {
    Job(Arc<Line>, Job),
    Ping(Arc<Line>),
    Bye(Arc<Line>),
    /// To the threads of the workers that rest: some are to start processes again.
    Wake,
    /// To the clock: there is something new to keep time of.
    Look,
}

/// What has ended, to be told when the lock is released.
pub(crate) enum End {
    Task(Arc<Slot>, Outcome),
    Piece(Arc<Chunk>, Piece),
    All(Job, Error),
    Traced(Span),
}

pub(crate) enum Phase {
    Open,
    /// No more tasks come; those here are run.
    Closing,
    /// All tasks have ended, and the workers end.
    Ended,
    /// The pool is dropped: whatever has not ended is cancelled.
    Cancelled,
    Broken(Arc<Error>),
}

impl Phase {
    /// What becomes of a task now that the pool has ended; none while it runs.
    pub(crate) fn over(&self) -> Option<Error> {
        match self {
            Self::Open | Self::Closing => None,
            Self::Ended | Self::Cancelled => Some(Error::Cancelled),
            Self::Broken(cause) => Some(Error::Broken(cause.clone())),
        }
    }
}

pub(crate) struct State {
    queue: Queue,
    /// All that there ever were.
    pub(crate) workers: Vec<Worker>,
    /// How many of them there are to be: those behind get no more work, and end.
    pub(crate) size: usize,
    /// Idle workers; the first one gets the next task. That is the one that has been idle
    /// longest: fresh tasks spread over all. Where idle ones end it is the last one to have
    /// worked: little work leaves the others idle.
    idle: VecDeque<usize>,
    /// Workers whose processes have ended for want of work.
    resting: Vec<usize>,
    /// The clock looks when the time of the next idle worker is over, or before.
    idle_watched: bool,
    pub(crate) phase: Phase,
    /// The shortest time that a task was ever allowed.
    shortest: Option<Duration>,
    /// The clock does not sleep for ever.
    clock_runs: bool,
    /// Workers that died since the last answer of any of them.
    pub(crate) deaths: u32,
    pub(crate) replaced: usize,
    pub(crate) retired: usize,
}

pub(crate) struct Worker {
    /// A thread is beside it.
    pub(crate) served: bool,
    pub(crate) line: Option<Arc<Line>>,
    flights: VecDeque<Flight>,
    /// The number of the next task sent.
    next: u64,
    under_way: u32,
    bytes: usize,
    /// Bundles received.
    bundles: u32,
    /// The mean time between two answers, while there is work: none before the first.
    pace: Option<Duration>,
    /// The last answer, the end of idleness, or the word to end.
    since: Instant,
    /// Of the task whose answer comes next, if the pool is traced.
    times: Option<Vec<u64>>,
    pub(crate) counts: Counts,
}

/// A message under way to a worker, which will answer it.
struct Flight {
    /// The number of its first task.
    number: u64,
    /// Its tasks, of which none, some or all were taken back.
    tasks: u32,
    /// The first task of the chunk that it is.
    first: u32,
    size: usize,
    /// What has not been answered and not been taken back.
    job: Option<Job>,
}

/// The worker says what no worker says.
#[derive(Debug, thiserror::Error)]
#[error("an answer that fits no task")]
pub(crate) struct Confused;

impl Worker {
    pub(crate) fn new() -> Self {
        Self {
            served: false,
            line: None,
            flights: VecDeque::new(),
            next: 0,
            under_way: 0,
            bytes: 0,
            bundles: 0,
            pace: None,
            since: Instant::now(),
            times: None,
            counts: Counts::default(),
        }
    }

    /// A new process, which has been sent nothing.
    pub(crate) fn connect(&mut self, line: Arc<Line>) {
        *self = Self { served: true, line: Some(line), counts: self.counts, ..Self::new() };
        self.counts.since_start = 0;
    }

    fn line(&self) -> &Arc<Line> {
        self.line.as_ref().expect("a worker with work has a line")
    }

    fn send(&mut self, job: Job) -> Send {
        let (tasks, size) = (job.len(), job.size());
        let first = match &job {
            Job::Task(_) => 0,
            Job::Chunk(_, tasks) => tasks.start,
        };
        if self.flights.is_empty() {
            self.since = Instant::now();
        }
        let flight = Flight { number: self.next, tasks, first, size, job: Some(job.clone()) };
        self.flights.push_back(flight);
        self.next += u64::from(tasks);
        self.under_way += tasks;
        self.bytes += size;
        self.counts.sent += size as u64;
        self.counts.since_start += u64::from(tasks);
        Send::Job(self.line().clone(), job)
    }

    /// How long it has had work and said nothing.
    pub(crate) fn silent(&self) -> Option<Duration> {
        (!self.flights.is_empty()).then(|| self.since.elapsed())
    }

    /// How many more tasks the worker may be sent.
    fn room(&self, settings: &Settings) -> u32 {
        let board = CLAIMS - self.under_way;
        let life = settings.max_tasks.map(|most| most - self.counts.since_start);
        life.and_then(|life| u32::try_from(life).ok()).map_or(board, |life| board.min(life))
    }

    fn land(&mut self) -> Option<Flight> {
        let flight = self.flights.pop_front()?;
        self.under_way -= flight.tasks;
        self.bytes -= flight.size;
        Some(flight)
    }

    /// How many messages may be under way.
    fn window(&self, settings: &Settings) -> usize {
        settings.window.unwrap_or_else(|| {
            let pace = self.pace.map_or(u128::MAX, |pace| pace.as_nanos().max(1));
            let ahead = u32::try_from(AHEAD.as_nanos() / pace).unwrap_or(WIDEST);
            ahead.clamp(WINDOW, WIDEST) as usize
        })
    }

    /// What a message of the worker ends, if it ends something.
    fn landed(
        &mut self,
        worker: usize,
        answer: Packet,
        ends: &mut Vec<End>,
    ) -> Result<(), Confused> {
        let pid = self.line().child.pid();
        let at = |task| At { worker, pid, task };
        self.counts.received += answer.bytes().len() as u64;
        match answer.bytes().first() {
            Some(&BUNDLE) => {
                let bundle = Bundle::read(answer).ok_or(Confused)?;
                let (count, last) = (bundle.count, bundle.last);
                self.bundles = self.bundles.wrapping_add(1);
                self.counts.tasks += u64::from(count);
                let flight = self.flights.front_mut().ok_or(Confused)?;
                match &mut flight.job {
                    Some(Job::Chunk(chunk, tasks)) if tasks.len() >= count as usize => {
                        let first = tasks.start;
                        tasks.start += count;
                        let at = at(chunk.first_id + u64::from(first));
                        let outcomes = Outcomes::Bundle(bundle, at);
                        let times = self.times.take();
                        let span = |times| Span { at, chunk: Some(count), times };
                        ends.extend(times.map(|times| End::Traced(span(times))));
                        if count > 0 {
                            let piece = Piece { first, count, outcomes };
                            ends.push(End::Piece(chunk.clone(), piece));
                        }
                        if last && tasks.start < tasks.end {
                            return Err(Confused);
                        }
                    }
                    None if count == 0 => {}
                    _ => return Err(Confused),
                }
                if last {
                    self.land();
                }
            }
            Some(&TIMES) => match postcard::from_bytes(answer.bytes()) {
                Ok(Answer::<()>::Times(times)) => self.times = Some(times),
                _ => return Err(Confused),
            },
            Some(&SKIPPED | &PONG) => {
                if self.land().ok_or(Confused)?.job.is_some_and(|job| !job.is_over()) {
                    return Err(Confused);
                }
            }
            _ => {
                self.counts.tasks += 1;
                let flight = self.flights.front_mut().ok_or(Confused)?;
                match &mut flight.job {
                    Some(Job::Task(slot)) => {
                        let at = at(slot.id);
                        let outcome = outcome(answer, at)?;
                        let times = self.times.take();
                        let span = |times| Span { at, chunk: None, times };
                        ends.extend(times.map(|times| End::Traced(span(times))));
                        ends.push(End::Task(slot.clone(), outcome));
                        self.land();
                    }
                    Some(Job::Chunk(chunk, tasks)) if tasks.start < tasks.end => {
                        let first = tasks.start;
                        tasks.start += 1;
                        let at = at(chunk.first_id + u64::from(first));
                        let outcomes = Outcomes::All(outcome(answer, at)?);
                        let times = self.times.take();
                        let span = |times| Span { at, chunk: Some(1), times };
                        ends.extend(times.map(|times| End::Traced(span(times))));
                        let piece = Piece { first, count: 1, outcomes };
                        ends.push(End::Piece(chunk.clone(), piece));
                    }
                    _ => return Err(Confused),
                }
            }
        }
        Ok(())
    }

    /// Tasks that another worker could have: all but the one that runs, or is the next to run.
    fn spare(&self) -> u32 {
        let tasks = |flight: &Flight| flight.job.as_ref().map_or(0, Job::len);
        let spare: u32 = self.flights.iter().map(tasks).sum();
        spare.saturating_sub(self.flights.front().map_or(0, |front| tasks(front).min(1)))
    }

    /// Takes back at most `count` tasks that have not begun, the last ones first. The next one to
    /// run stays: it is as good as begun.
    fn take_back(&mut self, count: u32) -> Vec<Job> {
        self.take_back_but(1, count, |_| true)
    }

    /// Takes back all tasks that have not begun, of jobs that `which` is true of.
    fn take_back_all(&mut self, which: impl Fn(&Job) -> bool) -> Vec<Job> {
        self.take_back_but(0, u32::MAX, which)
    }

    /// So many of the first message stay.
    fn take_back_but(
        &mut self,
        stay: u32,
        mut count: u32,
        which: impl Fn(&Job) -> bool,
    ) -> Vec<Job> {
        let mut taken = Vec::new();
        let Some(line) = self.line.clone() else { return taken };
        for (place, flight) in self.flights.iter_mut().enumerate().rev() {
            let Some(job) = flight.job.as_mut().filter(|job| which(job)) else { continue };
            let first = match &job {
                Job::Task(_) => 0,
                Job::Chunk(_, tasks) => tasks.start - flight.first,
            };
            let len = job.len();
            let stay = if place == 0 { stay } else { 0 };
            let most = count.min(len.saturating_sub(stay));
            let number = |task: u32| flight.number + u64::from(first + len - 1 - task);
            let free = (0..most).take_while(|&task| line.board.take_back(number(task)));
            let free = u32::try_from(free.count()).expect("at most a chunk");
            if free == len {
                taken.extend(flight.job.take());
            } else if free > 0 {
                taken.push(job.split_off(len - free));
            }
            count -= free;
            if free < most || count == 0 {
                break;
            }
        }
        taken.iter().for_each(Job::take_back);
        taken
    }
}

/// What a message says of one task.
pub(crate) fn outcome(answer: Packet, at: At) -> Result<Outcome, Confused> {
    if answer.bytes().first() == Some(&DONE) {
        return Ok(Ok(answer));
    }
    let answer: Answer<()> = postcard::from_bytes(answer.bytes()).map_err(|_| Confused)?;
    Ok(Err(failure(answer, at).ok_or(Confused)?.into()))
}

/// The error that an answer is.
pub(crate) fn failure<O>(answer: Answer<O>, at: At) -> Option<Error> {
    Some(match answer {
        Answer::Failed(error) => Error::Failed(error),
        Answer::Panicked(panic) => Error::Panicked {
            message: panic.message,
            place: panic.place,
            backtrace: panic.backtrace,
            at,
        },
        Answer::TaskUnreadable(error) => Error::decode("task", error),
        Answer::OutputUnsendable(error) => Error::encode("output", error),
        _ => return None,
    })
}

impl State {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            queue: Queue::default(),
            workers: (0..size).map(|_| Worker::new()).collect(),
            size,
            idle: VecDeque::new(),
            resting: Vec::new(),
            idle_watched: false,
            phase: Phase::Open,
            shortest: None,
            clock_runs: false,
            deaths: 0,
            replaced: 0,
            retired: 0,
        }
    }

    /// Whether every task has ended.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.workers.iter().all(|worker| worker.flights.is_empty())
    }

    /// Tasks and chunks that wait in the parent.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Messages under way to a worker.
    pub(crate) fn under_way(&self) -> usize {
        self.workers.iter().map(|worker| worker.flights.len()).sum()
    }

    pub(crate) fn push(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    /// From now on there are to be so many workers. Of those that are too many each ends when what
    /// it runs is done; what it has not begun goes to the others. Those that are missing are yet
    /// to [`join`](Self::join).
    pub(crate) fn resize(&mut self, size: usize, settings: &Settings, sends: &mut Vec<Send>) {
        self.size = size;
        self.workers.resize_with(size.max(self.workers.len()), Worker::new);
        for index in (size..self.workers.len()).rev() {
            let taken = self.workers[index].take_back(u32::MAX);
            taken.into_iter().for_each(|job| self.queue.push_front(job));
            if let Some(place) = self.idle.iter().position(|&idle| idle == index) {
                self.idle.remove(place);
                self.retire(index, sends);
            }
        }
        if self.resting.iter().any(|&index| index >= size) {
            self.resting.retain(|&index| index < size);
            sends.push(Send::Wake);
        }
        self.feed_idle(settings, sends);
    }

    /// The workers that have no thread, and so no process.
    pub(crate) fn missing(&self) -> Vec<usize> {
        (0..self.size).filter(|&index| !self.workers[index].served).collect()
    }

    /// A worker that was missing gets a thread, and a process that has reported for work. It is
    /// given one task, as others that idle are: not its own thread sends it.
    pub(crate) fn join(
        &mut self,
        index: usize,
        line: Arc<Line>,
        settings: &Settings,
        sends: &mut Vec<Send>,
    ) {
        self.workers[index].connect(line);
        if self.queue.front().is_none() {
            self.steal(index);
        }
        self.idles(index, settings, sends);
        self.feed_idle(settings, sends);
    }

    fn idles(&mut self, index: usize, settings: &Settings, sends: &mut Vec<Send>) {
        if settings.idle_timeout.is_none() {
            return self.idle.push_back(index);
        }
        self.idle.push_front(index);
        if !std::mem::replace(&mut self.idle_watched, true) {
            sends.push(Send::Look);
        }
    }

    /// Tells a worker without work to end.
    fn retire(&mut self, index: usize, sends: &mut Vec<Send>) {
        let worker = &mut self.workers[index];
        worker.since = Instant::now();
        worker.line().retired.store(true, Relaxed);
        sends.push(Send::Bye(worker.line().clone()));
    }

    /// The process of a worker was told to end, and has: if it is not needed, no other one is
    /// started until it is.
    pub(crate) fn rest(&mut self, index: usize, settings: &Settings) {
        let needed = self.queue.front().is_some() || self.workers.iter().any(|w| w.spare() > 0);
        if settings.idle_timeout.is_some() && index < self.size && !needed {
            self.resting.push(index);
        }
    }

    pub(crate) fn rests(&self, index: usize) -> bool {
        self.resting.contains(&index)
    }

    /// Wakes resting workers, if there are more tasks that wait than processes that start.
    fn wake(&mut self, sends: &mut Vec<Send>) {
        if self.resting.is_empty() || !self.idle.is_empty() {
            return;
        }
        let jobs = self.queue.iter().take(self.size);
        let tasks = jobs.map(|job| job.len() as usize).sum::<usize>();
        let starts = self.workers[..self.size].iter().filter(|worker| worker.starts()).count();
        let starts = starts - self.resting.len();
        for _ in starts..tasks.min(self.size) {
            if self.resting.pop().is_some() {
                sends.push(Send::Wake);
            }
        }
    }

    /// A process has reported for work; said by the thread beside it.
    pub(crate) fn ready(&mut self, index: usize, settings: &Settings, sends: &mut Vec<Send>) {
        self.workers[index].since = Instant::now();
        self.fill(index, settings, sends);
        self.feed_idle(settings, sends);
    }

    /// Gives each idle worker one of the tasks that wait, and wakes those that rest.
    pub(crate) fn feed_idle(&mut self, settings: &Settings, sends: &mut Vec<Send>) {
        while let (Some(&index), Some(job)) = (self.idle.front(), self.queue.front()) {
            if job.size() >= LARGE {
                // Sending it may wait for as long as the worker does not read. The thread beside
                // a worker does it that has shown that it reads: the first of all who idle.
                self.idle.pop_front();
                let worker = &mut self.workers[index];
                let number = worker.next;
                let ping = Flight { number, tasks: 0, first: 0, size: 0, job: None };
                worker.flights.push_back(ping);
                worker.since = Instant::now();
                sends.push(Send::Ping(worker.line().clone()));
                continue;
            }
            // A chunk is divided among all who are idle or rest: none of them would ask for it
            // later.
            let idle = self.idle.len() + self.resting.len();
            let idle = u32::try_from(idle).unwrap_or(u32::MAX);
            let share = job.len().div_ceil(idle);
            let room = self.workers[index].room(settings).min(share);
            if let Some(job) = self.next(room) {
                self.idle.pop_front();
                sends.push(self.workers[index].send(job));
            }
        }
        self.wake(sends);
    }

    /// Gives a worker as much as its window has room for. With nothing to do it takes work that
    /// another has not begun: no worker idles while a task waits, wherever it waits.
    pub(crate) fn fill(&mut self, index: usize, settings: &Settings, sends: &mut Vec<Send>) {
        if self.workers[index].line().overdue.load(Relaxed) > 0 {
            return;
        }
        // In a pool that has ended nobody takes what another has: whatever waits was given up, and
        // what would wait again now would do so for ever.
        if self.phase.over().is_some() {
            return;
        }
        let stays = index < self.size;
        let window = if stays { self.workers[index].window(settings) } else { 0 };
        while let Some(job) = self.queue.front().filter(|_| stays) {
            let worker = &self.workers[index];
            let room = worker.room(settings);
            let fits = worker.flights.len() < window
                && worker.bytes + job.size() <= LARGE
                && job.len() <= room;
            if room == 0 || !(fits || worker.flights.is_empty()) {
                break;
            }
            if let Some(job) = self.next(room) {
                sends.push(self.workers[index].send(job));
            }
        }
        let worker = &self.workers[index];
        if !worker.flights.is_empty() {
            return;
        }
        if !stays || worker.room(settings) == 0 {
            self.retire(index, sends);
        } else if self.steal(index) {
            self.fill(index, settings, sends);
        } else {
            self.idles(index, settings, sends);
        }
    }

    /// The first job that waits, at most `room` tasks of it; none when it was cancelled.
    fn next(&mut self, room: u32) -> Option<Job> {
        let mut job = self.queue.pop()?;
        if job.len() > room {
            let rest = job.split_off(room);
            self.queue.push_front(rest);
        }
        Some(job)
    }

    /// Half of what the busiest worker has not begun waits again; false when there is nothing.
    fn steal(&mut self, thief: usize) -> bool {
        let victim = self.workers.iter_mut().enumerate().filter(|(index, _)| *index != thief);
        let victim = victim.map(|(_, worker)| (worker.spare(), worker));
        let Some((spare, victim)) = victim.max_by_key(|(spare, _)| *spare) else {
            return false;
        };
        let taken = victim.take_back(spare.div_ceil(2));
        let any = !taken.is_empty();
        taken.into_iter().for_each(|job| self.queue.push_front(job));
        any
    }

    /// Cancels a task that waits, or that its worker has not begun.
    pub(crate) fn cancel(&mut self, slot: &Arc<Slot>) -> Option<Rest> {
        if let Some(rest) = slot.cancel() {
            self.queue.task_cancelled();
            return Some(rest);
        }
        let is_it = |job: &Job| matches!(job, Job::Task(other) if Arc::ptr_eq(other, slot));
        let taken =
            self.workers.iter_mut().find_map(|worker| worker.take_back_all(is_it).pop());
        taken.and_then(|_| slot.cancel())
    }

    /// What workers have not begun waits in front of all others, and then ends with them.
    pub(crate) fn cancel_pending(&mut self, ends: &mut Vec<End>) {
        for worker in &mut self.workers {
            let taken = worker.take_back_all(|_| true);
            taken.into_iter().for_each(|job| self.queue.push_front(job));
        }
        self.give_up(&Error::Cancelled, ends);
    }

    /// Some chunks were cancelled: nobody waits for what becomes of them.
    pub(crate) fn chunks_cancelled(&mut self) {
        self.queue.chunks_cancelled();
        for worker in &mut self.workers {
            worker.take_back_all(Job::is_cancelled_chunk);
        }
    }

    /// What a worker said; then it gets more to do.
    pub(crate) fn landed(
        &mut self,
        index: usize,
        answers: &mut Vec<Packet>,
        settings: &Settings,
        ends: &mut Vec<End>,
        sends: &mut Vec<Send>,
    ) -> Result<(), Confused> {
        self.deaths = 0;
        let worker = &mut self.workers[index];
        let messages = u32::try_from(answers.len()).unwrap_or(u32::MAX);
        for answer in answers.drain(..) {
            worker.landed(index, answer, ends)?;
        }
        let now = Instant::now();
        let pace = (now - worker.since) / messages.max(1);
        worker.pace = Some(worker.pace.map_or(pace, |before| (before + pace) / 2));
        worker.since = now;
        self.fill(index, settings, sends);
        self.feed_idle(settings, sends);
        Ok(())
    }

    /// A worker has died, and its last word has been heard: what it had not begun waits again,
    /// and what it had begun fails.
    pub(crate) fn lost(
        &mut self,
        index: usize,
        line: &Line,
        error: impl Fn(At, Option<Duration>) -> Error,
        ends: &mut Vec<End>,
    ) {
        self.idle.retain(|&idle| idle != index);
        let worker = &mut self.workers[index];
        let (pid, board) = (line.child.pid(), &line.board);
        let at = |task| At { worker: index, pid, task };
        // What a task fails with that ran when the worker died.
        let overdue = line.overdue.load(Relaxed);
        let failed = |number: u64, job: &Job| {
            let time_out = job.time_out().filter(|_| overdue == number + 1);
            error(at(job.id()), time_out)
        };
        let mut record = Some(board.recorded(worker.bundles)).and_then(Bundle::salvage);
        let mut again = Vec::new();
        for Flight { number, first, job, .. } in std::mem::take(&mut worker.flights) {
            match job {
                Some(Job::Task(slot)) => {
                    let job = Job::Task(slot.clone());
                    if board.has_begun(number) && (overdue == number + 1 || !slot.retry()) {
                        ends.push(End::Task(slot, Err(failed(number, &job).into())));
                    } else {
                        job.take_back();
                        again.push(job);
                    }
                }
                Some(Job::Chunk(chunk, mut tasks)) => {
                    if let Some(bundle) = record.take()
                        && (1..=tasks.len()).contains(&(bundle.count as usize))
                    {
                        let (first, count) = (tasks.start, bundle.count);
                        let at = at(chunk.first_id + u64::from(first));
                        let outcomes = Outcomes::Bundle(bundle, at);
                        ends.push(End::Piece(chunk.clone(), Piece { first, count, outcomes }));
                        tasks.start += count;
                    }
                    let number = number + u64::from(tasks.start - first);
                    if tasks.start < tasks.end
                        && board.has_begun(number)
                        && (overdue == number + 1 || !chunk.retry(tasks.start))
                    {
                        let ran = Job::Chunk(chunk.clone(), tasks.start..tasks.start + 1);
                        let error = failed(number, &ran);
                        ends.push(End::All(ran, error));
                        tasks.start += 1;
                    }
                    if tasks.start < tasks.end {
                        again.push(Job::Chunk(chunk, tasks));
                    }
                }
                None => {}
            }
        }
        worker.line = None;
        again.into_iter().rev().for_each(|job| self.queue.push_front(job));
    }

    /// Everything that one worker has ends with one error.
    pub(crate) fn fail_all(&mut self, index: usize, error: &Error, ends: &mut Vec<End>) {
        let jobs = self.workers[index].flights.drain(..).filter_map(|flight| flight.job);
        ends.extend(jobs.map(|job| End::All(job, error.clone())));
    }

    /// Everything that waits does.
    pub(crate) fn give_up(&mut self, error: &Error, ends: &mut Vec<End>) {
        let jobs = self.queue.drain();
        ends.extend(jobs.into_iter().map(|job| End::All(job, error.clone())));
    }

    /// A task with a limit was handed in: whether the clock has to look earlier than it would.
    pub(crate) fn needs_clock(&mut self, limit: Duration) -> bool {
        let shorter = self.shortest.is_none_or(|shortest| limit < shortest);
        if shorter {
            self.shortest = Some(limit);
        }
        !std::mem::replace(&mut self.clock_runs, true) || shorter
    }

    /// Kills the workers whose tasks have run for too long, or that do not end, and ends those that
    /// have idled for too long. In how long the next limit may be reached; none when there is
    /// none. A task that is sent meanwhile has a limit at least as long as the shortest ever
    /// seen: to look that often is enough.
    pub(crate) fn next_look(
        &mut self,
        settings: &Settings,
        sends: &mut Vec<Send>,
    ) -> Option<Duration> {
        let stuck = self.workers.iter().filter(|worker| worker.is_stuck(settings));
        stuck.for_each(|worker| worker.line().child.kill());
        let ends: Vec<_> =
            (0..self.workers.len()).filter_map(|index| self.kill_if_late(index)).collect();
        let next = ends.into_iter().min();
        self.clock_runs = next.is_some() || !self.queue.is_empty();
        let left = next.map(|next| Duration::from_nanos(next.saturating_sub(os::now())));
        let shortest = self.shortest.filter(|_| self.clock_runs);
        let idle = settings.idle_timeout.and_then(|time_out| self.end_idle(time_out, sends));
        let ends = self.workers.iter().filter_map(|worker| worker.ends_within(settings.grace));
        let ends = ends.filter(|left| !left.is_zero()).min();
        let next = [left, shortest, idle, ends].into_iter().flatten().min();
        next.map(|next| next.max(LEAST))
    }

    /// Tells the workers to end that have idled for so long. In how long the next one will have.
    fn end_idle(&mut self, time_out: Duration, sends: &mut Vec<Send>) -> Option<Duration> {
        while let Some(&index) = self.idle.back() {
            let left = time_out.saturating_sub(self.workers[index].since.elapsed());
            if !left.is_zero() {
                return Some(left);
            }
            self.idle.pop_back();
            self.retire(index, sends);
        }
        self.idle_watched = false;
        None
    }

    /// Kills a worker whose task has run for too long. When to look again, on the clock of
    /// [`os::now`]; none while no task of the worker has a limit.
    fn kill_if_late(&mut self, index: usize) -> Option<u64> {
        let now = os::now();
        let (number, end) = match self.workers[index].limit(now)? {
            Limit::Of(number, end) if end <= now => (number, end),
            Limit::Of(_, end) | Limit::NotBefore(end) => return Some(end),
        };
        // Nothing else may begin before the kill arrives: it would die in the place of this one.
        let others = self.workers[index].take_back(u32::MAX);
        others.into_iter().for_each(|job| self.queue.push_front(job));
        let worker = &self.workers[index];
        match worker.limit(now)? {
            Limit::Of(still, _) if still == number => {
                worker.line().overdue.store(number + 1, Relaxed);
                worker.line().child.kill();
                None
            }
            Limit::Of(..) | Limit::NotBefore(_) => Some(end),
        }
    }
}

/// How long the task may run that a worker runs.
enum Limit {
    /// The number of the task, and the end of its time.
    Of(u64, u64),
    /// None has begun. Its time will not be over before this.
    NotBefore(u64),
}

impl Worker {
    /// It has no process that could be given work, and will have one.
    fn starts(&self) -> bool {
        self.flights.is_empty() && self.ends_within(Duration::ZERO).is_none()
    }

    /// How long a worker that was told to end may still take.
    fn ends_within(&self, grace: Duration) -> Option<Duration> {
        let told = self.line.as_ref().is_some_and(|line| line.retired.load(Relaxed));
        told.then(|| grace.saturating_sub(self.since.elapsed()))
    }

    /// Whether it does not end as told; or does not begin what it has, for as long as a process
    /// may take to start: it is stopped, say. No limit of a task would ever be reached.
    fn is_stuck(&self, settings: &Settings) -> bool {
        if let Some(left) = self.ends_within(settings.grace) {
            return left.is_zero();
        }
        let Some(line) = &self.line else { return false };
        let begun =
            |flight: &Flight| flight.job.is_some() && line.board.has_begun(flight.number);
        !self.flights.is_empty()
            && self.since.elapsed() >= settings.start_deadline
            && !self.flights.iter().any(begun)
    }

    fn limit(&self, now: u64) -> Option<Limit> {
        let line = self.line.as_ref().filter(|line| line.overdue.load(Relaxed) == 0)?;
        let limits = self.flights.iter().filter_map(|flight| flight.job.as_ref()?.time_out());
        let shortest = nanos(limits.min()?);
        // The last one that has begun: what came before it is done, if not heard of yet.
        let running = self.flights.iter().rev().find_map(|flight| {
            let job = flight.job.as_ref()?;
            let first = match job {
                Job::Task(_) => 0,
                Job::Chunk(_, tasks) => tasks.start - flight.first,
            };
            let numbers =
                (first..first + job.len()).map(|task| flight.number + u64::from(task));
            let number = numbers.take_while(|&number| line.board.has_begun(number)).last()?;
            Some((number, job.time_out()))
        });
        Some(match running {
            Some((number, Some(limit))) => {
                Limit::Of(number, line.board.began().saturating_add(nanos(limit)))
            }
            // None runs, or one that may for ever.
            Some((_, None)) | None => Limit::NotBefore(now.saturating_add(shortest)),
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
