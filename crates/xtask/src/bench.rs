//! Runs the benchmarks of the workspace one after another, so that none disturbs another.

use std::path::Path;

use anyhow::ensure;

use crate::{cargo, tree};

/// A benchmark: `crates/gil/benches/lock.rs`.
#[derive(Debug, PartialEq, Eq)]
pub struct Bench {
    /// `gil`
    pub package: String,
    /// `lock`
    pub name: String,
}

impl Bench {
    /// Every benchmark of the tree, or those whose crate or own name is `wanted`.
    #[must_use]
    pub fn find(root: &Path, wanted: Option<&str>) -> Vec<Self> {
        let benches = tree::names(root, "crates").into_iter().flat_map(|package| {
            let files = tree::names(root, &format!("crates/{package}/benches")).into_iter();
            files.filter_map(move |file| {
                let name = file.strip_suffix(".rs")?.to_owned();
                Some(Self { package: package.clone(), name })
            })
        });
        benches
            .filter(|Self { package, name }| wanted.is_none_or(|w| package == w || name == w))
            .collect()
    }

    /// Builds it as a release and runs it.
    ///
    /// # Errors
    /// When it cannot be built, or misses a goal and says so by its exit status.
    pub fn run(&self) -> anyhow::Result<()> {
        let Self { package, name } = self;
        println!("{package}: {name}");
        let status =
            cargo(["bench", "--quiet", "--locked", "--package", package, "--bench", name])?;
        ensure!(status.success(), "the benchmark {name} of {package} failed: {status}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn benchmarks_are_found_by_crate_and_by_name() {
        let root = tempfile::tempdir().unwrap();
        for file in ["gil/benches/lock.rs", "tasks/benches/grows_with_n.rs", "cli/src/lib.rs"] {
            let path = root.path().join("crates").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let find = |wanted| Bench::find(root.path(), wanted);
        let lock = Bench { package: "gil".into(), name: "lock".into() };
        let grows = Bench { package: "tasks".into(), name: "grows_with_n".into() };

        assert_eq!(find(Some("gil")), [lock]);
        assert_eq!(find(Some("grows_with_n")), [grows]);
        assert_eq!(find(None).len(), 2);
        assert_eq!(find(Some("cli")), []);
    }
}
