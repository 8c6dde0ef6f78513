//! The folder of a journal: which files are in it, what can be read of them, and what is wrong.
//!
//! ```text
//! lock                 held by the one process that uses the folder
//! whole                there as long as everything marked is in the segments
//! 0000000001.seg       segments; the last one is written to
//! broken-MS/           segments of a broken journal, for a person to look at
//! ```
//!
//! A tail that cannot be read is what a crash in the middle of a write leaves, and nobody was told
//! that it was written. Anything else that cannot be read makes a journal broken.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::frame::{self, Damage, HEADER_BYTES};
use super::record::{self, Record};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};

/// So many broken journals are kept.
const ASIDE_MAX: usize = 3;

pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Closing it gives the folder free; the kernel does so for a killed process.
    _lock: File,
}

/// What was read of a segment.
struct Looked {
    sequence: u64,
    journal: Option<u128>,
    frames: usize,
    /// Where what a crash left begins.
    torn_at: Option<u64>,
    is_continued: bool,
    problem: Option<String>,
    bytes: u64,
}

/// What the segments of a folder are worth.
#[derive(Default)]
pub(super) struct Looks {
    pub(super) journal: Option<u128>,
    /// Those that count, oldest first, with their sizes.
    pub(super) segments: Vec<(u64, u64)>,
    /// The highest number that any file has.
    pub(super) last: u64,
    /// The last segment that counts is to be cut here.
    pub(super) torn_at: Option<u64>,
    /// Files that say nothing more.
    pub(super) needless: Vec<u64>,
    pub(super) problem: Option<String>,
}

impl Folder {
    pub(super) fn take(path: &Path) -> Result<Self> {
        let unusable = |error: io::Error| cannot("use the journal", path, error);
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_path_buf(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::settings(format!(
                "the journal {} is in use by another process; stop that one, or give this one a \
                 data folder of its own",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    pub(super) fn segment(&self, sequence: u64) -> PathBuf {
        self.path.join(format!("{sequence:010}.seg"))
    }

    pub(super) fn whole(&self) -> PathBuf {
        self.path.join("whole")
    }

    /// The numbers of the segments, in order.
    pub(super) fn sequences(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_suffix(".seg"));
            found.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Reads every segment once, to know which of them count.
    pub(super) fn look(&self) -> Result<Looks> {
        let sequences = self
            .sequences()
            .map_err(|error| cannot("list the journal", &self.path, error))?;
        let mut looked = Vec::new();
        let mut first = 1;
        for sequence in &sequences {
            looked.push(self.look_at(*sequence, &mut first));
        }
        let mut looks = Looks {
            last: sequences.last().copied().unwrap_or_default(),
            ..Looks::default()
        };
        looks.needless = sequences.into_iter().filter(|s| *s < first).collect();
        looked.retain(|segment| segment.sequence >= first);
        looks.judge(first, looked);
        if !self.whole().exists() {
            let reason = "the disk failed, and the process ended before all was written again";
            looks.problem.get_or_insert_with(|| reason.to_owned());
        }
        Ok(looks)
    }

    /// `first` becomes the segment from which on the journal is whole, if one says so.
    fn look_at(&self, sequence: u64, first: &mut u64) -> Looked {
        let mut looked = Looked {
            sequence,
            journal: None,
            frames: 0,
            torn_at: None,
            is_continued: false,
            problem: None,
            bytes: 0,
        };
        let bytes = match fs::read(self.segment(sequence)) {
            Ok(bytes) => bytes,
            Err(error) => {
                looked.problem = Some(format!("segment {sequence} cannot be read: {error}"));
                return looked;
            }
        };
        looked.bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match frame::read_header(&bytes) {
            Some((journal, number)) if number == sequence => looked.journal = Some(journal),
            // The segment was being made.
            None if bytes.len() < HEADER_BYTES || bytes.iter().all(|byte| *byte == 0) => {
                looked.torn_at = Some(0);
                return looked;
            }
            Some(_) | None => {
                looked.problem = Some(format!("segment {sequence} has another header"));
            }
        }
        let (payloads, damage) = frame::frames(&bytes);
        looked.frames = payloads.len();
        match damage {
            None => {}
            Some(Damage::Tail { at }) => looked.torn_at = u64::try_from(at).ok(),
            Some(Damage::Middle { at }) => {
                let problem = format!("segment {sequence} is damaged at byte {at}");
                looked.problem.get_or_insert(problem);
            }
        }
        for payload in payloads {
            let Some(records) = record::decode(payload) else {
                let problem = format!("segment {sequence} has a record that is not known");
                looked.problem.get_or_insert(problem);
                continue;
            };
            for record in &records {
                if let Record::CopyEnds { first: copied } = record {
                    *first = (*first).max(*copied);
                }
            }
            looked.is_continued = matches!(records.last(), Some(Record::Continued));
        }
        looked
    }

    /// Hands every record of the segment that can be read to `each`.
    pub(super) fn read(&self, sequence: u64, mut each: impl FnMut(Record<'static>)) {
        let Ok(bytes) = fs::read(self.segment(sequence)) else {
            return;
        };
        let (payloads, _) = frame::frames(&bytes);
        for records in payloads.into_iter().filter_map(record::decode) {
            records.into_iter().for_each(&mut each);
        }
    }

    /// A second name for every segment, where a person finds it.
    pub(super) fn put_aside(&self, sequences: &[u64], now_ms: u64) -> io::Result<PathBuf> {
        let aside = self.path.join(format!("broken-{now_ms}"));
        fs::create_dir_all(&aside)?;
        for sequence in sequences {
            let from = self.segment(*sequence);
            let to = aside.join(from.file_name().unwrap_or_default());
            // Not every file system has links.
            let linked = fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop));
            match linked {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        File::open(&aside)?.sync_all()?;
        self.forget_old_ones()?;
        Ok(aside)
    }

    fn forget_old_ones(&self) -> io::Result<()> {
        let mut aside = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_prefix("broken-"));
            if let Some(Ok(ms)) = number.map(str::parse::<u64>) {
                aside.push((ms, path));
            }
        }
        aside.sort();
        let needless = aside.len().saturating_sub(ASIDE_MAX);
        aside
            .iter()
            .take(needless)
            .try_for_each(|(_, path)| fs::remove_dir_all(path))
    }
}

impl Looks {
    fn judge(&mut self, first: u64, looked: Vec<Looked>) {
        self.journal = looked.iter().rev().find_map(|segment| segment.journal);
        let mut expected = first;
        for (at, segment) in looked.iter().enumerate() {
            if segment.sequence != expected {
                self.complain(format!("segment {expected} is missing"));
            }
            expected = segment.sequence + 1;
            if let Some(problem) = &segment.problem {
                self.complain(problem.clone());
            }
            if segment.journal.is_some() && segment.journal != self.journal {
                self.complain(format!(
                    "segment {} is of another journal",
                    segment.sequence
                ));
            }
            let behind = looked.get(at + 1..).unwrap_or_default();
            let is_last = behind.iter().all(|other| other.frames == 0);
            if let Some(torn_at) = segment.torn_at
                && segment.problem.is_none()
            {
                if !is_last {
                    let number = segment.sequence;
                    self.complain(format!("segment {number} is damaged at byte {torn_at}"));
                }
                if torn_at == 0 {
                    self.needless.push(segment.sequence);
                    continue;
                }
                self.torn_at = Some(torn_at);
                self.segments.push((segment.sequence, torn_at));
                if is_last {
                    self.needless
                        .extend(behind.iter().map(|other| other.sequence));
                    break;
                }
                continue;
            }
            self.segments.push((segment.sequence, segment.bytes));
            if segment.is_continued && behind.is_empty() {
                self.complain(format!("segment {expected} is missing"));
            }
        }
        if looked.is_empty() {
            self.complain("its segments are gone".to_owned());
        }
    }

    fn complain(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}

pub(super) fn cannot(verb: &str, path: &Path, error: io::Error) -> Error {
    let doing = format!("{verb} {}", path.display());
    Error::new(ErrorKind::Internal, Origin::Proxy, Retry::Never, doing).with_source(error)
}
