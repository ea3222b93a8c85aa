//! After every test everything is as before it: no child, no descriptor, no thread is left.

use std::panic;
use std::time::{Duration, Instant};
use std::{fs, thread};

use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, waitpid};
use process_pool::{Pool, Task};

pub fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        let before = held();
        panic::catch_unwind(test).map_err(|_| "see the panic above")?;
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => {}
            left => return Err(format!("a child is left: {left:?}").into()),
        }
        // A thread that was waited for, or that serves an end of a queue, is gone a moment later.
        let deadline = Instant::now() + Duration::from_secs(5);
        while held() != before {
            if Instant::now() > deadline {
                return Err(format!("held before: {before:?}, after: {:?}", held()).into());
            }
            thread::yield_now();
        }
        Ok(())
    })
}

/// How many descriptors and threads this process has, where the system tells.
fn held() -> [Option<usize>; 2] {
    ["/proc/self/fd", "/proc/self/task"]
        .map(|directory| fs::read_dir(directory).ok().map(Iterator::count))
}

/// Waits for something that another process or thread does.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        // Looking all the time would keep the pool's own lock from it.
        thread::sleep(Duration::from_millis(1));
    }
}

/// What a pool that is at its end has traced: the form that every viewer takes.
pub fn trace_events<T: Task>(pool: Pool<T>) -> Vec<serde_json::Value> {
    let mut json = Vec::new();
    pool.write_trace(&mut json).unwrap();
    pool.shutdown();
    let mut trace: serde_json::Value = serde_json::from_slice(&json).unwrap();
    serde_json::from_value(trace["traceEvents"].take()).unwrap()
}
