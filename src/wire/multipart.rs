//! The one field of a multipart form that is a file, cut out of the body as it comes.
//!
//! Memory is bounded: what is held back is a boundary's length, or the headers of one part. What
//! follows the file is not looked at.

use bytes::{Buf, Bytes, BytesMut};

/// The headers of a part may take so many bytes.
const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// What browsers and libraries keep to.
const BOUNDARY_BYTES_MAX: usize = 200;

const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// Cuts one named field out of a form.
pub struct Multipart {
    field: &'static str,
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    held: BytesMut,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Before the first part, or in a part that is not wanted.
    Elsewhere,
    /// Just after a delimiter.
    Headers,
    Wanted,
    Done,
}

/// The body is no form, or the field does not come in it whole.
#[derive(Debug, Eq, PartialEq)]
pub enum MultipartError {
    NoBoundary,
    Malformed,
    FieldMissing,
}

impl Multipart {
    pub fn new(content_type: &str, field: &'static str) -> Result<Self, MultipartError> {
        let boundary = boundary(content_type).ok_or(MultipartError::NoBoundary)?;
        // The first delimiter may have no line before it.
        Ok(Self {
            field,
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            held: BytesMut::from(&b"\r\n"[..]),
            state: State::Elsewhere,
        })
    }

    /// Takes a piece of the body, gives what of the field is in it.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Bytes>, MultipartError> {
        let mut found = Vec::new();
        if self.state == State::Done {
            return Ok(found);
        }
        self.held.extend_from_slice(piece);
        loop {
            let going_on = match self.state {
                State::Elsewhere => self.read_delimiter(&mut |_| {}),
                State::Wanted => self.read_delimiter(&mut |bytes| found.push(bytes)),
                State::Headers => self.read_headers()?,
                State::Done => false,
            };
            if !going_on {
                return Ok(found);
            }
        }
    }

    /// To be asked at the end of the body.
    pub fn finish(&self) -> Result<(), MultipartError> {
        match self.state {
            State::Done => Ok(()),
            State::Wanted | State::Headers => Err(MultipartError::Malformed),
            State::Elsewhere => Err(MultipartError::FieldMissing),
        }
    }

    /// Hands out everything up to the next delimiter, or as far as none can begin.
    fn read_delimiter(&mut self, take: &mut dyn FnMut(Bytes)) -> bool {
        if let Some(at) = find(&self.held, &self.delimiter) {
            if at > 0 {
                take(self.held.split_to(at).freeze());
            }
            self.held.advance(self.delimiter.len());
            self.state = match self.state {
                State::Wanted => State::Done,
                State::Elsewhere | State::Headers | State::Done => State::Headers,
            };
            return true;
        }
        let safe = self.held.len().saturating_sub(self.delimiter.len());
        if safe > 0 {
            take(self.held.split_to(safe).freeze());
        }
        false
    }

    fn read_headers(&mut self) -> Result<bool, MultipartError> {
        if self.held.starts_with(b"--") {
            return Err(MultipartError::FieldMissing);
        }
        let Some(end) = find(&self.held, BLANK_LINE) else {
            if self.held.len() > HEADERS_BYTES_MAX {
                return Err(MultipartError::Malformed);
            }
            return Ok(false);
        };
        let headers = self.held.split_to(end);
        self.held.advance(BLANK_LINE.len());
        let text = String::from_utf8_lossy(&headers);
        let is_wanted = text.split("\r\n").any(|line| names(line, self.field));
        self.state = if is_wanted {
            State::Wanted
        } else {
            State::Elsewhere
        };
        Ok(true)
    }
}

/// `multipart/form-data; boundary=…`
fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then(|| value.trim().trim_matches('"').to_owned())
    })?;
    (1..=BOUNDARY_BYTES_MAX)
        .contains(&boundary.len())
        .then_some(boundary)
}

/// Whether a header line says that the part is the field of this name.
fn names(line: &str, field: &str) -> bool {
    let Some((header, value)) = line.split_once(':') else {
        return false;
    };
    header.trim().eq_ignore_ascii_case("content-disposition")
        && value.split(';').any(|part| {
            let (name, value) = part.split_once('=').unwrap_or_default();
            name.trim() == "name" && value.trim().trim_matches('"') == field
        })
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x9\"";

    fn cut(body: &[u8], step: usize) -> Result<Vec<u8>, MultipartError> {
        let mut form = Multipart::new(TYPE, "snapshot")?;
        let mut found = Vec::new();
        for piece in body.chunks(step) {
            for bytes in form.push(piece)? {
                found.extend_from_slice(&bytes);
            }
        }
        form.finish()?;
        Ok(found)
    }

    #[test]
    fn the_field_comes_out_whole_however_the_body_is_cut() {
        let body = b"--x9\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nno\r\n\
            --x9\r\ncontent-disposition: form-data; name=\"snapshot\"; filename=\"a;b\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n\
            a\r\n--x\r\n\r\n-\x00\xff\r\n--x9--\r\n";
        for step in [1, 2, 3, 7, 64, body.len()] {
            assert_eq!(
                cut(body, step).unwrap(),
                b"a\r\n--x\r\n\r\n-\x00\xff",
                "{step}"
            );
        }
    }

    #[test]
    fn what_is_no_such_form_is_refused() {
        let empty = b"--x9\r\nContent-Disposition: form-data; name=\"snapshot\"\r\n\r\n\r\n--x9--";
        assert_eq!(cut(empty, 5).unwrap(), b"");
        let cases: [(&[u8], MultipartError); 4] = [
            (b"", MultipartError::FieldMissing),
            (b"--x9--", MultipartError::FieldMissing),
            (
                b"--x9\r\nContent-Disposition: form-data; name=\"snapshot\"\r\n\r\nabc",
                MultipartError::Malformed,
            ),
            (b"--x9\r\nContent-Dispo", MultipartError::Malformed),
        ];
        for (body, expected) in cases {
            assert_eq!(cut(body, 4).unwrap_err(), expected);
        }
        let endless = [b"--x9\r\n".as_slice(), &vec![b'a'; HEADERS_BYTES_MAX + 1]].concat();
        assert_eq!(cut(&endless, 4096).unwrap_err(), MultipartError::Malformed);
        for kind in [
            "application/json",
            "multipart/form-data; boundary=",
            "multipart/form-data",
        ] {
            assert!(Multipart::new(kind, "snapshot").is_err());
        }
    }
}
