use std::time::Duration;

/// What can be chosen about a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a waiter waits before it asks the holder to drop the lock: a time-out, not a
    /// quantum. Less than 1 us acts as 1 us. Python's `sys.setswitchinterval`.
    pub interval: Duration,
    /// Whether a thread that dropped the lock on request waits until another one had it.
    /// CPython is always built so; without it, the thread that dropped the lock mostly wins it back.
    pub forced_switching: bool,
    /// Where a running thread lets another one in.
    pub check_points: CheckPoints,
}

impl Default for Settings {
    /// CPython's since 3.10: 5 ms, forced switching, check points at back edges and calls.
    fn default() -> Self {
        Settings {
            interval: Duration::from_millis(5),
            forced_switching: true,
            check_points: CheckPoints::BackEdgesAndCalls,
        }
    }
}

/// Where a thread that executes bytecode lets another one in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckPoints {
    /// Between any two instructions: Python 3.2 to 3.9, which skip the check behind a few that
    /// only move a local or a constant (`FAST_DISPATCH` in `ceval.c`).
    EveryInstruction,
    /// At the back edge of a loop, on entry to a function and after a call: Python 3.10 and
    /// later. From 3.11 to 3.15 not after `len`, `isinstance`, `list.append` and `type` with one
    /// argument, whose specialized instructions have no check.
    #[default]
    BackEdgesAndCalls,
    /// After so many instructions, wanted or not: before Python 3.2, where it was 100. Nobody
    /// asks, and the thread takes the lock back at once. Here each thread counts for itself;
    /// CPython had one count for whoever had the lock. 0 acts as 1.
    Ticks(u32),
    /// Nowhere: only a blocking call, native code or the end gives the lock away.
    Never,
}

/// What a thread has just executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// An instruction of straight-line code.
    Instruction,
    /// The jump back that ends a round of a loop.
    BackEdge,
    /// A call: on entry to the function, and behind it.
    Call,
}

impl CheckPoints {
    /// Whether a thread looks behind such a site if another one has asked.
    #[must_use]
    pub fn follow(self, site: Site) -> bool {
        match self {
            CheckPoints::EveryInstruction => true,
            CheckPoints::BackEdgesAndCalls => site != Site::Instruction,
            CheckPoints::Ticks(_) | CheckPoints::Never => false,
        }
    }
}
