//! Clients that ask a server, check every answer, and take its time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use httparse::Status;
use tasks::cpu::formula;

use crate::server::STACK;
use crate::site::DEADLINE;

/// A client with one connection, which it keeps.
pub struct Client {
    stream: TcpStream,
    /// The path of its requests, and the answer to it.
    below: u64,
    received: Vec<u8>,
}

impl Client {
    /// Connects; will ask for the sum of the squares below `below`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(server: SocketAddr, below: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self { stream, below, received: Vec::new() })
    }

    /// Sends a request, and does not wait for the answer.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn ask(&mut self) -> io::Result<()> {
        let request = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", self.below);
        self.stream.write_all(request.as_bytes())
    }

    /// Waits for the answer to a request. Returns whether it is right.
    ///
    /// # Errors
    /// When the connection ends first, and when no answer comes in time.
    pub fn answer(&mut self) -> Result<bool> {
        let mut bytes = [0; 1 << 10];
        loop {
            if let Some((ok, text, length)) = whole_answer(&self.received)? {
                let sum = formula::sum_of_squares_below(self.below);
                let right = ok && text == format!("{sum}\n").as_bytes();
                self.received.drain(..length);
                return Ok(right);
            }
            match self.stream.read(&mut bytes) {
                // A read with a time-out is interrupted when the program goes on after Ctrl-Z.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => {
                    let read = read.context("no answer")?;
                    ensure!(read > 0, "the server closed a connection without an answer");
                    self.received.extend(&bytes[..read]);
                }
            }
        }
    }

    /// Waits until the server closes the connection. Returns whether it did so without a word.
    pub fn is_closed(&mut self) -> bool {
        self.stream.read_to_end(&mut Vec::new()).is_ok_and(|read| read == 0)
    }
}

/// Whether the status is 200, the text, and the length of all; nothing if it is not whole yet.
fn whole_answer(received: &[u8]) -> Result<Option<(bool, &[u8], usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let Status::Complete(start) = head.parse(received).context("the answer is no HTTP")? else {
        return Ok(None);
    };
    let length = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|h| std::str::from_utf8(h.value).ok()?.parse::<usize>().ok());
    let end = start + length.context("the answer has no length")?;
    Ok(received.get(start..end).map(|text| (head.code == Some(200), text, end)))
}

/// What came of a load.
pub struct Load {
    /// Answers that were right.
    pub right: usize,
    wall: Duration,
    /// From the request to its answer; sorted.
    latencies: Vec<Duration>,
}

impl Load {
    /// Answers per second.
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64()
    }

    /// So many percent of the answers took no longer than this (the nearest rank).
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100);
        self.latencies[rank.max(1) - 1]
    }
}

/// Each client asks `each` times, one request after another, all clients at once.
///
/// # Errors
/// When an answer does not come.
pub fn run(clients: &mut [Client], each: usize) -> Result<Load> {
    let start = Instant::now();
    let asked = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                let ask = move || (0..each).map(|_| timed(client)).collect::<Result<Vec<_>>>();
                let thread = thread::Builder::new().stack_size(STACK);
                cli::room_for_a_thread().and_then(|()| thread.spawn_scoped(scope, ask))
            })
            .collect();
        let answers = threads
            .into_iter()
            .map(|thread| thread.context("no thread for a client")?.join().expect(NO_PANIC));
        answers.collect::<Result<Vec<_>>>()
    })?;
    let wall = start.elapsed();
    let right = asked.iter().flatten().filter(|(right, _)| *right).count();
    let mut latencies: Vec<_> = asked.into_iter().flatten().map(|(_, time)| time).collect();
    latencies.sort_unstable();
    Ok(Load { right, wall, latencies })
}

fn timed(client: &mut Client) -> Result<(bool, Duration)> {
    let start = Instant::now();
    client.ask().context("cannot ask")?;
    Ok((client.answer()?, start.elapsed()))
}

const NO_PANIC: &str = "an answer that is wrong is counted";

/// Whether nobody listens there any more.
pub fn is_refused(server: SocketAddr) -> bool {
    TcpStream::connect(server).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
