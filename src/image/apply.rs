//! A picture made into an input tensor.

use super::picture::{MAX_SIDE, Picture};
use super::preprocess::{Channels, Crop, Layout, Preprocess, Resize};
use super::resize::resize;
use crate::error::{Error, Result, Setting};
use crate::tensor::{Tensor, allocate, element_count, zeros};

/// The most pixels of a picture on its way to a model.
const MAX_PIXELS: usize = 1 << 27;

/// 8-bit levels with interleaved channels.
struct Levels {
    size: [usize; 2],
    planes: usize,
    values: Vec<u8>,
}

/// What a model's input asks of a picture.
struct Wanted {
    channels: Channels,
    layout: Layout,
    /// `[width, height]`; `None` where the model takes any.
    size: [Option<usize>; 2],
}

impl Preprocess {
    /// The input of a model for one picture: float32, `[1, C, H, W]` or `[1, H, W, C]`.
    ///
    /// `shape` is the model's input as declared, `None` where a dimension is symbolic. Errors where that
    /// isn't a batch of pictures, contradicts the settings, or the picture would become too large.
    pub fn apply(&self, picture: &Picture, shape: &[Option<usize>]) -> Result<Tensor> {
        let wanted = self.wanted(shape)?;
        let (planes, values) = match wanted.channels {
            Channels::Gray => (1, picture.luma()?),
            Channels::Rgb | Channels::Bgr => (3, picture.rgb().to_vec()),
        };
        let whole = Levels { size: [picture.width(), picture.height()], planes, values };
        let framed = self.frame(whole, wanted.size)?;
        let [width, height] = framed.size;
        if wanted.size.iter().zip(framed.size).any(|(wanted, is)| wanted.is_some_and(|wanted| wanted != is)) {
            return Err(Error::input(format!(
                "the picture comes to {width}x{height} pixels, which the model doesn't take"
            ))
            .remedy("use crop = \"center\""));
        }
        self.values(&framed, &wanted)
    }

    fn wanted(&self, shape: &[Option<usize>]) -> Result<Wanted> {
        let &[batch, a, b, c] = shape else {
            return Err(Error::input(format!(
                "the model's input has {} dimensions; one of pictures has 4",
                shape.len()
            ))
            .remedy("give this model arrays instead"));
        };
        if batch.is_some_and(|batch| batch != 1) {
            let message = format!("the model takes {} pictures at a time", batch.unwrap_or(0));
            return Err(Error::input(message).remedy("export it with a batch of 1 or a symbolic one"));
        }
        let channel_like = |size: Option<usize>| matches!(size, Some(1 | 3));
        let layout = self.layout.unwrap_or(if channel_like(c) && !channel_like(a) {
            Layout::Nhwc
        } else {
            Layout::Nchw
        });
        let (count, height, width) = match layout {
            Layout::Nchw => (a, b, c),
            Layout::Nhwc => (c, a, b),
        };
        let channels = self.channels.unwrap_or(if count == Some(1) { Channels::Gray } else { Channels::Rgb });
        if count.is_some_and(|count| count != channels.count()) {
            let message = format!(
                "the model's input has {} channels, the picture {}",
                count.unwrap_or(0),
                channels.count()
            );
            return Err(Error::input(message)
                .remedy("set 'channels' and 'layout' in the sidecar to what the model takes"));
        }
        let size = [width, height];
        if size.iter().flatten().any(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(Error::input(format!(
                "the model takes pictures with a side outside 1 to {MAX_SIDE} pixels"
            ))
            .remedy("set 'layout' if it was guessed wrongly"));
        }
        Ok(Wanted { channels, layout, size })
    }

    /// Resizes, crops and pads to the model's size, else the settings'; a picture whose size nobody asks for
    /// stays as it is.
    fn frame(&self, whole: Levels, model: [Option<usize>; 2]) -> Result<Levels> {
        let [width, height] = whole.size;
        if model == [None; 2] && self.size.is_none() {
            return Ok(whole);
        }
        let [wide, high] = self.size.unwrap_or(whole.size);
        let size = [model[0].unwrap_or(wide), model[1].unwrap_or(high)];
        // The crop is cut from this.
        let outer = size.map(|side| (side as f64 / self.crop_fraction).round());
        let [wide, high] = [outer[0] / width as f64, outer[1] / height as f64];
        // The side that doesn't bind is truncated, as torchvision's Resize does; a letterbox rounds to even,
        // as YOLO's does.
        let to = match self.resize {
            Resize::Stretch => outer,
            Resize::Shorter if wide > high => [outer[0], (outer[0] * height as f64 / width as f64).trunc()],
            Resize::Shorter => [(outer[1] * width as f64 / height as f64).trunc(), outer[1]],
            Resize::Letterbox => {
                let ratio = (size[0] as f64 / width as f64).min(size[1] as f64 / height as f64);
                [width as f64 * ratio, height as f64 * ratio].map(f64::round_ties_even)
            }
        };
        let to = to.map(|side| side.max(1.0) as usize);
        // The widest of what the two passes hold.
        if [to[0].saturating_mul(height), to[0].saturating_mul(to[1])]
            .iter()
            .any(|&pixels| pixels > MAX_PIXELS)
        {
            let message =
                format!("a picture of {width}x{height} pixels would become one of {}x{}", to[0], to[1]);
            return Err(Error::memory(message)
                .remedy("give one of more usual proportions, or use resize = \"stretch\""));
        }
        let planes = whole.planes;
        let resized =
            Levels { size: to, planes, values: resize(whole.values, planes, whole.size, to, self.filter)? };
        match (self.resize, self.crop) {
            (Resize::Letterbox, _) => {
                let corner = [0, 1].map(|axis| -((size[axis].saturating_sub(to[axis]) / 2) as i64));
                window(&resized, corner, size, self.pad)
            }
            (_, Crop::Center) => {
                let corner =
                    [0, 1].map(|axis| ((to[axis] as f64 - size[axis] as f64) / 2.0).round_ties_even() as i64);
                window(&resized, corner, size, 0)
            }
            (_, Crop::None) => Ok(resized),
        }
    }

    /// Levels to numbers, channels in the model's order.
    fn values(&self, framed: &Levels, wanted: &Wanted) -> Result<Tensor> {
        let ([width, height], planes) = (framed.size, framed.planes);
        let mut tables: Vec<Vec<f32>> = vec![];
        for plane in 0..planes {
            let of = |values: &[f64]| {
                let found = if values.len() == 1 {
                    values.first()
                } else {
                    values.get(plane).filter(|_| values.len() == planes)
                };
                found.copied().ok_or_else(|| {
                    Error::input(format!("{} values of mean or std for {planes} channels", values.len()))
                        .remedy_by("name a fitting {}", &[Setting::Preset])
                })
            };
            let (mean, std) = (of(&self.mean)?, of(&self.std)?);
            tables.push((0..256).map(|level| ((level as f64 * self.scale - mean) / std) as f32).collect());
        }
        let shape = match wanted.layout {
            Layout::Nchw => [1, planes, height, width],
            Layout::Nhwc => [1, height, width, planes],
        };
        let pixels = width.saturating_mul(height);
        let mut values = allocate(element_count(&shape)?)?;
        let mut push = |pixel: usize, plane: usize| -> Result<()> {
            let from = if wanted.channels == Channels::Bgr { planes - 1 - plane } else { plane };
            let level = framed.values.get(pixel * planes + from);
            let value = level.and_then(|&level| tables.get(plane)?.get(level as usize));
            values.push(*value.ok_or_else(|| Error::internal("a pixel outside the picture was asked for"))?);
            Ok(())
        };
        match wanted.layout {
            Layout::Nchw => {
                (0..planes).try_for_each(|plane| (0..pixels).try_for_each(|pixel| push(pixel, plane)))?
            }
            Layout::Nhwc => {
                (0..pixels).try_for_each(|pixel| (0..planes).try_for_each(|plane| push(pixel, plane)))?
            }
        }
        Tensor::new(shape, values)
    }
}

/// The part of `size` whose top left corner lies at `corner` (x, y), which may be outside; `fill` is what
/// lies there.
fn window(from: &Levels, corner: [i64; 2], size: [usize; 2], fill: u8) -> Result<Levels> {
    let planes = from.planes;
    let row = size[0].saturating_mul(planes);
    let mut values: Vec<u8> = zeros(row.saturating_mul(size[1]))?;
    values.fill(fill);
    // Columns that both have.
    let first = corner[0].max(0);
    let end = (corner[0] + size[0] as i64).min(from.size[0] as i64);
    for (y, target) in values.chunks_exact_mut(row.max(1)).enumerate() {
        let source = y as i64 + corner[1];
        if !(0..from.size[1] as i64).contains(&source) || first >= end {
            continue;
        }
        let start = (source as usize * from.size[0] + first as usize) * planes;
        let length = (end - first) as usize * planes;
        let at = (first - corner[0]) as usize * planes;
        let (Some(target), Some(source)) =
            (target.get_mut(at..at + length), from.values.get(start..start + length))
        else {
            return Err(Error::internal("a crop reaches outside the picture"));
        };
        target.copy_from_slice(source);
    }
    Ok(Levels { size, planes, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Filter, golden};

    fn picture() -> Picture {
        let (shape, pixels) = golden::<u8>("picture");
        Picture::from_rgb(shape[1], shape[0], pixels).unwrap()
    }

    #[test]
    fn imagenet_is_torchvisions() {
        let (shape, wanted) = golden::<f32>("imagenet_28");
        let found = Preprocess::preset("imagenet")
            .unwrap()
            .apply(&picture(), &[None, Some(3), Some(28), Some(28)])
            .unwrap();
        assert_eq!(found.shape(), shape);
        for (found, wanted) in found.as_slice::<f32>().unwrap().iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
        }
    }

    #[test]
    fn channels_and_layouts() {
        let two = Picture::from_rgb(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let raw = Preprocess::preset("raw255").unwrap();
        let values = |with: &Preprocess, shape: [Option<usize>; 4]| {
            with.apply(&two, &shape).unwrap().as_slice::<f32>().unwrap().to_vec()
        };
        assert_eq!(values(&raw, [Some(1), Some(3), Some(1), Some(2)]), [1., 4., 2., 5., 3., 6.]);
        let nhwc = Preprocess { layout: Some(Layout::Nhwc), ..raw.clone() };
        assert_eq!(values(&nhwc, [None, Some(1), Some(2), Some(3)]), [1., 2., 3., 4., 5., 6.]);
        assert_eq!(
            values(&raw, [None, None, Some(2), Some(3)]),
            [1., 2., 3., 4., 5., 6.],
            "told by the shape"
        );
        let bgr = Preprocess {
            channels: Some(Channels::Bgr),
            mean: vec![1., 0., 0.],
            std: vec![1., 1., 2.],
            ..nhwc
        };
        assert_eq!(values(&bgr, [None, Some(1), Some(2), Some(3)]), [2., 2., 0.5, 5., 5., 2.]);
        assert!(
            Preprocess::preset("imagenet").unwrap().apply(&two, &[None, Some(1), None, None]).is_err(),
            "three means, one channel"
        );
    }

    #[test]
    fn letterbox_centres_and_pads() {
        let settings = Preprocess {
            resize: Resize::Letterbox,
            scale: 1.0,
            filter: Filter::Nearest,
            pad: 9,
            ..Preprocess::default()
        };
        let wide = Picture::from_rgb(2, 1, vec![200; 6]).unwrap();
        let found = settings.apply(&wide, &[None, Some(3), Some(4), Some(4)]).unwrap();
        let rows: Vec<f32> = found.as_slice::<f32>().unwrap()[..16].iter().step_by(4).copied().collect();
        assert_eq!(rows, [9.0, 200.0, 200.0, 9.0]);
    }

    #[test]
    fn sizes_come_from_the_model_the_settings_or_the_picture() {
        let any = [None, Some(3), None, None];
        let unit = Preprocess::preset("unit").unwrap();
        assert_eq!(unit.apply(&picture(), &any).unwrap().shape(), [1, 3, 34, 47]);
        assert_eq!(
            Preprocess::preset("imagenet").unwrap().apply(&picture(), &any).unwrap().shape(),
            [1, 3, 224, 224]
        );
        let sized = Preprocess { size: Some([5, 4]), ..unit.clone() };
        assert_eq!(sized.apply(&picture(), &any).unwrap().shape(), [1, 3, 4, 5]);
        assert_eq!(sized.apply(&picture(), &[None, Some(3), Some(6), None]).unwrap().shape(), [1, 3, 6, 5]);
        let whole = Preprocess { resize: Resize::Shorter, crop: Crop::None, size: Some([4, 4]), ..unit };
        assert_eq!(whole.apply(&picture(), &any).unwrap().shape(), [1, 3, 4, 5], "47 x 34");
        let error = whole.apply(&picture(), &[None, Some(3), Some(4), Some(4)]).unwrap_err().to_string();
        assert!(error.contains("5x4") && error.contains("crop = \"center\""), "{error}");
    }

    #[test]
    fn inputs_that_take_no_picture_are_errors() {
        let imagenet = Preprocess::preset("imagenet").unwrap();
        let huge = usize::MAX / 2;
        for shape in [
            &[None, Some(10)][..],
            &[Some(2), Some(3), None, None],
            &[None, Some(4), Some(8), Some(8)],
            &[None, Some(1), Some(8), Some(8)],
            &[None, Some(3), Some(huge), Some(0)],
            &[],
        ] {
            assert!(imagenet.apply(&picture(), shape).is_err(), "{shape:?}");
        }
        let thin = Picture::from_rgb(1, 16_384, vec![0; 3 * 16_384]).unwrap();
        assert!(
            imagenet
                .apply(&thin, &[None, Some(3), Some(224), Some(224)])
                .unwrap_err()
                .to_string()
                .contains("proportions")
        );
    }
}
