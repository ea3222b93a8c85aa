//! What a type says when it cannot be encoded or decoded.
//!
//! postcard drops the words of an error that comes from a type itself
//! (`serde::de::Error::custom`): it is made for machines without memory to keep them in. The
//! wrapper here stands between the type and the format, in every nested value, and hands those
//! words to [`keep`]. It changes no byte of a message.

use std::fmt::{self, Debug, Display};

use serde::de::{self, DeserializeSeed, Visitor};
use serde::ser::{self, Serialize};

use crate::packet::keep;

/// Around a format, or what it hands out, as the type sees it; and around the type, or what it
/// hands out, as the format sees it.
pub(crate) struct Telling<T>(pub(crate) T);

/// An error whose words have been kept.
#[derive(Debug)]
pub(crate) struct Told<E>(pub(crate) E);

impl<E: Display> Display for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error> std::error::Error for Told<E> {}

impl<E: de::Error> de::Error for Told<E> {
    fn custom<T: Display>(words: T) -> Self {
        keep(words.to_string());
        Self(E::custom(words))
    }
}

impl<E: ser::Error> ser::Error for Told<E> {
    fn custom<T: Display>(words: T) -> Self {
        keep(words.to_string());
        Self(E::custom(words))
    }
}

fn untold<E>(Told(error): Told<E>) -> E {
    error
}

macro_rules! deserialize {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* to: V) -> Result<V::Value, Self::Error> {
            self.0.$method($($argument,)* Telling(to)).map_err(Told)
        }
    )*};
}

impl<'de, D: de::Deserializer<'de>> de::Deserializer<'de> for Telling<D> {
    type Error = Told<D::Error>;

    deserialize! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty;)*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value).map_err(untold)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Telling<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool: bool;
        visit_i8: i8;
        visit_i16: i16;
        visit_i32: i32;
        visit_i64: i64;
        visit_i128: i128;
        visit_u8: u8;
        visit_u16: u16;
        visit_u32: u32;
        visit_u64: u64;
        visit_u128: u128;
        visit_f32: f32;
        visit_f64: f64;
        visit_char: char;
        visit_str: &str;
        visit_borrowed_str: &'de str;
        visit_string: String;
        visit_bytes: &[u8];
        visit_borrowed_bytes: &'de [u8];
        visit_byte_buf: Vec<u8>;
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none().map_err(untold)
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit().map_err(untold)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Telling(from)).map_err(untold)
    }

    fn visit_newtype_struct<D>(self, from: D) -> Result<V::Value, D::Error>
    where
        D: de::Deserializer<'de>,
    {
        self.0.visit_newtype_struct(Telling(from)).map_err(untold)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Telling(from)).map_err(untold)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Telling(from)).map_err(untold)
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, from: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Telling(from)).map_err(untold)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Telling<S> {
    type Value = S::Value;

    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Telling(from)).map_err(untold)
    }
}

impl<'de, A: de::SeqAccess<'de>> de::SeqAccess<'de> for Telling<A> {
    type Error = Told<A::Error>;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        self.0.next_element_seed(Telling(seed)).map_err(Told)
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for Telling<A> {
    type Error = Told<A::Error>;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        self.0.next_key_seed(Telling(seed)).map_err(Told)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        self.0.next_value_seed(Telling(seed)).map_err(Told)
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: de::EnumAccess<'de>> de::EnumAccess<'de> for Telling<A> {
    type Error = Told<A::Error>;
    type Variant = Telling<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Self::Error> {
        let (value, variant) = self.0.variant_seed(Telling(seed)).map_err(Told)?;
        Ok((value, Telling(variant)))
    }
}

impl<'de, A: de::VariantAccess<'de>> de::VariantAccess<'de> for Telling<A> {
    type Error = Told<A::Error>;

    fn unit_variant(self) -> Result<(), Self::Error> {
        self.0.unit_variant().map_err(Told)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        self.0.newtype_variant_seed(Telling(seed)).map_err(Told)
    }

    deserialize! {
        tuple_variant(len: usize);
        struct_variant(fields: &'static [&'static str]);
    }
}

impl<T: Serialize + ?Sized> Serialize for Telling<&T> {
    fn serialize<S: ser::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Telling(to)).map_err(untold)
    }
}

macro_rules! serialize {
    ($($method:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        fn $method(self, $($argument: $type),*) -> Result<$result, Self::Error> {
            self.0.$method($($argument),*).map_err(Told)
        }
    )*};
}

macro_rules! serialize_compound {
    ($($method:ident($($argument:ident: $type:ty),*) -> $result:ident;)*) => {$(
        fn $method(self, $($argument: $type),*) -> Result<Self::$result, Self::Error> {
            self.0.$method($($argument),*).map(Telling).map_err(Told)
        }
    )*};
}

impl<S: ser::Serializer> ser::Serializer for Telling<S> {
    type Ok = S::Ok;
    type Error = Told<S::Error>;
    type SerializeSeq = Telling<S::SerializeSeq>;
    type SerializeTuple = Telling<S::SerializeTuple>;
    type SerializeTupleStruct = Telling<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Telling<S::SerializeTupleVariant>;
    type SerializeMap = Telling<S::SerializeMap>;
    type SerializeStruct = Telling<S::SerializeStruct>;
    type SerializeStructVariant = Telling<S::SerializeStructVariant>;

    serialize! {
        serialize_bool(value: bool) -> S::Ok;
        serialize_i8(value: i8) -> S::Ok;
        serialize_i16(value: i16) -> S::Ok;
        serialize_i32(value: i32) -> S::Ok;
        serialize_i64(value: i64) -> S::Ok;
        serialize_i128(value: i128) -> S::Ok;
        serialize_u8(value: u8) -> S::Ok;
        serialize_u16(value: u16) -> S::Ok;
        serialize_u32(value: u32) -> S::Ok;
        serialize_u64(value: u64) -> S::Ok;
        serialize_u128(value: u128) -> S::Ok;
        serialize_f32(value: f32) -> S::Ok;
        serialize_f64(value: f64) -> S::Ok;
        serialize_char(value: char) -> S::Ok;
        serialize_str(value: &str) -> S::Ok;
        serialize_bytes(value: &[u8]) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_unit_struct(name: &'static str) -> S::Ok;
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> S::Ok;
    }

    serialize_compound! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.0.serialize_some(&Telling(value)).map_err(Told)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        self.0.serialize_newtype_struct(name, &Telling(value)).map_err(Told)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Telling(value)).map_err(Told)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.0.collect_str(value).map_err(Told)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! compounds {
    ($($compound:ident, $method:ident($($key:ident: $type:ty)?);)*) => {$(
        impl<S: ser::$compound> ser::$compound for Telling<S> {
            type Ok = S::Ok;
            type Error = Told<S::Error>;

            fn $method<T: Serialize + ?Sized>(&mut self, $($key: $type,)? value: &T) -> Result<(), Self::Error> {
                self.0.$method($($key,)? &Telling(value)).map_err(Told)
            }

            fn end(self) -> Result<S::Ok, Self::Error> {
                self.0.end().map_err(Told)
            }
        }
    )*};
}

compounds! {
    SerializeSeq, serialize_element();
    SerializeTuple, serialize_element();
    SerializeTupleStruct, serialize_field();
    SerializeTupleVariant, serialize_field();
    SerializeStruct, serialize_field(key: &'static str);
    SerializeStructVariant, serialize_field(key: &'static str);
}

impl<S: ser::SerializeMap> ser::SerializeMap for Telling<S> {
    type Ok = S::Ok;
    type Error = Told<S::Error>;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Self::Error> {
        self.0.serialize_key(&Telling(key)).map_err(Told)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        self.0.serialize_value(&Telling(value)).map_err(Told)
    }

    fn end(self) -> Result<S::Ok, Self::Error> {
        self.0.end().map_err(Told)
    }
}
