//! Horizontal bars with error bars, the label above and the value behind each.

use super::{COLOURS, Scale, WIDTH, figure, p};
use maud::{Markup, html};

pub struct Bar {
    pub label: String,
    pub value: f64,
    /// The value with its unit, as it is shown.
    pub text: String,
    /// The ends of the error bar.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub colour: usize,
    /// Drawn lighter: a lower precision of the device of the same colour.
    pub light: bool,
    /// A word of warning behind the value.
    pub warning: Option<&'static str>,
    /// What a pointer that rests on it is told.
    pub title: String,
}

const ROW: f64 = 31.0;
const LEFT: f64 = 2.0;
/// Room for the value behind the longest bar.
const BEHIND: f64 = 78.0;

/// The bars of one quantity.
pub fn bars(name: &str, bars: &[Bar]) -> Markup {
    let largest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let reach = bars.iter().filter_map(|bar| bar.high).fold(largest, f64::max);
    // A few runs that took many times as long don't shrink everything else.
    let end = reach.min(largest * 1.3);
    let x = Scale::linear(end, LEFT, WIDTH - BEHIND);
    let bottom = bars.len() as f64 * ROW + 4.0;
    figure(
        name,
        bottom + 16.0,
        html! {
            @for (place, label) in x.ticks() {
                line class="grid" x1=(p(place)) x2=(p(place)) y1="0" y2=(p(bottom)) {}
                text class="tick" x=(p(place)) y=(p(bottom + 12.0)) text-anchor=(if place < 6.0 { "start" } else { "middle" }) { (label) }
            }
            @for (index, bar) in bars.iter().enumerate() { (row(bar, index as f64 * ROW, &x, end)) }
        },
    )
}

fn row(bar: &Bar, top: f64, x: &Scale, end: f64) -> Markup {
    let (middle, to) = (top + 21.0, x.at(bar.value));
    let high = bar.high.map(|high| x.at(high));
    let behind = high.map_or(to, |high| high.max(to)) + 6.0;
    let class = format!("bar c{}{}", bar.colour % COLOURS, if bar.light { " light" } else { "" });
    html! {
        g {
            title { (bar.title) }
            text class="label" x=(p(LEFT)) y=(p(top + 11.0)) { (super::super::units::shortened(&bar.label, 54)) }
            rect class=(class) x=(p(LEFT)) y=(p(middle - 6.0)) width=(p((to - LEFT).max(1.0))) height="12" rx="1.5" {}
            @if let (Some(low), Some(high)) = (bar.low.map(|low| x.at(low)), high) {
                line class="whisker" x1=(p(low)) x2=(p(high)) y1=(p(middle)) y2=(p(middle)) {}
                line class="whisker" x1=(p(low)) x2=(p(low)) y1=(p(middle - 3.5)) y2=(p(middle + 3.5)) {}
                @if bar.high.is_some_and(|high| high > end) {
                    // It goes on.
                    path class="whisker" d=(format!("M{} {}l4 3.5l-4 3.5", p(high - 4.0), p(middle - 3.5))) {}
                } @else {
                    line class="whisker" x1=(p(high)) x2=(p(high)) y1=(p(middle - 3.5)) y2=(p(middle + 3.5)) {}
                }
            }
            text class="value" x=(p(behind)) y=(p(middle + 4.0)) {
                (bar.text)
                @if let Some(warning) = bar.warning { tspan class="warning" { " " (warning) } }
            }
        }
    }
}
