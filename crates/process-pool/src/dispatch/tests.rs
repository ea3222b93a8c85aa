//! Decisions about workers whose processes have ended: nothing of what is decided is done.

use ipc::{Channel, Socket};

use super::*;
use crate::TaskOptions;
use crate::chunk::Tasks;

const HOUR: Duration = Duration::from_hours(1);

struct Desk {
    state: State,
    settings: Settings,
    sends: Vec<Send>,
}

fn desk(settings: impl FnOnce(&mut Settings)) -> Desk {
    let mut desk =
        Desk { state: State::new(0), settings: Settings::new(""), sends: Vec::new() };
    settings(&mut desk.settings);
    desk
}

fn line() -> Arc<Line> {
    let (ours, _theirs) = Socket::pair().unwrap();
    let (out, _input) = Channel::from(ours).split();
    Line::new(out, Board::new().unwrap(), Child::ended()).into()
}

fn task(id: u64) -> Job {
    let task = Packet::encode(&Order::Task(id)).unwrap();
    Job::Task(Slot::new(id, task, &TaskOptions::default()).into())
}

fn chunk(count: u32) -> Job {
    let mut tasks = Tasks::new(false);
    (0..count).for_each(|n| tasks.push(&n).unwrap());
    Job::Chunk(Chunk::new(0, tasks, TaskOptions::default()).into(), 0..count)
}

impl Desk {
    /// Another process of the worker is ready.
    fn start(&mut self, index: usize) {
        self.resize(self.state.size.max(index + 1));
        self.state.workers[index].connect(line());
        self.state.ready(index, &self.settings, &mut self.sends);
    }

    fn resize(&mut self, size: usize) {
        self.state.resize(size, &self.settings, &mut self.sends);
    }

    fn submit(&mut self, job: Job) {
        self.state.push(job);
        self.state.feed_idle(&self.settings, &mut self.sends);
    }

    /// The worker begins the first task that it has, and answers.
    fn answer(&mut self, index: usize) {
        let worker = &self.state.workers[index];
        let first = worker.flights.front().unwrap().number;
        assert!(worker.line().board.begin(first));
        let mut answers = vec![Packet::encode(&Answer::Done(())).unwrap()];
        let Self { state, settings, sends } = self;
        state.landed(index, &mut answers, settings, &mut Vec::new(), sends).unwrap();
    }

    /// The process of a worker that was told to end has.
    fn end(&mut self, index: usize) {
        let line = self.state.workers[index].line().clone();
        assert!(line.retired.load(Relaxed));
        self.state.lost(index, &line, |_, _| Error::Cancelled, &mut Vec::new());
        self.state.rest(index, &self.settings);
    }

    fn look(&mut self) -> Option<Duration> {
        self.state.next_look(&self.settings, &mut self.sends)
    }

    /// What was decided since the last time, in short.
    fn decided(&mut self) -> Vec<String> {
        let place = |line: &Arc<Line>| {
            let is =
                |worker: &Worker| worker.line.as_ref().is_some_and(|l| Arc::ptr_eq(l, line));
            self.state.workers.iter().position(is).unwrap()
        };
        let told = self.sends.iter().map(|send| match send {
            Send::Job(line, job) => format!("{} of {} to {}", job.len(), job.id(), place(line)),
            Send::Ping(line) => format!("ping {}", place(line)),
            Send::Bye(line) => format!("end {}", place(line)),
            Send::Wake => "wake".to_owned(),
            Send::Look => "look".to_owned(),
        });
        let told = told.collect();
        self.sends.clear();
        told
    }
}

/// Two workers: the first has six tasks, of which it runs one; the other has one.
fn six_and_one() -> Desk {
    let mut desk = desk(|settings| settings.window = Some(6));
    (0..6).for_each(|n| desk.submit(task(n)));
    desk.start(0);
    desk.submit(task(6));
    desk.start(1);
    assert!(desk.state.workers[0].line().board.begin(0));
    desk.decided();
    desk
}

#[test]
fn a_worker_with_nothing_to_do_takes_half_of_what_another_has_not_begun() {
    let mut desk = six_and_one();
    desk.answer(1);
    assert_eq!(desk.decided(), ["1 of 3 to 1", "1 of 4 to 1", "1 of 5 to 1"]);
}

#[test]
fn a_worker_of_an_ended_pool_takes_over_nothing() {
    for phase in
        [Phase::Ended, Phase::Cancelled, Phase::Broken(Arc::new(Error::Rejected("as told")))]
    {
        let mut desk = six_and_one();
        desk.state.phase = phase;
        desk.state.give_up(&Error::Cancelled, &mut Vec::new());
        desk.answer(1);
        assert_eq!(desk.state.queued(), 0, "nobody would ever end what waits again");
        assert_eq!(desk.state.workers[0].flights.len(), 6);
        assert!(desk.decided().is_empty());
    }
}

#[test]
fn the_next_task_goes_to_the_worker_that_idled_longest() {
    let mut desk = desk(|_| ());
    (0..3).for_each(|index| desk.start(index));
    desk.submit(task(0));
    desk.answer(0);
    desk.submit(task(1));
    assert_eq!(desk.decided(), ["1 of 0 to 0", "1 of 1 to 1"]);
}

#[test]
fn where_idle_workers_end_it_goes_to_the_one_that_worked_last() {
    let mut desk = desk(|settings| settings.idle_timeout = Some(HOUR));
    (0..3).for_each(|index| desk.start(index));
    desk.submit(task(0));
    desk.answer(2);
    desk.submit(task(1));
    assert_eq!(desk.decided(), ["look", "1 of 0 to 2", "1 of 1 to 2"]);
    let left = desk.look().unwrap();
    assert!(HOUR.checked_sub(left).unwrap() < HOUR / 2, "the clock sleeps for {left:?}");
}

#[test]
fn workers_end_that_have_idled_for_long_enough_and_no_others() {
    let mut desk = desk(|settings| settings.idle_timeout = Some(Duration::ZERO));
    (0..3).for_each(|index| desk.start(index));
    desk.submit(task(0));
    desk.decided();
    assert!(desk.look().unwrap() <= desk.settings.grace, "they may not end as told");
    assert_eq!(desk.decided(), ["end 0", "end 1"]);
    desk.answer(2);
    assert_eq!(desk.decided(), ["look"]);
    desk.look();
    assert_eq!(desk.decided(), ["end 2"]);
    (0..3).for_each(|index| desk.end(index));
    assert_eq!(desk.look(), None, "nothing is left to look at");
}

fn all_rest(workers: usize) -> Desk {
    let mut desk = desk(|settings| settings.idle_timeout = Some(Duration::ZERO));
    (0..workers).for_each(|index| desk.start(index));
    desk.look();
    desk.decided();
    (0..workers).for_each(|index| desk.end(index));
    desk
}

#[test]
fn as_many_processes_start_as_tasks_wait() {
    let mut desk = all_rest(4);
    let resting = |desk: &Desk| (0..4).filter(|&index| desk.state.rests(index)).count();
    assert_eq!(resting(&desk), 4);
    desk.submit(task(0));
    assert_eq!((desk.decided(), resting(&desk)), (vec!["wake".to_owned()], 3));
    desk.submit(task(1));
    assert_eq!((desk.decided().len(), resting(&desk)), (1, 2));
    // It finds both of them, and the second one starts in vain for now.
    let first = (0..4).find(|&index| !desk.state.rests(index)).unwrap();
    desk.start(first);
    assert_eq!(desk.decided().len(), 2);
    desk.submit(task(2));
    assert_eq!(resting(&desk), 2, "the second one is on its way");
    desk.submit(chunk(100));
    assert_eq!(resting(&desk), 0, "and no more than there are");
}

#[test]
fn a_chunk_is_shared_with_those_who_rest() {
    let mut desk = all_rest(2);
    desk.submit(task(0));
    let first = (0..2).find(|&index| !desk.state.rests(index)).unwrap();
    desk.start(first);
    desk.answer(first);
    desk.decided();
    desk.submit(chunk(10));
    assert_eq!(desk.decided(), [format!("5 of 0 to {first}"), "wake".to_owned()]);
}

#[test]
fn a_worker_rests_only_while_there_is_nothing_for_it() {
    let mut desk = desk(|settings| settings.idle_timeout = Some(Duration::ZERO));
    desk.settings.window = Some(2);
    desk.start(0);
    desk.start(1);
    desk.look();
    desk.start(0);
    // Both tasks of it are at the side of the first worker while the second one ends.
    desk.submit(chunk(2));
    desk.end(1);
    assert!(!desk.state.rests(1));
}

#[test]
fn surplus_workers_keep_what_they_run_and_nothing_else() {
    let mut desk = desk(|_| ());
    (0..3).for_each(|index| desk.start(index));
    (0..2).for_each(|n| desk.submit(task(n)));
    desk.decided();
    desk.resize(1);
    // The third one idled. The second one runs a task, and ends with it.
    assert_eq!(desk.decided(), ["end 2"]);
    desk.submit(task(2));
    desk.answer(1);
    assert_eq!(desk.decided(), ["end 1"]);
    assert_eq!(desk.state.queued(), 1);
}

#[test]
fn what_surplus_workers_have_not_begun_goes_to_the_others_in_its_order() {
    let mut desk = desk(|settings| settings.window = Some(3));
    desk.start(0);
    desk.start(1);
    (0..5).for_each(|n| desk.submit(task(n)));
    desk.answer(1);
    assert_eq!(desk.decided()[2..], ["1 of 2 to 1", "1 of 3 to 1", "1 of 4 to 1"]);
    desk.resize(1);
    desk.answer(0);
    assert_eq!(desk.decided(), ["1 of 3 to 0", "1 of 4 to 0"]);
}

#[test]
fn a_surplus_worker_that_is_wanted_again_goes_on() {
    let mut desk = desk(|settings| settings.window = Some(1));
    desk.start(0);
    desk.start(1);
    (0..4).for_each(|n| desk.submit(task(n)));
    desk.resize(1);
    desk.resize(3);
    assert_eq!(desk.state.missing(), [2]);
    desk.decided();
    desk.answer(1);
    assert_eq!(desk.decided(), ["1 of 2 to 1"]);
}

/// What another thread than the worker's own sends must not be overtaken by what that one does.
#[test]
fn a_worker_that_joins_gets_one_task_and_the_others_when_it_has_answered() {
    let mut desk = desk(|settings| settings.window = Some(3));
    desk.resize(2);
    (0..5).for_each(|n| desk.submit(task(n)));
    desk.state.join(0, line(), &desk.settings, &mut desk.sends);
    assert_eq!(desk.decided(), ["1 of 0 to 0"]);
    desk.answer(0);
    assert_eq!(desk.decided(), ["1 of 1 to 0", "1 of 2 to 0", "1 of 3 to 0"]);
    desk.answer(0);
    desk.decided();
    // All are at the side of the first one, from which the second one takes half.
    desk.state.join(1, line(), &desk.settings, &mut desk.sends);
    assert_eq!(desk.decided(), ["1 of 4 to 1"]);
}

fn large(id: u64) -> Job {
    let task = Packet::encode(&Order::Task(vec![id; LARGE])).unwrap();
    Job::Task(Slot::new(id, task, &TaskOptions::default()).into())
}

/// It may be any of them that somebody has stopped.
#[test]
fn a_large_task_goes_to_the_first_idle_worker_that_shows_that_it_reads() {
    let mut desk = desk(|_| ());
    (0..3).for_each(|index| desk.start(index));
    desk.submit(large(0));
    assert_eq!(desk.decided(), ["ping 0", "ping 1", "ping 2"]);
    for (worker, told) in [(1, &["1 of 0 to 1"][..]), (2, &[])] {
        let mut pong = vec![Packet::encode(&Answer::<()>::Pong).unwrap()];
        let Desk { state, settings, sends } = &mut desk;
        state.landed(worker, &mut pong, settings, &mut Vec::new(), sends).unwrap();
        assert_eq!(desk.decided(), told);
    }
    desk.submit(task(1));
    assert_eq!(desk.decided(), ["1 of 1 to 2"], "it idles again");
}

fn slot(job: &Job) -> Arc<Slot> {
    let Job::Task(slot) = job else { panic!("a chunk") };
    slot.clone()
}

#[test]
fn cancelled_tasks_leave_the_queue() {
    let mut desk = desk(|_| ());
    let jobs: Vec<_> = (0..100).map(task).collect();
    jobs.iter().for_each(|job| desk.submit(job.clone()));
    for (cancelled, job) in (1..).zip(&jobs[..99]) {
        desk.state.cancel(&slot(job)).unwrap().tell();
        let waits = 100 - cancelled;
        assert_eq!(desk.state.queued(), waits);
        let places = desk.state.queue.iter().count();
        assert!(places <= 2 * waits, "{places} places for {waits} tasks");
        assert!(desk.state.cancel(&slot(job)).is_none(), "once");
    }
    desk.start(0);
    assert_eq!((desk.decided(), desk.state.queued()), (vec!["1 of 99 to 0".to_owned()], 0));
}

/// Where each task is, and whether it is cancelled: here or behind another, but not begun.
#[test]
fn what_has_not_begun_is_cancelled_wherever_it_waits() {
    let mut desk = desk(|settings| settings.window = Some(3));
    let jobs: Vec<_> = (0..5).map(task).collect();
    jobs.iter().for_each(|job| desk.submit(job.clone()));
    desk.start(0);
    assert!(desk.state.workers[0].line().board.begin(0));
    let mut ends = Vec::new();
    desk.state.cancel_pending(&mut ends);
    let ended = ends.iter().map(|end| match end {
        End::All(job, Error::Cancelled) => job.id(),
        _ => panic!("another end"),
    });
    assert_eq!(ended.collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(desk.state.queue.is_empty() && desk.state.workers[0].flights[0].job.is_some());
    desk.submit(task(5));
    desk.decided();
    desk.answer(0);
    assert_eq!(desk.decided(), ["1 of 5 to 0"]);
}

/// A dropped map leaves neither its chunks in the queue nor what a worker has not begun of them.
#[test]
fn cancelled_chunks_are_taken_back() {
    let mut desk = desk(|settings| settings.window = Some(2));
    let others = [task(100), task(101)];
    for job in [chunk(10), others[0].clone(), chunk(10), others[1].clone()] {
        desk.submit(job);
    }
    desk.start(0);
    assert!(desk.state.workers[0].line().board.begin(0));
    let flights = |desk: &Desk| -> Vec<_> {
        let flights = desk.state.workers[0].flights.iter();
        flights.map(|flight| flight.job.as_ref().map(|job| (job.id(), job.len()))).collect()
    };
    assert_eq!(flights(&desk), [Some((0, 10)), Some((100, 1))]);
    let queued: Vec<_> = desk.state.queue.iter().cloned().collect();
    let running = desk.state.workers[0].flights[0].job.clone();
    for job in queued.iter().chain(&running) {
        if let Job::Chunk(chunk, _) = job {
            chunk.cancel();
        }
    }
    desk.state.chunks_cancelled();
    assert_eq!(flights(&desk), [Some((0, 1)), Some((100, 1))]);
    assert_eq!(desk.state.queue.iter().map(Job::id).collect::<Vec<_>>(), [101]);
}

/// It is about to be killed.
#[test]
fn a_worker_whose_task_ran_too_long_gets_no_other() {
    let mut desk = desk(|settings| settings.window = Some(1));
    (0..2).for_each(|n| desk.submit(task(n)));
    desk.start(0);
    desk.state.workers[0].line().overdue.store(1, Relaxed);
    desk.decided();
    desk.answer(0);
    assert!(desk.decided().is_empty());
    assert_eq!(desk.state.queued(), 1);
}
