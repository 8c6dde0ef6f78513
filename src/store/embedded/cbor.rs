//! Reads the form that the engine's log keeps operations in: CBOR (RFC 8949) as `serde_cbor`
//! writes it. The engine writes its log and offers no way to read it.
//!
//! Lengths and depth are checked against what is there: a torn or foreign file is an error, never
//! a panic and never a large allocation.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

/// Deeper than any operation that came through JSON, whose depth is limited too.
const DEPTH_MAX: u32 = 512;

#[derive(Debug)]
pub(super) struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

fn fault(text: &str) -> Fault {
    Fault(text.to_owned())
}

pub(super) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut reader = Reader {
        rest: bytes,
        depth: 0,
    };
    let value = T::deserialize(&mut reader)?;
    if reader.rest.is_empty() {
        Ok(value)
    } else {
        Err(fault("more bytes than one value"))
    }
}

struct Reader<'b> {
    rest: &'b [u8],
    depth: u32,
}

/// The head of an item: its major type and what stands in its low bits.
#[derive(Clone, Copy)]
struct Head {
    major: u8,
    info: u8,
}

const INDEFINITE: u8 = 31;
const BREAK: u8 = 0xff;
const NULL: u8 = 0xf6;
const UNDEFINED: u8 = 0xf7;

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| fault("cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?
            .try_into()
            .map_err(|_found| fault("cut short"))
    }

    fn peek(&self) -> Result<u8, Fault> {
        self.rest.first().copied().ok_or_else(|| fault("cut short"))
    }

    fn head(&mut self) -> Result<Head, Fault> {
        let [byte] = self.array()?;
        Ok(Head {
            major: byte >> 5,
            info: byte & 31,
        })
    }

    fn number(&mut self, info: u8) -> Result<u64, Fault> {
        Ok(match info {
            0..=23 => u64::from(info),
            24 => u64::from(u8::from_be_bytes(self.array()?)),
            25 => u64::from(u16::from_be_bytes(self.array()?)),
            26 => u64::from(u32::from_be_bytes(self.array()?)),
            27 => u64::from_be_bytes(self.array()?),
            _ => return Err(fault("no such length")),
        })
    }

    /// How many parts follow; `None` when a break ends them.
    fn parts(&mut self, info: u8) -> Result<Option<u64>, Fault> {
        if info == INDEFINITE {
            return Ok(None);
        }
        self.number(info).map(Some)
    }

    fn bytes(&mut self, info: u8) -> Result<&'b [u8], Fault> {
        let count = self.number(info)?;
        self.take(usize::try_from(count).map_err(|_found| fault("too long"))?)
    }

    fn text(&mut self, info: u8) -> Result<&'b str, Fault> {
        std::str::from_utf8(self.bytes(info)?).map_err(|_found| fault("text that is not UTF-8"))
    }

    /// A break in place of the next part.
    fn ends(&mut self) -> Result<bool, Fault> {
        let is_end = self.peek()? == BREAK;
        if is_end {
            self.take(1)?;
        }
        Ok(is_end)
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= DEPTH_MAX {
            return Err(fault("nested too deep"));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn simple<'de, V: Visitor<'de>>(&mut self, info: u8, visitor: V) -> Result<V::Value, Fault> {
        match info {
            20 => visitor.visit_bool(false),
            21 => visitor.visit_bool(true),
            22 | 23 => visitor.visit_unit(),
            25 => visitor.visit_f32(half(u16::from_be_bytes(self.array()?))),
            26 => visitor.visit_f32(f32::from_be_bytes(self.array()?)),
            27 => visitor.visit_f64(f64::from_be_bytes(self.array()?)),
            _ => Err(fault("no such simple value")),
        }
    }
}

/// A 16 bit float as a 32 bit one.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 31;
    let fraction = u32::from(bits) & 0x3ff;
    let magnitude = match exponent {
        0 => {
            // Subnormal: fraction × 2^-24, exact in f32.
            let value = f32::from(bits & 0x3ff) * 2.0_f32.powi(-24);
            value.to_bits()
        }
        31 => 0x7f80_0000 | (fraction << 13),
        _ => ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | magnitude)
}

impl<'de> de::Deserializer<'de> for &mut Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let head = self.head()?;
        match head.major {
            0 => visitor.visit_u64(self.number(head.info)?),
            1 => {
                let below = i64::try_from(self.number(head.info)?);
                visitor.visit_i64(-1 - below.map_err(|_found| fault("too far below zero"))?)
            }
            2 => visitor.visit_bytes(self.bytes(head.info)?),
            3 => visitor.visit_str(self.text(head.info)?),
            4 => {
                let left = self.parts(head.info)?;
                self.deeper(|reader| visitor.visit_seq(Parts { reader, left }))
            }
            5 => {
                let left = self.parts(head.info)?;
                self.deeper(|reader| visitor.visit_map(Parts { reader, left }))
            }
            6 => {
                self.number(head.info)?;
                self.deeper(|reader| reader.deserialize_any(visitor))
            }
            _ => self.simple(head.info, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if matches!(self.peek()?, NULL | UNDEFINED) {
            self.take(1)?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.peek()? >> 5 != 5 {
            return visitor.visit_enum(Variant {
                reader: self,
                is_bare: true,
            });
        }
        let head = self.head()?;
        let is_open = match self.parts(head.info)? {
            Some(1) => false,
            None => true,
            Some(_) => return Err(fault("a variant is a map of one")),
        };
        let value = self.deeper(|reader| {
            visitor.visit_enum(Variant {
                reader,
                is_bare: false,
            })
        })?;
        if is_open && !self.ends()? {
            return Err(fault("a variant is a map of one"));
        }
        Ok(value)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The parts of an array or a map.
struct Parts<'r, 'b> {
    reader: &'r mut Reader<'b>,
    left: Option<u64>,
}

impl Parts<'_, '_> {
    fn has_next(&mut self) -> Result<bool, Fault> {
        match &mut self.left {
            None => Ok(!self.reader.ends()?),
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
        }
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        if self.has_next()? {
            seed.deserialize(&mut *self.reader).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<'de> MapAccess<'de> for Parts<'_, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        if self.has_next()? {
            seed.deserialize(&mut *self.reader).map(Some)
        } else {
            Ok(None)
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        seed.deserialize(&mut *self.reader)
    }
}

/// A variant: its name alone, or its name and its content.
struct Variant<'r, 'b> {
    reader: &'r mut Reader<'b>,
    is_bare: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name = seed.deserialize(&mut *self.reader)?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        if self.is_bare {
            Ok(())
        } else {
            de::Deserialize::deserialize(self.reader)
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        if self.is_bare {
            return Err(fault("a variant without its content"));
        }
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        if self.is_bare {
            return Err(fault("a variant without its content"));
        }
        de::Deserializer::deserialize_any(self.reader, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.tuple_variant(0, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
        from_slice(bytes).ok()
    }

    #[test]
    fn half_floats_are_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn what_is_cut_short_or_foreign_is_an_error() {
        assert_eq!(read::<u64>(&[0x18, 200]), Some(200));
        assert_eq!(read::<i64>(&[0x20]), Some(-1));
        assert_eq!(
            read::<Vec<bool>>(&[0x82, 0xf5, 0xf4]),
            Some(vec![true, false])
        );
        assert_eq!(read::<Vec<u8>>(&[0x9f, 1, 2, 0xff]), Some(vec![1, 2]));
        let hostile: [&[u8]; 7] = [
            &[],
            &[0x18],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, b'a'],
            &[0x61, 0xff],
            &[0x1c],
            &[0x82, 1],
        ];
        for bytes in hostile {
            assert!(read::<serde_json::Value>(bytes).is_none(), "{bytes:x?}");
        }
        assert!(
            read::<serde_json::Value>(&vec![0x81; 1 << 20]).is_none(),
            "deep"
        );
    }
}
