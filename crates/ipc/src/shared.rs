//! Memory that several processes see.

use std::fs::File;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::{io, slice};

use memmap2::MmapRaw;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::os::{nameless_memory, stays_large};
use crate::packet::{attach, detach, refused};

/// A number that may lie in shared memory.
pub trait Plain: Copy + sealed::Cell {}

mod sealed {
    use std::sync::atomic::AtomicU64;

    pub trait Cell: Sized {
        /// As large as the number, and any bits are a value of it.
        type Atomic: Sync;
        fn load(cell: &Self::Atomic) -> Self;
        fn store(cell: &Self::Atomic, value: Self);
        /// The same for as many numbers as fill the words, several in each.
        fn load_words(words: &[AtomicU64], numbers: &mut [Self]);
        fn store_words(words: &[AtomicU64], numbers: &[Self]);
    }
}

// Inlined into other crates: a call for each number would cost more than the number.
macro_rules! plain {
    ($($number:ty, $atomic:ty, $from:expr, $into:expr;)*) => {$(
        impl Plain for $number {}
        impl sealed::Cell for $number {
            type Atomic = $atomic;
            #[inline]
            fn load(cell: &$atomic) -> Self {
                $from(cell.load(Relaxed))
            }
            #[inline]
            fn store(cell: &$atomic, value: Self) {
                cell.store($into(value), Relaxed);
            }
            fn load_words(words: &[AtomicU64], numbers: &mut [Self]) {
                const BYTES: usize = size_of::<$number>();
                let (numbers, _) = numbers.as_chunks_mut::<{ 8 / BYTES }>();
                for (word, numbers) in words.iter().zip(numbers) {
                    let bytes = word.load(Relaxed).to_ne_bytes();
                    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
                        *number = <$number>::from_ne_bytes(*bytes);
                    }
                }
            }
            fn store_words(words: &[AtomicU64], numbers: &[Self]) {
                const BYTES: usize = size_of::<$number>();
                let (numbers, _) = numbers.as_chunks::<{ 8 / BYTES }>();
                for (word, numbers) in words.iter().zip(numbers) {
                    let mut bytes = [0; 8];
                    for (bytes, number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
                        *bytes = number.to_ne_bytes();
                    }
                    word.store(u64::from_ne_bytes(bytes), Relaxed);
                }
            }
        }
    )*};
}

plain! {
    u8, AtomicU8, u8::from, u8::from;
    u32, AtomicU32, u32::from, u32::from;
    u64, AtomicU64, u64::from, u64::from;
    i32, AtomicI32, i32::from, i32::from;
    i64, AtomicI64, i64::from, i64::from;
    f32, AtomicU32, f32::from_bits, f32::to_bits;
    f64, AtomicU64, f64::from_bits, f64::to_bits;
}

/// A slice of numbers in memory that several processes see at once.
///
/// Put it, or a [`part`](Self::part) of it, into a message: the other process sees the same
/// memory, nothing is copied. The memory has no name and lives as long as somebody maps it, so
/// a killed process leaves nothing behind (`multiprocessing.shared_memory` has names, and a
/// tracker process that removes them).
///
/// Reads and writes are relaxed atomics: a race between processes gives an old or a new number,
/// never a broken program. They order nothing; the message that says "done" does, and so do
/// the counters of a `SharedSlice<u64>`.
#[derive(Clone, Debug)]
pub struct SharedSlice<T> {
    memory: Arc<Memory>,
    range: Range<usize>,
    types: PhantomData<T>,
}

#[derive(Debug)]
struct Memory {
    map: MmapRaw,
    file: File,
}

impl<T: Plain> SharedSlice<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses. Linux counts the memory when it is
    /// written to, and ends a process that it has none for.
    pub fn zeroed(len: usize) -> Result<Self, Error> {
        let bytes =
            len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
        let bytes = bytes.ok_or(io::ErrorKind::OutOfMemory).map_err(io::Error::from)?;
        // An empty mapping does not exist: one byte stands for it.
        let file = nameless_memory(bytes.max(1) as u64)?;
        Ok(Self::map(file, 0..len)?)
    }

    fn map(file: File, range: Range<usize>) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        let fits = range.start <= range.end
            && range.end.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes <= map.len());
        if !fits {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more numbers than memory"));
        }
        Ok(Self { memory: Arc::new(Memory { map, file }), range, types: PhantomData })
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The same memory, seen through a smaller window.
    ///
    /// # Panics
    /// When `range` reaches beyond the slice, as indexing does.
    pub fn part(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "{range:?} of {} numbers",
            self.len()
        );
        let from = self.range.start;
        Self { range: from + range.start..from + range.end, ..self.clone() }
    }

    /// The number at `index`.
    ///
    /// # Panics
    /// When there is none, as indexing does.
    pub fn get(&self, index: usize) -> T {
        T::load(&self.cells()[index])
    }

    /// Writes the number at `index`.
    ///
    /// # Panics
    /// When there is none, as indexing does.
    pub fn set(&self, index: usize, number: T) {
        T::store(&self.cells()[index], number);
    }

    /// Copies `numbers` to the front of the slice, about as fast as memory is copied.
    ///
    /// # Panics
    /// When they are more than the slice has.
    pub fn write(&self, numbers: &[T]) {
        let (front, words, back) = self.words(numbers.len());
        let (first, rest) = numbers.split_at(front.len());
        let (middle, last) = rest.split_at(rest.len() - back.len());
        T::store_words(words, middle);
        for (cell, &number) in front.iter().zip(first).chain(back.iter().zip(last)) {
            T::store(cell, number);
        }
    }

    /// Copies the front of the slice to `numbers`, about as fast as memory is copied.
    ///
    /// # Panics
    /// When they are more than the slice has.
    pub fn copy_to(&self, numbers: &mut [T]) {
        let (front, words, back) = self.words(numbers.len());
        let (first, rest) = numbers.split_at_mut(front.len());
        let (middle, last) = rest.split_at_mut(rest.len() - back.len());
        T::load_words(words, middle);
        for (cell, number) in front.iter().zip(first).chain(back.iter().zip(last)) {
            *number = T::load(cell);
        }
    }

    /// The numbers one after another, each read when its turn comes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> {
        self.cells().iter().map(T::load)
    }

    /// A copy of all numbers.
    pub fn to_vec(&self) -> Vec<T> {
        let Some(first) = self.iter().next() else { return Vec::new() };
        let mut numbers = vec![first; self.len()];
        self.copy_to(&mut numbers);
        numbers
    }

    /// The first `len` numbers in the widest cells there are: whole words, and what lies before
    /// and behind them.
    fn words(&self, len: usize) -> (&[T::Atomic], &[AtomicU64], &[T::Atomic]) {
        let cells = &self.cells()[..len];
        let in_word = size_of::<u64>() / size_of::<T>();
        let front = (in_word - self.range.start % in_word) % in_word;
        let (front, rest) = cells.split_at(front.min(len));
        let (middle, back) = rest.split_at(rest.len() / in_word * in_word);
        #[expect(unsafe_code, reason = "several numbers seen as one word")]
        // SAFETY: `middle` begins at a multiple of eight bytes of a page, or is empty, and is as
        // long as the words; any bits are a word. All access is atomic. A word and the numbers
        // in it that race give old or new numbers: the processors that Rust runs on have this
        // guarantee, and no compiler sees the two sides together.
        let words = unsafe {
            slice::from_raw_parts(middle.as_ptr().cast::<AtomicU64>(), middle.len() / in_word)
        };
        (front, words, back)
    }

    pub(crate) fn cells(&self) -> &[T::Atomic] {
        let first = self.memory.map.as_mut_ptr().cast_const().cast::<T::Atomic>();
        #[expect(unsafe_code, reason = "a view of mapped memory")]
        // SAFETY: the mapping is page-aligned, holds at least `range.end` cells (checked when it
        // was made, and sealed against shrinking), and lives as long as `self`. Any bits are
        // a number. All access, of every process, is atomic.
        unsafe {
            slice::from_raw_parts(first.add(self.range.start), self.range.len())
        }
    }
}

/// Numbers that processes change together: each of these is one step that nobody sees half of,
/// and orders what its process did before and does after (sequentially consistent).
impl SharedSlice<u64> {
    /// Adds to the number at `index`, wrapping around; returns what it was.
    ///
    /// # Panics
    /// When there is none, as indexing does.
    pub fn fetch_add(&self, index: usize, number: u64) -> u64 {
        self.cells()[index].fetch_add(number, SeqCst)
    }

    /// Writes the number at `index`; returns what it was.
    ///
    /// # Panics
    /// When there is none, as indexing does.
    pub fn swap(&self, index: usize, number: u64) -> u64 {
        self.cells()[index].swap(number, SeqCst)
    }

    /// Writes the number at `index` if it is `current`.
    ///
    /// # Errors
    /// The number, when it is another one.
    ///
    /// # Panics
    /// When there is none, as indexing does.
    pub fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<(), u64> {
        self.cells()[index].compare_exchange(current, new, SeqCst, SeqCst).map(drop)
    }
}

impl<T: Plain> Serialize for SharedSlice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let file = Attached(&self.memory.file);
        (self.range.start, self.range.end, file).serialize(serializer)
    }
}

struct Attached<'a>(&'a File);

impl Serialize for Attached<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach(serializer, || Ok(self.0.try_clone()?.into()))
    }
}

struct Detached(File);

impl<'de> Deserialize<'de> for Detached {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(detach(deserializer)?.into()))
    }
}

impl<'de, T: Plain> Deserialize<'de> for SharedSlice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (start, end, Detached(file)) = Deserialize::deserialize(deserializer)?;
        if !stays_large(&file) {
            return Err(serde::de::Error::custom("memory that could shrink"));
        }
        Self::map(file, start..end).map_err(|error| refused(error.into()))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::Packet;

    #[test]
    fn memory_that_could_shrink_is_refused() {
        let file = File::from(memfd_create("test", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(8).unwrap();
        let packet = Packet::encode(&(0_usize, 1_usize, Attached(&file))).unwrap();
        assert!(matches!(packet.decode::<SharedSlice<u64>>(), Err(Error::Decode(_))));
    }
}
