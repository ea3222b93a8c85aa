//! Who ran, waited or slept when.
//!
//! A [`Timeline`] collects [`Span`]s, thread by thread, from any clock: a [`Lane`] stamps the
//! states of a real thread as they change, and takes finished spans from a virtual clock as
//! they are. What was collected is drawn as text ([`Timeline::text`]) or as a picture
//! ([`Timeline::svg`]), written for Perfetto ([`Timeline::write_perfetto`]), or counted
//! ([`Timeline::peak`], [`Timeline::shares`]).
//!
//! ```
//! use timeline::{State, Timeline};
//!
//! let timeline = Timeline::new();
//! let mut lane = timeline.lane("downloads", "A");
//! lane.enter(State::Io);
//! // ... wait for an answer ...
//! lane.enter(State::Run);
//! // ... work on it ...
//! drop(lane);
//! assert_eq!(timeline.threads()[0].spans.len(), 2);
//! eprint!("{}", timeline.text(80));
//! ```
//!
//! A [`Gauge`] answers one of the questions, how many at once, without any clock.

mod gauge;
mod perfetto;
mod shares;
mod svg;
mod text;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub use gauge::{Gauge, Inside};
pub use shares::{HandOver, Share};

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It executes the program; under a global lock, it holds that lock.
    Run,
    /// It wants the lock and another thread has it.
    WaitForLock,
    /// It waits for the world outside: a file, a socket, a sleep.
    Io,
    /// It computes in native code, without the lock.
    Native,
    /// It gave the lock up on request and may not come back before another thread had it.
    ForcedWait,
}

impl State {
    /// Every state, in the order of the legend.
    pub const ALL: [State; 5] =
        [State::Run, State::WaitForLock, State::Io, State::Native, State::ForcedWait];

    /// The state in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Run => "run",
            State::WaitForLock => "wait for lock",
            State::Io => "I/O",
            State::Native => "native",
            State::ForcedWait => "forced wait",
        }
    }
}

/// One state of one thread, from `start` up to but not including `end`.
///
/// Both are times since the timeline's origin; `start <= end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What the thread did.
    pub state: State,
    /// When it began.
    pub start: Duration,
    /// When it ended.
    pub end: Duration,
}

/// A thread and its spans: in order of time, none overlaps the next, gaps are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// The process it belongs to.
    pub process: String,
    /// Its own name.
    pub name: String,
    /// What it did.
    pub spans: Vec<Span>,
}

impl Thread {
    /// How pictures and tables call it: in one line, without anything that a terminal obeys, that
    /// turns the line round or that XML forbids.
    fn label(&self) -> String {
        let bad = |c: char| {
            let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            c.is_control() || turns || matches!(c, '\u{fffe}' | '\u{ffff}')
        };
        format!("{} {}", self.process, self.name).replace(bad, "\u{fffd}")
    }
}

/// A thread that waited for the lock asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Who asked, as a place in [`Timeline::threads`].
    pub by: usize,
    /// When.
    pub at: Duration,
    /// How long it had waited before, while the lock stayed where it was.
    pub interval: Duration,
}

/// A collection of spans, and the origin of their times.
///
/// A clone is another handle to the same collection.
#[derive(Debug, Clone)]
pub struct Timeline {
    origin: Instant,
    recorded: Arc<Mutex<Recorded>>,
}

/// What the lanes and the caller handed over.
#[derive(Debug, Clone, Default)]
struct Recorded {
    threads: Vec<Thread>,
    /// Lane by lane.
    requests: Vec<Request>,
    /// None: to be derived from the turns.
    hand_overs: Option<Vec<HandOver>>,
}

impl Timeline {
    /// An empty timeline. For the lanes of real threads, now is time zero.
    #[must_use]
    pub fn new() -> Self {
        Timeline { origin: Instant::now(), recorded: Arc::default() }
    }

    /// Adds a thread, and the lane that records it.
    ///
    /// Threads are drawn in the order of these calls: make the lanes before the threads start,
    /// and the order is the same in every run.
    #[must_use]
    pub fn lane(&self, process: &str, thread: &str) -> Lane {
        let threads = &mut self.lock().threads;
        threads.push(Thread {
            process: process.to_owned(),
            name: thread.to_owned(),
            spans: Vec::new(),
        });
        Lane {
            timeline: self.clone(),
            thread: threads.len() - 1,
            spans: Vec::new(),
            requests: Vec::new(),
            open: None,
        }
    }

    /// The threads so far, in the order in which their lanes were made.
    ///
    /// A lane hands its spans over when it is dropped: until then its thread has none.
    #[must_use]
    pub fn threads(&self) -> Vec<Thread> {
        self.lock().threads.clone()
    }

    /// Every time a thread asked for the lock, in order of time.
    ///
    /// As its spans, the requests of a thread are here when its lane is dropped.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests()
    }

    /// The greatest number of threads that were in `state` at the same time.
    ///
    /// A span that ends at the very moment another begins does not count beside it.
    #[must_use]
    pub fn peak(&self, state: State) -> usize {
        let mut changes: Vec<(Duration, isize)> = self
            .lock()
            .threads
            .iter()
            .flat_map(|thread| &thread.spans)
            .filter(|span| span.state == state)
            .flat_map(|span| [(span.start, 1), (span.end, -1)])
            .collect();
        // At equal times the ends come first, as -1 < 1.
        changes.sort_unstable();
        let mut inside = 0;
        let mut peak = 0;
        for (_, change) in changes {
            inside += change;
            peak = peak.max(inside);
        }
        peak.unsigned_abs()
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().expect("nothing panics while it holds what is recorded")
    }
}

impl Recorded {
    fn requests(&self) -> Vec<Request> {
        let mut requests = self.requests.clone();
        requests.sort_by_key(|request| request.at);
        requests
    }

    /// When the last span ends; zero where there is none.
    fn end(&self) -> Duration {
        let last = self.threads.iter().filter_map(|thread| thread.spans.last());
        last.map(|span| span.end).max().unwrap_or_default()
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

/// Records the spans of one thread.
///
/// A lane belongs to whoever records, shares nothing, and hands its spans over when it is
/// dropped: an event costs a look at the clock and a push to a `Vec`, never a lock. Times come
/// from one clock: either [`enter`](Lane::enter), [`leave`](Lane::leave) and [`ask`](Lane::ask),
/// or [`push`](Lane::push) and [`push_request`](Lane::push_request).
#[derive(Debug)]
pub struct Lane {
    timeline: Timeline,
    thread: usize,
    spans: Vec<Span>,
    requests: Vec<Request>,
    open: Option<(State, Duration)>,
}

impl Lane {
    /// Closes the open span, if there is one, and begins the next.
    pub fn enter(&mut self, state: State) {
        let now = self.timeline.origin.elapsed();
        self.close(now);
        self.open = Some((state, now));
    }

    /// Closes the open span, if there is one, and begins none.
    pub fn leave(&mut self) {
        self.close(self.timeline.origin.elapsed());
    }

    /// Adds a finished span with the times of another clock.
    ///
    /// # Panics
    ///
    /// When the span ends before it starts, or starts before the one before it ends: the
    /// pictures rely on neither happening.
    pub fn push(&mut self, span: Span) {
        let free_from = self.spans.last().map_or(Duration::ZERO, |last| last.end);
        assert!(
            free_from <= span.start && span.start <= span.end,
            "{span:?} is not a span after {free_from:?}"
        );
        self.spans.push(span);
    }

    /// Notes that the thread asks for the lock, which stayed where it was for `interval`.
    pub fn ask(&mut self, interval: Duration) {
        self.push_request(self.timeline.origin.elapsed(), interval);
    }

    /// As [`ask`](Lane::ask), with the time of another clock.
    pub fn push_request(&mut self, at: Duration, interval: Duration) {
        self.requests.push(Request { by: self.thread, at, interval });
    }

    fn close(&mut self, now: Duration) {
        if let Some((state, start)) = self.open.take() {
            self.push(Span { state, start, end: now });
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.leave();
        let mut recorded = self.timeline.lock();
        recorded.threads[self.thread].spans = std::mem::take(&mut self.spans);
        recorded.requests.append(&mut self.requests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    fn span(state: State, start: u64, end: u64) -> Span {
        Span { state, start: Duration::from_millis(start), end: Duration::from_millis(end) }
    }

    #[test]
    fn entering_a_state_closes_the_span_before_it_without_a_gap() {
        let timeline = Timeline::new();
        let mut lane = timeline.lane("p", "A");
        lane.enter(State::Run);
        lane.enter(State::Io);
        lane.enter(State::Run);
        drop(lane);
        let spans = &timeline.threads()[0].spans;
        assert_eq!(
            spans.iter().map(|span| span.state).collect::<Vec<_>>(),
            [State::Run, State::Io, State::Run]
        );
        assert_eq!((spans[0].end, spans[1].end), (spans[1].start, spans[2].start));
    }

    #[test]
    fn leaving_closes_the_span_and_opens_none() {
        let timeline = Timeline::new();
        let mut lane = timeline.lane("p", "A");
        lane.enter(State::Run);
        lane.leave();
        lane.leave();
        drop(lane);
        assert_eq!(timeline.threads()[0].spans.len(), 1);
    }

    #[test]
    fn threads_come_in_the_order_of_their_lanes_however_they_end() {
        let timeline = Timeline::new();
        let first = timeline.lane("p", "first");
        let second = timeline.lane("p", "second");
        drop(second);
        drop(first);
        let names: Vec<_> = timeline.threads().into_iter().map(|thread| thread.name).collect();
        assert_eq!(names, ["first", "second"]);
    }

    #[test]
    fn a_lane_hands_its_spans_over_when_its_thread_panics() {
        let timeline = Timeline::new();
        let mut lane = timeline.lane("p", "A");
        let ended = thread::spawn(move || {
            lane.enter(State::Run);
            panic!("on purpose");
        })
        .join();
        assert!(ended.is_err());
        assert_eq!(timeline.threads()[0].spans.len(), 1);
    }

    #[test]
    fn the_peak_counts_threads_that_are_in_a_state_together() {
        let timeline = Timeline::new();
        let everyone_runs = Barrier::new(3);
        thread::scope(|scope| {
            for name in ["A", "B", "C"] {
                let mut lane = timeline.lane("p", name);
                let everyone_runs = &everyone_runs;
                scope.spawn(move || {
                    lane.enter(State::Run);
                    everyone_runs.wait();
                });
            }
        });
        assert_eq!(timeline.peak(State::Run), 3);
        assert_eq!(timeline.peak(State::Io), 0);
    }

    #[test]
    fn spans_that_touch_or_are_empty_are_not_together() {
        let timeline = Timeline::new();
        let mut first = timeline.lane("p", "first");
        first.push(span(State::Run, 0, 5));
        first.push(span(State::Run, 5, 5));
        let mut second = timeline.lane("p", "second");
        second.push(span(State::Run, 5, 8));
        drop((first, second));
        assert_eq!(timeline.peak(State::Run), 1);
    }

    #[test]
    #[should_panic = "is not a span after 5ms"]
    fn a_span_that_overlaps_the_one_before_it_is_refused() {
        let mut lane = Timeline::new().lane("p", "t");
        lane.push(span(State::Run, 0, 5));
        lane.push(span(State::Io, 4, 6));
    }
}
