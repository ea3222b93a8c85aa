//! What a pool costs, each figure beside the floor under it and measured in turn with it.
//!
//! `cargo bench -p process-pool --bench pool`. Figures are medians over the rounds; goals are for
//! a quiet machine with two cores. The floors are processes of this same program, without a pool.

#[cfg(not(unix))]
fn main() {
    println!("a pool needs Unix: nothing to measure");
}

#[cfg(unix)]
fn main() {
    unix::main();
}

#[cfg(unix)]
mod unix {
    use std::hint::black_box;
    use std::process::{self, Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};
    use std::{env, fs, thread};

    use ipc::{Channel, Packet, Pipe, Socket, pipe};
    use nix::time::{ClockId, clock_gettime};
    use nix::unistd::Pid;
    use process_pool::{Failed, Pool, Process, Task, serve};
    use serde::{Deserialize, Serialize};

    const WORKERS: usize = 2;

    pub fn main() {
        serve::<((Add, Compute), (Wait, Nothing))>();
        match env::args().nth(1).as_deref() {
            Some(ENDS) => return,
            Some(ECHOES) => return echo(),
            _ => {}
        }
        start();
        start_and_join();
        one_at_a_time();
        many();
        queued();
        computing();
        idle();
    }

    #[derive(Serialize, Deserialize)]
    struct Add(u64);

    impl Task for Add {
        type Output = u64;

        fn run(self) -> Result<u64, Failed> {
            Ok(self.0 + 1)
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Nothing;

    impl Task for Nothing {
        type Output = ();

        fn run(self) -> Result<(), Failed> {
            Ok(())
        }
    }

    /// Until the other end of the pipe is gone.
    #[derive(Serialize, Deserialize)]
    struct Wait(Option<Pipe<(), ()>>);

    impl Task for Wait {
        type Output = ();

        fn run(self) -> Result<(), Failed> {
            drop(self.0.map(|mut pipe| pipe.recv()));
            Ok(())
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Compute(u64);

    impl Task for Compute {
        type Output = u64;

        fn run(self) -> Result<u64, Failed> {
            Ok(compute(self.0))
        }
    }

    fn compute(rounds: u64) -> u64 {
        (0..rounds).fold(0, |sum, n| black_box(sum ^ n).wrapping_mul(31))
    }

    /// As an argument: this process is a floor.
    const ENDS: &str = "ends";
    const ECHOES: &str = "echoes";

    fn this_program(role: &str) -> Command {
        let mut command = Command::new(env::current_exe().expect("it runs"));
        command.arg(role).stdin(Stdio::null());
        command
    }

    /// From nothing to the first output.
    fn start() {
        let [floor, ours] = medians(
            15,
            [
                &mut || {
                    timed(|| {
                        let spawn = |_| this_program(ENDS).spawn().expect("it can be started");
                        for mut child in [0; WORKERS].map(spawn) {
                            child.wait().expect("it is ours");
                        }
                    })
                },
                &mut || {
                    let begun = Instant::now();
                    let pool = Pool::new(WORKERS).expect("it can be started");
                    assert_eq!(pool.submit(Add(1)).result().expect("it adds"), 2);
                    let took = begun.elapsed();
                    pool.shutdown();
                    took.as_secs_f64() * 1e6
                },
            ],
        );
        print_ratio("pool of 2, first output", ours, "two spawns", floor, "us", 1.3);
    }

    fn start_and_join() {
        let [floor, ours] = medians(
            301,
            [
                &mut || {
                    timed(|| {
                        this_program(ENDS).status().expect("it can be started");
                    })
                },
                &mut || {
                    timed(|| {
                        Process::spawn(Nothing)
                            .and_then(Process::join)
                            .expect("it does nothing");
                    })
                },
            ],
        );
        print_ratio("process, start + join", ours, "Command::status", floor, "us", 1.15);
    }

    /// A process that says what it hears.
    fn echo() {
        let Ok(socket) = Socket::inherited() else { return };
        let mut channel = Channel::from(socket);
        while let Ok(packet) = channel.recv() {
            if channel.send(&packet).is_err() {
                return;
            }
        }
    }

    fn echoing() -> (process::Child, Channel) {
        let (ours, theirs) = Socket::pair().expect("there are descriptors");
        let child = this_program(ECHOES).stdin(theirs).spawn().expect("it can be started");
        (child, ours.into())
    }

    /// A task, and its output: a message there, one back, and from the thread that hears it to
    /// the one that waits.
    fn one_at_a_time() {
        const TIMES: u32 = 1_000;
        let (mut child, channel) = echoing();
        let (out, mut input) = channel.split();
        let (heard, answers) = mpsc::channel();
        let listener = thread::spawn(move || {
            while let Ok(packet) = input.recv()
                && heard.send(packet).is_ok()
            {}
        });
        let pool = Pool::new(1).expect("it can be started");
        let [floor, ours] = medians(
            9,
            [
                &mut || {
                    timed(|| {
                        for n in 0..u64::from(TIMES) {
                            out.send(&Packet::encode(&n).expect("a number")).expect("it lives");
                            let back = answers.recv().expect("it answers").decode::<u64>();
                            assert_eq!(back.expect("a number"), n);
                        }
                    }) / f64::from(TIMES)
                },
                &mut || {
                    timed(|| {
                        for n in 0..u64::from(TIMES) {
                            assert_eq!(pool.submit(Add(n)).result().expect("it adds"), n + 1);
                        }
                    }) / f64::from(TIMES)
                },
            ],
        );
        pool.shutdown();
        out.socket().shut_down();
        listener.join().expect("it only listens");
        child.wait().expect("it is ours");
        print_ratio("task, one at a time", ours, "ping-pong", floor, "us", 1.25);
    }

    const MANY: u64 = 100_000;

    /// Many tiny tasks: millions a second.
    fn many() {
        let pool = Pool::new(WORKERS).expect("it can be started");
        let mut hands = [(); WORKERS].map(|()| echoing());
        let speed = |count: u64, micros: f64| count as f64 / micros;
        let mut own = Vec::new();
        let [by_hand, submitted, mapped] = medians(
            15,
            [
                &mut || speed(MANY, timed(|| by_hand(&mut hands))),
                &mut || {
                    let before = processor_time(None);
                    let took = timed(|| {
                        let futures: Vec<_> = (0..MANY).map(|n| pool.submit(Add(n))).collect();
                        let outputs = futures.into_iter().map(|f| f.result().expect("it adds"));
                        assert_eq!(outputs.sum::<u64>(), (1..=MANY).sum());
                    });
                    own.push((processor_time(None) - before).as_secs_f64() * 1e6 / MANY as f64);
                    speed(MANY, took)
                },
                &mut || {
                    let took = timed(|| {
                        let outputs = pool.map((0..10 * MANY).map(Add));
                        let outputs = outputs.map(|output| output.expect("it adds"));
                        assert_eq!(outputs.sum::<u64>(), (1..=10 * MANY).sum());
                    });
                    speed(10 * MANY, took)
                },
            ],
        );
        pool.shutdown();
        for (mut child, channel) in hands {
            channel.socket().shut_down();
            child.wait().expect("it is ours");
        }
        println!(
            "tasks by submit         {submitted:8.2} M/s  by hand        {by_hand:8.2} M/s  (goal 1)"
        );
        println!("tasks by map            {mapped:8.2} M/s  {:25} (goal 10)", "");
        println!("the parent's own time   {:8.2} us a task by submit", median(own));
        python(submitted, mapped);
    }

    /// The same work over the same channels by a loop that keeps 64 under way, without handles.
    fn by_hand(hands: &mut [(process::Child, Channel); WORKERS]) {
        const WINDOW: u64 = 64;
        thread::scope(|scope| {
            for (_, channel) in hands {
                scope.spawn(move || {
                    let share = MANY / WORKERS as u64;
                    let mut sent = 0;
                    for received in 0..share {
                        while sent < share && sent < received + WINDOW {
                            let task = Packet::encode(&sent).expect("a number");
                            channel.send(&task).expect("it lives");
                            sent += 1;
                        }
                        let back = channel.recv().expect("it answers").decode::<u64>();
                        assert_eq!(back.expect("a number"), received);
                    }
                });
            }
        });
    }

    const PYTHON: &str = "
import time, multiprocessing, operator
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(2) as pool:
        pool.map(abs, range(1000))
        start = time.perf_counter()
        results = [pool.apply_async(abs, (n,)) for n in range(20000)]
        sum(result.get() for result in results)
        submit = 20000 / (time.perf_counter() - start)
        start = time.perf_counter()
        sum(pool.map(abs, range(1000000)))
        print(submit / 1e6, 1 / (time.perf_counter() - start))
";

    /// `multiprocessing.Pool` beside it, where there is a Python.
    fn python(submitted: f64, mapped: f64) {
        let figures = (9..30).rev().find_map(|minor| {
            let python = format!("python3.{minor}");
            let run = Command::new(&python).args(["-c", PYTHON]).stderr(Stdio::null()).output();
            let text = String::from_utf8(run.ok()?.stdout).ok()?;
            let (submit, map) = text.trim().split_once(' ')?;
            Some((python, submit.parse::<f64>().ok()?, map.parse::<f64>().ok()?))
        });
        let Some((python, submit, map)) = figures else {
            return println!("no Python here: its Pool is not measured");
        };
        let (times, map_times) = (submitted / submit, mapped / map);
        println!("{python} apply_async  {submit:8.3} M/s  ours is x{times:.0} (goal x20)");
        println!("{python} Pool.map     {map:8.3} M/s  ours is x{map_times:.0}");
    }

    /// What a task costs that waits in the queue.
    fn queued() {
        const QUEUED: usize = 1_000_000;
        let Some(before) = resident() else {
            return println!("memory of a queued task: this system does not tell");
        };
        // What the tasks take that are encoded, and nothing else.
        let encoded = |_| Packet::encode(&(0_u8, Wait(None))).expect("it travels");
        let payloads: Vec<_> = (0..QUEUED).map(encoded).collect();
        let handles = size_of_val(&*payloads) as u64;
        let payload =
            (resident().unwrap_or_default() - before - handles) as f64 / QUEUED as f64;
        let before = resident().unwrap_or_default();
        let pool = Pool::builder().workers(1).window(1).build().expect("it can be started");
        let (ours, theirs) = pipe().expect("there are descriptors");
        let blocker = pool.submit(Wait(Some(theirs)));
        let mut futures = Vec::with_capacity(QUEUED);
        futures.resize_with(QUEUED, || pool.submit(Wait(None)));
        let each = (resident().unwrap_or_default() - before) as f64 / QUEUED as f64;
        drop(ours);
        blocker.result().expect("the pipe is gone");
        pool.shutdown_now();
        drop(payloads);
        println!(
            "memory of a queued task {:8.1} B    its payload    {payload:8.1} B    (goal 200)",
            each - payload
        );
    }

    fn resident() -> Option<u64> {
        let pages = fs::read_to_string("/proc/self/statm").ok()?;
        Some(pages.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
    }

    /// A second of computing, cut into pieces, on all cores: bare threads, and the pool.
    fn computing() {
        const PIECES: u64 = 200;
        let second = compute_rounds(Duration::from_secs(1));
        let piece = second / PIECES;
        let pool = Pool::new(WORKERS).expect("it can be started");
        let [threads, ours] = medians(
            7,
            [
                &mut || {
                    let next = AtomicU64::new(0);
                    timed(|| {
                        thread::scope(|scope| {
                            for _ in 0..WORKERS {
                                scope.spawn(|| {
                                    while next.fetch_add(1, Ordering::Relaxed) < PIECES {
                                        black_box(compute(piece));
                                    }
                                });
                            }
                        });
                    })
                },
                &mut || {
                    timed(|| {
                        let pieces = (0..PIECES).map(|_| Compute(piece));
                        assert!(pool.map(pieces).all(|sum| sum.is_ok()));
                    })
                },
            ],
        );
        pool.shutdown();
        println!(
            "1 s cut in {PIECES} tasks    {:8.2} ms   two threads    {:8.2} ms   {:.3} of their speed (goal 0.97)",
            ours / 1e3,
            threads / 1e3,
            threads / ours
        );
    }

    /// How many rounds fill so much time.
    fn compute_rounds(time: Duration) -> u64 {
        const LOOK: u64 = 10_000_000;
        let look = median((0..5).map(|_| timed(|| _ = black_box(compute(LOOK)))));
        let looks = time.div_duration_f64(Duration::from_secs_f64(look / 1e6));
        let rounds = Duration::from_nanos(LOOK).mul_f64(looks).as_nanos();
        u64::try_from(rounds).expect("no core is that fast")
    }

    /// A second without a task: what the pool and its workers compute all the same.
    fn idle() {
        let pool = Pool::new(WORKERS).expect("it can be started");
        let tasks: Vec<_> = (0..1_000).map(|n| pool.submit(Add(n))).collect();
        assert!(tasks.into_iter().all(|task| task.result().is_ok()));
        let used = || {
            let pids = pool.metrics().workers.into_iter().filter_map(|worker| worker.pid);
            let workers: Duration = pids.map(|pid| processor_time(Some(pid))).sum();
            (processor_time(None), workers)
        };
        thread::sleep(Duration::from_millis(100));
        let before = used();
        thread::sleep(Duration::from_secs(1));
        let after = used();
        let [own, workers] =
            [after.0 - before.0, after.1 - before.1].map(|time| time.as_micros());
        pool.shutdown();
        println!(
            "idle for a second       {own:8} us   its workers    {workers:8} us   (goal 0)"
        );
    }

    /// Of this process, or of another.
    fn processor_time(pid: Option<u32>) -> Duration {
        let clock = match pid {
            None => ClockId::CLOCK_PROCESS_CPUTIME_ID,
            Some(pid) => {
                let pid = Pid::from_raw(pid.try_into().expect("a number of a process"));
                ClockId::pid_cpu_clock_id(pid).expect("it lives")
            }
        };
        clock_gettime(clock).expect("every process has this clock").into()
    }

    /// Microseconds.
    fn timed(run: impl FnOnce()) -> f64 {
        let begun = Instant::now();
        run();
        begun.elapsed().as_secs_f64() * 1e6
    }

    /// The median of each measurement; their rounds take turns, so that a slow minute of the
    /// machine hits all of them.
    fn medians<const N: usize>(
        rounds: usize,
        mut measure: [&mut dyn FnMut() -> f64; N],
    ) -> [f64; N] {
        let mut samples = [const { Vec::new() }; N];
        for _ in 0..rounds {
            for (samples, measure) in samples.iter_mut().zip(&mut measure) {
                samples.push(measure());
            }
        }
        samples.map(median)
    }

    fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    }

    fn print_ratio(what: &str, ours: f64, beside: &str, floor: f64, unit: &str, goal: f64) {
        println!(
            "{what:23} {ours:8.2} {unit}   {beside:14} {floor:8.2} {unit}   x{:.3} (goal x{goal})",
            ours / floor
        );
    }
}
