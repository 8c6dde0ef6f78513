//! From method and path to the operation that is meant, exactly as Qdrant's own router decides.
//!
//! Slashes at the end are dropped and runs of them count as one; words are compared with their
//! escapes undone; an escaped slash does not separate; `.` and `..` are names like any other; the
//! right path with the wrong method is a path nobody knows, and so is HEAD or OPTIONS nearly
//! everywhere. Whoever reads a path otherwise than the store behind us lets a call be judged by
//! one name and done under another.

use std::array;
use std::borrow::Cow;
use std::sync::LazyLock;

use http::Method;

use super::escape;
use super::routes::{ROUTES, Route};
use crate::model::Operation;

/// What a request asks for. The parameters stay as they were sent and are decoded when asked for:
/// most calls need one of them, if any.
#[derive(Clone, Copy, Debug)]
pub struct Recognised<'r> {
    pub operation: Operation,
    parameters: [Option<(Slot, &'r str)>; PARAMETERS_MAX],
}

/// Finds the operation. Whatever is not in the table is [`Operation::Unknown`].
///
/// `uri_path` is the path of the request target, escapes and all, without the query.
pub fn recognise<'r>(method: &Method, uri_path: &'r str) -> Recognised<'r> {
    let unknown = Recognised {
        operation: Operation::Unknown,
        parameters: [None; PARAMETERS_MAX],
    };
    let (Some(verb), Some(path)) = (Verb::of(method), Path::split(uri_path)) else {
        return unknown;
    };
    INDEX
        .candidates(verb, path.length)
        .find(|candidate| candidate.fits(&path) && !(candidate.open_ended && may_climb(uri_path)))
        .map_or(unknown, |candidate| candidate.recognised(&path))
}

/// Whether a path below an open end could lead out of it again, for a store or a proxy on the way
/// that resolves `..`. What lies there is open to anyone, so whatever looks like it is unknown.
fn may_climb(uri_path: &str) -> bool {
    uri_path.contains("..") || uri_path.contains(['%', '\\'])
}

impl<'r> Recognised<'r> {
    /// The name of the collection, decoded and unchecked. Never empty.
    pub fn collection(&self) -> Option<Cow<'r, str>> {
        self.parameter(Slot::Collection)
    }

    /// The text that stands for a point id.
    pub fn point_id(&self) -> Option<Cow<'r, str>> {
        self.parameter(Slot::Point)
    }

    /// The file name of a snapshot.
    pub fn snapshot(&self) -> Option<Cow<'r, str>> {
        self.parameter(Slot::Snapshot)
    }

    /// The payload path of an index.
    pub fn field(&self) -> Option<Cow<'r, str>> {
        self.parameter(Slot::Field)
    }

    /// The name of a vector.
    pub fn vector_name(&self) -> Option<Cow<'r, str>> {
        self.parameter(Slot::Vector)
    }

    /// The text that stands for a shard's number.
    pub fn shard(&self) -> Option<Cow<'r, str>> {
        self.parameter(Slot::Shard)
    }

    /// The text that stands for a peer's number.
    pub fn peer(&self) -> Option<Cow<'r, str>> {
        self.parameter(Slot::Peer)
    }

    /// The key of a piece of cluster metadata.
    pub fn metadata_key(&self) -> Option<Cow<'r, str>> {
        self.parameter(Slot::Key)
    }

    fn parameter(&self, wanted: Slot) -> Option<Cow<'r, str>> {
        let mut given = self.parameters.iter().flatten();
        let (_, raw) = given.find(|(slot, _)| *slot == wanted)?;
        Some(escape::for_handler(raw))
    }
}

/// The most segments a route has.
const SEGMENTS_MAX: usize = 7;
/// The most parameters a route has.
const PARAMETERS_MAX: usize = 3;

/// What a parameter of a template stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Slot {
    Collection,
    Point,
    Snapshot,
    Field,
    Vector,
    Shard,
    Peer,
    Key,
}

impl Slot {
    fn parse(placeholder: &str) -> Option<Self> {
        match placeholder {
            "{collection}" => Some(Self::Collection),
            "{point}" => Some(Self::Point),
            "{snapshot}" => Some(Self::Snapshot),
            "{field}" => Some(Self::Field),
            "{vector}" => Some(Self::Vector),
            "{shard}" => Some(Self::Shard),
            "{peer}" => Some(Self::Peer),
            "{key}" => Some(Self::Key),
            _ => None,
        }
    }
}

/// The methods that any route has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Head,
}

impl Verb {
    const ALL: [Self; 6] = [
        Self::Get,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Head,
    ];

    fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Get),
            Method::POST => Some(Self::Post),
            Method::PUT => Some(Self::Put),
            Method::PATCH => Some(Self::Patch),
            Method::DELETE => Some(Self::Delete),
            Method::HEAD => Some(Self::Head),
            _ => None,
        }
    }
}

/// A path cut at its slashes. A longer one keeps its first segments and its true length.
struct Path<'r> {
    segments: [&'r str; SEGMENTS_MAX],
    length: usize,
    escaped: bool,
}

impl<'r> Path<'r> {
    /// Nothing for `*` and for what has no path.
    fn split(uri_path: &'r str) -> Option<Self> {
        let inner = uri_path.strip_prefix('/')?;
        let mut path = Self {
            segments: [""; SEGMENTS_MAX],
            length: 0,
            escaped: false,
        };
        for segment in inner.split('/').filter(|segment| !segment.is_empty()) {
            if let Some(place) = path.segments.get_mut(path.length) {
                *place = segment;
            }
            path.length += 1;
        }
        path.escaped = inner.contains('%');
        Some(path)
    }
}

/// The table made ready for matching: by method and length, so that only a few rows are tried.
struct Index {
    by_length: [[Vec<Candidate>; SEGMENTS_MAX + 1]; Verb::ALL.len()],
    /// The rows that end in `**`, which fit any length.
    open_ended: [Vec<Candidate>; Verb::ALL.len()],
}

static INDEX: LazyLock<Index> = LazyLock::new(Index::build);

impl Index {
    fn build() -> Self {
        let mut index = Self {
            by_length: array::from_fn(|_| Default::default()),
            open_ended: Default::default(),
        };
        for route in ROUTES {
            let candidate = Candidate::build(route);
            let verb = Verb::of(&route.method).expect("routes have methods we know") as usize;
            let row = if candidate.open_ended {
                index.open_ended.get_mut(verb)
            } else {
                let rows = index.by_length.get_mut(verb);
                rows.and_then(|rows| rows.get_mut(candidate.segments.len()))
            };
            row.expect("no route is longer than SEGMENTS_MAX")
                .push(candidate);
        }
        index
    }

    fn candidates(&self, verb: Verb, length: usize) -> impl Iterator<Item = &Candidate> {
        let verb = verb as usize;
        let exact = self.by_length.get(verb).and_then(|rows| rows.get(length));
        exact.into_iter().chain(self.open_ended.get(verb)).flatten()
    }
}

/// A row of the table, its template taken apart.
struct Candidate {
    operation: Operation,
    segments: Vec<Segment>,
    open_ended: bool,
}

enum Segment {
    Word(&'static str),
    Slot(Slot),
}

impl Candidate {
    fn build(route: &Route) -> Self {
        let words = route.template.strip_suffix("/**");
        let open_ended = words.is_some();
        let template = words.unwrap_or(route.template);
        let cut = template.split('/').filter(|segment| !segment.is_empty());
        let segments = cut.map(|segment| match Slot::parse(segment) {
            Some(slot) => Segment::Slot(slot),
            None => Segment::Word(segment),
        });
        Self {
            operation: route.operation,
            segments: segments.collect(),
            open_ended,
        }
    }

    /// The caller has chosen a row of the right length. The last word tells most, so it is
    /// compared first.
    fn fits(&self, path: &Path<'_>) -> bool {
        let mut pairs = self.segments.iter().zip(path.segments.iter()).rev();
        path.length >= self.segments.len()
            && pairs.all(|(segment, given)| match segment {
                Segment::Word(word) => {
                    given == word || (path.escaped && escape::for_routing(given) == *word)
                }
                Segment::Slot(_) => true,
            })
    }

    fn recognised<'r>(&self, path: &Path<'r>) -> Recognised<'r> {
        let mut slots = self
            .segments
            .iter()
            .zip(path.segments)
            .filter_map(|(segment, given)| match segment {
                Segment::Word(_) => None,
                Segment::Slot(slot) => Some((*slot, given)),
            });
        Recognised {
            operation: self.operation,
            parameters: array::from_fn(|_| slots.next()),
        }
    }
}

#[cfg(test)]
mod tests;
