//! What a mark stands for: a file, one item of it, or a snapshot.

use std::fmt;
use std::path::Path;

use crate::tree;

/// What may stand before the words that name an item.
const QUALIFIERS: [&str; 6] =
    ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "];

/// The comment before a block, read.
pub(super) struct Mark<'t> {
    pub(super) path: String,
    /// The words that its first line starts with, qualifiers left out: `fn main`.
    item: Option<&'t str>,
    /// The tag of the block.
    language: &'static str,
}

impl<'t> Mark<'t> {
    /// `None` for a line that is no mark.
    pub(super) fn parse(line: &'t str) -> Option<Self> {
        let (kind, what) =
            line.strip_prefix("<!-- ")?.strip_suffix(" -->")?.split_once(": ")?;
        let (path, item) = match what.split_once(' ') {
            Some((path, item)) => (path, Some(item)),
            None => (what, None),
        };
        match kind {
            "code" => Some(Self { path: path.into(), item, language: "rust" }),
            "python" => Some(Self { path: path.into(), item, language: "python" }),
            "output" => {
                let path = format!("tests/snapshots/{what}.snap");
                Some(Self { path, item: None, language: "text" })
            }
            _ => None,
        }
    }

    /// The block that a page shows below the mark, with its fences.
    ///
    /// # Errors
    /// One line when the file or the item is not there.
    pub(super) fn block(&self, root: &Path) -> Result<String, String> {
        let file = tree::read(root, &self.path)?;
        let text = match (self.language, self.item) {
            ("text", _) => body_of_snapshot(&file).to_owned(),
            (_, None) => file,
            (language, Some(item)) => find_item(&file, language, item)
                .map_err(|problem| format!("{problem} in {}", self.path))?,
        };
        let text = text.trim_end_matches('\n');
        let fence = if text.contains("```") { "````" } else { "```" };
        Ok(format!("{fence}{}\n{text}\n{fence}\n", self.language))
    }
}

impl fmt::Display for Mark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            Some(item) => write!(f, "`{item}` in {}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

/// A snapshot starts with a header between two lines `---`.
fn body_of_snapshot(file: &str) -> &str {
    let body = file.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n"));
    body.map_or(file, |(_, body)| body)
}

/// The item whose first line starts with `wanted`, with the comments and attributes on it,
/// moved to the left margin.
fn find_item(file: &str, language: &str, wanted: &str) -> Result<String, String> {
    let lines: Vec<_> = file.lines().collect();
    let starts: Vec<_> = (0..lines.len()).filter(|&at| begins(lines[at], wanted)).collect();
    let start = match starts[..] {
        [start] => start,
        [] => return Err(format!("no `{wanted}`")),
        _ => return Err(format!("{} items start with `{wanted}`", starts.len())),
    };
    let length = if language == "python" { length_in_python } else { length_in_rust };
    let item = &lines[head(&lines[..start])..start + length(&lines[start..])];
    let margin = margin(lines[start]);
    let item: Vec<_> =
        item.iter().map(|line| line.strip_prefix(margin).unwrap_or(line)).collect();
    Ok(item.join("\n"))
}

fn begins(line: &str, wanted: &str) -> bool {
    let mut rest = line.trim_start();
    loop {
        let after = rest.strip_prefix(wanted);
        if after
            .is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        {
            return true;
        }
        match QUALIFIERS.iter().find_map(|qualifier| rest.strip_prefix(qualifier)) {
            Some(shorter) => rest = shorter,
            None => return false,
        }
    }
}

/// Where the comments and attributes begin that end right before an item.
fn head(before: &[&str]) -> usize {
    let Some((last, rest)) = before.split_last() else { return 0 };
    let line = last.trim_start();
    let of_the_file = ["//!", "#!"].iter().any(|start| line.starts_with(start));
    if !of_the_file && ["//", "#", "@"].iter().any(|start| line.starts_with(start)) {
        return head(rest);
    }
    // An attribute over several lines.
    let opens =
        |line: &&str| line.trim_start().starts_with("#[") && margin(line) == margin(last);
    match rest.iter().rposition(opens) {
        Some(start) if line == ")]" => head(&rest[..start]),
        _ => before.len(),
    }
}

/// Rust, as rustfmt writes it: an item ends with the brace below its first line's margin, or,
/// if it has no braces, with a semicolon.
fn length_in_rust(lines: &[&str]) -> usize {
    let mut has_braces = false;
    let ends = |line: &&str| {
        let closed =
            line.strip_prefix(margin(lines[0])).is_some_and(|rest| rest.starts_with('}'));
        let semicolon = !has_braces && line.ends_with(';');
        let in_one_line = !has_braces && line.ends_with('}');
        has_braces |= line.ends_with('{');
        closed || semicolon || in_one_line
    };
    lines.iter().position(ends).map_or(lines.len(), |last| last + 1)
}

/// Python: until a line at the same margin or further left, except the end of a long first line.
fn length_in_python(lines: &[&str]) -> usize {
    let outside = |line: &&str| {
        let text = line.trim_start();
        !text.is_empty()
            && margin(line).len() <= margin(lines[0]).len()
            && !text.starts_with(')')
    };
    let end = lines[1..].iter().position(outside).map_or(lines.len(), |at| at + 1);
    lines[..end].iter().rposition(|line| !line.is_empty()).map_or(end, |last| last + 1)
}

fn margin(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: &str = r#"//! A lesson.
// Sizes.
const WORKERS: usize = 4;
const GREETING: &str =
    "a long line; and more";
#[derive(
    Debug,
)]
pub struct Unit;

/// A job.
///
/// It waits.
#[derive(Clone)]
pub(crate) struct Job {
    below: u64, // not {
}

impl Job {
    fn new() -> Self { Self { below: 1 } }

    /// Runs.
    pub const fn run(
        &self,
    ) -> u64 {
        if self.below > 1 {
            return 1;
        }
        2
    }
}

impl Task for Job {}

async fn main() {}
fn main_loop() {}
"#;

    #[test]
    fn a_rust_item_is_found_with_its_comments_and_attributes() {
        for (wanted, first, last) in [
            ("const WORKERS", "// Sizes.", "const WORKERS: usize = 4;"),
            ("const GREETING", "const GREETING: &str =", "    \"a long line; and more\";"),
            ("struct Unit", "#[derive(", "pub struct Unit;"),
            ("struct Job", "/// A job.", "}"),
            ("impl Job", "impl Job {", "}"),
            ("impl Task for Job", "impl Task for Job {}", "impl Task for Job {}"),
            (
                "fn new",
                "fn new() -> Self { Self { below: 1 } }",
                "fn new() -> Self { Self { below: 1 } }",
            ),
            ("fn run", "/// Runs.", "}"),
            ("fn main", "async fn main() {}", "async fn main() {}"),
        ] {
            let item = find_item(RUST, "rust", wanted).unwrap();
            assert_eq!(item.lines().next(), Some(first), "{item}");
            assert_eq!(item.lines().last(), Some(last), "{item}");
        }
        let run = find_item(RUST, "rust", "fn run").unwrap();
        assert_eq!(run.lines().count(), 9, "{run}");
        assert_eq!(run.lines().nth(4), Some("    if self.below > 1 {"), "{run}");
        assert_eq!(find_item(RUST, "rust", "fn runs"), Err("no `fn runs`".into()));
        assert_eq!(find_item(RUST, "rust", "impl"), Err("2 items start with `impl`".into()));
    }

    const PYTHON: &str = r#"#!/usr/bin/env python3
"""A lesson."""
import sys
# Adds.
@cache
def add(
    a,
) -> int:
    total = a

    return total


class Job:
    def run(self):
        return 1
    async def wait(self):
        return 2

if __name__ == "__main__":
    add(1)
"#;

    #[test]
    fn a_python_item_is_found_with_its_comments_and_decorators() {
        for (wanted, first, last, lines) in [
            ("import sys", "import sys", "import sys", 1),
            ("def add", "# Adds.", "    return total", 8),
            ("class Job", "class Job:", "        return 2", 5),
            ("def run", "def run(self):", "    return 1", 2),
            ("def wait", "async def wait(self):", "    return 2", 2),
            ("if __name__", "if __name__ == \"__main__\":", "    add(1)", 2),
        ] {
            let item = find_item(PYTHON, "python", wanted).unwrap();
            assert_eq!(item.lines().next(), Some(first), "{item}");
            assert_eq!(item.lines().last(), Some(last), "{item}");
            assert_eq!(item.lines().count(), lines, "{item}");
        }
    }

    #[test]
    fn a_block_with_a_fence_inside_gets_a_longer_fence() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("x.rs"), "//! ```\n//! x\n//! ```\n").unwrap();
        let mark = Mark::parse("<!-- code: x.rs -->").unwrap();
        let block = "````rust\n//! ```\n//! x\n//! ```\n````\n";
        assert_eq!(mark.block(root.path()), Ok(block.into()));
    }
}
