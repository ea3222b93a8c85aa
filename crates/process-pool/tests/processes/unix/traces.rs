//! What a trace shows of tasks that do not come to their ends.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use ipc::SharedSlice;
use libtest_mimic::Trial;
use process_pool::{Failed, Pool, Task, TaskOptions, kill_this_process};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::harness::{trace_events, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_trace_shows_the_steps_that_happened_and_no_other", steps),
        trial("a_trace_of_a_map_shows_what_ran_and_nothing_twice", steps_of_a_map),
        trial("the_run_of_a_task_that_panics_ends_at_the_panic", ends_at_the_panic),
    ]
}

/// What happens, and in which step.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
pub enum How {
    Well,
    WellAndSlow,
    RefusesDecoding,
    PanicsInDecoding,
    Fails,
    Panics,
    /// Lets what it drops take its time.
    PanicsSlowly,
    PanicsInEncoding,
    RefusesEncoding,
    MakesMemory,
    Dies,
}

use How::*;

#[derive(Debug)]
pub struct Odd(How);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match How::deserialize(deserializer)? {
            RefusesDecoding => Err(serde::de::Error::custom("not this one")),
            PanicsInDecoding => panic!("in decoding"),
            how => Ok(Self(how)),
        }
    }
}

impl Task for Odd {
    type Output = Out;

    fn run(self) -> Result<Out, Failed> {
        match self.0 {
            WellAndSlow => thread::sleep(SLOW),
            Fails => return Err("it fails".into()),
            Panics => panic!("in running"),
            PanicsSlowly => {
                let _slow = Slow;
                panic!("in running");
            }
            MakesMemory => return Ok(Out(MakesMemory, Some(SharedSlice::zeroed(1)?))),
            Dies => kill_this_process(),
            _ => {}
        }
        Ok(Out(self.0, None))
    }
}

const SLOW: Duration = Duration::from_millis(50);

struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        thread::sleep(SLOW);
    }
}

#[derive(Deserialize)]
pub struct Out(How, Option<SharedSlice<u8>>);

impl Serialize for Out {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            RefusesEncoding => Err(serde::ser::Error::custom("not this one")),
            PanicsInEncoding => panic!("in encoding"),
            how => (how, &self.1).serialize(serializer),
        }
    }
}

/// A step of a worker, in microseconds.
#[derive(Debug)]
struct Step {
    name: String,
    task: u64,
    tasks: u64,
    from: f64,
    took: f64,
}

/// The steps of the one worker, in their order, of which none has a length below nothing, none
/// begins before the first task was handed in, and none overlaps the next.
fn traced(pool: Pool<Odd>) -> Vec<Step> {
    let events = trace_events(pool);
    let whole = events.iter().filter(|event| event["ph"] == "X");
    let steps = whole.map(|event| Step {
        name: event["name"].as_str().unwrap().to_owned(),
        task: event["args"]["task"].as_u64().unwrap(),
        tasks: event["args"]["tasks"].as_u64().unwrap(),
        from: event["ts"].as_f64().unwrap(),
        took: event["dur"].as_f64().unwrap(),
    });
    let mut steps: Vec<_> = steps.collect();
    steps.sort_by(|a, b| a.from.total_cmp(&b.from));
    assert!(steps.iter().all(|step| step.took >= 0.0 && step.from > 0.0), "{steps:?}");
    let in_order = |pair: &[Step]| pair[0].from + pair[0].took <= pair[1].from;
    assert!(steps.windows(2).all(in_order), "{steps:?}");
    for waits in events.iter().filter(|event| event["ph"] == "e" && event["name"] == "wait") {
        assert!(waits["ts"].as_f64().unwrap() > 0.0);
    }
    steps
}

fn pool() -> Pool<Odd> {
    Pool::builder().workers(1).trace().build().unwrap()
}

fn steps() {
    let all = [
        (Well, &["decode", "run", "encode output"][..]),
        (Panics, &["decode", "run"]),
        (Well, &["decode", "run", "encode output"]),
        (RefusesDecoding, &["decode"]),
        (PanicsInDecoding, &["decode"]),
        (Fails, &["decode", "run"]),
        (RefusesEncoding, &["decode", "run", "encode output"]),
        (PanicsInEncoding, &["decode", "run", "encode output"]),
        (MakesMemory, &["decode", "run", "encode output"]),
        (Dies, &[]),
        (Panics, &["decode", "run"]),
        (Well, &["decode", "run", "encode output"]),
    ];
    let pool = pool();
    let futures: Vec<_> = all.iter().map(|(how, _)| pool.submit(Odd(*how))).collect();
    for (future, (how, _)) in futures.into_iter().zip(&all) {
        assert_eq!(future.result().is_ok(), matches!(how, Well | MakesMemory), "{how:?}");
    }
    let options =
        TaskOptions { time_out: Some(SLOW / 5), retries: 2, ..TaskOptions::default() };
    assert!(pool.submit_with(Odd(WellAndSlow), options).result().is_err());
    assert!(pool.submit_with(Odd(Dies), options).result().is_err());
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for step in traced(pool) {
        found.entry(step.task).or_default().push(step.name);
    }
    let expected = (0..).zip(&all).filter(|(_, (_, names))| !names.is_empty());
    let expected = expected.map(|(task, (_, names))| (task, names.to_vec()));
    assert!(found.into_iter().eq(expected.map(|(task, names)| {
        (task, names.into_iter().map(str::to_owned).collect::<Vec<_>>())
    })));
}

/// The third of five in a chunk makes memory, and its answer travels by itself.
fn steps_of_a_map() {
    let pool = pool();
    let all = [Well, Panics, MakesMemory, RefusesDecoding, Well];
    let outputs: Vec<_> = pool.map(all.map(Odd)).chunk_size(5).collect();
    let well: Vec<_> = outputs.iter().map(Result::is_ok).collect();
    assert_eq!(well, [true, false, true, false, true]);
    let slow = [Well, WellAndSlow, MakesMemory, WellAndSlow, MakesMemory];
    assert!(pool.map(slow.map(Odd)).chunk_size(5).all(|output| output.is_ok()));
    let steps = traced(pool);
    assert!(steps.iter().all(|step| step.name == "run"), "{steps:?}");
    let of: Vec<_> = steps.iter().map(|step| (step.task, step.tasks)).collect();
    assert_eq!(of, [(0, 2), (2, 1), (3, 2), (5, 2), (7, 1), (8, 1), (9, 1)]);
    let slow = [&steps[3], &steps[5]];
    // None is counted again as a part of the other: they do not overlap.
    assert!(slow.iter().all(|step| step.took >= 5e4), "{steps:?}");
}

fn ends_at_the_panic() {
    for chunk in [false, true] {
        let pool = pool();
        let tasks = [Well, PanicsSlowly].map(Odd);
        let well = match chunk {
            true => Vec::from_iter(pool.map(tasks).chunk_size(2).map(|output| output.is_ok())),
            false => tasks.map(|task| pool.submit(task).result().is_ok()).to_vec(),
        };
        assert_eq!(well, [true, false]);
        assert!(pool.submit(Odd(Well)).result().is_ok());
        let steps = traced(pool);
        let next = steps.iter().position(|step| step.task == 2).unwrap();
        let run = &steps[next - 1];
        assert_eq!(run.name, "run");
        assert!(steps[next].from - (run.from + run.took) >= 5e4, "{steps:?}");
    }
}
