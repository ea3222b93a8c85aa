//! What the other processes do. A job holds the ends that it talks through, and takes them along.

use std::ops::Range;

use ipc::{Pipe, Receiver, Sender, SharedSlice};
use process_pool::{Failed, Task, kill_this_process};
use serde::{Deserialize, Serialize};
use tasks::cpu::sum_below;

use crate::{ROUNDS, SIZES};

#[derive(Serialize, Deserialize)]
pub struct Greet {
    pub parent: Sender<String>,
}

impl Task for Greet {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        self.parent.send(&"hello from a child process".into())?;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
pub struct GreetBack {
    pub parent: Pipe<String, String>,
}

impl Task for GreetBack {
    type Output = ();

    fn run(mut self) -> Result<(), Failed> {
        let name = self.parent.recv()?;
        self.parent.send(&format!("hello {name}, from a child process"))?;
        Ok(())
    }
}

/// Runs in a process or in a thread: an end that has travelled is used like one that has not.
#[derive(Serialize, Deserialize)]
pub struct Produce {
    pub numbers: Range<u64>,
    pub killed_after: Option<u64>,
    pub queue: Sender<u64>,
}

impl Task for Produce {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        for (sent, number) in (0..).zip(self.numbers) {
            if self.killed_after == Some(sent) {
                kill_this_process();
            }
            // Returns when the number is in the parent's memory: no death can take it back.
            self.queue.send(&number)?;
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
pub struct Consume {
    pub queue: Receiver<u64>,
}

impl Task for Consume {
    type Output = Vec<u64>;

    /// Ends when the last producer has. No message has to say so.
    fn run(self) -> Result<Vec<u64>, Failed> {
        Ok(self.queue.iter().collect::<Result<_, _>>()?)
    }
}

/// Writes `first`, `first + 1`, ... where the parent reads them.
#[derive(Serialize, Deserialize)]
pub struct Fill {
    pub first: u64,
    pub part: SharedSlice<u64>,
}

impl Task for Fill {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        for (place, number) in (0..self.part.len()).zip(self.first..) {
            self.part.set(place, number);
        }
        Ok(())
    }
}

/// Says what the numbers come to, which arrive in one of three ways.
#[derive(Serialize, Deserialize)]
pub enum AddUp {
    Queue(Receiver<Vec<u64>>, Sender<u64>),
    Pipe(Pipe<u64, Vec<u64>>),
    Memory(SharedSlice<u64>, Pipe<u64, usize>),
}

impl Task for AddUp {
    type Output = ();

    fn run(mut self) -> Result<(), Failed> {
        for _ in 0..SIZES.len() * ROUNDS {
            match &mut self {
                Self::Queue(numbers, sums) => sums.send(&numbers.recv()?.iter().sum())?,
                Self::Pipe(parent) => {
                    let numbers = parent.recv()?;
                    parent.send(&numbers.iter().sum())?;
                }
                Self::Memory(memory, parent) => {
                    let len = parent.recv()?;
                    parent.send(&memory.part(0..len).iter().sum())?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
pub struct Report {
    pub below: u64,
    pub parent: Sender<u128>,
}

impl Task for Report {
    type Output = ();

    fn run(self) -> Result<(), Failed> {
        self.parent.send(&sum_below(self.below))?;
        Ok(())
    }
}
