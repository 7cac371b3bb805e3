//! The pictures of docs/: panels of horizontal bars, as SVG.

use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

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

/// Bars of one unit, below a head. The longest has the width of the panel.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is measured, and in which unit.
    pub head: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// To the left of it.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The smallest and the largest measured value, drawn as a whisker; `None` for a value that was measured once.
    pub range: Option<(f64, f64)>,
    /// The value as text, to the right of it.
    pub text: String,
    /// Whether it is Talkback's, which has a colour of its own.
    pub is_talkback: bool,
}

/// The panels in rows of so many columns, as SVG.
///
/// # Errors
/// When drawing fails.
pub fn svg(panels: &[Panel], columns: usize) -> Result<String> {
    let rows: Vec<_> = panels.chunks(columns).collect();
    let heights: Vec<_> = rows.iter().map(|row| row.iter().map(Panel::height).max()).collect();
    let total: i32 = heights.iter().flatten().sum();
    let mut text = String::new();
    {
        let width = PANEL_WIDTH * u32::try_from(columns)?;
        let root = SVGBackend::with_string(&mut text, (width, u32::try_from(total)?)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut rest = root;
        for (row, height) in rows.iter().zip(heights.into_iter().flatten()) {
            let (line, below) = rest.split_vertically(height);
            for (area, panel) in line.split_evenly((1, columns)).iter().zip(row.iter()) {
                panel.draw(area)?;
            }
            rest = below;
        }
        rest.present()?;
    }
    Ok(text)
}

impl Bar {
    fn max(&self) -> f64 {
        self.range.map_or(self.value, |(_, max)| max)
    }
}

impl Panel {
    fn height(&self) -> i32 {
        let bars = i32::try_from(self.bars.len()).unwrap_or_default();
        HEAD_HEIGHT + bars * (BAR_HEIGHT + BAR_GAP) + BAR_GAP
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
        let Self { head, bars } = self;
        let most = bars.iter().map(Bar::max).fold(f64::MIN_POSITIVE, f64::max);
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
        for bar in bars {
            let (middle, bottom) = (top + BAR_HEIGHT / 2, top + BAR_HEIGHT);
            let color = if bar.is_talkback { TALKBACK } else { OTHERS };
            area.draw(&Text::new(
                bar.name.as_str(),
                (NAMES_WIDTH - 8, middle),
                style(13, INK, HPos::Right),
            ))?;
            area.draw(&Rectangle::new(
                [(NAMES_WIDTH, top), (x(bar.value), bottom)],
                color.filled(),
            ))?;
            if let Some((min, max)) = bar.range {
                area.draw(&PathElement::new([(x(min), middle), (x(max), middle)], INK))?;
                for end in [min, max] {
                    area.draw(&PathElement::new([(x(end), middle - 3), (x(end), middle + 3)], INK))?;
                }
            }
            area.draw(&Text::new(
                bar.text.as_str(),
                (x(bar.max()) + 6, middle),
                style(13, INK, HPos::Left),
            ))?;
            top = bottom + BAR_GAP;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_has_its_name_and_its_value_and_the_picture_is_as_high_as_its_rows() {
        let bar = |name: &str, value: f64, range| Bar {
            name: name.to_owned(),
            value,
            range,
            text: format!("{value:.1}"),
            is_talkback: false,
        };
        let panel = |bars| Panel {
            head: "bytes".to_owned(),
            bars,
        };
        let panels = [
            panel(vec![bar("one", 1.0, None)]),
            panel(vec![bar("two", 2.0, None), bar("three", 3.0, Some((2.5, 3.5)))]),
            panel(vec![bar("four", 4.0, None)]),
        ];
        let svg = svg(&panels, 2).unwrap();
        for text in ["one", "two", "three", "four", "1.0", "2.0", "3.0", "4.0"] {
            assert!(svg.contains(&format!("{text}\n</text>")), "no {text} in {svg}");
        }
        let height = panels[1].height() + panels[2].height();
        assert!(
            svg.starts_with(&format!(r#"<svg width="{}" height="{height}""#, 2 * PANEL_WIDTH)),
            "{svg}"
        );
    }
}
