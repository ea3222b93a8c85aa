use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio, exit};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use ipc::{Channel, Error, Packet, Pipe, Receiver, Sender, SharedSlice, Socket, bounded, pipe};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Long for a machine, short for a person: what takes longer hangs.
const HANGS: Duration = Duration::from_secs(60);
/// For time-outs that must pass.
const SOON: Duration = Duration::from_millis(20);
const LONG: usize = 64 << 20;

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        vec![$(Trial::test(stringify!($name), || nothing_is_left($name))),*]
    };
}

pub fn main() {
    // The first line decides: this process, or another one. A harness that started itself with
    // its own arguments would run its tests for ever.
    if env::args().nth(1).as_deref() == Some("child") {
        exit(child().map_or(1, |()| 0));
    }
    // Descriptors are counted: one test at a time.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let tests = tests![
        a_million_messages_of_any_size_arrive_in_order,
        a_message_whose_sender_is_killed_in_the_middle_is_truncated,
        what_a_killed_process_had_sent_arrives,
        a_queue_gives_whole_messages_when_a_producer_is_killed,
        a_killed_consumer_takes_one_message_along_at_most,
        many_processes_at_one_queue_lose_nothing,
        a_stopped_reader_holds_nobody_beyond_the_time_out,
        a_stopped_owner_holds_nobody_beyond_the_time_out,
        the_ends_of_a_queue_learn_that_its_owner_was_killed,
        an_owner_that_cannot_receive_says_so_to_both_sides,
        memory_outlives_the_process_that_wrote_it,
    ];
    libtest_mimic::run(&arguments, tests).exit();
}

/// Runs a test, and waits until all that it opened is closed: threads that serve ends of a queue
/// see the end of a process a moment later.
fn nothing_is_left(test: fn() -> Outcome) -> Result<(), Failed> {
    let before = (count("/proc/self/fd"), names("/dev/shm"), count("/proc/self/task"));
    test().map_err(|error| error.to_string())?;
    let begun = Instant::now();
    loop {
        let after = (count("/proc/self/fd"), names("/dev/shm"), count("/proc/self/task"));
        if after.0 <= before.0 && after.2 <= before.2 && after.1.is_subset(&before.1) {
            return Ok(());
        }
        if begun.elapsed() > HANGS {
            return Err(
                format!("descriptors, memory, threads: {before:?}, then {after:?}").into()
            );
        }
        thread::yield_now();
    }
}

/// Elsewhere than on Linux there is nothing to count.
fn count(directory: &str) -> usize {
    names(directory).len()
}

fn names(directory: &str) -> BTreeSet<std::ffi::OsString> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect()
}

/// What another process does.
#[derive(Serialize, Deserialize)]
enum Job {
    /// Messages of any size, in the order of [`sizes`].
    Any {
        pipe: Pipe<ByteBuf, ()>,
        count: usize,
    },
    /// One long message, over the connection that the job came by.
    Long,
    /// So many numbers into a queue and a pipe, then death.
    SendAndDie {
        queue: Sender<u64>,
        pipe: Pipe<u64, ()>,
        count: u64,
    },
    /// Long messages until the end.
    Flood(Sender<ByteBuf>),
    Produce {
        queue: Sender<u64>,
        first: u64,
        count: u64,
    },
    /// Says what it takes.
    Consume {
        queue: Receiver<u64>,
        taken: Pipe<u64, ()>,
    },
    /// Makes a queue, and sends its ends over the connection that the job came by.
    Own,
    Read(Pipe<u64, ByteBuf>),
    Write(SharedSlice<u64>),
}

fn child() -> Outcome {
    let mut parent = Channel::from(Socket::inherited()?);
    match parent.recv()?.decode()? {
        Job::Any { pipe, count } => {
            for (byte, size) in sizes(count) {
                pipe.send(&ByteBuf::from(vec![byte; size]))?;
            }
        }
        Job::Long => parent.send(&Packet::encode(&ByteBuf::from(vec![1; LONG]))?)?,
        Job::SendAndDie { queue, pipe, count } => {
            for number in 0..count {
                queue.send(&number)?;
                pipe.send(&number)?;
            }
            raise(Signal::SIGKILL)?;
        }
        Job::Flood(queue) => loop {
            queue.send(&ByteBuf::from(vec![1; LONG]))?;
        },
        Job::Produce { queue, first, count } => {
            (first..first + count).try_for_each(|number| queue.send(&number))?;
        }
        Job::Consume { queue, taken } => {
            for number in queue.iter() {
                taken.send(&number?)?;
            }
        }
        Job::Own => {
            let (sender, receiver) = bounded::<u64>(2)?;
            parent.send(&Packet::encode(&(&sender, &receiver))?)?;
            // Until the parent is gone.
            let _ = parent.recv();
        }
        Job::Read(mut pipe) => loop {
            let length = pipe.recv()?.len();
            pipe.send(&(length as u64))?;
        },
        Job::Write(memory) => {
            memory.write(&[1, 2, 3]);
            parent.send(&Packet::encode(&())?)?;
            let _ = parent.recv();
        }
    }
    Ok(())
}

/// The same on both sides: a byte and how many of it.
fn sizes(count: usize) -> impl Iterator<Item = (u8, usize)> {
    let mut seed = 1_u64;
    let next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let [byte, .., low, high] = seed.to_be_bytes();
        // Mostly short, now and then longer than a ring's messages.
        let size = usize::from(low) << (if high < 2 { 9 } else { high % 3 });
        Some((byte, size))
    };
    std::iter::from_fn(next).take(count)
}

struct Process {
    child: Child,
    channel: Channel,
}

impl Process {
    fn start(job: Job) -> Result<Self, Box<dyn std::error::Error>> {
        let (ours, theirs) = Socket::pair()?;
        let mut command = Command::new(env::current_exe()?);
        let child = command.arg("child").stdin(theirs).stderr(Stdio::inherit()).spawn()?;
        let channel = Channel::from(ours);
        channel.send(&Packet::encode(&job)?)?;
        Ok(Self { child, channel })
    }

    fn signal(&self, signal: Signal) -> nix::Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)
    }

    /// Waits until it is stopped: a signal takes its time.
    fn stop(&self) -> Outcome {
        use nix::sys::wait::{WaitPidFlag, waitpid};
        self.signal(Signal::SIGSTOP)?;
        let pid = Pid::from_raw(self.child.id().cast_signed());
        waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_million_messages_of_any_size_arrive_in_order() -> Outcome {
    const COUNT: usize = 1_000_000;
    let (mut ours, theirs) = pipe::<(), ByteBuf>()?;
    let _process = Process::start(Job::Any { pipe: theirs, count: COUNT })?;
    for (byte, size) in sizes(COUNT) {
        let message = ours.recv_timeout(HANGS)?;
        assert!(message.len() == size && message.iter().all(|&found| found == byte));
    }
    assert!(matches!(ours.recv_timeout(HANGS), Err(Error::Disconnected)));
    Ok(())
}

fn a_message_whose_sender_is_killed_in_the_middle_is_truncated() -> Outcome {
    let mut process = Process::start(Job::Long)?;
    // Its first bytes are there, and as nobody reads them, the last ones are not.
    let mut watched = [PollFd::new(process.channel.socket().as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut watched, PollTimeout::NONE)?, 1);
    process.child.kill()?;
    let received = process.channel.recv_timeout(HANGS);
    assert!(matches!(received, Err(Error::Truncated { got }) if got < LONG), "{received:?}");
    Ok(())
}

fn what_a_killed_process_had_sent_arrives() -> Outcome {
    const COUNT: u64 = 2_000;
    let (sender, receiver) = bounded(3_000)?;
    let (mut ours, theirs) = pipe::<(), u64>()?;
    let job = Job::SendAndDie { queue: sender, pipe: theirs, count: COUNT };
    let mut process = Process::start(job)?;
    // Nothing is received before the process is dead.
    process.child.wait()?;
    let numbers = receiver.iter().collect::<Result<Vec<_>, _>>()?;
    assert!(numbers.into_iter().eq(0..COUNT));
    for number in 0..COUNT {
        assert_eq!(ours.recv_timeout(HANGS)?, number);
    }
    assert!(matches!(ours.recv_timeout(HANGS), Err(Error::Disconnected)));
    Ok(())
}

/// A sender that has said a few words sends memory for a ring. The owner may have no room for one
/// more open file: what the sender was told had arrived must not be lost in silence.
fn an_owner_that_cannot_receive_says_so_to_both_sides() -> Outcome {
    // Few enough that the sender waits before it makes a ring.
    let (sender, receiver) = bounded(8)?;
    let mut producer = Process::start(Job::Produce { queue: sender, first: 0, count: 1_000 })?;
    let first = receiver.recv_timeout(HANGS)?;

    let (before, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let free = fs::File::open("/dev/null")?.as_raw_fd().try_into()?;
    setrlimit(Resource::RLIMIT_NOFILE, free, most)?;
    let mut taken: Vec<_> = receiver.iter().collect();
    setrlimit(Resource::RLIMIT_NOFILE, before, most)?;

    let Some(Err(Error::Lost(why))) = taken.pop() else { panic!("the end came in silence") };
    assert!(why.contains("open files"), "{why}");
    let taken = taken.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert!(first == 0 && taken.iter().copied().eq(1..=taken.len() as u64), "{taken:?}");
    assert!(!producer.child.wait()?.success(), "the sender is told too");
    Ok(())
}

fn a_queue_gives_whole_messages_when_a_producer_is_killed() -> Outcome {
    let (sender, receiver) = bounded(1)?;
    let mut process = Process::start(Job::Flood(sender))?;
    assert_eq!(receiver.recv_timeout(HANGS)?.len(), LONG);
    process.child.kill()?;
    let end = loop {
        match receiver.recv_timeout(HANGS) {
            Ok(message) => assert!(message.len() == LONG && message.iter().all(|&b| b == 1)),
            Err(error) => break error,
        }
    };
    assert!(matches!(end, Error::Disconnected), "{end}");
    Ok(())
}

fn a_killed_consumer_takes_one_message_along_at_most() -> Outcome {
    const COUNT: u64 = 20_000;
    let (sender, receiver) = bounded(8)?;
    let consumers = [(); 2].map(|()| -> Result<_, Box<dyn std::error::Error>> {
        let (taken, theirs) = pipe::<(), u64>()?;
        let job = Job::Consume { queue: receiver.clone(), taken: theirs };
        Ok((Process::start(job)?, taken))
    });
    let [first, second] = consumers;
    let ((mut victim, mut by_victim), (survivor, mut by_survivor)) = (first?, second?);
    drop(receiver);
    let mut taken = Vec::new();
    thread::scope(|scope| -> Outcome {
        let producer = scope.spawn(move || (0..COUNT).try_for_each(|n| sender.send(&n)));
        // At work, and killed wherever it is.
        taken.push(by_victim.recv_timeout(HANGS)?);
        victim.child.kill()?;
        while let Ok(number) = by_survivor.recv_timeout(HANGS) {
            taken.push(number);
        }
        producer.join().expect("it does not panic")?;
        Ok(())
    })?;
    while let Ok(number) = by_victim.recv_timeout(HANGS) {
        taken.push(number);
    }
    taken.sort_unstable();
    let distinct = taken.iter().collect::<BTreeSet<_>>().len() as u64;
    assert_eq!(distinct, taken.len() as u64, "no message is received twice");
    // The one that it had taken and not yet told of.
    assert!(COUNT - distinct <= 1, "{distinct} of {COUNT}");
    drop(survivor);
    Ok(())
}

fn many_processes_at_one_queue_lose_nothing() -> Outcome {
    const EACH: u64 = 5_000;
    for capacity in [1, 3, 1_000] {
        let (sender, receiver) = bounded(capacity)?;
        let mut processes = Vec::new();
        for n in 0..3 {
            let queue = sender.clone();
            processes.push(Process::start(Job::Produce {
                queue,
                first: n * EACH,
                count: EACH,
            })?);
        }
        let mut pipes = Vec::new();
        for _ in 0..3 {
            let (ours, taken) = pipe::<(), u64>()?;
            processes.push(Process::start(Job::Consume { queue: receiver.clone(), taken })?);
            pipes.push(ours);
        }
        drop((sender, receiver));
        let mut taken = Vec::new();
        for mut pipe in pipes {
            let mut last = [None; 3];
            while let Ok(number) = pipe.recv_timeout(HANGS) {
                let last = &mut last[usize::try_from(number / EACH)?];
                assert!(*last < Some(number), "the order of each producer stays");
                *last = Some(number);
                taken.push(number);
            }
        }
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..3 * EACH));
    }
    Ok(())
}

fn a_stopped_reader_holds_nobody_beyond_the_time_out() -> Outcome {
    let (mut ours, theirs) = pipe::<ByteBuf, u64>()?;
    let process = Process::start(Job::Read(theirs))?;
    ours.send(&ByteBuf::from(vec![1; 10]))?;
    assert_eq!(ours.recv_timeout(HANGS)?, 10);
    process.stop()?;
    let begun = Instant::now();
    let sent = ours.send_timeout(&ByteBuf::from(vec![1; LONG]), SOON);
    assert!(matches!(sent, Err(Error::TimedOut)));
    assert!(matches!(ours.recv_timeout(SOON), Err(Error::TimedOut)));
    assert!(begun.elapsed() >= 2 * SOON);
    process.signal(Signal::SIGCONT)?;
    // The long message was taken back; the connection goes on.
    ours.send(&ByteBuf::from(vec![1; 20]))?;
    assert_eq!(ours.recv_timeout(HANGS)?, 20);
    Ok(())
}

fn a_stopped_owner_holds_nobody_beyond_the_time_out() -> Outcome {
    let mut process = Process::start(Job::Own)?;
    let (sender, receiver): (Sender<u64>, Receiver<u64>) =
        process.channel.recv_timeout(HANGS)?.decode()?;
    sender.send(&1)?;
    assert_eq!(receiver.recv_timeout(HANGS)?, 1);
    process.stop()?;
    let begun = Instant::now();
    // Places granted before are filled; then there are no more.
    let error = (0..10).find_map(|number| sender.send_timeout(&number, SOON).err());
    assert!(matches!(error, Some(Error::TimedOut)));
    // A wish that the owner had no time to grant is withdrawn.
    assert!(matches!(receiver.recv_timeout(SOON), Err(Error::TimedOut)));
    assert!(begun.elapsed() >= 2 * SOON);
    process.signal(Signal::SIGCONT)?;
    assert_eq!(receiver.recv_timeout(HANGS)?, 0, "the place for it was granted before");
    Ok(())
}

fn the_ends_of_a_queue_learn_that_its_owner_was_killed() -> Outcome {
    let mut process = Process::start(Job::Own)?;
    let (sender, receiver): (Sender<u64>, Receiver<u64>) =
        process.channel.recv_timeout(HANGS)?.decode()?;
    thread::scope(|scope| {
        let waits = scope.spawn(move || receiver.recv());
        process.child.kill()?;
        assert!(matches!(waits.join().expect("no panic"), Err(Error::Disconnected)));
        let error = (0..).find_map(|number| sender.send(&number).err());
        assert!(matches!(error, Some(Error::Disconnected)));
        Ok(())
    })
}

fn memory_outlives_the_process_that_wrote_it() -> Outcome {
    let memory = SharedSlice::<u64>::zeroed(10)?;
    let mut process = Process::start(Job::Write(memory.part(2..8)))?;
    process.channel.recv_timeout(HANGS)?;
    process.child.kill()?;
    process.child.wait()?;
    assert_eq!(memory.to_vec(), [0, 0, 1, 2, 3, 0, 0, 0, 0, 0]);
    Ok(())
}
