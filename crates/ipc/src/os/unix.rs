//! Unix: socket pairs, and descriptors that travel through them (`SCM_RIGHTS`, unix(7)).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd;

/// What travels beside the bytes of a message: an open descriptor.
pub(crate) type Handle = OwnedFd;

/// One end of a two-way connection between two processes.
#[derive(Debug)]
pub struct Socket(UnixStream);

impl Socket {
    /// Two connected ends.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Self(a), Self(b)))
    }

    /// The end that the parent gave this process as its standard input.
    ///
    /// Standard input is empty from here on: a task that reads it sees its end, not the frames.
    ///
    /// # Errors
    /// When standard input is no connection.
    pub fn inherited() -> io::Result<Self> {
        // Closed on exec: a program that a task starts must not hold the connection open when
        // this process dies.
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Fails with `NotASocket` when the program was started by hand.
        socket.peer_addr()?;
        unistd::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self(socket))
    }

    /// A second handle to the same end.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Ends the connection: both sides see the end of file, even while one waits for bytes or for
    /// room, and whoever else holds an end. What has arrived by then is still received (on Linux;
    /// other systems may drop it).
    pub fn shut_down(&self) {
        // It fails only when the other side has ended the connection already.
        let _ = self.0.shutdown(Shutdown::Both);
    }

    /// Sends as many bytes of `parts` as the connection takes now; `handles` arrive with the first
    /// of them. Waits for room for all, or, unless `waits`, for none: [`io::ErrorKind::WouldBlock`].
    pub(crate) fn send(
        &self,
        parts: &[&[u8]],
        handles: &[Handle],
        waits: bool,
    ) -> io::Result<usize> {
        let raw: Vec<RawFd> = handles.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let attached = if raw.is_empty() { &[][..] } else { &rights[..] };
        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let flags = if waits { NO_SIGNAL } else { NO_SIGNAL | MsgFlags::MSG_DONTWAIT };
        loop {
            match sendmsg::<()>(self.0.as_raw_fd(), &slices, attached, flags, None) {
                Err(Errno::EINTR) => {}
                sent => return Ok(sent?),
            }
        }
    }

    /// Receives some bytes, 0 at the end of the connection, and appends what came with them.
    pub(crate) fn receive(
        &self,
        bytes: &mut [u8],
        handles: &mut VecDeque<Handle>,
    ) -> io::Result<usize> {
        // Room for the most descriptors that one message carries (SCM_MAX_FD on Linux).
        let mut room = nix::cmsg_space!([RawFd; 253]);
        loop {
            let mut slices = [IoSliceMut::new(bytes)];
            let received = match recvmsg::<()>(
                self.0.as_raw_fd(),
                &mut slices,
                Some(&mut room),
                CLOSE_ON_EXEC,
            ) {
                Ok(received) => received,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            // A message whose handles did not all arrive (no descriptors left here) is broken, and
            // so is what follows: the stream has no place to go on from. The kernel has closed
            // what it did not hand over, and does not say why.
            let truncated = |_| {
                io::Error::other(format!("a message came without all of its ends: {FILES}"))
            };
            for message in received.cmsgs().map_err(truncated)? {
                if let ControlMessageOwned::ScmRights(raw) = message {
                    handles.extend(raw.into_iter().map(|raw| {
                        #[expect(
                            unsafe_code,
                            reason = "nix hands received descriptors out raw"
                        )]
                        // SAFETY: the kernel made these descriptors for this call; nobody else
                        // knows them.
                        unsafe {
                            OwnedFd::from_raw_fd(raw)
                        }
                    }));
                }
            }
            return Ok(received.bytes);
        }
    }

    /// Waits until bytes, or the end of the connection, can be received; false when `deadline`
    /// passes first.
    pub(crate) fn wait_readable(&self, deadline: Instant) -> io::Result<bool> {
        Ok(wait(&[self], PollFlags::POLLIN, Some(deadline))?[0])
    }

    /// Waits until bytes can be sent, or the other end is gone; false when `deadline` passes first.
    pub(crate) fn wait_writable(&self, deadline: Option<Instant>) -> io::Result<bool> {
        Ok(wait(&[self], PollFlags::POLLOUT, deadline)?[0])
    }
}

/// Waits until one of the connections can be received from: which can, and none when `deadline`
/// passes first.
pub(crate) fn wait_readable(
    sockets: &[&Socket],
    deadline: Option<Instant>,
) -> io::Result<Vec<bool>> {
    wait(sockets, PollFlags::POLLIN, deadline)
}

fn wait(
    sockets: &[&Socket],
    for_what: PollFlags,
    deadline: Option<Instant>,
) -> io::Result<Vec<bool>> {
    let mut watched: Vec<_> =
        sockets.iter().map(|socket| PollFd::new(socket.0.as_fd(), for_what)).collect();
    loop {
        let now = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let time_out = left.map_or(PollTimeout::NONE, |left| {
            // Rounded up: waking early would turn the rest of the time-out into a busy loop.
            let left = left.saturating_add(Duration::from_nanos(999_999));
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut watched, time_out) {
            Ok(0) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
            Err(Errno::EINTR) => {}
            Ok(_) => return Ok(watched.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
            Err(error) => return Err(error.into()),
        }
    }
}

const FILES: &str = "this process may have no more open files (ulimit -n)";

/// What can be done about an error of the system.
pub(crate) fn advice(error: &io::Error) -> Option<&'static str> {
    Some(match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE => FILES,
        Errno::ENFILE => "all programs together may have no more open files",
        Errno::ETOOMANYREFS => "too many open files are on their way to processes (ulimit -n)",
        // Of what starts a process or a thread; nothing else is tried again later.
        Errno::EAGAIN => "this user may have no more processes and threads (ulimit -u)",
        _ => return None,
    })
}

/// To wait for the connection beside others. It is readable when something comes, its end too; a
/// message in the ring of a channel shows there only while that channel's receiver sleeps.
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Handle> for Socket {
    fn from(handle: Handle) -> Self {
        Self(handle.into())
    }
}

impl From<Socket> for Handle {
    fn from(socket: Socket) -> Self {
        socket.0.into()
    }
}

impl From<Socket> for Stdio {
    fn from(socket: Socket) -> Self {
        OwnedFd::from(socket.0).into()
    }
}

/// A peer that is gone is an error of this call, not a signal that ends the process.
#[cfg(target_os = "linux")]
const NO_SIGNAL: MsgFlags = MsgFlags::MSG_NOSIGNAL;
/// Rust's runtime ignores SIGPIPE before `main`.
#[cfg(not(target_os = "linux"))]
const NO_SIGNAL: MsgFlags = MsgFlags::empty();

/// What arrives must not leak into processes that another thread starts at this moment: an end
/// that a stranger holds open never shows its end of file.
#[cfg(target_os = "linux")]
const CLOSE_ON_EXEC: MsgFlags = MsgFlags::MSG_CMSG_CLOEXEC;
/// Without the flag the standard library's own close-on-spawn covers all but a short moment.
#[cfg(not(target_os = "linux"))]
const CLOSE_ON_EXEC: MsgFlags = MsgFlags::empty();

/// `len` zero bytes that exist as long as somebody holds or maps them, and cannot shrink under
/// a process that maps them.
#[cfg(target_os = "linux")]
pub(crate) fn nameless_memory(len: u64) -> io::Result<File> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create("ipc", flags)?);
    file.set_len(len)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))?;
    Ok(file)
}

/// Whether memory that came from another process stays as large as it is: reading beyond the end of
/// a file that has shrunk ends the process.
#[cfg(target_os = "linux")]
pub(crate) fn stays_large(file: &File) -> bool {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};

    fcntl(file, FcntlArg::F_GET_SEALS).is_ok_and(|seals| {
        SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_SHRINK)
    })
}

/// Nobody knows where there are no seals; the processes are trusted not to shrink it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn stays_large(_: &File) -> bool {
    true
}

/// `len` zero bytes that exist as long as somebody holds or maps them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn nameless_memory(len: u64) -> io::Result<File> {
    let file = tempfile::tempfile()?;
    file.set_len(len)?;
    Ok(file)
}
