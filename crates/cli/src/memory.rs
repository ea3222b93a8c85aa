//! What happens when the operating system gives no more memory.
//!
//! Rust aborts then, and a signal is no exit status that a script expects; nothing in the standard
//! library changes that. So the allocator of every program that knows this crate looks at what the
//! system says. What a library asks the system for by itself, or C code, is beyond it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::refused::say_once;

#[global_allocator]
static MEMORY: Memory = Memory { ends: AtomicBool::new(false) };

/// The allocator of the system. Once it is told to, it ends the program where that has nothing.
struct Memory {
    ends: AtomicBool,
}

/// From now on a program without memory ends in one line. Not before: a worker process never gets
/// here, and how it died is for its parent to say.
pub(crate) fn end_in_one_line() {
    MEMORY.ends.store(true, Relaxed);
    os::share_one_arena();
}

/// Does not flush, and runs no destructor: who had no memory may hold what they wait for.
fn no_memory(bytes: usize) -> ! {
    say_once(format_args!("cannot have {bytes} bytes of memory: the system has no more"));
    os::exit()
}

/// Whether there is memory for one more thread, beside its stack. For whoever starts hundreds.
///
/// A thread that has started and finds none takes the program along: glibc ends it by a signal.
/// And a thread that does start leaves room for what is to be said when the next one does not.
///
/// # Errors
/// [`io::ErrorKind::OutOfMemory`].
pub fn room_for_a_thread() -> io::Result<()> {
    // Addresses, never touched. Threads that have just begun take some of them meanwhile.
    const ROOM: Layout = Layout::new::<[u8; 33 << 20]>();
    // SAFETY: the layout is not empty, and what it gives is given back with the same one.
    #[expect(unsafe_code)]
    unsafe {
        let room = System.alloc(ROOM);
        if room.is_null() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        System.dealloc(room, ROOM);
    }
    Ok(())
}

impl Memory {
    fn given(&self, memory: *mut u8, bytes: usize) -> *mut u8 {
        if memory.is_null() && self.ends.load(Relaxed) {
            no_memory(bytes);
        }
        memory
    }
}

// SAFETY: every block comes from `System`, with the layout that was asked for, and goes back there.
// Nothing here unwinds.
#[expect(unsafe_code)]
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps what `System` asks for, here and below.
        self.given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as above.
        self.given(unsafe { System.realloc(block, layout, bytes) }, bytes)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(unix)]
mod os {
    use nix::libc;

    use crate::FAILED;

    /// glibc gives each thread an arena of its own, up to eight for each core: 64 MiB of addresses
    /// each. That spares threads some waiting for each other, and is most of what a limit on
    /// addresses allows. So where there is one, all threads share an arena, here and in workers.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    pub fn share_one_arena() {
        use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

        if getrlimit(Resource::RLIMIT_AS).is_ok_and(|(limit, _)| limit != RLIM_INFINITY) {
            // SAFETY: the first sets a number in the allocator, under the allocator's own lock. The
            // second is for worker processes; no other thread reads the environment meanwhile,
            // since programs begin with `parse`.
            #[expect(unsafe_code)]
            unsafe {
                libc::mallopt(libc::M_ARENA_MAX, 1);
                std::env::set_var("MALLOC_ARENA_MAX", "1");
            }
        }
    }

    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    pub fn share_one_arena() {}

    pub fn exit() -> ! {
        // SAFETY: it ends the process, and nothing that could be left in disorder.
        #[expect(unsafe_code)]
        unsafe {
            libc::_exit(FAILED)
        }
    }
}

#[cfg(not(unix))]
mod os {
    pub fn share_one_arena() {}

    pub fn exit() -> ! {
        std::process::exit(crate::FAILED)
    }
}
