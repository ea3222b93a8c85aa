//! Runs a lesson as a reader does, without a terminal, and pins what it prints.
//!
//! ```ignore
//! mod common;
//! use common::{assert_transcript, run};
//!
//! const LESSON: &str = env!("CARGO_BIN_EXE_lesson-03-processes");
//!
//! #[test]
//! fn answers_come_in_order_of_submission() {
//!     assert_transcript("default", &[run(LESSON, &[])]);
//! }
//! ```

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use assert_cmd::Command;

/// A lesson takes a few seconds; one that takes this long hangs, and is killed.
const DEADLINE: Duration = Duration::from_secs(60);

/// A run that has ended.
pub struct Run {
    /// As a reader types it: `lesson-03-processes --workers 2`.
    pub command: String,
    pub stdout: String,
    pub stderr: String,
    pub status: ExitStatus,
}

/// Says what a test does not try here: past the harness, which shows nothing of one that passes.
pub fn skipped(what: &str) {
    let _ = writeln!(io::stderr(), "skipped: {what}");
}

/// Runs a lesson with empty input until it ends.
pub fn run(program: &str, flags: &[&str]) -> Run {
    let name = Path::new(program).file_stem().and_then(OsStr::to_str).expect("cargo named it");
    let command = [&[name], flags].concat().join(" ");

    let start = Instant::now();
    let output = Command::new(program).args(flags).timeout(DEADLINE).output();
    let output = output.expect("cargo built the program");
    assert!(start.elapsed() < DEADLINE, "`{command}` does not end within {DEADLINE:?}");

    let text = |bytes| String::from_utf8(bytes).expect("a lesson prints text");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    Run { command, stdout, stderr, status: output.status }
}

/// The command and what it printed. A success shows stdout only, for stderr is measured; a
/// failure shows also stderr and the exit status.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        write!(f, "{}", self.stdout)?;
        if self.status.success() {
            return Ok(());
        }
        write!(f, "{}", self.stderr)?;
        match self.status.code() {
            Some(code) => writeln!(f, "exit status: {code}"),
            None => writeln!(f, "{}", self.status),
        }
    }
}

/// Compares the runs with the snapshot `tests/snapshots/<test file>__<name>.snap`, to the byte.
///
/// A run that fails says why in one line, and one that is refused (exit status 2) says nothing
/// else: what is accepted into a snapshot keeps to that.
pub fn assert_transcript(name: &str, runs: &[Run]) {
    for run in runs.iter().filter(|run| !run.status.success()) {
        assert_eq!(run.stderr.lines().count(), 1, "{run}");
        assert!(run.status.code() != Some(2) || run.stdout.is_empty(), "{run}");
    }
    let test_file = module_path!().trim_end_matches("::common");
    let name = format!("{test_file}__{name}");
    let transcript: Vec<_> = runs.iter().map(Run::to_string).collect();
    let transcript = redacted(&transcript.join("\n"));

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name.as_str(), transcript));

    // That overlooks other line ends, a blank line in front, and all white space at the end.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/snapshots");
    let file = fs::read_to_string(folder.join(name + ".snap")).expect("it has just been read");
    let (_, pinned) = file.split_once("\n---\n").expect("a snapshot has a head");
    assert_eq!(transcript, pinned, "they differ in white space");
}

/// The transcript without what differs from run to run: free ports, chosen by the system.
fn redacted(transcript: &str) -> String {
    let mut parts = transcript.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, rest| {
        text + "127.0.0.1:PORT" + rest.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}
