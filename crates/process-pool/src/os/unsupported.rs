//! Systems where `ipc` connects no processes: no worker ever starts, and nothing hangs.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::{env, io};

use ipc::Socket;

use crate::Ended;

pub(crate) fn this_program() -> io::Result<Command> {
    env::current_exe().map(Command::new)
}

pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

pub(crate) fn take_name() {}

pub(crate) fn start_afresh() {}

pub(crate) fn ended(status: ExitStatus, pid: u32) -> Ended {
    Ended::Exited { code: status.code().unwrap_or_default(), pid }
}

/// There is one way to end a process here.
pub(crate) fn terminate(child: &mut Child) {
    // It fails only for a process that has ended.
    let _ = child.kill();
}

pub(crate) fn interrupt(child: &mut Child) {
    terminate(child);
}

pub(crate) type Stream = std::fs::File;

pub(crate) fn stream() -> io::Result<(Stream, Stdio)> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn end(_: &Stream) {}

pub(crate) fn end_with_process(_: u32, _: Socket) -> io::Result<Option<JoinHandle<()>>> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn end_with_parent(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn exit(_: u32) -> ! {
    std::process::exit(0)
}

pub(crate) fn now() -> u64 {
    0
}

/// An exit without a word.
pub fn kill_this_process() -> ! {
    std::process::exit(9)
}
