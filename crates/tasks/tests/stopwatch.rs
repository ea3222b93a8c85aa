//! The stopwatch against work of a known size. One test alone in its process: the work of
//! another one would be counted.

#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use tasks::cpu::sum_of_squares_below;
use tasks::measure::Stopwatch;

#[test]
fn cpu_time_is_that_of_the_process_and_of_its_ended_children() {
    let watch = Stopwatch::start();
    assert!(sum_of_squares_below(50_000_000) > 0);
    let busy = watch.stop();
    let cpu = busy.cpu.expect("known on Unix");
    assert!(cpu >= Duration::from_micros(2_500), "20 items in a nanosecond? {busy:?}");
    assert!(cpu <= busy.wall + TICK, "one thread uses one core at most: {busy:?}");

    let watch = Stopwatch::start();
    let mut child = Command::new("sh").args(["-c", LOOP]).spawn().expect("sh is part of Unix");
    assert!(child.wait().expect("the child is ours").success());
    let child = watch.stop();
    let cpu = child.cpu.expect("known on Unix");
    assert!(
        cpu >= Duration::from_millis(5),
        "40 rounds of a shell in a microsecond? {child:?}"
    );
}

/// What the kernel may owe to the books when a measurement begins.
const TICK: Duration = Duration::from_millis(10);
/// Nothing but CPU time: the parent sleeps meanwhile.
const LOOP: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
