//! Tasks that fork: the child holds its parent's connection for as long as it lives, which here is
//! longer than any test. What ends a worker ends it all the same, at once.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, exit};
use std::time::{Duration, Instant};
use std::{fs, thread};

use ipc::SharedSlice;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use process_pool::{Ended, Error, Failed, Pool, Process, Task, TaskOptions, kill_this_process};
use serde::{Deserialize, Serialize};

use super::harness::{orphans_end, trial, until};

/// The places of the process numbers of those who hold on, behind how many there are.
const PLACES: usize = 100;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_worker_that_forks_and_exits_fails_its_task_at_once", exits),
        trial("a_worker_that_forks_and_is_killed_fails_its_task_at_once", killed),
        trial("a_worker_that_forks_is_killed_at_the_limit_of_its_task", limit),
        trial("a_pool_whose_worker_forked_shuts_down_at_once", shutdown),
        trial("a_pool_whose_worker_forked_is_dropped_at_once", dropped),
        trial("a_pool_whose_worker_forked_is_dropped_at_once_in_a_task", dropped_busy),
        trial("a_process_that_forks_and_is_killed_is_joined_at_once", process),
        trial("a_process_that_forks_is_dropped_at_once", process_dropped),
        trial("what_a_worker_that_forked_has_sent_is_received_after_its_death", answered),
        trial("what_a_process_that_forked_has_sent_is_received_after_its_death", output),
        trial("64_mib_on_their_way_to_a_worker_that_forked_end_with_it", argument),
    ]
}

/// A program that holds every connection of this process until it is killed, as a child does that
/// was forked: all lie in a message that nobody takes out of the program's standard input.
pub fn hold_on() -> u32 {
    let (message, theirs) = UnixStream::pair().unwrap();
    let sockets: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let what = fs::read_link(path).unwrap_or_default();
            what.to_string_lossy().starts_with("socket:")
        })
        .map(|path| path.file_name().unwrap().to_string_lossy().parse().unwrap())
        .filter(|fd| ![message.as_raw_fd(), theirs.as_raw_fd()].contains(fd))
        .collect();
    assert!(!sockets.is_empty(), "it has a connection");
    let rights = [ControlMessage::ScmRights(&sockets)];
    let (bytes, none) = ([IoSlice::new(&[0])], MsgFlags::empty());
    sendmsg::<()>(message.as_raw_fd(), &bytes, &rights, none, None).unwrap();
    let program = Command::new("sleep").arg("1000").stdin(OwnedFd::from(theirs)).spawn();
    program.unwrap().id()
}

#[derive(Serialize, Deserialize)]
pub struct Fork {
    holders: Option<SharedSlice<u64>>,
    then: Then,
}

#[derive(Serialize, Deserialize)]
enum Then {
    Goes,
    Exits,
    Dies,
    Parks,
    Makes(usize),
    Takes(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Task for Fork {
    type Output = serde_bytes::ByteBuf;

    fn run(self) -> Result<Self::Output, Failed> {
        if let Some(holders) = self.holders {
            let holder = hold_on();
            let place = 1 + holders.fetch_add(0, 1);
            holders.set(usize::try_from(place)?, holder.into());
        }
        match self.then {
            Then::Goes | Then::Takes(_) => {}
            Then::Exits => exit(3),
            Then::Dies => kill_this_process(),
            Then::Parks => loop {
                thread::park();
            },
            Then::Makes(size) => return Ok(vec![7; size].into()),
        }
        Ok(Vec::new().into())
    }
}

/// A test's own time, and the processes that hold its connections.
struct Holders {
    numbers: SharedSlice<u64>,
    begun: Instant,
}

impl Holders {
    fn new() -> Self {
        Self { numbers: SharedSlice::zeroed(PLACES).unwrap(), begun: Instant::now() }
    }

    fn fork(&self, then: Then) -> Fork {
        Fork { holders: Some(self.numbers.clone()), then }
    }

    /// Waits until so many hold on.
    fn hold(&self, count: u64) {
        let all = || (1..=count).all(|n| self.numbers.get(usize::try_from(n).unwrap()) != 0);
        until("they hold on", all);
    }

    /// All of them are alive, and what came before did not wait for them.
    fn end(self, count: u64) {
        assert!(self.begun.elapsed() < Duration::from_secs(60), "{:?}", self.begun.elapsed());
        assert_eq!(self.numbers.get(0), count);
        for n in 1..=usize::try_from(count).unwrap() {
            let pid = Pid::from_raw(self.numbers.get(n).try_into().unwrap());
            kill(pid, Signal::SIGKILL).expect("it lives");
        }
        let ends = orphans_end(Duration::from_secs(60));
        assert_eq!(ends.len() as u64, count, "{ends:?}");
    }
}

fn just(then: Then) -> Fork {
    Fork { holders: None, then }
}

fn pool() -> Pool<Fork> {
    Pool::new(1).unwrap()
}

fn kill_worker(pool: &Pool<Fork>) {
    let pid = pool.metrics().workers[0].pid.unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
}

fn exits() {
    let holders = Holders::new();
    let pool = pool();
    let error = pool.submit(holders.fork(Then::Exits)).result().unwrap_err();
    assert_eq!(error.to_string(), "worker exited with status 3");
    let error = pool.submit(holders.fork(Then::Dies)).result().unwrap_err();
    assert_eq!(error.to_string(), "worker killed by SIGKILL");
    assert!(pool.submit(just(Then::Goes)).result().is_ok());
    assert_eq!(pool.replaced(), 2);
    pool.shutdown();
    holders.end(2);
}

fn killed() {
    let holders = Holders::new();
    let pool = pool();
    let parks = pool.submit(holders.fork(Then::Parks));
    let waits = pool.submit(just(Then::Goes));
    holders.hold(1);
    kill_worker(&pool);
    assert_eq!(parks.result().unwrap_err().to_string(), "worker killed by SIGKILL");
    assert!(waits.result().is_ok());
    pool.shutdown();
    holders.end(1);
}

fn limit() {
    let holders = Holders::new();
    let pool = pool();
    let time_out = Some(Duration::from_millis(500));
    let options = TaskOptions { time_out, ..TaskOptions::default() };
    let parks = pool.submit_with(holders.fork(Then::Parks), options);
    assert!(matches!(parks.result(), Err(Error::TimedOut { .. })));
    assert!(pool.submit(just(Then::Goes)).result().is_ok());
    pool.shutdown();
    holders.end(1);
}

fn shutdown() {
    let holders = Holders::new();
    let pool = pool();
    assert!(pool.submit(holders.fork(Then::Goes)).result().is_ok());
    pool.shutdown();
    holders.end(1);
}

fn dropped() {
    let holders = Holders::new();
    let pool = pool();
    assert!(pool.submit(holders.fork(Then::Goes)).result().is_ok());
    drop(pool);
    holders.end(1);
}

fn dropped_busy() {
    let holders = Holders::new();
    let pool = pool();
    let parks = pool.submit(holders.fork(Then::Parks));
    holders.hold(1);
    drop(pool);
    assert!(matches!(parks.result(), Err(Error::Cancelled)));
    holders.end(1);
}

fn process() {
    let holders = Holders::new();
    let mut process = Process::spawn(holders.fork(Then::Parks)).unwrap();
    holders.hold(1);
    assert!(!process.join_timeout(Duration::ZERO));
    process.kill();
    assert!(process.join_timeout(Duration::from_secs(60)));
    assert!(matches!(process.ended(), Some(Ended::Killed { .. })));
    assert_eq!(process.join().unwrap_err().to_string(), "worker killed by SIGKILL");
    // By itself, with and without an output.
    assert!(Process::spawn(holders.fork(Then::Goes)).unwrap().join().is_ok());
    let exits = Process::spawn(holders.fork(Then::Exits)).unwrap();
    assert_eq!(exits.join().unwrap_err().to_string(), "worker exited with status 3");
    holders.end(3);
}

fn process_dropped() {
    let holders = Holders::new();
    let process = Process::spawn(holders.fork(Then::Parks)).unwrap();
    holders.hold(1);
    drop(process);
    holders.end(1);
}

/// Of all sizes: through the ring, the socket, and more than either holds.
fn answered() {
    const SIZES: [usize; 4] = [10, 10_000, 100_000, 8 << 20];
    let holders = Holders::new();
    let pool = Pool::builder().workers(1).window(64).build().unwrap();
    let first = pool.submit(holders.fork(Then::Goes));
    let made: Vec<_> = (0..40).map(|n| pool.submit(just(Then::Makes(SIZES[n % 4])))).collect();
    let dies = pool.submit(just(Then::Dies));
    assert!(first.result().is_ok());
    for (n, future) in made.into_iter().enumerate() {
        assert_eq!(future.result().unwrap(), vec![7; SIZES[n % 4]]);
    }
    assert!(matches!(dies.result(), Err(Error::Died(_))));
    assert_eq!(pool.replaced(), 1, "each was run by the first");
    pool.shutdown();
    holders.end(1);
}

/// As much as its connection holds, and nobody receives before its death was seen.
fn output() {
    const SIZE: usize = 100_000;
    let holders = Holders::new();
    let process = Process::spawn(holders.fork(Then::Makes(SIZE))).unwrap();
    until("its end was seen", || {
        let threads = fs::read_dir("/proc/self/task").unwrap();
        threads
            .map(|thread| thread.unwrap().path().join("comm"))
            .all(|name| fs::read_to_string(name).unwrap_or_default() != "watch\n")
    });
    assert_eq!(process.join().unwrap(), vec![7; SIZE]);
    holders.end(1);
}

/// Whoever sends in the moment of the death goes on.
fn argument() {
    let holders = Holders::new();
    let pool = pool();
    for delay in [0, 5, 20] {
        assert!(pool.submit(holders.fork(Then::Goes)).result().is_ok());
        let takes = pool.submit(just(Then::Takes(vec![1; 64 << 20])));
        thread::sleep(Duration::from_millis(delay));
        kill_worker(&pool);
        // It had not begun, or it fails: the kill comes at any moment.
        assert!(matches!(takes.result(), Ok(_) | Err(Error::Died(_))));
    }
    pool.shutdown();
    holders.end(3);
}
