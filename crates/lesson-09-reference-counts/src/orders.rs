use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use simulator::explorer;

use crate::{Atomic, Biased, Counts, Pick, Plain, Queues, Step, Turns};

/// Who may count, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// [`Plain`] counts.
    NoLock,
    /// [`Plain`] counts. Another thread runs at a check point only, and there is none inside of
    /// a count operation.
    Gil,
    /// [`Atomic`] counts.
    Atomic,
    /// [`Biased`] counts.
    Biased,
}

impl Regime {
    /// Every regime, in the order of the lesson.
    pub const ALL: [Regime; 4] = [Regime::NoLock, Regime::Gil, Regime::Atomic, Regime::Biased];

    /// The regime in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Regime::NoLock => "no lock",
            Regime::Gil => "under the GIL",
            Regime::Atomic => "atomic",
            Regime::Biased => "biased",
        }
    }

    /// Whether it matters that another thread moves just before this step. A step on the thread's
    /// own word may come at any time: no other thread can tell.
    fn takes_turn(self, step: Step) -> bool {
        match self {
            Regime::NoLock | Regime::Atomic => {
                matches!(step, Step::Load | Step::Store | Step::Atomic)
            }
            Regime::Gil => step == Step::Look,
            Regime::Biased => !matches!(step, Step::Own | Step::Merge),
        }
    }
}

/// What a thread does to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Takes one more reference.
    Incref,
    /// Drops one.
    Decref,
}

/// What each thread does. Thread 0 makes the object; each thread begins with one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// One list for each thread. A thread that has dropped its last reference does no more.
    pub threads: Vec<Vec<Op>>,
    /// Whether the other threads took their first reference themselves. Otherwise thread 0 took
    /// it for them, as for an argument.
    pub taken: bool,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Freed once, after the last use.
    Right,
    /// Memory that is lost.
    NeverFreed,
    /// Somebody reached for the object when it was gone.
    FreedEarly,
    /// More than once.
    FreedTwice,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 4] =
        [Verdict::Right, Verdict::NeverFreed, Verdict::FreedEarly, Verdict::FreedTwice];
}

/// One order of moves, and what it led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// What became of the object.
    pub verdict: Verdict,
    /// What the count says at the end.
    pub count: i64,
    /// Who moved, what the step was, and the count before it.
    pub moves: Vec<(usize, Step, i64)>,
}

impl Script {
    /// Plays it on real threads, in the order that is picked.
    pub fn play(&self, regime: Regime, pick: &mut Pick<'_>) -> Played {
        match regime {
            Regime::NoLock | Regime::Gil => self.play_with::<Plain>(regime, pick),
            Regime::Atomic => self.play_with::<Atomic>(regime, pick),
            Regime::Biased => self.play_with::<Biased>(regime, pick),
        }
    }

    /// Plays it in every order. For each verdict, how many orders lead to it, and the first.
    #[must_use]
    pub fn explore(&self, regime: Regime) -> BTreeMap<Verdict, (u64, Played)> {
        let mut verdicts = BTreeMap::new();
        explorer::every(|choices| {
            let played = self.play(regime, &mut |ready| ready[choices.pick(ready.len())]);
            verdicts.entry(played.verdict).or_insert((0, played)).0 += 1;
        });
        verdicts
    }

    fn play_with<O: Counts>(&self, regime: Regime, pick: &mut Pick<'_>) -> Played {
        let object = O::new(0);
        let queues = Queues::new(self.threads.len());
        for thread in 1..self.threads.len() {
            let taker = if self.taken { thread } else { 0 };
            object.incref(&mut queues.thread(taker, |_| {}));
        }
        let mut pick = |ready: &[usize]| pick(ready);
        let turns = Turns::new(self.threads.len(), &mut pick);
        let early = AtomicBool::new(false);
        let moves = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (id, ops) in self.threads.iter().enumerate() {
                let (object, queues, turns) = (&object, &queues, &turns);
                let (early, moves) = (&early, &moves);
                let watch = move |step| {
                    if regime.takes_turn(step) {
                        turns.wait(id);
                        let mut moves = moves.lock().unwrap_or_else(PoisonError::into_inner);
                        moves.push((id, step, object.count()));
                    }
                    // The two steps that do not touch the object.
                    if !matches!(step, Step::Look | Step::Queue) && object.freed() > 0 {
                        early.store(true, Ordering::Relaxed);
                    }
                };
                scope.spawn(move || {
                    let mut me = queues.thread(id, watch);
                    for op in ops {
                        me.check_point();
                        match op {
                            Op::Incref => object.incref(&mut me),
                            Op::Decref => object.decref(&mut me),
                        }
                    }
                    me.leave();
                    turns.end(id);
                });
            }
        });
        let verdict = match (object.freed(), early.into_inner()) {
            (0, _) => Verdict::NeverFreed,
            (1, false) => Verdict::Right,
            (1, true) => Verdict::FreedEarly,
            _ => Verdict::FreedTwice,
        };
        let moves = moves.into_inner().unwrap_or_else(PoisonError::into_inner);
        Played { verdict, count: object.count(), moves }
    }
}
