//! The life of a task, as a table.

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It waits, and can be cancelled.
    Pending,
    /// A worker has it. It can be cancelled until the worker begins it.
    Running,
    /// It was cancelled and has not begun; or its pool ended before it did.
    Cancelled,
    /// It has an output or an error.
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is sent to a worker.
    Send,
    /// The worker has not begun it, and never will.
    TakeBack,
    /// Its owner, or its pool, gives it up.
    Cancel,
    /// It has an output or an error.
    Finish,
}

impl Life {
    /// What comes next; none when the event does not concern a task that is here: an end is
    /// for good.
    pub(crate) fn after(self, event: Event) -> Option<Self> {
        use Event::{Cancel, Finish, Send, TakeBack};
        use Life::{Cancelled, Finished, Pending, Running};
        Some(match (self, event) {
            (Pending, Send) => Running,
            (Running, TakeBack) => Pending,
            (Pending | Running, Cancel) => Cancelled,
            (Pending | Running, Finish) => Finished,
            (Pending, TakeBack) | (Running, Send) | (Cancelled | Finished, _) => return None,
        })
    }

    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Cancelled | Self::Finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_lives() {
        use Event::{Cancel, Finish, Send, TakeBack};
        use Life::{Cancelled, Finished, Pending, Running};
        let events = [Send, TakeBack, Cancel, Finish];
        for (life, expected) in [
            (Pending, [Some(Running), None, Some(Cancelled), Some(Finished)]),
            (Running, [None, Some(Pending), Some(Cancelled), Some(Finished)]),
            (Cancelled, [None; 4]),
            (Finished, [None; 4]),
        ] {
            assert_eq!(events.map(|event| life.after(event)), expected, "{life:?}");
        }
    }
}
