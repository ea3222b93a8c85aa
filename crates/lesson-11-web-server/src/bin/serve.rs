//! The server of lesson 11 alone, for curl, wrk or a browser.
//!
//! Page: `lessons/11-web-server.md`.

use std::io;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use lesson_11_web_server::server::{Server, listen};
use lesson_11_web_server::site::{Locks, Site};

/// Serves until its standard input ends (Ctrl-D), then stops gracefully: what
/// it has received is answered. Ctrl-C ends it at once.
///
/// A GET of /1000 waits, and is answered with the sum of the squares below 1000.
///
/// The page: lessons/11-web-server.md
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// The port, on this machine only; 0 is a free one
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16))]
    port: u16,
    /// Threads that answer
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = cli::count(1..=256))]
    threads: usize,
    /// Give each thread a lock of its own: no GIL
    #[arg(long)]
    no_gil: bool,
    /// How long each request waits, without the lock
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = cli::duration(Duration::ZERO..=Duration::from_secs(1)))]
    wait: Duration,
    /// How long a client may take for a request
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = cli::duration(Duration::from_millis(1)..=Duration::from_secs(600)))]
    patience: Duration,
}

fn main() -> cli::Result {
    let args: Args = cli::parse();
    let site = Site::new(args.wait, if args.no_gil { Locks::Each } else { Locks::One });
    let server = listen(args.port)
        .and_then(|at| Server::start(at, args.patience, site.handlers(args.threads, false)))
        .with_context(|| format!("cannot serve at 127.0.0.1:{}", args.port))?;
    println!("http://{}/800000", server.address());
    println!("Ctrl-D stops it gracefully.");
    // A request that stops the server was refused: then any program on this machine could do it.
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot read standard input")?;
    let (counts, _) = server.join();
    println!("answered: {}, lost: {}", counts.answered, counts.lost);
    Ok(())
}
