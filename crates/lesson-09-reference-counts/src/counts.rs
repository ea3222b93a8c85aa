use std::mem;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An object that knows how many references to it there are.
///
/// Its memory is not given back when the count says so; that it was to be is counted. So an
/// object that is freed twice is a number here, and not what it is in C.
pub trait Counts: Sync {
    /// An object with one reference, made by this thread.
    fn new(owner: usize) -> Self;

    /// One reference more. The thread must have one.
    fn incref(&self, me: &mut Me<'_, '_, impl FnMut(Step)>);

    /// One reference less. Frees the object when it was the last one.
    fn decref<'h>(&'h self, me: &mut Me<'_, 'h, impl FnMut(Step)>);

    /// What the count says.
    fn count(&self) -> i64;

    /// How often the object was freed.
    fn freed(&self) -> u32;
}

/// What a thread is about to do: who watches it is told before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Reads a word that other threads change.
    Load,
    /// Writes such a word, whatever others wrote meanwhile.
    Store,
    /// Reads or writes a word that is this thread's own, or looks whose the object is.
    Own,
    /// Reads, changes and writes a word in one.
    Atomic,
    /// Looks, at a check point, whether another thread asks for something.
    Look,
    /// Takes the mutex of a queue: an atomic operation too.
    Queue,
    /// Adds the owner's count to the shared one, for good.
    Merge,
}

/// A count that is read, changed and written: `count += 1`, as an interpreter compiles it.
///
/// Right where no two threads are at it at once. The loads and stores are relaxed atomics, which
/// are ordinary instructions: the race is real, and yet no undefined behaviour.
#[derive(Debug)]
pub struct Plain {
    count: AtomicI64,
    freed: AtomicU32,
}

impl Counts for Plain {
    fn new(_owner: usize) -> Self {
        Plain { count: AtomicI64::new(1), freed: AtomicU32::new(0) }
    }

    #[inline]
    fn incref(&self, me: &mut Me<'_, '_, impl FnMut(Step)>) {
        me.about_to(Step::Load);
        let count = self.count.load(Relaxed);
        me.about_to(Step::Store);
        self.count.store(count + 1, Relaxed);
    }

    #[inline]
    fn decref<'h>(&'h self, me: &mut Me<'_, 'h, impl FnMut(Step)>) {
        me.about_to(Step::Load);
        let count = self.count.load(Relaxed) - 1;
        me.about_to(Step::Store);
        self.count.store(count, Relaxed);
        if count == 0 {
            free(&self.freed);
        }
    }

    fn count(&self) -> i64 {
        self.count.load(Relaxed)
    }

    fn freed(&self) -> u32 {
        self.freed.load(Relaxed)
    }
}

/// A count that is changed in one operation, as that of `std::sync::Arc`.
#[derive(Debug)]
pub struct Atomic {
    count: AtomicI64,
    freed: AtomicU32,
}

impl Counts for Atomic {
    fn new(_owner: usize) -> Self {
        Atomic { count: AtomicI64::new(1), freed: AtomicU32::new(0) }
    }

    #[inline]
    fn incref(&self, me: &mut Me<'_, '_, impl FnMut(Step)>) {
        me.about_to(Step::Atomic);
        self.count.fetch_add(1, Relaxed);
    }

    #[inline]
    fn decref<'h>(&'h self, me: &mut Me<'_, 'h, impl FnMut(Step)>) {
        me.about_to(Step::Atomic);
        // Not relaxed: whoever frees the object comes after everybody's last use of it.
        if self.count.fetch_sub(1, AcqRel) == 1 {
            free(&self.freed);
        }
    }

    fn count(&self) -> i64 {
        self.count.load(Relaxed)
    }

    fn freed(&self) -> u32 {
        self.freed.load(Relaxed)
    }
}

/// Two counts: a plain one for the thread that made the object, an atomic one for all others.
/// Their sum is the number of references.
///
/// After PEP 703, "Biased Reference Counting", and CPython 3.13, `Python/brc.c`. Left out are
/// immortal objects, deferred counts, and the state for weak references.
#[derive(Debug)]
pub struct Biased {
    /// The owner, as long as the counts are apart; [`NOBODY`] when they are merged.
    owner: AtomicUsize,
    local: AtomicI64,
    /// [`ONE`] for each reference, and the state in the two bits below. The references can be
    /// negative: others may drop what the owner counted.
    shared: AtomicI64,
    freed: AtomicU32,
}

const NOBODY: usize = usize::MAX;
const ONE: i64 = 4;
/// The owner is asked to merge. The queue holds a reference, so that the object waits for it.
const QUEUED: i64 = 2;
/// The shared count is the only one; at zero the object is freed.
const MERGED: i64 = 3;

impl Counts for Biased {
    fn new(owner: usize) -> Self {
        Biased {
            owner: AtomicUsize::new(owner),
            local: AtomicI64::new(1),
            shared: AtomicI64::new(0),
            freed: AtomicU32::new(0),
        }
    }

    #[inline]
    fn incref(&self, me: &mut Me<'_, '_, impl FnMut(Step)>) {
        if self.owner(me) == me.id {
            self.add_local(1, me);
        } else {
            me.about_to(Step::Atomic);
            self.shared.fetch_add(ONE, Relaxed);
        }
    }

    #[inline]
    fn decref<'h>(&'h self, me: &mut Me<'_, 'h, impl FnMut(Step)>) {
        let owner = self.owner(me);
        if owner != me.id {
            self.decref_shared(owner, me);
        } else if self.add_local(-1, me) == 0 {
            self.local_is_zero(me);
        }
    }

    fn count(&self) -> i64 {
        // The queue's reference is nobody's.
        let shared = self.shared.load(Relaxed);
        self.local.load(Relaxed) + shared.div_euclid(ONE) - i64::from(shared & MERGED == QUEUED)
    }

    fn freed(&self) -> u32 {
        self.freed.load(Relaxed)
    }
}

impl Biased {
    /// Only the owner gives the object up. To all others the answer is the same before and after:
    /// not me.
    #[inline]
    fn owner(&self, me: &mut Me<'_, '_, impl FnMut(Step)>) -> usize {
        me.about_to(Step::Own);
        self.owner.load(Relaxed)
    }

    #[inline]
    fn add_local(&self, n: i64, me: &mut Me<'_, '_, impl FnMut(Step)>) -> i64 {
        me.about_to(Step::Own);
        let local = self.local.load(Relaxed) + n;
        me.about_to(Step::Own);
        self.local.store(local, Relaxed);
        local
    }

    #[cold]
    fn local_is_zero(&self, me: &mut Me<'_, '_, impl FnMut(Step)>) {
        me.about_to(Step::Load);
        if self.shared.load(Acquire) == 0 {
            return free(&self.freed);
        }
        self.merge(0, me);
    }

    fn decref_shared<'h>(&'h self, owner: usize, me: &mut Me<'_, 'h, impl FnMut(Step)>) {
        // At zero the reference was counted by the owner. Only the owner knows how many it has
        // left: the reference goes to its queue.
        let before = self.change_shared(me, |shared| match shared {
            0 => QUEUED,
            _ => shared - ONE,
        });
        if before == MERGED + ONE {
            free(&self.freed);
        } else if before == 0 && !me.queue(owner, self) {
            self.merge(-1, me);
        }
    }

    /// Makes the shared count the only one, and adds `n` to it. For the owner; for another
    /// thread when the owner has left, and the object was to be queued by it.
    fn merge(&self, n: i64, me: &mut Me<'_, '_, impl FnMut(Step)>) {
        me.about_to(Step::Merge);
        let references = self.local.load(Relaxed) + n;
        // Before the state says it: from then on, another thread may free the object.
        self.local.store(0, Relaxed);
        self.owner.store(NOBODY, Relaxed);
        let merged = |shared| (shared + references * ONE) | MERGED;
        if merged(self.change_shared(me, merged)) == MERGED {
            free(&self.freed);
        }
    }

    /// Returns what was there before.
    fn change_shared(
        &self,
        me: &mut Me<'_, '_, impl FnMut(Step)>,
        change: impl Fn(i64) -> i64,
    ) -> i64 {
        me.about_to(Step::Load);
        let mut seen = self.shared.load(Relaxed);
        loop {
            me.about_to(Step::Atomic);
            match self.shared.compare_exchange(seen, change(seen), AcqRel, Relaxed) {
                Ok(before) => return before,
                Err(now) => seen = now,
            }
        }
    }
}

#[cold]
fn free(freed: &AtomicU32) {
    freed.fetch_add(1, Relaxed);
}

/// For each thread, the objects whose counts it is asked to merge.
#[derive(Debug)]
pub struct Queues<'h>(Vec<Queue<'h>>);

#[derive(Debug)]
struct Queue<'h> {
    /// There is something in it: at a check point, one load and no mutex.
    asked: AtomicBool,
    /// `None` when the thread has left.
    objects: Mutex<Option<Vec<&'h Biased>>>,
}

impl<'h> Queues<'h> {
    /// For threads 0 to `threads` - 1.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let queue =
            || Queue { asked: AtomicBool::new(false), objects: Mutex::new(Some(Vec::new())) };
        Queues((0..threads).map(|_| queue()).collect())
    }

    /// What one of the threads needs to count; `watch` is told what it is about to do.
    pub fn thread<W: FnMut(Step)>(&self, id: usize, watch: W) -> Me<'_, 'h, W> {
        Me { id, queues: self, watch }
    }
}

impl<'h> Queue<'h> {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<&'h Biased>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that counts.
#[derive(Debug)]
pub struct Me<'q, 'h, W> {
    id: usize,
    queues: &'q Queues<'h>,
    watch: W,
}

impl<'h, W: FnMut(Step)> Me<'_, 'h, W> {
    /// Tells who watches.
    #[inline]
    pub fn about_to(&mut self, step: Step) {
        (self.watch)(step);
    }

    /// Where the thread merges what others have asked for.
    #[inline]
    pub fn check_point(&mut self) {
        self.about_to(Step::Look);
        if self.queues.0[self.id].asked.load(Relaxed) {
            self.merge_queued();
        }
    }

    #[cold]
    fn merge_queued(&mut self) {
        self.about_to(Step::Queue);
        let mine = &self.queues.0[self.id];
        mine.asked.store(false, Relaxed);
        // The mutex is free again before the first of them is merged.
        let objects = mine.lock().as_mut().map(mem::take).unwrap_or_default();
        objects.into_iter().for_each(|object| object.merge(-1, self));
    }

    /// The end of the thread. From here on others merge what is its own.
    pub fn leave(mut self) {
        self.about_to(Step::Queue);
        let objects = self.queues.0[self.id].lock().take().unwrap_or_default();
        objects.into_iter().for_each(|object| object.merge(-1, &mut self));
    }

    /// Asks the owner to merge. False when it has left.
    fn queue(&mut self, owner: usize, object: &'h Biased) -> bool {
        self.about_to(Step::Queue);
        let queue = &self.queues.0[owner];
        match &mut *queue.lock() {
            None => return false,
            Some(objects) => objects.push(object),
        }
        queue.asked.store(true, Relaxed);
        true
    }
}
