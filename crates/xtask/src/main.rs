//! `cargo xtask`: the habits of the house that are programs. `just` gives each a short name.

use std::process;
use std::time::Instant;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use xtask::bench::Bench;
use xtask::{Lesson, cargo, flake, pages, root};

/// The habits of the house that are programs
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = false)]
struct Args {
    #[command(subcommand)]
    habit: Habit,
}

#[derive(Subcommand)]
enum Habit {
    /// Run a lesson with its own flags; `--help` is the lesson's
    #[command(disable_help_flag = true)]
    Lesson {
        /// Its number or name: 4, 04, ipc-queue
        #[arg(value_parser = |wanted: &str| Lesson::find(root(), wanted))]
        lesson: Lesson,
        /// What the lesson gets
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<String>,
    },
    /// Check the pages against the sources and the snapshots
    Pages {
        /// Copy the sources and the snapshots into the pages first
        #[arg(long)]
        bless: bool,
    },
    /// Run a lesson many times in three modes and count its distinct outputs
    Flake {
        /// Its number or name, or `all`
        #[arg(value_parser = one_or_all, value_name = "LESSON")]
        lessons: Box<[Lesson]>,
        /// How often in each mode
        #[arg(value_parser = cli::count(1..=10_000))]
        runs: usize,
        /// How many at a time: waits overlap
        #[arg(long, default_value = "1", value_parser = cli::count(1..=256))]
        jobs: usize,
        /// Flags for the lesson's main program, such as sizes that take less time; the others are
        /// left out then
        #[arg(last = true)]
        flags: Vec<String>,
    },
    /// Run the benchmarks one after another
    Bench {
        /// Only those of this crate, or the one of this name
        #[arg(value_parser = known_bench)]
        name: Option<String>,
    },
}

fn one_or_all(wanted: &str) -> Result<Box<[Lesson]>, String> {
    match wanted {
        "all" => Ok(Lesson::all(root()).into()),
        _ => Lesson::find(root(), wanted).map(|lesson| [lesson].into()),
    }
}

fn known_bench(wanted: &str) -> Result<String, String> {
    if Bench::find(root(), Some(wanted)).is_empty() {
        let known =
            Bench::find(root(), None).into_iter().map(|b| format!("{} {}", b.package, b.name));
        return Err(format!("the benchmarks are: {}", known.collect::<Vec<_>>().join(", ")));
    }
    Ok(wanted.to_owned())
}

fn main() -> cli::Result {
    match cli::parse::<Args>().habit {
        Habit::Lesson { lesson, flags } => run_lesson(&lesson, &flags)?,
        Habit::Pages { bless } => keep_pages(bless)?,
        Habit::Flake { lessons, runs, jobs, flags } => {
            count_outputs(&lessons, runs, jobs, &flags)?;
        }
        Habit::Bench { name } => run_benches(name.as_deref())?,
    }
    Ok(())
}

fn run_lesson(lesson: &Lesson, flags: &[String]) -> anyhow::Result<()> {
    let cargo_flags = ["run", "--package", &lesson.name, "--"];
    let status = cargo(cargo_flags.into_iter().chain(flags.iter().map(String::as_str)))?;
    // The lesson has said what failed: its exit status says the rest.
    process::exit(status.code().unwrap_or(1))
}

fn keep_pages(bless: bool) -> anyhow::Result<()> {
    if bless {
        for page in pages::bless(root())? {
            println!("refreshed {page}");
        }
    }
    let problems = pages::check(root());
    for problem in &problems {
        eprintln!("{problem}");
    }
    ensure!(problems.is_empty(), "problems on the pages: {}", problems.len());
    Ok(())
}

fn count_outputs(
    lessons: &[Lesson],
    runs: usize,
    jobs: usize,
    flags: &[String],
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut stable = true;
    for lesson in lessons {
        stable &= flake::flake(lesson, runs, jobs, flags)?;
    }
    println!("total {:.1} s", start.elapsed().as_secs_f64());
    ensure!(stable, "a run failed or its output differs");
    Ok(())
}

fn run_benches(wanted: Option<&str>) -> anyhow::Result<()> {
    Bench::find(root(), wanted).iter().try_for_each(Bench::run)
}
