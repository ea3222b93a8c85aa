//! What a worker prints, line by line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::Command;
use std::thread::{self, JoinHandle};

use crate::os;

/// A line that goes on for longer is passed on in pieces.
const LONGEST: u64 = 64 << 10;

/// The threads that pass on what one worker prints. They end with it, even if a program that it
/// started goes on printing.
#[derive(Debug)]
pub(crate) struct Output {
    streams: Vec<(os::Stream, JoinHandle<()>)>,
}

impl Output {
    /// Has each line of `command` printed whole, behind `prefix`.
    pub(crate) fn prefixed(command: &mut Command, prefix: &str) -> io::Result<Self> {
        let mut output = Self { streams: Vec::new() };
        let (stream, theirs) = os::stream()?;
        command.stdout(theirs);
        output.pass_on(stream, prefix.to_owned(), |line| io::stdout().write_all(line))?;
        let (stream, theirs) = os::stream()?;
        command.stderr(theirs);
        output.pass_on(stream, prefix.to_owned(), |line| io::stderr().write_all(line))?;
        Ok(output)
    }

    fn pass_on(
        &mut self,
        stream: os::Stream,
        prefix: String,
        print: fn(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut from = BufReader::new(stream.try_clone()?);
        let thread = thread::Builder::new().name("output".into()).spawn(move || {
            let mut line = Vec::new();
            loop {
                line.clear();
                line.extend(prefix.as_bytes());
                match from.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
                if line.last() != Some(&b'\n') {
                    line.push(b'\n');
                }
                // In one piece. When nobody reads, the worker is not to hang for it: what it
                // prints is read all the same.
                let _ = print(&line);
            }
        })?;
        self.streams.push((stream, thread));
        Ok(())
    }
}

impl Drop for Output {
    /// Passes on what has been printed, and no more.
    fn drop(&mut self) {
        for (stream, thread) in self.streams.drain(..) {
            os::end(&stream);
            // It does not panic; a second panic while one unwinds would end the program.
            let _ = thread.join();
        }
    }
}
