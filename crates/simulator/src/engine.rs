//! Plays a scenario: one agenda, one state for each thread, and the rules decide about the lock.
//!
//! A thread is on a core, in the queue for one, or blocked. On a core it executes a stretch, up
//! to the end of its op, the end of its slice or, if it is asked, its next check point: nothing
//! in between needs an event, however long the stretch.

use crate::agenda::{Agenda, NEVER};
use crate::random::SplitMix64;
use crate::run::Named;
use crate::script::{Checks, Code, FOREVER, Op, nanos};
use crate::{Error, Event, Instruction, Run, Scenario, What, schedule};
use gil::CheckPoints;
use gil::rules::{Released, Rules, Take, ThreadId, Waiter};
use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

pub(crate) struct Engine {
    now: u64,
    agenda: Agenda,
    /// The threads that can run and have no core, and the number of cores that have no thread.
    ready: VecDeque<usize>,
    idle: usize,
    threads: Vec<Thread>,
    processes: Vec<Process>,
    random: SplitMix64,
    schedule: Vec<usize>,
    /// How many releases had a waiter to wake.
    signals: usize,
    slice: u64,
    wake_up: u64,
    instruction: u64,
    until: u64,
    events: Vec<Event>,
    steps: u64,
    names: Vec<Named>,
}

struct Process {
    /// None where there is no lock.
    rules: Option<Rules>,
    /// How long a waiter waits before it looks again.
    interval: u64,
    /// From one drop to the next, where ticks count.
    ticks: u64,
    /// The threads that a signal can reach.
    sleepers: Vec<usize>,
    /// The last thread that had to wait for the switch.
    dropper: usize,
    /// As the rules counted them at the last take.
    switches: u64,
    counter: u64,
}

struct Thread {
    process: usize,
    code: Code,
    /// The op that it is at.
    at: usize,
    /// The rounds that each loop has left.
    rounds: Vec<u64>,
    place: Place,
    doing: Doing,
    /// How much of the op is done, as of `since`, when the stretch began.
    done: u64,
    since: u64,
    /// Until it drops the lock, where ticks count.
    ticks: u64,
    /// Its place of work: see [`Instruction`].
    value: u64,
    /// Its place among the sleepers.
    sleeper: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Core { slice_end: u64 },
    Queue { preempted: bool },
    Blocked,
}

/// What a thread does besides the op that it is at.
enum Doing {
    Nothing,
    /// It gave the lock up at a check point and is about to take it back.
    TakeBack,
    Wait {
        waiter: Waiter,
        signalled: bool,
    },
    WaitForSwitch,
}

impl Engine {
    pub fn new(scenario: &Scenario) -> Result<Self, Error> {
        let machine = &scenario.machine;
        let [slice, wake_up, instruction] =
            [machine.slice, machine.wake_up, machine.instruction].map(nanos);
        if machine.cores == 0 {
            return Err(Error::NoCores);
        }
        for (what, time) in [("a time slice", slice), ("an instruction", instruction)] {
            if time == 0 {
                return Err(Error::NoTime(what));
            }
        }
        let mut processes = Vec::new();
        let mut threads = Vec::new();
        let mut names = Vec::new();
        for (number, process) in scenario.processes.iter().enumerate() {
            let lock = process.lock.as_ref();
            let rules = lock.copied().map(Rules::new);
            let interval = rules.as_ref().map_or(Duration::ZERO, Rules::interval);
            let ticks = match lock.map(|lock| lock.check_points) {
                Some(CheckPoints::Ticks(ticks)) => u64::from(ticks.max(1)),
                _ => 0,
            };
            let ticks = instruction.saturating_mul(ticks).min(FOREVER);
            for thread in &process.threads {
                let code = Code::new(&thread.script, lock, instruction);
                threads.push(Thread {
                    process: number,
                    at: 0,
                    rounds: code.rounds.clone(),
                    code,
                    place: Place::Blocked,
                    doing: Doing::Nothing,
                    done: 0,
                    since: 0,
                    ticks,
                    value: 0,
                    sleeper: 0,
                });
                names.push(Named {
                    process: number,
                    process_name: process.name.clone(),
                    name: thread.name.clone(),
                    locks: lock.is_some(),
                    interval,
                });
            }
            processes.push(Process {
                interval: nanos(interval),
                rules,
                ticks,
                sleepers: Vec::new(),
                dropper: 0,
                switches: 0,
                counter: 0,
            });
        }
        if threads.is_empty() {
            return Err(Error::NoThreads);
        }
        let known: Vec<&str> = names.iter().map(|named| named.name.as_str()).collect();
        schedule::distinct(&known)?;
        Ok(Engine {
            now: 0,
            agenda: Agenda::new(threads.len()),
            ready: VecDeque::new(),
            idle: machine.cores,
            threads,
            processes,
            random: SplitMix64(scenario.seed),
            schedule: scenario.schedule.resolve(&known)?,
            signals: 0,
            slice,
            wake_up,
            instruction,
            until: scenario.until.map_or(FOREVER, nanos),
            events: Vec::new(),
            steps: 0,
            names,
        })
    }

    pub fn run(mut self) -> Result<Run, Error> {
        for me in 0..self.threads.len() {
            self.wake(me);
        }
        loop {
            let (at, me) = self.agenda.first();
            if at > self.until {
                break;
            }
            self.now = at;
            self.steps += 1;
            if let Place::Core { slice_end } = self.threads[me].place {
                self.stretch_ends(me, slice_end)?;
            } else {
                self.sleep_ends(me);
            }
            while self.idle > 0
                && let Some(me) = self.ready.pop_front()
            {
                self.idle -= 1;
                self.has_core(me)?;
            }
        }
        // An entry that is left over names a thread that cannot be woken any more.
        if let Some(named) = self.schedule.get(self.signals)
            && let Op::End = self.threads[*named].op()
        {
            return Err(self.refused(*named, &[]));
        }
        let ended = self.agenda.first().0 == NEVER;
        Ok(Run {
            events: self.events,
            end: Duration::from_nanos(if ended { self.now } else { self.until }),
            steps: self.steps,
            threads: self.names,
        })
    }

    /// A blocked thread wakes up, and can run after a delay.
    fn wake(&mut self, me: usize) {
        let delay = self.delay();
        self.agenda.set(me, self.now + delay);
    }

    fn delay(&mut self) -> u64 {
        self.random.below(self.wake_up + 1)
    }

    fn sleep_ends(&mut self, me: usize) {
        let thread = &mut self.threads[me];
        match thread.doing {
            Doing::Nothing if let Op::Away(_) | Op::AwayUntil(_) = thread.op() => {
                thread.at += 1;
                self.say(me, What::Answer);
                self.wake(me);
                return;
            }
            Doing::Wait { signalled: false, .. } => {
                let (process, place) = (thread.process, thread.sleeper);
                self.no_sleeper(process, place);
            }
            _ => {}
        }
        self.queue(me, false);
    }

    fn queue(&mut self, me: usize, preempted: bool) {
        self.threads[me].place = Place::Queue { preempted };
        self.agenda.set(me, NEVER);
        self.ready.push_back(me);
    }

    fn has_core(&mut self, me: usize) -> Result<(), Error> {
        let slice_end = self.now + self.slice;
        let place = mem::replace(&mut self.threads[me].place, Place::Core { slice_end });
        if place == (Place::Queue { preempted: true }) {
            self.say(me, What::Resume);
        }
        match mem::replace(&mut self.threads[me].doing, Doing::Nothing) {
            Doing::Nothing => self.go_on(me),
            Doing::TakeBack => self.take_and_go_on(me),
            Doing::Wait { waiter, signalled } => {
                let rules = self.rules(me).expect("only a lock makes a thread wait");
                let take =
                    if signalled { rules.woken(waiter) } else { rules.timed_out(waiter) };
                if self.taken(me, take) { self.go_on(me) } else { Ok(()) }
            }
            Doing::WaitForSwitch => {
                let thread = &mut self.threads[me];
                if let Op::Release = thread.op() {
                    thread.at += 1;
                    self.go_on(me)
                } else {
                    self.take_and_go_on(me)
                }
            }
        }
    }

    /// It gives its core up until a time, if nothing wakes it before.
    fn block(&mut self, me: usize, until: u64) {
        self.threads[me].place = Place::Blocked;
        self.agenda.set(me, until);
        self.idle += 1;
    }

    fn take_and_go_on(&mut self, me: usize) -> Result<(), Error> {
        if self.take(me) { self.go_on(me) } else { Ok(()) }
    }

    /// Executes ops, up to one that takes time.
    fn go_on(&mut self, me: usize) -> Result<(), Error> {
        loop {
            let thread = &mut self.threads[me];
            match thread.op() {
                Op::Take => {
                    if !self.take(me) {
                        return Ok(());
                    }
                }
                Op::Release => {
                    if self.release(me)? {
                        return Ok(());
                    }
                    self.threads[me].at += 1;
                }
                Op::Cpu(cpu) if thread.done < cpu.time => {
                    thread.since = self.now;
                    self.plan(me);
                    return Ok(());
                }
                Op::Cpu(cpu) => {
                    thread.done = 0;
                    thread.at = cpu.next;
                }
                Op::Away(time) => {
                    self.block(me, self.now + time);
                    return Ok(());
                }
                Op::AwayUntil(period) => {
                    self.block(me, (self.now / period + 1) * period);
                    return Ok(());
                }
                Op::Say(what) => {
                    thread.at += 1;
                    self.say(me, what);
                }
                Op::Next { counter, exit } => {
                    thread.rounds[counter] -= 1;
                    thread.at += 1;
                    if thread.rounds[counter] == 0 {
                        thread.rounds[counter] = thread.code.rounds[counter];
                        thread.at = exit;
                    }
                }
                Op::End => {
                    self.say(me, What::End);
                    self.block(me, NEVER);
                    return Ok(());
                }
            }
        }
    }

    /// Sets the time when the stretch of a thread on a core ends.
    fn plan(&mut self, me: usize) {
        let thread = &self.threads[me];
        let (Op::Cpu(cpu), Place::Core { slice_end }) = (thread.op(), thread.place) else {
            unreachable!("only ops that need a core take time on one")
        };
        let mut end = slice_end.max(self.now).min(thread.since + (cpu.time - thread.done));
        match cpu.checks {
            Checks::Every(gap) if self.requested(thread.process) => {
                let begun = self.now - thread.since + thread.done;
                let check = (begun / gap + 1) * gap;
                end = end.min(thread.since + (check - thread.done));
            }
            Checks::Ticks => end = end.min(thread.since + thread.ticks),
            Checks::Every(_) | Checks::Never => {}
        }
        self.agenda.set(me, end);
    }

    fn stretch_ends(&mut self, me: usize, slice_end: u64) -> Result<(), Error> {
        let slice_over = slice_end <= self.now && !self.ready.is_empty();
        if let Doing::TakeBack = self.threads[me].doing {
            if slice_over {
                self.preempt(me);
                return Ok(());
            }
            self.threads[me].doing = Doing::Nothing;
            return self.take_and_go_on(me);
        }
        let thread = &mut self.threads[me];
        let Op::Cpu(cpu) = thread.op() else {
            unreachable!("only ops that need a core take time on one")
        };
        let ran = self.now - mem::replace(&mut thread.since, self.now);
        thread.done += ran;
        let process = thread.process;
        let over = thread.done == cpu.time;
        // A thread that has not moved since it took the lock is at no check point: it would
        // hand the lock on for ever.
        let check_point = ran > 0
            && match cpu.checks {
                Checks::Every(gap) => {
                    thread.done.is_multiple_of(gap) && self.requested(process)
                }
                Checks::Ticks => {
                    thread.ticks -= ran;
                    thread.ticks == 0
                }
                Checks::Never => false,
            };
        if over && let Some(instruction) = cpu.instruction {
            self.execute(me, instruction);
        }
        if check_point {
            self.give_way(me)
        } else if over {
            self.go_on(me)
        } else if slice_over {
            self.preempt(me);
            Ok(())
        } else {
            self.threads[me].place = Place::Core { slice_end: self.now + self.slice };
            self.plan(me);
            Ok(())
        }
    }

    fn preempt(&mut self, me: usize) {
        self.say(me, What::Preempt);
        self.idle += 1;
        self.queue(me, true);
    }

    fn execute(&mut self, me: usize, instruction: Instruction) {
        let thread = &mut self.threads[me];
        let counter = &mut self.processes[thread.process].counter;
        instruction.execute(&mut thread.value, counter);
        let counter = *counter;
        match instruction {
            Instruction::Load => self.say(me, What::Read(counter)),
            _ if instruction.updates() => self.say(me, What::Write(counter)),
            _ => {}
        }
    }

    /// At a check point: drops the lock and takes it back.
    fn give_way(&mut self, me: usize) -> Result<(), Error> {
        let thread = &mut self.threads[me];
        thread.ticks = self.processes[thread.process].ticks;
        if !self.release(me)? {
            // Between the two another thread may come.
            self.threads[me].doing = Doing::TakeBack;
            self.agenda.set(me, self.now + self.instruction);
        }
        Ok(())
    }

    /// Returns whether the thread has the lock, or needs none; if not, it is blocked.
    fn take(&mut self, me: usize) -> bool {
        if let Some(rules) = self.rules(me) {
            let take = rules.try_take(ThreadId(me));
            self.taken(me, take)
        } else {
            self.threads[me].at += 1;
            self.say(me, What::Go);
            true
        }
    }

    /// Does as the rules say to a thread that tried to take the lock.
    fn taken(&mut self, me: usize, take: Take) -> bool {
        let number = self.threads[me].process;
        let (waiter, what) = match take {
            Take::Taken { wake_dropper } => {
                let process = &mut self.processes[number];
                let switches = process.rules.as_ref().map_or(0, Rules::switch_number);
                let switch = mem::replace(&mut process.switches, switches) != switches;
                let dropper = process.dropper;
                self.say(me, What::Take { switch });
                if wake_dropper {
                    self.wake(dropper);
                }
                let thread = &mut self.threads[me];
                if let Op::Take = thread.op() {
                    thread.at += 1;
                }
                return true;
            }
            Take::Wait(waiter) => (waiter, What::Wait),
            Take::AskAndWait(waiter) => (waiter, What::Ask),
        };
        self.say(me, what);
        let delay = self.delay();
        let process = &mut self.processes[number];
        let until = if process.ticks > 0 { NEVER } else { self.now + process.interval + delay };
        let sleeper = process.sleepers.len();
        process.sleepers.push(me);
        let holder = process.rules.as_ref().and_then(Rules::holder);
        let thread = &mut self.threads[me];
        thread.sleeper = sleeper;
        thread.doing = Doing::Wait { waiter, signalled: false };
        self.block(me, until);
        if what == What::Ask
            && let Some(ThreadId(holder)) = holder
            && let Place::Core { .. } = self.threads[holder].place
        {
            self.plan(holder);
        }
        false
    }

    /// Returns whether the thread has to wait for the switch; it is blocked then.
    fn release(&mut self, me: usize) -> Result<bool, Error> {
        let process = self.threads[me].process;
        let Some(rules) = &mut self.processes[process].rules else { return Ok(false) };
        let requested = rules.drop_requested();
        let released = rules.release(ThreadId(me));
        self.say(me, What::Drop { requested });
        if released != Released::Unwanted {
            self.signal(process)?;
        }
        let forced = released == Released::WakeAndWaitForSwitch;
        if forced {
            self.say(me, What::Force);
            self.processes[process].dropper = me;
            self.threads[me].doing = Doing::WaitForSwitch;
            self.block(me, NEVER);
        }
        Ok(forced)
    }

    /// Wakes one waiter, if a signal can reach any: who is awake already looks by itself.
    fn signal(&mut self, process: usize) -> Result<(), Error> {
        let sleepers = &self.processes[process].sleepers;
        if sleepers.is_empty() {
            return Ok(());
        }
        // Drawn in any case, so that the delays stay the same under a schedule.
        let drawn = self.random.below(sleepers.len() as u64);
        let place = match self.schedule.get(self.signals) {
            None => usize::try_from(drawn).expect("a place in a list"),
            Some(named) => sleepers
                .iter()
                .position(|sleeper| sleeper == named)
                .ok_or_else(|| self.refused(*named, sleepers))?,
        };
        self.signals += 1;
        let me = self.no_sleeper(process, place);
        if let Doing::Wait { signalled, .. } = &mut self.threads[me].doing {
            *signalled = true;
        }
        self.say(me, What::Signal);
        self.wake(me);
        Ok(())
    }

    fn no_sleeper(&mut self, process: usize, place: usize) -> usize {
        let sleepers = &mut self.processes[process].sleepers;
        let me = sleepers.swap_remove(place);
        if let Some(moved) = sleepers.get(place) {
            self.threads[*moved].sleeper = place;
        }
        me
    }

    /// The schedule names a thread that no signal can reach.
    fn refused(&self, named: usize, sleepers: &[usize]) -> Error {
        let ended = matches!(self.threads[named].op(), Op::End);
        let name = |thread: usize| self.names[thread].name.as_str();
        let ready: Vec<_> = sleepers.iter().map(|sleeper| name(*sleeper)).collect();
        schedule::refused(self.signals, name(named), ended, &ready)
    }

    fn requested(&self, process: usize) -> bool {
        self.processes[process].rules.as_ref().is_some_and(Rules::drop_requested)
    }

    fn rules(&mut self, me: usize) -> Option<&mut Rules> {
        self.processes[self.threads[me].process].rules.as_mut()
    }

    fn say(&mut self, me: usize, what: What) {
        self.events.push(Event { at: self.now, thread: me, what });
    }
}

impl Thread {
    fn op(&self) -> Op {
        self.code.ops[self.at]
    }
}
