//! What a worker starts with, whatever this process does with its signals.
//!
//! A program that is started inherits which signals are blocked and which are ignored. A host
//! that waits for SIGTERM blocks it, and one that a script has started in the background ignores
//! SIGINT: their workers would be deaf. The usual cure, to put it right between fork and exec,
//! would cost the quick way of starting (`posix_spawn`). So the worker does it itself, first of
//! all.

use std::mem::MaybeUninit;
use std::ptr;

use nix::libc::{self, c_int};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// What a parent asks its workers to end with.
const SENT: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// Keeps a signal that is sent to a child before it serves, until this is dropped: only for
/// children that this thread starts meanwhile.
pub(super) struct HeldBack(Option<SigSet>);

/// A child that ignores a signal loses it; one that blocks it as well finds it when it serves. What
/// this process does not ignore needs nothing: it ends the child at once, or is blocked already.
pub(super) fn hold_back() -> HeldBack {
    let lost: SigSet = SENT.into_iter().filter(|&signal| is_ignored(signal as c_int)).collect();
    HeldBack(lost.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            before.thread_set_mask().expect("it was the mask before");
        }
    }
}

/// For a worker, before it has threads: no signal is blocked, and none is ignored but for
/// - SIGHUP, as inherited: `nohup` means the workers too;
/// - SIGPIPE, as Rust's runtime has it;
/// - SIGTTOU and SIGTTIN: a worker is never in the foreground of its terminal. It would be stopped
///   for good as it prints to one with `tostop`, or reads from one.
///
/// Programs that its tasks start inherit that.
pub(crate) fn start_afresh() {
    // Signals that there are none of are not ignored.
    for signal in (1..=64).filter(|&signal| is_ignored(signal)) {
        if ![libc::SIGHUP, libc::SIGPIPE].contains(&signal) {
            set(signal, libc::SIG_DFL);
        }
    }
    set(libc::SIGTTOU, libc::SIG_IGN);
    set(libc::SIGTTIN, libc::SIG_IGN);
    // Last: what was held back arrives now, and finds what becomes of it.
    SigSet::empty().thread_set_mask().expect("every mask can be set");
}

fn is_ignored(signal: c_int) -> bool {
    let mut found = MaybeUninit::<libc::sigaction>::uninit();
    #[expect(unsafe_code, reason = "nix sets what becomes of a signal, and does not ask")]
    // SAFETY: without a new action nothing is changed, and `found` is filled in on success.
    unsafe {
        libc::sigaction(signal, ptr::null(), found.as_mut_ptr()) == 0
            && found.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn set(signal: c_int, becomes: libc::sighandler_t) {
    #[expect(unsafe_code, reason = "a handler could do anything")]
    // SAFETY: both that are set here, the default and nothing, run no code of this program.
    unsafe {
        libc::signal(signal, becomes);
    }
}
