use std::path::Path;

use crate::tree;

/// A lesson, known by its crate. Number and name are shared by crate, page, test and Python
/// counterpart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// Its crate and its program: `lesson-04-ipc-queue`.
    pub name: String,
}

impl Lesson {
    /// Every lesson of the tree, by number.
    #[must_use]
    pub fn all(root: &Path) -> Vec<Self> {
        tree::names(root, "crates")
            .into_iter()
            .filter(|name| name.starts_with("lesson-"))
            .map(|name| Self { name })
            .collect()
    }

    /// The lesson called `wanted`, by number (`4`, `04`) or name (`ipc-queue`, `04-ipc-queue`,
    /// `lesson-04-ipc-queue`).
    ///
    /// # Errors
    /// One line that lists the lessons.
    pub fn find(root: &Path, wanted: &str) -> Result<Self, String> {
        let lessons = Self::all(root);
        let known = lessons.iter().map(Self::slug).collect::<Vec<_>>().join(", ");
        let found = lessons.into_iter().find(|lesson| lesson.is_called(wanted));
        found.ok_or_else(|| format!("the lessons are: {known}"))
    }

    /// Its programs: the one that is called as its crate, and those of `src/bin` whose output
    /// without flags a snapshot shows. Others may wait for somebody, as a server does.
    #[must_use]
    pub fn programs(&self, root: &Path) -> Vec<String> {
        let test = self.name.replace('-', "_");
        let snapshots = tree::names(root, "tests/snapshots").into_iter();
        let shown: Vec<_> = snapshots
            .filter(|file| file.starts_with(&test))
            .filter_map(|file| tree::read(root, &format!("tests/snapshots/{file}")).ok())
            .collect();
        let alone = |program: &str| {
            let command = format!("$ {program}");
            shown.iter().any(|text| text.lines().any(|line| line == command))
        };
        let others = tree::names(root, &format!("crates/{}/src/bin", self.name)).into_iter();
        let others = others.map(|file| file.trim_end_matches(".rs").to_owned());
        [self.name.clone()].into_iter().chain(others.filter(|other| alone(other))).collect()
    }

    fn is_called(&self, wanted: &str) -> bool {
        let (number, topic) = self.slug().split_once('-').unwrap_or((self.slug(), ""));
        let same_number = wanted.parse::<u8>().is_ok_and(|n| number.parse() == Ok(n));
        same_number || [topic, self.slug(), &self.name].contains(&wanted)
    }

    /// What crate, page and counterpart share: `04-ipc-queue`.
    fn slug(&self) -> &str {
        self.name.trim_start_matches("lesson-")
    }

    /// `lessons/04-ipc-queue.md`
    #[must_use]
    pub fn page(&self) -> String {
        format!("lessons/{}.md", self.slug())
    }

    /// `tests/lesson_04_ipc_queue.rs`
    #[must_use]
    pub fn test(&self) -> String {
        format!("tests/{}.rs", self.name.replace('-', "_"))
    }

    /// `lessons/python/04_ipc_queue.py`
    #[must_use]
    pub fn python(&self) -> String {
        format!("lessons/python/{}.py", self.slug().replace('-', "_"))
    }

    /// `python__04_ipc_queue`, what the counterpart prints.
    #[must_use]
    pub fn python_snapshot(&self) -> String {
        format!("python__{}", self.slug().replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_lesson_is_found_by_number_and_by_name() {
        let root = tempfile::tempdir().unwrap();
        for name in ["gil", "lesson-03-processes", "lesson-04-ipc-queue", "lesson-13-choosing"]
        {
            fs::create_dir_all(root.path().join("crates").join(name)).unwrap();
        }
        let find = |wanted| Lesson::find(root.path(), wanted);

        for wanted in ["3", "03", "processes", "03-processes", "lesson-03-processes"] {
            let found = find(wanted).unwrap();
            assert_eq!(found.name, "lesson-03-processes", "{wanted}");
        }
        assert_eq!(Lesson::all(root.path()).len(), 3);
        for wanted in ["0", "33", "gil", "process", "-3"] {
            let known = "the lessons are: 03-processes, 04-ipc-queue, 13-choosing";
            assert_eq!(find(wanted), Err(known.into()), "{wanted}");
        }
    }

    #[test]
    fn the_programs_of_a_lesson_are_its_own_and_those_that_a_snapshot_shows_without_flags() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let lesson = Lesson { name: "lesson-04-ipc-queue".into() };
        assert_eq!(lesson.programs(root.path()), ["lesson-04-ipc-queue"]);

        for program in ["native.rs", "serve.rs", "turns/main.rs"] {
            write(&format!("crates/lesson-04-ipc-queue/src/bin/{program}"), "");
        }
        write("tests/snapshots/lesson_04_ipc_queue__native.snap", "---\n$ native\n4 answers\n");
        write("tests/snapshots/lesson_04_ipc_queue_in_depth__turns.snap", "---\n$ turns\n");
        write("tests/snapshots/lesson_04_ipc_queue__errors.snap", "---\n$ serve --port 0\n");
        write("tests/snapshots/lesson_05_hybrid__default.snap", "---\n$ serve\n");
        assert_eq!(lesson.programs(root.path()), ["lesson-04-ipc-queue", "native", "turns"]);
    }

    #[test]
    fn the_parts_of_a_lesson_share_its_number_and_name() {
        let lesson = Lesson { name: "lesson-04-ipc-queue".into() };
        assert_eq!(lesson.page(), "lessons/04-ipc-queue.md");
        assert_eq!(lesson.test(), "tests/lesson_04_ipc_queue.rs");
        assert_eq!(lesson.python(), "lessons/python/04_ipc_queue.py");
    }
}
