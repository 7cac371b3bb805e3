//! The sqlite engine: the conformance suites, and what goes wrong with files.

use std::{path::Path, time::Duration};

use rusqlite::Connection;
use talkback_protocol::{Offset, message::code};
use tempfile::TempDir;

use super::*;
use crate::engine::{
    MemoryOptions, MessageId,
    conformance::{ALL, Told, add, bodies, code_of, message, numbered, offset, read, request, room, withdrawal},
};

/// An engine whose file is removed with it.
struct Temporary {
    engine: Option<Sqlite>,
    _directory: TempDir,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.engine = None;
    }
}

impl Engine for Temporary {
    fn append(&self, append: Append) -> Answer<AppendOutcome> {
        self.engine().append(append)
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        self.engine().read(room, range, limit)
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>> {
        self.engine().watch(room, watcher)
    }

    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>> {
        self.engine().delete_room(room)
    }

    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>> {
        self.engine().delete_messages_of(user, room)
    }

    fn has(&self, room: &RoomName) -> bool {
        self.engine().has(room)
    }

    fn usage(&self) -> Usage {
        self.engine().usage()
    }
}

impl Temporary {
    fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let engine = open(&quick(&directory.path().join("log.db")));
        Arc::new(Self {
            engine: Some(engine),
            _directory: directory,
        })
    }

    fn engine(&self) -> &Sqlite {
        self.engine.as_ref().unwrap()
    }
}

/// Opens a file that no engine of this test uses any more. Other tests of this program start a redis-server: between fork
/// and exec such a process has the lock of each file that was open then.
fn open(options: &SqliteOptions) -> Sqlite {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match Sqlite::open(options.clone()) {
            Err(error) if error.to_string().contains("another server uses") && std::time::Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result.unwrap(),
        }
    }
}

/// Sweeps often.
fn quick(path: &Path) -> SqliteOptions {
    SqliteOptions {
        log: MemoryOptions {
            sweep_interval: Duration::from_millis(20),
            ..MemoryOptions::DEFAULT
        },
        ..SqliteOptions::new(path)
    }
}

crate::conformance_suite!(Temporary::new());
crate::durable_conformance_suite!({
    let directory = tempfile::tempdir().unwrap();
    move || Arc::new(open(&quick(&directory.path().join("log.db")))) as Arc<dyn Engine>
});

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("log.db")
    }

    fn open(&self) -> Arc<dyn Engine> {
        Arc::new(open(&quick(&self.path())))
    }

    fn with(&self, options: MemoryOptions) -> Arc<dyn Engine> {
        let log = MemoryOptions {
            sweep_interval: Duration::from_millis(20),
            ..options
        };
        Arc::new(open(&SqliteOptions {
            log,
            ..quick(&self.path())
        }))
    }

    fn error(&self) -> String {
        match Sqlite::open(quick(&self.path())) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error.to_string(),
        }
    }

    /// As with the sqlite3 tool.
    fn tool(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("waited for {what}");
}

#[tokio::test]
async fn a_second_server_on_the_file_is_refused_and_the_tool_can_read() {
    let place = Place::new();
    let engine = place.open();
    add(&engine, numbered("a", 1, 1)).await;
    assert!(place.error().contains("another server uses"), "{}", place.error());
    let body: String = place
        .tool()
        .query_row(
            "SELECT body FROM messages JOIN rooms ON rooms.id = room WHERE name = 'a'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(body, "\"1 1\"");
    drop(engine);
    place.open();
}

#[tokio::test]
async fn a_copied_file_begins_new_epochs_that_fork_at_its_head() {
    let place = Place::new();
    let engine = place.open();
    for number in 1..=3 {
        add(&engine, numbered("a", 1, number)).await;
    }
    let before = read(&engine, "a", Range::Newest).await;
    let empty = read(&engine, "empty", Range::Newest).await.epoch;
    drop(engine);
    let copy = Place::new();
    std::fs::copy(place.path(), copy.path()).unwrap();
    let restored = copy.open();
    let after = read(&restored, "a", Range::Newest).await;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(
        after.forks.iter().map(|fork| (&fork.epoch, fork.offset)).next(),
        Some((&before.epoch, offset(3)))
    );
    assert_eq!((after.head, after.messages.len()), (offset(3), 3));
    assert_ne!(read(&restored, "empty", Range::Newest).await.epoch, empty);
    assert!(matches!(
        restored.append(numbered("a", 1, 3)).await,
        AppendOutcome::Duplicate(_)
    ));
    drop(restored);
    let again = copy.open();
    assert_eq!(
        read(&again, "a", Range::Newest).await.epoch,
        after.epoch,
        "it is known now"
    );
    drop(again);

    let original = place.open();
    assert_eq!(read(&original, "a", Range::Newest).await.epoch, before.epoch);
    drop(original);
    let options = SqliteOptions {
        restored: true,
        ..quick(&place.path())
    };
    let engine: Arc<dyn Engine> = Arc::new(open(&options));
    assert_ne!(read(&engine, "a", Range::Newest).await.epoch, before.epoch);
}

/// Former behaviour: file systems give the inode of a removed file to the next new one, so a backup that was put in its
/// place kept the epochs, and its next messages got offsets that members had.
#[tokio::test]
async fn a_copy_in_the_place_of_the_removed_file_begins_new_epochs() {
    let (place, copy) = (Place::new(), Place::new());
    let engine = place.open();
    add(&engine, numbered("a", 1, 1)).await;
    drop(engine);
    std::fs::copy(place.path(), copy.path()).unwrap();
    let engine = place.open();
    add(&engine, numbered("a", 1, 2)).await;
    let before = read(&engine, "a", Range::Newest).await.epoch;
    drop(engine);
    std::fs::remove_file(place.path()).unwrap();
    std::fs::copy(copy.path(), place.path()).unwrap();
    let after = read(&place.open(), "a", Range::Newest).await;
    assert_eq!(after.head, offset(1));
    assert_ne!(after.epoch, before);
}

#[tokio::test]
async fn files_that_are_no_log_are_refused_with_what_to_do() {
    let place = Place::new();
    std::fs::write(place.path(), [b'x'; 10_000]).unwrap();
    assert!(place.error().contains("restore a backup"), "{}", place.error());

    let place = Place::new();
    place.tool().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(place.error().contains("another program"), "{}", place.error());

    let place = Place::new();
    drop(place.open());
    place.tool().pragma_update(None, "user_version", 99).unwrap();
    assert!(place.error().contains("newer server"), "{}", place.error());

    let mut place = Place::new();
    let missing = place.path().join("missing").join("log.db");
    let error = Sqlite::open(quick(&missing)).err().unwrap().to_string();
    assert!(error.contains("Create its directory"), "{error}");

    // A directory in the place of the file.
    place = Place::new();
    std::fs::create_dir(place.path()).unwrap();
    assert!(place.error().contains("log.db"), "{}", place.error());
}

#[tokio::test]
async fn a_damaged_page_gives_no_wrong_answer_and_the_engine_is_not_ready() {
    let place = Place::new();
    let engine = place.open();
    for _ in 0..200 {
        let body = format!("\"{}\"", "x".repeat(500));
        add(&engine, message("a", MessageId::None, &body)).await;
    }
    drop(engine);
    let mut bytes = std::fs::read(place.path()).unwrap();
    let root: usize = place
        .tool()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'messages'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    bytes[(root - 1) * 4096..root * 4096].fill(0xff);
    // Written over in place: a copy would be another file.
    let mut file = std::fs::OpenOptions::new().write(true).open(place.path()).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    drop(file);
    let engine = place.open();
    assert_eq!(engine.ready().await, Ok(()));
    let refused = engine.read(&room("a"), Range::Newest, ALL).await;
    assert!(refused.is_err_and(|refusal| refusal.retry_after.is_some()));
    let not_ready = engine.ready().await.unwrap_err().to_string();
    assert!(not_ready.contains("the file is damaged"), "{not_ready}");
    let outcome = engine.append(numbered("a", 1, 1)).await;
    assert!(
        matches!(outcome, AppendOutcome::Refused { epoch: None, .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_the_reads_of_its_room_only() {
    let place = Place::new();
    let engine = place.open();
    add(&engine, numbered("a", 1, 1)).await;
    add(&engine, numbered("b", 1, 1)).await;
    let changed = place.tool().execute(
        "UPDATE messages SET body = '{' WHERE room = (SELECT id FROM rooms WHERE name = 'a')",
        [],
    );
    assert_eq!(changed, Ok(1));
    let refused = engine.read(&room("a"), Range::Newest, ALL).await;
    assert!(refused.is_err_and(|refusal| refusal.retry_after.is_some()));
    assert_eq!(engine.ready().await, Ok(()));
    assert_eq!(bodies(&read(&engine, "b", Range::Newest).await), ["\"1 1\""]);
    add(&engine, numbered("a", 1, 2)).await;
}

#[tokio::test]
async fn a_request_that_is_refused_is_not_remembered() {
    let place = Place::new();
    let engine = place.with(MemoryOptions {
        bytes: OVERHEAD + 100,
        ..MemoryOptions::DEFAULT
    });
    add(&engine, message("a", request("first", [1; 32]), "1")).await;
    let before = engine.usage().remembered_bytes;
    let large = format!("\"{}\"", "x".repeat(200));
    let refused = engine.append(message("a", request("second", [2; 32]), &large)).await;
    assert_eq!(code_of(&refused), Some(code::TOO_LARGE));
    // The usage is told with the next commit.
    add(&engine, message("a", MessageId::None, "2")).await;
    assert_eq!(engine.usage().remembered_bytes, before);
}

#[tokio::test]
async fn old_messages_expire_also_while_other_rooms_are_trimmed_all_the_time() {
    let place = Place::new();
    let engine = place.with(MemoryOptions {
        age: Duration::from_millis(200),
        messages: 2,
        sweep_batch: 1,
        ..MemoryOptions::DEFAULT
    });
    add(&engine, numbered("quiet", 1, 1)).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let mut number = 0;
    while read(&engine, "quiet", Range::Newest).await.floor != offset(1) {
        assert!(std::time::Instant::now() < deadline, "it does not expire");
        number += 1;
        for busy in 0..16 {
            add(&engine, numbered(&format!("busy {busy}"), 1, number)).await;
        }
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_stored_does_not_fail_its_group() {
    let place = Place::new();
    let engine = place.open();
    add(&engine, numbered("a", 1, 1)).await;
    place
        .tool()
        .execute_batch(
            "CREATE TRIGGER bad BEFORE INSERT ON messages WHEN new.body = '\"2 1\"'
             BEGIN SELECT RAISE(ABORT, 'bad'); END",
        )
        .unwrap();
    let all = [
        numbered("a", 1, 2),
        numbered("a", 2, 1),
        numbered("b", 3, 1),
        numbered("a", 1, 3),
    ];
    let answers: Vec<_> = all.into_iter().map(|append| engine.append(append)).collect();
    let outcomes = futures_util::future::join_all(answers).await;
    let [first, bad, other, last] = &outcomes[..] else {
        panic!()
    };
    assert_eq!(code_of(bad), Some(code::BUSY));
    for (outcome, expected) in [(first, 2), (other, 1), (last, 3)] {
        assert!(
            matches!(outcome, AppendOutcome::Added(place) if place.offset == offset(expected)),
            "{outcome:?}"
        );
    }
    place.tool().execute_batch("DROP TRIGGER bad").unwrap();
    assert_eq!(
        add(&engine, numbered("a", 2, 1)).await.offset,
        offset(4),
        "its number is free"
    );
    assert_eq!(engine.usage().messages, 5);
}

#[tokio::test]
async fn while_another_program_has_the_file_messages_are_refused_and_later_added() {
    let place = Place::new();
    let options = SqliteOptions {
        busy_timeout: Duration::from_millis(50),
        ..quick(&place.path())
    };
    let engine: Arc<dyn Engine> = Arc::new(open(&options));
    let first = add(&engine, numbered("a", 1, 1)).await;
    let tool = place.tool();
    tool.execute_batch("BEGIN IMMEDIATE").unwrap();
    let outcome = engine.append(numbered("a", 1, 2)).await;
    assert!(
        matches!(outcome, AppendOutcome::Refused { epoch: None, .. }),
        "{outcome:?}"
    );
    let not_ready = engine.ready().await.unwrap_err().to_string();
    assert!(not_ready.contains("another program writes"), "{not_ready}");
    assert_eq!(read(&engine, "a", Range::Newest).await.epoch, first.epoch);
    tool.execute_batch("ROLLBACK").unwrap();
    assert_eq!(add(&engine, numbered("a", 1, 2)).await.offset, offset(2));
    assert_eq!(engine.ready().await, Ok(()));
}

#[tokio::test]
async fn a_full_disk_refuses_messages_and_nothing_of_a_failed_group_is_kept() {
    let place = Place::new();
    let engine = place.open();
    add(&engine, numbered("a", 1, 1)).await;
    // The most pages that the file may have belongs to a connection, so a group that fails is made with a trigger that
    // ends the transaction as a full disk does.
    place
        .tool()
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON messages WHEN new.body = '\"2 1\"'
             BEGIN SELECT RAISE(ROLLBACK, 'full'); END",
        )
        .unwrap();
    let answers: Vec<_> = [
        numbered("a", 1, 2),
        numbered("new", 3, 1),
        numbered("a", 2, 1),
        numbered("a", 1, 3),
    ]
    .into_iter()
    .map(|append| engine.append(append))
    .collect();
    let outcomes = futures_util::future::join_all(answers).await;
    let refused = outcomes
        .iter()
        .filter(|outcome| code_of(outcome) == Some(code::BUSY))
        .count();
    assert!(refused >= 1, "{outcomes:?}");
    place.tool().execute_batch("DROP TRIGGER full").unwrap();
    for (outcome, append) in outcomes.iter().zip([
        numbered("a", 1, 2),
        numbered("new", 3, 1),
        numbered("a", 2, 1),
        numbered("a", 1, 3),
    ]) {
        let again = engine.append(append).await;
        match outcome {
            AppendOutcome::Added(place) => assert_eq!(again, AppendOutcome::Duplicate(place.clone())),
            _ => assert!(matches!(again, AppendOutcome::Added(_)), "{again:?}"),
        }
    }
    let page = read(&engine, "a", Range::After(Offset::ZERO)).await;
    let mut all = bodies(&page);
    all.sort_unstable();
    assert_eq!(all, ["\"1 1\"", "\"1 2\"", "\"1 3\"", "\"2 1\""]);
    assert!(page.messages.iter().map(|message| message.offset.get()).eq(1..=4));
}

#[tokio::test]
async fn a_room_keeps_its_newest_messages_by_count_bytes_and_age() {
    let place = Place::new();
    let engine = place.with(MemoryOptions {
        messages: 10,
        ..MemoryOptions::DEFAULT
    });
    for number in 1..=25 {
        add(&engine, numbered("a", 1, number)).await;
    }
    let page = read(&engine, "a", Range::After(Offset::ZERO)).await;
    assert_eq!((page.floor, page.head), (offset(15), offset(25)));
    assert!(page.messages.iter().map(|message| message.offset.get()).eq(16..=25));
    assert_eq!(engine.usage().messages, 10);
    assert!(matches!(
        engine.append(numbered("a", 1, 3)).await,
        AppendOutcome::Duplicate(_)
    ));
    drop(engine);

    let engine = place.with(MemoryOptions {
        bytes: 3 * (OVERHEAD + 6),
        ..MemoryOptions::DEFAULT
    });
    add(&engine, numbered("a", 1, 26)).await;
    let page = read(&engine, "a", Range::Newest).await;
    assert_eq!((page.floor, page.messages.len()), (offset(23), 3));
    let count: i64 = place
        .tool()
        .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 3, "they are not in the file");
    drop(engine);

    let engine = place.with(MemoryOptions {
        age: Duration::from_millis(1),
        ..MemoryOptions::DEFAULT
    });
    wait_for("the messages to expire", || engine.usage().messages == 0).await;
    let page = read(&engine, "a", Range::Newest).await;
    assert_eq!(
        (page.floor, page.head, page.messages.len()),
        (offset(26), offset(26), 0)
    );
    add(&engine, numbered("a", 1, 27)).await;
}

#[tokio::test]
async fn all_rooms_together_are_bounded_and_the_largest_one_gives_way() {
    let place = Place::new();
    let engine = place.with(MemoryOptions {
        total_bytes: 40 * (OVERHEAD + 5),
        ..MemoryOptions::DEFAULT
    });
    add(&engine, numbered("small", 1, 1)).await;
    for number in 1..=100 {
        add(&engine, numbered("large", 1, number)).await;
        assert!(engine.usage().bytes <= 40 * (OVERHEAD + 8));
    }
    assert_eq!(read(&engine, "small", Range::Newest).await.messages.len(), 1);
    assert!(read(&engine, "large", Range::Newest).await.messages.len() >= 30);
}

#[tokio::test]
async fn rooms_are_bounded_and_one_that_comes_back_has_another_epoch() {
    let place = Place::new();
    let engine = place.with(MemoryOptions {
        rooms: 3,
        ..MemoryOptions::DEFAULT
    });
    let first = add(&engine, numbered("first", 1, 1)).await;
    add(&engine, message("first", request("x", [0; 32]), "1")).await;
    // In one group, in which the room is removed and made again.
    let mut answers = Vec::new();
    for number in 0..6 {
        answers.push(engine.append(numbered(&format!("room-{number}"), 2, 1)));
        answers.push(engine.append(message("room-0", MessageId::None, "1")));
    }
    answers.push(engine.append(numbered("first", 1, 2)));
    let outcomes = futures_util::future::join_all(answers).await;
    assert!(
        matches!(outcomes.last(), Some(AppendOutcome::Gap { .. })),
        "{outcomes:?}"
    );
    assert!(engine.usage().rooms <= 4, "{:?}", engine.usage());
    let again = add(&engine, numbered("first", 1, 1)).await;
    assert_eq!(again.offset, offset(1));
    assert_ne!(again.epoch, first.epoch);
    let usage = engine.usage();
    assert_eq!((usage.requests, usage.clients <= 4), (0, true), "{usage:?}");
    drop(engine);
    let engine = place.open();
    assert_eq!(read(&engine, "first", Range::Newest).await.epoch, again.epoch);
    assert_eq!(engine.usage().clients, usage.clients);
    assert_eq!(engine.usage().remembered_bytes, usage.remembered_bytes);
}

#[tokio::test]
async fn each_life_of_a_room_has_its_own_epoch_also_within_one_commit() {
    let place = Place::new();
    let engine = place.with(MemoryOptions {
        rooms: 1,
        ..MemoryOptions::DEFAULT
    });
    let tool = place.tool();
    tool.execute_batch("BEGIN IMMEDIATE").unwrap();
    let names = ["a", "b"].into_iter().cycle().take(6);
    let answers: Vec<_> = names
        .map(|name| engine.append(message(name, MessageId::None, "1")))
        .collect();
    tool.execute_batch("ROLLBACK").unwrap();
    let mut epochs = std::collections::HashSet::new();
    for outcome in futures_util::future::join_all(answers).await {
        let AppendOutcome::Added(place) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(place.offset, offset(1));
        epochs.insert(place.epoch);
    }
    assert_eq!(epochs.len(), 6);
    assert!(epochs.contains(&read(&engine, "b", Range::Newest).await.epoch));
}

#[tokio::test]
async fn clients_and_requests_are_forgotten_when_they_expire_and_their_messages_are_dropped() {
    let place = Place::new();
    let engine = place.with(MemoryOptions {
        age: Duration::from_millis(1),
        client_age: Duration::from_millis(1),
        request_age: Duration::from_millis(1),
        ..MemoryOptions::DEFAULT
    });
    add(&engine, numbered("a", 1, 1)).await;
    engine.append(withdrawal(numbered("a", 2, 1))).await;
    add(&engine, message("a", request("x", [0; 32]), "1")).await;
    wait_for("all to expire", || {
        let usage = engine.usage();
        (usage.messages, usage.clients, usage.requests, usage.remembered_bytes) == (0, 0, 0, 0)
    })
    .await;
    assert!(matches!(
        engine.append(numbered("a", 1, 2)).await,
        AppendOutcome::Gap { .. }
    ));
}

#[tokio::test]
async fn a_client_whose_entry_is_not_in_memory_is_recognised_by_the_file() {
    let place = Place::new();
    let options = SqliteOptions {
        cached_clients: 1,
        ..quick(&place.path())
    };
    let engine: Arc<dyn Engine> = Arc::new(open(&options));
    for number in 1..=20 {
        for key in 1..=3 {
            add(&engine, numbered("a", key, number)).await;
        }
    }
    for key in 1..=3 {
        assert!(matches!(
            engine.append(numbered("a", key, 7)).await,
            AppendOutcome::Duplicate(_)
        ));
    }
    assert_eq!(engine.usage().clients, 3);
}

#[tokio::test]
async fn no_key_of_a_client_is_in_the_file() {
    let place = Place::new();
    let engine = place.open();
    add(&engine, numbered("a", 0x5a, 1)).await;
    drop(engine);
    for entry in std::fs::read_dir(place.directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| window == [0x5a; 16]));
        assert!(!bytes.windows(32).any(|window| window == [b'5', b'a'].repeat(16)));
    }
}

#[tokio::test]
async fn what_was_deleted_is_not_in_the_file_any_more() {
    let place = Place::new();
    let engine = place.open();
    // One that is in its page, and one that is too large for it.
    let texts = ["deleted-short".to_owned(), "deleted-large".repeat(2000)];
    for room in ["a", "b"] {
        for text in &texts {
            add(&engine, message(room, MessageId::None, &format!("\"{text}\""))).await;
        }
    }
    let mut other = message("b", MessageId::None, "\"of another user\"");
    other.from.user = UserName::parse("bob").unwrap();
    add(&engine, other).await;
    assert_eq!(engine.delete_room(&room("a")).await.unwrap().messages, 2);
    let of_ann = engine.delete_messages_of(&UserName::parse("ann").unwrap(), None).await;
    assert_eq!(of_ann, Ok(2));
    let usage = engine.usage();
    assert_eq!(
        (usage.messages, usage.bytes),
        (3, 3 * OVERHEAD + "\"of another user\"".len())
    );
    drop(engine);
    let has = |text: &str| {
        let files = std::fs::read_dir(place.directory.path()).unwrap();
        let mut contents = files.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        contents.any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert!(has("of another user"));
    assert!(!has("deleted-short") && !has("deleted-large"));
}

#[tokio::test]
async fn what_a_user_said_is_deleted_in_many_transactions_and_messages_are_added_in_between() {
    const EACH: u64 = 3000;
    let place = Place::new();
    let engine = place.open();
    for of in ["a", "b", "c", "d"] {
        let answers: Vec<_> = (1..=EACH)
            .map(|number| engine.append(numbered(of, 1, number)))
            .collect();
        futures_util::future::join_all(answers).await;
    }
    let ann = UserName::parse("ann").unwrap();
    let commits = engine.usage().commits;
    let deletion = engine.delete_messages_of(&ann, None);
    let added = engine.append(numbered("e", 1, 1)).await;
    assert!(matches!(added, AppendOutcome::Added(_)), "{added:?}");
    let count = deletion.await.unwrap();
    assert!((4 * EACH..=4 * EACH + 1).contains(&count), "{count}");
    assert!(engine.usage().commits >= commits + 3, "it was one transaction");
    for of in ["a", "b", "c", "d"] {
        let page = read(&engine, of, Range::After(Offset::ZERO)).await;
        assert_eq!(page.head.get(), EACH);
        assert!(page.messages.iter().all(|message| message.deleted));
    }
    assert!(engine.delete_messages_of(&ann, Some(&room("a"))).await == Ok(0));
}

#[tokio::test]
async fn a_deletion_in_a_group_deletes_what_came_before_it_and_nothing_after_it() {
    let place = Place::new();
    let sqlite = Arc::new(open(&quick(&place.path())));
    let engine: Arc<dyn Engine> = sqlite.clone();
    let told = Arc::new(Told::default());
    let _watch = engine.watch(&room("a"), told.clone()).await.unwrap();
    add(&engine, numbered("a", 1, 1)).await;
    assert_eq!(told.wait_for(1).await, [Ok(1)]);
    let tool = place.tool();
    tool.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer waits for the tool with this one. What follows waits for the writer, and is one group.
    let first = engine.append(numbered("b", 1, 1));
    wait_for("the writer to take the first message", || {
        sqlite.0.shared.calls.is_empty()
    })
    .await;
    let before = engine.append(numbered("a", 1, 2));
    let deletion = engine.delete_room(&room("a"));
    let after = engine.append(numbered("a", 1, 3));
    tool.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(first.await, AppendOutcome::Added(_)));
    assert!(matches!(before.await, AppendOutcome::Added(place) if place.offset == offset(2)));
    let deleted = deletion.await.unwrap();
    assert_eq!(deleted.messages, 2);
    let AppendOutcome::Added(last) = after.await else {
        panic!("the message after the deletion was not added");
    };
    assert_eq!((&last.epoch, last.offset), (&deleted.epoch, offset(3)));
    assert_eq!(bodies(&read(&engine, "a", Range::Newest).await), ["\"1 3\""]);
    // The second message was deleted before it was delivered.
    assert_eq!(told.wait_for(3).await, [Ok(1), Err(deleted.epoch), Ok(3)]);
}

#[tokio::test]
async fn a_log_of_the_first_schema_is_read_and_continued() {
    let place = Place::new();
    place.tool().execute_batch(include_str!("fixture-1.sql")).unwrap();
    // Nothing expires, although the messages are old.
    let engine = place.with(MemoryOptions {
        age: Duration::from_secs(100 * 365 * 24 * 3600),
        client_age: Duration::from_secs(100 * 365 * 24 * 3600),
        ..MemoryOptions::DEFAULT
    });
    let page = read(&engine, "lobby", Range::After(Offset::ZERO)).await;
    assert_eq!(bodies(&page), ["\"1 1\"", "{\"n\":1e400}"]);
    assert_eq!((page.head, page.floor), (offset(3), offset(1)));
    let again = engine.append(numbered("lobby", 1, 1)).await;
    assert!(
        matches!(&again, AppendOutcome::Duplicate(place) if place.offset == offset(2)),
        "{again:?}"
    );
    assert_eq!(add(&engine, numbered("lobby", 1, 2)).await.offset, offset(4));
}

#[tokio::test]
async fn a_group_is_what_waits_and_one_commit_serves_it() {
    let place = Place::new();
    let engine = place.open();
    add(&engine, numbered("a", 1, 1)).await;
    let tool = place.tool();
    // The writer waits for the tool meanwhile, and all others wait for the writer.
    tool.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answers: Vec<_> = (2..=100)
        .map(|number| engine.append(numbered("a", 1, number)))
        .collect();
    tool.execute_batch("ROLLBACK").unwrap();
    for (number, outcome) in (2..).zip(futures_util::future::join_all(answers).await) {
        assert!(matches!(outcome, AppendOutcome::Added(place) if place.offset == offset(number)));
    }
}

#[tokio::test]
async fn what_waits_for_the_disk_is_bounded() {
    let place = Place::new();
    let options = SqliteOptions {
        waiting: crate::engine::WaitingOptions {
            bytes: 10_000,
            ..crate::engine::WaitingOptions::DEFAULT
        },
        ..quick(&place.path())
    };
    let engine: Arc<dyn Engine> = Arc::new(open(&options));
    let tool = place.tool();
    tool.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (mut refused, mut answers) = (0, Vec::new());
    for number in 1..=100 {
        match engine.append(numbered("a", 1, number)).at_once() {
            Ok(_) => refused += 1,
            Err(later) => answers.push(later),
        }
    }
    assert!(refused > 70, "{refused}");
    tool.execute_batch("ROLLBACK").unwrap();
    let outcomes = futures_util::future::join_all(answers).await;
    let added = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, AppendOutcome::Added(_)))
        .count();
    assert_eq!(added + refused, 100, "{outcomes:?}");
    assert_eq!(
        added,
        usize::try_from(read(&engine, "a", Range::Newest).await.head.get()).unwrap()
    );
}
