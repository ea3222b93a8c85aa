//! What a request asks for: a wait, and a sum.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use gil::Gil;
use tasks::cpu::sum_of_squares;
use timeline::{Gauge, State, Timeline};

/// How long anything here waits for something that is sure to come, before it gives up.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The most squares of one answer: a path is no way to keep a thread for ever.
pub const MOST_SQUARES: u64 = 10_000_000;

/// How many locks the threads of a server have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// One for all: a GIL.
    One,
    /// One each. Nobody waits for anybody, and the instructions are the same as under a GIL:
    /// without any lock the sum would lose its check points, and be quicker for that.
    Each,
}

/// What the threads of one server share.
pub struct Site {
    /// How long an answer waits, for a database say.
    wait: Duration,
    locks: Locks,
    /// Where the threads meet, on the wait's side of the lock or on the sum's.
    pub gate: Gate,
    in_progress: Gauge,
    timeline: Timeline,
}

impl Site {
    /// A site whose gate is open.
    pub fn new(wait: Duration, locks: Locks) -> Arc<Self> {
        let (gate, in_progress, timeline) = (Gate::new(), Gauge::new(), Timeline::new());
        Arc::new(Self { wait, locks, gate, in_progress, timeline })
    }

    /// A handler for each of so many threads. A GET of `/1000` is answered with the sum of the
    /// squares below 1000. `recorded` keeps who had a lock when, for [`running`](Self::running).
    pub fn handlers(
        self: &Arc<Self>,
        threads: usize,
        recorded: bool,
    ) -> impl Iterator<Item = impl FnMut(&str) -> Option<String> + Send + use<>> + use<> {
        let (site, gil) = (Arc::clone(self), Arc::new(Gil::new()));
        (0..threads).map(move |_| {
            let (site, mut gil) = (Arc::clone(&site), Arc::clone(&gil));
            if site.locks == Locks::Each {
                gil = Arc::default();
            }
            let mut lane = recorded.then(|| site.timeline.lane("server", "worker"));
            move |path: &str| {
                let below = path.strip_prefix('/')?.parse().ok()?;
                let _inside = site.in_progress.enter();
                let token = match &mut lane {
                    Some(lane) => gil.acquire_on(lane),
                    None => gil.acquire(),
                };
                (below <= MOST_SQUARES).then(|| format!("{}\n", site.answer(token, below)))
            }
        })
    }

    fn answer(&self, mut token: gil::Token, below: u64) -> u128 {
        token.allow_threads(|| {
            thread::sleep(self.wait);
            if self.locks == Locks::One {
                self.gate.pass();
            }
        });
        // Under one GIL the threads cannot meet here: the first would keep it, and wait for ever.
        if self.locks == Locks::Each {
            self.gate.pass();
        }
        sum_of_squares((0..below).inspect(|_| token.check_point()))
    }

    /// The most requests in progress at once.
    pub fn in_progress(&self) -> usize {
        self.in_progress.peak()
    }

    /// The most threads that had a lock at once, when the recorded handlers are gone.
    pub fn running(&self) -> usize {
        self.timeline.peak(State::Run)
    }
}

/// Where requests are held until somebody lets them go on. Nobody is held beyond [`DEADLINE`].
pub struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn new() -> Self {
        Self { state: Mutex::new((true, 0)), changed: Condvar::new() }
    }

    /// Goes through, when it is open.
    pub fn pass(&self) {
        let mut state = self.state();
        state.1 += 1;
        self.changed.notify_all();
        let closed = |(open, _): &mut (bool, usize)| !*open;
        let waited = self.changed.wait_timeout_while(state, DEADLINE, closed);
        waited.expect(NO_PANIC).0.1 -= 1;
    }

    /// Holds whoever comes from now on.
    pub fn close(&self) {
        self.state().0 = false;
    }

    /// Lets everybody go on.
    pub fn open(&self) {
        self.state().0 = true;
        self.changed.notify_all();
    }

    /// Waits until so many are held. Returns how many are.
    pub fn wait_for(&self, many: usize) -> usize {
        let state = self.state();
        let fewer = |(_, held): &mut (bool, usize)| *held < many;
        let waited = self.changed.wait_timeout_while(state, DEADLINE, fewer);
        waited.expect(NO_PANIC).0.1
    }

    fn state(&self) -> MutexGuard<'_, (bool, usize)> {
        self.state.lock().expect(NO_PANIC)
    }
}

const NO_PANIC: &str = "nothing panics at the gate";
