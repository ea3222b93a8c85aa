//! What the operating system knows of processor time: the one file that asks it.

use std::time::Duration;

/// Processor time, user and system, of this process and of its children that have ended and
/// been waited for. `None` where it is unknown.
///
/// Source: getrusage(2), `RUSAGE_SELF` and `RUSAGE_CHILDREN`.
#[cfg(unix)]
pub fn cpu_time() -> Option<Duration> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeVal;

    let time = |t: TimeVal| {
        let seconds = Duration::from_secs(t.tv_sec().try_into().ok()?);
        Some(seconds + Duration::from_micros(t.tv_usec().try_into().ok()?))
    };
    let used_by = |who| {
        let usage = getrusage(who).ok()?;
        Some(time(usage.user_time())? + time(usage.system_time())?)
    };
    Some(used_by(UsageWho::RUSAGE_SELF)? + used_by(UsageWho::RUSAGE_CHILDREN)?)
}

/// Elsewhere: unknown.
#[cfg(not(unix))]
pub fn cpu_time() -> Option<Duration> {
    None
}
