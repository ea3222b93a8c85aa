//! An adversary: every way to end, stall, flood and poison a worker, at every moment in the life
//! of a pool. After each test nothing is left of it.

#[cfg(target_os = "linux")]
mod linux;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
