//! The thread that writes a journal down.
//!
//! It takes whatever has gathered while the disk was busy, writes it as one frame, syncs, and tells
//! all who wait: one sync for the group. Records that nobody waits for gather a while longer.
//!
//! When the disk fails, nobody is told that something is durable, and nobody waits. What is marked
//! is in memory still, so a disk that works again gets a new segment with, in this order: that
//! everything has to be compared, and all that is marked. Only then the journal is sound again.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::Shared;
use super::copy::Cursor;
use super::disk::{Disk, DiskFile};
use super::folder::{Folder, Looks, cannot};
use super::frame;
use super::record::Record;
use super::state::State;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};

/// Records that nobody waits for are written after so long, or when they are so many.
const LAZY: Duration = Duration::from_millis(20);
const LAZY_BYTES: usize = 256 * 1024;
/// Marks copied under the lock in one go. Few in tests, so that a copy takes many.
const COPY_MARKS: usize = if cfg!(test) { 20 } else { 4096 };

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    folder: Folder,
    journal: u128,
    /// `None` while the disk fails.
    file: Option<Box<dyn DiskFile>>,
    sequence: u64,
    /// Segments on disk and their sizes, the one written to last.
    segments: Vec<(u64, u64)>,
    copy: Option<Copying>,
    /// Nobody is told that the journal is sound before the next copy is complete.
    is_mending: bool,
    /// That it is broken is said on disk.
    is_told: bool,
}

struct Copying {
    first: u64,
    cursor: Cursor,
}

/// What is written as one frame, and who waits for it.
struct Group {
    records: Vec<u8>,
    waiters: Vec<oneshot::Sender<()>>,
}

enum Work {
    Write(Group),
    Mend,
    End,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        folder: Folder,
        journal: u128,
        last: u64,
    ) -> Self {
        Self {
            shared,
            disk,
            folder,
            journal,
            file: None,
            sequence: last,
            segments: Vec::new(),
            copy: None,
            is_mending: false,
            is_told: false,
        }
    }

    /// Goes on in a segment that is there.
    pub(super) fn go_on(&mut self, segments: Vec<(u64, u64)>) -> Result<()> {
        let path = self.folder.segment(self.sequence);
        let file = self.disk.reopen(&path);
        self.file = Some(file.map_err(|error| cannot("open", &path, error))?);
        self.segments = segments;
        self.publish();
        Ok(())
    }

    /// Writes all that is marked into a new segment, before anybody uses the journal. What was
    /// there before is needed no longer after that.
    pub(super) fn write_anew(&mut self) -> Result<()> {
        let written = self.try_write_anew();
        written.map_err(|error| cannot("write the journal", &self.folder.path, error))
    }

    fn try_write_anew(&mut self) -> io::Result<()> {
        self.start_segment()?;
        self.copy = Some(Copying {
            first: self.sequence,
            cursor: Cursor::Begin,
        });
        while self.copy.is_some() {
            let records = {
                let mut state = self.shared.state.lock();
                if let Some(copy) = &mut self.copy {
                    state.marks.copy(&mut copy.cursor, copy.first, COPY_MARKS);
                }
                mem::take(&mut state.marks.out)
            };
            self.write(&records)?;
            self.end_copy()?;
        }
        self.tell_whole()
    }

    pub(super) fn start(self) -> Result<JoinHandle<()>> {
        let thread = Builder::new().name("journal".to_owned());
        thread.spawn(move || self.run()).map_err(|error| {
            let doing = "start the journal's thread";
            Error::new(ErrorKind::Internal, Origin::Proxy, Retry::Safe, doing).with_source(error)
        })
    }

    fn run(mut self) {
        loop {
            match self.next() {
                Work::Write(group) => match self.write_group(&group.records) {
                    Ok(()) => {
                        for waiter in group.waiters {
                            // Who no longer waits need not be told.
                            waiter.send(()).unwrap_or_default();
                        }
                        if let Err(error) = self.keep_house() {
                            self.fail(&error);
                        }
                    }
                    Err(error) => self.fail(&error),
                },
                Work::Mend => {
                    if let Err(error) = self.mend() {
                        self.fail(&error);
                    }
                }
                Work::End => return,
            }
        }
    }

    fn next(&mut self) -> Work {
        let mut state = self.shared.state.lock();
        loop {
            if state.is_failed {
                let timeout = self
                    .shared
                    .work
                    .wait_for(&mut state, self.shared.settings.retry);
                if state.is_closing {
                    return Work::End;
                }
                if timeout.timed_out() {
                    return Work::Mend;
                }
                continue;
            }
            if state.is_closing && !self.is_mending {
                // Nothing is lost: the older segments are there still.
                self.copy = None;
            }
            let has_records = !state.marks.out.is_empty();
            if let Some(copy) = &mut self.copy {
                state.marks.copy(&mut copy.cursor, copy.first, COPY_MARKS);
            } else if state.is_closing && !has_records && state.waiters.is_empty() {
                return Work::End;
            } else if !has_records && state.waiters.is_empty() {
                self.shared.work.wait(&mut state);
                continue;
            } else if state.waiters.is_empty()
                && !state.is_closing
                && state.marks.out.len() < LAZY_BYTES
            {
                let timeout = self.shared.work.wait_for(&mut state, LAZY);
                if !timeout.timed_out() {
                    continue;
                }
            }
            let group = Group {
                records: mem::take(&mut state.marks.out),
                waiters: mem::take(&mut state.waiters),
            };
            self.shared.room.notify_waiters();
            return Work::Write(group);
        }
    }

    fn write_group(&mut self, records: &[u8]) -> io::Result<()> {
        self.write(records)?;
        self.end_copy()?;
        self.publish();
        Ok(())
    }

    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        // All that was written before is on disk.
        if records.is_empty() {
            return Ok(());
        }
        let frame = frame::frame(records)
            .ok_or_else(|| io::Error::other("more than four gigabytes at once"))?;
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("there is no segment"));
        };
        file.append(&frame)?;
        file.sync()?;
        self.shared.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.grow(frame.len());
        Ok(())
    }

    fn grow(&mut self, by: usize) {
        if let Some((_, bytes)) = self.segments.last_mut() {
            *bytes += u64::try_from(by).unwrap_or(u64::MAX);
        }
    }

    /// Makes a new segment durable before anything says that it is there.
    fn start_segment(&mut self) -> io::Result<()> {
        self.sequence += 1;
        let mut file = self.disk.create(&self.folder.segment(self.sequence))?;
        let header = frame::header(self.journal, self.sequence);
        file.append(&header)?;
        file.sync()?;
        self.disk.sync_folder(&self.folder.path)?;
        if let Some(mut old) = self.file.take() {
            let mut records = Vec::new();
            Record::Continued.encode(&mut records);
            let frame = frame::frame(&records).unwrap_or_default();
            old.append(&frame)?;
            old.sync()?;
            self.grow(frame.len());
        }
        self.file = Some(file);
        self.segments.push((self.sequence, 0));
        self.grow(header.len());
        Ok(())
    }

    /// Begins a new segment, or a copy, when it is time.
    fn keep_house(&mut self) -> io::Result<()> {
        let settings = &self.shared.settings;
        let current = self.segments.last().map_or(0, |(_, bytes)| *bytes);
        if self.copy.is_none() {
            let on_disk: u64 = self.segments.iter().map(|(_, bytes)| bytes).sum();
            let is_crowded = on_disk > settings.bytes_max / 2;
            let live = self.make_fit(is_crowded);
            if is_crowded || on_disk > settings.segment_bytes() + 2 * live {
                self.start_segment()?;
                self.copy = Some(Copying {
                    first: self.sequence,
                    cursor: Cursor::Begin,
                });
                return Ok(());
            }
        }
        if current >= settings.segment_bytes() {
            self.start_segment()?;
        }
        Ok(())
    }

    /// What is live is to take a quarter of the room at most, so that a copy of it fits in beside
    /// what is there. How much it takes.
    fn make_fit(&self, is_crowded: bool) -> u64 {
        let bytes_max = self.shared.settings.bytes_max;
        let mut state = self.shared.state.lock();
        let live = state.marks.live_bytes();
        if !is_crowded || live <= bytes_max / 4 {
            return live;
        }
        let now = self.shared.now();
        let part = u128::try_from(state.marks.count()).unwrap_or(u128::MAX);
        let fit = part * u128::from(bytes_max / 4) / u128::from(live.max(1));
        let why = format!(
            "the marks that waited took more than {} bytes",
            bytes_max / 4
        );
        let fit = usize::try_from(fit).unwrap_or(usize::MAX);
        let garbage = state.marks.spill_to(fit, &why, now);
        let live = state.marks.live_bytes();
        drop(state);
        drop(garbage);
        live
    }

    /// When everything live has been written again, what was before is removed.
    fn end_copy(&mut self) -> io::Result<()> {
        let Some(first) = self.copy.as_ref().and_then(Copying::done) else {
            return Ok(());
        };
        self.copy = None;
        for sequence in self.folder.sequences()? {
            if sequence < first {
                let removed = self.disk.remove(&self.folder.segment(sequence));
                if let Err(error) = removed {
                    warn!(%error, sequence, "a segment that is not needed stays");
                }
            }
        }
        self.segments.retain(|(sequence, _)| *sequence >= first);
        self.shared.counts.copies.fetch_add(1, Ordering::Relaxed);
        if mem::take(&mut self.is_mending) {
            self.tell_whole()?;
            info!(journal = %self.folder.path.display(), "the journal is sound again");
            self.shared.health.send_replace(State::Sound);
        }
        Ok(())
    }

    fn tell_whole(&self) -> io::Result<()> {
        if !self.folder.whole().exists() {
            self.disk.create(&self.folder.whole())?.sync()?;
        }
        self.disk.sync_folder(&self.folder.path)
    }

    fn fail(&mut self, failure: &io::Error) {
        (self.file, self.copy) = (None, None);
        let reason = format!("the journal could not be written: {failure}");
        let is_news = !mem::replace(&mut self.is_mending, true);
        if is_news || !self.is_told {
            self.is_told = self.tell_broken(is_news);
        }
        let now = self.shared.now();
        {
            let mut state = self.shared.state.lock();
            state.is_failed = true;
            if is_news {
                state.marks.want_sweep(None, &reason, now);
            }
            state.marks.out.clear();
            // Whoever waits is told by this that it is not durable.
            state.waiters.clear();
        }
        self.shared.room.notify_waiters();
        self.shared.woken.notify_one();
        if !is_news {
            debug!(error = %failure, "the journal still cannot be written");
            return;
        }
        error!(
            journal = %self.folder.path.display(), error = %failure,
            "the journal cannot be written: marks are in memory only, and everything has to be \
             compared once it can"
        );
        let since_ms = now.ms;
        let reason = reason.into();
        self.shared
            .health
            .send_replace(State::Failed { since_ms, reason });
    }

    /// Before anybody goes on without the journal. Room to remove a file there is even on a full
    /// disk: a process that finds this one gone knows that marks were lost with the one before.
    fn tell_broken(&self, is_news: bool) -> bool {
        let told = match self.disk.remove(&self.folder.whole()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            told => told,
        };
        let told = told.and_then(|()| self.disk.sync_folder(&self.folder.path));
        if let Err(error) = &told
            && is_news
        {
            error!(
                %error,
                "the journal cannot even say on disk that it is not whole: if this process ends \
                 before it can, the next one does not know that marks are lost, and \
                 `outrigger sync sweep` has to be asked for"
            );
        }
        told.is_ok()
    }

    fn mend(&mut self) -> io::Result<()> {
        self.start_segment()?;
        self.copy = Some(Copying {
            first: self.sequence,
            cursor: Cursor::Begin,
        });
        self.shared.state.lock().is_failed = false;
        Ok(())
    }

    fn publish(&self) {
        let bytes = self.segments.iter().map(|(_, bytes)| bytes).sum();
        self.shared.counts.bytes.store(bytes, Ordering::Relaxed);
        let segments = u64::try_from(self.segments.len()).unwrap_or(u64::MAX);
        self.shared
            .counts
            .segments
            .store(segments, Ordering::Relaxed);
    }
}

impl Copying {
    fn done(&self) -> Option<u64> {
        match self.cursor {
            Cursor::Done => Some(self.first),
            Cursor::Begin | Cursor::At(..) => None,
        }
    }
}

/// Removes what says nothing more, and cuts off what a crash left.
pub(super) fn tidy(disk: &dyn Disk, folder: &Folder, looks: &Looks) -> Result<()> {
    for sequence in &looks.needless {
        if let Err(error) = disk.remove(&folder.segment(*sequence)) {
            debug!(%error, sequence, "a segment that is not needed stays");
        }
    }
    if let Some((at, (sequence, _))) = looks.torn_at.zip(looks.segments.last()) {
        let path = folder.segment(*sequence);
        info!(segment = %path.display(), at, "a write that a crash cut short is cut off");
        let cut = disk.cut(&path, at);
        cut.map_err(|error| cannot("cut off a torn tail of", &path, error))?;
    }
    Ok(())
}
