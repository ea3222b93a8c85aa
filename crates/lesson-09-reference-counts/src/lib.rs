//! What the programs of this lesson share: objects that count their references, the orders in
//! which threads can reach them, and whether an order was right.

mod counts;
mod orders;
mod turns;

pub use counts::{Atomic, Biased, Counts, Me, Plain, Queues, Step};
pub use orders::{Op, Played, Regime, Script, Verdict};
pub use turns::{Pick, Turns};
