//! Kernels under what the adapter can do: arithmetic over the arithmetic for each byte.

use super::{Scale, WIDTH, axes, figure, marker, p};
use maud::{Markup, html};

/// A step of a plan.
pub struct Spot {
    /// FLOP a byte.
    pub intensity: f64,
    pub gflops: f64,
    /// The share of the time of all steps drawn, which the marker's area goes by.
    pub share: f64,
    /// The group, by colour and form.
    pub index: usize,
    pub title: String,
}

const FRAME: [f64; 4] = [46.0, 22.0, WIDTH - 12.0, 222.0];

/// The spots, and the roof where the peaks are known: GFLOP/s and GB/s.
pub fn roofline(name: &str, peaks: Option<(f64, f64)>, spots: &[Spot]) -> Markup {
    let [left, top, right, bottom] = FRAME;
    let ridge = peaks.map(|(gflops, bandwidth)| gflops / bandwidth);
    let x = Scale::decades(spots.iter().map(|spot| spot.intensity).chain(ridge), left, right);
    let roof = peaks.map(|(gflops, _)| gflops);
    let y = Scale::decades(spots.iter().map(|spot| spot.gflops).chain(roof), bottom, top);
    figure(
        name,
        bottom + 34.0,
        html! {
            (axes(&x, &y, FRAME, ["FLOP per byte", "GFLOP/s"]))
            @if let Some((gflops, bandwidth)) = peaks { (lines(&x, &y, gflops, bandwidth)) }
            @for spot in spots {
                @let r = 2.5 + 9.0 * spot.share.clamp(0.0, 1.0).sqrt();
                (marker(spot.index, x.at(spot.intensity), y.at(spot.gflops), r, "point spot", &spot.title))
            }
        },
    )
}

/// The slope of the memory, from where it enters the frame, and the flat of the arithmetic.
fn lines(x: &Scale, y: &Scale, gflops: f64, bandwidth: f64) -> Markup {
    let (low, high) = x.ends();
    let ridge = gflops / bandwidth;
    let enters = low.max(y.ends().0 / bandwidth);
    let place = |intensity: f64, rate: f64| format!("{} {}", p(x.at(intensity)), p(y.at(rate)));
    let path =
        format!("M{}L{}L{}", place(enters, enters * bandwidth), place(ridge, gflops), place(high, gflops));
    html! { path class="roof" d=(path) {} }
}
