//! Real interpreters: finding them, and having them run `lessons/python/scenarios.py`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use assert_cmd::Command;
use serde::Deserialize;
use serde_json::from_str;

use crate::scenario::{Scenario, Series};

const SCENARIOS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../lessons/python/scenarios.py");

/// A scenario takes a few seconds, and to say what it is takes an interpreter far less. One that
/// takes this long hangs.
const MEASURES: Duration = Duration::from_secs(120);
const SAYS_WHAT_IT_IS: Duration = Duration::from_secs(20);
const OLDEST: (u8, u8) = (3, 9);

/// A Python that runs here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Interpreter {
    /// `CPython 3.13.0`; a `t` behind it says that it runs without a lock.
    pub name: String,
    version: (u8, u8),
    /// What its names lead to in the end.
    pub executable: PathBuf,
}

/// What `scenarios.py` prints for a scenario.
#[derive(Deserialize)]
struct Measured {
    scenario: Scenario,
    series: Series,
}

/// Each interpreter once, though it may have several names: those on the `PATH` that run, and
/// those that the caller names, by path or command. What is wrong with one of the latter is an
/// error.
pub fn find(named: &[PathBuf]) -> (Vec<Interpreter>, Vec<anyhow::Error>) {
    let names = (9..=30).map(|minor| format!("python3.{minor}"));
    let on_the_path = [String::from("python3")].into_iter().chain(names).map(PathBuf::from);
    // A name may be there and lead nowhere: a version manager's stand-in.
    let mut found: Vec<_> =
        on_the_path.filter_map(|name| Interpreter::at(&name).ok()).collect();
    let mut errors = Vec::new();
    for program in named {
        match Interpreter::at(program) {
            Ok(interpreter) => found.push(interpreter),
            Err(error) => errors.push(error.context(program.display().to_string())),
        }
    }
    found.sort_by(|a, b| (a.version, &a.executable).cmp(&(b.version, &b.executable)));
    found.dedup_by(|a, b| a.executable == b.executable);
    (found, errors)
}

impl Interpreter {
    fn at(program: &Path) -> Result<Self> {
        let told = run(program, "about", SAYS_WHAT_IT_IS)?;
        let interpreter: Self = from_str(&told).context("it does not say what it is")?;
        let (name, (major, minor)) = (&interpreter.name, OLDEST);
        ensure!(interpreter.version >= OLDEST, "{name} is older than Python {major}.{minor}");
        Ok(interpreter)
    }

    /// Has it run a scenario once.
    ///
    /// # Errors
    /// When it cannot be started, fails, hangs, or prints something else.
    pub fn measure(&self, scenario: Scenario) -> Result<Series> {
        run(&self.executable, &scenario.name(), MEASURES)
            .and_then(|told| parse(&told, scenario))
            .with_context(|| scenario.name())
            .with_context(|| format!("{} ({})", self.name, self.executable.display()))
    }
}

fn parse(told: &str, scenario: Scenario) -> Result<Series> {
    let measured: Measured = from_str(told).context("it prints no series of samples")?;
    ensure!(measured.scenario == scenario, "it measured {} instead", measured.scenario.name());
    let mut expected = scenario.series();
    expected.sort_unstable();
    let printed: Vec<_> = measured.series.keys().collect();
    ensure!(expected.iter().eq(printed), "it prints other series than {}", expected.join(", "));
    Ok(measured.series)
}

fn run(program: &Path, word: &str, deadline: Duration) -> Result<String> {
    let start = Instant::now();
    let output = Command::new(program).args([SCENARIOS, word]).timeout(deadline).output()?;
    // The time-out counts whole milliseconds, and may pass a moment early.
    let in_time = start.elapsed() + Duration::from_millis(5) < deadline;
    ensure!(in_time, "no end within {deadline:?}");
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        // The last line of a traceback is the one that says what it was.
        let last = words.trim_end().lines().next_back().unwrap_or("it does not say why");
        bail!("{}: {last}", output.status);
    }
    String::from_utf8(output.stdout).context("it prints no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interpreter_says_of_itself_is_read() {
        let told = r#"{"name": "CPython 3.14.0t", "version": [3, 14], "executable": "/p"}"#;
        let expected = Interpreter {
            name: "CPython 3.14.0t".into(),
            version: (3, 14),
            executable: "/p".into(),
        };
        assert_eq!(from_str::<Interpreter>(told).unwrap(), expected);
    }

    #[test]
    #[cfg(unix)]
    fn an_interpreter_that_hangs_is_killed() {
        // `tail` never reaches the end of what follows the script.
        let program = Path::new("tail");
        let error = run(program, "--follow", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.to_string(), "no end within 100ms");
    }

    #[test]
    fn samples_are_read_and_anything_else_is_named() {
        let turns = r#"{"scenario": "turns", "series": {"5 ms": [0.005, 1], "0.5 ms": [], "50 ms": [5e-2]}}"#;
        let series = parse(turns, Scenario::Turns).unwrap();
        assert_eq!(series["5 ms"], [0.005, 1.0]);
        assert_eq!(series["0.5 ms"], [0.0; 0]);
        assert_eq!(series["50 ms"], [0.05]);

        for (told, scenario, why) in [
            ("", Scenario::Turns, "it prints no series of samples"),
            ("hello", Scenario::Turns, "it prints no series of samples"),
            (r#"{"scenario": "turns"}"#, Scenario::Turns, "it prints no series of samples"),
            (&turns.replace("1]", "NaN]"), Scenario::Turns, "it prints no series of samples"),
            (turns, Scenario::Native, "it measured turns instead"),
            (
                r#"{"scenario": "turns", "series": {"5 ms": []}}"#,
                Scenario::Turns,
                "it prints other series than 0.5 ms, 5 ms, 50 ms",
            ),
        ] {
            assert_eq!(parse(told, scenario).unwrap_err().to_string(), why, "{told}");
        }
    }
}
