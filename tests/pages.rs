//! The pages show what the sources and the snapshots say. `just bless` makes them equal again.

use std::ffi::OsStr;
use std::fs;

use xtask::{Lesson, root};

#[test]
fn every_page_is_equal_to_what_it_shows() {
    let problems = xtask::pages::check(root());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Its documentation is what `--help` shows.
#[test]
fn a_lesson_says_how_its_other_programs_are_run() {
    let mut programs = 0;
    for Lesson { name, .. } in Lesson::all(root()) {
        let source = root().join("crates").join(&name).join("src");
        let main = fs::read_to_string(source.join("main.rs")).expect("every lesson has one");
        for program in fs::read_dir(source.join("bin")).into_iter().flatten() {
            let program = program.expect("our own folder").path();
            let program = program.file_stem().and_then(OsStr::to_str).expect("our own name");
            let command = format!("///   cargo run -p {name} --bin {program}\n");
            assert!(main.contains(&command), "{name} does not say: {command}");
            programs += 1;
        }
    }
    assert!(programs > 0, "there are some");
}
