//! The program with made-up interpreters: which it finds, what it says, how it ends. Only
//! `native` is measured, the quickest scenario.
#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A folder that is the whole `PATH`.
struct Interpreters(TempDir);

impl Interpreters {
    fn none() -> Self {
        Interpreters(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// An interpreter of this version that answers `native` by this shell command.
    fn with(self, name: &str, version: &str, native: &str) -> Self {
        let executable = self.path().join(name);
        let (major, minor) = version.split_once('.').expect("major.minor");
        let about = format!(
            r#"{{"name": "Made-up {version}", "version": [{major}, {minor}], "executable": "{}"}}"#,
            executable.display(),
        );
        self.script(name, &format!("case $2 in about) echo '{about}' ;; *) {native} ;; esac"))
    }

    fn script(self, name: &str, script: &str) -> Self {
        let path = self.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("our own folder");
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("our own file");
        self
    }

    fn compare(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_compare"))
            .arg("native")
            .args(arguments)
            .env("PATH", self.path())
            .timeout(Duration::from_secs(60))
            .output()
            .expect("cargo built the program")
    }
}

/// A measurement in words that only it can have: 1000 ms in a row, 250 ms in threads.
const MEASURED: &str = r#"echo '{"scenario": "native", "series": {"in a row": [1.0],
    "in threads": [0.25], "ratio": [0.25], "beyond the longer": [-0.25]}}'"#;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it prints text")
}

/// The first words of the rows of the table.
fn rows(output: &Output) -> Vec<String> {
    let text = stdout(output);
    text.lines().skip(3).map(|line| line[..16].trim_end().to_owned()).collect()
}

#[test]
fn without_an_interpreter_it_says_so_and_prints_ours() {
    let output = Interpreters::none().compare(&["--runs", "1"]);
    assert_eq!(stderr(&output), "no Python from 3.9 on is found here: ours alone\n");
    assert_eq!(rows(&output), ["live", "simulated"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_interpreter_that_runs_is_found_once_in_order_of_its_version() {
    let interpreters = Interpreters::none()
        .with("python3.10", "3.10", MEASURED)
        .with("python3.9", "3.9", MEASURED)
        // Too old; a stand-in; no Python at all.
        .with("python3.12", "3.8", MEASURED)
        .script("python3.13", "echo 'not installed' >&2; exit 127")
        .script("python3.14", "echo hello");
    let again = interpreters.path().join("python3.9");
    let interpreters =
        interpreters.script("python3", &format!("exec {} \"$@\"", again.display()));
    let output = interpreters.compare(&["--runs", "1", "--python", again.to_str().unwrap()]);
    assert_eq!(stderr(&output), "");
    assert_eq!(rows(&output), ["live", "simulated", "Made-up 3.9", "Made-up 3.10"]);
    let row = "Made-up 3.9           1000         250  0.250               -250";
    assert!(stdout(&output).contains(row), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_interpreter_that_fails_is_named_in_one_line_and_the_others_go_on() {
    let traceback = "echo 'Traceback:' >&2; echo 'ModuleNotFoundError: hashlib' >&2; exit 1";
    let interpreters = Interpreters::none()
        .with("python3.9", "3.9", traceback)
        .with("python3.10", "3.10", "echo hello")
        .with("python3.11", "3.11", MEASURED);
    let output = interpreters.compare(&["--runs", "2"]);
    assert_eq!(
        stderr(&output),
        format!(
            "Made-up 3.9 ({0}/python3.9): native: exit status: 1: ModuleNotFoundError: hashlib\n\
             Made-up 3.10 ({0}/python3.10): native: it prints no series of samples: \
             expected value at line 1 column 1\n",
            interpreters.path().display()
        )
    );
    assert_eq!(rows(&output), ["live", "simulated", "Made-up 3.11"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_interpreter_that_is_named_and_does_not_run_is_a_failure() {
    let interpreters = Interpreters::none().with("old", "3.8", MEASURED);
    let old = interpreters.path().join("old");
    let output = interpreters.compare(&[
        "--python",
        "/no/such/python",
        "--python",
        old.to_str().unwrap(),
    ]);
    assert_eq!(
        stderr(&output),
        format!(
            "/no/such/python: No such file or directory (os error 2)\n\
             {}: Made-up 3.8 is older than Python 3.9\n\
             no Python from 3.9 on is found here: ours alone\n",
            old.display()
        )
    );
    assert_eq!(rows(&output), ["live", "simulated"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_program_reads_the_same_figures_in_one_document() {
    let interpreters = Interpreters::none().with("python3.9", "3.9", MEASURED).with(
        "python3.10",
        "3.10",
        "exit 3",
    );
    let output =
        interpreters.compare(&["--runs", "1", "--json", "--python", "/no/such/python"]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["runs"], 1);
    assert_eq!(
        document["errors"][0],
        "/no/such/python: No such file or directory (os error 2)"
    );

    let contenders = document["contenders"].as_array().unwrap();
    let names: Vec<_> = contenders.iter().map(|contender| &contender["name"]).collect();
    let expected =
        ["live", "live as 3.9", "simulated", "simulated as 3.9", "Made-up 3.9", "Made-up 3.10"];
    assert_eq!(names, expected);
    let [live, live_as_39, .., good, bad] = contenders.as_slice() else { unreachable!() };
    assert_eq!((&live["executable"], &live["failure"]), (&Value::Null, &Value::Null));
    assert!(live["figures"][0]["p50"].as_f64().unwrap() > 0.0, "{live}");
    assert_eq!(live_as_39["figures"][0]["samples"], 0);
    let ratio = serde_json::json!({
        "scenario": "native", "series": "ratio", "samples": 1,
        "min": 0.25, "p50": 0.25, "p90": 0.25, "max": 0.25,
    });
    assert_eq!(good["figures"][2], ratio);
    let failure = bad["failure"].as_str().unwrap();
    assert!(
        failure.ends_with("python3.10): native: exit status: 3: it does not say why"),
        "{failure}"
    );
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    for (arguments, named) in [
        (["--runs", "0"], "'0' for '--runs <RUNS>': a whole number from 1 to 1000"),
        (["--runs", "-1"], "'-1' for '--runs <RUNS>': a whole number from 1 to 1000"),
        (["--json", "walks"], "'walks' for '[SCENARIO]...'"),
        (["--json", "--python"], "a value is required for '--python <PATH>'"),
        (["--json", "--seed"], "unexpected argument '--seed'"),
    ] {
        let output = Interpreters::none().compare(&arguments);
        let error = stderr(&output);
        assert!(error.contains(named), "{error}");
        assert_eq!((error.lines().count(), output.status.code()), (1, Some(2)), "{error}");
        assert_eq!(stdout(&output), "");
    }
}
