//! The worker's side: reads tasks, runs one after another, sends what came of each.

use std::any::type_name;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::{env, io, mem, process, thread};

use ipc::{Channel, Packet, Socket};
use serde::{Deserialize, Serialize};

use crate::{Remote, Task};

/// The first argument of a process that is a worker; the second names the task type. An
/// argument, not a variable of the environment: the worker's own children do not inherit it.
pub(crate) const MARK: &str = "process-pool-worker";

/// What a worker says. The encoded output follows behind `Done`.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready,
    Done,
    Failed(Remote),
    Panicked(Panic),
    TaskUnreadable(Remote),
    OutputUnsendable(Remote),
}

#[derive(Serialize, Deserialize, Default)]
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) place: String,
    pub(crate) backtrace: String,
}

/// The task type that this process is asked to serve, if it was started as a worker.
pub(crate) fn asked_for() -> Option<String> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != MARK {
        return None;
    }
    arguments.next()?.into_string().ok()
}

/// Whether `serve` has run: else this process would start itself for ever.
pub(crate) fn serves() -> bool {
    SERVES.load(Relaxed)
}

static SERVES: AtomicBool = AtomicBool::new(false);

/// Ends a worker whose program cannot do what it is asked for.
pub(crate) fn refuse(name: &str) -> ! {
    eprintln!("this program serves no task {name}: name it in serve, the first line of main");
    process::exit(2);
}

/// Serves tasks of one type until the parent closes the connection.
pub(crate) fn run<T: Task>() -> ! {
    SERVES.store(true, Relaxed);
    let (channel, tasks) = connect().unwrap_or_else(|error| {
        eprintln!("a worker for {} cannot reach its parent: {error}", type_name::<T>());
        process::exit(2);
    });
    panic::set_hook(Box::new(keep_panic));

    say(&channel, &tell(&Answer::Ready));
    for task in tasks {
        say(&channel, &answer::<T>(task));
    }
    unreachable!("the reading thread ends the process");
}

/// Every task gets an answer, or the parent would wait for ever: if not this one, then why not;
/// and if not even that, the end of this process.
fn say(channel: &Channel, answer: &Packet) {
    let Err(error) = channel.send(answer) else { return };
    let excuse = tell(&Answer::OutputUnsendable(Remote::new(&error)));
    if matches!(error, ipc::Error::Disconnected) || channel.send(&excuse).is_err() {
        process::exit(0);
    }
}

/// The connection that answers go into, and the tasks that come out of it.
///
/// Tasks are read on a thread of their own, so that the end of the connection ends this process
/// even while a task computes: a worker does not outlive its parent.
fn connect() -> io::Result<(Channel, Receiver<Packet>)> {
    let socket = Socket::inherited()?;
    let mut channel = Channel::from(socket.try_clone()?);
    let (inbox, tasks) = mpsc::channel();
    thread::Builder::new().name("tasks".into()).spawn(move || {
        let error = loop {
            match channel.recv() {
                Ok(task) => inbox.send(task).expect("main takes tasks as long as it lives"),
                Err(error) => break error,
            }
        };
        if matches!(error, ipc::Error::Disconnected | ipc::Error::Truncated { .. }) {
            process::exit(0);
        }
        eprintln!("a worker cannot read its tasks: {error}");
        process::exit(2);
    })?;
    Ok((socket.into(), tasks))
}

fn answer<T: Task>(task: Packet) -> Packet {
    ON_TASK.set(true);
    // Decoding, running and encoding are all the task's own code.
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        let task: T = match task.decode() {
            Ok(task) => task,
            Err(error) => return tell(&Answer::TaskUnreadable(Remote::new(&error))),
        };
        let output = match task.run() {
            Ok(output) => output,
            Err(error) => return tell(&Answer::Failed(Remote::new(&*error))),
        };
        match Packet::encode(&output).and_then(|output| output.prepend(&Answer::Done)) {
            Ok(packet) => packet,
            Err(error) => tell(&Answer::OutputUnsendable(Remote::new(&error))),
        }
    }));
    ON_TASK.set(false);
    caught.unwrap_or_else(|payload| {
        // Dropping a payload runs the task's code once more, and could panic once more.
        mem::forget(payload);
        tell(&Answer::Panicked(PANIC.take()))
    })
}

fn tell(answer: &Answer) -> Packet {
    Packet::encode(answer).expect("an answer is made of texts")
}

thread_local! {
    static ON_TASK: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<Panic> = RefCell::default();
}

/// Keeps the panic of a task for the parent; threads that the task started print theirs.
fn keep_panic(info: &PanicHookInfo<'_>) {
    if !ON_TASK.get() {
        eprintln!("{info}");
        return;
    }
    PANIC.set(Panic {
        message: info.payload_as_str().unwrap_or("a panic without a text").to_owned(),
        place: info.location().map(ToString::to_string).unwrap_or_default(),
        backtrace: Backtrace::force_capture().to_string(),
    });
}
