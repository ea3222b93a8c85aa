//! Real processes that are killed and stopped at bad moments. After each test no process, no
//! descriptor and no shared memory is left.

#[cfg(unix)]
mod unix;

fn main() {
    #[cfg(unix)]
    unix::main();
}
