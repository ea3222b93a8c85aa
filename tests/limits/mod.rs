//! Runs a program where the system is short of something. It does its work, or says in one line
//! what it was refused, and ends with status 1: no panic, no signal, no wait for ever.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs, process};

use crate::common::skipped;

/// How long a program may take: it neither hangs nor is it silent until somebody gives up.
const DEADLINE: &str = "60";

/// Tries the program under limits on threads, memory and open files.
pub fn are_said_in_one_line(program: &str, flags: &[&str]) {
    if !works(&["prlimit", "--nofile=64", "true"]) || !works(&["timeout", "9", "true"]) {
        return skipped("no prlimit and timeout here, which set the limits");
    }
    // Threads are counted by user: so a user without any, who needs a copy that he may read.
    let copy = Copy::of(program).expect("a temporary file can be made");
    let user = format!("{}", 1_000_000 + process::id());
    let as_user = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
    if works(&[&as_user[..], &[copy.path(), "--version"]].concat()) {
        for threads in [1, 2, 3, 5, 8, 20] {
            let limit = format!("--nproc={threads}");
            check(&[&as_user[..], &["prlimit", &limit, copy.path()], flags].concat());
        }
    } else {
        let as_user = as_user.join(" ");
        skipped(&format!("most limits on threads, for `{as_user}` does not work here"));
        // No more than this user has now; root has no limit.
        check(&[&["prlimit", "--nproc=1", program], flags].concat());
    }
    for mebibytes in [128_u64, 256, 512, 1024] {
        let limit = format!("--as={}", mebibytes << 20);
        check(&[&["prlimit", &limit, program], flags].concat());
    }
    for files in [16, 32, 64] {
        let limit = format!("--nofile={files}");
        check(&[&["prlimit", &limit, program], flags].concat());
    }
}

fn check(command: &[&str]) {
    let line = command.join(" ");
    let output =
        run(&[&["timeout", DEADLINE], command].concat()).expect("timeout can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines = stderr.lines().count();
    match output.status.code() {
        Some(0) => {}
        Some(1) => assert!(lines == 1 && stderr.starts_with("Error: "), "{line}\n{stderr}"),
        _ => panic!("{line}\n{}\n{stderr}", output.status),
    }
}

fn works(command: &[&str]) -> bool {
    run(command).is_ok_and(|output| output.status.success())
}

fn run(command: &[&str]) -> io::Result<Output> {
    Command::new(command[0]).args(&command[1..]).stdin(process::Stdio::null()).output()
}

/// A copy of a program that every user may run. Removed in the end.
struct Copy(PathBuf);

impl Copy {
    fn of(program: &str) -> io::Result<Self> {
        let name = Path::new(program).file_name().expect("a program has a name");
        let folder = env::temp_dir().join(format!("limits-{}", process::id()));
        fs::create_dir_all(&folder)?;
        let copy = Self(folder.join(name));
        // Not by this process: a program that another thread starts meanwhile would hold the file
        // open for writing, and nobody can run it then.
        run(&["install", "-m", "755", program, copy.path()])?;
        Ok(copy)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a temporary folder and our own name")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        // The last of a test program takes the folder along.
        let _ = self.0.parent().map(fs::remove_dir);
    }
}
