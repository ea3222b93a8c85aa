//! One cell of the matrix, seen from outside: a fault in a model, in processes made for it.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ipc::{Pipe, pipe};
use process_pool::{Death, Ended, Error, Process};
use tasks::cpu::formula;
use tempfile::NamedTempFile;

use crate::crew::{Crew, Inside, NUMBERS, Report, Word};
use crate::fault::Fault;

/// What came of it.
pub struct Cell {
    /// Of the faulty task.
    pub report: Report,
    /// From its turn until that was known.
    pub noticed: Duration,
    /// The others that did their work after it.
    pub done: usize,
    /// What the process of the faulty task wrote to its stderr.
    pub stderr: String,
}

/// Runs `tasks` tasks, so many in each process. The first one is faulty.
pub fn run(
    inside: Inside,
    fault: Fault,
    tasks: usize,
    in_each: usize,
    time_out: Duration,
) -> Result<Cell> {
    let mut processes = Vec::new();
    for first in (0..tasks).step_by(in_each) {
        let fault = (first == 0).then_some(fault);
        processes.push(Made::start(inside, fault, in_each.min(tasks - first), time_out)?);
    }
    for process in &mut processes {
        process.all_are_here()?;
    }

    // Before the turn is given: the task may begin, and its own clock with it, before this
    // thread runs again.
    let start = Instant::now();
    processes[0].turns.send(&()).context("the faulty task takes no turn")?;
    let mut heard = processes[0].hear(None)?;
    // Only now, when the fault is there, may the others go on: that they do is no luck.
    processes.iter().for_each(Made::give_turns);

    let (faulty, others) = processes.split_first_mut().expect("a task at least");
    let (mut known, mut done, mut patience) = (None, 0, None);
    loop {
        match heard {
            // On a busy machine, late and never look alike. So the model says whether an answer
            // can come, and is put to the test: one that comes all the same is counted, and one
            // that stays away ends the lesson.
            Word::Endless if inside.runs_beside(fault) => {}
            Word::Endless => patience = Some(time_out),
            Word::Noticed(report) => known = Some((report, start.elapsed())),
            Word::Done(sum) => done += checked(sum),
            Word::Here | Word::NoThread(_) => bail!("a task began twice"),
        }
        if known.is_some() && (faulty.process.is_none() || done == faulty.bystanders) {
            break;
        }
        heard = faulty.hear(patience)?;
    }
    for process in others {
        for _ in 0..process.bystanders {
            match process.hear(None)? {
                Word::Done(sum) => done += checked(sum),
                other => bail!("without a fault: {other}"),
            }
        }
    }
    let (report, noticed) = known.expect("the loop ends when it is known");
    assert!(!fault.is_endless() || noticed >= time_out, "no task times out early");
    let mut stderr = String::new();
    faulty.stderr.read_to_string(&mut stderr)?;
    Ok(Cell { report, noticed, done, stderr })
}

/// Counts one.
fn checked(sum: u128) -> usize {
    assert_eq!(sum, formula::sum_below(NUMBERS), "a fault elsewhere changes no answer");
    1
}

/// A process made for a fault, or beside one. Dropped, it is killed.
struct Made {
    /// None when it has ended.
    process: Option<Process<Crew>>,
    turns: Pipe<(), ()>,
    words: Pipe<(), Word>,
    tasks: usize,
    bystanders: usize,
    /// A file, which never fills up as a pipe does while nobody reads.
    stderr: NamedTempFile,
}

impl Made {
    fn start(
        inside: Inside,
        fault: Option<Fault>,
        tasks: usize,
        time_out: Duration,
    ) -> Result<Self> {
        let (turns, takes_turns) = pipe()?;
        let (words, says_words) = pipe()?;
        let stderr = NamedTempFile::new()?;
        let bystanders = tasks - usize::from(fault.is_some());
        let process = Process::spawn(Crew {
            inside,
            fault,
            bystanders,
            time_out,
            turns: takes_turns,
            words: says_words,
            stderr: stderr.path().into(),
        })?;
        Ok(Self { process: Some(process), turns, words, tasks, bystanders, stderr })
    }

    fn all_are_here(&mut self) -> Result<()> {
        for _ in 0..self.tasks {
            match self.hear(None)? {
                Word::Here => {}
                Word::NoThread(why) => bail!("cannot start a thread: {why}"),
                other => bail!("before the turn of any task: {other}"),
            }
        }
        Ok(())
    }

    /// Lets the others go on. The dead do not hear it.
    fn give_turns(&self) {
        for _ in 0..self.bystanders {
            _ = self.turns.send(&());
        }
    }

    /// The next word. The end of the process is one, and so is its silence for `patience`.
    fn hear(&mut self, patience: Option<Duration>) -> Result<Word> {
        let silence = match self.words.recv_timeout(patience.unwrap_or(FOR_EVER)) {
            Ok(word) => return Ok(word),
            Err(error) => error,
        };
        let Some(process) = self.process.take() else { bail!("a word of the dead: {silence}") };
        let report = match (silence, patience) {
            (ipc::Error::TimedOut, None) => bail!("no word of a task for {FOR_EVER:?}"),
            (ipc::Error::TimedOut, Some(_)) => {
                process.kill();
                Report::Killed
            }
            _ => match process.join() {
                Err(Error::Panicked { message, .. }) => Report::Panicked(message),
                Err(Error::Died(Death { ended: Ended::Killed { signal, .. }, .. })) => {
                    Report::Signal(signal)
                }
                Err(error) => return Err(error.into()),
                Ok(()) => bail!("a process is done before its tasks are"),
            },
        };
        Ok(Word::Noticed(report))
    }
}

/// No machine is that busy.
const FOR_EVER: Duration = Duration::from_secs(55);
