//! What only Unix has. Elsewhere no process of this lesson starts, and none of this is called.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes this process one that may crash: what it says on stderr goes to a file that loses its
/// name here, and it leaves no image of its memory behind.
#[cfg(unix)]
pub fn prepare_for_a_crash(stderr: &Path) -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};

    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    nix::unistd::dup2_stderr(File::options().append(true).open(stderr)?)?;
    // The parent has it open. What interrupts the lesson from here on leaves no file behind.
    fs::remove_file(stderr)
}

/// Limits the addresses of this process. macOS accepts the limit and does not keep it.
#[cfg(unix)]
pub fn limit_memory(bytes: usize) {
    use nix::sys::resource::{Resource, setrlimit};

    let bytes = bytes as nix::sys::resource::rlim_t;
    // Where it is refused, no memory runs out, which the caller sees.
    let _ = setrlimit(Resource::RLIMIT_AS, bytes, bytes);
}

#[cfg(not(unix))]
pub fn prepare_for_a_crash(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
pub fn limit_memory(_: usize) {}
