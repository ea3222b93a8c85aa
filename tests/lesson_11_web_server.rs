//! Lesson 11: what its screen promises on any machine, and what its server does with anybody.

mod common;
mod limits;
use common::{assert_transcript, run};

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-11-web-server");
const SERVE: &str = env!("CARGO_BIN_EXE_serve");
const SMALL: [&str; 8] =
    ["--threads", "3", "--requests", "30", "--squares", "1_000", "--processes", "2"];

#[test]
fn threads_answer_and_a_server_that_stops_loses_nothing() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn every_size_answers_right() {
    let one = ["--threads", "1", "--processes", "1", "--wait", "0ms", "--squares", "0"];
    let runs = [&SMALL[..], &one].map(|sizes| run(LESSON, &[sizes, &["--quiet"]].concat()));
    for run in &runs {
        assert_eq!(run.stderr, "", "--quiet leaves the measurements out");
    }
    assert_transcript("sizes", &runs);
}

#[test]
fn a_thread_answers_one_request_after_another() {
    let alone = ["--threads", "1", "--processes", "1", "--requests", "10", "--wait", "20ms"];
    let start = Instant::now();
    assert!(run(LESSON, &alone).status.success());
    // 11 under the GIL, 11 without, 10 in the process; then 4 and 16 requests by 8 threads.
    assert!(start.elapsed() >= Duration::from_millis(20) * (11 + 11 + 10 + 1 + 2));
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(
        LESSON,
        &["--requests", "64", "--squares", "1_000", "--quiet"],
    );
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        (2, LESSON, ["--threads", "0"]),
        (2, LESSON, ["--threads", "257"]),
        (2, LESSON, ["--processes", "0"]),
        (2, LESSON, ["--requests", "0"]),
        (2, LESSON, ["--wait", "5"]),
        (2, LESSON, ["--wait", "2s"]),
        (2, LESSON, ["--squares", "10_000_001"]),
        (2, LESSON, ["--cores", "2"]),
        (2, SERVE, ["--threads", "none"]),
        (2, SERVE, ["--port", "65536"]),
        (2, SERVE, ["--patience", "0s"]),
    ]
    .map(|(status, program, flags)| {
        let error = run(program, &flags);
        assert_eq!((error.status.code(), error.stdout.as_str()), (Some(status), ""), "{error}");
        error
    });
    assert_transcript("errors", &errors);
}

#[test]
fn a_port_that_another_program_has_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = listener.local_addr().expect("it is bound").port().to_string();
    let error = run(SERVE, &["--port", &taken]);
    assert_eq!((error.status.code(), error.stdout.as_str()), (Some(1), ""), "{error}");
    let expected = format!("Error: cannot serve at 127.0.0.1:{taken}: ");
    assert!(error.stderr.starts_with(&expected), "{error}");
    assert_eq!(error.stderr.lines().count(), 1, "{error}");
}

#[test]
fn the_server_alone_serves_until_its_input_ends() {
    assert_transcript("serve", &[run(SERVE, &["--threads", "2"])]);
}

#[test]
fn a_kept_connection_gets_one_answer_after_another() {
    let server = Served::start(&["--threads", "1"]);
    let mut client = server.client();
    for _ in 0..3 {
        client.send("GET /4 HTTP/1.1\r\n\r\n");
        assert_eq!(client.answer(), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n14\n");
    }
    assert_eq!(server.stop(), "answered: 3, lost: 0\n");
    assert_eq!(client.rest(), "", "it is closed");
}

#[test]
fn a_request_may_come_in_pieces_or_with_the_next_one() {
    let server = Served::start(&[]);
    let mut client = server.client();
    for byte in "GET /2 HTTP/1.1\r\nhost: here\r\n\r\n".split_inclusive("") {
        client.send(byte);
    }
    assert!(client.answer().ends_with("\r\n\r\n1\n"));
    client.send("GET /3 HTTP/1.1\r\n\r\nGET /4 HTTP/1.1\r\nconnection: Close\r\n\r\n");
    assert!(client.answer().ends_with("\r\n\r\n5\n"));
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n14\n";
    assert_eq!(client.rest(), last);
    let mut old = server.client();
    old.send("GET /4 HTTP/1.0\r\n\r\n");
    assert_eq!(old.rest(), last);
}

#[test]
fn a_request_that_breaks_a_rule_is_refused_by_name() {
    let server = Served::start(&[]);
    let long = format!("GET /{} HTTP/1.1\r\n", "1".repeat(60 << 10));
    let many = format!("GET /1 HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    let body = "GET /1 HTTP/1.1\r\ncontent-length: 0\r\nContent-Length: 5\r\n\r\nworld";
    for (request, status) in [
        ("what?\r\n\r\n", "400 Bad Request"),
        (&long, "431 Request Header Fields Too Large"),
        (&many, "431 Request Header Fields Too Large"),
        (body, "413 Content Too Large"),
        ("GET /1 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "413 Content Too Large"),
        ("DELETE /1 HTTP/1.1\r\n\r\n", "501 Not Implemented"),
    ] {
        let mut client = server.client();
        client.send(request);
        let refused =
            format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert_eq!(client.rest(), refused);
    }
    let mut client = server.client();
    for path in ["/", "/index.html", "/-1", "/10000001"] {
        client.send(&format!("GET {path} HTTP/1.1\r\n\r\n"));
        assert!(client.answer().starts_with("HTTP/1.1 404 Not Found\r\n"));
    }
}

#[test]
fn silent_clients_hold_no_thread_and_are_closed_in_the_end() {
    let patience = Duration::from_millis(300);
    let server = Served::start(&["--threads", "1", "--patience", "300ms"]);
    let start = Instant::now();
    let mut silent = [(); 10].map(|()| server.client());
    for slow in &mut silent[5..] {
        slow.send("GET /4 HT");
    }
    let mut client = server.client();
    client.send("GET /4 HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert!(client.rest().ends_with("\r\n\r\n14\n"));
    for mut client in silent {
        assert_eq!(client.rest(), "", "closed without an answer");
    }
    assert!(start.elapsed() >= patience);
    assert_eq!(server.stop(), "answered: 1, lost: 0\n");
}

#[test]
fn a_client_that_sends_without_end_is_cut_off() {
    let server = Served::start(&["--patience", "60s"]);
    let mut client = server.client();
    let start = Instant::now();
    while client.0.write_all(&[b'a'; 1 << 10]).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(30), "it reads for ever");
    }
    let mut next = server.client();
    next.send("GET /4 HTTP/1.1\r\n\r\n");
    assert!(next.answer().ends_with("\r\n\r\n14\n"));
}

/// As many open files as this needs are allowed there by default.
#[cfg(target_os = "linux")]
#[test]
fn one_connection_too_many_is_closed_and_the_others_stay() {
    let server = Served::start(&["--patience", "60s"]);
    let mut clients: Vec<_> = (0..501).map(|_| server.client()).collect();
    assert_eq!(clients.pop().expect("the last one").rest(), "");
    for client in &mut clients {
        client.send("GET /4 HTTP/1.1\r\n\r\n");
    }
    for client in &mut clients {
        assert!(client.answer().ends_with("\r\n\r\n14\n"));
    }
}

#[test]
fn what_is_under_way_is_answered_when_the_input_ends() {
    let server = Served::start(&["--threads", "2", "--wait", "300ms"]);
    let mut slow = server.client();
    slow.send("GET /4 HTTP/1.1\r\n\r\n");
    // Once this is answered the server has seen what came before it.
    let mut quick = server.client();
    quick.send("GET /none HTTP/1.1\r\n\r\n");
    quick.answer();
    assert_eq!(server.stop(), "answered: 2, lost: 0\n");
    assert!(slow.rest().ends_with("connection: close\r\n\r\n14\n"));
}

#[test]
fn clients_that_go_away_are_counted_and_stop_nobody() {
    let server = Served::start(&["--threads", "1", "--wait", "50ms"]);
    for _ in 0..3 {
        server.client().send("GET /4 HTTP/1.1\r\n\r\n");
    }
    let mut client = server.client();
    client.send("GET /4 HTTP/1.1\r\n\r\n");
    assert!(client.answer().ends_with("\r\n\r\n14\n"));
    let counts = server.stop();
    let numbers = counts.split(|c: char| !c.is_ascii_digit()).filter(|text| !text.is_empty());
    let all: u32 = numbers.map(|text| text.parse::<u32>().expect("digits")).sum();
    assert_eq!(all, 4, "{counts}");
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn ctrl_c_ends_the_server_at_once() {
        let mut server = Served::start(&["--wait", "1s"]);
        let mut slow = server.client();
        slow.send("GET /4 HTTP/1.1\r\n\r\n");
        let mut quick = server.client();
        quick.send("GET /none HTTP/1.1\r\n\r\n");
        quick.answer();
        let pid = server.process.id().try_into().expect("a process number");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
        assert_eq!(server.process.wait().expect("our child").code(), Some(130));
        assert_eq!(slow.rest(), "", "no answer");
    }

    #[test]
    fn a_lesson_that_is_stopped_and_continued_goes_on() {
        let mut lesson = Command::new(LESSON)
            .args(SMALL)
            .arg("--quiet")
            .stdout(Stdio::null())
            .spawn()
            .expect("cargo built it");
        let pid = Pid::from_raw(lesson.id().try_into().expect("a process number"));
        let start = Instant::now();
        let status = loop {
            assert!(start.elapsed() < Duration::from_secs(30), "it does not go on");
            // As Ctrl-Z and `fg`: a read with a time-out is interrupted by it.
            kill(pid, Signal::SIGSTOP).expect("it is our child");
            kill(pid, Signal::SIGCONT).expect("it is our child");
            if let Some(status) = lesson.try_wait().expect("our child") {
                break status;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(status.success());
    }

    /// The lesson with a `wrk` of ours, or none, in front of everything else.
    fn line_about_wrk(script: Option<&str>) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(script) = script {
            let wrk = folder.path().join("wrk");
            fs::write(&wrk, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
            fs::set_permissions(&wrk, PermissionsExt::from_mode(0o755)).expect("it is ours");
        }
        let ran = Command::new(LESSON)
            .args(SMALL)
            .env("PATH", folder.path())
            .output()
            .expect("cargo built it");
        assert!(ran.status.success());
        let stderr = String::from_utf8(ran.stderr).expect("text");
        let line = stderr.lines().find(|line| line.contains("wrk")).expect("it is measured");
        line.trim().to_owned()
    }

    #[test]
    fn wrk_asks_too_where_it_is_found() {
        let report = "
            case \"$*\" in *'--connections 3 http://127.0.0.1:'*/1000) ;; *) exit 9;; esac
            echo '    50%    5.53ms'; echo '    99%   11.02ms'; echo 'Requests/sec:    541.17'";
        assert_eq!(
            line_about_wrk(Some(report)),
            "wrk, 3 threads, no lock: 541.17 requests/s, p50 5.53ms, p99 11.02ms"
        );
        let none = line_about_wrk(None);
        assert_eq!(none, "wrk, 3 threads, no lock: not found, left out");
        let broken = line_about_wrk(Some("echo 'unable to connect' >&2; exit 1"));
        assert_eq!(broken, "wrk, 3 threads, no lock: exit status: 1, and no figures");
    }
}

/// The server, as a program; killed when a test fails.
struct Served {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// One connection. Nobody waits for the server longer than a test may take.
struct Client(TcpStream);

impl Served {
    fn start(flags: &[&str]) -> Self {
        let mut process = Command::new(SERVE)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo built it");
        let stdin = process.stdin.take();
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let address = line.trim_start_matches("http://").split('/').next();
        let address = address.and_then(|text| text.parse().ok()).expect("an address");
        stdout.read_line(&mut line).expect("text");
        Self { process, stdin, stdout, address }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("more than nothing");
        Client(stream)
    }

    /// Ends its input, and returns what it says then.
    fn stop(mut self) -> String {
        drop(self.stdin.take());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).expect("text");
        assert!(self.process.wait().expect("our child").success());
        said
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Client {
    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the server reads");
    }

    /// One answer whose text is one line.
    fn answer(&mut self) -> String {
        let mut answer = String::new();
        let mut byte = [0];
        while !(answer.contains("\r\n\r\n")
            && answer.ends_with('\n')
            && !answer.ends_with("\r\n"))
        {
            self.0.read_exact(&mut byte).expect("an answer in time");
            answer.push(byte[0].into());
        }
        answer
    }

    /// All until the server closes the connection.
    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).expect("the end in time");
        rest
    }
}
