//! The rules of the lock: a state machine without threads and without time of its own.
//!
//! The model is CPython's `Python/ceval_gil.c`, the common core of 3.12 to 3.14. A driver feeds
//! in what happens and does what comes out; [`Gil`](crate::Gil) is the driver with real threads
//! and a real clock.
//!
//! | what happens | input | what to do |
//! |---|---|---|
//! | a thread wants the lock | [`try_take`](Rules::try_take) | [`Take`] |
//! | a waiter's interval passed | [`timed_out`](Rules::timed_out) | [`Take`] |
//! | a waiter was signalled | [`woken`](Rules::woken) | [`Take`] |
//! | a waiter ends without the lock | [`leave`](Rules::leave) | wake who waits for the switch, if so told |
//! | the holder releases | [`release`](Rules::release) | [`Released`] |
//! | a thread waits for the switch | [`must_wait_for_switch`](Rules::must_wait_for_switch) | wait on, or go on |
//!
//! What needs no state is the driver's part:
//!
//! - A check point looks at [`drop_requested`](Rules::drop_requested); on a request it releases
//!   and takes. Where the check points are is [`CheckPoints`]. Code without one is never
//!   interrupted.
//! - A blocking call is a release, the call, and a take.
//! - A forked child makes new `Rules`; the thread that forked, the only one there, takes them.

use crate::{CheckPoints, Settings};
use std::time::Duration;

/// Names a thread to the rules. Two threads that use one lock never share a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub usize);

/// What a thread that wants the lock does next.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Take {
    /// It holds the lock, and the drop request is clear.
    Taken {
        /// The thread that waits for the switch has its switch: signal it.
        wake_dropper: bool,
    },
    /// It waits for a signal, at most for [`Rules::interval`].
    Wait(Waiter),
    /// The drop request is set from now on; the thread waits as in [`Take::Wait`].
    AskAndWait(Waiter),
}

/// A thread that waits for the lock. One wait ends with exactly one of
/// [`timed_out`](Rules::timed_out), [`woken`](Rules::woken) and [`leave`](Rules::leave).
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Waiter {
    me: ThreadId,
    /// The number of switches when this wait began.
    switch_number: u64,
}

/// What a thread that released the lock does next.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// Nobody waits: it goes on.
    Unwanted,
    /// It signals one waiter, any of them, and goes on.
    Wake,
    /// It signals one waiter, then waits as long as [`Rules::must_wait_for_switch`].
    WakeAndWaitForSwitch,
}

/// The lock as data. See the [module](self).
#[derive(Debug)]
pub struct Rules {
    settings: Settings,
    locked: bool,
    /// Kept after a release: taking the lock back oneself is no switch.
    last_holder: Option<ThreadId>,
    switch_number: u64,
    drop_request: bool,
    /// Counted so that nobody is signalled in vain (a signal is a system call), and so that nobody
    /// waits for a switch that nobody is there to make.
    pub(crate) waiters: usize,
    /// Dropped the lock on request and may not come back before another thread had it. There is at
    /// most one: the next take ends its wait, and only a holder can begin one.
    dropper: Option<ThreadId>,
}

impl Rules {
    /// A free lock.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Rules {
            settings,
            locked: false,
            last_holder: None,
            switch_number: 0,
            drop_request: false,
            waiters: 0,
            dropper: None,
        }
    }

    /// How long a waiter waits before it looks again: for ever where ticks count, and nobody asks.
    #[must_use]
    pub fn interval(&self) -> Duration {
        match self.settings.check_points {
            CheckPoints::Ticks(_) => Duration::MAX,
            _ => self.settings.interval.max(Duration::from_micros(1)),
        }
    }

    /// The thread that has the lock.
    #[must_use]
    pub fn holder(&self) -> Option<ThreadId> {
        self.last_holder.filter(|_| self.locked)
    }

    /// How often the lock went to another thread than the one that had it last.
    /// The first take of all counts.
    #[must_use]
    pub fn switch_number(&self) -> u64 {
        self.switch_number
    }

    /// Whether the holder is asked to drop the lock at its next check point.
    #[must_use]
    pub fn drop_requested(&self) -> bool {
        self.drop_request
    }

    /// A thread wants the lock. If it is free the thread has it, whoever else was signalled.
    ///
    /// # Panics
    ///
    /// If it has the lock already: it would wait for itself.
    pub fn try_take(&mut self, me: ThreadId) -> Take {
        assert!(self.holder() != Some(me), "{me:?} already holds the lock");
        if self.locked {
            self.waiters += 1;
            Take::Wait(self.waiter(me))
        } else {
            self.take(me)
        }
    }

    /// The interval of a wait passed without a signal. The waiter asks for the lock, unless
    /// it was handed over during the wait: then the new holder is not to pay for the old one.
    pub fn timed_out(&mut self, waiter: Waiter) -> Take {
        if self.locked && self.switch_number == waiter.switch_number {
            self.drop_request = true;
            Take::AskAndWait(waiter)
        } else {
            self.woken(waiter)
        }
    }

    /// A waiter was signalled, or woke for no reason. If the lock is gone again, its interval
    /// starts afresh, without a request.
    pub fn woken(&mut self, waiter: Waiter) -> Take {
        if self.locked {
            Take::Wait(self.waiter(waiter.me))
        } else {
            self.waiters -= 1;
            self.take(waiter.me)
        }
    }

    /// A waiter ends without taking the lock. A request of its own must not outlive it, so the
    /// request is withdrawn; others who still wait ask again, as in CPython since 3.12.
    ///
    /// [`Gil`](crate::Gil) and the simulator have no such waiter: nobody gives up there. It is for
    /// a driver whose threads end while they wait, as daemon threads do when Python ends.
    ///
    /// Returns whether to signal the thread that waits for the switch: nobody is left to make it.
    #[must_use]
    pub fn leave(&mut self, _: Waiter) -> bool {
        self.waiters -= 1;
        self.drop_request = false;
        self.waiters == 0 && self.dropper.take().is_some()
    }

    /// The holder releases the lock, on request or of its own accord: a request that is pending
    /// forces the switch in either case.
    ///
    /// # Panics
    ///
    /// If `me` does not hold the lock.
    pub fn release(&mut self, me: ThreadId) -> Released {
        assert!(self.holder() == Some(me), "{me:?} does not hold the lock");
        self.locked = false;
        if self.waiters == 0 {
            Released::Unwanted
        } else if self.drop_request && self.settings.forced_switching {
            self.dropper = Some(me);
            Released::WakeAndWaitForSwitch
        } else {
            Released::Wake
        }
    }

    /// Whether a thread that released the lock still waits for another one to take it.
    #[must_use]
    pub fn must_wait_for_switch(&self, me: ThreadId) -> bool {
        self.dropper == Some(me)
    }

    fn take(&mut self, me: ThreadId) -> Take {
        self.locked = true;
        if self.last_holder != Some(me) {
            self.last_holder = Some(me);
            self.switch_number += 1;
        }
        // A new holder starts clean: whoever still waits times out again before it asks.
        self.drop_request = false;
        Take::Taken { wake_dropper: self.dropper.take().is_some() }
    }

    fn waiter(&self, me: ThreadId) -> Waiter {
        Waiter { me, switch_number: self.switch_number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ThreadId = ThreadId(1);
    const B: ThreadId = ThreadId(2);
    const C: ThreadId = ThreadId(3);

    /// Taken, and nobody waited for the switch.
    const TAKEN: Take = Take::Taken { wake_dropper: false };
    /// Taken, and the thread that dropped the lock on request may come back.
    const SWITCHED: Take = Take::Taken { wake_dropper: true };

    fn held_by(me: ThreadId) -> Rules {
        held_with(Settings::default(), me)
    }

    fn held_with(settings: Settings, me: ThreadId) -> Rules {
        let mut rules = Rules::new(settings);
        assert_eq!(rules.try_take(me), TAKEN);
        rules
    }

    #[track_caller]
    fn waiting(take: Take) -> Waiter {
        let Take::Wait(waiter) = take else { panic!("{take:?} is no wait without a request") };
        waiter
    }

    #[track_caller]
    fn asking(take: Take) -> Waiter {
        let Take::AskAndWait(waiter) = take else { panic!("{take:?} is no request") };
        waiter
    }

    /// A holds the lock, B waits and has asked for it.
    fn asked() -> (Rules, Waiter) {
        let mut rules = held_by(A);
        let b = waiting(rules.try_take(B));
        let b = asking(rules.timed_out(b));
        (rules, b)
    }

    #[test]
    fn o1_while_one_holds_the_lock_every_other_waits() {
        let mut rules = held_by(A);
        let b = waiting(rules.try_take(B));
        let c = waiting(rules.try_take(C));
        let _b = waiting(rules.woken(b));
        let _c = asking(rules.timed_out(c));
        assert_eq!(rules.holder(), Some(A));
    }

    #[test]
    fn o2_a_thread_alone_never_waits_and_is_never_asked() {
        let mut rules = held_by(A);
        for _ in 0..3 {
            assert!(!rules.drop_requested());
            assert_eq!(rules.release(A), Released::Unwanted);
            assert_eq!(rules.holder(), None);
            assert_eq!(rules.try_take(A), TAKEN);
        }
        assert_eq!(rules.switch_number(), 1);
    }

    #[test]
    fn o3_only_a_wait_that_timed_out_asks() {
        let mut rules = held_by(A);
        let b = waiting(rules.try_take(B));
        assert!(!rules.drop_requested());
        let b = waiting(rules.woken(b));
        assert!(!rules.drop_requested());
        let _b = asking(rules.timed_out(b));
        assert!(rules.drop_requested());
    }

    #[test]
    fn o4_a_switch_during_the_wait_starts_a_fresh_interval_without_a_request() {
        let mut rules = held_by(A);
        let b = waiting(rules.try_take(B));
        let c = waiting(rules.try_take(C));
        assert_eq!(rules.release(A), Released::Wake);
        assert_eq!(rules.woken(c), TAKEN);
        let b = waiting(rules.timed_out(b));
        assert!(!rules.drop_requested());
        // The fresh interval passes under one holder: now it asks.
        let _b = asking(rules.timed_out(b));
        assert!(rules.drop_requested());
    }

    #[test]
    fn a_time_out_that_finds_the_lock_free_takes_it() {
        let mut rules = held_by(A);
        let b = waiting(rules.try_take(B));
        assert_eq!(rules.release(A), Released::Wake);
        assert_eq!(rules.timed_out(b), TAKEN);
        assert_eq!(rules.holder(), Some(B));
    }

    #[test]
    fn o5_who_drops_on_request_comes_back_after_another_had_the_lock() {
        let (mut rules, b) = asked();
        assert_eq!(rules.release(A), Released::WakeAndWaitForSwitch);
        assert!(rules.must_wait_for_switch(A));
        assert_eq!(rules.woken(b), SWITCHED);
        assert!(!rules.must_wait_for_switch(A));
        let _a = waiting(rules.try_take(A));
        assert_eq!(rules.holder(), Some(B));
    }

    #[test]
    fn o5_any_other_thread_makes_the_switch_even_one_that_comes_late() {
        let (mut rules, b) = asked();
        assert_eq!(rules.release(A), Released::WakeAndWaitForSwitch);
        assert_eq!(rules.try_take(C), SWITCHED);
        assert!(!rules.must_wait_for_switch(A));
        let _b = waiting(rules.woken(b));
    }

    #[test]
    fn o5_each_dropper_waits_for_its_own_switch() {
        // A is signalled but slow to look: by then B has dropped the lock on request as well.
        let (mut rules, b) = asked();
        assert_eq!(rules.release(A), Released::WakeAndWaitForSwitch);
        assert_eq!(rules.woken(b), SWITCHED);
        let c = waiting(rules.try_take(C));
        let _c = asking(rules.timed_out(c));
        assert_eq!(rules.release(B), Released::WakeAndWaitForSwitch);
        assert!(!rules.must_wait_for_switch(A));
        assert!(rules.must_wait_for_switch(B));
        assert_eq!(rules.try_take(A), SWITCHED);
    }

    #[test]
    fn a_voluntary_release_with_a_request_pending_waits_for_the_switch_too() {
        // The rules do not know why a thread releases; a request is enough.
        let (mut rules, _b) = asked();
        assert_eq!(rules.release(A), Released::WakeAndWaitForSwitch);
    }

    #[test]
    fn o6_without_a_request_the_same_thread_may_take_the_lock_back_and_that_is_no_switch() {
        let mut rules = held_by(A);
        let b = waiting(rules.try_take(B));
        assert_eq!(rules.release(A), Released::Wake);
        assert!(!rules.must_wait_for_switch(A));
        assert_eq!(rules.try_take(A), TAKEN);
        assert_eq!(rules.switch_number(), 1);
        let _b = waiting(rules.woken(b));
    }

    #[test]
    fn o7_a_holder_that_keeps_releasing_keeps_a_waiter_from_ever_asking() {
        let mut rules = held_by(A);
        let mut b = waiting(rules.try_take(B));
        for _ in 0..1_000 {
            assert_eq!(rules.release(A), Released::Wake);
            assert_eq!(rules.try_take(A), TAKEN);
            b = waiting(rules.woken(b));
        }
        assert!(!rules.drop_requested());
    }

    #[test]
    fn o8_every_take_clears_the_request() {
        let (mut rules, b) = asked();
        assert_eq!(rules.release(A), Released::WakeAndWaitForSwitch);
        assert!(rules.drop_requested());
        assert_eq!(rules.woken(b), SWITCHED);
        assert!(!rules.drop_requested());

        // Also the take of the thread that was asked, where nothing forces a switch.
        let settings = Settings { forced_switching: false, ..Settings::default() };
        let mut rules = held_with(settings, A);
        let b = waiting(rules.try_take(B));
        let _b = asking(rules.timed_out(b));
        assert_eq!(rules.release(A), Released::Wake);
        assert_eq!(rules.try_take(A), TAKEN);
        assert!(!rules.drop_requested());
    }

    #[test]
    fn switches_count_changes_of_the_holder() {
        let mut rules = held_by(A);
        for me in [B, B, A, C] {
            let _ = rules.release(rules.holder().expect("held since the last round"));
            assert_eq!(rules.try_take(me), TAKEN);
        }
        assert_eq!(rules.switch_number(), 4);
    }

    #[test]
    fn o13_an_interval_below_a_microsecond_acts_as_one() {
        let interval = |nanos| {
            let interval = Duration::from_nanos(nanos);
            Rules::new(Settings { interval, ..Settings::default() }).interval().as_nanos()
        };
        assert_eq!(
            [0, 1, 999, 1_000, 1_001].map(interval),
            [1_000, 1_000, 1_000, 1_000, 1_001]
        );
    }

    #[test]
    fn o14_without_forced_switching_a_thread_that_was_asked_may_win_the_lock_back() {
        let settings = Settings { forced_switching: false, ..Settings::default() };
        let mut rules = held_with(settings, A);
        let mut b = waiting(rules.try_take(B));
        for _ in 0..200 {
            b = asking(rules.timed_out(b));
            assert_eq!(rules.release(A), Released::Wake);
            assert!(!rules.must_wait_for_switch(A));
            assert_eq!(rules.try_take(A), TAKEN);
            // Signalled, and too late. At 5 ms a round, this is a second without the lock.
            b = waiting(rules.woken(b));
        }
        assert_eq!(rules.switch_number(), 1);
    }

    #[test]
    fn o15_a_requester_that_took_the_lock_and_ended_leaves_nobody_blocked() {
        let (mut rules, b) = asked();
        assert_eq!(rules.release(A), Released::WakeAndWaitForSwitch);
        assert_eq!(rules.woken(b), SWITCHED);
        assert_eq!(rules.release(B), Released::Unwanted);
        // A looks only now. The last holder is kept after a release, so it sees its switch.
        assert!(!rules.must_wait_for_switch(A));
        assert_eq!(rules.try_take(A), TAKEN);
    }

    #[test]
    fn o15_a_requester_that_ends_before_the_drop_takes_its_request_along() {
        let (mut rules, b) = asked();
        assert!(!rules.leave(b), "nobody waits for a switch");
        assert!(!rules.drop_requested());
        assert_eq!(rules.release(A), Released::Unwanted);
    }

    #[test]
    fn o15_a_requester_that_ends_after_the_drop_frees_the_dropper() {
        let (mut rules, b) = asked();
        assert_eq!(rules.release(A), Released::WakeAndWaitForSwitch);
        assert!(rules.leave(b), "the dropper must be signalled");
        assert!(!rules.must_wait_for_switch(A));
        assert_eq!(rules.try_take(A), TAKEN);
    }

    #[test]
    fn o15_the_dropper_waits_on_while_another_is_there_to_make_the_switch() {
        let (mut rules, b) = asked();
        let c = waiting(rules.try_take(C));
        assert_eq!(rules.release(A), Released::WakeAndWaitForSwitch);
        assert!(!rules.leave(b));
        assert!(rules.must_wait_for_switch(A));
        assert_eq!(rules.timed_out(c), SWITCHED);
    }

    #[test]
    #[should_panic = "ThreadId(1) already holds the lock"]
    fn the_holder_cannot_take_the_lock_again() {
        let _ = held_by(A).try_take(A);
    }

    #[test]
    #[should_panic = "ThreadId(2) does not hold the lock"]
    fn only_the_holder_releases() {
        let _ = held_by(A).release(B);
    }
}
