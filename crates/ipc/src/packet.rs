//! A message as it travels: its bytes, and the open handles that it mentions.

use std::cell::RefCell;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::os::Handle;

/// An encoded message.
#[derive(Debug)]
pub struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) handles: Vec<Handle>,
}

thread_local! {
    /// The handles of the message that this thread encodes or decodes just now: serde's own
    /// stream has room for bytes only. `None` outside of a message.
    static HANDLES: RefCell<Option<Vec<Option<Handle>>>> = const { RefCell::new(None) };
}

impl Packet {
    /// Turns a message into bytes. The ends of pipes and queues in it go along.
    pub fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Self, Error> {
        let scope = Scope::open(Vec::new());
        let bytes = postcard::to_stdvec(message).map_err(Error::Encode)?;
        Ok(Self { bytes, handles: scope.close().into_iter().flatten().collect() })
    }

    /// Turns the bytes back into a message, all of them.
    pub fn decode<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (message, rest) = self.split_first()?;
        match rest.bytes.len() {
            0 => Ok(message),
            left_over => Err(Error::LeftOver(left_over)),
        }
    }

    /// No message at all: what goes with an answer that says no.
    pub(crate) fn empty() -> Self {
        Self { bytes: Vec::new(), handles: Vec::new() }
    }

    /// Puts `first` before the message: what a relay says about a message it does not read.
    pub fn prepend<T: Serialize>(mut self, first: &T) -> Result<Self, Error> {
        self.bytes.splice(..0, postcard::to_stdvec(first).map_err(Error::Encode)?);
        Ok(self)
    }

    /// Takes off what [`prepend`](Self::prepend) put there; the message itself stays encoded.
    pub fn split_first<T: DeserializeOwned>(mut self) -> Result<(T, Self), Error> {
        let scope = Scope::open(self.handles.into_iter().map(Some).collect());
        let (first, rest) = postcard::take_from_bytes(&self.bytes).map_err(Error::Decode)?;
        let read = self.bytes.len() - rest.len();
        self.bytes.drain(..read);
        self.handles = scope.close().into_iter().flatten().collect();
        Ok((first, self))
    }
}

/// Makes handles available to [`attach`] and [`detach`] while a message is encoded or decoded,
/// and puts back what was there when it ends, by a panic too.
struct Scope {
    outer: Option<Vec<Option<Handle>>>,
}

impl Scope {
    fn open(handles: Vec<Option<Handle>>) -> Self {
        Self { outer: HANDLES.replace(Some(handles)) }
    }

    fn close(self) -> Vec<Option<Handle>> {
        HANDLES.take().expect("the scope is open")
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        HANDLES.set(self.outer.take());
    }
}

/// Serializes a handle: the handle itself goes beside the bytes, its place into them.
pub(crate) fn attach<S: Serializer>(
    serializer: S,
    open: impl FnOnce() -> std::io::Result<Handle>,
) -> Result<S::Ok, S::Error> {
    use serde::ser::Error;
    let place = HANDLES.with_borrow_mut(|handles| {
        let handles = handles
            .as_mut()
            .ok_or_else(|| Error::custom("an end travels only in a message to a process"))?;
        handles.push(Some(open().map_err(Error::custom)?));
        Ok(handles.len() - 1)
    })?;
    place.serialize(serializer)
}

/// Deserializes what [`attach`] wrote.
pub(crate) fn detach<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Handle, D::Error> {
    use serde::de::Error;
    let place = usize::deserialize(deserializer)?;
    HANDLES
        .with_borrow_mut(|handles| handles.as_mut()?.get_mut(place)?.take())
        .ok_or_else(|| Error::custom("the message mentions a handle that did not come with it"))
}
