//! Every interleaving of small programs.
//!
//! Time is left out: whatever order of moves some clock could bring about is tried, and the
//! outcomes are counted. A move is one instruction and the check point behind it. Under a lock
//! it is also to take the lock or, while another thread has it, to wait an interval and ask for
//! it; waiting without asking changes nothing for anybody and is no move.
//!
//! ```
//! use simulator::INCREMENT;
//! use simulator::explorer::Program;
//!
//! let program = Program {
//!     lock: None,
//!     threads: vec![("a".into(), INCREMENT.to_vec()), ("b".into(), INCREMENT.to_vec())],
//! };
//! let outcomes = program.explore()?;
//! assert_eq!((outcomes.interleavings(), outcomes.losing()), (70, 68));
//! # Ok::<(), simulator::Error>(())
//! ```

use crate::{Error, Instruction, Schedule, schedule};
use gil::rules::{Released, Rules, Take, ThreadId, Waiter};
use gil::{CheckPoints, Settings};
use std::collections::BTreeMap;
use std::mem;

/// Threads of a few instructions each, on one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The global lock, if there is one. Its interval does not matter here.
    pub lock: Option<Settings>,
    /// Each with its name.
    pub threads: Vec<(String, Vec<Instruction>)>,
}

/// What one interleaving led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How many increments are missing in the counter: how far it is behind the number of
    /// instructions that write, each of which is to add 1.
    pub lost: u64,
    /// Who moved, from the first move to the last: as a schedule, it leads here again.
    pub schedule: Schedule,
}

/// What all interleavings led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// By the number of lost updates: how many interleavings lose so many, and the first of them.
    pub by_lost: BTreeMap<u64, (u64, Schedule)>,
}

impl Outcomes {
    /// How many there are.
    #[must_use]
    pub fn interleavings(&self) -> u64 {
        self.by_lost.values().map(|(count, _)| count).sum()
    }

    /// How many of them lose an update.
    #[must_use]
    pub fn losing(&self) -> u64 {
        self.by_lost.range(1..).map(|(_, (count, _))| count).sum()
    }
}

impl Program {
    /// Runs every interleaving. Their number grows with the factorial of the instructions: two
    /// threads of four have 70, two of ten 184,756.
    ///
    /// # Errors
    ///
    /// When there is no thread, or two share a name.
    ///
    /// # Panics
    ///
    /// When an interleaving gets stuck, with its schedule: the rules do not let it happen.
    pub fn explore(&self) -> Result<Outcomes, Error> {
        self.names()?;
        let mut outcomes = Outcomes::default();
        every(|choices| {
            let (lost, moves) = self
                .play(|_, ready| Ok(ready[choices.pick(ready.len())]))
                .expect("no schedule is there to be refused");
            let first = || (0, self.schedule(&moves));
            outcomes.by_lost.entry(lost).or_insert_with(first).0 += 1;
        });
        Ok(outcomes)
    }

    /// Runs one interleaving. Behind the end of the schedule, the first thread that can move does.
    ///
    /// # Errors
    ///
    /// Those of [`explore`](Program::explore), and when the schedule names a thread that does not
    /// exist, has ended, or cannot move when its turn comes.
    pub fn run(&self, schedule: &Schedule) -> Result<Outcome, Error> {
        let names = self.names()?;
        let schedule = schedule.resolve(&names)?;
        let (lost, moves) = self.play(|moves, ready| match schedule.get(moves) {
            None => Ok(ready[0]),
            Some(thread) if ready.contains(thread) => Ok(*thread),
            Some(thread) => Err(*thread),
        })?;
        match schedule.get(moves.len()) {
            Some(thread) => Err(schedule::refused(moves.len(), names[*thread], true, &[])),
            None => Ok(Outcome { lost, schedule: self.schedule(&moves) }),
        }
    }

    fn schedule(&self, moves: &[usize]) -> Schedule {
        Schedule(moves.iter().map(|me| self.threads[*me].0.clone()).collect())
    }

    fn names(&self) -> Result<Vec<&str>, Error> {
        if self.threads.is_empty() {
            return Err(Error::NoThreads);
        }
        let names: Vec<_> = self.threads.iter().map(|(name, _)| name.as_str()).collect();
        schedule::distinct(&names)?;
        Ok(names)
    }

    /// Lets `pick` say who moves, from the number of moves so far and those who can move, until
    /// all have ended. It refuses with the thread that it would rather have. Returns the number
    /// of lost updates, and who moved.
    fn play(
        &self,
        mut pick: impl FnMut(usize, &[usize]) -> Result<usize, usize>,
    ) -> Result<(u64, Vec<usize>), Error> {
        let mut state = State::new(self);
        let mut moves = Vec::new();
        let mut ready = Vec::new();
        while !state.threads.iter().all(Thread::has_ended) {
            ready.clear();
            ready.extend((0..self.threads.len()).filter(|me| state.can_move(*me)));
            assert!(!ready.is_empty(), "nobody can move after {}", self.schedule(&moves));
            let me = pick(moves.len(), &ready).map_err(|refused| {
                let name = |thread: usize| self.threads[thread].0.as_str();
                let ready: Vec<_> = ready.iter().map(|thread| name(*thread)).collect();
                let ended = state.threads[refused].has_ended();
                schedule::refused(moves.len(), name(refused), ended, &ready)
            })?;
            state.step(me);
            moves.push(me);
        }
        let instructions = self.threads.iter().flat_map(|(_, instructions)| instructions);
        let updates = instructions.filter(|instruction| instruction.updates()).count() as u64;
        Ok((updates.saturating_sub(state.counter), moves))
    }
}

struct State<'a> {
    program: &'a Program,
    rules: Option<Rules>,
    counter: u64,
    threads: Vec<Thread>,
}

struct Thread {
    /// The number of instructions that it has executed.
    executed: usize,
    value: u64,
    phase: Phase,
}

enum Phase {
    /// It has what it needs.
    Runs,
    WantsLock(Option<Waiter>),
    WaitsForSwitch,
    Ended,
}

impl Thread {
    fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }
}

impl<'a> State<'a> {
    fn new(program: &'a Program) -> Self {
        let phase = |code: &[Instruction]| match program.lock {
            _ if code.is_empty() => Phase::Ended,
            None => Phase::Runs,
            Some(_) => Phase::WantsLock(None),
        };
        let threads = program.threads.iter();
        State {
            program,
            rules: program.lock.map(Rules::new),
            counter: 0,
            threads: threads
                .map(|(_, code)| Thread { executed: 0, value: 0, phase: phase(code) })
                .collect(),
        }
    }

    fn check_points(&self) -> CheckPoints {
        self.program.lock.map_or(CheckPoints::Never, |lock| lock.check_points)
    }

    fn can_move(&self, me: usize) -> bool {
        match (&self.threads[me].phase, &self.rules) {
            (Phase::Runs, _) => true,
            (Phase::WantsLock(_), Some(rules)) => {
                // To ask once more changes nothing, and where ticks count nobody asks.
                let asks = !matches!(self.check_points(), CheckPoints::Ticks(_));
                rules.holder().is_none() || (asks && !rules.drop_requested())
            }
            (Phase::WaitsForSwitch, Some(rules)) => !rules.must_wait_for_switch(ThreadId(me)),
            _ => false,
        }
    }

    fn step(&mut self, me: usize) {
        let over = self.threads[me].executed == self.program.threads[me].1.len();
        let phase = mem::replace(&mut self.threads[me].phase, Phase::Ended);
        self.threads[me].phase = match (phase, &mut self.rules) {
            (Phase::Runs, _) => self.execute(me),
            (Phase::WantsLock(waiter), Some(rules)) => take_or_ask(rules, me, waiter),
            (Phase::WaitsForSwitch, Some(rules)) if !over => take_or_ask(rules, me, None),
            _ => Phase::Ended,
        };
    }

    fn execute(&mut self, me: usize) -> Phase {
        let check_points = self.check_points();
        let code = &self.program.threads[me].1;
        let thread = &mut self.threads[me];
        let instruction = code[thread.executed];
        instruction.execute(&mut thread.value, &mut self.counter);
        thread.executed += 1;
        let over = thread.executed == code.len();
        let Some(rules) = &mut self.rules else {
            return if over { Phase::Ended } else { Phase::Runs };
        };
        let check_point = match check_points {
            CheckPoints::Ticks(ticks) => thread.executed.is_multiple_of(ticks.max(1) as usize),
            policy => rules.drop_requested() && policy.follow(instruction.site()),
        };
        if !over && !check_point {
            return Phase::Runs;
        }
        // Who is signalled need not be the one that comes: any thread may find the lock free.
        match rules.release(ThreadId(me)) {
            Released::WakeAndWaitForSwitch => Phase::WaitsForSwitch,
            Released::Wake | Released::Unwanted if over => Phase::Ended,
            Released::Wake | Released::Unwanted => Phase::WantsLock(None),
        }
    }
}

fn take_or_ask(rules: &mut Rules, me: usize, waiter: Option<Waiter>) -> Phase {
    let mut take = match waiter {
        None => rules.try_take(ThreadId(me)),
        Some(waiter) => rules.timed_out(waiter),
    };
    loop {
        take = match take {
            Take::Taken { .. } => return Phase::Runs,
            Take::AskAndWait(waiter) => return Phase::WantsLock(Some(waiter)),
            Take::Wait(waiter) => rules.timed_out(waiter),
        }
    }
}

/// Runs `run` once for every sequence of answers that its choices can have, depth first.
///
/// A run starts from the beginning each time, so nothing has to be copied or undone; it must do
/// the same for the same answers.
pub fn every(mut run: impl FnMut(&mut Choices)) {
    let mut choices = Choices { made: Vec::new(), next: 0 };
    loop {
        choices.next = 0;
        run(&mut choices);
        // The last choice with an answer left gets it; those behind it are made anew.
        loop {
            match choices.made.pop() {
                None => return,
                Some((answer, options)) if answer + 1 < options => {
                    choices.made.push((answer + 1, options));
                    break;
                }
                Some(_) => {}
            }
        }
    }
}

/// The choices of one run.
#[derive(Debug)]
pub struct Choices {
    /// Each answer, and out of how many.
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    /// One of the numbers below `options`; over all runs, each of them.
    ///
    /// # Panics
    ///
    /// When there are no options, or not as many as before after the same answers.
    pub fn pick(&mut self, options: usize) -> usize {
        assert!(options > 0, "a choice among nothing");
        if self.next == self.made.len() {
            self.made.push((0, options));
        }
        let (answer, before) = self.made[self.next];
        assert_eq!(options, before, "the same answers led to another choice");
        self.next += 1;
        answer
    }
}
