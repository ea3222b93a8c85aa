//! The few words of memory that the two sides of a lent end share.
//!
//! They carry what must be exact although either side may be stopped or killed at any moment:
//! who takes a word down with one atomic step has what it stood for. The messages between the
//! sides only say "look".

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use serde::{Deserialize, Serialize};

use crate::{Error, SharedSlice};

/// Counted by the side that fills it, used up by the other: places that a sender may fill.
const CREDITS: usize = 0;
/// 1 while the lent end waits for something: a place, or a message.
const WISH: usize = 1;
/// Messages that the program behind a lent receiver has taken.
const TAKEN: usize = 16;
/// 1 when the owner wants to hear of the next one that is taken.
const TELL: usize = 32;
/// 1 when a lent receiver is the last one: what comes is its own, it need not ask.
const LAST: usize = 33;
const WORDS: usize = 48;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Words(SharedSlice<u64>);

impl Words {
    pub(super) fn new() -> Result<Self, Error> {
        SharedSlice::zeroed(WORDS).map(Self)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.0.cells()[index]
    }

    /// Whether this is what [`new`](Self::new) makes: memory that came in a message can be any.
    pub(super) fn are_whole(&self) -> bool {
        self.0.len() == WORDS
    }

    /// Lets the sender fill so many more places.
    pub(super) fn grant(&self, places: usize) {
        self.word(CREDITS).fetch_add(places as u64, SeqCst);
    }

    /// Takes back the places that are not filled yet.
    pub(super) fn revoke(&self) -> u64 {
        self.word(CREDITS).swap(0, SeqCst)
    }

    /// Takes one place, if there is one.
    pub(super) fn take_place(&self) -> bool {
        self.word(CREDITS).fetch_update(SeqCst, SeqCst, |places| places.checked_sub(1)).is_ok()
    }

    pub(super) fn wish(&self) {
        self.word(WISH).store(1, SeqCst);
    }

    pub(super) fn has_wish(&self) -> bool {
        self.word(WISH).load(SeqCst) == 1
    }

    /// Ends the wish: the owner to grant it, the other side to withdraw it. Only one succeeds.
    pub(super) fn end_wish(&self) -> bool {
        self.word(WISH).compare_exchange(1, 0, SeqCst, SeqCst).is_ok()
    }

    /// Counts a message as taken. True when the owner wants to hear of it.
    pub(super) fn count_taken(&self) -> bool {
        // Both this counter and the flag are changed in one total order (`SeqCst`): either the
        // owner, which sets the flag and then looks at the counter, sees this message, or the
        // flag is seen here.
        self.word(TAKEN).fetch_add(1, SeqCst);
        self.word(TELL).load(SeqCst) == 1 && self.word(TELL).swap(0, SeqCst) == 1
    }

    pub(super) fn taken(&self) -> u64 {
        self.word(TAKEN).load(SeqCst)
    }

    /// Asks to be told of the next message that is taken.
    pub(super) fn tell(&self) {
        self.word(TELL).store(1, SeqCst);
    }

    pub(super) fn set_last(&self) {
        self.word(LAST).store(1, SeqCst);
    }

    pub(super) fn is_last(&self) -> bool {
        self.word(LAST).load(SeqCst) == 1
    }
}
