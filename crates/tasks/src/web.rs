//! The local web server of the I/O task: answers after a delay, and counts.
//!
//! Its delays are timers of one thread, not sleeping threads: any number of requests waits at
//! once, and waiting costs no processor time.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::{runtime, time};

/// What the server answers at `/`.
pub const TEXT: &str = "This page took its time. It says the same to everyone who asks.\n";

/// A web server on a free port of this machine. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that answers a GET of `/` with [`TEXT`] after `delay`, and anything else
    /// with 404 at once. It can be asked as soon as this returns.
    pub fn start(delay: Duration) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<Notify>::default());
        let thread = thread::Builder::new().name("web server".into()).spawn({
            let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
            move || {
                runtime.spawn(accept(listener, delay, counts));
                // The runtime is dropped then, and every connection with it. A graceful end
                // would wait for clients that keep theirs open.
                runtime.block_on(stop.notified());
            }
        })?;
        Ok(Self { address, counts, stop, thread: Some(thread) })
    }

    /// The page that can be asked for: `http://127.0.0.1:PORT/`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many requests were answered. An answer that has arrived is counted.
    pub fn requests(&self) -> usize {
        self.counts.answered.load(Relaxed)
    }

    /// The greatest number of requests that were in progress at once.
    pub fn peak(&self) -> usize {
        self.counts.peak.load(Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the runtime catches the panics of its tasks");
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicUsize,
    in_progress: AtomicUsize,
    peak: AtomicUsize,
}

/// A request in progress. Dropped early when its client goes away.
struct InProgress<'a>(&'a Counts);

impl<'a> InProgress<'a> {
    fn enter(counts: &'a Counts) -> Self {
        let others = counts.in_progress.fetch_add(1, Relaxed);
        counts.peak.fetch_max(others + 1, Relaxed);
        Self(counts)
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Relaxed);
    }
}

async fn accept(listener: TcpListener, delay: Duration, counts: Arc<Counts>) {
    /// `accept` fails at once, again and again, while descriptors are short.
    const PAUSE: Duration = Duration::from_millis(10);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, delay, Arc::clone(&counts)));
            }
            Err(_) => time::sleep(PAUSE).await,
        }
    }
}

/// Serves one connection to its end. It fails when the client goes away in the middle, which is
/// the client's affair.
async fn serve(stream: TcpStream, delay: Duration, counts: Arc<Counts>) {
    // Without it each answer on a kept connection waits some 40 ms for the acknowledgement of
    // the one before, and the lesson measures that.
    stream.set_nodelay(true).ok();
    let answer = service_fn(|request| answer(request, delay, &counts));
    http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
}

async fn answer(
    request: Request<Incoming>,
    delay: Duration,
    counts: &Counts,
) -> Result<Response<String>, Infallible> {
    let _in_progress = InProgress::enter(counts);
    let mut response = Response::default();
    if request.method() == Method::GET && request.uri().path() == "/" {
        time::sleep(delay).await;
        *response.body_mut() = TEXT.into();
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    counts.answered.fetch_add(1, Relaxed);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Instant;

    use super::*;
    use crate::fetch::{self, TimeOuts};

    /// Long enough that no request ends by itself while a test runs.
    const FOR_EVER: Duration = Duration::from_secs(3600);

    /// A connection that has sent a request and is kept open.
    fn ask(server: &Server, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
        stream
    }

    /// Reads one answer.
    fn answer(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(TEXT.as_bytes()) {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < deadline, "30 s have passed");
            thread::yield_now();
        }
    }

    #[test]
    fn an_answer_takes_the_delay() {
        let delay = Duration::from_millis(50);
        let server = Server::start(delay).unwrap();
        let start = Instant::now();
        let length = fetch::get(&server.url(), TimeOuts::default()).unwrap();
        assert!(start.elapsed() >= delay);
        assert_eq!(length, TEXT.len());
    }

    #[test]
    fn requests_one_after_another_are_one_at_once() {
        let server = Server::start(Duration::ZERO).unwrap();
        let mut kept = ask(&server, "/");
        assert!(answer(&mut kept).starts_with("HTTP/1.1 200 OK\r\n"));
        for answered in 2..=10 {
            fetch::get(&server.url(), TimeOuts::default()).unwrap();
            assert_eq!((server.requests(), server.peak()), (answered, 1));
        }
    }

    #[test]
    fn anything_but_the_page_is_not_found_at_once() {
        let server = Server::start(FOR_EVER).unwrap();
        for request in ["GET /other", "POST /"] {
            let mut stream = TcpStream::connect(server.address).unwrap();
            write!(stream, "{request} HTTP/1.1\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        }
        assert_eq!(server.requests(), 2);
    }

    #[test]
    fn many_requests_wait_at_once() {
        let server = Server::start(FOR_EVER).unwrap();
        let clients: Vec<_> = (0..100).map(|_| ask(&server, "/")).collect();
        wait_until(|| server.peak() == clients.len());
        assert_eq!(server.requests(), 0);
    }

    #[test]
    fn a_client_that_goes_away_is_no_longer_in_progress() {
        let server = Server::start(FOR_EVER).unwrap();
        let in_progress = || server.counts.in_progress.load(Relaxed);
        let client = ask(&server, "/");
        wait_until(|| in_progress() == 1);
        drop(client);
        wait_until(|| in_progress() == 0);
        assert_eq!((server.requests(), server.peak()), (0, 1));
    }

    #[test]
    fn the_end_of_the_server_is_the_end_of_its_connections() {
        let server = Server::start(Duration::ZERO).unwrap();
        let mut idle = ask(&server, "/");
        answer(&mut idle);
        drop(server);
        assert_eq!(idle.read(&mut [0]).unwrap(), 0, "closed by the server");
    }

    #[test]
    fn a_server_ends_in_the_middle_of_a_request() {
        let server = Server::start(FOR_EVER).unwrap();
        let mut client = ask(&server, "/");
        wait_until(|| server.peak() == 1);
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed without an answer");
    }
}
