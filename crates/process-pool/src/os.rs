//! What differs between operating systems. Everything above this file is portable.

#[cfg(unix)]
#[path = "os/unix.rs"]
mod imp;
#[cfg(not(unix))]
#[path = "os/unsupported.rs"]
mod imp;

pub use imp::kill_this_process;
pub(crate) use imp::{
    Stream, end, end_with_parent, end_with_process, ended, exit, interrupt, now, spawn,
    start_afresh, stream, take_name, terminate, this_program,
};
