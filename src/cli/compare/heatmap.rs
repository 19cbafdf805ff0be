//! `--heatmap`: where in an output the error is, as a picture.

use image::{Rgb, RgbImage};
use sardonyx::compare::Compared;
use sardonyx::error::{Error, Result};
use sardonyx::onnx;
use sardonyx::replace::write_whole;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// The longest side of a map; larger outputs are drawn with the largest error of each square of elements.
const MOST: usize = 2048;
/// The shortest side of a picture that is enlarged no more.
const LEAST: usize = 256;

/// Writes a map of each output whose last two axes are longer than 1; returns the files. The error of the
/// other axes is the largest along them. Black is no error, and the colour goes over purple, red and yellow to
/// white, at the tolerance and beyond, by the logarithm of error / tolerance from 10⁻⁴ on.
pub fn write(folder: &Path, sample: &str, outputs: &[Compared]) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(|problem| {
        Error::file(folder, format!("can't be made: {problem}")).remedy("check the path").caused_by(problem)
    })?;
    let mut files = vec![];
    for output in outputs {
        let Some((picture, _)) = picture(output)? else { continue };
        let mut bytes = Cursor::new(vec![]);
        picture
            .write_to(&mut bytes, image::ImageFormat::Png)
            .map_err(|problem| Error::internal(format!("a picture could not be made: {problem}")))?;
        let stem = onnx::file_name(&format!("{sample}.{}", output.name));
        let file = folder.join(format!("{stem}.png"));
        write_whole(&file, bytes.get_ref())?;
        files.push(file);
    }
    Ok(files)
}

/// The map of an output, and the largest error against its tolerance; `None` where the shape allows none.
fn picture(output: &Compared) -> Result<Option<(RgbImage, f64)>> {
    let shape = output.got.shape();
    let &[.., height, width] = shape else { return Ok(None) };
    if height < 2 || width < 2 {
        return Ok(None);
    }
    // Squares of elements for what is too large, squares of pixels for what is small.
    let step = height.max(width).div_ceil(MOST);
    let zoom = (LEAST / height.max(width)).max(1);
    let (rows, columns) = (height.div_ceil(step), width.div_ceil(step));
    let (got, want) = (output.got.to_f64s()?, output.want.to_f64s()?);
    let mut worst = vec![0f64; rows * columns];
    for (at, (x, y)) in got.iter().zip(&want).enumerate() {
        let off = if super::metrics::same(*x, *y) { 0.0 } else { (x - y).abs() };
        let limit = output.limits.get(at).copied().unwrap_or(0.0);
        let share = match off {
            0.0 => 0.0,
            off if off.is_nan() => f64::INFINITY,
            off => off / limit,
        };
        let (row, column) = (at / width % height / step, at % width / step);
        let place = &mut worst[row * columns + column];
        *place = place.max(share);
    }
    let most = worst.iter().copied().fold(0.0, f64::max);
    let picture = RgbImage::from_fn((columns * zoom) as u32, (rows * zoom) as u32, |x, y| {
        colour(worst[y as usize / zoom * columns + x as usize / zoom])
    });
    Ok(Some((picture, most)))
}

/// From 10⁻⁴ of the tolerance to all of it.
fn colour(share: f64) -> Rgb<u8> {
    if share <= 0.0 {
        return Rgb([0, 0, 0]);
    }
    let level = (share.log10() / 4.0 + 1.0).clamp(0.05, 1.0);
    let stops = [[0.0, 0.0, 0.0], [90.0, 20.0, 140.0], [220.0, 40.0, 40.0], [250.0, 210.0, 60.0], [255.0; 3]];
    let place = level * (stops.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = stops[(below + 1).min(stops.len() - 1)];
    Rgb(std::array::from_fn(|k| (stops[below][k] * (1.0 - part) + above[k] * part).round() as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sardonyx::Tensor;

    fn output(shape: &[usize], wrong: usize) -> Compared {
        let count = shape.iter().product();
        let mut elements = vec![0f32; count];
        elements[wrong] = 1.0;
        let got = Tensor::new(shape, elements).unwrap();
        let want = Tensor::new(shape, vec![0f32; count]).unwrap();
        Compared { name: "y".into(), got, want, limits: vec![0.5; count] }
    }

    #[test]
    fn the_wrong_element_is_where_it_is() {
        // [batch 2, channels 3, 4, 8]: row 2, column 5 of the last channel.
        let (map, most) = picture(&output(&[2, 3, 4, 8], 5 * 32 + 2 * 8 + 5)).unwrap().unwrap();
        assert_eq!((map.dimensions(), most), ((256, 128), 2.0));
        assert_eq!(map.get_pixel(5 * 32, 2 * 32), &Rgb([255, 255, 255]));
        assert_eq!(map.get_pixel(4 * 32, 2 * 32), &Rgb([0, 0, 0]));
        assert!(
            picture(&output(&[10], 3)).unwrap().is_none() && picture(&output(&[5, 1], 3)).unwrap().is_none()
        );
    }

    #[test]
    fn large_outputs_are_drawn_by_squares() {
        let (map, most) = picture(&output(&[3, 5000], 4999)).unwrap().unwrap();
        assert_eq!((map.dimensions(), most), ((1667, 1), 2.0));
        assert_eq!(map.get_pixel(1666, 0), &Rgb([255, 255, 255]));
    }

    #[test]
    fn colours_grow_lighter() {
        let sum = |share: f64| colour(share).0.iter().map(|&x| u32::from(x)).sum::<u32>();
        let sums = [0.0, 1e-5, 1e-3, 1e-2, 0.1, 1.0, f64::INFINITY].map(sum);
        assert!(sums.is_sorted() && sums[0] == 0 && sums[6] == 765, "{sums:?}");
    }
}
