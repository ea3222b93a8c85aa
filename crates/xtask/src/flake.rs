//! Runs the programs of a lesson many times and counts its distinct outputs: alone, on one core, under load.
//!
//! stdout is what a lesson guarantees: one output, whatever the scheduler does.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::env;
use std::hint;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use assert_cmd::Command;
use similar::TextDiff;

use crate::{Lesson, cargo, root};

/// A lesson takes a few seconds; one that takes this long hangs.
const DEADLINE: Duration = Duration::from_secs(60);
/// Runs a program on core 0; Linux has it.
const ON_ONE_CORE: [&str; 3] = ["taskset", "-c", "0"];

/// What a run printed on stdout, or how it failed.
type Outcome = Result<String, String>;

/// Runs each program of a lesson `runs` times in each mode, `jobs` at a time, and prints a line per
/// mode. With `flags` it runs the one that is called as the lesson, alone: programs of one lesson
/// know different flags.
///
/// Returns whether every run succeeded with the same output.
///
/// # Errors
/// When the lesson cannot be built.
pub fn flake(
    lesson: &Lesson,
    runs: usize,
    jobs: usize,
    flags: &[String],
) -> anyhow::Result<bool> {
    let folder = build(lesson)?;
    let programs =
        if flags.is_empty() { lesson.programs(root()) } else { vec![lesson.name.clone()] };
    let mut stable = true;
    for program in programs {
        println!("{program}");
        let program = folder.join(program).with_extension(env::consts::EXE_EXTENSION);
        stable &= flake_program(&program, runs, jobs, flags);
    }
    Ok(stable)
}

fn flake_program(program: &Path, runs: usize, jobs: usize, flags: &[String]) -> bool {
    let with_flags = |mut command: Command| {
        command.args(flags);
        command
    };
    let plain = || with_flags(Command::new(program));
    let pinned = || with_flags(on_one_core(program));

    let mut stable = report("alone", &repeat(plain, runs, jobs));
    if on_one_core(Path::new("true")).output().is_ok_and(|output| output.status.success()) {
        stable &= report("one core", &repeat(pinned, runs, jobs));
    } else {
        println!("  one core    skipped: `{}` does not work here", ON_ONE_CORE.join(" "));
    }
    stable &= report("under load", &under_load(|| repeat(plain, runs, jobs)));
    stable
}

/// Builds the lesson in the profile that a reader runs, and returns the folder of its programs.
fn build(lesson: &Lesson) -> anyhow::Result<PathBuf> {
    let status = cargo(["build", "--quiet", "--locked", "--package", &lesson.name])?;
    ensure!(status.success(), "{} does not build", lesson.name);
    // `cargo xtask` builds this program in the same profile, so the lesson lies beside it.
    let this = env::current_exe().context("cannot find the folder of built programs")?;
    Ok(this.with_file_name(""))
}

fn on_one_core(program: &Path) -> Command {
    let [taskset, flags @ ..] = ON_ONE_CORE;
    let mut command = Command::new(taskset);
    command.args(flags).arg(program);
    command
}

fn repeat(command: impl Fn() -> Command + Sync, runs: usize, jobs: usize) -> Vec<Outcome> {
    let begun = AtomicUsize::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        while begun.fetch_add(1, Ordering::Relaxed) < runs {
            outcomes.push(run(command()));
        }
        outcomes
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let outcomes =
            workers.into_iter().map(|worker| worker.join().expect("a run never panics"));
        outcomes.flatten().collect()
    })
}

fn run(mut command: Command) -> Outcome {
    let start = Instant::now();
    let output = command.timeout(DEADLINE).output().map_err(|error| error.to_string())?;
    if start.elapsed() >= DEADLINE {
        return Err(format!("no end within {DEADLINE:?}"));
    }
    if !output.status.success() {
        return Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Keeps every core busy while `work` runs.
fn under_load<R>(work: impl FnOnce() -> R) -> R {
    let done = AtomicBool::new(false);
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Prints a mode's line, then the first failure and the difference of the two commonest outputs,
/// if there are any. Returns whether there are none.
fn report(mode: &str, outcomes: &[Outcome]) -> bool {
    let (summary, details) = summarize(outcomes);
    println!("  {mode:<11} {summary}");
    if let Some(details) = &details {
        println!("{details}");
    }
    details.is_none()
}

fn summarize(outcomes: &[Outcome]) -> (String, Option<String>) {
    let mut counts = BTreeMap::<&str, usize>::new();
    for output in outcomes.iter().flatten() {
        *counts.entry(output).or_default() += 1;
    }
    let mut outputs: Vec<_> = counts.into_iter().collect();
    outputs.sort_by_key(|&(_, count)| Reverse(count));
    let failures: Vec<_> =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();

    let plural = if outputs.len() == 1 { "" } else { "s" };
    let mut summary =
        format!("{} runs, {} distinct output{plural}", outcomes.len(), outputs.len());
    let mut details = None;
    if let [(often, _), (seldom, _), ..] = outputs[..] {
        let diff = TextDiff::from_lines(often, seldom);
        details = Some(diff.unified_diff().header("most runs", "other runs").to_string());
    }
    if let [first, ..] = failures[..] {
        summary += &format!(", {} failed", failures.len());
        details = Some(details.unwrap_or_default() + first);
    }
    (summary, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outputs_are_one() {
        let outcomes = vec![Ok("4\n".to_owned()); 200];
        assert_eq!(summarize(&outcomes), ("200 runs, 1 distinct output".into(), None));
    }

    #[test]
    fn a_different_output_is_shown_as_a_difference_from_the_commonest() {
        let mut outcomes = vec![Ok("one\ntwo\n".to_owned()); 9];
        outcomes.insert(0, Ok("two\none\n".into()));
        let (summary, details) = summarize(&outcomes);
        assert_eq!(summary, "10 runs, 2 distinct outputs");
        let details = details.unwrap();
        assert!(details.starts_with("--- most runs\n+++ other runs\n"), "{details}");
        assert!(details.contains("\n+two\n one\n-two\n"), "{details}");
        assert!(!report("alone", &outcomes));
    }

    #[test]
    fn a_failure_is_counted_and_shown() {
        let outcomes = [Ok("4\n".into()), Err("exit status: 1\nno worker".into())];
        let details = "exit status: 1\nno worker".to_owned();
        assert_eq!(
            summarize(&outcomes),
            ("2 runs, 1 distinct output, 1 failed".into(), Some(details))
        );
        assert!(!report("alone", &outcomes));
    }

    #[test]
    fn every_run_is_counted_once_by_any_number_of_jobs() {
        let version = || {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.arg("--version");
            cargo
        };
        for jobs in [1, 3] {
            let outcomes = under_load(|| repeat(version, 5, jobs));
            assert_eq!(summarize(&outcomes), ("5 runs, 1 distinct output".into(), None));
        }
    }

    #[test]
    fn a_status_that_is_not_zero_is_a_failure() {
        let mut command = Command::new(env!("CARGO"));
        command.arg("no-such-command");
        let failure = run(command).unwrap_err();
        assert!(failure.contains("no-such-command"), "{failure}");
    }
}
