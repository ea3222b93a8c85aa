//! The thread beside a worker: it waits for what the worker says, ends futures, hands more work
//! over, and starts another process when this one has ended and there is use for one. It sleeps
//! in the operating system meanwhile; nothing polls.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ipc::{Packet, RecvHalf};

use crate::dispatch::{Line, Phase, State};
use crate::message::{Answer, DONE, LOG};
use crate::shared::{Shared, Started};
use crate::{At, Death, Ended, Error, Policy, Record, Remote, call, dispatch};

/// The most answers that are handled under one lock.
const BATCH: usize = 256;

pub(crate) struct Collector {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
}

impl Collector {
    pub(crate) fn run(self, line: Arc<Line>, input: RecvHalf) {
        let mut process = Some((line, input));
        while let Some((line, input)) = process {
            let why = self.collect(input);
            self.follow(&line, &why);
            drop(line);
            process = self.next();
        }
    }

    /// The next process of the worker, ready, when it is to have one. None when it never is.
    fn next(&self) -> Option<Started> {
        while self.stays() {
            let Some(process) = self.replace() else { continue };
            let mut sends = Vec::new();
            self.shared.state().ready(self.index, &self.shared.settings, &mut sends);
            self.shared.send(sends);
            // If all that waited was cancelled, nothing else will say that it is over.
            self.shared.quiet.notify_all();
            return Some(process);
        }
        None
    }

    /// Waits while the worker rests. False when its pool has ended, or has become smaller: this
    /// thread is none of the pool's any more.
    fn stays(&self) -> bool {
        let mut state = self.shared.state();
        loop {
            if !goes_on(&state) || self.index >= state.size {
                state.workers[self.index].served = false;
                self.shared.quiet.notify_all();
                return false;
            }
            if !state.rests(self.index) {
                return true;
            }
            state = self.shared.wake.wait(state).expect("no panic while the pool is locked");
        }
    }

    /// Until the worker says no more.
    fn collect(&self, mut input: RecvHalf) -> ipc::Error {
        let mut answers = Vec::new();
        loop {
            match input.recv() {
                Ok(answer) => answers.push(answer),
                Err(error) => return error,
            }
            // What is there already comes without a word to the operating system. An error
            // comes again with the next wait.
            while answers.len() < BATCH
                && let Ok(Some(answer)) = input.try_recv()
            {
                answers.push(answer);
            }
            if let Err(confused) = self.landed(&mut answers) {
                return ipc::Error::from(std::io::Error::other(confused));
            }
        }
    }

    fn landed(&self, answers: &mut Vec<Packet>) -> Result<(), dispatch::Confused> {
        let settings = &self.shared.settings;
        answers.retain(|answer| !is_log(answer, self.index, &self.shared));
        if answers.is_empty() {
            return Ok(());
        }
        let (mut ends, mut sends) = (Vec::new(), Vec::new());
        let (landed, quiet) = {
            let mut state = self.shared.state();
            let landed = state.landed(self.index, answers, settings, &mut ends, &mut sends);
            (landed, matches!(state.phase, Phase::Closing) && state.is_quiet())
        };
        // First the work, then the words.
        self.shared.send(sends);
        self.shared.tell(ends);
        if quiet {
            self.shared.quiet.notify_all();
        }
        landed
    }

    /// The worker is gone: what it had begun fails, and what it had not begun goes elsewhere.
    fn follow(&self, line: &Line, why: &ipc::Error) {
        // A connection that broke, or a worker that talks nonsense, has no place to go on from.
        let ended = line.child.reap();
        let lost = matches!(why, ipc::Error::Disconnected | ipc::Error::Truncated { .. });
        let retired = line.retired.load(Relaxed);
        let overdue = line.overdue.load(Relaxed) > 0;
        let error = |at, time_out: Option<Duration>| match time_out {
            Some(after) => Error::TimedOut { after, at },
            None if lost => Error::Died(Death { ended: ended.clone(), at }),
            None => Error::decode("output", Remote::new(why)),
        };

        let (mut ends, mut sends) = (Vec::new(), Vec::new());
        let mut state = self.shared.state();
        if let Some(error) = state.phase.over() {
            state.fail_all(self.index, &error, &mut ends);
        }
        state.lost(self.index, line, error, &mut ends);
        let goes_on = goes_on(&state);
        let died = !retired && !overdue;
        state.deaths += u32::from(died);
        let broken = goes_on
            && match self.shared.settings.policy {
                Policy::Replace { budget } => state.deaths > budget,
                Policy::Break => died,
            };
        if goes_on && !broken {
            // Counted before the task fails: who sees the failure sees that it was made good.
            if retired {
                state.retired += 1;
            } else if self.index < state.size {
                state.replaced += 1;
            }
            state.feed_idle(&self.shared.settings, &mut sends);
            if retired {
                state.rest(self.index, &self.shared.settings);
            }
        }
        drop(state);
        if broken {
            // Before its task fails: who sees the failure and hands in more finds a broken pool.
            let at = At { worker: self.index, pid: line.child.pid(), task: 0 };
            self.shared.break_down(Error::Died(Death { ended, at }));
        }
        self.shared.send(sends);
        self.shared.tell(ends);
        self.shared.quiet.notify_all();
    }

    fn replace(&self) -> Option<Started> {
        let start = || {
            loop {
                let (line, mut input) = self.shared.start(self.index)?;
                {
                    let mut state = self.shared.state();
                    if state.phase.over().is_some() {
                        return Ok(None);
                    }
                    // Before it is ready: a pool that is dropped does not wait for a slow start.
                    state.workers[self.index].connect(line.clone());
                }
                match report(self.index, &line, &mut input, &self.shared) {
                    Ok(()) => return Ok(Some((line, input))),
                    // Killed from outside, say: another one may fare better.
                    Err(error) if is_death(&error) && self.may_try_again() => {}
                    Err(error) => return Err(error),
                }
            }
        };
        start().unwrap_or_else(|error| {
            self.shared.break_down(error);
            None
        })
    }

    fn may_try_again(&self) -> bool {
        let mut state = self.shared.state();
        state.deaths += 1;
        match self.shared.settings.policy {
            Policy::Replace { budget } => state.deaths <= budget,
            Policy::Break => false,
        }
    }
}

/// Whether the pool has a use for workers.
fn goes_on(state: &State) -> bool {
    match state.phase {
        Phase::Open => true,
        Phase::Closing => !state.is_quiet(),
        _ => false,
    }
}

/// Whether a worker's message is a log record, which is handed on.
fn is_log(answer: &Packet, worker: usize, shared: &Shared) -> bool {
    if answer.bytes().first() != Some(&LOG) {
        return false;
    }
    if let Ok(Answer::<()>::Log(record)) = postcard::from_bytes(answer.bytes()) {
        call(|| (shared.settings.on_log)(Record { worker, ..record }));
    }
    true
}

/// Whether a worker died before its first task.
fn is_death(error: &Error) -> bool {
    match error {
        Error::NotReady(_) => true,
        Error::Initializer(cause) => matches!(**cause, Error::Died(_)),
        _ => false,
    }
}

/// Waits until the new process of a worker is ready for tasks.
pub(crate) fn report(
    worker: usize,
    line: &Line,
    input: &mut RecvHalf,
    shared: &Shared,
) -> Result<(), Error> {
    let settings = &shared.settings;
    let begun = std::time::Instant::now();
    line.child.ready(input, settings.start_deadline)?;
    if settings.initializer.is_none() {
        return Ok(());
    }
    let failed = |error| Err(Error::Initializer(Arc::new(error)));
    let answer = loop {
        let left = settings.start_deadline.saturating_sub(begun.elapsed());
        match input.recv_timeout(left) {
            Ok(answer) if is_log(&answer, worker, shared) => {}
            answer => break answer,
        }
    };
    match answer {
        Ok(answer) if answer.bytes().first() == Some(&DONE) => Ok(()),
        Ok(answer) => {
            let at = At { worker: 0, pid: line.child.pid(), task: 0 };
            match answer.decode::<Answer<()>>().map(|answer| dispatch::failure(answer, at)) {
                Ok(Some(error)) => failed(error),
                Ok(None) => failed(Error::decode("output", dispatch::Confused)),
                Err(error) => failed(Error::decode("output", error)),
            }
        }
        Err(ipc::Error::TimedOut) => {
            line.child.reap();
            Err(Error::Late(settings.start_deadline))
        }
        Err(ipc::Error::Disconnected | ipc::Error::Truncated { .. }) => {
            let ended: Ended = line.child.reap();
            let at = At { worker: 0, pid: line.child.pid(), task: 0 };
            failed(Error::Died(Death { ended, at }))
        }
        Err(error) => {
            line.child.reap();
            failed(Error::decode("output", error))
        }
    }
}
