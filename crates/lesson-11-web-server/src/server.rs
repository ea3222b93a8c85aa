//! One thread waits for all connections; N threads answer.
//!
//! A connection that is kept and says nothing costs no thread, and neither does a client that
//! sends its request byte by byte: only a whole request is handed to a thread. The refused
//! alternative, a thread for each connection, lets N silent clients stop a server of N threads.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use httparse::Status;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

/// The longest head of a request, in bytes, give or take one read.
pub const LONGEST_HEAD: usize = 8 << 10;
/// The most connections at once. One more is closed before it has said anything.
pub const MOST_CONNECTIONS: usize = 500;

/// What a client that broke a rule may still send, so that it reads why: a socket that is closed
/// with bytes unread resets the connection, and the answer is lost.
const STILL_READ: usize = 64 << 10;

/// Of each thread here and of the clients. The usual 2 MiB are addresses only, but hundreds of
/// threads run out of those where memory is limited.
pub const STACK: usize = 256 << 10;

/// A web server. Dropping it stops it, and waits for the requests under way.
pub struct Server {
    address: SocketAddr,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Requests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Received whole, and not answered yet.
    pub under_way: usize,
    /// Answered: the answer was written whole.
    pub answered: usize,
    /// Their clients went away, or do not read what they asked for.
    pub lost: usize,
    /// Connections that were taken.
    pub connections: usize,
    /// Why the system gives no more of them, by the number of the error: too many open files, say.
    pub refused: Option<i32>,
}

impl Server {
    /// Serves with a thread for each handler, which turns the path of a GET into the text of the
    /// answer, or into nothing: 404. A client has `patience` for a whole request, from its
    /// connection or from its last answer on; then its connection is closed.
    ///
    /// # Errors
    /// When the operating system has no more threads or descriptors.
    pub fn start<Handler>(
        listener: net::TcpListener,
        patience: Duration,
        handlers: impl IntoIterator<Item = Handler>,
    ) -> io::Result<Self>
    where
        Handler: FnMut(&str) -> Option<String> + Send + 'static,
    {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let shared = Arc::<Shared>::default();
        let ((work, requests), (give_back, back)) = (unbounded(), unbounded());
        let idle = HashMap::new();
        let reception = Reception {
            poll,
            patience,
            idle,
            work,
            back,
            shared: Arc::clone(&shared),
            last: 1,
        };

        // From here on a failure drops the server, which ends the threads that it has.
        let mut server = Self { address, waker, shared, threads: Vec::new() };
        server.thread("reception", move || reception.run(listener))?;
        for handler in handlers {
            let (shared, waker) = (Arc::clone(&server.shared), Arc::clone(&server.waker));
            let (requests, give_back) = (requests.clone(), give_back.clone());
            let worker = move || worker(handler, &requests, &give_back, &waker, &shared);
            server.thread("worker", worker)?;
        }
        Ok(server)
    }

    fn thread(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        cli::room_for_a_thread()?;
        let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
        self.threads.push(thread.spawn(run)?);
        Ok(())
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts()
    }

    /// Waits until the counts are so, at most so long. Returns the counts then.
    pub fn wait_until(&self, so: impl Fn(&Counts) -> bool, most: Duration) -> Counts {
        let counts = self.shared.counts();
        let waited = self.shared.changed.wait_timeout_while(counts, most, |counts| !so(counts));
        *waited.expect(NO_PANIC).0
    }

    /// Stops gracefully, and does not wait for it: no more connections, no more requests, idle
    /// connections are closed, and what was received is answered. A request that arrives just
    /// as its connection is closed was not received: the client sees that, and asks elsewhere.
    pub fn stop(&self) {
        self.shared.stopping.store(true, SeqCst);
        // It fails only when the reception is gone, and has nothing left to stop.
        let _ = self.waker.wake();
    }

    /// Stops gracefully and waits until all its threads have ended; returns their number too.
    pub fn join(mut self) -> (Counts, usize) {
        self.stop();
        let threads = self.threads.drain(..).map(JoinHandle::join);
        let ended = threads.filter(Result::is_ok).count();
        (self.counts(), ended)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            // Whoever drops a server does not ask what became of it.
            let _ = thread.join();
        }
    }
}

/// A listener on this machine only, on a free port for port 0.
///
/// # Errors
/// When another program has the port.
pub fn listen(port: u16) -> io::Result<net::TcpListener> {
    net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// Keeps a free port for the listeners [beside](listen_beside) it: no other program gets it as
/// long as this lives. It does not listen itself, and gets no connection.
pub struct Port(socket2::Socket);

impl Port {
    /// # Errors
    /// On systems that do not share ports in this way.
    pub fn keep() -> io::Result<Self> {
        share((Ipv4Addr::LOCALHOST, 0).into()).map(Self)
    }

    /// Where the listeners beside it are asked.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()?.as_socket().ok_or_else(|| ErrorKind::Unsupported.into())
    }
}

/// One of several listeners at one address, in this process or in others: the operating system
/// deals the connections out.
///
/// # Errors
/// When another user's program has the port, and on systems that do not share ports.
pub fn listen_beside(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = share(address)?;
    socket.listen(1024)?;
    Ok(socket.into())
}

#[cfg(unix)]
fn share(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Elsewhere a second socket at an address steals it, and does not share it.
#[cfg(not(unix))]
fn share(_: SocketAddr) -> io::Result<socket2::Socket> {
    Err(io::Error::new(ErrorKind::Unsupported, "this system does not share a port"))
}

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const NO_PANIC: &str = "nothing panics while it counts";

#[derive(Default)]
struct Shared {
    counts: Mutex<Counts>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect(NO_PANIC)
    }

    fn connected(&self) {
        self.counts().connections += 1;
        self.changed.notify_all();
    }

    /// A connection was not taken: there is none, or its client is gone, or the error lasts.
    fn refused(&self, error: &io::Error) {
        if !matches!(
            error.kind(),
            ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
        ) {
            self.counts().refused = error.raw_os_error();
            self.changed.notify_all();
        }
    }

    fn received(&self) {
        self.counts().under_way += 1;
        self.changed.notify_all();
    }

    fn done(&self, answered: bool) {
        let mut counts = self.counts();
        counts.under_way -= 1;
        *if answered { &mut counts.answered } else { &mut counts.lost } += 1;
        self.changed.notify_all();
    }
}

/// The thread that waits: for connections, for requests on them, for connections that come back
/// from the workers, and for the word to stop.
struct Reception {
    poll: Poll,
    patience: Duration,
    /// Connections without a whole request.
    idle: HashMap<Token, Connection>,
    work: Sender<(Connection, Request)>,
    back: Receiver<Connection>,
    shared: Arc<Shared>,
    /// The last token given out; none is used twice.
    last: usize,
}

impl Reception {
    fn run(mut self, listener: TcpListener) {
        let mut events = Events::with_capacity(256);
        while !self.shared.stopping.load(SeqCst) {
            match self.poll.poll(&mut events, Some(self.patience)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.expect("it is called with what it made itself"),
            }
            for token in events.iter().map(|event| event.token()) {
                if let Some(connection) = self.idle.remove(&token) {
                    self.look_at(connection);
                }
            }
            // Not only when the listener has an event: after an accept that failed there is none.
            self.take_in(&listener);
            let now = Instant::now();
            self.idle.retain(|_, client| now - client.since < self.patience);
        }
        // A last look: what has arrived is under way too.
        self.take_in(&listener);
        drop(listener);
        for (_, connection) in std::mem::take(&mut self.idle) {
            self.look_at(connection);
        }
        // Here the idle connections are closed, and the workers' queue ends behind its last entry.
    }

    /// The connections that come back, and the new ones. An error other than "none waits" lasts,
    /// such as too many open files: the next turn tries again.
    fn take_in(&mut self, listener: &TcpListener) {
        while let Ok(connection) = self.back.try_recv() {
            self.look_at(connection);
        }
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => return self.shared.refused(&error),
            };
            let open = self.idle.len() + self.shared.counts().under_way;
            self.last += 1;
            let token = Token(self.last);
            let registered =
                self.poll.registry().register(&mut stream, token, Interest::READABLE);
            // Without it each answer on a kept connection may wait some 40 ms for the
            // acknowledgement of the one before.
            let quick = stream.set_nodelay(true);
            if open < MOST_CONNECTIONS && registered.and(quick).is_ok() {
                self.look_at(Connection::new(token, stream));
            }
            self.shared.connected();
        }
    }

    /// Hands a whole request to the workers. Its connection stays registered, and what arrives
    /// meanwhile is seen by the look at it when it comes back.
    fn look_at(&mut self, mut connection: Connection) {
        match connection.next_request() {
            Ok(Some(request)) => {
                self.shared.received();
                let sent = self.work.send((connection, request));
                sent.expect("workers wait until the reception has ended");
            }
            Ok(None) => {
                self.idle.insert(connection.token, connection);
            }
            // The client is gone, which is its own affair.
            Err(_) => {}
        }
    }
}

fn worker(
    mut handler: impl FnMut(&str) -> Option<String>,
    requests: &Receiver<(Connection, Request)>,
    give_back: &Sender<Connection>,
    waker: &Waker,
    shared: &Shared,
) {
    for (mut connection, request) in requests {
        let (status, text) = match handler(&request.path) {
            Some(text) => ("200 OK", text),
            None => ("404 Not Found", "no such page\n".into()),
        };
        let close = request.close || shared.stopping.load(SeqCst);
        let written = connection.answer(status, &text, close).is_ok();
        shared.done(written);
        if written && !close {
            connection.since = Instant::now();
            // Both fail when the reception has ended: then the connection is closed here.
            let _ = give_back.send(connection);
            let _ = waker.wake();
        }
    }
}

struct Connection {
    token: Token,
    stream: TcpStream,
    /// Less than a whole request, or the beginning of those behind it.
    received: Vec<u8>,
    /// When it was accepted, or answered last.
    since: Instant,
    /// After a refusal: what the client may send until it is cut off, in bytes.
    still_read: Option<usize>,
}

impl Connection {
    fn new(token: Token, stream: TcpStream) -> Self {
        let (received, since) = (Vec::new(), Instant::now());
        Self { token, stream, received, since, still_read: None }
    }

    /// The next request, if it has arrived whole. Never waits.
    fn next_request(&mut self) -> io::Result<Option<Request>> {
        let mut bytes = [0; 4 << 10];
        loop {
            if self.still_read.is_none() {
                match parse(&self.received) {
                    Ok(Some((request, length))) => {
                        self.received.drain(..length);
                        return Ok(Some(request));
                    }
                    Ok(None) => {}
                    Err(status) => self.refuse(status)?,
                }
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => match &mut self.still_read {
                    None => self.received.extend(&bytes[..read]),
                    Some(left) => {
                        *left = left.checked_sub(read).ok_or(ErrorKind::InvalidData)?;
                    }
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn refuse(&mut self, status: &str) -> io::Result<()> {
        self.answer(status, "", true)?;
        self.stream.shutdown(Shutdown::Write)?;
        self.still_read = Some(STILL_READ);
        Ok(())
    }

    /// Never waits: an answer is short, and a client that has left no room for it does not read.
    fn answer(&mut self, status: &str, text: &str, close: bool) -> io::Result<()> {
        let length = text.len();
        let close = if close { "connection: close\r\n" } else { "" };
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{close}\r\n{text}");
        self.stream.write_all(answer.as_bytes())
    }
}

struct Request {
    path: String,
    /// The client wants no other answer on this connection.
    close: bool,
}

/// The request at the beginning of what was received and its length; nothing if it is not whole;
/// or the status that refuses it.
fn parse(received: &[u8]) -> Result<Option<(Request, usize)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(received) {
        Ok(Status::Complete(length)) if length <= LONGEST_HEAD => length,
        Ok(Status::Partial) if received.len() < LONGEST_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err("431 Request Header Fields Too Large");
        }
        Err(_) => return Err("400 Bad Request"),
    };
    let any = |name: &str, test: fn(&[u8]) -> bool| {
        head.headers.iter().any(|h| h.name.eq_ignore_ascii_case(name) && test(h.value))
    };
    // Nobody needs a body here. One that is announced and not read would be the next request.
    if any("transfer-encoding", |_| true) || any("content-length", |length| length != b"0") {
        return Err("413 Content Too Large");
    }
    if head.method != Some("GET") {
        return Err("501 Not Implemented");
    }
    let close = head.version == Some(0)
        || any("connection", |value| value.eq_ignore_ascii_case(b"close"));
    let path = head.path.unwrap_or_default().into();
    Ok(Some((Request { path, close }, length)))
}
