//! The designs as scripts on the virtual clock: exact, and the same on every machine.

use std::time::Duration;

use gil::Settings;
use simulator::{Error, Instruction, Process, Run, Scenario, Step, Thread, What};

use crate::Args;
use crate::design::Design;
use crate::frames::{DRAW, PERIOD, Watched};

/// Frames before the work starts, and behind its answer: half a second each.
pub const AROUND: usize = 30;

pub fn watch(design: Design, args: &Args) -> Result<Watched, Error> {
    let frame = || vec![Step::Tick(PERIOD), Step::Compute(DRAW)];
    let mut interface = vec![Step::Loop(AROUND as u64, frame())];
    let mut work = match design {
        Design::Loop | Design::Thread | Design::Process => {
            vec![Step::Compute(args.virtual_work)]
        }
        Design::KeepsLock => vec![Step::Native { time: args.virtual_work, gives_lock: false }],
        Design::GivesLock => vec![Step::Native { time: args.virtual_work, gives_lock: true }],
        Design::Slices => slices(args, frame()),
    };
    // The answer is written down: that is how the trace shows when it is there.
    work.push(Step::Bytecode(vec![Instruction::Store]));

    let lock = Settings { interval: args.interval, ..Settings::default() };
    let process =
        |name: &str, threads| Process { name: name.into(), lock: Some(lock), threads };
    let mut worker = None;
    if let Design::Loop | Design::Slices = design {
        interface.append(&mut work);
    } else {
        work.insert(0, Step::Io(started()));
        worker = Some(Thread::new("work", work));
    }
    interface.push(Step::Loop(u64::MAX, frame()));
    let interface = Thread::new("interface", interface);
    let processes = if let Design::Process = design {
        vec![process("here", vec![interface]), process("there", worker.into_iter().collect())]
    } else {
        vec![process("here", [interface].into_iter().chain(worker).collect())]
    };
    let until = Some(args.virtual_work * 3 + Duration::from_secs(2));
    let run = Scenario { processes, until, seed: args.seed, ..Scenario::default() }.run()?;
    Ok(watched(&run))
}

/// The work starts behind the last frame of the first half second.
fn started() -> Duration {
    PERIOD * u32::try_from(AROUND).expect("a small number") + DRAW
}

/// After each frame as many slices as fit before the next one, and at least one.
fn slices(args: &Args, frame: Vec<Step>) -> Vec<Step> {
    let [room, slice, work] =
        [PERIOD - DRAW, args.slice, args.virtual_work].map(|time| time.as_nanos());
    let a_frame = (room / slice).max(1) * slice;
    let nanos = |time| Duration::from_nanos(u64::try_from(time).expect("it is below a minute"));
    let slices = Step::Compute(nanos(a_frame));
    let rounds = u64::try_from(work / a_frame).expect("it is below a minute");
    vec![
        Step::Loop(rounds, [vec![slices], frame].concat()),
        Step::Compute(nanos(work % a_frame)),
    ]
}

fn watched(run: &Run) -> Watched {
    let mut frames = Vec::new();
    let mut due = false;
    for event in run.events.iter().filter(|event| event.thread == 0) {
        match event.what {
            What::Answer => due = true,
            // With the lock the loop can draw, and not before.
            What::Take { .. } if due => {
                due = false;
                frames.push(Duration::from_nanos(event.at));
            }
            _ => {}
        }
    }
    let answer = run.events.iter().find(|event| matches!(event.what, What::Write(_)));
    let answer = Duration::from_nanos(answer.expect("the run is long enough").at);
    let before = frames.partition_point(|frame| *frame <= answer);
    frames.truncate(before + AROUND);
    Watched { frames, answer_after: answer - started() }
}
