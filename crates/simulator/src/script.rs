use crate::What;
use crate::agenda::NEVER;
use gil::{CheckPoints, Settings, Site};
use std::time::Duration;

/// One step of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bytecode in a loop, for this long: [`BODY`] instructions from one back edge to the next.
    Compute(Duration),
    /// A straight line of bytecode on the counter of the process.
    Bytecode(Vec<Instruction>),
    /// One call of native code, which no check point interrupts.
    Native {
        /// On a core.
        time: Duration,
        /// Whether it gives the lock up meanwhile.
        gives_lock: bool,
    },
    /// A call that waits for the world outside, without the lock and without a core.
    Io(Duration),
    /// A wait like [`Io`](Step::Io), for a timer that fires at every multiple of this period:
    /// up to the next one after now. Those that the thread was late for are lost, as the frames
    /// of a screen are. A period of 0 acts as 1 ns.
    Tick(Duration),
    /// The steps again and again, with a back edge in between.
    Loop(u64, Vec<Step>),
}

/// An instruction of a thread; it knows one counter, which its process shares, and has one
/// place of its own to work in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// Reads the counter into the place.
    Load,
    /// Brings the 1 that is added.
    Const,
    /// Adds it, in the place.
    Add,
    /// Writes the place to the counter.
    Store,
    /// Reads, adds and writes in one, whatever other threads do.
    AtomicAdd,
    /// Calls a function that does nothing.
    Call,
    /// Jumps back, to begin the next round of a loop.
    JumpBack,
}

/// `counter += 1`, as CPython compiles it.
pub const INCREMENT: [Instruction; 4] =
    [Instruction::Load, Instruction::Const, Instruction::Add, Instruction::Store];

/// The instructions from one back edge of [`Step::Compute`] to the next: about those of
/// `for i in range(n): total += i`.
pub const BODY: u64 = 5;

impl Instruction {
    pub(crate) fn execute(self, place: &mut u64, counter: &mut u64) {
        match self {
            Instruction::Load => *place = *counter,
            Instruction::Add => *place += 1,
            Instruction::Store => *counter = *place,
            Instruction::AtomicAdd => *counter += 1,
            Instruction::Const | Instruction::Call | Instruction::JumpBack => {}
        }
    }

    /// What it is to the [`CheckPoints`].
    #[must_use]
    pub fn site(self) -> Site {
        match self {
            Instruction::JumpBack => Site::BackEdge,
            Instruction::Call => Site::Call,
            _ => Site::Instruction,
        }
    }

    /// Whether it changes the counter.
    pub(crate) fn updates(self) -> bool {
        matches!(self, Instruction::Store | Instruction::AtomicAdd)
    }
}

/// A step, taken apart for the engine.
#[derive(Clone, Copy)]
pub(crate) enum Op {
    Take,
    Release,
    /// A stretch on a core.
    Cpu(Cpu),
    /// Without a core for this long.
    Away(u64),
    /// Without a core until the next multiple of this.
    AwayUntil(u64),
    /// Says so in the trace.
    Say(What),
    /// Goes to `exit` when the loop has had its rounds, and into the next round otherwise.
    Next {
        counter: usize,
        exit: usize,
    },
    End,
}

#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub time: u64,
    pub checks: Checks,
    pub instruction: Option<Instruction>,
    /// The op behind it.
    pub next: usize,
}

/// Where the check points of a stretch are.
#[derive(Clone, Copy)]
pub(crate) enum Checks {
    Never,
    /// After each so many nanoseconds of the stretch.
    Every(u64),
    /// Where the ticks of the thread run out.
    Ticks,
}

/// Longer than any scenario needs, a century and more; short enough that a few of them add up.
/// A longer time is cut to it, which nobody can see: the run ends before.
pub(crate) const FOREVER: u64 = NEVER / 4;

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(FOREVER).min(FOREVER)
}

/// A compiled script.
pub(crate) struct Code {
    pub ops: Vec<Op>,
    /// The rounds of each loop, by its counter.
    pub rounds: Vec<u64>,
}

impl Code {
    pub fn new(script: &[Step], lock: Option<&Settings>, instruction: u64) -> Self {
        let policy = lock.map_or(CheckPoints::Never, |lock| lock.check_points);
        let mut compiler = Compiler {
            policy,
            instruction,
            code: Code { ops: vec![Op::Take], rounds: vec![] },
        };
        compiler.steps(script);
        compiler.code.ops.extend([Op::Release, Op::End]);
        compiler.code
    }
}

struct Compiler {
    policy: CheckPoints,
    instruction: u64,
    code: Code,
}

impl Compiler {
    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Compute(time) => {
                let checks = match self.policy {
                    CheckPoints::EveryInstruction => Checks::Every(self.instruction),
                    CheckPoints::BackEdgesAndCalls => Checks::Every(self.times(BODY)),
                    CheckPoints::Ticks(_) => Checks::Ticks,
                    CheckPoints::Never => Checks::Never,
                };
                self.cpu(nanos(*time), checks, None);
            }
            Step::Bytecode(instructions) => {
                instructions.iter().for_each(|instruction| self.instruction(*instruction));
            }
            Step::Native { time, gives_lock: true } => {
                self.code.ops.extend([Op::Release, Op::Say(What::Native)]);
                self.cpu(nanos(*time), Checks::Never, None);
                self.code.ops.push(Op::Take);
            }
            Step::Native { time, gives_lock: false } => {
                // A call like any other: behind it may be a check point, inside there is none.
                let time = nanos(*time);
                let checks = match self.checks(Instruction::Call, time) {
                    Checks::Ticks => Checks::Never,
                    checks => checks,
                };
                self.cpu(time, checks, None);
            }
            Step::Io(time) => {
                let away = Op::Away(nanos(*time));
                self.code.ops.extend([Op::Release, Op::Say(What::Io), away, Op::Take]);
            }
            Step::Tick(period) => {
                let away = Op::AwayUntil(nanos(*period).max(1));
                self.code.ops.extend([Op::Release, Op::Say(What::Io), away, Op::Take]);
            }
            Step::Loop(0, _) => {}
            Step::Loop(rounds, steps) => {
                let start = self.code.ops.len();
                self.steps(steps);
                let counter = self.code.rounds.len();
                self.code.rounds.push(*rounds);
                let next = self.code.ops.len();
                self.code.ops.push(Op::Next { counter, exit: next + 2 });
                self.instruction(Instruction::JumpBack);
                if let Some(Op::Cpu(jump)) = self.code.ops.last_mut() {
                    jump.next = start;
                }
            }
        }
    }

    fn instruction(&mut self, instruction: Instruction) {
        let checks = self.checks(instruction, self.instruction);
        self.cpu(self.instruction, checks, Some(instruction));
    }

    /// The check points of an instruction that takes so long: its end, or none.
    fn checks(&self, instruction: Instruction, time: u64) -> Checks {
        match self.policy {
            CheckPoints::Ticks(_) => Checks::Ticks,
            policy if policy.follow(instruction.site()) && time > 0 => Checks::Every(time),
            _ => Checks::Never,
        }
    }

    fn cpu(&mut self, time: u64, checks: Checks, instruction: Option<Instruction>) {
        let next = self.code.ops.len() + 1;
        self.code.ops.push(Op::Cpu(Cpu { time, checks, instruction, next }));
    }

    fn times(&self, instructions: u64) -> u64 {
        self.instruction.saturating_mul(instructions).min(FOREVER)
    }
}
