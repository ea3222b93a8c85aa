use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitStatus};

use anyhow::Context;

use crate::root;

/// Runs cargo in the workspace, with the terminal of this program, and waits for its end.
///
/// # Errors
/// When cargo cannot be started.
pub fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<ExitStatus> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root()).status().context("cannot start cargo")
}
