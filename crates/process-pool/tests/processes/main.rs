//! Real processes that end in every way there is. After each test no child is left.

#[cfg(unix)]
mod unix;

fn main() {
    #[cfg(unix)]
    unix::main();
}
