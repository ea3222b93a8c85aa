/// When each thread has its next event: a tournament of the threads, the earliest wins.
///
/// A thread has at most one event ahead of it, so an event is put off, brought forward or called
/// off by naming the thread. In a heap of events the ones called off would pile up: a waiter
/// that is signalled leaves its time-out behind.
///
/// D. Knuth, The Art of Computer Programming, vol. 3, 5.4.1: a change costs log2 n matches.
pub(crate) struct Agenda {
    /// Node 1 is the root, the children of n are 2n and 2n + 1, the second half are the threads.
    nodes: Vec<(u64, usize)>,
}

/// The time of what does not happen.
pub(crate) const NEVER: u64 = u64::MAX;

impl Agenda {
    /// Nothing ahead for any of `threads`.
    pub fn new(threads: usize) -> Self {
        let leaves = threads.next_power_of_two();
        let mut nodes = vec![(NEVER, 0); 2 * leaves];
        for (thread, leaf) in nodes[leaves..].iter_mut().enumerate() {
            leaf.1 = thread;
        }
        Agenda { nodes }
    }

    /// The next event: its time, which may be [`NEVER`], and its thread. Of equal times that of
    /// the first thread.
    pub fn first(&self) -> (u64, usize) {
        self.nodes[1]
    }

    /// The next event of `thread` is at `time`.
    pub fn set(&mut self, thread: usize, time: u64) {
        let mut node = self.nodes.len() / 2 + thread;
        self.nodes[node].0 = time;
        while node > 1 {
            node /= 2;
            let (left, right) = (self.nodes[2 * node], self.nodes[2 * node + 1]);
            let winner = if right.0 < left.0 { right } else { left };
            if self.nodes[node] == winner {
                break;
            }
            self.nodes[node] = winner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_the_least_by_time_and_then_by_thread(
            threads in 1..9_usize,
            changes in prop::collection::vec((0..9_usize, 0..20_u64), 0..100),
        ) {
            let mut agenda = Agenda::new(threads);
            let mut times = vec![NEVER; threads];
            for (thread, time) in changes {
                // Now and then an event is called off.
                let (thread, time) = (thread % threads, if time == 0 { NEVER } else { time });
                agenda.set(thread, time);
                times[thread] = time;
                let least = *times.iter().min().unwrap();
                prop_assert_eq!(agenda.first().0, least);
                if least < NEVER {
                    let first = times.iter().position(|time| *time == least);
                    prop_assert_eq!(Some(agenda.first().1), first);
                }
            }
        }
    }
}
