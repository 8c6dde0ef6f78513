use super::*;
use crate::model::Mode;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("outrigger-control-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn open(folder: &Folder) -> Result<FileControl> {
    FileControl::open(&folder.0, Clock::system())
}

fn proposal(epoch: u64, from: Mode, to: Mode) -> Proposal {
    Proposal {
        epoch,
        collection: None,
        from,
        to,
        is_fenced: false,
        is_forced: false,
        who: "a test".to_owned(),
        why: "to see".to_owned(),
        lasts: Duration::from_secs(3),
    }
}

#[tokio::test]
async fn what_was_put_in_force_is_found_again_with_its_history_and_facts() {
    let folder = Folder::new();
    let control = open(&folder).unwrap();
    assert_eq!(control.table().await.unwrap(), None);
    assert!(!folder.0.join(NAME).exists());
    let mut first = Table::of(Mode::PrimaryOnly);
    first.collections.insert("a".to_owned(), Mode::DualWrite);
    control.initialise(&first, "settings").await.unwrap();
    let asked = proposal(1, Mode::PrimaryOnly, Mode::DualWrite);
    let Begun::Yes(change) = control.begin(asked).await.unwrap() else {
        panic!("it is not begun")
    };
    assert_eq!(control.flip(change.id).await.unwrap(), Flip::Done);
    assert!(control.finish(change.id).await.unwrap());
    control.put_fact("validated", "yes").await.unwrap();
    let (table, history) = (
        control.table().await.unwrap(),
        control.history(9).await.unwrap(),
    );

    let again = open(&folder).unwrap();
    assert_eq!(again.table().await.unwrap(), table);
    assert_eq!(again.history(9).await.unwrap(), history);
    assert_eq!(history.len(), 3);
    assert_eq!(history[0].why, "to see");
    assert_eq!(table.unwrap().epoch, 2);
    let fact = again.fact("validated").await.unwrap();
    assert_eq!(fact.as_deref(), Some("yes"));
}

#[tokio::test]
async fn a_damaged_file_ends_the_start_and_is_left_as_it_is() {
    for bytes in [
        &b""[..],
        b"{",
        b"{\"version\":1}",
        b"{\"version\":2}",
        b"{\"version\":1,\"epoch\":1,\"mode\":\"dual\",\"collections\":{},\"facts\":{},\"history\":[]}",
    ] {
        let folder = Folder::new();
        let path = folder.0.join(NAME);
        fs::write(&path, bytes).unwrap();
        let error = open(&folder).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.chain().contains(&path.display().to_string()));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_not_in_force() {
    let folder = Folder::new();
    let control = open(&folder).unwrap();
    let first = Table::of(Mode::DualWrite);
    control.initialise(&first, "settings").await.unwrap();
    let asked = proposal(1, Mode::DualWrite, Mode::DualRead);
    let Begun::Yes(change) = control.begin(asked).await.unwrap() else {
        panic!("it is not begun")
    };
    // Nothing can be written where a folder stands.
    fs::create_dir(folder.0.join(NEW)).unwrap();
    assert!(control.flip(change.id).await.is_err());
    assert_eq!(
        control.table().await.unwrap().unwrap().mode,
        Mode::DualWrite
    );
    assert!(control.abandon(change.id).await.unwrap());
    fs::remove_dir(folder.0.join(NEW)).unwrap();
    assert_eq!(
        open(&folder).unwrap().table().await.unwrap().unwrap().epoch,
        1
    );
}

#[test]
fn two_sidecars_do_not_keep_their_modes_in_one_folder() {
    let folder = Folder::new();
    let (one, other) = (open(&folder).unwrap(), open(&folder).unwrap());
    one.take().unwrap();
    assert!(
        other
            .take()
            .unwrap_err()
            .chain()
            .contains("another sidecar")
    );
    drop(one);
    other.take().unwrap();
}

#[tokio::test]
async fn facts_are_found_by_how_their_names_begin_until_they_are_dropped() {
    let folder = Folder::new();
    let control = open(&folder).unwrap();
    for name in ["one a", "one b", "two a"] {
        control.put_fact(name, "so").await.unwrap();
    }
    control.drop_fact("one a").await.unwrap();
    drop(control);
    let again = open(&folder).unwrap();
    let found = again.facts("one ").await.unwrap();
    assert_eq!(found, [("one b".to_owned(), "so".to_owned())]);
}

#[tokio::test]
async fn a_fact_that_is_another_by_now_is_not_replaced() {
    let folder = Folder::new();
    let control = open(&folder).unwrap();
    let asked = [
        (None, "one", true),
        (None, "two", false),
        (Some("two"), "three", false),
        (Some("one"), "four", true),
    ];
    for (was, value, is_done) in asked {
        let replaced = control.replace_fact("a", was, value).await.unwrap();
        assert_eq!(replaced, is_done, "{value}");
    }
    drop(control);
    let again = open(&folder).unwrap();
    assert_eq!(again.fact("a").await.unwrap().as_deref(), Some("four"));
}
