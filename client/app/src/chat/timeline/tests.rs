use super::*;
use crate::i18n::Text;

fn epoch(bits: u64) -> Epoch {
    Epoch::from_random(bits)
}

fn message(offset: u64) -> RoomMessage {
    RoomMessage {
        offset,
        from: "Ann".into(),
        at: 0.0,
        text: offset.to_string(),
        deleted: false,
        own: false,
        mentions: Vec::new(),
        mentions_me: false,
    }
}

fn timeline(after: u64) -> Timeline {
    let mut timeline = Timeline::new(|_| 0);
    timeline.start_log(epoch(1), after);
    timeline
}

fn with(after: u64, to: u64) -> Timeline {
    let mut timeline = timeline(after);
    for offset in after + 1..=to {
        timeline.push_message(message(offset), true);
    }
    timeline
}

/// The answer to [`Timeline::request_older`].
fn insert_page(timeline: &mut Timeline, epoch: &Epoch, messages: Vec<RoomMessage>, more: bool) {
    let before = timeline.shown().before_first + 1;
    timeline.insert_page(before, epoch, messages, more);
}

fn offsets<'a>(rows: impl Iterator<Item = &'a Rc<Row<Entry>>>) -> Vec<u64> {
    rows.filter_map(|row| match row.content.body {
        Body::Message(RoomMessage { offset, .. }) => Some(offset),
        Body::Notice(..) | Body::Presence { .. } => None,
    })
    .collect()
}

#[test]
fn a_duplicate_message_is_not_added() {
    let mut timeline = with(10, 12);
    assert!(!timeline.push_message(message(12), true) && !timeline.push_message(message(3), true));
    assert!(timeline.push_message(message(13), true));
    assert_eq!(offsets(timeline.current()), [11, 12, 13]);
    let cursor = timeline.cursor().unwrap();
    assert_eq!((cursor.epoch, cursor.offset.get()), (epoch(1), 13));
}

#[test]
fn history_is_inserted_in_front_without_gap_or_duplicate_until_the_beginning() {
    let mut timeline = with(4, 6);
    assert_eq!(timeline.older(), Older::More);
    assert_eq!(timeline.request_older(), Some(5));
    assert_eq!(timeline.request_older(), None, "one request at a time");
    insert_page(&mut timeline, &epoch(1), (3..=5).map(message).collect(), true);
    assert_eq!(offsets(timeline.current()), [3, 4, 5, 6]);
    assert_eq!((timeline.older(), timeline.request_older()), (Older::More, Some(3)));
    insert_page(&mut timeline, &epoch(1), (1..=2).map(message).collect(), false);
    assert_eq!(offsets(timeline.current()), [1, 2, 3, 4, 5, 6]);
    assert_eq!((timeline.older(), timeline.request_older()), (Older::Beginning, None));
}

#[test]
fn the_oldest_message_that_the_server_keeps_is_not_the_beginning() {
    let mut timeline = with(4, 6);
    timeline.request_older();
    insert_page(&mut timeline, &epoch(1), vec![message(4)], false);
    assert_eq!(timeline.older(), Older::NotKept);
}

#[test]
fn a_failed_request_for_history_can_be_repeated() {
    let mut timeline = with(4, 6);
    timeline.request_older();
    timeline.page_failed(5);
    assert_eq!(timeline.older(), Older::Failed);
    assert_eq!(timeline.request_older(), Some(5));
}

#[test]
fn history_of_another_epoch_is_not_inserted() {
    let mut timeline = with(4, 6);
    timeline.request_older();
    timeline.start_log(epoch(2), 3);
    insert_page(&mut timeline, &epoch(1), vec![message(4)], true);
    assert!(offsets(timeline.current()).is_empty());
    assert_eq!(timeline.request_older(), Some(4));
    insert_page(&mut timeline, &epoch(1), vec![message(3)], true);
    assert_eq!((offsets(timeline.current()), timeline.older()), (vec![], Older::Failed));
    timeline.continue_log(epoch(1));
    assert_eq!(timeline.request_older(), Some(4), "the room has the epoch of that page");
    insert_page(&mut timeline, &epoch(1), vec![message(3)], true);
    assert_eq!((offsets(timeline.current()), timeline.older()), (vec![3], Older::More));
}

#[test]
fn a_page_of_history_without_progress_counts_as_failed() {
    let mut timeline = with(4, 6);
    timeline.request_older();
    insert_page(&mut timeline, &epoch(1), vec![message(2)], true);
    assert_eq!(
        (offsets(timeline.current()), timeline.older()),
        (vec![5, 6], Older::Failed)
    );
}

#[test]
fn a_recovered_log_is_joined_again_with_its_new_epoch() {
    let mut timeline = with(4, 6);
    timeline.continue_log(epoch(2));
    timeline.push_message(message(7), true);
    let cursor = timeline.cursor().unwrap();
    assert_eq!((cursor.epoch, cursor.offset.get()), (epoch(2), 7));
    assert_eq!(timeline.request_older(), Some(5));
    insert_page(&mut timeline, &epoch(2), vec![message(4)], true);
    assert_eq!(offsets(timeline.current()), [4, 5, 6, 7]);
}

#[test]
fn the_rows_of_a_new_log_are_below_those_of_the_previous_one() {
    let mut timeline = with(0, 2);
    timeline.start_log(epoch(2), 0);
    timeline.push_message(message(1), true);
    assert_eq!(offsets(timeline.previous()), [1, 2]);
    assert_eq!(offsets(timeline.current()), [1]);
    assert_eq!(timeline.cursor().unwrap().epoch, epoch(2));
}

#[test]
fn at_the_end_fewer_rows_are_kept_and_the_dropped_ones_can_be_requested_again() {
    let mut timeline = with(0, 1_000);
    assert_eq!(offsets(timeline.current()).len(), 1_000);
    timeline.apply_bounds(true);
    let kept = offsets(timeline.current());
    assert_eq!((kept.len(), kept[0]), (MAX_ROWS_AT_END, 501));
    assert_eq!((timeline.older(), timeline.request_older()), (Older::More, Some(501)));
    insert_page(&mut timeline, &epoch(1), (451..=500).map(message).collect(), true);
    timeline.apply_bounds(false);
    assert_eq!(offsets(timeline.current()), (451..=1_000).collect::<Vec<_>>());
}

#[test]
fn rows_of_a_previous_log_are_dropped_first() {
    let mut timeline = with(0, 400);
    timeline.start_log(epoch(2), 0);
    for offset in 1..=300 {
        timeline.push_message(message(offset), true);
    }
    timeline.apply_bounds(true);
    assert_eq!(timeline.previous().count(), 200);
    assert_eq!((timeline.current().count(), timeline.older()), (300, Older::Beginning));
}

#[test]
fn bytes_are_bounded_but_the_newest_row_stays() {
    let mut timeline = timeline(0);
    for offset in 1..=3 {
        let text = "x".repeat(MAX_BYTES / 2);
        timeline.push_message(
            RoomMessage {
                text,
                ..message(offset)
            },
            true,
        );
    }
    assert_eq!(offsets(timeline.current()), [3]);
    let text = "x".repeat(2 * MAX_BYTES);
    timeline.push_message(RoomMessage { text, ..message(4) }, true);
    assert_eq!(offsets(timeline.current()), [4]);
    assert!(timeline.is_within_bounds(true), "there is nothing to drop");
}

#[test]
fn small_rows_beyond_the_bound_of_bytes_are_dropped_step_by_step_until_the_bounds_are_kept() {
    let mut timeline = with(0, 3 * DROPPED_AT_ONCE as u64);
    let text = "x".repeat(MAX_BYTES);
    timeline.push_message(
        RoomMessage {
            text,
            ..message(timeline.received() + 1)
        },
        true,
    );
    for _ in 0..2 {
        assert!(!timeline.is_within_bounds(false));
        timeline.apply_bounds(false);
    }
    assert!(timeline.is_within_bounds(false));
    assert_eq!(timeline.current().count(), 1);
}

#[test]
fn messages_of_one_sender_within_five_minutes_are_grouped() {
    let mut timeline = timeline(0);
    for (offset, from, at, own) in [
        (1, "Ann", 0.0, false),
        (2, "Ann", 299_999.0, false),
        (3, "Ann", 600_000.0, false),
        (4, "Bob", 600_001.0, false),
        (5, "Bob", 600_002.0, true),
    ] {
        let from = from.into();
        timeline.push_message(
            RoomMessage {
                from,
                at,
                own,
                ..message(offset)
            },
            true,
        );
    }
    let rows: Vec<_> = timeline.current().collect();
    let grouped: Vec<_> = rows.windows(2).map(|pair| pair[1].is_grouped_with(pair[0])).collect();
    assert_eq!(grouped, [true, false, false, false]);
}

fn users(names: &[&str]) -> Vec<UserName> {
    names.iter().map(|name| UserName::parse(name).unwrap()).collect()
}

fn presence(timeline: &Timeline) -> Vec<(Vec<UserName>, Vec<UserName>)> {
    let rows = timeline.current().filter_map(|row| match &row.content.body {
        Body::Presence { joined, left } => Some((joined.clone(), left.clone())),
        _ => None,
    });
    rows.collect()
}

#[test]
fn users_who_join_and_leave_in_a_row_are_one_line_with_what_each_did_last() {
    let mut timeline = timeline(0);
    timeline.push_presence(0.0, users(&["Zara", "Bob"]), Vec::new());
    timeline.push_presence(1.0, Vec::new(), users(&["Eve", "Bob"]));
    timeline.push_presence(2.0, users(&["Eve"]), Vec::new());
    assert_eq!(presence(&timeline), [(users(&["Zara", "Eve"]), users(&["Bob"]))]);
    timeline.push_message(message(1), true);
    timeline.push_presence(3.0, users(&["Bob"]), Vec::new());
    assert_eq!(presence(&timeline).len(), 2, "a message between them ends the line");
}

#[test]
fn a_line_about_users_is_bounded_and_of_one_day() {
    let mut timeline = Timeline::new(|at| if at < 100.0 { 0 } else { 1 });
    timeline.start_log(epoch(1), 0);
    let many: Vec<_> = (0..MAX_FOLDED_USERS).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    timeline.push_presence(0.0, users(&many), Vec::new());
    timeline.push_presence(1.0, users(&["Ann"]), Vec::new());
    timeline.push_presence(200.0, users(&["Bob"]), Vec::new());
    let lines: Vec<_> = presence(&timeline).iter().map(|(joined, _)| joined.len()).collect();
    assert_eq!(lines, [MAX_FOLDED_USERS, 1, 1]);
}

#[test]
fn a_message_is_found_by_its_offset_or_time_or_is_older_than_what_is_loaded() {
    let at = |offset: u64| RoomMessage {
        at: f64::from(u32::try_from(offset).unwrap()) * 1_000.0,
        ..message(offset)
    };
    let mut timeline = timeline(4);
    for offset in 5..=7 {
        timeline.push_message(at(offset), true);
    }
    let row = |timeline: &Timeline, offset| {
        let row = timeline.current().find(|row| row.at == at(offset).at);
        Found::Row(row.unwrap().number)
    };
    let link = |log: Option<u64>, offset| {
        Seek::Message(Target {
            epoch: log.map(epoch),
            offset,
        })
    };
    let seek = |timeline: &Timeline, seek| timeline.seek(&seek, 0, u64::MAX);
    let sought = [link(None, 6), link(Some(1), 6), Seek::Time(5_500.0)].map(|sought| seek(&timeline, sought));
    assert_eq!(sought, [row(&timeline, 6); 3]);
    assert_eq!(
        seek(&timeline, link(Some(2), 6)),
        Found::Nowhere,
        "it is of another log"
    );
    assert_eq!(seek(&timeline, link(Some(1), 4)), Found::InPage { before: 5 });
    assert_eq!(seek(&timeline, Seek::Time(0.0)), Found::Between { before: 3 });
    assert_eq!(
        timeline.seek(&Seek::Time(3_500.0), 3, u64::MAX),
        Found::Between { before: 5 }
    );
    assert_eq!(timeline.seek(&Seek::Time(3_500.0), 3, 4), Found::InPage { before: 5 });
    let nowhere = [link(None, 0), link(None, 8), Seek::Time(8_000.0)];
    assert_eq!(nowhere.map(|sought| seek(&timeline, sought)), [Found::Nowhere; 3]);
    timeline.request_older();
    insert_page(&mut timeline, &epoch(1), vec![at(3), at(4)], false);
    assert_eq!(seek(&timeline, Seek::Time(0.0)), row(&timeline, 3));
    assert_eq!(
        seek(&timeline, link(None, 2)),
        Found::Nowhere,
        "the server keeps no more"
    );
}

#[test]
fn a_search_finds_texts_and_senders_in_any_case() {
    let mut timeline = timeline(0);
    for (offset, text) in [(1, "Hello"), (2, "world"), (3, "HELLO again")] {
        let text = text.into();
        timeline.push_message(
            RoomMessage {
                text,
                ..message(offset)
            },
            true,
        );
    }
    let found = |text| timeline.search(text, |text| text.to_lowercase()).len();
    assert_eq!(["hello ", "ann", "o", "", "x"].map(found), [2, 3, 3, 0, 0]);
}

/// The numbers of the rows, with those of their blocks.
fn blocks(timeline: &Timeline) -> Vec<(u64, u64)> {
    let rows = timeline.previous().chain(timeline.current());
    let rows: Vec<_> = rows.map(|row| (row.number, row.content.block)).collect();
    let blocks = rows.chunk_by(|row, next| row.1 == next.1);
    let mut numbers: Vec<_> = blocks.clone().map(|block| block[0].1).collect();
    assert!(blocks.clone().all(|block| block.len() <= 2 * BLOCK_ROWS), "{rows:?}");
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "a block is in one piece: {rows:?}");
    rows
}

#[test]
fn rows_are_in_blocks_that_follow_each_other_and_never_change() {
    let mut timeline = with(1_000, 1_030);
    for to in [1_000_u64, 900, 800] {
        timeline.request_older();
        let before = blocks(&timeline);
        insert_page(&mut timeline, &epoch(1), (to - 99..=to).map(message).collect(), true);
        let after = blocks(&timeline);
        assert!(after.ends_with(&before));
        let new: Vec<_> = after[..100].iter().map(|(_, block)| block).collect();
        assert!(new.chunk_by(|one, next| one == next).count() <= 100 / BLOCK_ROWS + 1);
    }
    let before = blocks(&timeline);
    timeline.start_log(epoch(2), 0);
    timeline.push_message(message(1), true);
    let after = blocks(&timeline);
    assert!(after.starts_with(&before));
    assert_ne!(
        after[before.len()].1,
        before[before.len() - 1].1,
        "another log is another block"
    );
    timeline.apply_bounds(true);
    blocks(&timeline);
}

/// The page before an offset, as a server that keeps the messages after `kept` gives it.
fn answer(timeline: &mut Timeline, before: u64, kept: u64, page: u64) {
    let first = (kept + 1).max(before.saturating_sub(page));
    let messages = (first..before).map(message).collect();
    timeline.insert_page(before, &epoch(1), messages, first > kept + 1);
}

/// Its rows follow each other, and are no more than the page takes.
fn check(timeline: &Timeline) -> (u64, u64) {
    let shown = offsets(timeline.current());
    let (first, last) = (shown[0], shown[shown.len() - 1]);
    assert_eq!(shown, (first..=last).collect::<Vec<_>>());
    assert!(shown.len() <= MAX_ROWS + MAX_ROWS_AT_END);
    assert_eq!(timeline.is_away(), last < timeline.received());
    blocks(timeline);
    let newest = offsets(timeline.newest());
    assert_eq!(newest[newest.len() - 1], timeline.received());
    (first, last)
}

#[test]
fn each_message_of_a_long_log_is_reached_scrolling_up_and_down_again_once_and_in_order() {
    let head = 2 * MAX_ROWS as u64 + 1_234;
    for page in [u64::from(PAGE), 37] {
        let mut timeline = with(head - 50, head);
        while let Some(before) = timeline.request_older() {
            assert_eq!(timeline.request_older(), None, "one request at a time");
            answer(&mut timeline, before, 0, page);
            timeline.apply_bounds(false);
        }
        let (first, last) = check(&timeline);
        assert_eq!((first, timeline.older()), (1, Older::Beginning));
        assert!(last <= MAX_ROWS as u64, "the newest were dropped: {last}");
        let (mut head, mut seen) = (head, last);
        while let Some(before) = timeline.request_newer() {
            assert_eq!(timeline.request_newer(), None, "one request at a time");
            if head < 2 * MAX_ROWS as u64 + 1_500 {
                head += 1;
                timeline.push_message(message(head), true);
            }
            answer(&mut timeline, before, 0, page);
            timeline.apply_bounds(false);
            let (first, last) = check(&timeline);
            assert!(
                first <= seen && last >= seen,
                "nothing is left out: {first} {seen} {last}"
            );
            seen = last;
        }
        assert_eq!(
            (seen, timeline.newer(), timeline.older()),
            (head, Newer::Nothing, Older::More)
        );
        timeline.push_message(message(head + 1), true);
        assert_eq!(check(&timeline).1, head + 1);
    }
}

/// The rows from the first message on, and more after them than the page takes.
fn far_from_the_end() -> Timeline {
    let head = MAX_ROWS as u64 + 1_000;
    let mut timeline = with(head - 50, head);
    while let Some(before) = timeline.request_older() {
        answer(&mut timeline, before, 0, u64::from(PAGE));
    }
    assert!(timeline.is_away());
    timeline
}

#[test]
fn far_from_the_end_what_arrives_is_kept_beside_the_rows_and_shown_with_the_newest() {
    let mut timeline = far_from_the_end();
    let (received, shown) = (timeline.received(), blocks(&timeline));
    let rows_before: Vec<_> = timeline.newest().map(|row| row.number).collect();
    timeline.push_message(message(received + 1), true);
    timeline.push_notice(0.0, NoticeKind::Event, Text::Left.into());
    assert_eq!(blocks(&timeline), shown, "nothing comes into the middle");
    let after = offsets(timeline.messages_after(received).iter());
    assert_eq!((after, timeline.count_after(received)), (vec![received + 1], 1));
    timeline.show_end();
    assert_eq!(check(&timeline).1, received + 1);
    let rows: Vec<_> = timeline.current().map(|row| row.number).collect();
    assert!(rows.starts_with(&rows_before), "they are the same rows as before");
    assert_eq!((timeline.older(), rows.len()), (Older::More, rows_before.len() + 2));
    timeline.apply_bounds(true);
    assert_eq!(timeline.newest().count(), MAX_ROWS_AT_END);
}

#[test]
fn rows_that_just_left_the_end_join_it_again_without_a_message_twice_and_with_each_block_in_one_piece() {
    let head = MAX_ROWS as u64 + 1_000;
    let mut timeline = with(head - 60, head);
    while let (false, Some(before)) = (timeline.is_away(), timeline.request_older()) {
        answer(&mut timeline, before, 0, u64::from(PAGE));
    }
    let before = timeline.request_newer().unwrap();
    answer(&mut timeline, before, 0, u64::from(PAGE));
    assert!(!timeline.is_away());
    let (first, last) = (check(&timeline).0, head);
    assert_eq!(offsets(timeline.current()), (first..=last).collect::<Vec<_>>());
}

#[test]
fn a_log_that_begins_anew_is_shown_at_its_end() {
    let mut timeline = far_from_the_end();
    timeline.start_log(epoch(2), 0);
    assert!(!timeline.is_away() && timeline.newer() == Newer::Nothing);
    timeline.push_message(message(1), true);
    assert_eq!(offsets(timeline.current()), [1]);
}

#[test]
fn a_page_of_newer_messages_that_failed_or_is_of_another_log_can_be_requested_again() {
    let mut timeline = far_from_the_end();
    let shown = blocks(&timeline);
    let before = timeline.request_newer().unwrap();
    timeline.page_failed(before);
    assert_eq!(timeline.newer(), Newer::Failed);
    assert_eq!(timeline.request_newer(), Some(before));
    timeline.insert_page(before, &epoch(2), vec![message(before - 1)], true);
    assert_eq!(timeline.newer(), Newer::Failed);
    timeline.continue_log(epoch(2));
    assert_eq!(
        timeline.request_newer(),
        Some(before),
        "the room has the epoch of that page"
    );
    timeline.insert_page(before, &epoch(2), Vec::new(), true);
    assert_eq!((timeline.newer(), blocks(&timeline)), (Newer::Failed, shown));
    timeline.request_newer();
    timeline.pages_failed();
    assert_eq!(timeline.newer(), Newer::Failed);
}

#[test]
fn newer_messages_that_the_server_has_dropped_meanwhile_are_a_notice() {
    for kept in [60, 200] {
        let mut timeline = far_from_the_end();
        let last = check(&timeline).1;
        let before = timeline.request_newer().unwrap();
        answer(&mut timeline, before, last + kept, u64::from(PAGE));
        let body = timeline.current().find_map(|row| match &row.content.body {
            Body::Notice(kind, _) => Some(*kind),
            _ => None,
        });
        assert_eq!(body, Some(NoticeKind::Loss));
        let before = timeline.request_newer().unwrap();
        assert!(before > last + 100, "it goes on after them");
        if kept < 100 {
            assert_eq!(offsets(timeline.current()).last(), Some(&(last + 100)));
        }
    }
}

#[test]
fn a_page_that_is_gone_to_is_shown_with_what_follows_and_with_the_newest_once_it_reaches_them() {
    let mut timeline = with(900, 1_000);
    timeline.open((401..=500).map(message).collect(), true);
    assert_eq!((check(&timeline), timeline.older()), ((401, 500), Older::More));
    assert_eq!(timeline.request_newer(), Some(601));
    answer(&mut timeline, 601, 0, u64::from(PAGE));
    assert_eq!(check(&timeline), (401, 600));
    // A page that was requested for other rows.
    timeline.request_older();
    timeline.insert_page(901, &epoch(1), (801..=900).map(message).collect(), true);
    timeline.page_failed(901);
    assert_eq!(
        (check(&timeline), timeline.older()),
        ((401, 600), Older::Loading { before: 401 })
    );
    answer(&mut timeline, 401, 0, u64::from(PAGE));
    assert_eq!((check(&timeline), timeline.older()), ((301, 600), Older::More));
    timeline.open((801..=900).map(message).collect(), true);
    assert_eq!((check(&timeline), timeline.newer()), ((801, 1_000), Newer::Nothing));
    timeline.open((891..=990).map(message).collect(), true);
    assert_eq!(check(&timeline), (801, 1_000), "the newest rows have it already");
}

#[test]
fn older_messages_that_were_requested_before_going_far_away_can_be_requested_again_at_the_end() {
    let mut timeline = with(900, 1_000);
    assert_eq!(timeline.request_older(), Some(901));
    timeline.open((401..=500).map(message).collect(), true);
    answer(&mut timeline, 901, 0, u64::from(PAGE));
    timeline.show_end();
    assert_eq!(timeline.request_older(), Some(901));
    answer(&mut timeline, 901, 0, u64::from(PAGE));
    assert_eq!(check(&timeline), (801, 1_000));
}

#[test]
fn an_answer_for_rows_whose_oldest_were_dropped_since_is_requested_for_the_others() {
    let mut timeline = with(100, 1_000);
    assert_eq!(timeline.request_older(), Some(101));
    timeline.apply_bounds(true);
    answer(&mut timeline, 101, 0, u64::from(PAGE));
    assert_eq!((timeline.older(), timeline.request_older()), (Older::More, Some(501)));
}

#[test]
fn the_rows_of_a_previous_log_stay_above_those_that_join_the_newest() {
    let mut timeline = with(0, 2);
    timeline.start_log(epoch(1), 50);
    timeline.push_message(message(51), true);
    timeline.open(vec![message(20)], true);
    assert_eq!(timeline.previous().count(), 0);
    timeline.open((31..=50).map(message).collect(), true);
    assert_eq!(offsets(timeline.previous()), [1, 2]);
    assert_eq!(offsets(timeline.current()), (31..=51).collect::<Vec<_>>());
}

#[test]
fn far_from_the_end_the_rows_of_a_previous_log_are_searched_and_shown_with_the_others() {
    let head = MAX_ROWS as u64 + 1_000;
    let mut timeline = with(0, 2);
    timeline.start_log(epoch(1), head - 50);
    for offset in head - 49..=head {
        timeline.push_message(message(offset), true);
    }
    while let (false, Some(before)) = (timeline.is_away(), timeline.request_older()) {
        answer(&mut timeline, before, 0, u64::from(PAGE));
    }
    let found = |timeline: &Timeline, text: &str| timeline.search(text, |text| text.to_lowercase());
    let row = found(&timeline, "2")[0];
    assert_eq!(timeline.previous().nth(1).map(|row| row.number), Some(row));
    timeline.show_rows_with(row);
    assert!(timeline.is_away(), "it is shown");
    let newest = found(&timeline, &head.to_string());
    assert_eq!(newest, [timeline.newest().next_back().unwrap().number]);
    timeline.show_rows_with(newest[0]);
    assert!(!timeline.is_away());
}

#[test]
fn older_messages_beyond_the_bound_of_bytes_take_the_place_of_newer_ones() {
    let large = |offset| RoomMessage {
        text: "x".repeat(MAX_BYTES / 300),
        ..message(offset)
    };
    let mut timeline = timeline(900);
    timeline.push_message(large(901), true);
    while let Some(before) = timeline.request_older() {
        let messages = (before - 100..before).map(large).collect();
        timeline.insert_page(before, &epoch(1), messages, before > 101);
        timeline.apply_bounds(false);
        let shown = offsets(timeline.current());
        assert_eq!(shown[0], before - 100, "the page is there");
        assert!(timeline.shown().rows.bytes() <= MAX_BYTES);
    }
    assert_eq!((check(&timeline).0, timeline.older()), (1, Older::Beginning));
}
