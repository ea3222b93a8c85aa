//! How fast the virtual clock runs: events a second, and how their cost grows with threads.
//!
//! `cargo bench -p simulator`. An event is a step of the clock ([`simulator::Run::steps`]): a
//! stretch on a core, a sleep or a wake-up that ends. Figures are the best of the rounds: what
//! else runs on the machine only makes them worse.

use gil::Settings;
use simulator::{INCREMENT, Machine, Process, Scenario, Step, Thread};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;

fn main() -> ExitCode {
    let mut met = true;
    let mut goal = |what: &str, figure: f64, unit: &str, reached: bool, goal: &str| {
        let verdict = if reached { "" } else { "  MISSED" };
        println!("{what:44} {figure:8.2} {unit:12} (goal {goal}){verdict}");
        met &= reached;
    };

    let mixes: [(&str, Scenario); 4] = [
        ("increments, 2 threads, no lock", increments(2, None, 300_000)),
        ("increments, 2 threads, one lock", increments(2, Some(Settings::default()), 300_000)),
        ("CPU, 8 threads, one lock", computing(8, 100)),
        ("CPU and I/O, 64 threads, one lock", mixed(64, 10)),
    ];
    for (what, scenario) in &mixes {
        let (seconds, steps) = best(scenario);
        let millions = steps as f64 / seconds / 1e6;
        goal(what, millions, "M events/s", millions >= 5.0, "5");
    }

    for (what, scenario) in [
        ("1,000 CPU threads, 10 s", computing(1_000, 10)),
        ("1,000 mixed, 10 s", mixed(1_000, 10)),
    ] {
        let (seconds, _) = best(&scenario);
        goal(what, seconds, "s", seconds < 2.0, "2");
    }

    // Cost against log2 n, both from 16 threads on: equal growth is 1.
    let cost = |threads: usize| {
        let (seconds, steps) = best(&mixed(threads, 10_000 / threads as u64));
        seconds * 1e9 / steps as f64
    };
    let base = cost(16);
    for threads in [64_usize, 256, 1_024, 4_096] {
        let cost = cost(threads);
        let growth = cost / base / (threads.ilog2() as f64 / 4.0);
        let what = format!("{threads} threads: {cost:.0} ns an event, 16: {base:.0}");
        goal(&what, growth, "x log2 n", growth <= 1.0, "1");
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The shortest time in seconds, and the number of events.
fn best(scenario: &Scenario) -> (f64, u64) {
    let mut steps = 0;
    let times = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        steps = scenario.run().expect("a sound scenario").steps;
        begun.elapsed().as_secs_f64()
    });
    let best = times.min_by(f64::total_cmp).expect("some rounds");
    (best, steps)
}

fn scenario(lock: Option<Settings>, seconds: u64, scripts: Vec<Vec<Step>>) -> Scenario {
    let threads = scripts.into_iter().enumerate();
    let threads = threads.map(|(number, script)| Thread::new(number.to_string(), script));
    Scenario {
        machine: Machine::default(),
        processes: vec![Process { name: "p".into(), lock, threads: threads.collect() }],
        until: Some(Duration::from_secs(seconds)),
        ..Scenario::default()
    }
}

fn increments(threads: usize, lock: Option<Settings>, times: u64) -> Scenario {
    let script = vec![Step::Loop(times, vec![Step::Bytecode(INCREMENT.to_vec())])];
    scenario(lock, 100, vec![script; threads])
}

fn computing(threads: usize, seconds: u64) -> Scenario {
    let script = vec![Step::Compute(Duration::MAX)];
    scenario(Some(Settings::default()), seconds, vec![script; threads])
}

/// Every other thread computes; the others wait 1 ms for an answer and compute for 0.1 ms.
fn mixed(threads: usize, seconds: u64) -> Scenario {
    let round =
        vec![Step::Io(Duration::from_millis(1)), Step::Compute(Duration::from_micros(100))];
    let scripts = [vec![Step::Compute(Duration::MAX)], vec![Step::Loop(u64::MAX, round)]];
    scenario(
        Some(Settings::default()),
        seconds,
        scripts.into_iter().cycle().take(threads).collect(),
    )
}
