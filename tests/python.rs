//! The Python counterparts print the same on every Python that is found here, and what the
//! pages show of them is that.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use common::{Run, assert_transcript, run, skipped};

#[test]
fn threads() {
    prints_the_same_everywhere("01_threads");
}

#[test]
fn gil() {
    prints_the_same_everywhere("02_gil");
}

#[test]
fn processes() {
    prints_the_same_everywhere("03_processes");
}

#[test]
fn ipc_queue() {
    prints_the_same_everywhere("04_ipc_queue");
}

#[test]
fn hybrid() {
    prints_the_same_everywhere("05_hybrid");
}

#[test]
fn synchronization() {
    prints_the_same_everywhere("06_synchronization");
}

#[test]
fn executors() {
    prints_the_same_everywhere("07_executors");
}

#[test]
fn isolation() {
    prints_the_same_everywhere("08_isolation");
}

#[test]
fn reference_counts() {
    prints_the_same_everywhere("09_reference_counts");
}

#[test]
fn responsiveness() {
    prints_the_same_everywhere("10_responsiveness");
}

#[test]
fn web_server() {
    prints_the_same_everywhere("11_web_server");
}

#[test]
fn asynchronous() {
    prints_the_same_everywhere("12_async");
}

#[test]
fn choosing() {
    prints_the_same_everywhere("13_choosing");
}

#[test]
fn an_unknown_flag_is_refused_in_one_line() {
    for (python, topic) in each_python_with_each_topic() {
        let ran = run(python, &[&script(topic), "--quck"]);
        assert_eq!(ran.status.code(), Some(2), "{ran}");
        let line = "error: unrecognized arguments: --quck; --help lists the flags\n";
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", line), "{ran}");
    }
}

/// As `| head` does.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_ends_a_counterpart_quietly() {
    for (python, topic) in one_python_with_each_topic() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (status, stderr) = prints_to(writer.into(), python, topic);
        assert_eq!(status, Some(0), "{topic}: {stderr}");
        assert!(
            !stderr.contains("Error") && !stderr.contains("Traceback"),
            "{topic}: {stderr}"
        );
    }
}

/// `/dev/full` takes nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_stdout_that_takes_nothing_ends_a_counterpart_with_one_line() {
    for (python, topic) in one_python_with_each_topic() {
        let full =
            std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let (status, stderr) = prints_to(full.into(), python, topic);
        assert_eq!(status, Some(1), "{topic}: {stderr}");
        let line = "Error: cannot write to stdout: No space left on device\n";
        assert!(stderr.ends_with(line) && !stderr.contains("Traceback"), "{topic}: {stderr}");
    }
}

/// The exit status, and what it said on stderr.
#[cfg(unix)]
fn prints_to(stdout: std::process::Stdio, python: &str, topic: &str) -> (Option<i32>, String) {
    let mut command = Command::new(python);
    let ran = command.args([&script(topic), "--quick"]).stdout(stdout).output();
    let ran = ran.expect("it has run before");
    (ran.status.code(), String::from_utf8(ran.stderr).expect("Python prints text"))
}

const TOPICS: [&str; 13] = [
    "01_threads",
    "02_gil",
    "03_processes",
    "04_ipc_queue",
    "05_hybrid",
    "06_synchronization",
    "07_executors",
    "08_isolation",
    "09_reference_counts",
    "10_responsiveness",
    "11_web_server",
    "12_async",
    "13_choosing",
];

fn each_python_with_each_topic() -> impl Iterator<Item = (&'static str, &'static str)> {
    PYTHONS.iter().flat_map(|python| TOPICS.map(|topic| (python.as_str(), topic)))
}

#[cfg(unix)]
fn one_python_with_each_topic() -> impl Iterator<Item = (&'static str, &'static str)> {
    each_python_with_each_topic().take(TOPICS.len())
}

fn script(topic: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lessons/python");
    let script = folder.join(topic).with_extension("py");
    script.to_str().expect("our own path").into()
}

fn prints_the_same_everywhere(topic: &str) {
    if PYTHONS.is_empty() {
        skipped("no Python from 3.9 on is found here: nothing to compare");
    }
    let script = script(topic);
    for python in &*PYTHONS {
        let ran = run(python, &[&script, "--quick"]);
        assert!(ran.status.success(), "{ran}");
        let command = format!("python3 lessons/python/{topic}.py --quick");
        assert_transcript(topic, &[Run { command, ..ran }]);
    }
}

/// Each interpreter once, though it may have several names.
static PYTHONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = (9..30).map(|minor| format!("python3.{minor}"));
    let names = ["python3".into(), "python".into()].into_iter().chain(names);
    let mut found: Vec<(Vec<u8>, String)> = Vec::new();
    for name in names {
        // A name may be there and lead nowhere: a version manager's stand-in.
        let asked = Command::new(&name)
            .args([
                "-c",
                "import sys; assert sys.version_info >= (3, 9); print(sys.executable)",
            ])
            .output();
        if let Ok(told) = asked
            && told.status.success()
            && found.iter().all(|(executable, _)| *executable != told.stdout)
        {
            found.push((told.stdout, name));
        }
    }
    found.into_iter().map(|(_, name)| name).collect()
});
