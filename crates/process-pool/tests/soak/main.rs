//! Random tasks, deaths, stalls and pools for as long as asked: every future ends, just the
//! expected ones fail, and nothing grows. `just soak SECONDS --seed N`; as a test, ten seconds.

#![allow(clippy::unwrap_used, reason = "a test fails with a bare panic")]

#[cfg(target_os = "linux")]
#[path = "../faults/linux/harness.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use all of it")]
mod harness;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
#[path = "../faults/linux/work.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use all of it")]
mod work;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
