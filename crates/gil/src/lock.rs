use crate::rules::{Released, Rules, Take, ThreadId};
use crate::{CheckPoints, Settings, Site};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use timeline::{Lane, State};

/// A global lock for threads that hold it most of the time.
///
/// An ordinary mutex is held for moments. This lock is held as long as a thread computes, so
/// whoever wants it asks for it after an [interval](Settings::interval), and the holder gives
/// it up at its next [check point](Token::check_point). Who gets it then is not a queue.
///
/// It orders the threads and protects no data of its own, as in Python.
//
// CPython guards the forced switch with a second mutex, taken inside the first one. One is
// enough: the switch is made under it, and under it a dropper looks whether it was made and
// begins to wait in one step, so the signal cannot fall in between. There is no lock order to
// get wrong. The price: a woken dropper may find the mutex taken, for the few instructions of
// the rules.
#[derive(Debug)]
pub struct Gil {
    rules: Mutex<Rules>,
    /// Waiters wait here for the lock to be free, or for their interval to pass.
    released: Condvar,
    /// Who dropped the lock on request waits here until another thread had it.
    switched: Condvar,
    /// What the rules say about the drop request, for the holder to see without the mutex. It is
    /// written with the mutex held; relaxed is enough, for the holder acts on it by locking.
    drop_request: AtomicBool,
    /// Whether somebody waits for the switch, for that thread to see without the mutex.
    switch_is_due: AtomicBool,
    check_points: CheckPoints,
    /// Taking and releasing do nothing.
    free_threaded: bool,
}

/// How long a thread looks for the switch before it sleeps until then: as long as it takes to
/// wake the other one.
const LOOKS: Duration = Duration::from_micros(50);

impl Gil {
    /// A free lock with CPython's settings.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// A free lock.
    #[must_use]
    pub fn with(settings: Settings) -> Self {
        Gil {
            rules: Mutex::new(Rules::new(settings)),
            released: Condvar::new(),
            switched: Condvar::new(),
            drop_request: AtomicBool::new(false),
            switch_is_due: AtomicBool::new(false),
            check_points: settings.check_points,
            free_threaded: false,
        }
    }

    /// No lock, as in a free-threaded build: taking and releasing do nothing, any number of
    /// threads have a token at once, and no check point stops them.
    #[must_use]
    pub fn free_threaded() -> Self {
        Gil { free_threaded: true, ..Gil::new() }
    }

    /// Waits until the calling thread has the lock, and keeps it as long as the token lives.
    ///
    /// # Panics
    ///
    /// If the calling thread has the lock already.
    pub fn acquire(&self) -> Token<'_> {
        Token::acquire(self, None)
    }

    /// As [`acquire`](Gil::acquire), and records on `lane` when the thread has the lock
    /// ([`State::Run`]), waits for it, is forced to wait, and what it does without it.
    ///
    /// At each moment at most one lane runs: the stamps are taken while no other thread can take
    /// the lock.
    ///
    /// # Panics
    ///
    /// If the calling thread has the lock already.
    pub fn acquire_on<'a>(&'a self, lane: &'a mut Lane) -> Token<'a> {
        Token::acquire(self, Some(lane))
    }

    /// How often the lock went to another thread than the one that had it last.
    /// The first acquisition of all counts. Always 0 without a lock.
    #[must_use]
    pub fn switches(&self) -> u64 {
        self.lock().switch_number()
    }

    fn take(&self, me: ThreadId, mut lane: Option<&mut Lane>) {
        if self.free_threaded {
            return lane.into_iter().for_each(|lane| lane.enter(State::Run));
        }
        let mut rules = self.lock();
        let mut next = rules.try_take(me);
        if let (Take::Wait(_), Some(lane)) = (&next, &mut lane) {
            lane.enter(State::WaitForLock);
        }
        let wake_dropper = loop {
            let waiter = match next {
                Take::Taken { wake_dropper } => break wake_dropper,
                Take::Wait(waiter) => waiter,
                Take::AskAndWait(waiter) => {
                    self.drop_request.store(true, Ordering::Relaxed);
                    if let Some(lane) = &mut lane {
                        lane.ask(rules.interval());
                    }
                    waiter
                }
            };
            let interval = rules.interval();
            let (guard, time_out) = self
                .released
                .wait_timeout(rules, interval)
                .unwrap_or_else(PoisonError::into_inner);
            rules = guard;
            next = if time_out.timed_out() {
                rules.timed_out(waiter)
            } else {
                rules.woken(waiter)
            };
        };
        self.drop_request.store(false, Ordering::Relaxed);
        if let Some(lane) = lane {
            lane.enter(State::Run);
        }
        self.switch_is_due.store(false, Ordering::Relaxed);
        drop(rules);
        if wake_dropper {
            self.switched.notify_one();
        }
    }

    /// Releases the lock, waits for the switch if it must, and goes on in the state `next`. Without
    /// one, a forced wait stays open on the lane: who takes the lock again next leaves no gap.
    fn release(&self, me: ThreadId, mut lane: Option<&mut Lane>, next: Option<State>) {
        let mut record = |state| match (&mut lane, state) {
            (Some(lane), Some(state)) => lane.enter(state),
            (Some(lane), None) => lane.leave(),
            (None, _) => {}
        };
        if self.free_threaded {
            return record(next);
        }
        let mut rules = self.lock();
        let released = rules.release(me);
        let forced = released == Released::WakeAndWaitForSwitch;
        record(if forced { Some(State::ForcedWait) } else { next });
        self.switch_is_due.store(forced, Ordering::Relaxed);
        // Signalled without the mutex: on one core the woken thread runs at once, and wants it.
        drop(rules);
        if released != Released::Unwanted {
            self.released.notify_one();
        }
        if forced {
            self.wait_for_switch(me);
            if next.is_some() {
                record(next);
            }
        }
    }

    /// Waits until another thread has had the lock.
    fn wait_for_switch(&self, me: ThreadId) {
        // The other one is awake or on its way. To have it wake this thread costs it more than the
        // way does. The price: where other programs want the cores, the first look may give this
        // one away for a time slice.
        let begun = Instant::now();
        while self.switch_is_due.load(Ordering::Relaxed) && begun.elapsed() < LOOKS {
            thread::yield_now();
        }
        let switched = self
            .switched
            .wait_while(self.lock(), |rules| rules.must_wait_for_switch(me))
            .unwrap_or_else(PoisonError::into_inner);
        drop(switched);
    }

    /// A poisoned mutex is as good as new: under it only the rules panic, when they refuse a
    /// call, and they do so before they change anything.
    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Gil {
    fn default() -> Self {
        Self::new()
    }
}

/// The lock, held by the thread that this token is on.
///
/// Dropping it releases the lock, also when the thread panics. It stays on its thread:
///
/// ```compile_fail,E0277
/// let gil = gil::Gil::new();
/// let token = gil.acquire();
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(token));
/// });
/// ```
#[must_use = "the lock is released when the token is dropped"]
#[derive(Debug)]
pub struct Token<'a> {
    gil: &'a Gil,
    me: ThreadId,
    /// What it has executed since the last drop, where ticks count.
    ticks: u32,
    lane: Option<&'a mut Lane>,
    /// Only the thread that took the lock may release it: a token is not `Send`.
    on_this_thread: PhantomData<*const ()>,
}

impl<'a> Token<'a> {
    fn acquire(gil: &'a Gil, mut lane: Option<&'a mut Lane>) -> Self {
        let me = this_thread();
        gil.take(me, lane.as_deref_mut());
        Token { gil, me, ticks: 0, lane, on_this_thread: PhantomData }
    }

    /// Where a running thread lets another one in, if one has asked for the lock: it releases
    /// it, and takes it back after the other.
    ///
    /// One relaxed load when nobody has asked.
    #[inline]
    pub fn check_point(&mut self) {
        if self.gil.drop_request.load(Ordering::Relaxed) {
            self.give_way();
        }
    }

    /// Says that the thread has executed such a site of a program that is written as Python is:
    /// a check point if the [`CheckPoints`] of the lock have one there, or a tick where ticks
    /// count.
    #[inline]
    pub fn executed(&mut self, site: Site) {
        match self.gil.check_points {
            CheckPoints::Ticks(ticks) => self.tick(ticks),
            check_points if check_points.follow(site) => self.check_point(),
            _ => {}
        }
    }

    fn tick(&mut self, ticks: u32) {
        self.ticks += 1;
        if self.ticks >= ticks {
            self.ticks = 0;
            self.give_way();
        }
    }

    #[cold]
    fn give_way(&mut self) {
        self.release(None);
        self.take();
    }

    /// Runs `f` without the lock: something that waits for the world outside.
    ///
    /// The lock is taken back before this returns, also when `f` panics.
    ///
    /// # Panics
    ///
    /// If `f` leaves the calling thread with the lock: it aborts the program when `f` panics too.
    pub fn allow_threads<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.allow_threads_as(State::Io, f)
    }

    /// As [`allow_threads`](Token::allow_threads), recorded on the lane as `state`: native code
    /// that does not need the lock is [`State::Native`].
    pub fn allow_threads_as<R>(&mut self, state: State, f: impl FnOnce() -> R) -> R {
        struct TakeBack<'t, 'a>(&'t mut Token<'a>);
        impl Drop for TakeBack<'_, '_> {
            fn drop(&mut self) {
                self.0.take();
            }
        }
        self.release(Some(state));
        let _take_back = TakeBack(self);
        f()
    }

    fn take(&mut self) {
        self.gil.take(self.me, self.lane.as_deref_mut());
    }

    fn release(&mut self, next: Option<State>) {
        self.gil.release(self.me, self.lane.as_deref_mut(), next);
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        self.release(None);
        if let Some(lane) = &mut self.lane {
            lane.leave();
        }
    }
}

/// A number that no other thread of this process has or will have.
fn this_thread() -> ThreadId {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static ME: ThreadId = ThreadId(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    ME.with(|me| *me)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use timeline::Timeline;

    /// Long enough that no waiter of a test lives to see it pass: only a signal can wake it.
    const NEVER: Duration = Duration::from_secs(100_000);
    /// Somebody who asks, and whom no thread stands for.
    const NOBODY: ThreadId = ThreadId(usize::MAX);

    /// Runs a test on a thread of its own and fails if it does not end.
    fn ends(test: impl FnOnce() + Send + 'static) {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            test();
            done.send(()).expect("the receiver waits");
        });
        ended.recv_timeout(Duration::from_secs(60)).expect("nobody is blocked, nothing failed");
    }

    fn patient() -> Gil {
        Gil::with(Settings { interval: NEVER, ..Settings::default() })
    }

    fn wait_for_waiters(gil: &Gil, waiters: usize) {
        while gil.lock().waiters < waiters {
            thread::yield_now();
        }
    }

    fn ask(gil: &Gil) {
        let mut rules = gil.lock();
        let Take::Wait(waiter) = rules.try_take(NOBODY) else {
            panic!("somebody has the lock")
        };
        let Take::AskAndWait(_) = rules.timed_out(waiter) else { panic!("it asks") };
        gil.drop_request.store(true, Ordering::Relaxed);
    }

    #[test]
    fn o5_who_dropped_the_lock_on_request_sleeps_until_the_switch() {
        ends(|| {
            let (gil, me) = (patient(), this_thread());
            let held = |take| assert_eq!(take, Take::Taken { wake_dropper: false });
            held(gil.lock().try_take(me));
            ask(&gil);
            assert_eq!(gil.lock().release(me), Released::WakeAndWaitForSwitch);
            gil.switch_is_due.store(true, Ordering::Relaxed);
            let switched = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    gil.wait_for_switch(me);
                    assert!(switched.load(Ordering::Relaxed), "it came back too early");
                });
                // Long enough for it to fall asleep, if it is to be woken and does not look.
                let begun = Instant::now();
                while begun.elapsed() < 100 * LOOKS {
                    thread::yield_now();
                }
                switched.store(true, Ordering::Relaxed);
                drop(gil.acquire());
            });
        });
    }

    #[test]
    fn a_forced_release_wakes_a_waiter() {
        ends(|| {
            let gil = patient();
            thread::scope(|scope| {
                let mut token = gil.acquire();
                scope.spawn(|| drop(gil.acquire()));
                wait_for_waiters(&gil, 1);
                ask(&gil);
                // Comes back only when the other one was woken, and has had the lock.
                token.check_point();
                assert_eq!(gil.switches(), 3);
            });
        });
    }

    #[test]
    fn o7_who_is_woken_and_finds_the_lock_gone_does_not_ask() {
        ends(|| {
            let gil = patient();
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                let mut token = gil.acquire();
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        drop(gil.acquire());
                    }
                });
                wait_for_waiters(&gil, 1);
                for _ in 0..20 {
                    token.allow_threads(|| ());
                    // Long enough for the other one to wake up, and to ask if it did.
                    let begun = Instant::now();
                    while begun.elapsed() < 20 * LOOKS {
                        assert!(!gil.drop_request.load(Ordering::Relaxed), "it asks");
                    }
                }
                over.store(true, Ordering::Relaxed);
            });
        });
    }

    #[test]
    fn a_lane_shows_the_forced_wait_before_what_comes_after_it() {
        ends(|| {
            let (gil, timeline) = (patient(), Timeline::new());
            let [mut a, mut b] = ["A", "B"].map(|name| timeline.lane("test", name));
            thread::scope(|scope| {
                let mut token = gil.acquire_on(&mut a);
                let other = scope.spawn(|| drop(gil.acquire_on(&mut b)));
                wait_for_waiters(&gil, 1);
                ask(&gil);
                token.allow_threads(|| other.join().expect("it does not panic"));
            });
            drop((a, b));
            let states = timeline.threads().into_iter().map(|thread| {
                thread.spans.into_iter().map(|span| span.state).collect::<Vec<_>>()
            });
            assert_eq!(
                states.collect::<Vec<_>>(),
                [
                    vec![State::Run, State::ForcedWait, State::Io, State::Run],
                    vec![State::WaitForLock, State::Run]
                ]
            );
        });
    }

    #[test]
    fn who_gives_way_waits_on_its_lane_without_a_gap_and_says_when_it_asks() {
        ends(|| {
            let interval = Duration::from_micros(100);
            let gil = Gil::with(Settings { interval, ..Settings::default() });
            let timeline = Timeline::new();
            thread::scope(|scope| {
                for name in ["A", "B"] {
                    let (gil, mut lane) = (&gil, timeline.lane("test", name));
                    scope.spawn(move || {
                        let mut token = gil.acquire_on(&mut lane);
                        while gil.switches() < 10 {
                            token.check_point();
                        }
                    });
                }
            });
            let (threads, requests) = (timeline.threads(), timeline.requests());
            for (place, thread) in threads.iter().enumerate() {
                for spans in thread.spans.windows(2) {
                    let gap =
                        spans[0].state == State::ForcedWait && spans[0].end < spans[1].start;
                    assert!(!gap, "{spans:?}");
                }
                let forced = thread.spans.iter().filter(|span| span.state == State::ForcedWait);
                let asked = requests.iter().filter(|request| request.by != place).count();
                assert!(forced.count() <= asked, "nobody gives way unasked");
            }
            assert!(requests.iter().all(|request| request.interval == interval));
            assert!(requests.len() >= 4, "{requests:?}");
        });
    }
}
