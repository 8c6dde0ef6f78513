//! Answers packed as the client likes best of what Qdrant offers: gzip, brotli, zstd, deflate.
//!
//! Only what is whole and worth it is packed. A download streams as it is.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, VARY,
};

use crate::net::Body;
use crate::store::PassAnswer;
use crate::task;

/// What is smaller fits in a packet or two either way.
const WORTH_BYTES: usize = 1024;
/// About what is packed in a millisecond.
const AT_ONCE_BYTES_MAX: usize = 64 * 1024;

const BROTLI_BUFFER_BYTES: usize = 4096;
const BROTLI_QUALITY: u32 = 3;
const BROTLI_WINDOW: u32 = 22;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encoding {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

impl Encoding {
    /// What the client rates highest; of equals, what it names first. `None`: as it is.
    pub(super) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        let lists = headers.get_all(ACCEPT_ENCODING).into_iter();
        for item in lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(','))
        {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let weight = weight.trim().strip_prefix("q=");
            let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            let Some(encoding) = Self::named(name.trim()) else {
                continue;
            };
            if weight > best.map_or(0.0, |(best, _)| best) {
                best = Some((weight, encoding));
            }
        }
        best.map(|(_, encoding)| encoding)
    }

    fn named(name: &str) -> Option<Self> {
        let all = [Self::Gzip, Self::Brotli, Self::Zstd, Self::Deflate];
        let named = |encoding: &Self| encoding.as_str().eq_ignore_ascii_case(name);
        all.into_iter().find(named)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }

    fn pack(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let packed = Vec::with_capacity(bytes.len() / 2);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(packed, Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(packed, Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Zstd => zstd::encode_all(bytes, zstd::DEFAULT_COMPRESSION_LEVEL),
            Self::Brotli => {
                let mut encoder = brotli::CompressorWriter::new(
                    packed,
                    BROTLI_BUFFER_BYTES,
                    BROTLI_QUALITY,
                    BROTLI_WINDOW,
                );
                encoder.write_all(bytes)?;
                Ok(encoder.into_inner())
            }
        }
    }
}

/// Packs an answer whose body is in memory. If that cannot be done it goes as it is.
pub(super) async fn apply(mut answer: PassAnswer, encoding: Option<Encoding>) -> PassAnswer {
    let whole = answer
        .body()
        .as_bytes()
        .filter(|bytes| bytes.len() >= WORTH_BYTES);
    let Some(bytes) = whole else {
        return answer;
    };
    answer
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(encoding) = encoding else {
        return answer;
    };
    let Some(packed) = pack(encoding, bytes).await else {
        return answer;
    };
    let headers = answer.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(
        CONTENT_ENCODING,
        HeaderValue::from_static(encoding.as_str()),
    );
    *answer.body_mut() = Body::full(packed);
    answer
}

async fn pack(encoding: Encoding, bytes: Bytes) -> Option<Vec<u8>> {
    if bytes.len() <= AT_ONCE_BYTES_MAX {
        return encoding.pack(&bytes).ok();
    }
    let work = task::spawn_blocking("compress", move || encoding.pack(&bytes));
    work.await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http::Response;

    use super::*;

    #[test]
    fn the_client_chooses() {
        for (accepted, expected) in [
            ("gzip, deflate", Some(Encoding::Gzip)),
            ("gzip;q=0.5, br", Some(Encoding::Brotli)),
            ("zstd ; q=0, deflate;q=0.1", Some(Encoding::Deflate)),
            ("identity", None),
            ("*", None),
            ("", None),
            ("ZSTD", Some(Encoding::Zstd)),
            ("gzip;q=x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(Encoding::wanted(&headers), expected, "{accepted}");
        }
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same() {
        let text = "to and fro ".repeat(10_000).into_bytes();
        for encoding in [
            Encoding::Gzip,
            Encoding::Brotli,
            Encoding::Zstd,
            Encoding::Deflate,
        ] {
            let packed = encoding.pack(&text).unwrap();
            assert!(packed.len() < text.len() / 10);
            let packed = packed.as_slice();
            let mut back = Vec::new();
            match encoding {
                Encoding::Gzip => flate2::read::GzDecoder::new(packed).read_to_end(&mut back),
                Encoding::Deflate => flate2::read::ZlibDecoder::new(packed).read_to_end(&mut back),
                Encoding::Zstd => zstd::Decoder::new(packed).unwrap().read_to_end(&mut back),
                Encoding::Brotli => brotli::Decompressor::new(packed, 4096).read_to_end(&mut back),
            }
            .unwrap();
            assert_eq!(back, text, "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn small_answers_go_as_they_are() {
        let small = Response::new(Body::full(vec![b'a'; WORTH_BYTES - 1]));
        let answer = apply(small, Some(Encoding::Gzip)).await;
        assert!(answer.headers().is_empty());
        let large = Response::new(Body::full(vec![b'a'; AT_ONCE_BYTES_MAX + 1]));
        let answer = apply(large, Some(Encoding::Gzip)).await;
        assert_eq!(answer.headers().get(CONTENT_ENCODING).unwrap(), "gzip");
        assert!(answer.body().as_bytes().unwrap().len() < 1000);
    }
}
