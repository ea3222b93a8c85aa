//! Systems without descriptors that travel between processes: every start is an error that says
//! so, and no type below can exist. Nothing hangs, and everything above compiles.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::process::Stdio;
use std::time::Instant;

pub(crate) type Handle = Socket;

/// One end of a two-way connection between two processes.
#[derive(Debug)]
pub struct Socket(Infallible);

fn unsupported<T>() -> io::Result<T> {
    let cause = "processes that talk need Unix; the lessons on threads run here";
    Err(io::Error::new(io::ErrorKind::Unsupported, cause))
}

impl Socket {
    /// Two connected ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        unsupported()
    }

    /// The end that the parent gave this process.
    pub fn inherited() -> io::Result<Self> {
        unsupported()
    }

    /// A second handle to the same end.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self.0 {}
    }

    /// Ends the connection.
    pub fn shut_down(&self) {
        match self.0 {}
    }

    pub(crate) fn send(&self, _: &[&[u8]], _: &[Handle], _: bool) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn receive(&self, _: &mut [u8], _: &mut VecDeque<Handle>) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn wait_readable(&self, _: Instant) -> io::Result<bool> {
        match self.0 {}
    }

    pub(crate) fn wait_writable(&self, _: Option<Instant>) -> io::Result<bool> {
        match self.0 {}
    }
}

impl From<Socket> for Stdio {
    fn from(socket: Socket) -> Self {
        match socket.0 {}
    }
}

impl From<Socket> for File {
    fn from(socket: Socket) -> Self {
        match socket.0 {}
    }
}

impl From<File> for Socket {
    /// Never called: [`nameless_memory`] gives no file out.
    fn from(_: File) -> Self {
        unreachable!("there is no shared memory here")
    }
}

pub(crate) fn wait_readable(_: &[&Socket], _: Option<Instant>) -> io::Result<Vec<bool>> {
    unsupported()
}

pub(crate) fn stays_large(_: &File) -> bool {
    false
}

pub(crate) fn nameless_memory(_: u64) -> io::Result<File> {
    unsupported()
}

pub(crate) fn advice(_: &io::Error) -> Option<&'static str> {
    None
}
