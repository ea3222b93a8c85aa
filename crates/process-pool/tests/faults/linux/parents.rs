//! A parent that is gone: its workers end within two seconds, whatever they do.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, io, process, thread};

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, close, setsid};
use process_pool::{Error, Pool, Process};

use super::harness::{orphans_end, trial, until};
use super::work::{Act, Work, act, go, memory, pool};

const PROGRAM: &str = "a-parent";
const TWO_SECONDS: Duration = Duration::from_secs(2);

/// What this program is when it is started as a parent: it never returns then.
pub fn main() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some(PROGRAM) {
        return;
    }
    let what = arguments.next().unwrap();
    let act_of_workers = match what.as_str() {
        "spin" | "fork" => Act::Spin,
        "park" => Act::Park,
        "stop" => Act::Stop,
        "nest" => Act::Nest,
        "clog" => Act::Clog,
        "send" => sends(),
        "receive" => receives(),
        "exit" => exits(),
        "bare" => bare(),
        "rest" => rest(),
        "replaced" => replaced(),
        "removed" => removed(),
        "few" => few(),
        "deaf" => deaf(),
        other => panic!("{other} is no parent"),
    };
    // As a program that was started from a terminal whose shell is gone with it: only then does
    // the kernel wake who is stopped and has nobody left to wake it.
    setsid().unwrap();
    let (seen, pool) = two_workers();
    let hangs = [0, 1].map(|n| pool.submit(act(10 * n, act_of_workers.clone())));
    let more = if matches!(act_of_workers, Act::Nest) { 2 } else { 0 };
    until("all run", || {
        [0, 10].iter().all(|&n| (0..=more).all(|inner| seen.get(n + inner) == 1))
    });
    if matches!(act_of_workers, Act::Stop) {
        // The kernel wakes who is stopped when this process ends, and not who stops after that.
        let pids: Vec<_> = pool.metrics().workers.iter().filter_map(|w| w.pid).collect();
        until("all are stopped", || pids.iter().copied().all(is_stopped));
    }
    if what == "fork" {
        println!("{}", super::forks::hold_on());
    }
    ready();
    hangs.into_iter().for_each(|future| drop(future.result()));
    wait_for_ever()
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().is_some_and(|fields| fields.starts_with(" T"))
}

fn two_workers() -> (ipc::SharedSlice<u64>, Pool<Work>) {
    let seen = memory();
    let pool = pool(&seen).workers(2).build().unwrap();
    (seen, pool)
}

fn ready() {
    println!("ready");
    io::stdout().flush().unwrap();
}

fn wait_for_ever() -> ! {
    loop {
        thread::park();
    }
}

/// Stopped, so that nobody reads what its workers send.
fn receives() -> ! {
    let (seen, pool) = two_workers();
    let held = [0, 1].map(|n| pool.submit(act(n, Act::Hold)));
    let _outputs = [2, 3].map(|n| pool.submit(act(n, Act::Output(64 << 20))));
    until("both run", || seen.get(0) + seen.get(1) == 2);
    ready();
    go(&seen);
    held.into_iter().for_each(|future| drop(future.result()));
    raise(Signal::SIGSTOP).unwrap();
    wait_for_ever()
}

/// Sends 64 MiB all the time.
fn sends() -> ! {
    let pool = Pool::new(2).unwrap();
    ready();
    loop {
        let bytes = || super::work::Bulk::Bytes(vec![0; 64 << 20]);
        let futures = [0; 2].map(|_| pool.submit(bytes()));
        futures.into_iter().for_each(|future| drop(future.result()));
    }
}

/// Its workers have ended for want of work, and started again for some.
fn rest() -> ! {
    let seen = memory();
    let pool = pool(&seen).workers(3).idle_timeout(Duration::from_millis(10)).build().unwrap();
    let some = |wanted| {
        until("so many are there", || {
            let workers = pool.metrics().workers;
            workers.iter().filter(|worker| worker.pid.is_some()).count() == wanted
        });
    };
    some(0);
    let _futures = [0, 1].map(|n| pool.submit(act(n, Act::Spin)));
    some(2);
    until("both run", || seen.get(0) + seen.get(1) == 2);
    ready();
    wait_for_ever()
}

/// Ends by itself with a pool at work.
fn exits() -> ! {
    let (seen, pool) = two_workers();
    let _futures = [0, 1].map(|n| pool.submit(act(n, Act::Spin)));
    until("both run", || seen.get(0) + seen.get(1) == 2);
    ready();
    process::exit(0);
}

/// Has no standard streams, and so has none to give.
fn bare() -> ! {
    for stream in 0..3 {
        close(stream).unwrap();
    }
    let (_, pool) = two_workers();
    let outcomes = (0..20).map(|n| {
        let faults = [Act::Count, Act::Print, Act::Abort, Act::Log(3)];
        pool.submit(act(n, faults[usize::try_from(n).unwrap() % 4].clone()))
    });
    let outcomes: Vec<_> = outcomes.collect();
    let well = outcomes.into_iter().filter(|future| future.error().is_none()).count();
    pool.shutdown();
    process::exit(if well == 15 { 42 } else { 1 });
}

/// Another program takes the place of its file, as with every update.
fn replaced() -> ! {
    let (_, pool) = two_workers();
    let other = env::temp_dir().join("another-program");
    std::fs::write(&other, "no program at all").unwrap();
    std::fs::rename(other, env::current_exe().unwrap()).unwrap();
    assert!(matches!(pool.submit(act(0, Act::Abort)).result(), Err(Error::Died(_))));
    assert!(pool.submit(act(1, Act::Count)).result().is_ok());
    pool.resize(4).unwrap();
    pool.shutdown();
    process::exit(42);
}

/// Its file is gone, and another program has the name that Linux shows for such a file.
fn removed() -> ! {
    let program = env::current_exe().unwrap();
    let mut shown = program.clone().into_os_string();
    shown.push(" (deleted)");
    std::fs::rename(env::args_os().nth(3).unwrap(), &shown).unwrap();
    // First as it is, then without a file, then with another one in its place.
    for step in 0..3 {
        match step {
            0 => {}
            1 => std::fs::remove_file(&program).unwrap(),
            _ => std::fs::rename(&shown, &program).unwrap(),
        }
        let (_, pool) = two_workers();
        assert!(pool.submit(act(1, Act::Count)).result().is_ok());
        for worker in pool.metrics().workers {
            let [ours, theirs] = [process::id(), worker.pid.unwrap()].map(name_and_program);
            assert_eq!(theirs, ours);
        }
        pool.shutdown();
        Process::spawn(act(0, Act::Abort)).unwrap().join().unwrap_err();
    }
    process::exit(42);
}

/// What lists of processes show.
fn name_and_program(pid: u32) -> [String; 2] {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    [read("comm"), read("cmdline").split('\0').next().unwrap().to_owned()]
}

/// Has descriptors for its workers and no more: none can be replaced while others are used up.
fn few() -> ! {
    let (seen, pool) = two_workers();
    let held = pool.submit(act(0, Act::Hold));
    until("it runs", || seen.get(0) == 1);
    let mut used = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        used.push(file);
    }
    let dies = pool.submit(act(1, Act::Abort));
    let died = matches!(dies.result(), Err(Error::Died(_)));
    let broken = match held.result() {
        Err(Error::Broken(cause)) => matches!(&*cause, Error::Start(_)),
        _ => false,
    };
    let refused = matches!(pool.submit(act(2, Act::Count)).result(), Err(Error::Broken(_)));
    pool.shutdown();
    process::exit(if died && broken && refused { 42 } else { 1 });
}

/// Ignores its children, whose ends nobody can tell then.
fn deaf() -> ! {
    let (_, pool) = two_workers();
    let error = pool.submit(act(0, Act::Abort)).result().unwrap_err();
    assert!(pool.submit(act(1, Act::Count)).result().is_ok());
    pool.shutdown();
    let told = error.to_string() == "worker ended, and nobody knows how";
    process::exit(if told { 42 } else { 1 });
}

fn start(what: &str, before: &str) -> (Child, BufReader<ChildStdout>) {
    let mut parent = Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap())
        .args([PROGRAM, what])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(parent.stdout.take().unwrap());
    (parent, stdout)
}

pub fn trials() -> Vec<Trial> {
    let killed = [
        ("compute", "spin"),
        ("sleep", "park"),
        ("are_stopped", "stop"),
        ("have_pools_of_their_own", "nest"),
        ("send_64_mib", "receive"),
        ("receive_64_mib", "send"),
        ("started_again_after_a_rest", "rest"),
    ];
    let killed = killed.map(|(name, what)| {
        trial(format!("workers_that_{name}_end_with_a_killed_parent"), move || {
            let (mut parent, mut stdout) = start(what, "");
            stdout.read_line(&mut String::new()).unwrap();
            let pid = Pid::from_raw(parent.id().try_into().unwrap());
            if what == "receive" {
                waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
            }
            kill(pid, Signal::SIGKILL).unwrap();
            parent.wait().unwrap();
            let ends = orphans_end(TWO_SECONDS);
            assert!(ends.len() >= 2, "both were alive: {ends:?}");
        })
    });
    let others = [
        trial("workers_end_with_a_parent_that_exits", || {
            let (mut parent, mut stdout) = start("exit", "");
            stdout.read_line(&mut String::new()).unwrap();
            assert!(parent.wait().unwrap().success());
            orphans_end(TWO_SECONDS);
        }),
        trial("workers_end_with_a_killed_parent_that_has_forked", || {
            let (mut parent, mut stdout) = start("fork", "");
            let mut holder = String::new();
            stdout.read_line(&mut holder).unwrap();
            let holder = Pid::from_raw(holder.trim().parse().unwrap());
            parent.kill().unwrap();
            parent.wait().unwrap();
            // Both workers; who holds their connections lives on.
            for _ in 0..2 {
                until("a worker ends", || match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) => false,
                    ended => ended.unwrap().pid() != Some(holder),
                });
            }
            kill(holder, Signal::SIGKILL).unwrap();
            let ends = orphans_end(TWO_SECONDS);
            assert_eq!(ends.len(), 1, "{ends:?}");
        }),
        trial("a_parent_without_standard_streams_has_a_pool_that_works", || {
            ends_well("bare", "")
        }),
        trial("a_parent_started_without_streams_has_one_too", || {
            ends_well("bare", "exec 0<&- 1>&- 2>&-;");
        }),
        trial("a_worker_that_cannot_be_replaced_breaks_the_pool_with_the_cause", || {
            ends_well("few", "ulimit -n 40;");
        }),
        trial("workers_are_of_the_version_of_their_parent_though_its_file_is_replaced", || {
            let program = env::temp_dir().join("a-program");
            std::fs::hard_link(env::current_exe().unwrap(), &program).unwrap();
            let parent = Command::new(&program).args([PROGRAM, "replaced"]).status();
            std::fs::remove_file(program).unwrap();
            assert_eq!(parent.unwrap().code(), Some(42));
        }),
        trial(
            "the_worker_of_a_program_whose_file_is_gone_is_no_stranger_and_has_its_name",
            || {
                let folder = env::temp_dir().join("a-folder");
                std::fs::create_dir(&folder).unwrap();
                let [program, stranger] =
                    ["a-program", "a-stranger"].map(|name| folder.join(name));
                std::fs::hard_link(env::current_exe().unwrap(), &program).unwrap();
                std::fs::write(&stranger, "#!/bin/sh\nexit 7\n").unwrap();
                std::fs::set_permissions(&stranger, PermissionsExt::from_mode(0o755)).unwrap();
                let parent =
                    Command::new(&program).args([PROGRAM, "removed"]).arg(stranger).status();
                std::fs::remove_dir_all(folder).unwrap();
                assert_eq!(parent.unwrap().code(), Some(42));
            },
        ),
        trial("a_parent_that_ignores_its_children_is_told_what_is_known", || {
            ends_well("deaf", "exec env --ignore-signal=CHLD \"$0\" \"$@\";");
        }),
    ];
    Vec::from_iter(killed.into_iter().chain(others))
}

fn ends_well(what: &str, before: &str) {
    let (mut parent, _stdout) = start(what, before);
    assert_eq!(parent.wait().unwrap().code(), Some(42));
    orphans_end(TWO_SECONDS);
}
