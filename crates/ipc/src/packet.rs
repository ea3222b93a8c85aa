//! A message as it travels: its bytes, and the open handles that it mentions.

use std::cell::RefCell;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::buffer::{self, Encoding};
use crate::os::Handle;

/// An encoded message.
#[derive(Debug)]
pub struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) handles: Vec<Handle>,
}

struct Travellers {
    /// By place; none where one has been taken out.
    handles: Vec<Option<Handle>>,
    /// Why an end could not come along: serde formats drop the text of an error.
    failure: Option<io::Error>,
}

thread_local! {
    /// The handles of the message that this thread encodes or decodes just now: serde's own
    /// stream has room for bytes only. `None` outside of a message.
    static TRAVELLERS: RefCell<Option<Travellers>> = const { RefCell::new(None) };
}

impl Packet {
    /// Turns a message into bytes. The ends of pipes and queues in it go along.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::TooLarge`], [`Error::TooManyEnds`], and [`Error::Io`] when an
    /// end cannot come along.
    pub fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Self, Error> {
        let scope = Scope::open(Vec::new());
        let encoded = postcard::serialize_with_flavor(message, Encoding::default());
        let Travellers { handles, failure } = scope.close();
        match (encoded, failure) {
            (Ok(bytes), _) => {
                let handles = handles.into_iter().flatten().collect();
                let packet = Self { bytes, handles };
                // Here, not when it is sent: then it could be too late to tell the sender.
                packet.measure()?;
                Ok(packet)
            }
            (Err(_), Some(failure)) => Err(Error::Io(failure)),
            (Err(error), None) => Err(Error::Encode(error)),
        }
    }

    /// Turns the bytes back into a message, all of them.
    ///
    /// # Errors
    /// [`Error::Decode`], [`Error::LeftOver`].
    pub fn decode<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (message, rest) = self.split_first()?;
        match rest.bytes.len() {
            0 => Ok(message),
            left_over => Err(Error::LeftOver(left_over)),
        }
    }

    /// The encoded message: for protocols that look at its first byte before they decode it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many ends of pipes, queues or shared memory travel along.
    pub fn ends(&self) -> usize {
        self.handles.len()
    }

    /// Puts `first` before the message: what a relay says about a message it does not read.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::TooLarge`].
    pub fn prepend<T: Serialize>(mut self, first: &T) -> Result<Self, Error> {
        self.bytes.splice(..0, postcard::to_stdvec(first).map_err(Error::Encode)?);
        self.measure()?;
        Ok(self)
    }

    /// Takes off what [`prepend`](Self::prepend) put there; the message itself stays encoded.
    ///
    /// # Errors
    /// [`Error::Decode`].
    pub fn split_first<T: DeserializeOwned>(mut self) -> Result<(T, Self), Error> {
        let handles = std::mem::take(&mut self.handles);
        let scope = Scope::open(handles.into_iter().map(Some).collect());
        let (first, rest) = postcard::take_from_bytes(&self.bytes).map_err(Error::Decode)?;
        let read = self.bytes.len() - rest.len();
        self.bytes.drain(..read);
        self.handles = scope.close().handles.into_iter().flatten().collect();
        Ok((first, self))
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        buffer::recycle(std::mem::take(&mut self.bytes));
    }
}

/// A message that was put together by hand; no ends travel along.
impl From<Vec<u8>> for Packet {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, handles: Vec::new() }
    }
}

/// Makes handles available to [`attach`] and [`detach`] while a message is encoded or decoded,
/// and puts back what was there when it ends, by a panic too.
struct Scope {
    outer: Option<Travellers>,
}

impl Scope {
    fn open(handles: Vec<Option<Handle>>) -> Self {
        Self { outer: TRAVELLERS.replace(Some(Travellers { handles, failure: None })) }
    }

    fn close(self) -> Travellers {
        TRAVELLERS.take().expect("the scope is open")
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        TRAVELLERS.set(self.outer.take());
    }
}

/// Serializes a handle: the handle itself goes beside the bytes, its place into them.
pub(crate) fn attach<S: Serializer>(
    serializer: S,
    open: impl FnOnce() -> io::Result<Handle>,
) -> Result<S::Ok, S::Error> {
    use serde::ser::Error;
    if TRAVELLERS.with_borrow(Option::is_none) {
        return Err(Error::custom("an end travels only in a message to a process"));
    }
    // Outside of the borrow: opening an end may mean sending a message of its own.
    let opened = open();
    let place = TRAVELLERS.with_borrow_mut(|travellers| {
        let Travellers { handles, failure } = travellers.as_mut().expect("looked at above");
        let handle = opened.map_err(|error| {
            let text = error.to_string();
            *failure = Some(error);
            Error::custom(text)
        })?;
        handles.push(Some(handle));
        Ok(handles.len() - 1)
    })?;
    place.serialize(serializer)
}

/// Deserializes what [`attach`] wrote.
pub(crate) fn detach<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Handle, D::Error> {
    use serde::de::Error;
    let place = usize::deserialize(deserializer)?;
    TRAVELLERS
        .with_borrow_mut(|travellers| travellers.as_mut()?.handles.get_mut(place)?.take())
        .ok_or_else(|| Error::custom("the message mentions a handle that did not come with it"))
}
