//! A folder that somebody else uses, and files that are not what was written.

use super::*;

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
