use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts how many threads are inside a section, and the most there ever were at once.
///
/// The peak needs no clock, and under a lock it is 1 on every machine. Without a lock it depends
/// on the schedule, unless the threads meet inside, at a barrier.
///
/// ```
/// let gauge = timeline::Gauge::new();
/// {
///     let _inside = gauge.enter();
///     let _me_too = gauge.enter();
/// }
/// let _later = gauge.enter();
/// assert_eq!(gauge.peak(), 2);
/// ```
#[derive(Debug, Default)]
pub struct Gauge {
    inside: AtomicUsize,
    peak: AtomicUsize,
}

// Relaxed everywhere: one counter's own changes have one order, which no lock contradicts, and
// the peak is read after a join. The gauge must order nothing: it would hide the race it shows.
impl Gauge {
    /// A gauge with nobody inside.
    #[must_use]
    pub const fn new() -> Self {
        Gauge { inside: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Counts the caller in, until the guard is dropped.
    #[must_use = "the caller is inside only as long as the guard lives"]
    pub fn enter(&self) -> Inside<'_> {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(inside, Ordering::Relaxed);
        Inside(self)
    }

    /// The most that were inside at once, so far.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// Someone inside a section that a [`Gauge`] watches.
#[derive(Debug)]
pub struct Inside<'a>(&'a Gauge);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Gauge;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn threads_that_meet_inside_are_all_counted() {
        let gauge = Gauge::new();
        let meeting = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _inside = gauge.enter();
                    meeting.wait();
                });
            }
        });
        assert_eq!(gauge.peak(), 4);
    }

    #[test]
    fn a_panic_leaves_the_section() {
        let gauge = Gauge::new();
        thread::scope(|scope| {
            let ended = scope
                .spawn(|| {
                    let _inside = gauge.enter();
                    panic!("on purpose");
                })
                .join();
            assert!(ended.is_err());
        });
        let _inside = gauge.enter();
        assert_eq!(gauge.peak(), 1);
    }
}
