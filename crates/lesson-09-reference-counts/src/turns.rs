use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Says which of the threads that are ready moves next.
pub type Pick<'p> = dyn FnMut(&[usize]) -> usize + Send + 'p;

/// Real threads that move one at a time, in an order that somebody picks.
///
/// A move is what a thread does from one [`wait`](Turns::wait) to the next. Nobody moves before
/// all others wait or have ended, so the order is the pick's and not the machine's.
pub struct Turns<'p> {
    state: Mutex<State<'p>>,
    changed: Condvar,
}

struct State<'p> {
    threads: Vec<Thread>,
    pick: &'p mut Pick<'p>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    Moves,
    Ready,
    Ended,
}

impl<'p> Turns<'p> {
    /// For threads 0 to `threads` - 1, none of which has ended.
    pub fn new(threads: usize, pick: &'p mut Pick<'p>) -> Self {
        let state = State { threads: vec![Thread::Moves; threads], pick };
        Turns { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for the calling thread's next turn.
    pub fn wait(&self, me: usize) {
        let state = self.now(me, Thread::Ready);
        let moves = |state: &mut State| state.threads[me] != Thread::Moves;
        let moves = self.changed.wait_while(state, moves);
        drop(moves.unwrap_or_else(PoisonError::into_inner));
    }

    /// The calling thread makes no move any more. Without it the others wait for ever.
    pub fn end(&self, me: usize) {
        drop(self.now(me, Thread::Ended));
    }

    fn now(&self, me: usize, thread: Thread) -> MutexGuard<'_, State<'p>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.threads[me] = thread;
        let ready: Vec<_> =
            (0..state.threads.len()).filter(|id| state.threads[*id] == Thread::Ready).collect();
        if !state.threads.contains(&Thread::Moves) && !ready.is_empty() {
            let next = (state.pick)(&ready);
            state.threads[next] = Thread::Moves;
            if next != me {
                self.changed.notify_all();
            }
        }
        state
    }
}

impl fmt::Debug for Turns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}
