//! The operating system's part: a two-way socket that carries bytes and open handles, and
//! memory without a name. Everything above this file is portable.

#[cfg(unix)]
#[path = "os/unix.rs"]
mod imp;
#[cfg(not(unix))]
#[path = "os/unsupported.rs"]
mod imp;

pub use imp::Socket;
pub(crate) use imp::{Handle, advice, nameless_memory, stays_large, wait_readable};
