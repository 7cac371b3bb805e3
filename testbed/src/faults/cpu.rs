//! The CPU time of the pages of the browser, for measurements.

use std::{collections::HashMap, fs, io, process, time::Duration};

/// The time that the main threads of all pages of the browser that this process has started, directly or not, ran on a
/// CPU. That of other threads, of waiting, and of other processes of the browser is not in it.
pub(super) fn of_pages() -> io::Result<Duration> {
    let mut parents = HashMap::new();
    let mut pages = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else {
            continue;
        };
        // The name of the program may have spaces and parentheses.
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
        let parent = after_name.and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (id, parent)));
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains("--type=renderer") {
            pages.push(id);
        }
    }
    let is_ours = |page: &u32| {
        let mut ancestor = Some(page);
        while let Some(&id) = ancestor {
            if id == process::id() {
                return true;
            }
            ancestor = parents.get(&id);
        }
        false
    };
    let mut spent = None;
    for page in pages.iter().filter(|page| is_ours(page)) {
        // Of the first thread of the process; the first number is in nanoseconds.
        if let Ok(text) = fs::read_to_string(format!("/proc/{page}/schedstat")) {
            let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
            *spent.get_or_insert(Duration::ZERO) += Duration::from_nanos(nanoseconds.unwrap_or_default());
        }
    }
    spent.ok_or_else(|| io::Error::other("no page of the browser is a process of this one"))
}
