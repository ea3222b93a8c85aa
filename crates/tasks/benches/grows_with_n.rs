//! Twice the items take twice the time: no loop is folded into a formula or cut into vectors.
//!
//! Prints nanoseconds per item for sizes that double, and ends with status 1 when the dearest
//! size costs over 10 % more per item than the cheapest.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use tasks::cpu::{sum_below, sum_of_squares_below};
use tasks::grouped;
use tasks::measure::{Stopwatch, median_and_spread};

/// The smallest takes some milliseconds: longer than a turn on a busy core, so that what a
/// change of turns costs is in every size.
const SIZES: [u64; 4] = [16_000_000, 32_000_000, 64_000_000, 128_000_000];
/// Each round measures every size once: what slows the machine down for a while hits all alike.
const ROUNDS: usize = 21;
const TOLERANCE: f64 = 1.10;

fn main() -> ExitCode {
    let tasks = [
        ("sum_below", sum_below as fn(u64) -> u128),
        ("sum_of_squares_below", sum_of_squares_below),
    ];
    let mut status = ExitCode::SUCCESS;
    for (name, task) in tasks {
        let mut times = SIZES.map(|_| Vec::with_capacity(ROUNDS));
        for _ in 0..ROUNDS {
            for (n, times) in SIZES.into_iter().zip(&mut times) {
                times.push(time(task, n));
            }
        }
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        println!("{name}, median of {ROUNDS} rounds:");
        for (n, times) in SIZES.into_iter().zip(&mut times) {
            let (median, spread) = median_and_spread(times);
            let per_item = |time: Duration| time.as_secs_f64() * 1e9 / n as f64;
            let (cost, spread) = (per_item(median), per_item(spread));
            println!(
                "{:>12} items  {cost:.3} ns/item  (middle half {spread:.3})",
                grouped(n.into())
            );
            (least, most) = (least.min(cost), most.max(cost));
        }
        // A loop folded away takes no time at all, whatever the size.
        if least == 0.0 || most > least * TOLERANCE {
            eprintln!("{name} is not proportional to n: {least:.3} to {most:.3} ns/item");
            status = ExitCode::FAILURE;
        }
    }
    status
}

/// Processor time where it is known: other programs on this core make the wait longer, not the
/// work.
fn time(task: fn(u64) -> u128, n: u64) -> Duration {
    let watch = Stopwatch::start();
    black_box(task(black_box(n)));
    let took = watch.stop();
    took.cpu.unwrap_or(took.wall)
}
