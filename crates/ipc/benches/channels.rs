//! What the ways between processes cost, each figure beside the floor under it and measured in
//! turn with it.
//!
//! `cargo bench -p ipc --bench channels`. The other process is this program, started anew. Figures
//! are medians over the rounds; goals are for a quiet machine with two cores.

fn main() {
    #[cfg(unix)]
    unix::main();
    #[cfg(not(unix))]
    println!("processes that talk need Unix");
}

#[cfg(unix)]
mod unix {
    use std::error::Error;
    use std::fs::File;
    use std::hint::black_box;
    use std::io::{self, PipeReader, PipeWriter, Read, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio, exit};
    use std::time::Instant;
    use std::{array, env};

    use ipc::{
        Channel, Packet, Pipe, Plain, Receiver, Sender, SharedSlice, Socket, bounded, pipe,
    };
    use serde::{Deserialize, Serialize};
    use serde_bytes::ByteBuf;

    type Result<T> = std::result::Result<T, Box<dyn Error>>;

    const ROUNDS: usize = 9;

    pub fn main() {
        // The first line decides: this process, or the other one.
        if let [_, mark, role] = &*env::args().collect::<Vec<_>>()
            && mark == "child"
        {
            exit(child(role).map_or(1, |()| 0));
        }
        // The round trips come last: from then on this process stays on one core.
        let benches = [one_way, memory, python, round_trip];
        if let Err(error) = benches.iter().try_for_each(|bench| bench()) {
            eprintln!("{error}");
            exit(1);
        }
    }

    /// Runs until its connection ends, which is an error of reading.
    fn child(role: &str) -> Result<()> {
        match role {
            "read" => read_bare(),
            "echo" => echo_bare(),
            _ => talk(),
        }
    }

    /// The other process, ended and waited for when dropped.
    struct Other(Child);

    impl Other {
        fn start(
            role: &str,
            input: impl Into<Stdio>,
            output: impl Into<Stdio>,
        ) -> Result<Self> {
            let mut command = Command::new(env::current_exe()?);
            Ok(Self(command.args(["child", role]).stdin(input).stdout(output).spawn()?))
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            // Both fail only for a process that has been waited for.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// One way through: messages a second for so many of one size.
    trait Way {
        fn send(&mut self, size: usize, count: usize) -> Result<()>;
    }

    /// The floor: a pipe of the operating system, a write for each message.
    struct Bare {
        there: PipeWriter,
        back: PipeReader,
        _other: Other,
    }

    impl Bare {
        fn new() -> Result<Self> {
            let ((input, there), (back, output)) = (io::pipe()?, io::pipe()?);
            Ok(Self { there, back, _other: Other::start("read", input, output)? })
        }
    }

    impl Way for Bare {
        fn send(&mut self, size: usize, count: usize) -> Result<()> {
            let message = vec![7; size];
            self.there.write_all(&(size * count).to_le_bytes())?;
            for _ in 0..count {
                self.there.write_all(&message)?;
            }
            Ok(self.back.read_exact(&mut [0])?)
        }
    }

    fn read_bare() -> Result<()> {
        // Not through the buffer of the standard library.
        let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (mut head, mut buffer) = (0_usize.to_le_bytes(), vec![0; 256 << 10]);
        loop {
            input.read_exact(&mut head)?;
            let mut left = usize::from_le_bytes(head);
            while left > 0 {
                let most = left.min(buffer.len());
                left -= input.read(&mut buffer[..most])?;
            }
            output.write_all(&[1])?;
        }
    }

    /// What the other process does with each (size, count) that it is told, before it answers.
    #[derive(Serialize, Deserialize)]
    enum Job {
        FromPipe(Pipe<(), ByteBuf>),
        FromQueue(Receiver<ByteBuf>),
        IntoQueue(Sender<ByteBuf>),
        Echo(Pipe<u8, u8>),
    }

    type Told = Pipe<(), (usize, usize)>;

    fn talk() -> Result<()> {
        let mut parent = Channel::from(Socket::inherited()?);
        let (mut job, mut told): (Job, Told) = parent.recv()?.decode()?;
        if let Job::Echo(_) = job {
            stay_on_core(1);
        }
        loop {
            if let Job::Echo(pipe) = &mut job {
                let byte = pipe.recv()?;
                pipe.send(&byte)?;
                continue;
            }
            let (size, count) = told.recv()?;
            let message = ByteBuf::from(vec![7; size]);
            for _ in 0..count {
                match &mut job {
                    Job::FromPipe(pipe) => drop(black_box(pipe.recv()?)),
                    Job::FromQueue(queue) => drop(black_box(queue.recv()?)),
                    Job::IntoQueue(queue) => queue.send(&message)?,
                    Job::Echo(_) => {}
                }
            }
            told.send(&())?;
        }
    }

    /// A process at work, and how it is told what to do.
    struct Worker {
        tell: Pipe<(usize, usize), ()>,
        _other: Other,
    }

    impl Worker {
        fn start(job: Job) -> Result<Self> {
            let (ours, theirs) = Socket::pair()?;
            let (tell, told) = pipe()?;
            let other = Other::start("talk", theirs, Stdio::inherit())?;
            Channel::from(ours).send(&Packet::encode(&(job, told))?)?;
            Ok(Self { tell, _other: other })
        }
    }

    /// Messages from here to the other process.
    struct There<Put> {
        put: Put,
        worker: Worker,
    }

    impl<Put: FnMut(&ByteBuf) -> std::result::Result<(), ipc::Error>> Way for There<Put> {
        fn send(&mut self, size: usize, count: usize) -> Result<()> {
            let message = ByteBuf::from(vec![7; size]);
            self.worker.tell.send(&(size, count))?;
            for _ in 0..count {
                (self.put)(&message)?;
            }
            Ok(self.worker.tell.recv()?)
        }
    }

    /// Messages from the other process to here.
    struct Here {
        queue: Receiver<ByteBuf>,
        worker: Worker,
    }

    impl Way for Here {
        fn send(&mut self, size: usize, count: usize) -> Result<()> {
            self.worker.tell.send(&(size, count))?;
            for _ in 0..count {
                drop(black_box(self.queue.recv()?));
            }
            Ok(self.worker.tell.recv()?)
        }
    }

    fn one_way() -> Result<()> {
        // Bytes of a message, messages in a round, and how many of them the queue has room for.
        for (size, count, capacity, name, goal) in [
            (64, 100_000, 1024, "64 B", 0.70),
            (1 << 10, 50_000, 1024, "1 KiB", 0.70),
            (1 << 20, 100, 4, "1 MiB", 0.85),
        ] {
            let mut bare = Bare::new()?;
            let (data, theirs) = pipe()?;
            let mut framed = There {
                put: |message: &ByteBuf| data.send(message),
                worker: Worker::start(Job::FromPipe(theirs))?,
            };
            let (sender, receiver) = bounded(capacity)?;
            let mut there = There {
                put: |message: &ByteBuf| sender.send(message),
                worker: Worker::start(Job::FromQueue(receiver))?,
            };
            let (sender, queue) = bounded(capacity)?;
            let mut here = Here { queue, worker: Worker::start(Job::IntoQueue(sender))? };
            let ways: [&mut dyn Way; 4] = [&mut bare, &mut framed, &mut there, &mut here];
            let [floor, figures @ ..] = medians(
                ROUNDS,
                ways.map(|way| {
                    move || {
                        let begun = Instant::now();
                        way.send(size, count)?;
                        Ok(count as f64 / begun.elapsed().as_secs_f64())
                    }
                }),
            )?;
            let names = ["pipe", "queue, child receives", "queue, child sends"];
            for (what, figure) in names.into_iter().zip(figures) {
                let what = format!("{what}, {name}");
                match size {
                    0x10_0000 => least(
                        &what,
                        figure / 1024.0,
                        "bare pipe",
                        floor / 1024.0,
                        "GiB/s",
                        goal,
                    ),
                    _ => least(&what, figure / 1e6, "bare pipe", floor / 1e6, "M/s", goal),
                }
            }
        }
        Ok(())
    }

    fn round_trip() -> Result<()> {
        const TIMES: u32 = 3_000;
        // A word between two cores costs several times one on the same core, and the system moves
        // processes from one to the other: this side stays here, the others there.
        stay_on_core(0);
        let (mut ours, theirs) = UnixStream::pair()?;
        let output = theirs.try_clone()?;
        let other = Other::start("echo", OwnedFd::from(theirs), OwnedFd::from(output))?;
        let (mut ping, pong) = pipe::<u8, u8>()?;
        let worker = Worker::start(Job::Echo(pong))?;
        let mut bare = || {
            per_call(TIMES, || {
                ours.write_all(&[1])?;
                Ok(ours.read_exact(&mut [0])?)
            })
        };
        let mut framed = || {
            per_call(TIMES, || {
                ping.send(&1)?;
                ping.recv()?;
                Ok(())
            })
        };
        let ways: [&mut dyn FnMut() -> Result<f64>; 2] = [&mut bare, &mut framed];
        let [floor, figure] = medians(ROUNDS, ways)?;
        most("round trip, pipe", figure, "bare ping-pong", floor, "us", 1.25);
        drop((other, worker));
        Ok(())
    }

    /// For the calling thread. Where it cannot be had the system chooses.
    #[cfg(target_os = "linux")]
    fn stay_on_core(core: usize) {
        use nix::sched::{CpuSet, sched_setaffinity};
        use nix::unistd::Pid;
        let mut cores = CpuSet::new();
        let _ = cores.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
    }

    #[cfg(not(target_os = "linux"))]
    fn stay_on_core(_: usize) {}

    fn echo_bare() -> Result<()> {
        stay_on_core(1);
        let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut byte = [0];
        loop {
            socket.read_exact(&mut byte)?;
            socket.write_all(&byte)?;
        }
    }

    fn memory() -> Result<()> {
        copies("u8", 7_u8)?;
        copies("u32", 7_u32)?;
        copies("f64", 7_f64)
    }

    /// 16 MiB of numbers into shared memory and out of it, beside memory of this process.
    fn copies<T: Plain>(name: &str, number: T) -> Result<()> {
        const BYTES: usize = 16 << 20;
        let numbers = vec![number; BYTES / size_of::<T>()];
        let (mut private, mut back) = (numbers.clone(), numbers.clone());
        let shared = SharedSlice::zeroed(numbers.len())?;
        let mut copy = || per_second(BYTES, || private.copy_from_slice(black_box(&numbers)));
        let mut write = || per_second(BYTES, || shared.write(black_box(&numbers)));
        let mut read = || per_second(BYTES, || shared.copy_to(black_box(&mut back)));
        let ways: [&mut dyn FnMut() -> Result<f64>; 3] = [&mut copy, &mut write, &mut read];
        let [floor, write, read] = medians(4 * ROUNDS, ways)?;
        least(&format!("write 16 MiB of {name}"), write, "memcpy", floor, "GB/s", 0.8);
        least(&format!("copy_to 16 MiB of {name}"), read, "memcpy", floor, "GB/s", 0.8);
        Ok(())
    }

    /// The same one way by Python's own pipe and queue, where there is a Python.
    fn python() -> Result<()> {
        const SCRIPT: &str = "
import multiprocessing as m, sys, time
def sink(get, done, n):
    for _ in range(n): get()
    done.put(1)
def rate(get, put, n=50000):
    done = m.Queue(); p = m.Process(target=sink, args=(get, done, n)); p.start()
    t = time.perf_counter()
    for _ in range(n): put(b'x' * 64)
    done.get(); t = time.perf_counter() - t; p.join(); return n / t / 1e6
m.set_start_method('fork')
r, w = m.Pipe(False); q = m.Queue(1024)
print('%.3f %.3f %d.%d' % (rate(r.recv_bytes, w.send_bytes), rate(q.get, q.put), *sys.version_info[:2]))
";
        let Ok(output) = Command::new("python3").args(["-c", SCRIPT]).output() else {
            return Ok(());
        };
        if let [pipe, queue, version] =
            &*String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>()
        {
            println!("Python {version}, 64 B: Pipe {pipe} M/s, Queue {queue} M/s");
        }
        Ok(())
    }

    /// Microseconds per call.
    fn per_call(times: u32, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
        let begun = Instant::now();
        (0..times).try_for_each(|_| call())?;
        Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(times))
    }

    /// Gigabytes a second.
    fn per_second(bytes: usize, mut call: impl FnMut()) -> Result<f64> {
        let begun = Instant::now();
        call();
        Ok(bytes as f64 / 1e9 / begun.elapsed().as_secs_f64())
    }

    /// The median of each measurement; their rounds take turns, so that a slow minute of the
    /// machine hits all of them.
    fn medians<const N: usize, F: FnMut() -> Result<f64>>(
        rounds: usize,
        mut measure: [F; N],
    ) -> Result<[f64; N]> {
        let mut samples = [const { Vec::new() }; N];
        // The first round warms up: processes start, rings are made.
        for round in 0..=rounds {
            for (samples, measure) in samples.iter_mut().zip(&mut measure) {
                let sample = measure()?;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        samples.iter_mut().for_each(|samples| samples.sort_by(f64::total_cmp));
        Ok(array::from_fn(|n| samples[n][rounds / 2]))
    }

    fn least(what: &str, ours: f64, beside: &str, floor: f64, unit: &str, goal: f64) {
        print(what, ours, beside, floor, unit, &format!(">= {goal}"));
    }

    fn most(what: &str, ours: f64, beside: &str, floor: f64, unit: &str, goal: f64) {
        print(what, ours, beside, floor, unit, &format!("<= {goal}"));
    }

    fn print(what: &str, ours: f64, beside: &str, floor: f64, unit: &str, goal: &str) {
        println!(
            "{what:29} {ours:8.3} {unit:6} {beside:14} {floor:8.3} {unit:6} x{:.3} (goal {goal})",
            ours / floor
        );
    }
}
