//! Keeps the pages equal to what they show.
//!
//! Markdown on a code host expands no includes, so code and outputs on a page are real text. A
//! comment right before a block says what it copies:
//!
//! | mark | the block shows |
//! |---|---|
//! | `<!-- code: crates/x/src/main.rs -->` | a whole file |
//! | `<!-- code: crates/x/src/main.rs fn main -->` | one item (`struct X`, `impl X for Y`, ...) with its comments and attributes |
//! | `<!-- python: lessons/python/x.py -->` | the same for Python: a file, a `def f`, a `class C` |
//! | `<!-- output: lesson_03_processes__default -->` | a snapshot |
//!
//! A block without a mark is an error, unless it is tagged `sh` or `console`: commands for the
//! reader. Nothing else on a page is typed by hand.

mod page;
mod quote;

use std::fs;
use std::io;
use std::path::Path;

use self::page::Page;
use crate::{Lesson, tree};

/// What is wrong with the pages: a line each, and none when all is well.
///
/// - no page at all, which is another folder than the one that was meant;
/// - a block that differs from what its mark names, has no mark, or names what is not there;
/// - a lesson without a page, a declared test, a Python counterpart, a row in the README or an
///   entry in the summary;
/// - a snapshot that no page shows or no test asserts;
/// - a link to a missing file;
/// - a lesson's page with less than 400 or more than 900 words of prose;
/// - a README whose test command is not the one that CI runs.
#[must_use]
pub fn check(root: &Path) -> Vec<String> {
    let lessons = Lesson::all(root);
    let pages = Page::all(root);

    if pages.is_empty() {
        return vec![format!("{}: neither a README.md nor a page in lessons/", root.display())];
    }
    let mut problems = Vec::new();
    problems.extend(lessons.iter().flat_map(|lesson| missing_parts(root, lesson)));
    problems.extend(pages.iter().flat_map(|page| page.problems(root)));
    problems.extend(loose_snapshots(root, &pages));
    problems.extend(untried_test_command(root));
    problems
}

/// Copies the sources and snapshots into the pages, and returns the pages that changed.
///
/// # Errors
/// When a page cannot be written.
pub fn bless(root: &Path) -> io::Result<Vec<String>> {
    let mut changed = Vec::new();
    for page in Page::all(root) {
        let refreshed = page.refreshed(root);
        if refreshed != page.text {
            fs::write(root.join(&page.path), refreshed)?;
            changed.push(page.path);
        }
    }
    Ok(changed)
}

fn missing_parts(root: &Path, lesson: &Lesson) -> Vec<String> {
    let holds = |path: &str, what: &dyn Fn(&str) -> bool| {
        tree::read(root, path).is_ok_and(|text| text.lines().any(what))
    };
    let (page, test, python) = (lesson.page(), lesson.test(), lesson.python());
    let manifest = format!("crates/{}/Cargo.toml", lesson.name);
    let file_name = page.trim_start_matches("lessons/");

    let mut missing: Vec<_> = [&page, &test, &python]
        .into_iter()
        .filter(|path| !root.join(path).is_file())
        .map(|path| format!("{}: {path} is missing", lesson.name))
        .collect();
    if !holds(&manifest, &|line| line.contains(&test)) {
        missing.push(format!("{manifest}: no [[test]] with the path ../../{test}"));
    }
    if !holds("README.md", &|line| line.starts_with('|') && line.contains(&page)) {
        missing.push(format!("README.md: no row of a table links to {page}"));
    }
    if !holds("lessons/SUMMARY.md", &|line| line.contains(&format!("({file_name})"))) {
        missing.push(format!("lessons/SUMMARY.md: no entry for {file_name}"));
    }
    missing
}

/// A snapshot is read by somebody and asserted by somebody: `lesson_03_processes__default` by
/// `tests/lesson_03_processes.rs`, where `"default"` stands.
fn loose_snapshots(root: &Path, pages: &[Page]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in tree::names(root, "tests/snapshots") {
        let Some(name) = file.strip_suffix(".snap") else { continue };
        let path = format!("tests/snapshots/{file}");
        if !pages.iter().any(|page| page.shows(&path)) {
            problems.push(format!("{path}: no page shows it with <!-- output: {name} -->"));
        }
        let (test, case) = name.split_once("__").unwrap_or((name, ""));
        let test = format!("tests/{test}.rs");
        let case = format!("\"{case}\"");
        if !tree::read(root, &test).is_ok_and(|source| source.contains(&case)) {
            problems.push(format!("{path}: {test} does not assert {case}"));
        }
    }
    problems
}

/// The command that the README promises is the one that CI runs.
fn untried_test_command(root: &Path) -> Option<String> {
    let readme = tree::read(root, "README.md").ok()?;
    let ci = tree::read(root, ".ci/run").unwrap_or_default();
    let promise =
        |line: &&str| line.contains("cargo install") && line.contains("just test-all");
    match readme.lines().map(str::trim).find(promise) {
        None => Some(
            "README.md: no line that installs what is missing and runs `just test-all`".into(),
        ),
        Some(line) if !ci.contains(line) => Some(format!(".ci/run: does not run `{line}`")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
