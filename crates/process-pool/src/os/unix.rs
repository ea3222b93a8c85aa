//! Unix: process groups, signals, and a clock that all processes share.
//!
//! The end of file of a connection tells of the end of a process on every Unix, but not while a
//! child that it forked lives: that one holds the connection too. On Linux the end of the process
//! itself is watched, on both sides; elsewhere such a worker counts as alive as long as its
//! children, and outlives its parent as long as the parent's.

#[cfg(target_os = "linux")]
use std::ffi::{CString, OsStr};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::unix::ffi::{OsStrExt, OsStringExt};
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
#[cfg(target_os = "linux")]
use std::path::Path;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::{env, io};

use ipc::Socket;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
#[cfg(target_os = "linux")]
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, raise};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, alarm};

use crate::Ended;

mod signals;

pub(crate) use signals::start_afresh;

/// Starts `command` in a process group of its own: Ctrl-C reaches the parent alone, which ends its
/// workers. Else every worker would die by itself, and be reported as killed.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    command.process_group(0);
    let _held_back = signals::hold_back();
    command.spawn()
}

/// The program that runs: by its open file, whatever has become of its name since it started. A
/// file of that name may be another program by now, as with every update, and so may the one
/// with the name that Linux shows for a file that is gone: `NAME (deleted)`.
#[cfg(target_os = "linux")]
pub(crate) fn this_program() -> io::Result<Command> {
    const OPEN_FILE: &str = "/proc/self/exe";
    let mut name = env::current_exe()?.into_os_string().into_vec();
    if let Some(before) = name.strip_suffix(b" (deleted)") {
        // Some file is called so.
        let file = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
        let is_called_so = file(OsStr::from_bytes(&name).as_ref()) == file(OPEN_FILE.as_ref());
        if !is_called_so {
            name = before.to_vec();
        }
    }
    let mut command = Command::new(OPEN_FILE);
    command.arg0(OsStr::from_bytes(&name));
    Ok(command)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn this_program() -> io::Result<Command> {
    env::current_exe().map(Command::new)
}

/// For a worker: lists of processes call it what they call its parent, and not `exe`.
#[cfg(target_os = "linux")]
pub(crate) fn take_name() {
    let program = env::args_os().next().unwrap_or_default();
    let name = Path::new(&program).file_name().map(|name| CString::new(name.as_bytes()));
    if let Some(Ok(name)) = name {
        // It is for people: without it the worker works as well.
        let _ = prctl::set_name(&name);
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn take_name() {}

/// The signal or the status that ended the process.
pub(crate) fn ended(status: ExitStatus, pid: u32) -> Ended {
    match status.signal() {
        Some(signal) => Ended::Killed {
            // Real-time signals have numbers only.
            signal: Signal::try_from(signal)
                .map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string()),
            pid,
        },
        None => Ended::Exited { code: status.code().unwrap_or_default(), pid },
    }
}

/// SIGTERM: the end, unless the program handles it. The child has not been waited for, so its
/// number is its own.
pub(crate) fn terminate(child: &mut Child) {
    signal(child, Signal::SIGTERM);
}

/// SIGINT, as from the terminal.
pub(crate) fn interrupt(child: &mut Child) {
    signal(child, Signal::SIGINT);
}

fn signal(child: &Child, signal: Signal) {
    if let Ok(pid) = child.id().try_into() {
        // It fails only for a process that has ended.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// What a process prints, as it arrives here. A pair of sockets, not a pipe: it can be ended from
/// this side, whoever holds the other.
pub(crate) type Stream = UnixStream;

/// Our end, and the one for the process.
pub(crate) fn stream() -> io::Result<(Stream, Stdio)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, OwnedFd::from(theirs).into()))
}

/// What has arrived can still be read; then comes the end.
pub(crate) fn end(stream: &Stream) {
    // It fails only when the other side has ended it already.
    let _ = stream.shutdown(Shutdown::Read);
}

/// Ends the connection to a child of this process when that has ended: whoever waits to receive or
/// to send wakes, and what has arrived is still received (sockets of other systems may lose it).
/// The thread that watches sleeps until then, and leaves the child to be waited for; that must come
/// after the thread has ended, since the number may be another child's then.
///
/// A thread, not a descriptor of the child beside each wait: that would be a system call more for
/// every message to somebody who sleeps.
#[cfg(target_os = "linux")]
pub(crate) fn end_with_process(
    pid: u32,
    connection: Socket,
) -> io::Result<Option<JoinHandle<()>>> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    let child = Pid::from_raw(pid.try_into().map_err(io::Error::other)?);
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    let watch = thread::Builder::new().name("watch".into()).spawn(move || {
        // Any other error says that it has ended as well: it has been waited for.
        while waitid(Id::Pid(child), flags) == Err(Errno::EINTR) {}
        connection.shut_down();
    })?;
    Ok(Some(watch))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn end_with_process(_: u32, _: Socket) -> io::Result<Option<JoinHandle<()>>> {
    Ok(None)
}

/// For a worker: ends this process when the connection or the parent ends, even in the middle of
/// a task. The thread that watches sleeps until then.
pub(crate) fn end_with_parent(connection: &Socket) -> io::Result<()> {
    let connection = OwnedFd::from(connection.try_clone()?);
    let parent = process_of(&connection);
    thread::Builder::new().name("parent".into()).spawn(move || {
        // No event is asked for: the hang-up comes unasked.
        let hangs_up = PollFd::new(connection.as_fd(), PollFlags::empty());
        let ends = parent.as_ref().map(|parent| PollFd::new(parent.as_fd(), PollFlags::POLLIN));
        let mut watched: Vec<_> = [hangs_up].into_iter().chain(ends).collect();
        while let Err(Errno::EINTR) | Ok(0) = poll(&mut watched, PollTimeout::NONE) {}
        exit(1);
    })?;
    Ok(())
}

/// The process that made the connection, which becomes readable when that ends; none on a Linux
/// before 6.5.
#[cfg(target_os = "linux")]
fn process_of(connection: &OwnedFd) -> Option<OwnedFd> {
    use nix::sys::socket::{getsockopt, sockopt};

    getsockopt(connection, sockopt::PeerPidfd).ok()
}

#[cfg(not(target_os = "linux"))]
fn process_of(_: &OwnedFd) -> Option<OwnedFd> {
    None
}

/// For a worker: ends this process. Exit runs what the program has registered for it, which may
/// wait for ever: the kernel ends the process so many seconds later, at least 1.
pub(crate) fn exit(grace: u32) -> ! {
    alarm::set(grace);
    process::exit(0)
}

/// Nanoseconds on a clock that all processes of this machine share and nobody sets.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every process has this clock");
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}

/// What `kill -9` does, to this very process: no destructor runs, no word is sent. For programs
/// that show, or test, what the death of a worker does.
pub fn kill_this_process() -> ! {
    raise(Signal::SIGKILL).expect("a process may kill itself");
    unreachable!("nobody survives SIGKILL")
}
