//! Threads answer requests. Each more of them overlaps one more wait, until the sums fill the
//! cores or, under a GIL, the lock; beyond that requests only wait longer. Processes on one port
//! bring a lock each. A server that stops first answers what it has received.
//!
//! Python: `ThreadingHTTPServer`, and the servers with threads and workers under the web
//! frameworks. Page: `lessons/11-web-server.md`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use gil::Settings;
use ipc::{Pipe, pipe};
use lesson_11_web_server::load::{self, Client, Load, is_refused};
use lesson_11_web_server::server::{Counts, Port, Server, listen, listen_beside};
use lesson_11_web_server::site::{DEADLINE, Locks, MOST_SQUARES, Site};
use lesson_11_web_server::wrk;
use process_pool::{Failed, Process, Task, serve};
use serde::{Deserialize, Serialize};
use simulator::{Scenario, Step, Thread};
use tasks::grouped;
use tasks::measure::{pictures_on_stderr, short};

/// Threads answer requests: how many, under which lock, and how they stop.
///
/// 1. 1, 2, 4 ... threads, under one GIL and without a lock in common. Each
///    request waits, as for a database, and adds up squares. As many clients
///    as threads ask, one request after another: none waits for a thread.
/// 2. The same threads in several processes that listen on one port.
/// 3. A server is told to stop with requests under way.
///
/// `wrk`, if it is found, asks the largest server of section 1 too.
///
/// Facts go to stdout, measurements to stderr. The page: lessons/11-web-server.md
///
/// The server alone, for curl, wrk or a browser:
///   cargo run -p lesson-11-web-server --bin serve
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// The most threads: 1, 2, 4 ... up to it
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = cli::count(1..=256))]
    threads: usize,
    /// Processes on one port, which share these threads
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = cli::count(1..=16))]
    processes: usize,
    /// The most measured requests of a row; 24 a client, if that is less
    #[arg(long, default_value_t = 640, value_name = "N", value_parser = cli::count(1..=50_000))]
    requests: usize,
    /// How long each request waits, without the lock
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(1)))]
    wait: Duration,
    /// Each request adds up the squares below N
    #[arg(long, default_value_t = 800_000, value_name = "N", value_parser = cli::number(0..=MOST_SQUARES))]
    squares: u64,
    #[command(flatten)]
    output: cli::Output,
}

fn main() -> cli::Result {
    // Every server process runs this very program: this line makes it one.
    serve::<Share>();
    let args: Args = cli::parse();
    threads_answer(&args)?;
    processes_share_a_port(&args)?;
    a_server_stops_gracefully(&args)?;
    println!("\nThe page of this lesson: lessons/11-web-server.md");
    Ok(())
}

fn threads_answer(args: &Args) -> Result<()> {
    let (wait, squares) = (short(args.wait), grouped(args.squares.into()));
    println!(
        "1. Threads answer. A request waits {wait}, then adds up squares below {squares}."
    );
    println!("{FACTS}");
    let mut measured = Vec::new();
    let powers = iter::successors(Some(1), |n| Some(2 * n));
    for threads in powers.take_while(|&n| n < args.threads).chain([args.threads]) {
        let mut facts = format!("   {threads:>7}");
        let mut loads = Vec::new();
        for locks in [Locks::One, Locks::Each] {
            let (site, load, right) = row(args, threads, locks)?;
            let (together, running) = (site.in_progress(), site.running());
            let rate = virtual_rate(args, threads, locks)?;
            facts += &format!("{together:>8}{running:>8}{right:>12}{rate:>7}");
            loads.push(load);
        }
        println!("{facts}");
        measured.push((threads, loads));
    }
    println!("{LEGEND} {} a sum.", short(virtual_sum(args.squares)));
    let bars = pictures_on_stderr();
    args.output.measured(MEASURED);
    let best = measured.iter().flat_map(|(_, loads)| loads).map(Load::per_second);
    let best = best.fold(1.0, f64::max);
    for (threads, loads) in &measured {
        let loads = loads.iter().map(|load| figures(load, bars.then_some(best)));
        args.output.measured(format!("   {threads:>7}{}", loads.collect::<String>()));
    }
    if !args.output.quiet {
        let site = Site::new(args.wait, Locks::Each);
        let server = start(listen(0)?, &site, args.threads)?;
        let wrk = wrk::measure(server.address(), args.squares, args.threads);
        args.output.measured(format!("   wrk, {} threads, no lock: {wrk}", args.threads));
    }
    Ok(())
}

const FACTS: &str = "
           --------- under one GIL ---------- ------- no lock in common --------
   threads at once running       right   rate at once running       right   rate";
const LEGEND: &str =
    "   at once: requests in progress. running: threads that have a lock at once.
   rate: answers a second on the virtual clock, two cores,";
const MEASURED: &str = "
   Measured  GIL/s              p50     p99  no GIL/s            p50     p99";

/// A server with so many threads and clients: asked once by every client, with the threads held
/// at the gate until all of them are there, then measured.
fn row(args: &Args, threads: usize, locks: Locks) -> Result<(Arc<Site>, Load, String)> {
    let site = Site::new(args.wait, locks);
    let server = start(listen(0)?, &site, threads)?;
    let mut clients = connect_to(&server, args, threads)?;
    site.gate.close();
    clients.iter_mut().try_for_each(Client::ask)?;
    let held = site.gate.wait_for(threads);
    ensure!(held == threads, "only {held} of {threads} threads have a request");
    site.gate.open();
    let mut right = 0;
    for client in &mut clients {
        right += usize::from(client.answer()?);
    }
    let load = load::run(&mut clients, each(args, threads))?;
    right += load.right;
    let (counts, _) = server.join();
    assert_eq!(right, counts.answered, "the number of threads changes no answer");
    Ok((site, load, format!("{right} of {}", counts.answered)))
}

fn start(listener: TcpListener, site: &Arc<Site>, threads: usize) -> Result<Server> {
    let server = Server::start(listener, DEADLINE, site.handlers(threads, true));
    server.context("cannot start a server")
}

/// One client more with each sum: an answer to somebody else would be noticed.
fn connect(args: &Args, server: SocketAddr, clients: usize) -> Result<Vec<Client>> {
    let client = |i| Client::connect(server, args.squares.saturating_sub(i));
    (0..).map(client).take(clients).collect::<Result<_, _>>().context("cannot connect")
}

/// The same, when the server has taken all of them: one that it cannot take would wait in vain.
fn connect_to(server: &Server, args: &Args, clients: usize) -> Result<Vec<Client>> {
    let before = server.counts().connections;
    let connected = connect(args, server.address(), clients)?;
    let taken = |now: &Counts| now.connections == before + clients || now.refused.is_some();
    match server.wait_until(taken, DEADLINE).refused.map(io::Error::from_raw_os_error) {
        Some(error) => Err(error).context("the server can take no more connections"),
        None => Ok(connected),
    }
}

fn each(args: &Args, clients: usize) -> usize {
    (args.requests / clients).clamp(1, 24)
}

/// The same on the virtual clock: threads that always have a next request.
fn virtual_rate(args: &Args, threads: usize, locks: Locks) -> Result<u128> {
    const ROUNDS: u64 = 100;
    let compute = Step::Compute(virtual_sum(args.squares));
    let script = [Step::Loop(ROUNDS, vec![Step::Io(args.wait), compute])];
    let name = |n| format!("worker {n}");
    let threads: Vec<_> = (0..threads).map(|n| Thread::new(name(n), script.clone())).collect();
    let answers = u128::from(ROUNDS) * threads.len() as u128;
    let lock = (locks == Locks::One).then(Settings::default);
    let process = simulator::Process { name: "server".into(), lock, threads };
    let end = Scenario { processes: vec![process], ..Scenario::default() }.run()?.end;
    Ok(answers * 1_000_000_000 / end.as_nanos())
}

/// How long a sum takes on the virtual clock: 0.5 ms for 800 000 squares. To take a request and to
/// answer it takes some time as well, however short the sum.
fn virtual_sum(squares: u64) -> Duration {
    Duration::from_nanos(squares * 5 / 8).max(Duration::from_micros(10))
}

/// Answers a second, with a bar beside the best where one can be seen, and the latencies.
fn figures(load: &Load, best: Option<f64>) -> String {
    let rate = load.per_second();
    let bar =
        best.map_or(0, |best| (0..8).filter(|&n| rate > best * f64::from(n) / 8.0).count());
    let [p50, p99] = [50, 99].map(|percent| short(load.percentile(percent)));
    format!("{rate:>8.0} {:<8}{p50:>8}{p99:>8}", "█".repeat(bar))
}

fn processes_share_a_port(args: &Args) -> Result<()> {
    let (processes, threads) = (args.processes, args.threads.div_ceil(args.processes));
    println!(
        "\n2. On one port: processes: {processes}, threads in each: {threads}, a GIL in each."
    );
    let port = Port::keep().context("cannot keep a port")?;
    let server = port.address()?;
    let mut running = Vec::new();
    for _ in 0..processes {
        let (mut ours, parent) = pipe::<(), ()>()?;
        let share = Share { server, threads, wait: args.wait, parent };
        let process = Process::spawn(share)?;
        // A client that asks before all of them listen gets no thread of the late ones.
        if let Err(lost) = ours.recv() {
            process.join().context("a server process does not listen")?;
            return Err(lost.into());
        }
        running.push((ours, process));
    }
    let mut clients = connect(args, server, processes * threads)?;
    let load = load::run(&mut clients, each(args, processes * threads))?;
    drop(clients);
    let mut reports = Vec::new();
    for (parent, process) in running {
        parent.send(&())?;
        reports.push(process.join()?);
    }
    let answered: Vec<_> = reports.iter().map(|report| report.answered).collect();
    let (all, right) = (answered.iter().sum::<usize>(), load.right);
    let most = reports.iter().map(|report| report.running).max().unwrap_or_default();
    assert_eq!(right, all, "nobody else answers, and every answer is right");
    println!("   right: {right} of {all}, the sum of what the processes count");
    println!("   threads with the lock of their process at once, at most: {most}");
    let share: Vec<_> = answered.iter().map(usize::to_string).collect();
    args.output.measured(format!("   who answered is chance: {}", share.join(", ")));
    args.output.measured(format!("          {}", figures(&load, None)));
    Ok(())
}

/// A process of the server: its part of the threads.
#[derive(Serialize, Deserialize)]
struct Share {
    server: SocketAddr,
    threads: usize,
    wait: Duration,
    parent: Pipe<(), ()>,
}

#[derive(Serialize, Deserialize)]
struct Report {
    answered: usize,
    running: usize,
}

impl Task for Share {
    type Output = Report;

    fn run(mut self) -> Result<Report, Failed> {
        let site = Site::new(self.wait, Locks::One);
        let listener = listen_beside(self.server)?;
        let server = Server::start(listener, DEADLINE, site.handlers(self.threads, true))?;
        self.parent.send(&())?;
        self.parent.recv()?;
        let (counts, _) = server.join();
        Ok(Report { answered: counts.answered, running: site.running() })
    }
}

fn a_server_stops_gracefully(args: &Args) -> Result<()> {
    println!("\n3. A server of {THREADS} threads is told to stop.");
    let site = Site::new(args.wait, Locks::One);
    // With the port kept, who comes later meets this server or nobody.
    let port = Port::keep().context("cannot keep a port")?;
    let server = start(listen_beside(port.address()?)?, &site, THREADS)?;
    let mut idle = connect_to(&server, args, IDLE)?;
    load::run(&mut idle, 1)?;
    // A client may have its answer before the server has counted it.
    server.wait_until(|counts| counts.answered == IDLE, DEADLINE);

    site.gate.close();
    let mut asking = connect_to(&server, args, ASKING)?;
    asking.iter_mut().try_for_each(Client::ask)?;
    let held = site.gate.wait_for(THREADS);
    let under_way = server.wait_until(|now| now.under_way == ASKING, DEADLINE).under_way;
    let waiting = under_way - held;
    println!(
        "   under way: {under_way}, of which {held} have a thread and {waiting} wait for one"
    );

    server.stop();
    // They are closed after the listener: who has seen this is refused.
    let closed = idle.iter_mut().map(Client::is_closed).filter(|&closed| closed).count();
    println!("   idle connections closed: {closed} of {IDLE}");
    let refused = if is_refused(server.address()) { "refused" } else { "accepted" };
    println!("   a new connection: {refused}");
    // Only now can any of them be answered: all were under way when the server was told.
    site.gate.open();
    let mut right = 0;
    for client in &mut asking {
        right += usize::from(client.answer()?);
    }
    let closed = asking.iter_mut().map(Client::is_closed).filter(|&closed| closed).count();
    let (counts, ended) = server.join();
    drop(port);
    let (since, lost) = (counts.answered - IDLE, under_way - right);
    println!("   answered since: {since}, right: {right}, then closed: {closed}, lost: {lost}");
    println!(
        "   threads ended: {ended}: those that answer, and the one that waits for connections"
    );
    Ok(())
}

/// Threads, clients that ask, and clients that do not, when the server stops.
const THREADS: usize = 8;
const ASKING: usize = 16;
const IDLE: usize = 4;
