//! Lesson 09: plain counts are wrong in most orders; under the GIL, atomic or biased, in none.

mod common;
mod limits;
use common::{Run, assert_transcript, run};

use std::env;
use std::fs;
use std::path::Path;

use lesson_09_reference_counts::Op::{Decref, Incref};
use lesson_09_reference_counts::{Op, Regime, Script, Verdict};
use proptest::prelude::*;

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-09-reference-counts");
const BYTECODE: &str = env!("CARGO_BIN_EXE_bytecode");

const RIGHT: [Regime; 3] = [Regime::Gil, Regime::Atomic, Regime::Biased];

#[test]
fn plain_counts_need_a_lock_and_atomic_ones_none() {
    let default = run(LESSON, &[]);
    let lines = default.stdout.lines().count() + default.stderr.lines().count();
    assert!(lines <= 40, "{lines} lines");
    assert_transcript("default", &[default]);
    let sizes = ["--pairs", "1_000", "--rounds", "1", "--interval", "1us", "--quiet"];
    assert_transcript("sizes", &[silent(LESSON, &sizes)]);
}

#[test]
fn counts_change_inside_of_instructions_and_threads_between_them() {
    assert_transcript("bytecode", &[run(BYTECODE, &[])]);
    let sizes = [
        &["--below", "0", "--threads", "1", "--policy", "3.9", "--quiet"][..],
        &[
            "--below",
            "1000",
            "--threads",
            "8",
            "--interval",
            "1us",
            "--policy",
            "3.10",
            "--quiet",
        ],
    ];
    assert_transcript("bytecode_sizes", &sizes.map(|flags| silent(BYTECODE, flags)));
}

/// An optimizer that saw through a pair would make it cost nothing.
#[test]
fn what_is_measured_was_done() {
    // So many that starting the threads is no part of it.
    let lesson = run(LESSON, &["--rounds", "1", "--pairs", "10_000_000"]);
    let measured: Vec<Vec<&str>> =
        lesson.stderr.lines().map(|line| line.split_whitespace().collect()).collect();
    for regime in [&["no", "lock"][..], &["under", "the", "GIL"], &["biased"], &["Rc"]] {
        let mut rows = measured.iter().filter_map(|row| row.strip_prefix(regime));
        let row = rows.next().expect("each has a row");
        let alone: f64 = row[0].parse().expect("it runs in one thread");
        assert!(alone >= 0.1, "{alone} ns for two count operations: {}", lesson.stderr);
    }
}

#[test]
fn every_order_of_small_scripts_frees_once_and_never_early() {
    let drop = || vec![Decref];
    let pair = || vec![Incref, Decref, Decref];
    let scripts = [[drop(), drop()], [drop(), pair()], [pair(), drop()]];
    for (threads, taken) in scripts.iter().flat_map(|script| [(script, false), (script, true)])
    {
        let script = Script { threads: threads.to_vec(), taken };
        for regime in RIGHT {
            let verdicts = script.explore(regime);
            let all: Vec<_> = verdicts.keys().collect();
            assert_eq!(all, [&Verdict::Right], "{}: {verdicts:?}", regime.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_any_script_frees_once_and_never_early(
        wishes in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..6), 1..=4),
        taken: bool,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
    ) {
        let threads = wishes.iter().map(|wishes| ops(wishes)).collect();
        let script = Script { threads, taken };
        for regime in RIGHT {
            let mut picks = picks.iter().cycle();
            let played = script.play(regime, &mut |ready| {
                *picks.next().expect("there is one, and then again").get(ready)
            });
            prop_assert_eq!(played.verdict, Verdict::Right, "{}: {:?}", regime.name(), played);
        }
    }
}

/// Takes or drops as wished while it has a reference, and drops what is left.
fn ops(wishes: &[bool]) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut held = 1_usize;
    for takes in wishes {
        match (takes, held) {
            (true, _) => held += 1,
            (false, 1) => continue,
            (false, _) => held -= 1,
        }
        ops.push(if *takes { Incref } else { Decref });
    }
    ops.extend(vec![Decref; held]);
    ops
}

/// `INSTA_UPDATE=always`, as in `just bless`, writes the picture again.
#[test]
fn the_picture_of_the_page_is_what_the_program_draws() {
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("09-trade-off.svg");
    let path = new.to_str().expect("cargo's path is text");
    silent(LESSON, &["--pairs", "1_000", "--rounds", "1", "--quiet", "--svg", path]);
    let new = fs::read_to_string(new).expect("the program wrote it");
    roxmltree::Document::parse(&new).expect("it is XML");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = root.join("lessons/pictures/09-trade-off.svg");
    if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&page, &new).expect("the picture can be written");
    }
    // A checkout may have given the file other line ends.
    let old = fs::read_to_string(page).expect("the page has its picture").replace("\r\n", "\n");
    assert!(old == new, "the picture differs from `--svg`; `just bless` writes it");
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &["--pairs", "1000", "--quiet"]);
    limits::are_said_in_one_line(BYTECODE, &["--below", "1000", "--quiet"]);
}

#[test]
fn bad_arguments_and_failed_operations_are_named_in_one_line() {
    let errors = [
        (2, LESSON, &["--pairs", "0"][..]),
        (2, LESSON, &["--pairs", "many"]),
        (2, LESSON, &["--rounds", "101"]),
        (2, LESSON, &["--interval", "0s"]),
        (2, LESSON, &["--threads", "3"]),
        (2, BYTECODE, &["--below", "-1"]),
        (2, BYTECODE, &["--threads", "0"]),
        (2, BYTECODE, &["--policy", "2.7"]),
        (2, BYTECODE, &["--interval", "5"]),
        (1, LESSON, &["--pairs", "1", "--quiet", "--svg", "no/such/folder/picture.svg"]),
    ]
    .map(|(status, program, flags)| {
        let error = run(program, flags);
        assert_eq!(error.status.code(), Some(status), "{error}");
        assert_eq!(error.stdout.is_empty(), status == 2, "{error}");
        error
    });
    assert_transcript("errors", &errors);
}

/// A run that succeeds and measures nothing.
fn silent(program: &str, flags: &[&str]) -> Run {
    let run = run(program, flags);
    assert!(run.status.success(), "{run}");
    assert_eq!(run.stderr, "", "{run}");
    run
}
