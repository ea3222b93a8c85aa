//! Unix: process groups, signals, and a clock that all processes share.
//!
//! The end of file of a connection tells of the end of a process on every Unix, but not while a
//! child that it forked lives: that one holds the connection too. On Linux the end of the process
//! itself is watched, on both sides; elsewhere such a worker counts as alive as long as its
//! children, and outlives its parent as long as the parent's.

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::{env, io};

use ipc::Socket;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, raise};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, alarm};

use crate::Ended;

/// The file of this program; one that has been replaced or removed since it started is still
/// there for Linux, and is no other version.
pub(crate) fn this_program() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    // Not always by this name: it would be what lists of processes call every worker.
    let is_gone = cfg!(target_os = "linux") && !path.exists();
    Ok(if is_gone { "/proc/self/exe".into() } else { path })
}

/// A process group of its own: Ctrl-C reaches the parent alone, which ends its workers. Else
/// every worker would die by itself, and be reported as killed.
pub(crate) fn set_apart(command: &mut Command) {
    command.process_group(0);
}

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
