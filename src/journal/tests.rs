use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use parking_lot::Condvar;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

mod damage;
mod killed;
mod marks;
mod owed;
mod room;

use super::disk::DiskFile;
use super::*;
use crate::error::ErrorKind;
use crate::model::PointKey;

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("outrigger-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn journal(&self) -> PathBuf {
        self.0.join("primary")
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.journal()).unwrap();
        let mut segments: Vec<_> = files
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "seg"))
            .collect();
        segments.sort();
        segments
    }

    /// The folder as a process killed now would leave it.
    fn as_killed(&self) -> Self {
        let copy = Self::new();
        fs::create_dir(copy.journal()).unwrap();
        for entry in fs::read_dir(self.journal()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                // A file that goes meanwhile is not there.
                let to = copy.journal().join(path.file_name().unwrap());
                drop(fs::copy(&path, to));
            }
        }
        copy
    }

    fn open(&self) -> Opened {
        self.open_with(JournalSettings::default())
    }

    fn open_with(&self, settings: JournalSettings) -> Opened {
        self.open_on(&Arc::new(TestDisk::default()), settings)
    }

    fn open_on(&self, disk: &Arc<TestDisk>, settings: JournalSettings) -> Opened {
        let disk = Arc::clone(disk);
        Journal::open_on(disk, &self.journal(), settings, &Clock::system()).unwrap()
    }

    fn whole(&self) -> Arc<Journal> {
        let opened = self.open();
        assert_eq!(opened.found, Found::Whole);
        opened.journal
    }

    fn fresh(&self) -> Arc<Journal> {
        let opened = self.open();
        assert_eq!(opened.found, Found::Fresh);
        opened.journal
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A real disk that counts, can fail, and does not wait for its platters.
#[derive(Default)]
struct TestDisk {
    syncs: Arc<AtomicU64>,
    faults: Arc<Mutex<Faults>>,
    /// A sync waits as long as this is true.
    gate: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Default)]
struct Faults {
    /// So many more operations succeed.
    operations: Option<u64>,
    /// A write that fails leaves so many bytes.
    torn_bytes: usize,
    /// Files can be removed all the same.
    removes: bool,
}

impl Faults {
    fn meet(&mut self) -> io::Result<()> {
        match &mut self.operations {
            None => Ok(()),
            Some(0) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl TestDisk {
    fn fail_after(&self, operations: u64, torn_bytes: usize) {
        *self.faults.lock() = Faults {
            operations: Some(operations),
            torn_bytes,
            removes: true,
        };
    }

    fn shut(&self) {
        *self.gate.0.lock() = true;
    }

    fn open(&self) {
        *self.gate.0.lock() = false;
        self.gate.1.notify_all();
    }

    fn heal(&self) {
        *self.faults.lock() = Faults::default();
    }

    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(TestFile {
            file,
            syncs: Arc::clone(&self.syncs),
            faults: Arc::clone(&self.faults),
            gate: Arc::clone(&self.gate),
        })
    }
}

impl Disk for TestDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.faults.lock().meet()?;
        Ok(self.file(RealDisk.create(path)?))
    }

    fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(RealDisk.reopen(path)?))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.faults.lock().meet()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut faults = self.faults.lock();
        if !faults.removes {
            faults.meet()?;
        }
        RealDisk.remove(path)
    }

    fn cut(&self, path: &Path, at: u64) -> io::Result<()> {
        fs::File::options().write(true).open(path)?.set_len(at)
    }
}

struct TestFile {
    file: Box<dyn DiskFile>,
    syncs: Arc<AtomicU64>,
    faults: Arc<Mutex<Faults>>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl DiskFile for TestFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut faults = self.faults.lock();
        let met = faults.meet();
        if met.is_err() {
            self.file
                .append(&bytes[..faults.torn_bytes.min(bytes.len())])?;
        }
        met?;
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (is_shut, opened) = &*self.gate;
        let mut is_shut = is_shut.lock();
        while *is_shut {
            // A test that has failed must not hang.
            let timeout = opened.wait_for(&mut is_shut, Duration::from_secs(20));
            assert!(!timeout.timed_out(), "nobody opens the gate");
        }
        self.faults.lock().meet()?;
        self.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn number(id: u64) -> Subject {
    Subject::Point(PointKey::Number(id))
}

fn numbers(ids: impl IntoIterator<Item = u64>) -> Vec<Subject> {
    ids.into_iter().map(number).collect()
}

/// What `take` gives for the one collection that has something.
async fn taken(journal: &Journal) -> Vec<Mark> {
    let mut batches = journal.take(1000).await.unwrap();
    assert!(batches.len() <= 1, "{batches:?}");
    batches.pop().map_or_else(Vec::new, |batch| batch.marks)
}

fn subjects(marks: &[Mark]) -> Vec<Subject> {
    marks.iter().map(|mark| mark.subject).collect()
}

async fn waiting(journal: &Journal) -> u64 {
    let backlog = journal.backlog().await.unwrap();
    backlog.iter().map(|(_, backlog)| backlog.marks).sum()
}

/// Returns when all that was changed before is on disk.
async fn written(journal: &Journal) {
    journal.mark("", &[]).await.unwrap();
}

/// Everything that can be taken, in order, taken and cleared.
async fn drained(journal: &Journal) -> Vec<(String, Vec<Subject>)> {
    let mut all = Vec::new();
    loop {
        let batches = journal.take(1000).await.unwrap();
        if batches.is_empty() {
            return all;
        }
        for batch in batches {
            journal
                .clear(&batch.collection, &batch.marks)
                .await
                .unwrap();
            all.push((String::from(&*batch.collection), subjects(&batch.marks)));
        }
    }
}

/// Opens what was damaged: it must be told, kept, and still give all of `least`.
async fn is_broken(folder: &Scratch, why: &str, least: &[u64]) {
    let opened = folder.open();
    let Found::Broken(reason) = &opened.found else {
        panic!("{why}: {:?}", opened.found);
    };
    assert!(reason.contains(why), "{why}: {reason}");
    let given: BTreeSet<String> = drained(&opened.journal)
        .await
        .into_iter()
        .flat_map(|(_, subjects)| subjects)
        .map(|subject| format!("{subject:?}"))
        .collect();
    for id in least {
        assert!(given.contains(&format!("{:?}", number(*id))), "{why}: {id}");
    }
    let due = opened.journal.sweeps().await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].collection, None);
    let aside = fs::read_dir(folder.journal())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .flat_map(|path| fs::read_dir(path).unwrap())
        .count();
    assert!(aside > 0, "nothing is kept aside");
    drop(opened);
    assert_eq!(
        folder.whole().sweeps().await.unwrap().len(),
        1,
        "it is due still"
    );
}
