//! Threads, processes, both or neither: the kind of work decides, and can be asked beforehand.
//! A workload is played under every model on the virtual clock, then run.
//!
//! Python: none; one tries `ThreadPoolExecutor` and `ProcessPoolExecutor`, and measures. Page:
//! `lessons/13-choosing.md`.

mod costs;
mod live;
mod model;
mod workload;

use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use process_pool::serve;
use tasks::measure::short;

use costs::{Costs, TYPICAL, squares_in};
use live::{Outcome, Share};
use model::{Computer, Model, Prediction, predict, rank, reason};
use workload::{Preset, Workload};

/// Which model for which work:
///
/// - six workloads, each under four models, on a virtual clock with typical costs;
/// - one of them, or your own, in full: the models in order, with reasons;
/// - the same with the costs of this machine, and run: predicted beside measured.
///
/// A task waits for --io, then computes for --cpu; --payload bytes go along to
/// another process. --simulate needs no measuring, and asks about any machine.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/13-choosing.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// The workload to choose for [default: map-reduce]
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// Tasks of a workload of your own
    #[arg(long, value_name = "N", conflicts_with = "preset", value_parser = cli::count(1..=1_000))]
    tasks: Option<usize>,
    /// How long a task waits
    #[arg(long, default_value = "0ms", value_name = "TIME", requires = "tasks", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(10)))]
    io: Duration,
    /// How long a task computes
    #[arg(long, default_value = "0ms", value_name = "TIME", requires = "tasks", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(1)))]
    cpu: Duration,
    /// Bytes that go along with a task
    #[arg(long, default_value_t = 0, value_name = "BYTES", requires = "tasks", value_parser = cli::number(0..=1 << 26))]
    payload: u64,
    /// A task may take its process down
    #[arg(long, requires = "tasks")]
    may_crash: bool,
    /// Somebody looks at a window of the program meanwhile
    #[arg(long, requires = "tasks")]
    interface: bool,
    /// Cores of the machine to predict for [default: 4]
    #[arg(long, value_name = "N", value_parser = cli::count(1..=64))]
    cores: Option<usize>,
    /// Threads compute side by side, as in Rust and in free-threaded Python
    #[arg(long)]
    no_gil: bool,
    /// Predict only: nothing is measured
    #[arg(long)]
    simulate: bool,
    /// Run all six workloads so many times instead, and judge the predictions
    #[arg(long, value_name = "TIMES", conflicts_with_all = ["preset", "tasks", "simulate", "quiet"], value_parser = cli::count(1..=100))]
    check: Option<usize>,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    // A worker is this very program, and never gets beyond this line.
    serve::<Share>();
    let args: Args = cli::parse();
    let gil = !args.no_gil;
    let computer = Computer { cores: args.cores.unwrap_or(4), gil };
    let here =
        Computer { cores: args.cores.unwrap_or(thread::available_parallelism()?.get()), gil };
    if let Some(times) = args.check {
        return Ok(check(times, here, args.output)?);
    }
    let workload = args.workload();

    println!("1. Six workloads on {}. Virtual clock, typical costs.\n", described(computer));
    overview(computer)?;
    println!("\n2. {}.\n   The models in order:\n", sentence(&workload));
    print!("{}", ranking(&workload, computer, &TYPICAL)?);
    if !args.simulate {
        println!("\n3. The same, run here. Each model does the same tasks.\n");
        compare(&workload, here, args.output)?;
    }
    println!("\nThe page of this lesson: lessons/13-choosing.md");
    Ok(())
}

impl Args {
    fn workload(&self) -> Workload {
        let Some(tasks) = self.tasks else {
            return self.preset.unwrap_or(Preset::MapReduce).workload();
        };
        Workload {
            name: "your workload",
            tasks,
            io: self.io,
            cpu: self.cpu,
            payload: usize::try_from(self.payload).expect("the limit fits"),
            may_crash: self.may_crash,
            interface: self.interface,
        }
    }
}

fn described(computer: Computer) -> String {
    let Computer { cores, gil } = computer;
    let lock = if gil { "under a GIL" } else { "without a GIL" };
    format!("{cores} core{} {lock}", if cores == 1 { "" } else { "s" })
}

fn sentence(workload: &Workload) -> String {
    let Workload { name, tasks, io, cpu, payload, .. } = *workload;
    let time = |what: &str, time: Duration| {
        (!time.is_zero()).then(|| format!("{what} {}", short(time)))
    };
    let bytes = (payload > 0).then(|| format!("takes {} along", bytes(payload)));
    let traits = [
        workload.may_crash.then_some("may crash"),
        workload.interface.then_some("a window is open"),
    ];
    let parts = [time("waits", io), time("computes", cpu), bytes].into_iter();
    let parts =
        parts.chain(traits.map(|it| it.map(String::from))).flatten().collect::<Vec<_>>();
    let parts = if parts.is_empty() { "does nothing".into() } else { parts.join(", ") };
    format!("{name}, {tasks} task{}. Each {parts}", if tasks == 1 { "" } else { "s" })
}

fn bytes(n: usize) -> String {
    match n {
        n if n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

fn predictions(
    workload: &Workload,
    computer: Computer,
    costs: &Costs,
) -> Result<Vec<Prediction>> {
    let all = Model::ALL.map(|model| predict(model, workload, computer, costs));
    let all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(rank(workload, all))
}

const OVERVIEW: &str = "                in a row   threads processes      both  first choice";

/// A line for each workload: the time of every model, and the first choice.
fn overview(computer: Computer) -> Result<()> {
    println!("{OVERVIEW}");
    for preset in Preset::value_variants() {
        let workload = preset.workload();
        let ranked = predictions(&workload, computer, &TYPICAL)?;
        print!("   {:<11}", workload.name);
        for model in Model::ALL {
            let it = ranked.iter().find(|it| it.model == model).expect("all models are ranked");
            print!("{:>10}", short(it.total));
        }
        println!("  {}", ranked[0].model.name());
    }
    Ok(())
}

/// A line for each model, the best first.
fn ranking(workload: &Workload, computer: Computer, costs: &Costs) -> Result<String> {
    let ranked = predictions(workload, computer, costs)?;
    let mut text = String::new();
    for (place, it) in ranked.iter().enumerate() {
        text += &format!(
            "   {}. {:<21}{:>9}  {}\n",
            place + 1,
            it.model.name(),
            short(it.total),
            reason(workload, computer, it, place == 0)
        );
    }
    Ok(text)
}

/// Runs every model of a workload; facts to stdout, times to stderr.
fn compare(workload: &Workload, computer: Computer, output: cli::Output) -> Result<()> {
    let progress = output.progress("costs and models measured", 1 + Model::ALL.len());
    let costs = Costs::measure(workload, computer.cores)?;
    progress.step();
    let squares = squares_in(workload.cpu);
    let ranked = predictions(workload, computer, &costs)?;
    let mut outcomes = Vec::new();
    for model in Model::ALL {
        let outcome = live::run(model, workload, computer, squares)?;
        progress.step();
        assert_eq!(
            outcome.right, workload.tasks,
            "the model changes the time, not the answers"
        );
        outcomes.push((model, outcome));
    }
    drop(progress);
    for (model, outcome) in &outcomes {
        println!("   {:<21}{:>5} of {} right", model.name(), outcome.right, workload.tasks);
    }
    output.measured(in_words(&costs, computer));
    output
        .measured(format!("   {:<21}{:>10}{:>10}{:>8}", "", "predicted", "measured", "error"));
    for it in &ranked {
        let found = outcomes.iter().find(|(model, _)| *model == it.model);
        output.measured(row(it, &found.expect("all models ran").1));
    }
    Ok(())
}

fn row(it: &Prediction, outcome: &Outcome) -> String {
    let error = error(it, outcome) * 100.0;
    let (predicted, measured) = (short(it.total), short(outcome.took));
    let pauses = it.pause.zip(outcome.pause).map_or(String::new(), |(predicted, measured)| {
        format!("  longest pause {}, {}", short(predicted), short(measured))
    });
    format!("   {:<21}{predicted:>10}{measured:>10}{error:>+6.0} %{pauses}", it.model.name())
}

/// How far the prediction is from the measured time, as a part of that.
fn error(it: &Prediction, outcome: &Outcome) -> f64 {
    it.total.div_duration_f64(outcome.took) - 1.0
}

fn in_words(costs: &Costs, computer: Computer) -> String {
    let &Costs { thread, pool, task, mebibyte, waiting, slowdown } = costs;
    let [thread, pool, task, mebibyte, waiting] =
        [thread, pool, task, mebibyte, waiting].map(short);
    format!(
        "\n   Here, {}: a thread costs {thread}, a pool {pool},
   a task {task}, 1 MiB {mebibyte}; a wait is {waiting} late;
   computing takes x{slowdown:.2} on all cores at once.\n",
        described(computer)
    )
}

/// Judges the predictions for every workload.
fn check(times: usize, computer: Computer, output: cli::Output) -> Result<()> {
    let mut errors = Vec::new();
    for preset in Preset::value_variants() {
        let workload = preset.workload();
        for _ in 0..times {
            let progress = output.progress("costs and models measured", 1 + Model::ALL.len());
            let costs = Costs::measure(&workload, computer.cores)?;
            progress.step();
            let squares = squares_in(workload.cpu);
            let ranked = predictions(&workload, computer, &costs)?;
            let mut measured = Vec::new();
            for it in &ranked {
                let outcome = live::run(it.model, &workload, computer, squares)?;
                errors.push(error(it, &outcome).abs());
                measured.push((it, outcome));
                progress.step();
            }
            drop(progress);
            let first = &measured[0];
            let eligible = measured.iter().filter(|(it, _)| model::qualifies(&workload, it));
            let best = eligible.min_by_key(|(_, outcome)| outcome.took).unwrap_or(first);
            let behind = first.1.took.div_duration_f64(best.1.took);
            output.measured(format!(
                "{:<12} predicted best {:<21} measured best {:<21} x{behind:.2}",
                workload.name,
                first.0.model.name(),
                best.0.model.name()
            ));
            for (it, outcome) in &measured {
                output.measured(row(it, outcome));
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    output.measured(format!(
        "median error {:.0} % (goal 15 %)",
        errors[errors.len() / 2] * 100.0
    ));
    Ok(())
}
