//! The parent's side of one worker process.
//!
//! What ends its connection is the end of the process itself, not only the end of file: a child
//! that a task has forked holds the worker's end for as long as it lives. What tasks start or
//! fork is theirs, and is not killed.

use std::io;
use std::process;
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use ipc::{Channel, Packet, RecvHalf, SendHalf, Socket};

use crate::message::{Answer, VERSION};
use crate::output::Output;
use crate::{Ended, Error, os, worker};

/// A worker process. Dropped, it is killed and reaped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: u32,
    /// None when it has been reaped: then its number may be somebody else's.
    process: Mutex<Option<process::Child>>,
    /// None when it prints where this process does.
    output: Mutex<Option<Output>>,
    /// None when it is not watched, or only the end of file tells of its end.
    watch: Mutex<Option<JoinHandle<()>>>,
}

impl Child {
    /// Starts this program anew as a worker for the task type called `task`, of the kind that the
    /// mark says. What it prints has the prefix before each line, if there is one.
    pub(crate) fn start(
        mark: &str,
        task: &str,
        prefix: Option<&str>,
    ) -> Result<(Self, SendHalf, RecvHalf), Error> {
        if worker::asked_for().is_some() && !worker::serves() {
            return Err(Error::NotServed);
        }
        let start = || {
            let (ours, theirs) = Socket::pair()?;
            let mut command = os::this_program()?;
            command.arg(mark).arg(task).stdin(theirs);
            let output = prefix.map(|prefix| Output::prefixed(&mut command, prefix));
            let output = output.transpose()?;
            // The command goes out of scope here, and with it our copy of the worker's end:
            // else its end of file would never come.
            let process = os::spawn(&mut command)?;
            let (pid, process) = (process.id(), Some(process).into());
            Ok((Self { pid, process, output: output.into(), watch: None.into() }, ours))
        };
        let (child, ours) = start().map_err(Error::start)?;
        let (out, input) = Channel::from(ours).split();
        Ok((child, out, input))
    }

    /// From now on the connection ends with the process, also while a child that it has forked
    /// holds the worker's end of it.
    pub(crate) fn watch(&self, connection: &Socket) -> io::Result<()> {
        let watch = os::end_with_process(self.pid, connection.try_clone()?)?;
        *self.watch.lock().expect("no panic while it is locked") = watch;
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Option<process::Child>> {
        self.process.lock().expect("no panic while a process is locked")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends the process, whatever it does. One that has ended is no error, nor below.
    pub(crate) fn kill(&self) {
        if let Some(process) = &mut *self.process() {
            let _ = process.kill();
        }
    }

    /// Asks the process to end, where there is a word for it.
    pub(crate) fn terminate(&self) {
        if let Some(process) = &mut *self.process() {
            os::terminate(process);
        }
    }

    /// What Ctrl-C does, where there is such a thing.
    pub(crate) fn interrupt(&self) {
        if let Some(process) = &mut *self.process() {
            os::interrupt(process);
        }
    }

    /// The end of a process whose connection has ended. The status of one that ends stands
    /// before its connection closes: it is not changed by the kill, which is for a process that
    /// lives on without its connection.
    pub(crate) fn reap(&self) -> Ended {
        let pid = self.pid;
        let Some(mut process) = self.process().take() else { return Ended::Unknown { pid } };
        let _ = process.kill();
        // Before the process is waited for: the watch knows it by its number. It does not panic.
        let watch = self.watch.lock().expect("no panic while it is locked").take();
        drop(watch.map(JoinHandle::join));
        let status = process.wait();
        drop(self.output.lock().expect("no panic while it is locked").take());
        // No status is left where the program that started this one had it ignore its children.
        status.map_or(Ended::Unknown { pid }, |status| os::ended(status, pid))
    }

    /// Waits until the worker reports for work.
    pub(crate) fn ready(&self, input: &mut RecvHalf, deadline: Duration) -> Result<(), Error> {
        match input.recv_timeout(deadline) {
            Ok(word) => greet(&word).inspect_err(|_| drop(self.reap())),
            Err(ipc::Error::TimedOut) => {
                self.reap();
                Err(Error::Late(deadline))
            }
            Err(ipc::Error::Disconnected | ipc::Error::Truncated { .. }) => {
                Err(Error::NotReady(self.reap()))
            }
            Err(error) => {
                self.reap();
                Err(Error::start(error.into()))
            }
        }
    }
}

/// Checks the first word of a worker.
fn greet(word: &Packet) -> Result<(), Error> {
    match postcard::from_bytes::<Answer<()>>(word.bytes()) {
        Ok(Answer::Ready(VERSION)) => Ok(()),
        Ok(Answer::Ready(theirs)) => Err(Error::Version { ours: VERSION, theirs }),
        // It has run no task: this is why it will not.
        Ok(Answer::Failed(why)) => Err(Error::start(io::Error::other(why))),
        _ => Err(Error::Version { ours: VERSION, theirs: 0 }),
    }
}

#[cfg(test)]
impl Child {
    /// One that has been reaped.
    pub(crate) fn ended() -> Self {
        Self { pid: 0, process: None.into(), output: None.into(), watch: None.into() }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.reap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_of_another_version_is_refused() {
        let said = |word: &Answer<()>| greet(&Packet::encode(word).unwrap());
        assert!(said(&Answer::Ready(VERSION)).is_ok());
        let theirs = |word| match said(word) {
            Err(Error::Version { ours: VERSION, theirs }) => theirs,
            other => panic!("{other:?}"),
        };
        assert_eq!(theirs(&Answer::Ready(VERSION + 1)), VERSION + 1);
        assert_eq!(theirs(&Answer::Pong), 0, "it does not say which");
    }
}
