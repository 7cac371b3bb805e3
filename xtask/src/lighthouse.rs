//! `cargo xtask lighthouse`: what Lighthouse says of the page's first visit with a telephone.

use crate::{bench, browsers, page, run, serve, tools};
use anyhow::{Context, bail};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(clap::Args)]
pub(crate) struct LighthouseArgs {
    /// How often each view is visited, each time by a browser without a cache; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Write the table to docs/browser.md
    #[arg(long)]
    write: bool,
}

/// Where npm puts it: apart from what builds the page, because it has a hundred packages.
const FOLDER: &str = "target/lighthouse";

const VIEWS: [&str; 2] = ["/", "/chat/lobby"];

/// The categories, each with its name in a report and the least score of a hundred.
const CATEGORIES: [(&str, &str, f64); 4] = [
    ("performance", "performance", 95.0),
    ("accessibility", "accessibility", 100.0),
    ("best-practices", "best practices", 100.0),
    ("seo", "SEO", 100.0),
];

/// What performance is made of, in milliseconds but for the last one.
const METRICS: [(&str, &str); 5] = [
    ("first-contentful-paint", "first paint"),
    ("largest-contentful-paint", "largest paint"),
    ("speed-index", "speed index"),
    ("total-blocking-time", "blocked"),
    ("cumulative-layout-shift", "layout shift"),
];

/// Visits each view and prints the scores.
///
/// # Errors
/// There is no npm, something does not start, or a score is too low.
pub(crate) fn run(arguments: &LighthouseArgs) -> anyhow::Result<()> {
    page::build()?;
    browsers::set_up(browsers::Choice::Chromium)?;
    let folder = Path::new(FOLDER);
    tools::npm_install(folder, &[format!("lighthouse@{}", tools::pinned("lighthouse")?)])
        .context("Lighthouse is installed by npm")?;
    let server = serve::start_server("debug", &["--listen", "127.0.0.1:0"])?;
    let mut table = format!(
        "| a first visit, median of {} | {} | {} |\n|---|{}\n",
        arguments.runs,
        CATEGORIES
            .map(|(_, name, least)| format!("{name} (at least {least})"))
            .join(" | "),
        METRICS.map(|(_, name)| name).join(" | "),
        "---|".repeat(CATEGORIES.len() + METRICS.len())
    );
    let mut trouble = Vec::new();
    for view in VIEWS {
        let url = format!("http://{}{view}", server.address());
        let visits = (0..arguments.runs)
            .map(|number| visit(folder, &url, number))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut row = format!("| `{view}` |");
        for (id, name, least) in CATEGORIES {
            let score = 100.0 * median(&visits, |visit| &visit["categories"][id]["score"])?;
            row += &format!(" {score:.0} |");
            if score < least {
                trouble.push(format!("{view} has {score:.0} of 100 for {name} instead of {least}"));
            }
        }
        for (id, _) in METRICS {
            let value = median(&visits, |visit| &visit["audits"][id]["numericValue"])?;
            row += &if id == "cumulative-layout-shift" {
                format!(" {value:.3} |")
            } else {
                format!(" {value:.0} ms |")
            };
        }
        table += &row;
        table.push('\n');
        for finding in findings(&visits[0]) {
            println!("{view}: {finding}");
        }
    }
    println!("{table}");
    if arguments.write {
        bench::write_table("docs/browser.md", "cargo xtask lighthouse --write", &table)?;
    }
    if !trouble.is_empty() {
        bail!("{}; the reports are in {FOLDER}", trouble.join("; "));
    }
    Ok(())
}

/// One visit by a browser of its own, with Lighthouse's preset for telephones: slow 4G, a processor four times slower.
fn visit(folder: &Path, url: &str, number: u8) -> anyhow::Result<Value> {
    let report: PathBuf = folder.join(format!("report-{number}.json"));
    let chromium = ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .find_map(|name| which::which(name).ok())
        .context("Chromium is not on the PATH")?;
    let mut lighthouse = Command::new("node");
    lighthouse
        .arg(folder.join("node_modules/lighthouse/cli/index.js"))
        .args([url, "--quiet", "--output=json"])
        .arg(format!("--output-path={}", report.display()))
        .arg(format!("--only-categories={}", CATEGORIES.map(|(id, ..)| id).join(",")))
        // Containers run as root, where Chromium's sandbox refuses to start.
        .arg("--chrome-flags=--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage")
        .env("CHROME_PATH", chromium);
    run::succeed(&mut lighthouse)?;
    let report = fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
    Ok(serde_json::from_str(&report)?)
}

fn median(visits: &[Value], value: impl Fn(&Value) -> &Value) -> anyhow::Result<f64> {
    let mut values = visits
        .iter()
        .map(|visit| value(visit).as_f64().context("Lighthouse's report lacks a number"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    values.sort_by(f64::total_cmp);
    Ok(values[values.len() / 2])
}

/// The audits that cost points, with what they say.
fn findings(visit: &Value) -> Vec<String> {
    let categories = visit["categories"]
        .as_object()
        .into_iter()
        .flat_map(|categories| categories.values());
    let references = categories.flat_map(|category| category["auditRefs"].as_array().into_iter().flatten());
    references
        .filter(|reference| reference["weight"].as_f64().is_some_and(|weight| weight > 0.0))
        .filter_map(|reference| {
            let audit = &visit["audits"][reference["id"].as_str()?];
            let score = audit["score"].as_f64().filter(|score| *score < 1.0)?;
            let title = audit["title"].as_str()?;
            let value = audit["displayValue"].as_str().unwrap_or_default();
            Some(format!("{:.0}: {title} {value}", 100.0 * score))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_middle_of_the_visits_counts_and_a_report_without_a_score_is_an_error() {
        let visits = [0.5, 0.9, 0.7].map(|score| json!({ "score": score }));
        assert_eq!(median(&visits, |visit| &visit["score"]).unwrap(), 0.7);
        assert!(median(&[json!({ "score": null })], |visit| &visit["score"]).is_err());
    }

    #[test]
    fn audits_that_cost_points_are_named() {
        let visit = json!({
            "categories": { "seo": { "auditRefs": [
                { "id": "lost", "weight": 1 }, { "id": "whole", "weight": 1 }, { "id": "informative", "weight": 0 },
            ] } },
            "audits": {
                "lost": { "score": 0.5, "title": "No description", "displayValue": "1 page" },
                "whole": { "score": 1, "title": "Title" },
                "informative": { "score": 0, "title": "Hint" },
            },
        });
        assert_eq!(findings(&visit), ["50: No description 1 page"]);
    }
}
