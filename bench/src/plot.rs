//! The text of docs/bench.svg: one panel per load, one bar per server (for joins one bar per room), and a whisker from
//! the smallest to the largest round.

use anyhow::Result;
use talkback_plot::{Bar, Panel};

use crate::{
    results::{Cost, Results},
    suite::Shape,
};

const COLUMNS: usize = 2;

/// The plot as SVG.
///
/// # Errors
/// When drawing fails.
pub fn svg(results: &Results) -> Result<String> {
    talkback_plot::svg(&panels(results), COLUMNS)
}

fn panels(results: &Results) -> Vec<Panel> {
    let is_join = |shape: Shape| matches!(shape, Shape::Join { .. });
    let one_load = Shape::ALL
        .into_iter()
        .filter(|&shape| !is_join(shape))
        .map(|shape| Panel {
            head: format!("{}: server CPU µs per {}", shape.title(), shape.unit()),
            bars: results
                .costs
                .iter()
                .filter(|cost| cost.shape == shape)
                .map(|cost| bar(cost.contender.name().to_owned(), cost))
                .collect(),
        });
    let joins = Panel {
        head: format!("Joins: server CPU µs per {}", Shape::JOINS[0].unit()),
        bars: results
            .costs
            .iter()
            .filter(|cost| is_join(cost.shape))
            .map(|cost| bar(cost.shape.title(), cost))
            .collect(),
    };
    one_load.chain([joins]).collect()
}

fn bar(name: String, cost: &Cost) -> Bar {
    Bar {
        name,
        value: cost.median(),
        range: Some((cost.min(), cost.max())),
        text: format!("{:.2}", cost.median()),
        is_talkback: cost.contender.is_talkback(),
    }
}
