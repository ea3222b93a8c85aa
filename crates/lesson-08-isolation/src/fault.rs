//! What can go wrong in a task, from what a task can catch to what no process survives.

use std::hint::{black_box, spin_loop};
use std::{fmt, process};

use process_pool::kill_this_process;
use serde::{Deserialize, Serialize};

use crate::os;

/// In the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    Panic,
    Abort,
    Overflow,
    Memory,
    Kill,
    /// Lets others in, where its model has a way to do so.
    Loop,
    /// The same without a check point or an `await`.
    Busy,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::Panic,
        Self::Abort,
        Self::Overflow,
        Self::Memory,
        Self::Kill,
        Self::Loop,
        Self::Busy,
    ];

    pub fn is_endless(self) -> bool {
        matches!(self, Self::Loop | Self::Busy)
    }

    /// Commits the fault. `give_way` is called in each round of a loop that lets others in.
    pub fn commit(self, mut give_way: impl FnMut()) -> ! {
        match self {
            Self::Panic => panic!("{PANIC}"),
            Self::Abort => process::abort(),
            Self::Overflow => {
                descend(DEEPEST);
                panic!("this stack has no end")
            }
            Self::Memory => {
                os::limit_memory(MEMORY);
                // Asked for and never touched: it costs addresses, no memory.
                let pieces: Vec<_> =
                    (0..=MEMORY / PIECE).map(|_| Vec::<u8>::with_capacity(PIECE)).collect();
                black_box(pieces);
                panic!("this system keeps no limit")
            }
            Self::Kill => kill_this_process(),
            Self::Loop => loop {
                give_way();
            },
            Self::Busy => loop {
                spin_loop();
            },
        }
    }
}

pub const PANIC: &str = "no seat for task 1";

const PIECE: usize = 64 << 20;
/// What the process may have in all.
const MEMORY: usize = 16 * PIECE;

/// Where `ulimit -s unlimited` holds, recursion would fill the memory of the machine.
const DEEPEST: u32 = 4096;

/// Recursion that no compiler turns into a loop, 16 KiB a step.
fn descend(steps: u32) -> u8 {
    let frame = black_box([1; 16 << 10]);
    if steps == 0 { 0 } else { descend(steps - 1).wrapping_add(black_box(frame)[0]) }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Panic => "panic",
            Self::Abort => "abort",
            Self::Overflow => "stack overflow",
            Self::Memory => "memory limit",
            Self::Kill => "kill",
            Self::Loop => "endless loop",
            Self::Busy => "never gives way",
        })
    }
}
