//! The ways to run it, each predicted on the virtual clock, and their order.

use std::iter;
use std::time::Duration;

use gil::Settings;
use simulator::{Error, Machine, Process, Run, Scenario, Step, Thread, What};
use tasks::measure::short;

use crate::costs::Costs;
use crate::workload::Workload;

/// The most threads for a core.
const MOST_THREADS: usize = 32;
/// An interface that draws 60 times a second: it sleeps, then draws.
pub const FRAME: Duration = Duration::from_millis(16);
pub const DRAW: Duration = Duration::from_millis(1);
/// The longest pause that nobody minds: three frames.
const PAUSE: Duration = Duration::from_millis(50);
/// What a model must save for its complexity: a tenth of the time, and this much.
const WORTH_IT: Duration = Duration::from_millis(20);

/// In order of how much there is to get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Model {
    OneAfterAnother,
    Threads,
    Processes,
    Hybrid,
}

impl Model {
    pub const ALL: [Self; 4] =
        [Self::OneAfterAnother, Self::Threads, Self::Processes, Self::Hybrid];

    pub fn name(self) -> &'static str {
        match self {
            Self::OneAfterAnother => "one after another",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::Hybrid => "threads in processes",
        }
    }

    pub fn has_processes(self) -> bool {
        matches!(self, Self::Processes | Self::Hybrid)
    }

    /// Tasks for each thread, thread by thread, for each process: here, or in workers.
    pub fn deal(self, workload: &Workload, computer: Computer) -> Vec<Vec<usize>> {
        let (tasks, cores) = (workload.tasks, computer.cores);
        let threads = threads_for_a_core(workload);
        match self {
            Self::OneAfterAnother => vec![vec![tasks]],
            // Under a lock more than one core is of no use to them; people start as many.
            Self::Threads if computer.gil => vec![deal(tasks, threads.max(cores))],
            Self::Threads => vec![deal(tasks, threads * cores)],
            Self::Processes => {
                deal(tasks, cores).into_iter().map(|tasks| vec![tasks]).collect()
            }
            Self::Hybrid => {
                deal(tasks, cores).into_iter().map(|tasks| deal(tasks, threads)).collect()
            }
        }
    }
}

/// As many as keep a core computing while the others of them wait, and one to spare. More only
/// stand in each other's way: each one that waits for a lock wakes up every interval to ask.
fn threads_for_a_core(workload: &Workload) -> usize {
    let waiting = workload.io.as_nanos() / workload.cpu.as_nanos().max(1);
    usize::try_from(waiting).map_or(MOST_THREADS, |waiting| (waiting + 2).min(MOST_THREADS))
}

/// As evenly as it goes; an empty hand is left out.
fn deal(tasks: usize, hands: usize) -> Vec<usize> {
    let hands = hands.min(tasks);
    (0..hands).map(|hand| (tasks - hand).div_ceil(hands)).collect()
}

/// What runs the tasks: cores, and whether a process lets one thread at a time compute.
#[derive(Clone, Copy, Debug)]
pub struct Computer {
    pub cores: usize,
    pub gil: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Prediction {
    pub model: Model,
    /// From the first start to the last result.
    pub total: Duration,
    /// How late the interface was at worst, where there is one.
    pub pause: Option<Duration>,
}

/// Plays the workload under a model.
pub fn predict(
    model: Model,
    workload: &Workload,
    computer: Computer,
    costs: &Costs,
) -> Result<Prediction, Error> {
    let lock = computer.gil.then(Settings::default);
    let mut processes: Vec<_> = model
        .deal(workload, computer)
        .iter()
        .enumerate()
        .map(|(p, threads)| {
            let threads = threads.iter().enumerate().map(|(t, &tasks)| {
                let steps = steps(model, workload, computer, costs, t, tasks);
                Thread::new(format!("{p}.{t}"), steps)
            });
            Process { name: format!("{p}"), lock, threads: threads.collect() }
        })
        .collect();
    // One after another, the interface itself does the work.
    if workload.interface && model != Model::OneAfterAnother {
        let frame = vec![Step::Io(FRAME), Step::Compute(DRAW)];
        let interface = Thread::new("interface", [Step::Loop(u64::MAX, frame)]);
        if model.has_processes() {
            processes
                .insert(0, Process { name: "main".into(), lock, threads: vec![interface] });
        } else {
            processes[0].threads.insert(0, interface);
        }
    }
    // Nothing takes longer than all tasks one by one, beside an interface, and the start.
    let alone = workload.io + costs.waiting + workload.cpu + costs.task;
    let tasks = u32::try_from(workload.tasks).expect("a count from the command line");
    let run = Scenario {
        machine: Machine { cores: computer.cores, ..Machine::default() },
        processes,
        until: Some(4 * alone * tasks + 2 * costs.pool + Duration::from_secs(10)),
        ..Scenario::default()
    }
    .run()?;
    let ended = run.events.iter().filter(|event| event.what == What::End).map(|event| event.at);
    let end = ended.max().expect("every task ends");
    let total = Duration::from_nanos(end);
    let pause = workload.interface.then(|| match model {
        Model::OneAfterAnother => total,
        _ => longest_wait(&run, 0, end),
    });
    Ok(Prediction { model, total, pause })
}

/// What thread `t` of a process does.
fn steps(
    model: Model,
    workload: &Workload,
    computer: Computer,
    costs: &Costs,
    t: usize,
    tasks: usize,
) -> Vec<Step> {
    let side_by_side = model.has_processes() || (model == Model::Threads && !computer.gil);
    let mut compute = workload.cpu;
    if side_by_side && workload.tasks > 1 {
        compute = compute.mul_f64(costs.slowdown);
    }
    let mut start = Duration::ZERO;
    if model != Model::OneAfterAnother {
        start += costs.thread * u32::try_from(t).expect("a few threads");
    }
    if model.has_processes() {
        start += costs.pool;
        compute += costs.task + costs.bytes(workload.payload);
    }
    let wait = (!workload.io.is_zero()).then(|| Step::Io(workload.io + costs.waiting));
    let task = wait.into_iter().chain(iter::once(Step::Compute(compute))).collect();
    vec![Step::Io(start), Step::Loop(tasks as u64, task)]
}

/// The longest time from an answer before `end` until the thread runs again.
fn longest_wait(run: &Run, thread: usize, end: u64) -> Duration {
    let (mut longest, mut answered) = (0, None);
    for event in run.events.iter().filter(|event| event.thread == thread && event.at <= end) {
        match event.what {
            What::Answer => answered = Some(event.at),
            What::Take { .. } | What::Go => {
                longest = longest.max(event.at - answered.take().unwrap_or(event.at));
            }
            _ => {}
        }
    }
    Duration::from_nanos(longest.max(answered.map_or(0, |answered| end - answered)))
}

/// The best first. What is asked for besides being quick comes first; then time. The simplest
/// of those that differ by a twentieth is the best of them, and doing nothing is better than
/// what hardly helps.
pub fn rank(workload: &Workload, mut predictions: Vec<Prediction>) -> Vec<Prediction> {
    predictions.sort_by_key(|prediction| (!qualifies(workload, prediction), prediction.total));
    let best = predictions[0];
    let alone = predictions.iter().find(|it| it.model == Model::OneAfterAnother).copied();
    let hardly_helps = alone.is_some_and(|alone| {
        qualifies(workload, &alone) && best.total + WORTH_IT.max(alone.total / 10) > alone.total
    });
    let close =
        |it: &Prediction| qualifies(workload, it) && it.total <= best.total + best.total / 20;
    let first = match alone {
        Some(alone) if hardly_helps => alone.model,
        _ => {
            let close = predictions.iter().filter(|it| close(it)).map(|it| it.model);
            close.min().unwrap_or(best.model)
        }
    };
    predictions.sort_by_key(|it| it.model != first);
    predictions
}

/// Whether it does what is asked for besides being quick.
pub fn qualifies(workload: &Workload, prediction: &Prediction) -> bool {
    (!workload.may_crash || prediction.model.has_processes())
        && prediction.pause.is_none_or(|pause| pause <= PAUSE)
}

/// Why it takes as long as it does, or does not qualify.
pub fn reason(
    workload: &Workload,
    computer: Computer,
    prediction: &Prediction,
    first: bool,
) -> String {
    let &Prediction { model, total, pause } = prediction;
    if workload.may_crash && !model.has_processes() {
        return "a crash takes all tasks along".into();
    }
    if let Some(pause) = pause.filter(|&pause| pause > PAUSE) {
        return format!("the window stands still for {}", short(pause));
    }
    let all = |time: Duration| time * u32::try_from(workload.tasks).expect("a count");
    let waits = all(workload.io) > all(workload.cpu);
    let cores = if computer.cores == 1 { "one core computes" } else { "every core computes" };
    match model {
        Model::OneAfterAnother if first => "little to gain, nothing to get wrong".into(),
        Model::OneAfterAnother if workload.io.is_zero() => "one core works".into(),
        Model::OneAfterAnother => "one core works, and waits".into(),
        Model::Threads if !workload.io.is_zero() && all(workload.cpu) * 2 < total => {
            "waits overlap".into()
        }
        Model::Threads if computer.gil => "one thread computes at a time".into(),
        Model::Processes if waits => "a process waits for one task at a time".into(),
        Model::Processes => cores.into(),
        Model::Hybrid if workload.io.is_zero() && computer.gil => {
            "nothing waits: threads add nothing".into()
        }
        Model::Threads | Model::Hybrid if workload.io.is_zero() => cores.into(),
        Model::Threads | Model::Hybrid => format!("waits overlap, {cores}"),
    }
}
