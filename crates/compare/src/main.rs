//! Our lock beside CPython's: the same scenarios on our lock with real threads, on our rules
//! with a virtual clock, and on every Python that is found.

mod live;
mod python;
mod report;
mod scenario;
mod simulated;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use gil::CheckPoints;
use serde::Serialize;

use crate::python::Interpreter;
use crate::report::{Figures, tables};
use crate::scenario::{Scenario, Series};

/// Our lock beside CPython's: the same scenarios, measured by the same loops.
///
/// On our lock with real threads (live), on our rules with a virtual clock
/// (simulated), and on every Python from 3.9 on that is found. Figures are medians
/// of all runs, unless they say otherwise. Those who take part take turns, so that
/// a slow minute of the machine hits all of them; the machine should have nothing
/// else to do.
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// What to measure, instead of everything
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// A Python besides those on the PATH; can be given several times
    #[arg(long, value_name = "PATH")]
    python: Vec<PathBuf>,
    /// How often to measure each scenario
    #[arg(long, default_value = "5", value_parser = cli::count(1..=1000))]
    runs: usize,
    /// Print JSON: times in seconds, ratios and shares as fractions
    #[arg(long)]
    json: bool,
}

/// Someone who takes part.
#[derive(Serialize)]
struct Contender {
    name: String,
    /// Of an interpreter.
    executable: Option<PathBuf>,
    #[serde(skip)]
    kind: Kind,
    figures: Vec<Figures>,
    /// Why it takes part no longer.
    failure: Option<String>,
}

enum Kind {
    /// Our lock, with the check points of 3.10 or those of 3.9.
    Live(CheckPoints),
    Simulated(CheckPoints),
    Python(Interpreter),
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    runs: usize,
    contenders: Vec<Contender>,
    /// Interpreters that were named and do not run.
    errors: Vec<String>,
}

fn main() -> cli::Result<ExitCode> {
    let args: Args = cli::parse();
    let (pythons, errors) = python::find(&args.python);
    let errors: Vec<_> = errors.iter().map(|error| format!("{error:#}")).collect();
    for error in &errors {
        cli::to_stderr(error);
    }
    if pythons.is_empty() {
        cli::to_stderr("no Python from 3.9 on is found here: ours alone");
    }
    let pythons = pythons.into_iter().map(Kind::Python);
    let mut contenders: Vec<_> =
        ours().into_iter().chain(pythons).map(Contender::new).collect();

    let scenarios = match args.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        some => some,
    };
    for scenario in scenarios {
        let measured = measure(*scenario, args.runs, &mut contenders);
        let names = contenders.iter().map(|contender| contender.name.as_str());
        if !args.json {
            print!("{}", tables(*scenario, &names.zip(&measured).collect::<Vec<_>>()));
        }
        for (contender, series) in contenders.iter_mut().zip(&measured) {
            contender.figures.extend(Figures::all(*scenario, series));
        }
    }

    let failed = !errors.is_empty() || contenders.iter().any(|c| c.failure.is_some());
    if args.json {
        let document = Document { runs: args.runs, contenders, errors };
        println!("{}", serde_json::to_string_pretty(&document)?);
    }
    // Each failure has had its line.
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn ours() -> [Kind; 4] {
    [
        Kind::Live(CheckPoints::BackEdgesAndCalls),
        Kind::Live(CheckPoints::EveryInstruction),
        Kind::Simulated(CheckPoints::BackEdgesAndCalls),
        Kind::Simulated(CheckPoints::EveryInstruction),
    ]
}

/// The samples of each contender, of all runs. The contenders take turns.
fn measure(scenario: Scenario, runs: usize, contenders: &mut [Contender]) -> Vec<Series> {
    let mut measured = vec![Series::new(); contenders.len()];
    for run in 0..runs {
        for (contender, measured) in contenders.iter_mut().zip(&mut measured) {
            for (name, samples) in contender.measure(scenario, run) {
                measured.entry(name).or_default().extend(samples);
            }
        }
    }
    measured
}

impl Contender {
    fn new(kind: Kind) -> Self {
        let (name, executable) = match &kind {
            Kind::Live(CheckPoints::BackEdgesAndCalls) => ("live".into(), None),
            Kind::Live(_) => ("live as 3.9".into(), None),
            Kind::Simulated(CheckPoints::BackEdgesAndCalls) => ("simulated".into(), None),
            Kind::Simulated(_) => ("simulated as 3.9".into(), None),
            Kind::Python(python) => (python.name.clone(), Some(python.executable.clone())),
        };
        Contender { name, executable, kind, figures: Vec::new(), failure: None }
    }

    /// Measures a scenario once, if it takes part. An interpreter that fails says so, and the
    /// others go on.
    fn measure(&mut self, scenario: Scenario, run: usize) -> Series {
        if self.failure.is_some() {
            return Series::new();
        }
        match &self.kind {
            // Where the check points are makes a difference only to what is lost.
            Kind::Live(CheckPoints::EveryInstruction)
            | Kind::Simulated(CheckPoints::EveryInstruction)
                if scenario != Scenario::LostUpdates =>
            {
                Series::new()
            }
            Kind::Live(check_points) => live::measure(scenario, *check_points),
            Kind::Simulated(check_points) => {
                simulated::measure(scenario, *check_points, run as u64)
            }
            Kind::Python(python) => python.measure(scenario).unwrap_or_else(|error| {
                let line = format!("{error:#}");
                cli::to_stderr(&line);
                self.failure = Some(line);
                Series::new()
            }),
        }
    }
}
