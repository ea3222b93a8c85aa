//! A ring of frames in shared memory: one process writes, one reads, and neither asks the
//! operating system.
//!
//! The memory is counters and data, all of it words that both sides access atomically:
//! `tail`, how many words the writer has written; `head`, how many the reader has read; and
//! `asleep`, the reader's word that it waits for a bell. Each side keeps its own counter and
//! only looks at the other's, so a process that dies leaves nothing locked; and each checks what
//! the other says before it believes it. A frame becomes visible as a whole, by one store.
//!
//! What a bell is, and who rings it, is not the ring's affair.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

use crate::{Error, SharedSlice};

/// Each counter has a cache line, and its neighbour that processors fetch along, to itself:
/// the sides do not take each other's lines away.
const TAIL: usize = 0;
const HEAD: usize = 16;
const ASLEEP: usize = 32;
const DATA: usize = 48;

/// The memory, and the words of it that hold data: a power of two.
#[derive(Debug)]
struct Ring {
    memory: SharedSlice<u64>,
    capacity: u64,
}

/// The side that puts frames in.
#[derive(Debug)]
pub(crate) struct Writer {
    ring: Ring,
    tail: u64,
    /// What `head` was when it was last looked at.
    head: u64,
}

/// The side that takes frames out.
#[derive(Debug)]
pub(crate) struct Reader {
    ring: Ring,
    head: u64,
    /// What `tail` was when it was last looked at.
    tail: u64,
}

/// Memory for a ring with room for about so many bytes, a power of two.
pub(crate) fn memory(bytes: usize) -> Result<SharedSlice<u64>, Error> {
    SharedSlice::zeroed(DATA + bytes / 8)
}

impl Ring {
    fn over(memory: SharedSlice<u64>) -> Result<Self, Error> {
        let capacity = memory.len().checked_sub(DATA).filter(|words| words.is_power_of_two());
        let capacity = capacity.ok_or(Error::Corrupt("a ring of an impossible size"))? as u64;
        Ok(Self { memory, capacity })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.memory.cells()[index]
    }

    /// `count` words from position `at` on, at most all of them: in two pieces when they go round
    /// the end.
    fn words(&self, at: u64, count: usize) -> [&[AtomicU64]; 2] {
        let data = &self.memory.cells()[DATA..];
        #[expect(clippy::cast_possible_truncation, reason = "less than the length of a slice")]
        let (behind, front) = data.split_at((at % self.capacity) as usize);
        let first = front.len().min(count);
        [&front[..first], &behind[..count - first]]
    }

    fn store(&self, at: u64, words: &[[u8; 8]]) {
        let mut words = words.iter();
        for piece in self.words(at, words.len()) {
            for (cell, word) in piece.iter().zip(&mut words) {
                cell.store(u64::from_le_bytes(*word), Relaxed);
            }
        }
    }

    fn load(&self, at: u64, words: &mut [[u8; 8]]) {
        let pieces = self.words(at, words.len());
        let mut words = words.iter_mut();
        for piece in pieces {
            for (cell, word) in piece.iter().zip(&mut words) {
                *word = cell.load(Relaxed).to_le_bytes();
            }
        }
    }

    /// How many words lie between the counters, if these can be.
    fn used(&self, head: u64, tail: u64) -> Result<u64, Error> {
        let used = tail.wrapping_sub(head);
        let possible = used <= self.capacity;
        possible.then_some(used).ok_or(Error::Corrupt("a ring with impossible counters"))
    }
}

/// Words of a frame: one says its length and what came before it, the others are its bytes.
fn frame_words(bytes: usize) -> usize {
    1 + bytes.div_ceil(8)
}

impl Writer {
    /// # Errors
    /// [`Error::Corrupt`] for memory that is no ring.
    pub(crate) fn over(memory: SharedSlice<u64>) -> Result<Self, Error> {
        let ring = Ring::over(memory)?;
        let tail = ring.word(TAIL).load(Relaxed);
        let head = ring.word(HEAD).load(Acquire);
        ring.used(head, tail)?;
        Ok(Self { ring, tail, head })
    }

    /// How much has been written, ever.
    pub(crate) fn position(&self) -> u64 {
        self.tail
    }

    /// Puts a frame in, with a number for the reader; false when there is no room now.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the reader's counter is impossible.
    pub(crate) fn push(&mut self, number: u32, bytes: &[u8]) -> Result<bool, Error> {
        let count = frame_words(bytes.len());
        let fits = |used| self.ring.capacity - used >= count as u64;
        if !fits(self.ring.used(self.head, self.tail)?) {
            // Acquired: what the reader has read, it reads no more.
            self.head = self.ring.word(HEAD).load(Acquire);
            if !fits(self.ring.used(self.head, self.tail)?) {
                return Ok(false);
            }
        }
        let length = u32::try_from(bytes.len()).expect("it fits into the ring");
        let header = u64::from(number) << 32 | u64::from(length);
        self.ring.store(self.tail, &[header.to_le_bytes()]);
        let (whole, rest) = bytes.as_chunks();
        self.ring.store(self.tail + 1, whole);
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.ring.store(self.tail + 1 + whole.len() as u64, &[last]);
        }
        self.tail += count as u64;
        // Released: who sees the counter sees the frame.
        self.ring.word(TAIL).store(self.tail, Release);
        Ok(true)
    }

    /// Whether the reader waits for a bell, which is then the caller's to ring.
    pub(crate) fn reader_sleeps(&self) -> bool {
        let asleep = self.ring.word(ASLEEP);
        // Between the store of `tail` above and this load, as between the reader's store of
        // `asleep` and its last load of `tail`: without both fences each could miss the other,
        // and the frame would lie there while the reader sleeps.
        fence(SeqCst);
        asleep.load(Relaxed) != 0 && asleep.swap(0, Relaxed) != 0
    }
}

impl Reader {
    /// # Errors
    /// [`Error::Corrupt`] for memory that is no ring.
    pub(crate) fn over(memory: SharedSlice<u64>) -> Result<Self, Error> {
        let ring = Ring::over(memory)?;
        let head = ring.word(HEAD).load(Relaxed);
        Ok(Self { ring, head, tail: head })
    }

    /// How much has been read, ever.
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// How many words wait to be read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the writer's counter is impossible.
    pub(crate) fn waiting(&mut self) -> Result<u64, Error> {
        // Acquired: the frames up to `tail` are seen as they were written.
        self.tail = self.ring.word(TAIL).load(Acquire);
        self.ring.used(self.head, self.tail)
    }

    /// Takes the next frame out, if there is one and its number is `number`. A greater one waits.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when what lies there cannot be.
    pub(crate) fn pop(&mut self, number: u32) -> Result<Option<Vec<u8>>, Error> {
        if self.head == self.tail && self.waiting()? == 0 {
            return Ok(None);
        }
        let used = self.ring.used(self.head, self.tail)?;
        let mut header = [[0; 8]];
        self.ring.load(self.head, &mut header);
        let header = u64::from_le_bytes(header[0]);
        #[expect(clippy::cast_possible_truncation, reason = "two numbers in one")]
        let (found, length) = ((header >> 32) as u32, header as u32 as usize);
        match found.wrapping_sub(number) {
            0 => {}
            1..=0x7fff_ffff => return Ok(None),
            _ => return Err(Error::Corrupt("a frame behind its time")),
        }
        let count = frame_words(length);
        if count as u64 > used {
            return Err(Error::Corrupt("a frame that is longer than what lies in its ring"));
        }
        let mut bytes = vec![0; length];
        let (whole, rest) = bytes.as_chunks_mut();
        self.ring.load(self.head + 1, whole);
        if !rest.is_empty() {
            let mut last = [[0; 8]];
            self.ring.load(self.head + 1 + whole.len() as u64, &mut last);
            rest.copy_from_slice(&last[0][..rest.len()]);
        }
        self.head += count as u64;
        // Released: the words are read before the writer uses them again.
        self.ring.word(HEAD).store(self.head, Release);
        Ok(Some(bytes))
    }

    /// Says that the writer must ring from now on. A frame that came in meanwhile rings nobody:
    /// look once more, then sleep.
    pub(crate) fn fall_asleep(&self) {
        self.ring.word(ASLEEP).store(1, Relaxed);
        fence(SeqCst);
    }

    /// Says that no bell is needed. One that is on its way does no harm.
    pub(crate) fn wake(&self) {
        self.ring.word(ASLEEP).store(0, Relaxed);
    }
}

/// A reader that leaves asks for a bell: the writer rings, and learns that nobody is there.
impl Drop for Reader {
    fn drop(&mut self) {
        self.fall_asleep();
    }
}
