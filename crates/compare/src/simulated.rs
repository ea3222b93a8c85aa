//! Our rules on the virtual clock: the same scenarios as scripts.

use std::iter;
use std::time::Duration;

use gil::{CheckPoints, Settings};
use simulator::{INCREMENT, Instruction, Machine, Process, Run, Step, Thread};

use crate::scenario::{
    APART, CHECK_POINTS, CHECKING_THREADS, COUNT, COUNT_WITH_A_CALL, COUNTING_THREADS,
    CPU_THREADS, INTERVALS, Interval, NAPS, Scenario, Series, TASK, WAIT, WAITS, compared,
    wake_ups, wake_ups_by_check_points,
};

/// How long native code is busy with a buffer.
const BUFFER: Duration = Duration::from_millis(1);
/// By each thread, in the scenario that counts: with [`SLOW`] instructions they take about as
/// many turns as those of a real thread, and far less memory for the trace.
const INCREMENTS: u64 = 20_000;
const SLOW: Duration = Duration::from_micros(1);

/// Plays a scenario. The seed stands for what differs from run to run.
pub fn measure(scenario: Scenario, check_points: CheckPoints, seed: u64) -> Series {
    let compute = || vec![Step::Compute(TASK)];
    let native =
        || vec![Step::Loop(150, vec![Step::Native { time: BUFFER, gives_lock: true }])];
    let io = || vec![Step::Loop(WAITS.into(), vec![Step::Io(WAIT)])];
    match scenario {
        Scenario::CpuCpu => in_a_row_and_in_threads([compute(), compute()], seed),
        Scenario::CpuIo => in_a_row_and_in_threads([io(), compute()], seed),
        Scenario::Native => in_a_row_and_in_threads([native(), native()], seed),
        Scenario::Turns => INTERVALS
            .iter()
            .map(|interval| (interval.name.into(), turns_at(interval, seed)))
            .collect(),
        Scenario::WakeUps => CPU_THREADS
            .iter()
            .flat_map(|&threads| INTERVALS.iter().map(move |interval| (threads, interval)))
            .map(|(threads, interval)| {
                let latencies = wake_ups_beside(threads, interval, forever(), seed);
                (wake_ups(threads, interval), latencies)
            })
            .collect(),
        Scenario::CheckPoints => CHECKING_THREADS
            .iter()
            .flat_map(|&threads| {
                let call = Step::Native { time: APART, gives_lock: false };
                let calls = vec![Step::Loop(u64::MAX, vec![call])];
                CHECK_POINTS.into_iter().zip([forever(), calls]).map(move |(name, compute)| {
                    let latencies = wake_ups_beside(threads, &INTERVALS[1], compute, seed);
                    (wake_ups_by_check_points(threads, name), latencies)
                })
            })
            .collect(),
        Scenario::LostUpdates => [(COUNT, false), (COUNT_WITH_A_CALL, true)]
            .map(|(name, call)| (name.into(), vec![lost_by(check_points, call, seed)]))
            .into(),
    }
}

fn in_a_row_and_in_threads(scripts: [Vec<Step>; 2], seed: u64) -> Series {
    let scenario = |scripts| scenario(Settings::default(), scripts, seed);
    let each = scripts.each_ref().map(|script| play(&scenario(vec![script.clone()])).end);
    compared(each, play(&scenario(scripts.into())).end)
}

fn turns_at(interval: &Interval, seed: u64) -> Vec<f64> {
    let run = watched(interval, vec![forever(); 2], seed);
    seconds(run.turns(0))
}

fn wake_ups_beside(
    cpu_threads: usize,
    interval: &Interval,
    compute: Vec<Step>,
    seed: u64,
) -> Vec<f64> {
    let naps = NAPS.map(Step::Io).into();
    let scripts = iter::once(vec![Step::Loop(u64::MAX, naps)])
        .chain(iter::repeat_n(compute, cpu_threads))
        .collect();
    seconds(watched(interval, scripts, seed).wake_ups(0))
}

fn forever() -> Vec<Step> {
    vec![Step::Compute(Duration::MAX)]
}

/// What happens within the window of the interval.
fn watched(interval: &Interval, scripts: Vec<Vec<Step>>, seed: u64) -> Run {
    let until = Some(interval.window);
    play(&simulator::Scenario { until, ..scenario(lock(interval), scripts, seed) })
}

/// The fraction of all increments that is missing in the end.
fn lost_by(check_points: CheckPoints, call: bool, seed: u64) -> f64 {
    let mut body = INCREMENT.to_vec();
    if call {
        body.insert(1, Instruction::Call);
    }
    let lock = Settings { check_points, ..lock(&INTERVALS[0]) };
    let count = vec![Step::Loop(INCREMENTS, vec![Step::Bytecode(body)])];
    let run = play(&simulator::Scenario {
        machine: Machine { instruction: SLOW, ..Machine::default() },
        ..scenario(lock, vec![count; COUNTING_THREADS], seed)
    });
    let made = INCREMENTS * COUNTING_THREADS as u64;
    run.lost_updates(0) as f64 / made as f64
}

fn lock(interval: &Interval) -> Settings {
    Settings { interval: interval.time, ..Settings::default() }
}

fn scenario(lock: Settings, scripts: Vec<Vec<Step>>, seed: u64) -> simulator::Scenario {
    let threads = scripts
        .into_iter()
        .enumerate()
        .map(|(me, script)| Thread::new(me.to_string(), script))
        .collect();
    let process = Process { name: "python".into(), lock: Some(lock), threads };
    simulator::Scenario { processes: vec![process], seed, ..Default::default() }
}

fn play(scenario: &simulator::Scenario) -> Run {
    scenario.run().expect("there are cores, time and threads with names of their own")
}

fn seconds(times: Vec<Duration>) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::RATIO;

    #[test]
    fn the_same_run_has_the_same_figures() {
        for scenario in [Scenario::Turns, Scenario::WakeUps] {
            let [first, second] =
                [3, 3].map(|seed| measure(scenario, CheckPoints::BackEdgesAndCalls, seed));
            assert_eq!(first, second);
        }
    }

    #[test]
    fn no_turn_is_shorter_than_the_interval() {
        for interval in &INTERVALS {
            let turns = turns_at(interval, 0);
            assert!(turns.len() > 10, "{turns:?}");
            assert!(turns.iter().all(|&turn| turn >= interval.time.as_secs_f64()), "{turns:?}");
        }
    }

    #[test]
    fn a_check_point_between_read_and_write_loses_increments() {
        assert_eq!(lost_by(CheckPoints::BackEdgesAndCalls, false, 0), 0.0);
        for (check_points, call) in [
            (CheckPoints::EveryInstruction, false),
            (CheckPoints::EveryInstruction, true),
            (CheckPoints::BackEdgesAndCalls, true),
        ] {
            let lost = lost_by(check_points, call, 0);
            assert!(lost > 0.1, "{lost}");
        }
    }

    #[test]
    fn native_code_halves_and_computation_does_not() {
        let ratio = |scenario| measure(scenario, CheckPoints::BackEdgesAndCalls, 0)[RATIO][0];
        assert!(ratio(Scenario::Native) < 0.6);
        assert!(ratio(Scenario::CpuCpu) >= 1.0);
    }
}
