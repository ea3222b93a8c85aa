use crate::Schedule;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use timeline::{HandOver, Lane, Span, State, Timeline};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// In order of time. It prints as the trace, one event a line.
    pub events: Vec<Event>,
    /// When the last thread ended, or when the scenario says that the run is over.
    pub end: Duration,
    /// How many events of the clock it took: stretches on a core, sleeps, wake-ups.
    pub steps: u64,
    pub(crate) threads: Vec<Named>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub process: usize,
    pub process_name: String,
    pub name: String,
    /// Whether its process has a lock.
    pub locks: bool,
    /// How long it waits for the lock until it asks.
    pub interval: Duration,
}

/// One thing that a thread did, or that happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// In nanoseconds from the start of the run.
    pub at: u64,
    /// Which thread: threads are numbered from 0, through all processes.
    pub thread: usize,
    /// What.
    pub what: What,
}

/// What an [`Event`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It wants the lock, another thread has it, and its interval begins.
    Wait,
    /// Its interval passed: it asks for the lock, and the next interval begins.
    Ask,
    /// It has the lock.
    Take {
        /// The last one to have it was another thread, or nobody.
        switch: bool,
    },
    /// It releases the lock.
    Drop {
        /// It was asked to.
        requested: bool,
    },
    /// It waits until another thread had the lock.
    Force,
    /// A release wakes it.
    Signal,
    /// It begins, where no lock is needed for it, or goes on there.
    Go,
    /// It runs native code without the lock.
    Native,
    /// It waits for the world outside.
    Io,
    /// What it waited for is there.
    Answer,
    /// Its slice is over and another thread has its core.
    Preempt,
    /// It has a core again after that.
    Resume,
    /// It read this from the counter.
    Read(u64),
    /// It wrote this to the counter.
    Write(u64),
    /// It is done.
    End,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            What::Wait => "waits for the lock",
            What::Ask => "asks for the lock",
            What::Take { switch: true } => "takes the lock",
            What::Take { switch: false } => "takes the lock again",
            What::Drop { requested: true } => "drops the lock on request",
            What::Drop { requested: false } => "drops the lock",
            What::Force => "waits for the switch",
            What::Signal => "is signalled",
            What::Go => "runs",
            What::Native => "runs native code",
            What::Io => "waits for an answer",
            What::Answer => "is answered",
            What::Preempt => "loses its core",
            What::Resume => "has a core again",
            What::Read(value) => return write!(f, "reads {value}"),
            What::Write(value) => return write!(f, "writes {value}"),
            What::End => "ends",
        };
        f.write_str(words)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.threads.iter().map(|thread| thread.name.chars().count()).max();
        let width = width.unwrap_or(0);
        for event in &self.events {
            let (ms, rest) = (event.at / 1_000_000, event.at % 1_000_000);
            let name = &self.threads[event.thread].name;
            writeln!(f, "{ms:>5}.{rest:06} ms  {name:width$}  {}", event.what)?;
        }
        Ok(())
    }
}

impl Run {
    /// Who was where when. A holder of the lock runs even while it has no core; a thread
    /// without the lock that waits for a core leaves a gap.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let timeline = Timeline::new();
        let lane = |thread: &Named| timeline.lane(&thread.process_name, &thread.name);
        let mut pens: Vec<Pen> =
            self.threads.iter().map(|thread| Pen::new(lane(thread))).collect();
        for event in &self.events {
            let pen = &mut pens[event.thread];
            let at = Duration::from_nanos(event.at);
            match event.what {
                What::Wait => pen.draw(at, Some(State::WaitForLock)),
                What::Take { .. } | What::Go => pen.draw(at, Some(State::Run)),
                What::Force => pen.draw(at, Some(State::ForcedWait)),
                What::Native => pen.draw(at, Some(State::Native)),
                What::Io => pen.draw(at, Some(State::Io)),
                What::Drop { .. } | What::Answer | What::End => pen.draw(at, None),
                What::Preempt => {
                    let holds =
                        self.threads[event.thread].locks && pen.state == Some(State::Run);
                    pen.lifted = pen.state;
                    pen.draw(at, pen.state.filter(|_| holds));
                }
                What::Resume => pen.draw(at, pen.lifted),
                What::Ask => pen.lane.push_request(at, self.threads[event.thread].interval),
                What::Signal | What::Read(_) | What::Write(_) => {}
            }
        }
        pens.into_iter().for_each(|mut pen| pen.draw(self.end, None));
        timeline.set_hand_overs(self.hand_overs());
        timeline
    }

    /// Every switch of a lock but its first, which comes from nobody.
    fn hand_overs(&self) -> Vec<HandOver> {
        let mut drops = HashMap::new();
        let mut hand_overs = Vec::new();
        for &Event { at, thread, what } in &self.events {
            let process = self.threads[thread].process;
            let at = Duration::from_nanos(at);
            match what {
                What::Take { switch: true } => {
                    let drop = drops.get(&process);
                    hand_overs.extend(drop.map(|&(from, given)| HandOver {
                        from,
                        to: thread,
                        given,
                        at,
                    }));
                }
                What::Drop { .. } => _ = drops.insert(process, (thread, at)),
                _ => {}
            }
        }
        hand_overs
    }

    /// How long the lock of a process, by its number from 0, stayed with one thread: from each
    /// switch to the last release before the next switch. The turn at the end of the run is not
    /// among them.
    #[must_use]
    pub fn turns(&self, process: usize) -> Vec<Duration> {
        let mut turns = Vec::new();
        let (mut taken, mut dropped) = (None, 0);
        for event in self.of_process(process) {
            match event.what {
                What::Take { switch: true } => {
                    if let Some(taken) = taken.replace(event.at) {
                        turns.push(Duration::from_nanos(dropped - taken));
                    }
                }
                What::Drop { .. } => dropped = event.at,
                _ => {}
            }
        }
        turns
    }

    /// How long a thread, by its number from 0, took from each answer of the world outside to
    /// running again, with the lock where there is one.
    #[must_use]
    pub fn wake_ups(&self, thread: usize) -> Vec<Duration> {
        let mut wake_ups = Vec::new();
        let mut answered = None;
        for event in self.events.iter().filter(|event| event.thread == thread) {
            match event.what {
                What::Answer => answered = Some(event.at),
                What::Take { .. } | What::Go => {
                    let waited = answered.take().map(|answered| event.at - answered);
                    wake_ups.extend(waited.map(Duration::from_nanos));
                }
                _ => {}
            }
        }
        wake_ups
    }

    /// How many increments of the counter of a process, by its number from 0, are missing in it:
    /// how far it is behind the number of writes, each of which is to add 1.
    #[must_use]
    pub fn lost_updates(&self, process: usize) -> u64 {
        let (mut updates, mut counter) = (0_u64, 0);
        for event in self.of_process(process) {
            if let What::Write(value) = event.what {
                updates += 1;
                counter = value;
            }
        }
        updates.saturating_sub(counter)
    }

    /// Which waiters were woken, in order: a scenario with this schedule and the seed of this
    /// one runs the same way.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        let woken = self.events.iter().filter(|event| event.what == What::Signal);
        Schedule(woken.map(|event| self.threads[event.thread].name.clone()).collect())
    }

    fn of_process(&self, process: usize) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| self.threads[event.thread].process == process)
    }
}

/// Draws the spans of a thread.
struct Pen {
    lane: Lane,
    state: Option<State>,
    since: Duration,
    /// What it drew before it was preempted.
    lifted: Option<State>,
}

impl Pen {
    fn new(lane: Lane) -> Self {
        Pen { lane, state: None, since: Duration::ZERO, lifted: None }
    }

    /// Goes on in another state. A turn that is over as it begins had the lock all the same;
    /// other spans without a length are left out.
    fn draw(&mut self, at: Duration, next: Option<State>) {
        if self.state != next {
            if let Some(state) =
                self.state.filter(|state| *state == State::Run || self.since < at)
            {
                self.lane.push(Span { state, start: self.since, end: at });
            }
            (self.state, self.since) = (next, at);
        }
    }
}
