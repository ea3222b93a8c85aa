//! Runs one test after another, each within a time, and looks at what it leaves behind: a child or
//! the child of a child, dead or alive; a descriptor, a thread, a named segment of shared memory,
//! a temporary file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use libtest_mimic::{Arguments, Trial};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A test that takes so long hangs: many times what the longest one takes.
const TOO_LONG: Duration = Duration::from_secs(120);
/// The folder for temporary files, which nobody else uses.
const TEMPORARY: &str = "TMPDIR";

/// Runs the tests in a process of their own, whose temporary files can be told from others'.
pub fn run(trials: Vec<Trial>) {
    let folder = format!("{}/faults-{}", env!("CARGO_TARGET_TMPDIR"), process::id());
    if !env::temp_dir().starts_with(env!("CARGO_TARGET_TMPDIR")) {
        fs::create_dir_all(&folder).unwrap();
        let tests = Command::new(env::current_exe().unwrap())
            .args(env::args_os().skip(1))
            .env(TEMPORARY, &folder)
            .status();
        fs::remove_dir_all(&folder).unwrap();
        process::exit(tests.unwrap().code().unwrap_or(101));
    }
    // A process whose parent is gone becomes a child of this one: none can hide.
    prctl::set_child_subreaper(true).unwrap();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit();
}

pub fn trial(name: impl Into<String>, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let before = Held::now();
        let (ended, end) = mpsc::channel::<()>();
        let runs = thread::spawn(move || {
            let _ended = ended;
            test();
        });
        // The end of the test is the end of the sender.
        if end.recv_timeout(TOO_LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            return Err("it hangs".into());
        }
        let ended = runs.join();
        let left = kill_children();
        ended.map_err(|_| "see the panic above")?;
        if !left.is_empty() {
            return Err(format!("processes are left: {left:?}").into());
        }
        // A thread that was waited for is gone a moment later.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !Held::now().is_at_most(&before) {
            if Instant::now() > deadline {
                return Err(format!("before: {before:?}, after: {:?}", Held::now()).into());
            }
            thread::yield_now();
        }
        Ok(())
    })
}

/// Ends what a test has left, for the next one's sake; what that was.
fn kill_children() -> Vec<WaitStatus> {
    let mut left = Vec::new();
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        left.push(status);
        for process in entries("/proc").iter().filter_map(|name| name.to_str()) {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // Behind the name, which may be anything: the state, and the parent.
            let parent = stat.rsplit(") ").next().and_then(|stat| stat.split(' ').nth(1));
            if parent.is_some_and(|parent| parent == process::id().to_string()) {
                let _ = kill(Pid::from_raw(process.parse().unwrap()), Signal::SIGKILL);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    left
}

/// What this process has.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    segments: BTreeSet<OsString>,
    files: BTreeSet<OsString>,
}

impl Held {
    fn now() -> Self {
        Self {
            descriptors: entries("/proc/self/fd").len(),
            threads: entries("/proc/self/task").len(),
            segments: entries("/dev/shm"),
            files: entries(env::temp_dir()),
        }
    }

    /// Fewer, when threads of an earlier test were still about to end, or other programs of this
    /// machine have removed their segments.
    fn is_at_most(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.segments.difference(&before.segments).all(is_mapped)
            && self.files == before.files
    }
}

/// Whether a process uses the segment. Of a test that is over there is none: it is somebody else's.
fn is_mapped(segment: &OsString) -> bool {
    let path = format!("/dev/shm/{}", segment.display());
    let processes = entries("/proc");
    let maps = processes.iter().map(|name| Path::new("/proc").join(name).join("maps"));
    maps.filter_map(|maps| fs::read_to_string(maps).ok()).any(|maps| maps.contains(&path))
}

fn entries(folder: impl AsRef<Path>) -> BTreeSet<OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// Waits for something that another process or thread does.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        // Looking all the time would keep the pool's own lock from it.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until no process is left below this one, and says how each ended.
pub fn orphans_end(within: Duration) -> Vec<WaitStatus> {
    let begun = Instant::now();
    let mut ends = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return ends,
            Ok(WaitStatus::StillAlive) => {}
            end => {
                ends.push(end.unwrap());
                continue;
            }
        }
        assert!(begun.elapsed() < within, "a process is left after {:?}", begun.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
}
