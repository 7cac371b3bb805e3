//! docs/bench.svg: one panel a load, one bar a server, a whisker from the smallest to the largest round.

use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    contenders::Contender,
    results::{Cost, Results},
    suite::Shape,
};

const COLUMNS: usize = 2;
const PANEL_WIDTH: u32 = 490;
const BAR_HEIGHT: i32 = 15;
const BAR_GAP: i32 = 7;
const NAMES_WIDTH: i32 = 190;
/// Room for the numbers behind the bars.
const VALUES_WIDTH: i32 = 60;
const HEAD_HEIGHT: i32 = 40;
const FONT: &str = "system-ui, sans-serif";

const TALKBACK: RGBColor = RGBColor(0x1d, 0x6f, 0xb8);
const OTHERS: RGBColor = RGBColor(0xa9, 0xb4, 0xc0);
const INK: RGBColor = RGBColor(0x1f, 0x29, 0x33);

/// The plot as SVG.
///
/// # Errors
/// When drawing fails.
pub fn svg(results: &Results) -> Result<String> {
    let panels: Vec<_> = Shape::ALL.chunks(COLUMNS).collect();
    let heights: Vec<_> = panels
        .iter()
        .map(|row| row.iter().map(|&shape| height(results, shape)).max())
        .collect();
    let total: i32 = heights.iter().flatten().sum();
    let mut text = String::new();
    {
        let columns = u32::try_from(COLUMNS)?;
        let root =
            SVGBackend::with_string(&mut text, (PANEL_WIDTH * columns, u32::try_from(total)?)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut rest = root;
        for (row, height) in panels.iter().zip(heights.into_iter().flatten()) {
            let (line, below) = rest.split_vertically(height);
            for (panel, &shape) in line.split_evenly((1, COLUMNS)).iter().zip(row.iter()) {
                draw(panel, results, shape)?;
            }
            rest = below;
        }
        rest.present()?;
    }
    Ok(text)
}

fn costs(results: &Results, shape: Shape) -> Vec<&Cost> {
    results.costs.iter().filter(|cost| cost.shape == shape).collect()
}

fn height(results: &Results, shape: Shape) -> i32 {
    let bars = i32::try_from(costs(results, shape).len()).unwrap_or_default();
    HEAD_HEIGHT + bars * (BAR_HEIGHT + BAR_GAP) + BAR_GAP
}

fn draw(panel: &DrawingArea<SVGBackend<'_>, Shift>, results: &Results, shape: Shape) -> Result<()> {
    let costs = costs(results, shape);
    let most = costs.iter().map(|cost| cost.max()).fold(f64::MIN_POSITIVE, f64::max);
    let unit = if matches!(shape, Shape::Echo { .. }) {
        "message"
    } else {
        "delivery"
    };
    let head = format!("{}: server CPU µs per {unit}", shape.title());
    let style = |size: i32, color: RGBColor, horizontal| {
        (FONT, size)
            .into_font()
            .color(&color)
            .pos(Pos::new(horizontal, VPos::Center))
    };
    panel.draw(&Text::new(head, (10, HEAD_HEIGHT / 2), style(15, INK, HPos::Left)))?;
    let room = f64::from(i32::try_from(PANEL_WIDTH)? - NAMES_WIDTH - VALUES_WIDTH);
    #[expect(clippy::cast_possible_truncation, reason = "a place in the panel, at most its width")]
    let x = |value: f64| NAMES_WIDTH + (value / most * room).round() as i32;
    let mut top = HEAD_HEIGHT;
    for cost in costs {
        let (middle, bottom) = (top + BAR_HEIGHT / 2, top + BAR_HEIGHT);
        let color = if matches!(cost.contender, Contender::Talkback | Contender::Session) {
            TALKBACK
        } else {
            OTHERS
        };
        panel.draw(&Text::new(
            cost.contender.name(),
            (NAMES_WIDTH - 8, middle),
            style(13, INK, HPos::Right),
        ))?;
        panel.draw(&Rectangle::new(
            [(NAMES_WIDTH, top), (x(cost.median()), bottom)],
            color.filled(),
        ))?;
        panel.draw(&PathElement::new(
            [(x(cost.min()), middle), (x(cost.max()), middle)],
            INK,
        ))?;
        for end in [cost.min(), cost.max()] {
            panel.draw(&PathElement::new([(x(end), middle - 3), (x(end), middle + 3)], INK))?;
        }
        let value = format!("{:.2}", cost.median());
        panel.draw(&Text::new(
            value,
            (x(cost.max()) + 6, middle),
            style(13, INK, HPos::Left),
        ))?;
        top = bottom + BAR_GAP;
    }
    Ok(())
}
