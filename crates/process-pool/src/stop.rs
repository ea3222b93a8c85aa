use ipc::SharedSlice;
use serde::{Deserialize, Serialize};

/// A word that asks running tasks to end: put a clone into each, and let it look now and then.
///
/// A task that looks ends in its own time, with its work in order; one that does not look is
/// only ended by killing its worker, which a time-out does. (Python: `multiprocessing.Event`.)
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stop(SharedSlice<u64>);

impl Stop {
    /// Nobody has to stop yet.
    ///
    /// # Errors
    /// When the operating system has no memory to share.
    pub fn new() -> Result<Self, ipc::Error> {
        SharedSlice::zeroed(1).map(Self)
    }

    /// Asks everybody who holds a clone, in whichever process.
    pub fn stop(&self) {
        self.0.set(0, 1);
    }

    /// Whether somebody has asked. Costs as much as reading a number.
    pub fn is_asked(&self) -> bool {
        self.0.get(0) != 0
    }
}
