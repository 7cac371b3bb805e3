//! What the log's panel shows of the log: the rows that its filter admits, up to a pause, and the place in the list. Pure.

use std::{collections::VecDeque, rc::Rc};

use super::{
    detail_pane::DetailMode,
    log::Log,
    log_entry::LogEntry,
    log_filter::{Filter, with_text},
    virtual_list::{SelectionMove, VirtualList},
};
use crate::rows::{PayloadSize, ROW_BYTES, Row};

/// The bytes of rows that are looked at for one batch of texts, at most: a few milliseconds.
const BATCH_SCANNED_BYTES: usize = 4 << 20;
/// The bytes of texts that the worker tests at a time, at most; more only of a single row.
const BATCH_BYTES: usize = 512 << 10;

/// The panel's state, which outlives the panel.
#[derive(Debug, Default)]
pub(crate) struct LogView {
    pub(crate) list: VirtualList,
    pub(crate) mode: DetailMode,
    filter: Filter,
    /// With an active filter.
    matches: Option<Matches>,
    /// The number of the last row that is shown while the view is paused.
    paused: Option<u64>,
    /// The number of the log's oldest row when the view was brought up to date last.
    first: u64,
    /// Counts what makes the answers to older batches void.
    generation: u64,
    /// The selected row is to be scrolled into view when the filter has looked at all rows.
    reveal: bool,
}

/// The rows that the filter admits.
#[derive(Debug)]
struct Matches {
    /// Their numbers, ascending.
    numbers: VecDeque<u64>,
    /// Those of notices among them.
    notices: VecDeque<u64>,
    /// The number of the first row that the filter has not looked at.
    next: u64,
}

/// Texts to be tested against the pattern of the filter.
#[derive(Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) texts: Vec<String>,
    /// The rows of the texts.
    numbers: Vec<u64>,
    /// The filter has looked at the rows up to this one.
    through: u64,
    generation: u64,
}

impl LogView {
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Changes the filter, and begins to look at the rows again: [`LogView::scan`] and [`LogView::batch`] go on with it.
    pub(crate) fn change_filter(&mut self, log: &Log<LogEntry>, change: impl FnOnce(&mut Filter)) {
        change(&mut self.filter);
        self.list.follow = true;
        let selected = self.selected(log);
        let stays = selected.is_some_and(|row| self.filter.pattern().is_none() && self.filter.admits(&row.content));
        if !stays {
            self.list.selected = None;
        }
        self.restart(log);
    }

    fn restart(&mut self, log: &Log<LogEntry>) {
        self.generation += 1;
        self.reveal = self.list.selected.is_some();
        self.matches = self.filter.is_active().then(|| Matches {
            numbers: VecDeque::new(),
            notices: VecDeque::new(),
            next: log.first_number(),
        });
        self.reveal_selected(log);
    }

    /// Takes note of rows that were dropped, cleared or put back. The visible rows stay in place.
    pub(crate) fn sync(&mut self, log: &Log<LogEntry>) {
        let is_following = self.list.is_following();
        let dropped = self.front_dropped(log);
        if !is_following {
            self.list.front_dropped(dropped);
        }
    }

    /// Begins a rest of the following, with the list at a place that the browser tells: the one in the state is older by
    /// the rows that came since the last scroll event.
    pub(crate) fn hold(&mut self, log: &Log<LogEntry>, scroll_top: f64) {
        if self.list.is_following() {
            self.list.scroll_top = scroll_top;
            let dropped = self.front_dropped(log);
            self.list.front_dropped(dropped);
        }
    }

    /// How many shown rows were dropped from the front since the last call.
    fn front_dropped(&mut self, log: &Log<LogEntry>) -> u64 {
        let first = log.first_number();
        let before = std::mem::replace(&mut self.first, first);
        if first < before {
            // Cleared rows are back, in front of those that the filter has looked at.
            self.restart(log);
            return 0;
        }
        let Some(matches) = &mut self.matches else {
            return first - before;
        };
        let gone = matches.numbers.partition_point(|&number| number < first);
        matches.numbers.drain(..gone);
        let notices = matches.notices.partition_point(|&number| number < first);
        matches.notices.drain(..notices);
        matches.next = matches.next.max(first);
        gone as u64
    }

    /// Lets the filter look at rows of about so many bytes; returns whether more wait for it. With a pattern, it waits for
    /// [`LogView::accept`] instead.
    pub(crate) fn scan(&mut self, log: &Log<LogEntry>, bytes: usize) -> bool {
        let last = self.last_shown(log);
        let Some(matches) = &mut self.matches else {
            return false;
        };
        if self.filter.pattern().is_some() {
            return false;
        }
        let mut cost = 0;
        for row in log.after(matches.next - 1).take_while(|row| row.number <= last) {
            if cost >= bytes {
                return true;
            }
            cost += row_cost(row);
            matches.next = row.number + 1;
            if self.filter.admits(&row.content) {
                matches.numbers.push_back(row.number);
                if row.content.payload().is_none() {
                    matches.notices.push_back(row.number);
                }
            }
        }
        self.reveal_selected(log);
        false
    }

    /// The next texts for the pattern; none when there is no pattern or no row waits for it. An empty batch is accepted without a test.
    pub(crate) fn batch(&self, log: &Log<LogEntry>) -> Option<Batch> {
        self.filter.pattern()?;
        let last = self.last_shown(log);
        let next = self.matches.as_ref()?.next;
        let mut batch = Batch {
            texts: Vec::new(),
            numbers: Vec::new(),
            through: next - 1,
            generation: self.generation,
        };
        let (mut scanned, mut bytes) = (0, 0);
        for row in log.after(next - 1).take_while(|row| row.number <= last) {
            if scanned >= BATCH_SCANNED_BYTES || bytes >= BATCH_BYTES {
                break;
            }
            scanned += row_cost(row);
            batch.through = row.number;
            if let Some(payload) = row.content.payload().filter(|_| self.filter.admits(&row.content)) {
                let text = with_text(payload, str::to_owned);
                bytes += text.len();
                batch.texts.push(text);
                batch.numbers.push(row.number);
            }
        }
        (batch.through >= next).then_some(batch)
    }

    /// The pattern matches the texts with these indices.
    pub(crate) fn accept(&mut self, log: &Log<LogEntry>, batch: &Batch, matching: &[usize]) {
        if batch.generation != self.generation {
            return;
        }
        if let Some(matches) = &mut self.matches {
            let numbers = matching.iter().filter_map(|&index| batch.numbers.get(index));
            matches.numbers.extend(numbers.filter(|&&number| number >= self.first));
            matches.next = matches.next.max(batch.through + 1);
        }
        if self.batch(log).is_none() {
            self.reveal_selected(log);
        }
    }

    /// The pattern is invalid or too slow: the log is shown without it.
    pub(crate) fn ignore_pattern(&mut self, log: &Log<LogEntry>) {
        self.change_filter(log, Filter::ignore_pattern);
    }

    /// How many rows are shown.
    pub(crate) fn len(&self, log: &Log<LogEntry>) -> usize {
        match (&self.matches, self.paused) {
            (Some(matches), _) => matches.numbers.len(),
            (None, None) => log.len(),
            (None, Some(last)) => {
                let shown = (last + 1).saturating_sub(log.first_number());
                usize::try_from(shown).unwrap_or(usize::MAX).min(log.len())
            }
        }
    }

    /// How many messages the filter admits; none without one.
    pub(crate) fn matching_messages(&self) -> Option<usize> {
        let matches = self.matches.as_ref()?;
        Some(matches.numbers.len() - matches.notices.len())
    }

    /// The shown row at an index.
    pub(crate) fn get<'a>(&self, log: &'a Log<LogEntry>, index: usize) -> Option<&'a Rc<Row<LogEntry>>> {
        match &self.matches {
            Some(matches) => log.get(*matches.numbers.get(index)?),
            None => log.range(index..index + 1).next(),
        }
    }

    /// The numbers of the rows that the filter admits.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.matches
            .iter()
            .flat_map(|matches| &matches.numbers)
            .copied()
            .collect()
    }

    /// The index of a row, if it is shown.
    pub(crate) fn index_of(&self, log: &Log<LogEntry>, number: u64) -> Option<usize> {
        let index = match &self.matches {
            Some(matches) => matches.numbers.binary_search(&number).ok()?,
            None => usize::try_from(number.checked_sub(log.first_number())?).ok()?,
        };
        (index < self.len(log)).then_some(index)
    }

    pub(crate) fn selected(&self, log: &Log<LogEntry>) -> Option<Rc<Row<LogEntry>>> {
        log.get(self.list.selected?).cloned()
    }

    /// Selects the row on which the user has clicked.
    pub(crate) fn select(&mut self, log: &Log<LogEntry>, number: u64) {
        self.list.selected = Some(number);
        if let Some(index) = self.index_of(log, number) {
            self.list.show(index);
        }
    }

    pub(crate) fn move_selection(&mut self, log: &Log<LogEntry>, movement: SelectionMove) {
        let selected = self.list.selected.and_then(|number| self.index_of(log, number));
        let target = self.list.move_selection(movement, selected, self.len(log));
        if let Some(row) = target.and_then(|index| self.get(log, index)) {
            self.list.selected = Some(row.number);
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Stops to show new rows, or shows them.
    pub(crate) fn toggle_pause(&mut self, log: &Log<LogEntry>) {
        self.paused = match self.paused {
            Some(_) => None,
            None => Some(log.last_number()),
        };
    }

    /// How many rows were recorded since the pause.
    pub(crate) fn waiting(&self, log: &Log<LogEntry>) -> u64 {
        self.paused.map_or(0, |last| log.last_number() - last)
    }

    /// The log was cleared: the list begins again, at its end.
    pub(crate) fn cleared(&mut self) {
        self.list = VirtualList {
            height: self.list.height,
            ..VirtualList::default()
        };
    }

    fn last_shown(&self, log: &Log<LogEntry>) -> u64 {
        self.paused.unwrap_or(log.last_number())
    }

    fn reveal_selected(&mut self, log: &Log<LogEntry>) {
        if !self.reveal {
            return;
        }
        if let Some(index) = self.list.selected.and_then(|number| self.index_of(log, number)) {
            self.list.scroll_into_view(index, self.len(log));
            self.reveal = false;
        }
    }
}

fn row_cost(row: &Row<LogEntry>) -> usize {
    ROW_BYTES + row.content.payload_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        i18n::Text,
        workbench::{log_entry::Payload, virtual_list::ROW_PIXELS},
    };

    fn log(rows: usize) -> Log<LogEntry> {
        Log::new(rows)
    }

    fn push(log: &mut Log<LogEntry>, texts: &[&str]) {
        for text in texts {
            log.push(0.0, LogEntry::Received(Payload::Text((*text).to_owned())));
        }
    }

    fn filtered(log: &Log<LogEntry>, text: &str) -> LogView {
        let mut view = LogView::default();
        view.sync(log);
        view.change_filter(log, |filter| filter.set_text(text.to_owned()));
        while view.scan(log, 1) {}
        view
    }

    fn numbers(view: &LogView, log: &Log<LogEntry>) -> Vec<u64> {
        (0..view.len(log))
            .map(|index| view.get(log, index).unwrap().number)
            .collect()
    }

    #[test]
    fn without_a_filter_all_rows_are_shown() {
        let mut log = log(3);
        let view = LogView::default();
        assert_eq!(view.len(&log), 0);
        push(&mut log, &["a", "b"]);
        log.push(0.0, LogEntry::Notice(Text::Left.into()));
        assert_eq!(numbers(&view, &log), [1, 2, 3]);
        push(&mut log, &["c"]);
        assert_eq!(numbers(&view, &log), [2, 3, 4]);
    }

    #[test]
    fn a_filter_looks_at_a_bounded_part_at_a_time_and_at_new_rows_as_they_come() {
        let mut log = log(100);
        push(&mut log, &["apple", "pear", "Apple pie"]);
        let mut view = LogView::default();
        view.change_filter(&log, |filter| filter.set_text("apple".into()));
        assert!(view.scan(&log, 1), "one row, and more wait");
        assert_eq!(numbers(&view, &log), [1]);
        assert!(!view.scan(&log, usize::MAX));
        assert_eq!(numbers(&view, &log), [1, 3]);
        push(&mut log, &["plum", "APPLE"]);
        view.sync(&log);
        assert!(!view.scan(&log, usize::MAX));
        assert_eq!(numbers(&view, &log), [1, 3, 5]);
        view.change_filter(&log, |filter| filter.set_text(String::new()));
        assert_eq!(view.len(&log), 5);
    }

    #[test]
    fn rows_that_are_dropped_leave_the_filtered_ones_and_the_visible_ones_stay_in_place() {
        let mut log = log(4);
        push(&mut log, &["a1", "b", "a2", "a3"]);
        let mut view = filtered(&log, "a");
        view.list.follow = false;
        view.list.scroll_top = f64::from(ROW_PIXELS) * 2.0;
        push(&mut log, &["b", "a4"]);
        view.sync(&log);
        view.scan(&log, usize::MAX);
        assert_eq!(numbers(&view, &log), [3, 4, 6]);
        assert_eq!(view.list.scroll_top, f64::from(ROW_PIXELS), "one of the two was shown");
        push(&mut log, &["b"; 10]);
        view.sync(&log);
        assert!(!view.scan(&log, usize::MAX));
        assert_eq!(view.len(&log), 0);
    }

    #[test]
    fn a_clear_and_its_undo_are_filtered_too() {
        let mut log = log(10);
        push(&mut log, &["a1", "b", "a2"]);
        let mut view = filtered(&log, "a");
        log.clear();
        view.sync(&log);
        assert_eq!(view.len(&log), 0);
        push(&mut log, &["a3"]);
        view.sync(&log);
        view.scan(&log, usize::MAX);
        assert_eq!(numbers(&view, &log), [4]);
        log.undo_clear();
        view.sync(&log);
        view.scan(&log, usize::MAX);
        assert_eq!(numbers(&view, &log), [1, 3, 4]);
    }

    #[test]
    fn keys_move_the_selection_among_the_filtered_rows() {
        let mut log = log(10);
        push(&mut log, &["a1", "b", "a2", "b", "a3"]);
        let mut view = filtered(&log, "a");
        let mut press = |movement| {
            view.move_selection(&log, movement);
            view.list.selected
        };
        assert_eq!(press(SelectionMove::Up), Some(5));
        assert_eq!(press(SelectionMove::Up), Some(3));
        assert_eq!(press(SelectionMove::First), Some(1));
        assert_eq!(press(SelectionMove::Down), Some(3));
    }

    #[test]
    fn the_selected_row_stays_selected_and_in_view_while_the_filter_admits_it() {
        let mut log = log(1000);
        push(&mut log, &["x"; 500]);
        push(&mut log, &["apple"]);
        push(&mut log, &["x"; 400]);
        let mut view = filtered(&log, "apple");
        view.list.height = f64::from(ROW_PIXELS) * 10.0;
        view.move_selection(&log, SelectionMove::Last);
        view.change_filter(&log, |filter| filter.set_text(String::new()));
        assert_eq!(view.list.selected, Some(501));
        assert!(view.list.drawn(view.len(&log)).contains(&500));
        view.change_filter(&log, |filter| filter.set_text("x".into()));
        assert_eq!(view.list.selected, None);
    }

    #[test]
    fn a_pause_keeps_what_is_shown_and_counts_what_waits() {
        let mut log = log(4);
        push(&mut log, &["a1", "b"]);
        for mut view in [filtered(&log, ""), filtered(&log, "a")] {
            let mut log = self::log(4);
            push(&mut log, &["a1", "b"]);
            let before = numbers(&view, &log);
            view.toggle_pause(&log);
            push(&mut log, &["a2", "a3"]);
            view.sync(&log);
            assert!(!view.scan(&log, usize::MAX));
            assert_eq!((numbers(&view, &log), view.waiting(&log)), (before, 2));
            push(&mut log, &["a4", "a5", "a6"]);
            view.sync(&log);
            view.scan(&log, usize::MAX);
            assert_eq!(
                (numbers(&view, &log), view.waiting(&log)),
                (vec![], 5),
                "memory stays bounded"
            );
            view.toggle_pause(&log);
            view.scan(&log, usize::MAX);
            assert_eq!((numbers(&view, &log), view.waiting(&log)), (vec![4, 5, 6, 7], 0));
        }
    }

    #[test]
    fn a_pattern_gets_texts_in_bounded_batches_and_its_answers_are_shown() {
        let mut log = log(1000);
        let long = "y".repeat(BATCH_BYTES / 2);
        push(&mut log, &[&long, "b", &long, "c"]);
        let mut view = filtered(&log, "/./");
        assert!(!view.scan(&log, usize::MAX));
        let batch = view.batch(&log).unwrap();
        assert_eq!((batch.texts.len(), batch.through), (3, 3));
        view.accept(&log, &batch, &[1]);
        let batch = view.batch(&log).unwrap();
        assert_eq!(batch.texts, ["c"]);
        view.accept(&log, &batch, &[0, 7]);
        assert_eq!((numbers(&view, &log), view.batch(&log)), (vec![2, 4], None));
        push(&mut log, &["d"]);
        assert_eq!(view.batch(&log).unwrap().texts, ["d"]);
    }

    #[test]
    fn an_answer_to_an_older_filter_is_ignored_and_one_about_dropped_rows_too() {
        let mut log = log(2);
        push(&mut log, &["a", "b"]);
        let mut view = filtered(&log, "/a/");
        let old = view.batch(&log).unwrap();
        view.change_filter(&log, |filter| filter.set_text("/b/".into()));
        view.accept(&log, &old, &[0]);
        assert_eq!(view.len(&log), 0);
        let batch = view.batch(&log).unwrap();
        push(&mut log, &["c"]);
        view.sync(&log);
        view.accept(&log, &batch, &[0, 1]);
        assert_eq!(numbers(&view, &log), [2]);
    }

    #[test]
    fn the_log_is_shown_without_a_pattern_that_is_ignored() {
        let mut log = log(10);
        push(&mut log, &["a", "b"]);
        let mut view = filtered(&log, "/[/");
        assert_eq!(view.len(&log), 0);
        view.ignore_pattern(&log);
        assert_eq!(numbers(&view, &log), [1, 2]);
    }
}
