//! The Python counterparts print the same on every Python that is found here, and what the
//! pages show of them is that.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use common::{Run, assert_transcript, run};

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

fn prints_the_same_everywhere(topic: &str) {
    if PYTHONS.is_empty() {
        eprintln!("no Python from 3.9 on is found here: nothing to compare");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lessons/python");
    let script = folder.join(topic).with_extension("py");
    for python in &*PYTHONS {
        let ran = run(python, &[script.to_str().expect("our own path"), "--quick"]);
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
