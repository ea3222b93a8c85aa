//! The source tree as the checks read it. Paths are relative to its root, with `/`.

use std::fs;
use std::path::Path;

/// The root of the workspace that this program was built in.
#[must_use]
pub fn root() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("this crate lives in crates/xtask")
}

/// The names in a folder, sorted; none when there is no such folder.
pub(crate) fn names(root: &Path, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The text of a file with line feeds only, as a checkout on any platform must show it.
///
/// # Errors
/// One line that names the file and the cause.
pub(crate) fn read(root: &Path, path: &str) -> Result<String, String> {
    match fs::read_to_string(root.join(path)) {
        Ok(text) => Ok(text.replace("\r\n", "\n")),
        Err(error) => Err(format!("cannot read {path}: {error}")),
    }
}
