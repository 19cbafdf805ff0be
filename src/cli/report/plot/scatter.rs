//! Points over two logarithmic axes.

use super::{Scale, WIDTH, axes, figure, marker, p};
use maud::{Markup, html};

pub struct Point {
    pub x: f64,
    /// 0 stands at the foot of the plot.
    pub y: f64,
    /// The device, by colour and form.
    pub index: usize,
    /// Drawn as an outline.
    pub hollow: bool,
    /// Crossed out.
    pub crossed: bool,
    pub title: String,
}

const FRAME: [f64; 4] = [46.0, 22.0, WIDTH - 12.0, 222.0];

/// The points, with the names of the axes.
pub fn scatter(name: &str, names: [&str; 2], points: &[Point]) -> Markup {
    let [left, top, right, bottom] = FRAME;
    let x = Scale::decades(points.iter().map(|point| point.x), left, right);
    let zero = points.iter().any(|point| point.y == 0.0);
    let foot = if zero { bottom - 22.0 } else { bottom };
    let y = Scale::decades(points.iter().map(|point| point.y), foot, top);
    let one = x.ends();
    figure(
        name,
        bottom + 34.0,
        html! {
            (axes(&x, &y, FRAME, names))
            @if one.0 <= 1.0 && one.1 >= 1.0 {
                line class="reference" x1=(p(x.at(1.0))) x2=(p(x.at(1.0))) y1=(p(top)) y2=(p(bottom)) {}
            }
            @if zero { text class="tick" x=(p(left - 5.0)) y=(p(bottom - 1.0)) text-anchor="end" { "0" } }
            @for point in points {
                @let (at, height) = (x.at(point.x), if point.y == 0.0 { bottom - 4.0 } else { y.at(point.y) });
                (marker(point.index, at, height, 4.5, if point.hollow { "point hollow" } else { "point" }, &point.title))
                @if point.crossed {
                    path class="cross" d=(format!("M{} {}l14 14m0 -14l-14 14", p(at - 7.0), p(height - 7.0))) {}
                }
            }
        },
    )
}
