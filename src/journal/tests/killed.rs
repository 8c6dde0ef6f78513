//! Histories of marks, cut off at every byte of what was written.

use super::*;

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
        self.letters.retain(|(at, _)| *at != of);
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
