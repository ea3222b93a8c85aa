//! Large buffers, used again.
//!
//! Allocators give large blocks back to the operating system at once, which then clears every
//! page anew: that costs several times what a message of a megabyte costs otherwise.

use std::sync::{Mutex, PoisonError};

use postcard::ser_flavors::Flavor;

/// Smaller buffers are the allocator's business, larger ones are not kept.
const KEPT: std::ops::RangeInclusive<usize> = 64 << 10..=4 << 20;
/// How many are kept.
const COUNT: usize = 4;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn with_spare<T>(act: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
    // What is kept there is whole after any panic.
    act(&mut SPARE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// An empty buffer with room for `capacity` bytes.
pub(crate) fn with_capacity(capacity: usize) -> Vec<u8> {
    let spare = KEPT.contains(&capacity).then(|| {
        with_spare(|spare| {
            let large_enough = spare.iter().position(|buffer| buffer.capacity() >= capacity)?;
            Some(spare.swap_remove(large_enough))
        })
    });
    spare.flatten().unwrap_or_else(|| Vec::with_capacity(capacity))
}

/// Keeps a buffer for the next one who needs it.
pub(crate) fn recycle(mut buffer: Vec<u8>) {
    if KEPT.contains(&buffer.capacity()) {
        buffer.clear();
        with_spare(|spare| {
            if spare.len() < COUNT {
                spare.push(buffer);
            }
        });
    }
}

/// Where postcard puts a message.
#[derive(Default)]
pub(crate) struct Encoding(Vec<u8>);

impl Flavor for Encoding {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let (size, capacity) = (self.0.len() + bytes.len(), self.0.capacity());
        if size > capacity && KEPT.contains(&size) {
            // Room for what still comes: a little behind one long piece, much among short ones.
            let mut larger = with_capacity((size + 64).max(2 * capacity));
            larger.extend_from_slice(&self.0);
            recycle(std::mem::replace(&mut self.0, larger));
        }
        // And for a byte behind the message, which a queue puts there.
        self.0.reserve(bytes.len() + 1);
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}
