//! What differs between operating systems: how a child is set apart, and how its end is told.

use std::process::{Command, ExitStatus};

use crate::Ended;

/// A process group of its own: Ctrl-C reaches the parent alone, which ends its workers. Else
/// every worker would die by itself, and be reported as killed.
#[cfg(unix)]
pub(crate) fn set_apart(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
pub(crate) fn set_apart(_: &mut Command) {}

/// The signal or the status that ended the process.
#[cfg(unix)]
pub(crate) fn ended(status: ExitStatus, pid: u32) -> Ended {
    use std::os::unix::process::ExitStatusExt;

    use nix::sys::signal::Signal;
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

#[cfg(not(unix))]
pub(crate) fn ended(status: ExitStatus, pid: u32) -> Ended {
    Ended::Exited { code: status.code().unwrap_or_default(), pid }
}

/// What `kill -9` does, to this very process: no destructor runs, no word is sent. For programs
/// that show, or test, what the death of a worker does.
#[cfg(unix)]
pub fn kill_this_process() -> ! {
    use nix::sys::signal::{Signal, raise};
    raise(Signal::SIGKILL).expect("a process may kill itself");
    unreachable!("nobody survives SIGKILL")
}

/// The same where there are no signals: an exit without a word.
#[cfg(not(unix))]
pub fn kill_this_process() -> ! {
    std::process::exit(9)
}
