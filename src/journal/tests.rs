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

mod owed;

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

#[tokio::test(start_paused = true)]
async fn that_there_was_no_journal_is_known_to_whoever_opens_it_next() {
    let scratch = Scratch::new();
    let settings = || JournalSettings {
        fresh: Some("it was not there"),
        ..JournalSettings::default()
    };
    let opened = scratch.open_with(settings());
    assert_eq!(opened.found, Found::Fresh);
    // Nobody has asked it anything.
    let killed = scratch.as_killed();
    let next = killed.open_with(settings());
    assert_eq!(next.found, Found::Whole);
    let dues = next.journal.sweeps().await.unwrap();
    assert_eq!(dues.len(), 1);
    assert_eq!(&*dues[0].reason, "it was not there");
}

#[tokio::test(start_paused = true)]
async fn what_was_marked_is_there_after_a_kill_until_it_is_cleared() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let intent = journal.intend("a", &numbers(1..4)).await.unwrap();
    assert!(intent.is_durable());
    journal.mark("b", &[number(9)]).await.unwrap();
    let killed = folder.as_killed();
    let again = killed.whole();
    assert_eq!(
        drained(&again).await,
        [("a".into(), numbers(1..4)), ("b".into(), numbers([9]))]
    );
    written(&again).await;
    drop(again);
    // The write was on its way when the process was killed: it stays in doubt for a while.
    let again = killed.whole();
    assert_eq!(drained(&again).await, [("a".into(), numbers(1..4))]);

    intent.end(Outcome::Settled);
    drained(&journal).await;
    assert_eq!(waiting(&journal).await, 0);
    drop(journal);
    assert_eq!(waiting(&folder.whole()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn one_sync_serves_all_who_wait() {
    let (folder, disk) = (Scratch::new(), Arc::new(TestDisk::default()));
    let journal = folder.open_on(&disk, JournalSettings::default()).journal;
    let before = disk.syncs();
    disk.shut();
    let subjects: Vec<_> = (0..64).map(number).collect();
    let mut intents: Vec<_> = subjects
        .iter()
        .map(|subject| Box::pin(journal.intend("a", std::slice::from_ref(subject))))
        .collect();
    for intent in &mut intents {
        assert!(intent.now_or_never().is_none(), "durable before a sync");
    }
    disk.open();
    let intents = join_all(intents).await;
    assert!(
        intents
            .iter()
            .all(|intent| intent.as_ref().unwrap().is_durable())
    );
    let syncs = disk.syncs() - before;
    assert!((1..=2).contains(&syncs), "{syncs} syncs for 64 intents");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_counted_and_not_given() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let one = journal.intend("a", &numbers([1, 2])).await.unwrap();
    let two = journal.intend("a", &numbers([2])).await.unwrap();
    assert_eq!(waiting(&journal).await, 2);
    assert!(taken(&journal).await.is_empty());
    one.end(Outcome::Settled);
    assert_eq!(subjects(&taken(&journal).await), numbers([1]));
    two.end(Outcome::NothingDone);
    assert_eq!(subjects(&taken(&journal).await), numbers([1, 2]));
    assert_eq!(waiting(&journal).await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_marked_is_told_by_point_in_line_and_in_flight_and_in_doubt() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let check = |asked: &[u64], wanted: &[u64], is_barrier: bool| {
        let keys: Vec<PointKey> = asked.iter().copied().map(PointKey::Number).collect();
        let wanted = wanted.iter().copied().map(PointKey::Number);
        let points = wanted.collect();
        assert_eq!(journal.marked("a", &keys), Marked { points, is_barrier });
        assert_eq!(journal.marked("b", &keys), Marked::default());
    };
    check(&[1], &[], false);
    journal.mark("a", &numbers([1, 2])).await.unwrap();
    let flying = journal.intend("a", &numbers([3])).await.unwrap();
    check(&[1, 2, 3, 4], &[1, 2, 3], false);
    check(&[2], &[2], false);
    journal.clear("a", &taken(&journal).await).await.unwrap();
    check(&[1, 2, 3], &[3], false);
    flying.end(Outcome::Unknown);
    // Cleared, and to come back.
    journal.clear("a", &taken(&journal).await).await.unwrap();
    check(&[1, 3], &[3], false);
    journal.mark("a", &numbers([5])).await.unwrap();
    let deletion = journal.intend("a", &[Subject::Dropped]).await.unwrap();
    check(&[3, 5], &[3, 5], true);
    deletion.end(Outcome::Settled);
    // What may still be applied comes back all the same.
    check(&[3, 5], &[3], true);
}

#[tokio::test(start_paused = true)]
async fn a_point_that_is_written_to_all_the_time_does_not_starve() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let one = journal.intend("a", &[number(1)]).await.unwrap();
    let two = journal.intend("a", &[number(1)]).await.unwrap();
    one.end(Outcome::Settled);
    assert!(taken(&journal).await.is_empty());
    tokio::time::advance(Duration::from_millis(1100)).await;
    let marks = taken(&journal).await;
    assert_eq!(subjects(&marks), [number(1)]);
    journal.clear("a", &marks).await.unwrap();
    assert_eq!(waiting(&journal).await, 1, "the other write is in flight");
    two.end(Outcome::Settled);
    assert_eq!(subjects(&taken(&journal).await), [number(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_mark_made_anew_between_take_and_clear_stays() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &numbers(1..4)).await.unwrap();
    let before = taken(&journal).await;
    journal.mark("a", &[number(2)]).await.unwrap();
    let intent = journal.intend("a", &[number(3)]).await.unwrap();
    intent.end(Outcome::Settled);
    journal.clear("a", &before).await.unwrap();
    let after = taken(&journal).await;
    assert_eq!(subjects(&after), numbers([2, 3]));
    assert_eq!(taken(&journal).await, after, "to take is not to clear");
    journal.clear("a", &after).await.unwrap();
    assert_eq!(waiting(&journal).await, 0);
    drop(journal);
    assert_eq!(waiting(&folder.whole()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_leaves_no_mark_that_was_not_there() {
    let (folder, disk) = (Scratch::new(), Arc::new(TestDisk::default()));
    let journal = folder.open_on(&disk, JournalSettings::default()).journal;
    journal.mark("a", &[number(1)]).await.unwrap();
    let intent = journal.intend("a", &numbers([1, 2])).await.unwrap();
    intent.end(Outcome::NothingDone);
    assert_eq!(subjects(&taken(&journal).await), numbers([1]));
    // Given up before it was durable: nothing was sent.
    disk.shut();
    let never_sent = numbers([3, 4]);
    let mut given_up = Box::pin(journal.intend("a", &never_sent));
    assert!((&mut given_up).now_or_never().is_none());
    drop(given_up);
    disk.open();
    assert_eq!(waiting(&journal).await, 1);
    drop(journal);
    assert_eq!(waiting(&folder.whole()).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_comes_back_three_times() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    drop(journal.intend("a", &[number(1)]).await.unwrap());
    for pause in [1, 4, 15] {
        let marks = taken(&journal).await;
        assert_eq!(
            subjects(&marks),
            [number(1)],
            "before the pause of {pause} s"
        );
        journal.clear("a", &marks).await.unwrap();
        assert!(taken(&journal).await.is_empty());
        assert_eq!(waiting(&journal).await, 1, "the fence waits for it");
        let since = Instant::now();
        while taken(&journal).await.is_empty() {
            journal.woken().await;
        }
        let slept = since.elapsed().as_millis();
        assert!(
            (pause * 1000..=pause * 1000 + 200).contains(&slept),
            "{slept} ms"
        );
        // A clear of what was taken before does not fit what came back.
        journal.clear("a", &marks).await.unwrap();
        // After a kill it is there, and in doubt again.
        written(&journal).await;
        assert_eq!(waiting(&folder.as_killed().whole()).await, 1);
    }
    let marks = taken(&journal).await;
    journal.clear("a", &marks).await.unwrap();
    assert_eq!(waiting(&journal).await, 0);
    drop(journal);
    assert_eq!(waiting(&folder.whole()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn barriers_keep_their_place() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &numbers([1, 2])).await.unwrap();
    journal.mark("a", &[Subject::Schema]).await.unwrap();
    journal.mark("a", &[Subject::Schema]).await.unwrap();
    journal.mark("a", &numbers([2, 3])).await.unwrap();
    journal.mark("a", &[Subject::Schema]).await.unwrap();
    written(&journal).await;
    let order = [
        numbers([1]),
        vec![Subject::Schema],
        numbers([2, 3]),
        vec![Subject::Schema],
    ];
    let after_kill = drained(&folder.as_killed().whole()).await;
    for (given, expected) in after_kill.iter().zip(&order) {
        assert_eq!(&given.1, expected);
    }
    assert_eq!(after_kill.len(), order.len());
    for expected in order {
        let marks = taken(&journal).await;
        assert_eq!(subjects(&marks), expected);
        assert_eq!(taken(&journal).await, marks);
        journal.clear("a", &marks).await.unwrap();
    }
    assert_eq!(waiting(&journal).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_makes_what_was_before_it_void_and_not_what_is_in_flight() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &numbers([1, 2, 3])).await.unwrap();
    let flying = journal.intend("a", &numbers([3, 4])).await.unwrap();
    let deletion = journal.intend("a", &[Subject::Dropped]).await.unwrap();
    let late = journal.intend("a", &[number(5)]).await.unwrap();
    late.end(Outcome::Settled);
    assert_eq!(subjects(&taken(&journal).await), numbers([1, 2]));
    deletion.end(Outcome::Settled);
    journal.mark("a", &[number(2)]).await.unwrap();
    let check = async |journal: &Journal, expected: &[u64]| {
        let marks = taken(journal).await;
        assert_eq!(subjects(&marks), [Subject::Dropped]);
        journal.clear("a", &marks).await.unwrap();
        let mut points = subjects(&taken(journal).await);
        points.sort_by_key(|subject| format!("{subject:?}"));
        assert_eq!(points, numbers(expected.iter().copied()));
    };
    check(&folder.as_killed().whole(), &[2, 3, 4, 5]).await;
    assert_eq!(waiting(&journal).await, 5);
    check(&journal, &[2, 5]).await;
    flying.end(Outcome::Settled);
    assert_eq!(waiting(&journal).await, 4);
    assert!(journal.sweeps().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_deletion_makes_nothing_void() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &[number(1)]).await.unwrap();
    let deletion = journal.intend("a", &[Subject::Dropped]).await.unwrap();
    let killed = folder.as_killed();
    deletion.end(Outcome::NothingDone);
    assert_eq!(drained(&journal).await, [("a".into(), numbers([1]))]);
    assert_eq!(waiting(&journal).await, 0);
    // Killed before the answer, nobody knows.
    let again = killed.whole();
    assert_eq!(
        drained(&again).await,
        [
            ("a".into(), numbers([1])),
            ("a".into(), vec![Subject::Schema])
        ]
    );
    assert_eq!(again.sweeps().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_in_doubt_is_a_schema_and_a_sweep_that_comes_back() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &[number(1)]).await.unwrap();
    drop(journal.intend("a", &[Subject::Dropped]).await.unwrap());
    assert_eq!(
        drained(&journal).await,
        [
            ("a".into(), numbers([1])),
            ("a".into(), vec![Subject::Schema])
        ]
    );
    let due = journal.sweeps().await.unwrap();
    journal.swept(&due[0]).await.unwrap();
    assert!(!journal.may_be_swept(&due[0]), "not yet once more");
    written(&journal).await;
    assert_eq!(folder.as_killed().whole().sweeps().await.unwrap().len(), 1);
    assert_eq!(waiting(&journal).await, 1, "the schema is in doubt");
    tokio::time::advance(Duration::from_secs(80)).await;
    let again = journal.sweeps().await.unwrap();
    assert!(journal.may_be_swept(&again[0]));
    journal.swept(&due[0]).await.unwrap();
    assert_eq!(
        journal.sweeps().await.unwrap(),
        again,
        "an old sweep does not answer it"
    );
    journal.swept(&again[0]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(
            drained(&journal).await,
            [("a".into(), vec![Subject::Schema])]
        );
        tokio::time::advance(Duration::from_secs(80)).await;
    }
    assert_eq!(waiting(&journal).await, 0);
    drop(journal);
    let again = folder.whole();
    assert_eq!(waiting(&again).await, 0);
    assert!(again.sweeps().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_kept_until_the_point_is_written_or_revived() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let letter = |id| DeadLetter {
        collection: "a".into(),
        id: PointKey::Number(id),
        reason: "Wrong input: vector dimension".into(),
        since_ms: 7,
    };
    journal
        .bury(&[letter(1), letter(2), letter(3)])
        .await
        .unwrap();
    let refused = journal.intend("a", &[number(1)]).await.unwrap();
    refused.end(Outcome::NothingDone);
    assert_eq!(journal.dead_count().await.unwrap(), [("a".into(), 3)]);
    let written_to = journal.intend("a", &[number(1)]).await.unwrap();
    written_to.end(Outcome::Settled);
    written(&journal).await;
    let again = folder.as_killed().whole();
    assert_eq!(again.dead(None, 9).await.unwrap(), [letter(2), letter(3)]);
    assert_eq!(journal.dead(Some("a"), 1).await.unwrap(), [letter(2)]);
    assert_eq!(journal.revive(Some("b")).await.unwrap(), 0);
    assert_eq!(journal.revive(None).await.unwrap(), 2);
    assert_eq!(subjects(&taken(&journal).await), numbers(1..4));
    drop(journal);
    let again = folder.whole();
    assert_eq!(waiting(&again).await, 3);
    assert!(again.dead(None, 9).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_sweep_is_due_until_one_that_began_later_is_done() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.want_sweep(Some("a"), "one").await.unwrap();
    let old = journal.sweeps().await.unwrap();
    journal.want_sweep(Some("a"), "two").await.unwrap();
    journal.want_sweep(None, "all").await.unwrap();
    journal.swept(&old[0]).await.unwrap();
    let again = folder.as_killed().whole();
    let due = again.sweeps().await.unwrap();
    let told: Vec<_> = due
        .iter()
        .map(|due| (due.collection.as_deref(), &*due.reason))
        .collect();
    assert_eq!(told, [(None, "all"), (Some("a"), "two")]);
    for due in &due {
        again.swept(due).await.unwrap();
    }
    assert!(again.sweeps().await.unwrap().is_empty());
    again.close();
    journal.forget().await.unwrap();
    assert!(journal.sweeps().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn past_the_bound_the_largest_collection_is_compared_whole() {
    let folder = Scratch::new();
    let settings = || JournalSettings {
        marks_max: 100,
        ..JournalSettings::default()
    };
    let journal = folder.open_with(settings()).journal;
    journal.mark("small", &numbers(0..20)).await.unwrap();
    let flying = journal.intend("large", &[number(7)]).await.unwrap();
    let doubtful = journal.intend("large", &[number(8)]).await.unwrap();
    journal.mark("large", &numbers(0..85)).await.unwrap();
    let of = async |journal: &Journal| -> BTreeMap<String, u64> {
        let backlog = journal.backlog().await.unwrap();
        backlog
            .into_iter()
            .map(|(name, of)| (String::from(&*name), of.marks))
            .collect()
    };
    let left: BTreeMap<String, u64> = [("large".into(), 2), ("small".into(), 20)].into();
    assert_eq!(of(&journal).await, left, "what is in flight is kept");
    // Nobody sweeps yet: what is written meanwhile needs no mark of its own.
    journal
        .intend("large", &[number(9)])
        .await
        .unwrap()
        .end(Outcome::Settled);
    doubtful.end(Outcome::Unknown);
    assert_eq!(of(&journal).await["large"], 1);
    written(&journal).await;
    let again = folder.as_killed().open_with(settings()).journal;
    assert_eq!(
        of(&again).await,
        [("large".into(), 1), ("small".into(), 20)].into()
    );
    assert_eq!(
        again.sweeps().await.unwrap()[0].collection.as_deref(),
        Some("large")
    );
    // From here on the sweep may have passed a point before it is written.
    let due = journal.sweeps().await.unwrap();
    assert_eq!(&*due[0].reason, "more than 100 marks waited");
    flying.end(Outcome::Settled);
    journal.mark("large", &[number(10)]).await.unwrap();
    assert_eq!(of(&journal).await["large"], 2);
    journal.swept(&due[0]).await.unwrap();
    assert!(!journal.may_be_swept(&due[0]));
    tokio::time::advance(Duration::from_secs(80)).await;
    let again = journal.sweeps().await.unwrap();
    assert!(journal.may_be_swept(&again[0]), "for what was in doubt");
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_used_by_one_only() {
    let folder = Scratch::new();
    let _journal = folder.fresh();
    let disk = Arc::new(TestDisk::default());
    let settings = JournalSettings::default();
    let second = Journal::open_on(disk, &folder.journal(), settings, &Clock::system());
    let error = second.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Settings);
}

/// A journal of several segments, closed.
async fn of_segments() -> Scratch {
    let folder = Scratch::new();
    let settings = JournalSettings {
        segment_bytes: 150,
        ..JournalSettings::default()
    };
    let journal = folder.open_with(settings).journal;
    for id in 0.. {
        journal.mark("a", &[number(id)]).await.unwrap();
        // Three frames in the last one, and no other begins.
        let last = folder.segments().pop().unwrap();
        let bytes = fs::metadata(last).unwrap().len();
        if id >= 50 && (115..150).contains(&bytes) {
            break;
        }
    }
    drop(journal);
    assert!(folder.segments().len() > 2, "{:?}", folder.segments());
    folder
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

#[tokio::test(start_paused = true)]
async fn a_damaged_journal_is_kept_aside_and_everything_is_swept() {
    let whole = of_segments().await;
    let last = whole.segments().len() - 1;
    for (at, least) in [(0, [48, 49]), (last, [0, 1])] {
        let folder = whole.as_killed();
        fs::remove_file(&folder.segments()[at]).unwrap();
        is_broken(&folder, "is missing", &least).await;
        for flipped in [60, 9] {
            let folder = whole.as_killed();
            let path = &folder.segments()[at];
            let mut bytes = fs::read(path).unwrap();
            bytes[flipped] ^= 0x20;
            fs::write(path, bytes).unwrap();
            let why = if flipped < 40 {
                "another header"
            } else {
                "damaged at byte"
            };
            is_broken(&folder, why, &least).await;
        }
    }
    let folder = whole.as_killed();
    let path = &folder.segments()[0];
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 3]).unwrap();
    is_broken(&folder, "damaged at byte", &[48, 49]).await;

    let folder = whole.as_killed();
    let other = of_segments().await;
    fs::copy(&other.segments()[1], &folder.segments()[1]).unwrap();
    is_broken(&folder, "of another journal", &[0, 49]).await;

    let folder = whole.as_killed();
    for path in folder.segments() {
        fs::remove_file(path).unwrap();
    }
    let opened = folder.open();
    assert!(matches!(opened.found, Found::Broken(_)));
    assert_eq!(opened.journal.sweeps().await.unwrap().len(), 1);
}

/// What a point of the model has. It is in the journal as long as it is in the model.
#[derive(Clone, Copy, Default)]
struct Of {
    flying: u32,
    is_owed: bool,
    doubt: u8,
    is_asleep: bool,
    /// Of before a deletion: in memory for its doubt, in the journal no longer.
    is_void: bool,
}

type Points = BTreeMap<(u8, u64), Of>;

/// What a journal that ends here gives after a restart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Expected {
    points: BTreeSet<(u8, u64)>,
    deletions: [usize; 2],
    letters: BTreeSet<(u8, u64)>,
    is_swept: bool,
}

/// Bytes on disk when a call had returned, if it waits for the disk, and what it must have left.
type Step = (Option<u64>, Expected);

const NAMES: [&str; 2] = ["a", "b"];

struct Player {
    random: StdRng,
    journal: Arc<Journal>,
    points: Points,
    deletions: [usize; 2],
    letters: BTreeSet<(u8, u64)>,
    is_swept: bool,
    open: Vec<(u8, Vec<u64>, Intent)>,
    steps: Vec<Step>,
}

impl Player {
    fn new(seed: u64, journal: Arc<Journal>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            journal,
            points: Points::new(),
            deletions: [0; 2],
            letters: BTreeSet::new(),
            is_swept: false,
            open: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn note(&mut self, has_waited: bool) {
        let bytes = self.journal.figures().bytes;
        self.steps
            .push((has_waited.then_some(bytes), self.expected()));
    }

    fn expected(&self) -> Expected {
        let live = self.points.iter().filter(|(_, of)| !of.is_void);
        Expected {
            points: live.map(|(key, _)| *key).collect(),
            deletions: self.deletions,
            letters: self.letters.clone(),
            is_swept: self.is_swept,
        }
    }

    fn name(of: u8) -> &'static str {
        NAMES[usize::from(of)]
    }

    fn some(&mut self) -> (u8, Vec<u64>) {
        let of = self.random.random_range(0..2);
        let count = self.random.random_range(1..4);
        let ids: BTreeSet<u64> = (0..count)
            .map(|_| self.random.random_range(0..12))
            .collect();
        (of, ids.into_iter().collect())
    }

    async fn step(&mut self) {
        match self.random.random_range(0..14) {
            0..4 => self.intend().await,
            4..8 => self.end(),
            8 | 9 => self.mark().await,
            10 | 11 => self.take_and_clear().await,
            12 => self.delete_or_bury().await,
            _ => self.sweep().await,
        }
    }

    async fn intend(&mut self) {
        let (of, ids) = self.some();
        let subjects = numbers(ids.iter().copied());
        let intent = self
            .journal
            .intend(Self::name(of), &subjects)
            .await
            .unwrap();
        for id in &ids {
            let point = self.points.entry((of, *id)).or_default();
            point.flying += 1;
            point.is_void = false;
        }
        self.open.push((of, ids, intent));
        self.note(true);
    }

    fn end(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.open.len());
        let (of, ids, intent) = self.open.swap_remove(at);
        let outcomes = [
            Outcome::Settled,
            Outcome::Settled,
            Outcome::NothingDone,
            Outcome::Unknown,
        ];
        let outcome = outcomes[self.random.random_range(0..4)];
        intent.end(outcome);
        for id in ids {
            let key = (of, id);
            let point = self.points.get_mut(&key).unwrap();
            point.flying -= 1;
            if outcome == Outcome::NothingDone {
                if point.flying == 0 && !point.is_owed && !point.is_asleep {
                    self.leave(key);
                }
                continue;
            }
            (point.is_owed, point.is_asleep) = (true, false);
            if outcome == Outcome::Unknown {
                point.doubt = 3;
            }
            self.letters.remove(&key);
        }
        self.note(false);
    }

    /// Nothing is owed of it any more.
    fn leave(&mut self, key: (u8, u64)) {
        let point = self.points.get_mut(&key).unwrap();
        if point.doubt == 0 {
            self.points.remove(&key);
        } else {
            point.doubt -= 1;
            point.is_asleep = true;
        }
    }

    async fn mark(&mut self) {
        let (of, ids) = self.some();
        let subjects = numbers(ids.iter().copied());
        self.journal.mark(Self::name(of), &subjects).await.unwrap();
        self.marked(of, &ids);
        self.note(true);
    }

    fn marked(&mut self, of: u8, ids: &[u64]) {
        for id in ids {
            let point = self.points.entry((of, *id)).or_default();
            (point.is_owed, point.is_asleep, point.is_void) = (true, false, false);
            self.letters.remove(&(of, *id));
        }
    }

    async fn take_and_clear(&mut self) {
        let batches = self.journal.take(4).await.unwrap();
        for batch in batches {
            let of = u8::from(&*batch.collection == "b");
            let Subject::Point(_) = batch.marks[0].subject else {
                self.deletions[usize::from(of)] -= 1;
                self.journal
                    .clear(Self::name(of), &batch.marks)
                    .await
                    .unwrap();
                self.note(false);
                continue;
            };
            // One of them is marked anew while it is being copied.
            let ids = batch.marks.iter().map(|mark| match mark.subject {
                Subject::Point(PointKey::Number(id)) => id,
                Subject::Point(PointKey::Uuid(_)) | Subject::Schema | Subject::Dropped => {
                    panic!("{mark:?}")
                }
            });
            let ids: Vec<u64> = ids.collect();
            let is_anew = self.random.random_bool(0.3);
            let anew = is_anew.then(|| ids[self.random.random_range(0..ids.len())]);
            if let Some(id) = anew {
                self.journal
                    .mark(Self::name(of), &[number(id)])
                    .await
                    .unwrap();
                self.marked(of, &[id]);
                self.note(true);
            }
            self.journal
                .clear(Self::name(of), &batch.marks)
                .await
                .unwrap();
            for id in ids.into_iter().filter(|id| Some(*id) != anew) {
                let point = self
                    .points
                    .get_mut(&(of, id))
                    .expect("what is given is marked");
                assert!(point.is_owed && point.flying == 0, "{id} was given");
                point.is_owed = false;
                self.leave((of, id));
            }
            self.note(false);
        }
    }

    async fn delete_or_bury(&mut self) {
        let (of, ids) = self.some();
        if self.random.random_bool(0.5) {
            let letters: Vec<_> = ids
                .iter()
                .map(|id| DeadLetter {
                    collection: Self::name(of).into(),
                    id: PointKey::Number(*id),
                    reason: "no".into(),
                    since_ms: 1,
                })
                .collect();
            self.journal.bury(&letters).await.unwrap();
            self.letters.extend(ids.into_iter().map(|id| (of, id)));
            self.note(true);
            return;
        }
        self.journal
            .mark(Self::name(of), &[Subject::Dropped])
            .await
            .unwrap();
        self.deletions[usize::from(of)] += 1;
        self.points.retain(|(at, _), point| {
            let is_before = *at == of && point.flying == 0;
            point.is_void |= is_before;
            !is_before || point.is_asleep
        });
        self.note(true);
    }

    async fn sweep(&mut self) {
        if self.is_swept {
            for due in self.journal.sweeps().await.unwrap() {
                if due.collection.is_none() {
                    self.journal.swept(&due).await.unwrap();
                }
            }
            self.is_swept = false;
            self.note(false);
            return;
        }
        self.journal.want_sweep(None, "asked for").await.unwrap();
        self.is_swept = true;
        self.note(true);
    }
}

/// What a journal gives that was opened after a kill.
async fn told(journal: &Journal) -> Expected {
    let mut told = Expected::default();
    let which = |name: &str| u8::from(name == "b");
    for letter in journal.dead(None, 1000).await.unwrap() {
        let PointKey::Number(id) = letter.id else {
            panic!("{letter:?}");
        };
        told.letters.insert((which(&letter.collection), id));
    }
    let sweeps = journal.sweeps().await.unwrap();
    told.is_swept = sweeps.iter().any(|due| due.collection.is_none());
    for (name, subjects) in drained(journal).await {
        for subject in subjects {
            match subject {
                Subject::Point(PointKey::Number(id)) => {
                    assert!(told.points.insert((which(&name), id)), "{id} twice");
                }
                Subject::Dropped => told.deletions[usize::from(which(&name))] += 1,
                Subject::Schema | Subject::Point(PointKey::Uuid(_)) => panic!("{subject:?}"),
            }
        }
    }
    told
}

/// Plays a history, and looks at what each cut of the last segment gives.
async fn killed_at_every_byte(seed: u64, steps: usize, every: usize) {
    let folder = Scratch::new();
    let mut player = Player::new(seed, folder.fresh());
    for _ in 0..steps {
        player.step().await;
    }
    assert!(player.journal.is_sound());
    written(&player.journal).await;
    let killed = folder.as_killed();
    let played = std::mem::take(&mut player.steps);
    drop(player);
    let path = &killed.segments()[0];
    let whole = fs::read(path).unwrap();
    let first = played.iter().find_map(|(bytes, _)| *bytes).unwrap();
    let first = usize::try_from(first).unwrap();
    for cut in (first..=whole.len()).rev().step_by(every) {
        fs::write(path, &whole[..cut]).unwrap();
        let opened = killed.as_killed().open();
        assert_eq!(opened.found, Found::Whole, "seed {seed} cut at {cut}");
        let told = told(&opened.journal).await;
        let cut = u64::try_from(cut).unwrap();
        // All that had returned by then is there; nothing is from after what can be there.
        let is_there = |(bytes, _): &Step| bytes.is_some_and(|b| b <= cut);
        let from = played.iter().rposition(is_there).unwrap();
        let behind = &played[from + 1..];
        let is_later = |(bytes, _): &Step| bytes.is_some_and(|b| b > cut);
        let until = behind
            .iter()
            .position(is_later)
            .map_or(behind.len(), |at| at + 1);
        let window = &played[from..=from + until];
        assert!(
            window.iter().any(|(_, expected)| *expected == told),
            "seed {seed} cut at {cut}: {told:?}\nnot in {:?}",
            window
                .iter()
                .map(|(_, expected)| expected)
                .collect::<Vec<_>>()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_byte_nothing_that_was_promised_is_lost() {
    killed_at_every_byte(2, 25, 1).await;
    let fresh = rand::random();
    println!("seed {fresh}");
    for seed in [1, 4711, fresh] {
        killed_at_every_byte(seed, 60, 5).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_fails_no_write_and_is_told_and_mended() {
    for operations in 0..40 {
        for torn_bytes in [0, 9, 1000] {
            let (folder, disk) = (Scratch::new(), Arc::new(TestDisk::default()));
            let settings = JournalSettings {
                retry: Duration::from_millis(1),
                segment_bytes: 200,
                ..JournalSettings::default()
            };
            let journal = folder.open_on(&disk, settings).journal;
            let mut health = journal.watch();
            journal.mark("a", &[number(100)]).await.unwrap();
            disk.fail_after(operations, torn_bytes);
            let mut promised = vec![100];
            for id in 0..20 {
                let intent = journal.intend("a", &[number(id)]).await.unwrap();
                if intent.is_durable() {
                    promised.push(id);
                }
                intent.end(Outcome::Settled);
            }
            health
                .wait_for(|state| *state != State::Sound)
                .await
                .unwrap();
            assert!(!journal.is_sound());
            assert!(promised.len() < 21);
            // Killed before the disk works again: nothing that was promised is lost, and that
            // more may be lost is known.
            let killed = folder.as_killed();
            is_broken(&killed, "", &promised).await;
            assert_eq!(waiting(&journal).await, 21);
            disk.heal();
            health
                .wait_for(|state| *state == State::Sound)
                .await
                .unwrap();
            let intent = journal.intend("b", &[number(1)]).await.unwrap();
            assert!(intent.is_durable());
            intent.end(Outcome::Settled);
            let again = folder.as_killed().whole();
            assert_eq!(waiting(&again).await, 22);
            assert_eq!(again.sweeps().await.unwrap().len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_written_again_and_the_rest_goes() {
    let folder = Scratch::new();
    let settings = || JournalSettings {
        segment_bytes: 4096,
        ..JournalSettings::default()
    };
    let journal = folder.open_with(settings()).journal;
    let uuids = (0..50).map(|id| Subject::Point(PointKey::Uuid(u128::MAX - id)));
    let kept: Vec<Subject> = uuids.collect();
    journal.mark("kept", &kept).await.unwrap();
    journal.mark("kept", &[Subject::Schema]).await.unwrap();
    journal.mark("kept", &numbers(0..50)).await.unwrap();
    let flying = journal.intend("flying", &[number(1)]).await.unwrap();
    let deletion = journal
        .intend("deleted", &[Subject::Dropped])
        .await
        .unwrap();
    drop(journal.intend("doubtful", &[number(1)]).await.unwrap());
    journal
        .want_sweep(Some("swept"), "for the test")
        .await
        .unwrap();
    let letter = DeadLetter {
        collection: "dead".into(),
        id: PointKey::Number(3),
        reason: "no".into(),
        since_ms: 1,
    };
    journal.bury(std::slice::from_ref(&letter)).await.unwrap();
    for round in 0..2000_u64 {
        let subjects = numbers(round..round + 8);
        let intent = journal.intend("busy", &subjects).await.unwrap();
        intent.end(Outcome::Settled);
        for batch in journal.take(100).await.unwrap() {
            if &*batch.collection == "busy" || &*batch.collection == "doubtful" {
                journal
                    .clear(&batch.collection, &batch.marks)
                    .await
                    .unwrap();
            }
        }
    }
    written(&journal).await;
    let figures = journal.figures();
    assert!(figures.copies > 3, "{figures:?}");
    assert!(figures.bytes < 40_000, "{figures:?}");
    let killed = folder.as_killed();
    let again = killed.open_with(settings());
    assert_eq!(again.found, Found::Whole);
    let again = again.journal;
    let sorted = |mut subjects: Vec<Subject>| {
        subjects.sort_by_key(|subject| format!("{subject:?}"));
        subjects
    };
    let mut given: BTreeMap<String, Vec<Vec<Subject>>> = BTreeMap::new();
    for (name, subjects) in drained(&again).await {
        given.entry(name).or_default().push(sorted(subjects));
    }
    let expected = [
        ("deleted".into(), vec![vec![Subject::Schema]]),
        ("doubtful".into(), vec![numbers([1])]),
        ("flying".into(), vec![numbers([1])]),
        (
            "kept".into(),
            vec![sorted(kept), vec![Subject::Schema], sorted(numbers(0..50))],
        ),
    ];
    assert_eq!(given, expected.into());
    assert_eq!(again.dead(None, 9).await.unwrap(), [letter]);
    let due = again.sweeps().await.unwrap();
    let names: Vec<_> = due
        .iter()
        .filter_map(|due| due.collection.as_deref())
        .collect();
    assert_eq!(names, ["deleted", "swept"]);
    flying.end(Outcome::Settled);
    deletion.end(Outcome::Settled);
}

#[tokio::test(start_paused = true)]
async fn killed_in_the_middle_of_a_copy_nothing_is_lost() {
    let seed = rand::random();
    println!("seed {seed}");
    for seed in [5, 6, seed] {
        let (folder, disk) = (Scratch::new(), Arc::new(TestDisk::default()));
        let settings = JournalSettings {
            segment_bytes: 300,
            ..JournalSettings::default()
        };
        let journal = folder.open_on(&disk, settings.clone()).journal;
        let mut player = Player::new(seed, journal);
        for _ in 0..200 {
            player.step().await;
            written(&player.journal).await;
            let killed = {
                let _still = disk.faults.lock();
                folder.as_killed()
            };
            let opened = killed.open_with(settings.clone());
            assert_eq!(opened.found, Found::Whole, "seed {seed}");
            let mut told = told(&opened.journal).await;
            // A copy may bring back what is in doubt of before a deletion: a mark too many.
            let needless = player.points.iter().filter(|(_, of)| of.is_void);
            for (key, _) in needless {
                told.points.remove(key);
            }
            assert_eq!(told, player.expected(), "seed {seed}");
        }
        let figures = player.journal.figures();
        assert!(figures.copies > 0, "{figures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_bytes_make_the_largest_collection_be_compared_whole() {
    let folder = Scratch::new();
    let settings = || JournalSettings {
        bytes_max: 64 * 1024,
        segment_bytes: 4096,
        ..JournalSettings::default()
    };
    let journal = folder.open_with(settings()).journal;
    journal.mark("small", &numbers(0..10)).await.unwrap();
    let mut most = 0;
    for round in 0..200 {
        let ids = round * 100..(round + 1) * 100;
        let uuids = ids.map(|id| Subject::Point(PointKey::Uuid(u128::MAX - id)));
        journal
            .mark("large", &uuids.collect::<Vec<_>>())
            .await
            .unwrap();
        written(&journal).await;
        most = most.max(journal.figures().bytes);
    }
    assert!(most < 64 * 1024, "{most} bytes");
    let due = journal.sweeps().await.unwrap();
    assert_eq!(due[0].collection.as_deref(), Some("large"));
    let backlog = journal.backlog().await.unwrap();
    let small = backlog.iter().find(|(name, _)| &**name == "small").unwrap();
    assert_eq!(small.1.marks, 10);
}
