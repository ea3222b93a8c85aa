use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use ipc::{Packet, RecvHalf};

use crate::child::Child;
use crate::dispatch;
use crate::job::LARGE;
use crate::message::{Answer, Order};
use crate::worker::MARK_ALONE;
use crate::{At, Death, Ended, Error, Task};

/// How long a process may take to end after its task has.
const GRACE: Duration = Duration::from_secs(1);
/// How long a process is waited for before a thread watches whether it has ended: to start the
/// thread would be a good part of the time of a process that is quick.
const UNWATCHED: Duration = Duration::from_millis(20);

/// One process for one task: the counterpart of `multiprocessing.Process`.
///
/// Dropped, it is killed and reaped. (What Python calls a *daemon* is a child that is killed when
/// its parent ends. All of these are; and none is a Unix daemon, which outlives its parent.)
///
/// Programs that the task has started, and processes that it has forked, are its own: nobody kills
/// them, and on Linux nobody waits for them (elsewhere the end of a process that has forked is seen
/// when those have ended too). Their process group has the number [`pid`](Self::pid).
pub struct Process<T> {
    name: String,
    child: Child,
    input: Box<RecvHalf>,
    watched: bool,
    /// What came of the task, once that is known.
    outcome: Option<Result<Packet, Error>>,
    ended: Option<Ended>,
    task: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Process<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut process = f.debug_struct("Process");
        process.field("name", &self.name).field("pid", &self.child.pid());
        process.field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<T: Task> Process<T> {
    /// Starts a process that runs `task`, and does not wait for it. It is called what its task
    /// type is called.
    ///
    /// # Errors
    /// [`Error::Encode`] for a task that cannot travel, [`Error::Start`].
    pub fn spawn(task: T) -> Result<Self, Error> {
        Self::spawn_named(type_name::<T>().rsplit("::").next().unwrap_or_default(), task)
    }

    /// The same, by another name.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn spawn_named(name: impl Into<String>, task: T) -> Result<Self, Error> {
        // Consumes the task: an end of a pipe in it must not stay open on this side.
        let order = Order::Task(task);
        let packet = Packet::encode(&order).map_err(|error| Error::encode("task", error))?;
        drop(order);
        let (child, out, input) = Child::start(MARK_ALONE, type_name::<T>(), None)?;
        // To send it takes as long as the process takes to read it, which may end before.
        let watched = packet.bytes().len() >= LARGE;
        if watched {
            child.watch(out.socket()).map_err(Error::start)?;
        }
        match out.send(&packet) {
            // What became of it is found out by waiting for its answer.
            Ok(()) | Err(ipc::Error::Disconnected) => {}
            Err(error) => return Err(Error::encode("task", error)),
        }
        let (outcome, ended) = (None, None);
        Ok(Self {
            name: name.into(),
            child,
            input: input.into(),
            watched,
            outcome,
            ended,
            task: PhantomData,
        })
    }

    /// Waits for the task's output and for the end of the process.
    ///
    /// # Errors
    /// What the task came to: [`Error::Failed`], [`Error::Panicked`], [`Error::Died`], and
    /// [`Error::Encode`] or [`Error::Decode`] when its output cannot travel. [`Error::NotReady`]
    /// when the process has ended by itself before it had read the task (on Linux, and if it has
    /// left no process behind that holds its connection; else it has died).
    pub fn join(mut self) -> Result<T::Output, Error> {
        self.wait(None);
        self.take()
    }

    fn take(&mut self) -> Result<T::Output, Error> {
        let outcome =
            self.outcome.take().expect("a process that was waited for has an outcome");
        match outcome?.decode() {
            Ok(Answer::Done(output)) => Ok(output),
            Ok(_) => unreachable!("its first byte said that it is an output"),
            Err(error) => Err(Error::decode("output", error)),
        }
    }
}

impl<T> Process<T> {
    /// What it is called: for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number that the operating system gave the process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits for the end of the process, for at most `time_out`; whether it has ended. Then
    /// [`join`](Self::join) does not wait.
    pub fn join_timeout(&mut self, time_out: Duration) -> bool {
        self.wait(Instant::now().checked_add(time_out))
    }

    /// What was heard from the process through a pipe or a queue, or told it. Their errors say that
    /// the other end is gone, and not why: this says how the process has ended, if it ends now.
    ///
    /// # Errors
    /// As [`join`](Self::join), and [`Error::Talk`].
    pub fn heard<R>(&mut self, heard: Result<R, ipc::Error>) -> Result<R, Error> {
        heard.map_err(|error| {
            let is_gone =
                matches!(error, ipc::Error::Disconnected | ipc::Error::Truncated { .. });
            if is_gone
                && self.join_timeout(GRACE)
                && let Some(Err(why)) = &self.outcome
            {
                return why.clone();
            }
            Error::Talk(error.into())
        })
    }

    /// How the process ended; none while it runs.
    pub fn ended(&mut self) -> Option<Ended> {
        self.wait(Some(Instant::now()));
        self.ended.clone()
    }

    /// Asks the process to end: SIGTERM, where there are signals.
    pub fn terminate(&self) {
        self.child.terminate();
    }

    /// Does what Ctrl-C does: SIGINT, where there are signals.
    pub fn interrupt(&self) {
        self.child.interrupt();
    }

    /// Ends the process, whatever it does.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// Waits for the end of the process; false when the deadline passes first.
    fn wait(&mut self, deadline: Option<Instant>) -> bool {
        while self.ended.is_none() {
            // Once its task is done it may not stay for long.
            let grace = self.outcome.as_ref().map(|_| Instant::now() + GRACE);
            let unwatched = (!self.watched).then(|| Instant::now() + UNWATCHED);
            let until = [deadline, grace, unwatched].into_iter().flatten().min();
            let heard = match until {
                Some(until) => {
                    self.input.recv_timeout(until.saturating_duration_since(Instant::now()))
                }
                None => self.input.recv(),
            };
            match heard {
                Err(ipc::Error::TimedOut) if !self.watched => {
                    self.watched = true;
                    // Where no thread can be started the end of file still tells, in time for
                    // every process that has not forked.
                    let _ = self.child.watch(self.input.socket());
                    if deadline == until {
                        return false;
                    }
                }
                Err(ipc::Error::TimedOut) if deadline == until => return false,
                Ok(answer) if self.outcome.is_none() => self.hear(answer),
                end => {
                    let ended = self.child.reap();
                    let at = self.at();
                    let began = !self.input.left_unread();
                    self.outcome.get_or_insert_with(|| match end {
                        Err(ipc::Error::Disconnected)
                            if !began && matches!(ended, Ended::Exited { .. }) =>
                        {
                            Err(Error::NotReady(ended.clone()))
                        }
                        Err(ipc::Error::Disconnected | ipc::Error::Truncated { .. }) => {
                            Err(Error::Died(Death { ended: ended.clone(), at }))
                        }
                        Err(error) => Err(Error::decode("output", error)),
                        Ok(_) => unreachable!("the first answer is the outcome"),
                    });
                    self.ended = Some(ended);
                }
            }
        }
        true
    }

    fn hear(&mut self, answer: Packet) {
        match postcard::from_bytes(answer.bytes()) {
            Ok(Answer::<()>::Log(record)) => eprintln!("{}: {}", self.name, record.text),
            _ => {
                let outcome = dispatch::outcome(answer, self.at());
                let confused = |confused| Err(Error::decode("output", confused));
                self.outcome = Some(match outcome {
                    Ok(outcome) => outcome.map_err(|error| *error),
                    Err(error) => confused(error),
                });
            }
        }
    }

    fn at(&self) -> At {
        At { worker: 0, pid: self.child.pid(), task: 0 }
    }
}
