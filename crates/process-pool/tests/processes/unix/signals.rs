//! What a worker inherits, or not: signals that its parent blocks or ignores, and its terminal.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use libtest_mimic::Trial;
use nix::pty::openpty;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{setsid, ttyname};
use process_pool::{Death, Ended, Error, Failed, Pool, Process, Task, TaskOptions};
use serde::{Deserialize, Serialize};

use super::harness::{trial, until};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_parent_that_blocks_all_signals_ends_its_workers", blocked),
        trial("a_parent_started_with_signals_ignored_ends_its_workers", ignored),
        trial("what_nohup_ignores_workers_ignore_too", nohup),
        trial("a_signal_of_a_thread_that_blocks_it_stays_blocked_there", mask_stays),
        trial("a_worker_that_prints_to_a_terminal_with_tostop_goes_on", tostop),
    ]
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub enum Ask {
    /// What the system says of the signals of all threads of the worker.
    Signals,
    /// And of a program that the worker starts.
    SignalsOfProgram,
    Print,
    ReadTerminal,
    Hang,
}

impl Task for Ask {
    type Output = Vec<String>;

    fn run(self) -> Result<Vec<String>, Failed> {
        Ok(match self {
            Self::Signals => thread::scope(|scope| {
                let (run, runs) = std::sync::mpsc::channel::<()>();
                scope.spawn(move || runs.recv());
                let threads = fs::read_dir("/proc/self/task")?;
                let lines = threads
                    .map(|thread| fs::read_to_string(thread?.path().join("status")))
                    .collect::<Result<Vec<_>, _>>()?;
                drop(run);
                assert!(lines.len() >= 3, "the worker's two, and one of its task");
                io::Result::Ok(lines)
            })?,
            Self::SignalsOfProgram => {
                let cat = Command::new("cat").arg("/proc/self/status").output()?;
                vec![String::from_utf8(cat.stdout)?]
            }
            Self::Print => {
                println!("a line");
                eprintln!("another");
                Vec::new()
            }
            Self::ReadTerminal => {
                let read = File::open("/dev/tty")?.read(&mut [0]);
                vec![read.unwrap_err().to_string()]
            }
            Self::Hang => loop {
                thread::park();
            },
        })
    }
}

/// As a program of its own: what is left when all that it inherited was put right.
pub fn a_parent_with_signals(ignored: &[Signal]) -> ! {
    let kept = [Signal::SIGTTIN, Signal::SIGTTOU].iter().chain(ignored);
    let kept: u64 = kept.map(|&signal| bit(signal)).sum();
    let pool = Pool::<Ask>::new(1).unwrap();
    for ask in [Ask::Signals, Ask::SignalsOfProgram] {
        let mut kept = kept;
        if matches!(ask, Ask::Signals) {
            // As Rust's runtime has it.
            kept += bit(Signal::SIGPIPE);
        }
        until("no thread blocks a signal, once it has started", || {
            let threads = pool.submit(ask).result().unwrap();
            assert!(threads.iter().all(|status| field(status, "SigIgn:") == kept));
            threads.iter().all(|status| field(status, "SigBlk:") == 0)
        });
    }
    pool.shutdown();
    workers_end();
    process::exit(42);
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as u32 - 1)
}

fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    // The C library keeps signals 32 and 33 to itself: nobody can change what becomes of them.
    u64::from_str_radix(value.trim(), 16).unwrap() & !(0b11 << 31)
}

/// Before a worker is ready, and when it runs.
fn workers_end() {
    let told =
        [(Process::terminate as fn(&Process<Ask>), "SIGTERM"), (Process::interrupt, "SIGINT")];
    for (end, name) in told {
        for wait in [Duration::ZERO, Duration::from_millis(20)] {
            let mut process = Process::spawn(Ask::Hang).unwrap();
            assert!(!process.join_timeout(wait));
            end(&process);
            assert!(process.join_timeout(Duration::from_secs(20)), "{name} is lost");
            match process.join().unwrap_err() {
                Error::Died(Death { ended: Ended::Killed { signal, .. }, .. }) => {
                    assert_eq!(signal, name);
                }
                other => panic!("{other}"),
            }
        }
    }
    for busy in [false, true] {
        let pool = Pool::builder().workers(2).grace(Duration::from_secs(60)).build().unwrap();
        let future = busy.then(|| pool.submit(Ask::Hang));
        let begun = Instant::now();
        drop(pool);
        assert!(begun.elapsed() < Duration::from_secs(30), "it lasts its whole grace");
        assert!(future.is_none_or(|future| matches!(future.result(), Err(Error::Cancelled))));
    }
}

fn blocked() {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    workers_end();
    before.unwrap().thread_set_mask().unwrap();
}

/// The shell ignores them, and so does what it starts, until that says otherwise.
fn started_ignoring(signals: &str, role: &str) -> Command {
    let mut parent = Command::new("sh");
    parent
        .args(["-c", &format!("trap '' {signals}; exec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap())
        .arg(role);
    parent
}

#[cfg(target_os = "linux")]
fn ignored() {
    let signals = "INT TERM QUIT ALRM CHLD USR1 USR2 TSTP TTIN TTOU";
    let status = started_ignoring(signals, "a-parent-with-signals").status().unwrap();
    assert_eq!(status.code(), Some(42));
}

#[cfg(not(target_os = "linux"))]
fn ignored() {}

#[cfg(target_os = "linux")]
fn nohup() {
    let status = started_ignoring("INT HUP", "a-parent-with-nohup").status().unwrap();
    assert_eq!(status.code(), Some(42));
}

#[cfg(not(target_os = "linux"))]
fn nohup() {}

fn mask_stays() {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGUSR1);
    let before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
    Process::spawn(Ask::Print).unwrap().join().unwrap();
    let after = SigSet::thread_get_mask().unwrap();
    before.thread_set_mask().unwrap();
    mask.extend(before.iter());
    assert_eq!(after, mask);
}

/// As a program of its own, whose terminal stops whoever prints in the background.
pub fn a_parent_on_a_terminal() -> ! {
    setsid().unwrap();
    let name = ttyname(io::stdin()).unwrap();
    // The first one that is opened by the leader of a session is its terminal.
    let terminal = File::options().read(true).write(true).open(name).unwrap();
    let mut settings = tcgetattr(&terminal).unwrap();
    settings.local_flags |= LocalFlags::TOSTOP;
    tcsetattr(&terminal, SetArg::TCSANOW, &settings).unwrap();

    let pool = Pool::new(1).unwrap();
    let limit = Some(Duration::from_secs(20));
    let options = TaskOptions { time_out: limit, ..TaskOptions::default() };
    pool.submit_with(Ask::Print, options).result().unwrap();
    let refused = pool.submit_with(Ask::ReadTerminal, options).result().unwrap();
    assert_eq!(refused, [io::Error::from(nix::errno::Errno::EIO).to_string()]);
    let mut process = Process::spawn(Ask::Print).unwrap();
    if !process.join_timeout(Duration::from_secs(20)) {
        panic!("the process is stopped");
    }
    process.join().unwrap();
    pool.shutdown();
    println!("the end");
    io::stdout().flush().unwrap();
    process::exit(42);
}

fn tostop() {
    let terminal = match openpty(None, None) {
        Ok(terminal) => terminal,
        Err(error) => return eprintln!("not tested: there is no pseudo-terminal: {error}"),
    };
    let slave = || Stdio::from(terminal.slave.try_clone().unwrap());
    let mut parent = Command::new(env::current_exe().unwrap())
        .arg("a-parent-on-a-terminal")
        .stdin(slave())
        .stdout(slave())
        .stderr(slave())
        .spawn()
        .unwrap();
    drop(terminal.slave);
    let mut screen = Vec::new();
    // The end is an error, when nobody has the terminal open any more.
    let _ = File::from(terminal.master).read_to_end(&mut screen);
    let screen = String::from_utf8(screen).unwrap();
    assert_eq!(parent.wait().unwrap().code(), Some(42), "{screen}");
    let lines: Vec<_> = screen.lines().collect();
    assert_eq!(lines, ["a line", "another", "a line", "another", "the end"]);
}
