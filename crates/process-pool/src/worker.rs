//! The worker's side: reads tasks, runs one after another, sends what came of each.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use std::{env, io, mem, process};

use ipc::{Channel, Packet, SendHalf, Socket};

use crate::chunk::{self, append, begin_bundle, finish_bundle, pad};
use crate::message::{Answer, Board, CHUNK, Order, Panic, Setup, VERSION};
use crate::{Record, Remote, Task, os};

/// The first argument of a process that is a worker; the second names the task type. An
/// argument, not a variable of the environment: the worker's own children do not inherit it.
pub(crate) const MARK: &str = "process-pool-worker";
/// The same for a process that runs one task and is waited for, not greeted: it does not report
/// for work, which would take a good part of the time that it has beyond starting.
pub(crate) const MARK_ALONE: &str = "process-pool-process";

/// The task type that this process is asked to serve, if it was started as a worker.
pub(crate) fn asked_for() -> Option<String> {
    let mut arguments = env::args_os().skip(1);
    let mark = arguments.next()?;
    if mark != MARK && mark != MARK_ALONE {
        return None;
    }
    arguments.next()?.into_string().ok()
}

/// Whether `serve` has run: else this process would start itself for ever.
pub(crate) fn serves() -> bool {
    SERVES.load(Relaxed)
}

static SERVES: AtomicBool = AtomicBool::new(false);

/// Where answers and log records go.
static OUT: OnceLock<SendHalf> = OnceLock::new();

/// Sends a log record, from any thread.
pub(crate) fn tell_parent(record: Record) {
    if let Some(out) = OUT.get() {
        // A parent that is gone ends this process in a moment.
        let _ = out.send(&tell(&Answer::Log(record)));
    }
}

/// Ends a worker whose program cannot do what it is asked for.
fn refuse(name: &str) -> ! {
    eprintln!("this program serves no task {name}: name it in serve, the first line of main");
    process::exit(2);
}

/// What a worker does with tasks of one type.
#[derive(Clone, Copy)]
pub struct Runner {
    task: fn(Packet, &mut Times) -> Packet,
    in_chunk: fn(&[u8], &mut Vec<u8>, &mut Times) -> Option<Packet>,
}

impl Runner {
    pub(crate) fn of<T: Task>() -> Self {
        Self { task: run_task::<T>, in_chunk: run_in_chunk::<T> }
    }
}

/// When a task began, and when each step of it ended: as many as there were. The steps are decoding,
/// running and encoding the output.
#[derive(Default)]
struct Times {
    traced: bool,
    nanos: Vec<u64>,
}

impl Times {
    fn begin(&mut self) {
        self.nanos.clear();
        self.note();
    }

    fn note(&mut self) {
        if self.traced {
            self.nanos.push(os::now());
        }
    }

    /// A step has ended earlier, by a panic.
    fn note_panic(&mut self, nanos: u64) {
        if self.traced {
            // A panic that is resumed was one before, perhaps in an earlier step.
            self.nanos.push(self.nanos.iter().copied().fold(nanos, u64::max));
        }
    }

    /// Of tasks that came together the last one is done, or none is.
    fn forget_end(&mut self) {
        self.nanos.truncate(1);
    }
}

/// Serves tasks until the parent says that there are no more, or is gone.
pub(crate) fn serve(name: &str, runner: impl Fn(&str) -> Option<Runner>) -> ! {
    os::start_afresh();
    os::take_name();
    SERVES.store(true, Relaxed);
    let Some(tasks) = runner(name) else { refuse(name) };
    let socket = Socket::inherited().unwrap_or_else(|error| {
        eprintln!("a worker for {name} cannot reach its parent: {error}");
        process::exit(2);
    });
    let watched = os::end_with_parent(&socket);
    let (out, mut input) = Channel::from(socket).split();
    if let Err(error) = watched {
        let error = ipc::explained(error);
        let error = io::Error::other(format!(
            "a worker cannot watch for the end of its parent: {error}"
        ));
        say(&out, &tell(&Answer::Failed(Remote::new(&error))));
        process::exit(2);
    }
    panic::set_hook(Box::new(keep_panic));
    let out = OUT.get_or_init(|| out);
    if env::args_os().nth(1).is_some_and(|mark| mark == MARK) {
        say(out, &tell(&Answer::Ready(VERSION)));
    }

    let mut worker = Worker {
        out,
        tasks,
        initializer: None,
        setup: None,
        number: 0,
        bundle: Vec::new(),
        bundles: 0,
        times: Times::default(),
    };
    loop {
        match input.recv() {
            Ok(order) => worker.obey(order, &runner),
            Err(ipc::Error::Disconnected | ipc::Error::Truncated { .. }) => process::exit(0),
            Err(error) => give_up(out, &error),
        }
    }
}

/// Ends a worker that cannot read what its parent sends. The task that comes next fails for that
/// reason, and not for the end of a worker that says nothing.
fn give_up(out: &SendHalf, why: &ipc::Error) -> ! {
    if out.send(&tell(&Answer::TaskUnreadable(Remote::new(why)))).is_err() {
        eprintln!("a worker cannot read its tasks: {why}");
    }
    process::exit(2);
}

struct Worker {
    out: &'static SendHalf,
    tasks: Runner,
    /// What the next message is for, if it is no task.
    initializer: Option<Runner>,
    /// None in a process for one task, which nobody takes back.
    setup: Option<Setup>,
    /// Of the next task.
    number: u64,
    bundle: Vec<u8>,
    bundles: u32,
    times: Times,
}

impl Worker {
    fn obey(&mut self, order: Packet, runner: impl Fn(&str) -> Option<Runner>) {
        match order.bytes().first() {
            Some(&CHUNK) => return self.run_chunk(order.bytes()),
            Some(0 | 1) => return self.run(order),
            _ => {}
        }
        match order.decode::<Order<()>>() {
            Ok(Order::Setup(setup)) => {
                self.initializer = setup
                    .initializer
                    .as_ref()
                    .map(|name| runner(name).unwrap_or_else(|| refuse(name)));
                self.times.traced = setup.traced;
                self.setup = Some(setup);
            }
            Ok(Order::Ping) => say(self.out, &tell(&Answer::Pong)),
            Ok(Order::Bye) => os::exit(self.setup.as_ref().map_or(1, |setup| setup.grace)),
            Ok(Order::Nothing) => {
                self.number += 1;
                say(self.out, &tell(&Answer::Skipped));
            }
            Ok(Order::Task(_) | Order::Timed(_)) => unreachable!("tasks were sorted out above"),
            Err(error) => give_up(self.out, &error),
        }
    }

    fn board(&self) -> Option<&Board> {
        self.setup.as_ref().map(|setup| &setup.memory)
    }

    /// Whether the next task is to be run, and not taken back.
    fn begin(&mut self, timed: bool) -> bool {
        let number = self.number;
        self.number += 1;
        self.board().is_none_or(|board| {
            if timed {
                board.note_time(os::now());
            }
            board.begin(number)
        })
    }

    fn run(&mut self, order: Packet) {
        if let Some(initializer) = self.initializer.take() {
            return say(self.out, &(initializer.task)(order, &mut Times::default()));
        }
        let timed = order.bytes()[0] == 1;
        if !self.begin(timed) {
            return say(self.out, &tell(&Answer::Skipped));
        }
        let answer = (self.tasks.task)(order, &mut self.times);
        if self.times.traced {
            self.tell_times();
        }
        say(self.out, &answer);
        if self.setup.is_none() {
            // A process for one task: nobody tells it that there are no more.
            os::exit(1);
        }
    }

    /// Before the answer that they are of.
    fn tell_times(&mut self) {
        say(self.out, &tell(&Answer::Times(mem::take(&mut self.times.nanos))));
    }

    /// The answers go back together. Meanwhile they lie in shared memory too: a task that was
    /// done before its worker died has its output.
    fn run_chunk(&mut self, bytes: &[u8]) {
        let Some((timed, count, mut tasks)) = chunk::read_chunk(bytes) else {
            give_up(self.out, &ipc::Error::Corrupt("a chunk without a head"))
        };
        let mut since = Instant::now();
        let mut answers = 0;
        self.begin_bundle();
        for _ in 0..count {
            let Some((task, rest)) = chunk::split(tasks) else {
                give_up(self.out, &ipc::Error::Corrupt("a chunk cut short"))
            };
            tasks = rest;
            if !self.begin(timed) {
                continue;
            }
            let from = self.bundle.len();
            let begun = self.times.traced.then(os::now);
            if let Some(answer) = (self.tasks.in_chunk)(task, &mut self.bundle, &mut self.times)
            {
                // It has ends of pipes in it, and travels by itself.
                let times = begun.map(|begun| vec![begun, os::now()]);
                self.send_bundle(false, &mut answers, &mut since);
                if let Some(times) = times {
                    say(self.out, &tell(&Answer::Times(times)));
                }
                say(self.out, &answer);
                continue;
            }
            answers += 1;
            pad(&mut self.bundle);
            let recorded = self.board().is_some_and(|board| {
                board.record(self.bundles, &self.bundle, if answers == 1 { 0 } else { from })
            });
            if !recorded {
                self.send_bundle(false, &mut answers, &mut since);
            }
        }
        self.send_bundle(true, &mut answers, &mut since);
    }

    fn send_bundle(&mut self, last: bool, answers: &mut u32, since: &mut Instant) {
        let now = Instant::now();
        if self.times.traced && *answers > 0 {
            self.tell_times();
        }
        finish_bundle(&mut self.bundle, last, *answers, now - *since);
        let bundle = Packet::from(mem::take(&mut self.bundle));
        say(self.out, &bundle);
        self.bundles = self.bundles.wrapping_add(1);
        self.begin_bundle();
        (*answers, *since) = (0, now);
    }

    fn begin_bundle(&mut self) {
        begin_bundle(&mut self.bundle);
        self.times.begin();
    }
}

/// Every task gets an answer, or the parent would wait for ever: if not this one, then why not;
/// and if not even that, the end of this process.
fn say(out: &SendHalf, answer: &Packet) {
    let Err(error) = out.send(answer) else { return };
    let excuse = tell(&Answer::OutputUnsendable(Remote::new(&error)));
    if matches!(error, ipc::Error::Disconnected) || out.send(&excuse).is_err() {
        process::exit(0);
    }
}

fn tell(answer: &Answer<()>) -> Packet {
    Packet::encode(answer).expect("it is made of texts and numbers")
}

/// Decoding, running and encoding are all the task's own code.
fn run_task<T: Task>(order: Packet, times: &mut Times) -> Packet {
    times.begin();
    let ran = guarded(AssertUnwindSafe(|| {
        let order = order.decode();
        times.note();
        let task: T = match order {
            Ok(Order::Task(task) | Order::Timed(task)) => task,
            Ok(_) => unreachable!("its first byte said that it is a task"),
            Err(error) => return tell(&Answer::TaskUnreadable(Remote::new(&error))),
        };
        let output = task.run().map_err(|error| tell(&Answer::Failed(Remote::new(&*error))));
        times.note();
        let answer = match output {
            Ok(output) => encode::<T>(output),
            Err(failed) => return failed,
        };
        times.note();
        answer
    }));
    ran.unwrap_or_else(|(when, panic)| {
        times.note_panic(when);
        tell(&Answer::Panicked(panic))
    })
}

fn encode<T: Task>(output: T::Output) -> Packet {
    Packet::encode(&Answer::Done(output))
        .unwrap_or_else(|error| tell(&Answer::OutputUnsendable(Remote::new(&error))))
}

/// Appends the answer, or returns one that can only travel by itself.
fn run_in_chunk<T: Task>(
    task: &[u8],
    answers: &mut Vec<u8>,
    times: &mut Times,
) -> Option<Packet> {
    let from = answers.len();
    let ran = guarded(AssertUnwindSafe(|| {
        let task = match ipc::decode::<T>(task) {
            Ok((task, [])) => Ok(task),
            Ok((_, rest)) => Err(ipc::Error::LeftOver(rest.len())),
            Err(error) => Err(error),
        };
        let task = match task {
            Ok(task) => task,
            Err(error) => {
                append_words(answers, &Answer::TaskUnreadable(Remote::new(&error)));
                return None;
            }
        };
        match task.run() {
            Ok(output) => {
                let done = Answer::Done(output);
                append(answers, &done).is_err().then(|| match done {
                    Answer::Done(output) => encode::<T>(output),
                    _ => unreachable!("it is done"),
                })
            }
            Err(error) => {
                append_words(answers, &Answer::Failed(Remote::new(&*error)));
                None
            }
        }
    }));
    match ran {
        Ok(Some(alone)) => return Some(alone),
        Ok(None) => {
            times.forget_end();
            times.note();
        }
        Err((when, panic)) => {
            times.forget_end();
            times.note_panic(when);
            answers.truncate(from);
            append_words(answers, &Answer::Panicked(panic));
        }
    }
    None
}

fn append_words(answers: &mut Vec<u8>, answer: &Answer<()>) {
    append(answers, answer).expect("an answer is made of texts");
}

/// Runs a task's own code; a panic comes back as its text, with the time of it.
fn guarded<R>(run: impl FnOnce() -> R + panic::UnwindSafe) -> Result<R, (u64, Panic)> {
    ON_TASK.set(true);
    PANIC.take();
    let caught = panic::catch_unwind(run);
    ON_TASK.set(false);
    caught.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or(NO_TEXT);
        // The hook has not seen a panic that comes from elsewhere (`resume_unwind`), nor any when
        // the task has set another. What it kept may be one that the task has caught.
        let panic = PANIC.take().filter(|(_, kept)| kept.message == text);
        let panic = panic.unwrap_or_else(|| {
            let (message, place) = (text.to_owned(), "an unknown place".to_owned());
            (os::now(), Panic { message, place, backtrace: String::new() })
        });
        // Dropping a payload runs the task's code once more, and could panic once more.
        mem::forget(payload);
        panic
    })
}

const NO_TEXT: &str = "a panic without a text";

thread_local! {
    static ON_TASK: Cell<bool> = const { Cell::new(false) };
    /// The last panic of the task that runs, caught by it or not, and when it was.
    static PANIC: RefCell<Option<(u64, Panic)>> = const { RefCell::new(None) };
}

/// Keeps the panic of a task for the parent; threads that the task started print theirs.
fn keep_panic(info: &PanicHookInfo<'_>) {
    if !ON_TASK.get() {
        eprintln!("{info}");
        return;
    }
    // First: to look at the stack takes its time, and so does what is dropped by the panic.
    let when = os::now();
    let panic = Panic {
        message: info.payload_as_str().unwrap_or(NO_TEXT).to_owned(),
        place: info.location().map(ToString::to_string).unwrap_or_default(),
        backtrace: Backtrace::force_capture().to_string(),
    };
    PANIC.set(Some((when, panic)));
}
