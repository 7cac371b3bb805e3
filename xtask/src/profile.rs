//! `cargo xtask profile`: which functions of the page a first visit does not run. They are loaded after it, see pack/src/split.rs.
//!
//! What a visit runs depends a little on timing: what arrives together, which timer fires first. So what an earlier profile saw run is kept,
//! in a list of its own beside that of what did not run, and a function is not of a first visit only if no kept profile saw it run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context;
use serde::Deserialize;

use crate::{browsers, page, run};

/// A page whose functions mark that they ran.
const MARKED: &str = "target/page-profile";
/// Where e2e/tests/profile.rs writes what ran.
const MEASURED: &str = "target/profile";
/// Where the lists are written: `NAME.txt` of what did not run, which pack/src/split.rs reads, and `NAME.ran.txt` of what did.
const FOLDER: &str = "pack/cold";

#[derive(clap::Args)]
pub(crate) struct ProfileArgs {
    /// Forget what earlier profiles saw run
    #[arg(long)]
    fresh: bool,
}

/// Walks through a first visit of both views, and writes the lists.
///
/// # Errors
/// Something does not build, or a step of the visit does not succeed.
pub(crate) fn run(arguments: &ProfileArgs) -> anyhow::Result<()> {
    page::build_marked(MARKED)?;
    browsers::set_up(browsers::Choice::All)?;
    run::succeed(run::cargo().args(["build", "--workspace", "--bin", "talkback-server"]))?;
    let server = fs::canonicalize(run::target().join("debug/talkback-server"))?;
    let _ = fs::remove_dir_all(MEASURED);
    let mut visit = run::cargo();
    visit
        .args(["test", "--workspace", "--test", "profile", "--", "--nocapture"])
        .env("TEST_BROWSERS", "chromium,firefox,webkit")
        .env("TEST_SERVER_BIN", server)
        .env("TEST_DIST", std::path::absolute(MARKED)?)
        .env("TEST_PROFILE", std::path::absolute(MEASURED)?);
    run::succeed(&mut visit)?;
    for entry in fs::read_dir(MEASURED)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .context("it has no name")?;
        let measured: Vec<Function> = serde_json::from_slice(&fs::read(&path)?)?;
        let ran = Path::new(FOLDER).join(format!("{name}.ran.txt"));
        let kept = if arguments.fresh {
            String::new()
        } else {
            fs::read_to_string(&ran).unwrap_or_default()
        };
        let lists = Lists::of(&measured, &kept)?;
        println!(
            "{name}: {} functions, {} of them in parts that did not run",
            measured.len(),
            lists.cold.lines().count()
        );
        fs::write(ran, lists.ran)?;
        fs::write(Path::new(FOLDER).join(format!("{name}.txt")), lists.cold)?;
    }
    Ok(())
}

/// A function of the page, as it was measured.
#[derive(Deserialize)]
struct Function {
    name: String,
    /// Tells whether another build's regions are the same.
    shape: String,
    ran: bool,
    /// Whether each region of it was reached.
    regions: Vec<bool>,
}

/// What is known of all functions of one name.
#[derive(Default)]
struct Known<'a> {
    /// None if there are several: their regions are not told apart.
    shape: Option<&'a str>,
    ran: bool,
    reached: BTreeSet<usize>,
}

/// The texts of both lists of a binary.
struct Lists {
    /// A line for each name: of a whole function, or behind the name its shape and the regions that were not reached. See `Cold` in
    /// pack/src/split.rs.
    cold: String,
    /// A line for each name: a hash of it, the shape and the regions that were reached.
    ran: String,
}

impl Lists {
    fn of(measured: &[Function], kept: &str) -> anyhow::Result<Self> {
        let mut by_name = BTreeMap::<&str, (Known<'_>, usize)>::new();
        for Function {
            name,
            shape,
            ran,
            regions,
        } in measured
        {
            let reached = regions.iter().enumerate().filter(|(_, reached)| **reached);
            let known = Known {
                shape: Some(shape),
                ran: *ran,
                reached: reached.map(|(region, _)| region).collect(),
            };
            by_name
                .entry(name)
                .and_modify(|(first, count)| {
                    *first = Known {
                        shape: None,
                        ran: first.ran || *ran,
                        reached: BTreeSet::new(),
                    };
                    *count = 0;
                })
                .or_insert((known, regions.len()));
        }
        let kept = kept.lines().map(parse).collect::<anyhow::Result<BTreeMap<_, _>>>()?;

        let (mut cold, mut ran) = (String::new(), String::new());
        for (name, (mut known, regions)) in by_name {
            let hash = hash(name);
            if let Some(earlier) = kept.get(hash.as_str()) {
                if earlier.shape == known.shape {
                    known.reached.extend(&earlier.reached);
                } else if !known.ran {
                    // Which of its regions ran then is not known any more.
                    known.reached.extend(0..regions);
                }
                known.ran = true;
            }
            if !known.ran {
                cold += &format!("{name}\n");
                continue;
            }
            let shape = known.shape.unwrap_or_default();
            ran += &format!("{hash}\t{shape}\t{}\n", ranges(&known.reached));
            let missed: BTreeSet<usize> = (0..regions).filter(|region| !known.reached.contains(region)).collect();
            if !missed.is_empty() {
                cold += &format!("{name}\t{shape}\t{}\n", ranges(&missed));
            }
        }
        Ok(Self { cold, ran })
    }
}

/// A line of the list of what ran: the hash of the name, and what is known.
fn parse(line: &str) -> anyhow::Result<(&str, Known<'_>)> {
    let mut parts = line.split('\t');
    let mut part = || parts.next().with_context(|| format!("a line is cut off: {line}"));
    let (hash, shape, ranges) = (part()?, part()?, part()?);
    let mut reached = BTreeSet::new();
    for range in ranges.split_whitespace() {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        reached.extend(first.parse::<usize>()?..=last.parse()?);
    }
    let shape = Some(shape).filter(|shape| !shape.is_empty());
    Ok((
        hash,
        Known {
            shape,
            ran: true,
            reached,
        },
    ))
}

/// Numbers as ranges: `0-2 7`.
fn ranges(numbers: &BTreeSet<usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let text = |&(first, last): &(usize, usize)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// FNV-1a: the same in each version of the compiler, and a seventh of the bytes of the names.
fn hash(name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, shape: &str, ran: bool, regions: &[bool]) -> Function {
        Function {
            name: name.to_owned(),
            shape: shape.to_owned(),
            ran,
            regions: regions.to_vec(),
        }
    }

    fn cold(profiles: &[&[Function]]) -> String {
        let mut lists = Lists {
            cold: String::new(),
            ran: String::new(),
        };
        for measured in profiles {
            lists = Lists::of(measured, &lists.ran).unwrap();
        }
        lists.cold
    }

    #[test]
    fn what_did_not_run_is_listed_as_functions_and_regions() {
        let measured = [
            function("c::never", "1", false, &[false]),
            function("b::always", "2", true, &[true, true]),
            function("a::partly", "3", true, &[false, false, true, false]),
            function("d::no regions", "4", true, &[]),
        ];
        assert_eq!(cold(&[&measured]), "a::partly\t3\t0-1 3\nc::never\n");
    }

    #[test]
    fn functions_of_one_name_are_cold_if_none_ran_and_have_no_regions() {
        let two = |first, second| [function("a", "1", first, &[false]), function("a", "2", second, &[true])];
        assert_eq!(cold(&[&two(false, false)]), "a\n");
        assert_eq!(cold(&[&two(true, false)]), "");
        assert_eq!(cold(&[&two(false, true), &two(false, false)]), "");
        let three = [
            function("a", "1", false, &[]),
            function("a", "2", false, &[]),
            function("a", "3", true, &[false]),
        ];
        assert_eq!(cold(&[&three]), "");
    }

    #[test]
    fn what_an_earlier_profile_saw_run_is_not_listed_whatever_later_ones_see() {
        let sometimes = |ran, first, second| {
            [
                function("a", "1", ran, &[first, second, false]),
                function("b", "2", !ran, &[]),
            ]
        };
        let ran = sometimes(true, true, false);
        let ran_otherwise = sometimes(true, false, true);
        let did_not = sometimes(false, false, false);
        assert_eq!(cold(&[&ran]), "a\t1\t1-2\nb\n");
        assert_eq!(cold(&[&did_not]), "a\n");
        assert_eq!(cold(&[&ran, &did_not]), "a\t1\t1-2\n");
        assert_eq!(cold(&[&did_not, &ran]), "a\t1\t1-2\n");
        assert_eq!(cold(&[&ran, &ran_otherwise, &did_not, &did_not]), "a\t1\t2\n");
        // A run without the kept list begins anew.
        assert_eq!(Lists::of(&did_not, "").unwrap().cold, "a\n");
    }

    #[test]
    fn regions_of_another_shape_are_measured_anew() {
        let was = [function("a", "1", true, &[true, false])];
        assert_eq!(cold(&[&was, &[function("a", "2", true, &[false, true])]]), "a\t2\t0\n");
        // It ran, and where is not known: all of it stays.
        assert_eq!(cold(&[&was, &[function("a", "2", false, &[false, false])]]), "");
    }

    #[test]
    fn functions_that_are_gone_are_forgotten() {
        let kept = Lists::of(&[function("a", "1", true, &[])], "").unwrap().ran;
        assert_eq!(Lists::of(&[function("b", "1", false, &[])], &kept).unwrap().ran, "");
        assert!(Lists::of(&[], "0123").is_err());
    }
}
