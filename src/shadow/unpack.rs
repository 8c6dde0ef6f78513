//! An answer as the store packed it for its client, unpacked. What unpacks to more than is kept is
//! given up on before it is in memory.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::HeaderValue;

use super::ANSWER_BYTES_MAX;
use crate::metrics::Uncompared;

const BROTLI_BUFFER_BYTES: usize = 4096;

/// Takes a millisecond and more for what is large.
pub(super) fn unpacked(body: &Bytes, encoding: Option<&HeaderValue>) -> Result<Bytes, Uncompared> {
    let packed = &body[..];
    match encoding.map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(body.clone()),
        Some(b"gzip" | b"x-gzip") => read(MultiGzDecoder::new(packed)),
        Some(b"deflate") => read(ZlibDecoder::new(packed)),
        Some(b"br") => read(brotli::Decompressor::new(packed, BROTLI_BUFFER_BYTES)),
        Some(b"zstd") => {
            let decoder = zstd::Decoder::new(packed);
            read(decoder.map_err(|_unusable| Uncompared::Packed)?)
        }
        Some(_) => Err(Uncompared::Packed),
    }
}

fn read(decoder: impl Read) -> Result<Bytes, Uncompared> {
    let bytes_max = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
    let mut plain = Vec::new();
    let mut decoder = decoder.take(bytes_max + 1);
    match decoder.read_to_end(&mut plain) {
        Ok(_) if plain.len() <= ANSWER_BYTES_MAX => Ok(plain.into()),
        Ok(_) => Err(Uncompared::TooLarge),
        Err(_broken) => Err(Uncompared::Packed),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn what_a_store_packs_is_read_again() {
        let plain = Bytes::from_static(br#"{"result":[]}"#);
        let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        deflate.write_all(&plain).unwrap();
        let mut br = brotli::CompressorWriter::new(Vec::new(), 4096, 3, 22);
        br.write_all(&plain).unwrap();
        let packed = [
            ("identity", plain.clone()),
            ("gzip", gzip(&plain)),
            ("deflate", deflate.finish().unwrap().into()),
            ("br", br.into_inner().into()),
            ("zstd", zstd::encode_all(&plain[..], 1).unwrap().into()),
        ];
        for (name, packed) in packed {
            let encoding = HeaderValue::from_static(name);
            assert_eq!(
                unpacked(&packed, Some(&encoding)),
                Ok(plain.clone()),
                "{name}"
            );
        }
        let odd = HeaderValue::from_static("compress");
        assert_eq!(unpacked(&plain, Some(&odd)), Err(Uncompared::Packed));
        let broken = HeaderValue::from_static("gzip");
        assert_eq!(unpacked(&plain, Some(&broken)), Err(Uncompared::Packed));
    }

    #[test]
    fn what_unpacks_without_end_is_given_up_on() {
        let bomb = gzip(&vec![b' '; ANSWER_BYTES_MAX + 1]);
        assert!(bomb.len() < ANSWER_BYTES_MAX / 100);
        let encoding = HeaderValue::from_static("gzip");
        assert_eq!(unpacked(&bomb, Some(&encoding)), Err(Uncompared::TooLarge));
    }
}
