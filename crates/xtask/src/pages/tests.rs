//! Each failure is detected on a small made-up tree that is otherwise healthy.

use std::fs;

use tempfile::TempDir;

use super::{bless, check};

const PAGE: &str = "lessons/03-processes.md";
const MAIN: &str = "crates/lesson-03-processes/src/main.rs";
const MARK: &str = "<!-- code: crates/lesson-03-processes/src/main.rs fn main -->";

struct Tree(TempDir);

impl Tree {
    /// One lesson with everything that belongs to it.
    fn healthy() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.write(MAIN, "/// Starts.\nfn main() {\n    work();\n}\n\nfn work() {}\n");
        tree.write(
            "crates/lesson-03-processes/Cargo.toml",
            "[[test]]\npath = \"../../tests/lesson_03_processes.rs\"\n",
        );
        tree.write("tests/lesson_03_processes.rs", "assert_transcript(\"default\", &[run]);\n");
        tree.write(
            "tests/snapshots/lesson_03_processes__default.snap",
            "---\nsource: tests/common/mod.rs\n---\n$ lesson-03-processes\n4 answers\n",
        );
        tree.write("lessons/python/03_processes.py", "print(4)\n");
        tree.write("lessons/SUMMARY.md", "- [Processes](03-processes.md)\n");
        tree.write(".ci/run", "cargo install just --locked && just test-all check\n");
        tree.write(
            "README.md",
            "```sh\ncargo install just --locked && just test-all\n```\n\n\
             | 03 | [processes](lessons/03-processes.md) |\n",
        );
        tree.write(PAGE, &page(400));
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).unwrap()
    }

    fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from}");
        self.write(path, &text.replace(from, to));
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.0.path().join(path)).unwrap();
    }

    fn problems(&self) -> Vec<String> {
        check(self.0.path())
    }

    /// Copies the sources into the pages, and returns the pages that changed.
    fn bless(&self) -> Vec<String> {
        bless(self.0.path()).unwrap()
    }
}

/// A page with so many words of prose.
fn page(words: usize) -> String {
    let prose = "word ".repeat(words);
    format!(
        "{prose}\n\n\
         {MARK}\n```rust\n/// Starts.\nfn main() {{\n    work();\n}}\n```\n\n\
         <!-- output: lesson_03_processes__default -->\n```text\n$ lesson-03-processes\n4 answers\n```\n\n\
         <!-- python: lessons/python/03_processes.py -->\n```python\nprint(4)\n```\n\n\
         ```console\ncargo run -p lesson-03-processes\n```\n"
    )
}

#[test]
fn a_healthy_tree_has_no_problems_and_blessing_changes_nothing() {
    let tree = Tree::healthy();
    assert_eq!(tree.problems(), [""; 0]);
    assert_eq!(tree.bless(), [""; 0]);
}

#[test]
fn a_tree_without_pages_is_none_of_ours() {
    let root = tempfile::tempdir().unwrap();
    let line = format!("{}: neither a README.md nor a page in lessons/", root.path().display());
    assert_eq!(check(root.path()), [line]);
}

#[test]
fn a_checkout_with_carriage_returns_is_healthy() {
    let tree = Tree::healthy();
    for path in [PAGE, MAIN, "tests/snapshots/lesson_03_processes__default.snap"] {
        tree.replace(path, "\n", "\r\n");
    }
    assert_eq!(tree.problems(), [""; 0]);
}

#[test]
fn a_block_that_differs_is_named_and_blessed() {
    for (path, from, to, named) in [
        (
            MAIN,
            "work();",
            "rest();",
            "4: differs from `fn main` in crates/lesson-03-processes/src/main.rs",
        ),
        (MAIN, "/// Starts.\n", "", "4: differs from `fn main`"),
        (
            "tests/snapshots/lesson_03_processes__default.snap",
            "4 answers",
            "5 answers",
            "12: differs from tests/snapshots/lesson_03_processes__default.snap",
        ),
        (
            "lessons/python/03_processes.py",
            "4",
            "5",
            "18: differs from lessons/python/03_processes.py",
        ),
        (PAGE, "4 answers", "5 answers", "12: differs from tests/snapshots"),
        (PAGE, "```rust", "```text", "4: differs from `fn main`"),
    ] {
        let tree = Tree::healthy();
        tree.replace(path, from, to);
        let problems = tree.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(named), "{problems:?} does not contain {named}");
        assert!(problems[0].starts_with(&format!("{PAGE}:")), "{problems:?}");

        assert_eq!(tree.bless(), [PAGE]);
        assert_eq!(tree.problems(), [""; 0]);
    }
}

#[test]
fn a_mark_alone_gets_its_block() {
    let tree = Tree::healthy();
    let whole = tree.read(PAGE);
    tree.replace(PAGE, "```python\nprint(4)\n```\n", "");
    assert_eq!(tree.problems().len(), 1);
    tree.bless();
    assert_eq!(tree.read(PAGE), whole);
}

#[test]
fn blessing_keeps_what_its_mark_does_not_find() {
    let tree = Tree::healthy();
    tree.replace(PAGE, "fn main -->", "fn gone -->");
    assert_eq!(tree.bless(), [""; 0]);
}

#[test]
fn a_mark_that_names_nothing_is_named() {
    for (from, to, problem) in [
        (
            "src/main.rs fn",
            "src/gone.rs fn",
            ":4: cannot read crates/lesson-03-processes/src/gone.rs: ",
        ),
        (
            "fn main -->",
            "fn gone -->",
            ":4: no `fn gone` in crates/lesson-03-processes/src/main.rs",
        ),
        ("fn main -->", "fn -->", ":4: 2 items start with `fn` in crates/"),
        ("03_processes.py", "03_gone.py", ":18: cannot read lessons/python/03_gone.py: "),
    ] {
        let tree = Tree::healthy();
        tree.replace(PAGE, from, to);
        let problems = tree.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(&format!("{PAGE}{problem}")), "{problems:?}");
        assert!(!problems[0].contains('\n'), "{problems:?}");
    }
}

#[test]
fn a_block_without_a_mark_is_named() {
    for (opening, tag) in
        [("```rust", "rust"), ("```", ""), ("~~~~text", "text"), ("  ```py", "py")]
    {
        let tree = Tree::healthy();
        let end = opening.trim_end_matches(char::is_alphabetic);
        tree.write(PAGE, &format!("{}\n{opening}\ntyped by hand\n{end}\n", page(400)));
        let problem = format!(
            "{PAGE}:26: a block tagged `{tag}` without a mark that says what it copies"
        );
        assert_eq!(tree.problems(), [problem]);
    }
}

#[test]
fn a_missing_part_of_a_lesson_is_named() {
    for (path, problem) in [
        (PAGE, "lesson-03-processes: lessons/03-processes.md is missing"),
        (
            "tests/lesson_03_processes.rs",
            "lesson-03-processes: tests/lesson_03_processes.rs is missing",
        ),
        (
            "lessons/python/03_processes.py",
            "lesson-03-processes: lessons/python/03_processes.py is missing",
        ),
        ("README.md", "README.md: no row of a table links to lessons/03-processes.md"),
        ("lessons/SUMMARY.md", "lessons/SUMMARY.md: no entry for 03-processes.md"),
        (
            "crates/lesson-03-processes/Cargo.toml",
            "crates/lesson-03-processes/Cargo.toml: no [[test]] with the path \
             ../../tests/lesson_03_processes.rs",
        ),
    ] {
        let tree = Tree::healthy();
        tree.remove(path);
        let problems = tree.problems();
        assert!(problems.contains(&problem.to_owned()), "{problems:?} do not name {path}");
    }
}

#[test]
fn a_snapshot_that_nobody_shows_or_asserts_is_named() {
    let snapshot = "tests/snapshots/lesson_03_processes__default.snap";
    let tree = Tree::healthy();
    tree.replace(PAGE, "<!-- output: lesson_03_processes__default -->\n```text", "```console");
    let problem = format!(
        "{snapshot}: no page shows it with <!-- output: lesson_03_processes__default -->"
    );
    assert_eq!(tree.problems(), [problem]);

    let tree = Tree::healthy();
    tree.replace("tests/lesson_03_processes.rs", "\"default\"", "\"renamed\"");
    let problem =
        format!("{snapshot}: tests/lesson_03_processes.rs does not assert \"default\"");
    assert_eq!(tree.problems(), [problem]);
}

#[test]
fn a_link_to_a_missing_file_is_named() {
    let good = "[a](../README.md#top) ![b](python/03_processes.py) [c](#here) <x> \
                [d](https://example.com/x) [e](03-processes.md)\n[f]: 03-processes.md\n";
    for (link, target) in [
        ("[a](gone.md)", "gone.md"),
        ("[a](03-processes.md) and ![b](pictures/gone.svg)", "pictures/gone.svg"),
        ("[a](README.md#top)", "README.md#top"),
        ("[a]: ../gone.md", "../gone.md"),
    ] {
        let tree = Tree::healthy();
        tree.write(PAGE, &format!("{good}{link}\n\n{}", page(400)));
        assert_eq!(tree.problems(), [format!("{PAGE}: no such file: {target}")]);
    }
}

#[test]
fn a_page_has_400_to_900_words_of_prose() {
    let tree = Tree::healthy();
    for (words, fits) in [(399, false), (400, true), (900, true), (901, false)] {
        tree.write(PAGE, &page(words));
        let problem = format!("{PAGE}: {words} words of prose; a page has 400 to 900");
        assert_eq!(tree.problems(), if fits { vec![] } else { vec![problem] });
    }
}

#[test]
fn the_test_command_of_the_readme_is_what_ci_runs() {
    let tree = Tree::healthy();
    tree.write(".ci/run", "just check\n");
    let command = "cargo install just --locked && just test-all";
    assert_eq!(tree.problems(), [format!(".ci/run: does not run `{command}`")]);

    let tree = Tree::healthy();
    tree.replace("README.md", " && just test-all", "");
    let problem = "README.md: no line that installs what is missing and runs `just test-all`";
    assert_eq!(tree.problems(), [problem]);
}
