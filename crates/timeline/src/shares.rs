use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use crate::{Recorded, State, Thread, Timeline};

/// What a thread did with the time of the whole timeline.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Share {
    /// Time with the lock.
    pub has: Duration,
    /// Time spent waiting for it, forced or not.
    pub waits: Duration,
    /// All other time: native code, I/O, not started yet, ended.
    pub neither: Duration,
    /// How often the lock came to it from another thread of its process.
    pub switches: usize,
    /// The longest time from wanting the lock to having it.
    pub longest_wait: Duration,
}

/// From one thread to another of the same process went the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandOver {
    /// Who had it, as a place in [`Timeline::threads`].
    pub from: usize,
    /// Who has it now.
    pub to: usize,
    /// When the old one gave it up.
    pub given: Duration,
    /// When the new one had it.
    pub at: Duration,
}

impl Timeline {
    /// What each thread did with the time, in the order of [`threads`](Timeline::threads).
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        self.lock().shares()
    }

    /// Every time the lock went from one thread to another of the same process, in order of
    /// time.
    ///
    /// Derived, unless somebody who knows [set](Timeline::set_hand_overs) them: what runs next
    /// after one thread of a process is the next one to have its lock. Turns that begin and end
    /// at the same moment, as on a coarse clock, come in the order of their threads.
    #[must_use]
    pub fn hand_overs(&self) -> Vec<HandOver> {
        self.lock().hand_overs()
    }

    /// Sets the hand-overs, in order of time, for a clock that stands still between turns: the
    /// order of turns without a length is not in their spans, nor is whether there is a lock.
    pub fn set_hand_overs(&self, hand_overs: Vec<HandOver>) {
        self.lock().hand_overs = Some(hand_overs);
    }

    /// The [shares](Timeline::shares) as a table of text, one line per thread.
    #[must_use]
    pub fn shares_text(&self) -> String {
        let recorded = self.lock();
        let threads = &recorded.threads;
        let total = recorded.end().max(Duration::from_nanos(1));
        let percent = |time: Duration| format!("{:.1} %", 100.0 * time.div_duration_f64(total));
        let indent = threads.iter().map(|thread| thread.label().chars().count()).max();
        let indent = indent.unwrap_or(0);

        let mut text =
            format!("{:indent$}   has lock     waits   neither  switches  longest wait\n", "");
        for (thread, share) in threads.iter().zip(recorded.shares()) {
            writeln!(
                text,
                "{:indent$}  {:>9} {:>9} {:>9} {:>9} {:>10.2} ms",
                thread.label(),
                percent(share.has),
                percent(share.waits),
                percent(share.neither),
                share.switches,
                share.longest_wait.as_secs_f64() * 1e3,
            )
            .expect("a String takes everything");
        }
        text
    }
}

impl Recorded {
    pub(crate) fn hand_overs(&self) -> Vec<HandOver> {
        self.hand_overs.clone().unwrap_or_else(|| derived(&self.threads))
    }

    fn shares(&self) -> Vec<Share> {
        let total = self.end();
        let mut shares: Vec<_> =
            self.threads.iter().map(|thread| share(thread, total)).collect();
        for hand_over in self.hand_overs() {
            shares[hand_over.to].switches += 1;
        }
        shares
    }
}

fn share(thread: &Thread, total: Duration) -> Share {
    let mut share = Share::default();
    // A forced wait and the wait behind it are one: the thread wants the lock all the time.
    let mut waited = Duration::ZERO;
    let mut free_from = Duration::ZERO;
    for span in &thread.spans {
        let length = span.end - span.start;
        match span.state {
            State::Run => share.has += length,
            State::WaitForLock | State::ForcedWait => share.waits += length,
            State::Io | State::Native => {}
        }
        waited = match span.state {
            State::WaitForLock | State::ForcedWait if span.start == free_from => {
                waited + length
            }
            State::WaitForLock | State::ForcedWait => length,
            _ => Duration::ZERO,
        };
        free_from = span.end;
        share.longest_wait = share.longest_wait.max(waited);
    }
    share.neither = total.saturating_sub(share.has + share.waits);
    share
}

/// Every change of the thread that runs, process by process.
fn derived(threads: &[Thread]) -> Vec<HandOver> {
    let mut turns: Vec<_> = threads
        .iter()
        .enumerate()
        .flat_map(|(place, thread)| {
            let turns = thread.spans.iter().filter(|span| span.state == State::Run);
            turns.map(move |span| (span.start, span.end, place))
        })
        .collect();
    turns.sort_unstable();
    let mut last: HashMap<&str, (usize, Duration)> = HashMap::new();
    let mut hand_overs = Vec::new();
    for (start, end, to) in turns {
        let process = threads[to].process.as_str();
        if let Some((from, given)) = last.insert(process, (to, end))
            && from != to
            // Side by side there is no lock to hand over.
            && given <= start
        {
            hand_overs.push(HandOver { from, to, given, at: start });
        }
    }
    hand_overs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    /// What a thread did, from and to a time in ms.
    type Row<'a> = &'a [(State, u64, u64)];

    fn timeline(threads: &[(&str, &str, Row)]) -> Timeline {
        let timeline = Timeline::new();
        for (process, name, spans) in threads {
            let mut lane = timeline.lane(process, name);
            for &(state, start, end) in *spans {
                let [start, end] = [start, end].map(Duration::from_millis);
                lane.push(Span { state, start, end });
            }
        }
        timeline
    }

    use State::{ForcedWait, Io, Run, WaitForLock};

    #[test]
    fn a_thread_has_waits_or_does_neither() {
        let timeline = timeline(&[
            ("p", "A", &[(Run, 0, 5), (ForcedWait, 5, 6), (WaitForLock, 6, 10), (Run, 10, 20)]),
            ("p", "B", &[(WaitForLock, 0, 5), (Run, 5, 10), (Io, 10, 12)]),
        ]);
        let expected = "
      has lock     waits   neither  switches  longest wait
p A     75.0 %    25.0 %     0.0 %         1       5.00 ms
p B     25.0 %    25.0 %    50.0 %         1       5.00 ms
";
        assert_eq!(format!("\n{}", timeline.shares_text()), expected);
    }

    #[test]
    fn a_lock_is_handed_over_inside_a_process_only() {
        let timeline = timeline(&[
            ("p", "A", &[(Run, 0, 5), (Run, 10, 15)]),
            ("q", "B", &[(Run, 5, 10)]),
            ("p", "C", &[(Run, 16, 20)]),
        ]);
        let ms = Duration::from_millis;
        let expected = HandOver { from: 0, to: 2, given: ms(15), at: ms(16) };
        assert_eq!(timeline.hand_overs(), [expected]);
    }

    #[test]
    fn threads_side_by_side_hand_nothing_over() {
        let timeline = timeline(&[("p", "A", &[(Run, 0, 5)]), ("p", "B", &[(Run, 1, 4)])]);
        assert_eq!(timeline.hand_overs(), []);
    }

    #[test]
    fn a_turn_without_a_length_is_handed_over_and_back() {
        let timeline =
            timeline(&[("p", "A", &[(Run, 0, 5), (Run, 5, 9)]), ("p", "B", &[(Run, 5, 5)])]);
        let threads: Vec<_> = timeline.hand_overs().iter().map(|h| (h.from, h.to)).collect();
        assert_eq!(threads, [(0, 1), (1, 0)]);
    }

    #[test]
    fn hand_overs_that_are_set_are_not_derived() {
        let timeline = timeline(&[("p", "A", &[(Run, 0, 5)]), ("p", "B", &[(Run, 5, 9)])]);
        timeline.set_hand_overs(Vec::new());
        assert_eq!(timeline.hand_overs(), []);
        assert_eq!(timeline.shares()[1].switches, 0);
    }
}
