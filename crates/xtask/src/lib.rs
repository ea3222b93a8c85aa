//! The habits of the house that are programs: `cargo xtask --help` lists them.
//!
//! - [`pages`] keeps the code and the outputs on the pages equal to the sources and snapshots.
//! - [`flake`] runs the programs of a lesson many times and counts their distinct outputs.
//! - [`bench`] runs the benchmarks one after another.
//! - [`Lesson`] knows where the parts of a lesson live.

pub mod bench;
mod cargo;
pub mod flake;
mod lesson;
pub mod pages;
mod tree;

pub use cargo::cargo;
pub use lesson::Lesson;
pub use tree::root;
