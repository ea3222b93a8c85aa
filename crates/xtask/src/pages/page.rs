use std::path::Path;

use super::quote::Mark;
use crate::tree;

/// Tags of blocks that are typed by hand: commands for the reader.
const COMMANDS: [&str; 2] = ["sh", "console"];
/// Words of prose on a lesson's page.
const LEAST_WORDS: usize = 400;
const MOST_WORDS: usize = 900;

/// A page that shows code or outputs: the README, and each page of the book.
pub(super) struct Page {
    /// Relative to the root: `lessons/03-processes.md`.
    pub(super) path: String,
    pub(super) text: String,
}

enum Part<'t> {
    Prose(&'t str),
    /// A fenced block with its fences; no lines at all when a mark has no block below it.
    Block {
        /// Where it starts, counted from 1.
        line: usize,
        mark: Option<Mark<'t>>,
        lines: &'t [&'t str],
    },
}

impl Page {
    pub(super) fn all(root: &Path) -> Vec<Self> {
        let mut paths = vec!["README.md".to_owned()];
        paths.extend(
            tree::names(root, "lessons")
                .into_iter()
                .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
                .map(|name| format!("lessons/{name}")),
        );
        paths
            .into_iter()
            .filter_map(|path| Some(Self { text: tree::read(root, &path).ok()?, path }))
            .collect()
    }

    pub(super) fn problems(&self, root: &Path) -> Vec<String> {
        let lines: Vec<_> = self.text.lines().collect();
        let mut problems = Vec::new();
        let mut words = 0;
        for part in parts(&lines) {
            match part {
                Part::Prose(line) => {
                    words += words_in(line);
                    let missing = links(line).filter(|link| !self.reaches(root, link));
                    problems.extend(
                        missing.map(|link| format!("{}: no such file: {link}", self.path)),
                    );
                }
                Part::Block { line, mark, lines } => problems.extend(
                    problem_of_block(root, mark.as_ref(), lines)
                        .map(|problem| format!("{}:{line}: {problem}", self.path)),
                ),
            }
        }
        if self.is_a_lesson() && !(LEAST_WORDS..=MOST_WORDS).contains(&words) {
            problems.push(format!(
                "{}: {words} words of prose; a page has {LEAST_WORDS} to {MOST_WORDS}",
                self.path
            ));
        }
        problems
    }

    /// The page with every marked block as its mark says. A mark that names nothing keeps its
    /// block: the check reports it.
    pub(super) fn refreshed(&self, root: &Path) -> String {
        let lines: Vec<_> = self.text.lines().collect();
        let text = |part: Part<'_>| match part {
            Part::Prose(line) => format!("{line}\n"),
            Part::Block { mark, lines, .. } => {
                mark.and_then(|mark| mark.block(root).ok()).unwrap_or_else(|| joined(lines))
            }
        };
        parts(&lines).into_iter().map(text).collect()
    }

    pub(super) fn shows(&self, path: &str) -> bool {
        self.text.lines().filter_map(Mark::parse).any(|mark| mark.path == path)
    }

    fn is_a_lesson(&self) -> bool {
        self.path
            .strip_prefix("lessons/")
            .is_some_and(|name| name.starts_with(char::is_numeric))
    }

    fn reaches(&self, root: &Path, link: &str) -> bool {
        let file = link.split('#').next().unwrap_or(link);
        let folder = Path::new(&self.path).parent().unwrap_or(Path::new(""));
        root.join(folder).join(file).exists()
    }
}

fn parts<'t>(lines: &'t [&'t str]) -> Vec<Part<'t>> {
    let mut parts = Vec::new();
    let mut rest = lines;
    while let [first, others @ ..] = rest {
        let mark = Mark::parse(first);
        if mark.is_some() {
            parts.push(Part::Prose(first));
            rest = others;
        }
        let (block, after) = rest.split_at(length_of_block(rest));
        if mark.is_some() || !block.is_empty() {
            let line = lines.len() - rest.len() + 1;
            parts.push(Part::Block { line, mark, lines: block });
            rest = after;
        } else {
            parts.push(Part::Prose(first));
            rest = others;
        }
    }
    parts
}

/// How many lines the block has that starts here, with its fences; 0 when none starts here.
///
/// A block without an end reaches to the end of the page, as in Markdown.
fn length_of_block(lines: &[&str]) -> usize {
    let Some((first, others)) = lines.split_first() else { return 0 };
    let first = first.trim_start();
    let fence = &first[..first.len() - first.trim_start_matches(['`', '~']).len()];
    if fence.len() < 3 {
        return 0;
    }
    let closes = |line: &&str| {
        line.trim()
            .strip_prefix(fence)
            .is_some_and(|rest| rest.trim_matches(['`', '~']).is_empty())
    };
    1 + others.iter().position(closes).map_or(others.len(), |at| at + 1)
}

fn problem_of_block(root: &Path, mark: Option<&Mark<'_>>, lines: &[&str]) -> Option<String> {
    let Some(mark) = mark else {
        let tag = lines.first().map_or("", |fence| fence.trim().trim_start_matches(['`', '~']));
        return (!COMMANDS.contains(&tag)).then(|| {
            format!("a block tagged `{tag}` without a mark that says what it copies")
        });
    };
    match mark.block(root) {
        Ok(block) if block == joined(lines) => None,
        Ok(_) => Some(format!("differs from {mark}; `just bless` copies it")),
        Err(problem) => Some(problem),
    }
}

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn words_in(line: &str) -> usize {
    if line.starts_with("<!--") {
        return 0;
    }
    line.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()
}

/// The files that a line links to, as `[text](file)` or `[name]: file`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = line.starts_with('[').then(|| line.split_once("]: ")).flatten();
    inline
        .chain(defined.map(|(_, target)| target))
        .filter(|link| !(link.contains("://") || link.starts_with(['#'])))
}
