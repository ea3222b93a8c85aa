//! The parent's side of one worker.

use std::any::type_name;
use std::process::{self, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use ipc::{Channel, Packet, Socket};

use crate::worker::{self, Answer, MARK};
use crate::{Ended, Error, Remote, Task, os};

/// How long a new process may take until it reports for work.
const START: Duration = Duration::from_secs(30);
/// How long a process may take to end after its connection has.
const END: Duration = Duration::from_secs(1);

/// A worker process, ended and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    channel: Channel,
    /// Ended and reaped: it takes no more tasks.
    over: bool,
}

impl Child {
    /// Starts this program anew as a worker.
    pub(crate) fn start<T: Task>() -> Result<Self, Error> {
        if worker::asked_for().is_some() && !worker::serves() {
            return Err(Error::NotServed);
        }
        let start = || {
            let (ours, theirs) = Socket::pair()?;
            let mut command = Command::new(env::current_exe()?);
            command.arg(MARK).arg(type_name::<T>()).stdin(theirs);
            os::set_apart(&mut command);
            // The command goes out of scope here, and with it our copy of the worker's end:
            // else its end of file would never come.
            Ok(Self { process: command.spawn()?, channel: ours.into(), over: false })
        };
        start().map_err(Error::Start)
    }

    /// Waits until the worker reports for work.
    pub(crate) fn ready(&mut self) -> Result<(), Error> {
        match self.channel.recv_timeout(START) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::NotReady(self.reap())),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The connection, to end it from another thread.
    pub(crate) fn socket(&self) -> &Socket {
        self.channel.socket()
    }

    /// Whether the process is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Sends a task. An error says that it did not arrive whole: it never runs.
    pub(crate) fn send(&mut self, task: &Packet) -> Result<(), Error> {
        self.channel.send(task).map_err(|error| match error {
            ipc::Error::Disconnected => Error::Died(self.reap()),
            error => Error::Encode { what: "task", source: error.into() },
        })
    }

    /// Waits for what came of the task: its output, still encoded.
    pub(crate) fn receive(&mut self) -> Result<Packet, Error> {
        loop {
            let answer = self.channel.recv().map_err(|error| self.lost(error))?;
            let decode =
                |source: ipc::Error| Error::Decode { what: "output", source: source.into() };
            let (answer, output) = answer.split_first().map_err(decode)?;
            let remote = |remote: Remote| Box::new(remote).into();
            return Err(match answer {
                Answer::Ready => continue,
                Answer::Done => return Ok(output),
                Answer::Failed(error) => Error::Failed(error),
                Answer::Panicked(panic) => Error::Panicked {
                    message: panic.message,
                    place: panic.place,
                    backtrace: panic.backtrace,
                    pid: self.pid(),
                },
                Answer::TaskUnreadable(error) => {
                    Error::Decode { what: "task", source: remote(error) }
                }
                Answer::OutputUnsendable(error) => {
                    Error::Encode { what: "output", source: remote(error) }
                }
            });
        }
    }

    /// The connection has ended, or broke in the middle of a frame. Either way there is no place
    /// to go on from, and the worker ends with it.
    fn lost(&mut self, error: ipc::Error) -> Error {
        match error {
            ipc::Error::Disconnected | ipc::Error::Truncated { .. } => Error::Died(self.reap()),
            error => {
                self.channel.socket().shut_down();
                self.reap();
                Error::Decode { what: "output", source: error.into() }
            }
        }
    }

    /// Ends a worker that has nothing to do: it sees the end of its connection.
    pub(crate) fn finish(mut self) {
        self.channel.socket().shut_down();
        self.reap();
    }

    /// The end of a process whose connection has ended. The status comes a moment after the end
    /// of file; a process that lives on without its connection is killed.
    fn reap(&mut self) -> Ended {
        let pid = self.pid();
        self.over = true;
        let status = wait_at_most(&mut self.process, END).and_then(|status| match status {
            Some(status) => Ok(status),
            None => self.process.kill().and_then(|()| self.process.wait()),
        });
        // No status is left where the program that started this one had it ignore its children.
        status.map_or(Ended::Unknown { pid }, |status| os::ended(status, pid))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a process that has been reaped already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The standard library waits for ever or not at all; in between it takes a look now and then.
/// This runs only while a process is on its way out.
fn wait_at_most(
    process: &mut process::Child,
    most: Duration,
) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + most;
    let mut pause = Duration::from_micros(50);
    loop {
        let status = process.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}
