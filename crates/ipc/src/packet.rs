//! A message as it travels: its bytes, and the open handles that it mentions.

use std::cell::{Cell, RefCell};
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::buffer::{self, Encoding};
use crate::error::explained;
use crate::os::Handle;
use crate::told::{Telling, Told};

/// An encoded message.
#[derive(Debug)]
pub struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) handles: Vec<Handle>,
}

struct Travellers {
    /// By place; none where one has been taken out.
    handles: Vec<Option<Handle>>,
    /// Why an end could not come along: an error of the format has no room for it.
    failure: Option<io::Error>,
}

thread_local! {
    /// The handles of the message that this thread encodes or decodes just now: serde's own
    /// stream has room for bytes only. `None` outside of a message.
    static TRAVELLERS: RefCell<Option<Travellers>> = const { RefCell::new(None) };
    /// The last words of a type that could not be encoded or decoded: the format drops them. Not
    /// with the handles: nothing has to be prepared for a message that has none.
    static WORDS: Cell<Option<String>> = const { Cell::new(None) };
}

impl Packet {
    /// Turns a message into bytes. The ends of pipes and queues in it go along.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::TooLarge`], [`Error::TooManyEnds`], and [`Error::Io`] when an
    /// end cannot come along.
    pub fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Self, Error> {
        let scope = Scope::open(Vec::new());
        let encoded = postcard::serialize_with_flavor(&Telling(message), Encoding::default());
        let Travellers { handles, failure } = scope.close();
        let bytes = encoded.map_err(|error| cause(error, failure, Error::Io, Error::Encode))?;
        let handles = handles.into_iter().flatten().collect();
        let packet = Self { bytes, handles };
        // Here, not when it is sent: then it could be too late to tell the sender.
        packet.measure()?;
        Ok(packet)
    }

    /// Turns the bytes back into a message, all of them.
    ///
    /// # Errors
    /// [`Error::Decode`], [`Error::Ends`], [`Error::LeftOver`].
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
        self.bytes.splice(
            ..0,
            postcard::to_stdvec(first).map_err(|error| Error::Encode(error.into()))?,
        );
        self.measure()?;
        Ok(self)
    }

    /// Takes off what [`prepend`](Self::prepend) put there; the message itself stays encoded.
    ///
    /// # Errors
    /// [`Error::Decode`], [`Error::Ends`].
    pub fn split_first<T: DeserializeOwned>(mut self) -> Result<(T, Self), Error> {
        let handles = std::mem::take(&mut self.handles);
        let scope = Scope::open(handles.into_iter().map(Some).collect());
        let taken = take(&self.bytes);
        let Travellers { handles, failure } = scope.close();
        let (first, rest) =
            taken.map_err(|error| cause(error, failure, Error::Ends, Error::Decode))?;
        let read = self.bytes.len() - rest.len();
        self.bytes.drain(..read);
        self.handles = handles.into_iter().flatten().collect();
        Ok((first, self))
    }
}

/// Turns the first of some bytes back into a message that no ends travel with, and returns the
/// others.
///
/// # Errors
/// [`Error::Decode`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Error> {
    take(bytes).map_err(|error| cause(error, None, Error::Ends, Error::Decode))
}

fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), postcard::Error> {
    let mut format = postcard::Deserializer::from_bytes(bytes);
    let message = T::deserialize(Telling(&mut format)).map_err(|Told(error)| error)?;
    Ok((message, format.finalize()?))
}

/// What a failure of the format comes from.
fn cause(
    error: postcard::Error,
    failure: Option<io::Error>,
    of_ends: impl FnOnce(io::Error) -> Error,
    other: impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Error,
) -> Error {
    use postcard::Error::{SerdeDeCustom, SerdeSerCustom};
    if !matches!(error, SerdeDeCustom | SerdeSerCustom) {
        return other(error.into());
    }
    // Every error of a type leaves its words: these are the last ones.
    match (failure, WORDS.take()) {
        (Some(failure), _) => of_ends(failure),
        (None, Some(words)) => other(words.into()),
        (None, None) => other(error.into()),
    }
}

/// Keeps what the type of a message says when it cannot be encoded or decoded.
pub(crate) fn keep(words: String) {
    WORDS.set(Some(words));
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

/// Keeps why an end cannot travel; the error that ends the message for it.
fn fail(error: io::Error) -> String {
    let text = error.to_string();
    TRAVELLERS.with_borrow_mut(|travellers| {
        if let Some(travellers) = travellers {
            travellers.failure = Some(explained(error));
        }
    });
    text
}

/// The error of a message whose end cannot be taken over.
pub(crate) fn refused<E: serde::de::Error>(error: Error) -> E {
    match error {
        Error::Io(error) | Error::Ends(error) if error.kind() != io::ErrorKind::InvalidData => {
            E::custom(fail(error))
        }
        error => E::custom(error),
    }
}

impl Scope {
    fn open(handles: Vec<Option<Handle>>) -> Self {
        let travellers = Travellers { handles, failure: None };
        Self { outer: TRAVELLERS.replace(Some(travellers)) }
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
    let handle = open().map_err(|error| Error::custom(fail(error)))?;
    let place = TRAVELLERS.with_borrow_mut(|travellers| {
        let handles = &mut travellers.as_mut().expect("looked at above").handles;
        handles.push(Some(handle));
        handles.len() - 1
    });
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
