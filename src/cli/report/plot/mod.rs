//! Plots as inline SVG. All are 320 units wide, so that their text is readable on a phone at full width, and
//! stand beside each other where there is room. Colours are classes, which the page's style gives for light
//! and dark; where a colour tells something, a label or a marker's form tells it too.

pub mod bars;
pub mod roofline;
pub mod scatter;
pub mod stacked;

use super::units::{decade, significant};
use maud::{Markup, html};

/// Units across.
pub const WIDTH: f64 = 320.0;
/// Colours that there are; what has a higher number begins again, and has another marker.
pub const COLOURS: usize = 8;

/// An axis: from values to places.
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    /// From 0 to the high value.
    pub fn linear(high: f64, from: f64, to: f64) -> Self {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
        Self { low: 0.0, high, from, to, logarithmic: false }
    }
    /// Whole decades around the values, at least one.
    pub fn decades(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let logs = values.filter(|value| value.is_finite() && *value > 0.0).map(f64::log10);
        let (low, high) =
            logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), log| (low.min(log), high.max(log)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let (low, high) = ((low - 0.05).floor(), (high + 0.05).ceil());
        Self { low, high: high.max(low + 1.0), from, to, logarithmic: true }
    }
    pub fn at(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(1e-300).log10() } else { value };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }
    /// The smallest and the largest value.
    pub fn ends(&self) -> (f64, f64) {
        if self.logarithmic { (10f64.powf(self.low), 10f64.powf(self.high)) } else { (self.low, self.high) }
    }
    /// Places with labels, some four of them.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            let (low, high) = (self.low as i32, self.high as i32);
            let step = ((high - low) / 5 + 1).max(1);
            return (low..=high)
                .step_by(step as usize)
                .map(|exponent| (self.at(10f64.powi(exponent)), decade(exponent)))
                .collect();
        }
        let rough = self.high / 4.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|factor| factor * unit).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let places = (0..=4).map(|index| index as f64 * step).filter(|value| *value <= self.high * 1.001);
        let digits = |value: f64| if value == 0.0 { "0".into() } else { trimmed(significant(value, 2)) };
        places.map(|value| (self.at(value), digits(value))).collect()
    }
}

/// `2.0` is `2`.
fn trimmed(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// A plot of a height with its name for who can't see it.
pub fn figure(name: &str, height: f64, content: Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height:.0}")) role="img" aria-label=(name) { (content) }
    }
}

/// A number as a place: a tenth of a unit is fine enough.
pub fn p(value: f64) -> String {
    format!("{value:.1}")
}

/// A marker around a place, whose form goes with the number.
pub fn marker(index: usize, x: f64, y: f64, r: f64, class: &str, title: &str) -> Markup {
    let polygon = |corners: &[(f64, f64)]| {
        let point = |(dx, dy): &(f64, f64)| format!("{},{}", p(x + dx * r), p(y + dy * r));
        corners.iter().map(point).collect::<Vec<_>>().join(" ")
    };
    let class = format!("{class} c{}", index % COLOURS);
    let corners: &[(f64, f64)] = match index % 6 {
        0 => return html! { circle class=(class) cx=(p(x)) cy=(p(y)) r=(p(r)) { title { (title) } } },
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
        3 => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        4 => &[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)],
        _ => &[(-1.1, -0.5), (0.0, -1.2), (1.1, -0.5), (0.7, 0.9), (-0.7, 0.9)],
    };
    html! { polygon class=(class) points=(polygon(corners)) { title { (title) } } }
}

/// A marker beside its name, for a legend.
pub fn key(index: usize, label: &str) -> Markup {
    html! {
        span.key {
            svg.mark viewBox="0 0 12 12" aria-hidden="true" { (marker(index, 6.0, 6.0, 4.0, "point", label)) }
            (label)
        }
    }
}

/// A frame with ticks on both axes and their names, for plots of points.
pub fn axes(x: &Scale, y: &Scale, frame: [f64; 4], names: [&str; 2]) -> Markup {
    let [left, top, right, bottom] = frame;
    html! {
        @for (place, label) in x.ticks() {
            line class="grid" x1=(p(place)) x2=(p(place)) y1=(p(top)) y2=(p(bottom)) {}
            text class="tick" x=(p(place)) y=(p(bottom + 13.0)) text-anchor="middle" { (label) }
        }
        @for (place, label) in y.ticks() {
            line class="grid" x1=(p(left)) x2=(p(right)) y1=(p(place)) y2=(p(place)) {}
            text class="tick" x=(p(left - 5.0)) y=(p(place + 3.5)) text-anchor="end" { (label) }
        }
        text class="axis" x=(p((left + right) / 2.0)) y=(p(bottom + 29.0)) text-anchor="middle" { (names[0]) }
        text class="axis" x=(p(left)) y=(p(top - 8.0)) { (names[1]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let labels = |scale: Scale| scale.ticks().into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(Scale::linear(7.3, 0.0, 100.0)), ["0", "2", "4", "6"]);
        assert_eq!(labels(Scale::linear(0.9, 0.0, 100.0)), ["0", "0.25", "0.5", "0.75"]);
        assert_eq!(
            labels(Scale::decades([2e-7, 5e-5].into_iter(), 0.0, 1.0)),
            ["10⁻⁷", "10⁻⁶", "10⁻⁵", "10⁻⁴"]
        );
        assert_eq!(labels(Scale::decades(std::iter::empty(), 0.0, 1.0)), ["0.1", "1", "10", "100"]);
        let wide = Scale::decades([1e-12, 1e12].into_iter(), 0.0, 1.0);
        assert!(labels(wide).len() <= 7);
        for odd in [f64::NAN, f64::INFINITY, 0.0, -1.0] {
            assert!(Scale::linear(odd, 0.0, 1.0).at(0.5).is_finite());
        }
    }
}
