use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::os::Socket;
use crate::packet::{attach, detach};
use crate::{Channel, Error, Packet, RecvHalf, Waitable, wait};

/// One end of a two-way pipe between two processes: sends `S`, receives `R`.
///
/// The counterpart of `multiprocessing.Pipe()`, with two differences: the types are checked,
/// and an end that travels to another process leaves none behind, so that the end of file is
/// seen. Waiting on both sides at once is the caller's deadlock, as with every pipe.
#[derive(Debug)]
pub struct Pipe<S, R> {
    channel: Channel,
    types: PhantomData<fn(S) -> R>,
}

/// The two ends of a pipe.
pub type Ends<A, B> = (Pipe<A, B>, Pipe<B, A>);

/// A two-way pipe: what one end sends, the other receives.
///
/// # Errors
/// [`Error::Io`] when the operating system has no more descriptors.
pub fn pipe<A, B>() -> Result<Ends<A, B>, Error> {
    let (a, b) = Channel::pair()?;
    Ok((Pipe::over(a), Pipe::over(b)))
}

impl<S, R> Pipe<S, R> {
    fn over(channel: Channel) -> Self {
        Self { channel, types: PhantomData }
    }
}

impl<S: Serialize, R: DeserializeOwned> Pipe<S, R> {
    /// Sends one message; waits while the other side is behind with reading.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::Encode`], [`Error::TooLarge`].
    pub fn send(&self, message: &S) -> Result<(), Error> {
        self.channel.send(&Packet::encode(message)?)
    }

    /// The same, for at most `time_out`: then the message never arrives.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`Error::TimedOut`].
    pub fn send_timeout(&self, message: &S, time_out: Duration) -> Result<(), Error> {
        self.channel.send_timeout(&Packet::encode(message)?, time_out)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the other process has closed its end or is gone,
    /// [`Error::Truncated`], [`Error::Decode`].
    pub fn recv(&mut self) -> Result<R, Error> {
        self.channel.recv()?.decode()
    }

    /// The same, for at most `time_out`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`Error::TimedOut`].
    pub fn recv_timeout(&mut self, time_out: Duration) -> Result<R, Error> {
        self.channel.recv_timeout(time_out)?.decode()
    }
}

impl<S, R> Pipe<S, R> {
    /// Whether [`recv`](Self::recv) would not wait, after at most `time_out`: a message has come
    /// whole, or none comes any more.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses.
    pub fn poll(&mut self, time_out: Duration) -> Result<bool, Error> {
        Ok(!wait(&mut [self], Some(time_out))?.is_empty())
    }
}

/// Several pipes, of any types, are waited for by [`wait`].
impl<S, R> Waitable for Pipe<S, R> {
    fn receiving(&mut self) -> &mut RecvHalf {
        self.channel.receiving()
    }
}

/// An end travels once: the process that sends it drops its own with the message. One that has
/// read ahead stays: what it has read would stay behind. So does one with more than 16 messages
/// behind it in either direction: by then the two sides have settled.
impl<S, R> Serialize for Pipe<S, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        attach(serializer, || match self.channel.is_fresh() {
            true => Ok(self.channel.socket().try_clone()?.into()),
            false => Err(io::Error::other(
                "a pipe in full use, or with messages left to receive, cannot travel",
            )),
        })
    }
}

impl<'de, S, R> Deserialize<'de> for Pipe<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::over(Socket::from(detach(deserializer)?).into()))
    }
}
