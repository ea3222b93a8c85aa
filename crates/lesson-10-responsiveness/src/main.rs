//! An interface that draws 60 frames a second, and long work beside it. Where the work is decides
//! how long the interface freezes: not at all, or from the first moment to the answer.
//!
//! Python: an event loop, `threading.Thread`, `multiprocessing.Process`. Page:
//! `lessons/10-responsiveness.md`.

mod design;
mod frames;
mod live;
mod simulated;
mod view;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::{EnumValueParser, TypedValueParser};
use process_pool::serve;
use tasks::measure::{pictures_on_stderr, short};

use design::Design;
use frames::{DRAW, Watched, histogram, table};
use live::{Setting, Squares, squares_in};
use simulated::AROUND;

/// The worst pause of an interface beside long work, under six designs.
///
/// An event loop draws 60 frames a second. The work is in the loop, in a thread
/// under the GIL, in native code that keeps the lock or gives it up, in a process,
/// or in the loop again, cut into slices.
///
/// 1. Frames, gaps between them, and the time of the answer: on the virtual clock.
/// 2. The gaps, counted.
/// 3. The same on real threads, with work of --work; --work 2s is the full size.
///
/// Facts go to stdout, measurements to stderr. --watch draws one design on the
/// terminal, for you to see it freeze. The page: lessons/10-responsiveness.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// How long the work takes on real threads, alone (with --watch: 2s)
    #[arg(
        long, default_value = "400ms", default_value_if("watch", clap::builder::ArgPredicate::IsPresent, "2s"),
        value_name = "TIME", value_parser = cli::duration(Duration::from_millis(10)..=Duration::from_secs(10)),
    )]
    work: Duration,
    /// How long it takes on the virtual clock
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(10)..=Duration::from_secs(60)))]
    virtual_work: Duration,
    /// How long a thread waits for the lock before it asks for it
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::from_micros(1)..=Duration::from_secs(1)))]
    interval: Duration,
    /// How long a slice of the work takes, where it is cut
    #[arg(long, default_value = "4ms", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(1)))]
    slice: Duration,
    /// Stands for what an operating system leaves open, on the virtual clock
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = cli::number(0..=u64::MAX))]
    seed: u64,
    /// Draw one design on the terminal, and nothing else
    #[arg(
        long, value_name = "DESIGN", conflicts_with = "quiet",
        value_parser = EnumValueParser::<Design>::new().try_map(view::on_a_terminal),
    )]
    watch: Option<Design>,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    // The work of the fifth design runs in this very program, started anew.
    serve::<Squares>();
    let args: Args = cli::parse();
    if let Some(design) = args.watch {
        return Ok(watch(design, &args)?);
    }
    on_the_virtual_clock(&args)?;
    on_real_threads(&args)?;
    println!("\nThe page of this lesson: lessons/10-responsiveness.md");
    Ok(())
}

fn on_the_virtual_clock(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    for design in Design::all() {
        rows.push((design, simulated::watch(design, args)?));
    }
    let [work, draw] = [args.virtual_work, DRAW].map(short);
    println!(
        "1. Work of {work} beside 60 frames a second of {draw} each, on the virtual clock."
    );
    println!("   Half a second before the work, and behind its answer, is watched too.");
    print!("{}", table(&rows));
    println!("\n2. How many gaps are how long.");
    print!("{}", histogram(&rows, true));
    Ok(())
}

fn on_real_threads(args: &Args) -> Result<()> {
    let setting = setting(args, 3);
    let mut rows = Vec::new();
    let (mut right, mut inside) = (0, 0);
    let progress = args.output.progress("designs on real threads", Design::all().count());
    for design in Design::all() {
        let live = match live::watch(design, &setting, &mut |_, _| {}) {
            // The other designs need no processes.
            Err(error) if cfg!(not(unix)) && design == Design::Process => {
                println!("\n   {}: {error:#}", design.words());
                continue;
            }
            live => live.context(design.words())?,
        };
        if let Design::Loop | Design::KeepsLock = design {
            assert_frozen(&live.watched, live.work);
        }
        right += usize::from(live.right);
        inside = inside.max(live.inside);
        rows.push((design, live.watched));
        progress.step();
    }
    drop(progress);
    assert_eq!((right, inside), (rows.len(), 1), "one has the lock, and nothing is lost");
    let work = short(args.work);
    println!("\n3. The same on real threads, work of {work} each; the full size is --work 2s.");
    println!("   Right answers: {right} of {}. Inside the lock at once: {inside}.", rows.len());
    println!("   Frames during the work, in the loop and under a kept lock: 0.");
    println!("   The longest gap there: longer than the work.");
    let histogram = histogram(&rows, pictures_on_stderr());
    args.output.measured(format_args!("{}\n{}", table(&rows), histogram.trim_end()));
    Ok(())
}

/// Nobody draws without the lock: what keeps it costs all frames, however fast the machine is.
fn assert_frozen(watched: &Watched, (began, ended): (Duration, Duration)) {
    let meanwhile = watched.frames.iter().filter(|frame| (began..=ended).contains(frame));
    assert_eq!(meanwhile.count(), 0, "no frame is drawn without the lock");
    assert!(watched.worst() >= ended - began, "one gap spans the work");
}

fn watch(design: Design, args: &Args) -> Result<()> {
    let work = short(args.work);
    let words = design.words();
    cli::to_stderr(format_args!("{words}: {work} of work, behind the first second.\n"));
    live::watch(design, &setting(args, 2 * AROUND), &mut view::line)?;
    Ok(())
}

fn setting(args: &Args, around: usize) -> Setting {
    Setting {
        work: squares_in(args.work),
        slice: squares_in(args.slice),
        slice_time: args.slice,
        interval: args.interval,
        around,
    }
}
