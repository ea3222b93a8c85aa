//! The designs on real threads under a real lock, and in a real process.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use gil::{Gil, Settings, Token};
use process_pool::{Failed, Process, Task};
use serde::{Deserialize, Serialize};
use tasks::cpu::{formula, sum_of_squares, sum_of_squares_below};
use tasks::measure::median_and_spread;
use timeline::{State, Timeline};

use crate::design::Design;
use crate::frames::{DRAW, Watched, next_after};

/// The work: so many squares to add up, here or in a process.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Squares {
    pub below: u64,
}

/// What does not depend on the design.
pub struct Setting {
    pub work: Squares,
    /// How many of the squares the design [`Design::Slices`] adds up at a time.
    pub slice: Squares,
    pub slice_time: Duration,
    pub interval: Duration,
    /// Frames before the work starts, and behind its answer.
    pub around: usize,
}

/// What came of it.
pub struct Live {
    pub watched: Watched,
    pub right: bool,
    /// The most threads that had the lock at once.
    pub inside: usize,
    /// When the work had begun and had ended, on the clock of the frames.
    pub work: (Duration, Duration),
}

struct Done {
    sum: u128,
    work: (Duration, Duration),
}

/// How far a run is, for whoever looks.
pub enum Stage {
    Before,
    During,
    Behind,
}

/// Draws frames, starts the work, and draws on until some frames behind its answer.
///
/// `view` sees all frames so far after each of them.
pub fn watch(
    design: Design,
    setting: &Setting,
    view: &mut dyn FnMut(&[Duration], &Stage),
) -> Result<Live> {
    let gil = Gil::with(Settings { interval: setting.interval, ..Settings::default() });
    let timeline = Timeline::new();
    let [mut interface, mut worker] =
        ["interface", "work"].map(|name| timeline.lane("GIL", name));
    let (gil, worker_lane, start) = (&gil, &mut worker, Instant::now());
    let (watched, done) = thread::scope(|scope| {
        let (sender, answers) = mpsc::channel();
        let token = gil.acquire_on(&mut interface);
        let mut interface =
            EventLoop { token, start, frames: Vec::new(), stage: Stage::Before, view };
        interface.frames(setting.around);

        interface.stage = Stage::During;
        let started = start.elapsed();
        let done = match design {
            Design::Loop => timed(start, || work(design, setting, &mut interface.token)),
            Design::Slices => timed(start, || Ok(interface.slices(setting))),
            _ => {
                scope.spawn(move || {
                    let mut token = gil.acquire_on(worker_lane);
                    let done = timed(start, || work(design, setting, &mut token));
                    // The lock first: the loop that hears of the answer wants it.
                    drop(token);
                    sender.send(done).expect("the loop waits for the answer");
                });
                interface.frames_until(&answers)
            }
        }?;
        let answer_after = start.elapsed() - started;

        interface.stage = Stage::Behind;
        interface.frames(setting.around);
        anyhow::Ok((Watched { frames: interface.frames, answer_after }, done))
    })?;
    drop((interface, worker));
    Ok(Live {
        watched,
        right: done.sum == formula::sum_of_squares_below(setting.work.below),
        inside: timeline.peak(State::Run),
        work: done.work,
    })
}

struct EventLoop<'a> {
    token: Token<'a>,
    start: Instant,
    /// When each was begun: with the lock in hand, or it could not be.
    frames: Vec<Duration>,
    stage: Stage,
    view: &'a mut dyn FnMut(&[Duration], &Stage),
}

impl EventLoop<'_> {
    /// Nothing happens but frames.
    fn frames(&mut self, frames: usize) {
        for _ in 0..frames {
            let wait = self.until_next();
            self.token.allow_threads(|| thread::sleep(wait));
            self.draw();
        }
    }

    /// Waits for two things at once: the next frame and the answer. Any loop does it like this;
    /// one that only waited for the answer would be a frozen one.
    fn frames_until(&mut self, answers: &Receiver<Result<Done>>) -> Result<Done> {
        loop {
            let wait = self.until_next();
            match self.token.allow_threads(|| answers.recv_timeout(wait)) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) => self.draw(),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the work ended without an answer")
                }
            }
        }
    }

    /// Cooperative: after each frame as many slices as fit before the next one, at least one.
    fn slices(&mut self, setting: &Setting) -> u128 {
        let mut rest = 0..setting.work.below;
        let mut sum = 0;
        loop {
            let next = self.start.elapsed() + self.until_next();
            loop {
                let end = (rest.start + setting.slice.below).min(rest.end);
                sum += bytecode(rest.start..end, &mut self.token);
                rest.start = end;
                if rest.is_empty() {
                    return sum;
                }
                if self.start.elapsed() + setting.slice_time > next {
                    break;
                }
            }
            // Without this line the slices would be one long piece of work again.
            self.frames(1);
        }
    }

    fn until_next(&self) -> Duration {
        let now = self.start.elapsed();
        next_after(now) - now
    }

    fn draw(&mut self) {
        let begun = self.start.elapsed();
        self.frames.push(begun);
        (self.view)(&self.frames, &self.stage);
        while self.start.elapsed() < begun + DRAW {
            self.token.check_point();
        }
    }
}

/// The work, on the thread that has the token: the loop's own or one beside it.
fn work(design: Design, setting: &Setting, token: &mut Token<'_>) -> Result<u128> {
    let Squares { below } = setting.work;
    Ok(match design {
        Design::KeepsLock => sum_of_squares_below(below),
        Design::GivesLock => {
            token.allow_threads_as(State::Native, || sum_of_squares_below(below))
        }
        // This thread waits for the process. In the loop, the wait would be the freeze.
        Design::Process => token.allow_threads(|| Process::spawn(setting.work)?.join())?,
        Design::Loop | Design::Thread | Design::Slices => bytecode(0..below, token),
    })
}

/// With a check point for each square. In the loop nobody asks there.
fn bytecode(squares: impl Iterator<Item = u64>, token: &mut Token<'_>) -> u128 {
    sum_of_squares(squares.inspect(|_| token.check_point()))
}

fn timed(start: Instant, work: impl FnOnce() -> Result<u128>) -> Result<Done> {
    let began = start.elapsed();
    let sum = work()?;
    Ok(Done { sum, work: (began, start.elapsed()) })
}

impl Task for Squares {
    type Output = u128;

    fn run(self) -> Result<u128, Failed> {
        Ok(sum_of_squares_below(self.below))
    }
}

/// How many squares keep one core busy for `time`, here. The median of many short looks is not
/// moved by what else the machine does.
pub fn squares_in(time: Duration) -> Squares {
    const LOOK: u64 = 1_000_000;
    let gil = Gil::new();
    let mut token = gil.acquire();
    let mut looks = [(); 31].map(|()| {
        let start = Instant::now();
        let sum = bytecode(0..LOOK, &mut token);
        let took = start.elapsed();
        assert_eq!(sum, formula::sum_of_squares_below(LOOK));
        took
    });
    let (look, _) = median_and_spread(&mut looks);
    let squares = u128::from(LOOK) * time.as_nanos() / look.as_nanos();
    Squares { below: u64::try_from(squares).expect("no core adds up that many").max(1) }
}
