//! The text of docs/bench.svg: one panel per load, one bar per server (for joins one bar per room), and a whisker from
//! the smallest to the largest round.

use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    results::{Cost, Results},
    suite::Shape,
};

const COLUMNS: usize = 2;
const PANEL_WIDTH: u32 = 490;
const BAR_HEIGHT: i32 = 15;
const BAR_GAP: i32 = 7;
const NAMES_WIDTH: i32 = 190;
/// The width of the numbers behind the bars.
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
    let panels = panels(results);
    let panels: Vec<_> = panels.chunks(COLUMNS).collect();
    let heights: Vec<_> = panels.iter().map(|row| row.iter().map(Panel::height).max()).collect();
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
            for (area, panel) in line.split_evenly((1, COLUMNS)).iter().zip(row.iter()) {
                panel.draw(area)?;
            }
            rest = below;
        }
        rest.present()?;
    }
    Ok(text)
}

struct Panel<'a> {
    head: String,
    bars: Vec<(String, &'a Cost)>,
}

fn panels(results: &Results) -> Vec<Panel<'_>> {
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
                .map(|cost| (cost.contender.name().to_owned(), cost))
                .collect(),
        });
    let joins = Panel {
        head: format!("Joins: server CPU µs per {}", Shape::JOINS[0].unit()),
        bars: results
            .costs
            .iter()
            .filter(|cost| is_join(cost.shape))
            .map(|cost| (cost.shape.title(), cost))
            .collect(),
    };
    one_load.chain([joins]).collect()
}

impl Panel<'_> {
    fn height(&self) -> i32 {
        let bars = i32::try_from(self.bars.len()).unwrap_or_default();
        HEAD_HEIGHT + bars * (BAR_HEIGHT + BAR_GAP) + BAR_GAP
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
        let Self { head, bars } = self;
        let most = bars
            .iter()
            .map(|(_, cost)| cost.max())
            .fold(f64::MIN_POSITIVE, f64::max);
        let style = |size: i32, color: RGBColor, horizontal| {
            (FONT, size)
                .into_font()
                .color(&color)
                .pos(Pos::new(horizontal, VPos::Center))
        };
        area.draw(&Text::new(
            head.as_str(),
            (10, HEAD_HEIGHT / 2),
            style(15, INK, HPos::Left),
        ))?;
        let width = f64::from(i32::try_from(PANEL_WIDTH)? - NAMES_WIDTH - VALUES_WIDTH);
        #[expect(clippy::cast_possible_truncation, reason = "a place in the panel, at most its width")]
        let x = |value: f64| NAMES_WIDTH + (value / most * width).round() as i32;
        let mut top = HEAD_HEIGHT;
        for (name, cost) in bars {
            let (middle, bottom) = (top + BAR_HEIGHT / 2, top + BAR_HEIGHT);
            let color = if cost.contender.is_talkback() { TALKBACK } else { OTHERS };
            area.draw(&Text::new(
                name.as_str(),
                (NAMES_WIDTH - 8, middle),
                style(13, INK, HPos::Right),
            ))?;
            area.draw(&Rectangle::new(
                [(NAMES_WIDTH, top), (x(cost.median()), bottom)],
                color.filled(),
            ))?;
            area.draw(&PathElement::new(
                [(x(cost.min()), middle), (x(cost.max()), middle)],
                INK,
            ))?;
            for end in [cost.min(), cost.max()] {
                area.draw(&PathElement::new([(x(end), middle - 3), (x(end), middle + 3)], INK))?;
            }
            let value = format!("{:.2}", cost.median());
            area.draw(&Text::new(
                value,
                (x(cost.max()) + 6, middle),
                style(13, INK, HPos::Left),
            ))?;
            top = bottom + BAR_GAP;
        }
        Ok(())
    }
}
