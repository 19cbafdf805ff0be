//! Filters over a spectrum, spaced as the ear hears: Slaney's scale and norm (*Auditory Toolbox*, 1998),
//! linear below 1,000 Hz and logarithmic above, each triangle of area 1.

/// Mels of a frequency in Hz.
fn mels(hertz: f64) -> f64 {
    if hertz < 1000.0 { 3.0 * hertz / 200.0 } else { 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln() }
}

/// The frequency of mels.
fn hertz(mels: f64) -> f64 {
    if mels < 15.0 { 200.0 * mels / 3.0 } else { 1000.0 * (6.4f64.ln() / 27.0 * (mels - 15.0)).exp() }
}

/// `count` filters over the `bins` of a spectrum that ends at `nyquist` Hz, up to `top` Hz: a row for each.
pub(super) fn filters(count: usize, bins: usize, nyquist: f64, top: f64) -> Vec<Vec<f64>> {
    let step = (mels(top) - mels(0.0)) / (count as f64 + 1.0);
    let corner = |at: usize| hertz(mels(0.0) + step * at as f64);
    let frequency = |bin: usize| nyquist * bin as f64 / (bins.max(2) as f64 - 1.0);
    let filter = |at: usize| {
        let (low, middle, high) = (corner(at), corner(at + 1), corner(at + 2));
        let value = |bin: usize| {
            let f = frequency(bin);
            let height = ((f - low) / (middle - low)).min((high - f) / (high - middle)).max(0.0);
            height * 2.0 / (high - low)
        };
        (0..bins).map(value).collect()
    };
    (0..count).map(filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_slaneys() {
        assert_eq!((mels(0.0), mels(1000.0)), (0.0, 15.0));
        // A factor of 6.4 is 27 mels.
        assert!((mels(6400.0) - 42.0).abs() < 1e-12);
        for f in [30.0, 999.0, 1000.0, 4321.0] {
            assert!((hertz(mels(f)) - f).abs() < 1e-9, "{f}");
        }
    }
}
