//! A vector as PostgreSQL sends it: its length, and its numbers one after the other.

use tokio_postgres::types::{FromSql, Type};

/// The numbers of a value of the type `vector`.
pub(super) struct Floats(pub(super) Vec<f32>);

impl<'a> FromSql<'a> for Floats {
    fn from_sql(
        _type: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let (length, rest) = raw.split_first_chunk().ok_or("a vector ends early")?;
        let (_reserved, rest) = rest.split_first_chunk::<2>().ok_or("a vector ends early")?;
        let (numbers, left) = rest.as_chunks();
        if numbers.len() != usize::from(u16::from_be_bytes(*length)) || !left.is_empty() {
            return Err("a vector is not as long as it says".into());
        }
        Ok(Self(
            numbers
                .iter()
                .map(|bytes| f32::from_be_bytes(*bytes))
                .collect(),
        ))
    }

    fn accepts(of: &Type) -> bool {
        of.name() == "vector"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_read_and_what_is_torn_is_refused() {
        let read = |raw: &[u8]| {
            Floats::from_sql(&Type::BYTEA, raw)
                .map(|floats| floats.0)
                .ok()
        };
        let numbers = [1.5_f32, -0.0, f32::MIN_POSITIVE / 2.0];
        let mut raw = vec![0, 3, 0, 0];
        raw.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        let found = read(&raw).unwrap();
        assert!(
            found
                .iter()
                .zip(numbers)
                .all(|(one, other)| one.to_bits() == other.to_bits())
        );
        assert_eq!(found.len(), 3);
        for end in 0..raw.len() {
            assert_eq!(read(&raw[..end]), None, "{end}");
        }
    }
}
