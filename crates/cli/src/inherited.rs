//! What a program inherits from whoever starts it, and does not want.

/// A program that is started inherits which signals are blocked and which are ignored. Nobody can
/// tell how a process has ended whose parent ignores SIGCHLD, and no program ends on Ctrl-C that
/// blocks SIGINT.
#[cfg(unix)]
pub(crate) fn put_right() {
    use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

    #[expect(unsafe_code, reason = "a handler could do anything")]
    // SAFETY: the default runs no code of this program.
    let set = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    set.expect("there is such a signal");
    SigSet::empty().thread_set_mask().expect("every mask can be set");
}

#[cfg(not(unix))]
pub(crate) fn put_right() {}
