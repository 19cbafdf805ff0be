//! Decoded pictures.

use super::{jpeg, jpeg2000};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::allocate;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use std::path::Path;

/// The longest side of a picture that is read, and of one that is made, in pixels.
pub(super) const MAX_SIDE: usize = 16_384;
/// The most bytes that a decoded picture may take.
pub(super) const MAX_BYTES: u64 = 512 << 20;

/// An 8-bit RGB picture: rows from the top, pixels from the left, red first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// A picture of `width` x `height` pixels over interleaved RGB bytes.
    ///
    /// Errors where their number doesn't fit the size, or a side is 0 or longer than 16,384 pixels.
    pub fn from_rgb(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(Error::input(format!("a picture of {width}x{height} pixels is empty or too large"))
                .remedy("give one with sides of 1 to 16384 pixels"));
        }
        if pixels.len() != width * height * 3 {
            return Err(Error::input(format!(
                "{} bytes don't fill an RGB picture of {width}x{height} pixels",
                pixels.len()
            )));
        }
        Ok(Self { width, height, pixels })
    }
    /// In pixels.
    pub fn width(&self) -> usize {
        self.width
    }
    /// In pixels.
    pub fn height(&self) -> usize {
        self.height
    }
    /// Interleaved RGB bytes, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.pixels
    }
    /// Luma by ITU-R 601-2, a byte a pixel, rounded as Pillow's `convert("L")` does; grey stays as it is.
    pub fn luma(&self) -> Result<Vec<u8>> {
        let mut all = allocate(self.width * self.height)?;
        all.extend(self.pixels.chunks_exact(3).map(|rgb| match rgb {
            &[r, g, b] => ((r as u32 * 19_595 + g as u32 * 38_470 + b as u32 * 7_471 + 0x8000) >> 16) as u8,
            _ => 0,
        }));
        Ok(all)
    }
}

/// Reads a PNG, JPEG, WebP, BMP, TIFF or PNM file; the content decides which, not the name.
///
/// The orientation that a camera noted (EXIF) is applied. Alpha is dropped, as by Pillow's `convert("RGB")`:
/// what lies under transparent pixels shows. 16-bit channels keep their high byte. Errors name the file.
pub fn load(path: impl AsRef<Path>) -> Result<Picture> {
    let path = path.as_ref();
    let unreadable = |problem: std::io::Error| {
        Error::file(path, format!("the picture cannot be read: {problem}"))
            .remedy("check the path and its permissions")
            .caused_by(problem)
    };
    let mut reader =
        ImageReader::open(path).map_err(unreadable)?.with_guessed_format().map_err(unreadable)?;
    reader.limits(limits());
    let read = if reader.format() == Some(image::ImageFormat::Jpeg) {
        std::fs::read(path).map_err(unreadable).and_then(|bytes| jpeg_oriented(&bytes, reader))
    } else {
        decode(reader, true)
    };
    read.map_err(|error| error.in_file(path))
}

/// A JPEG file's picture, as a camera noted its orientation. Those of a kind that [`jpeg`] leaves out (four
/// colours, for one) are decoded otherwise, to within a level or two.
fn jpeg_oriented<R: std::io::BufRead + std::io::Seek>(
    bytes: &[u8],
    reader: ImageReader<R>,
) -> Result<Picture> {
    let (width, height, pixels) = match jpeg::decode(bytes) {
        Err(error) if error.kind() == ErrorKind::Unsupported => return decode(reader, true),
        other => other?,
    };
    let oriented = reader.into_decoder().and_then(|mut decoder| decoder.orientation());
    let whole = || image::RgbImage::from_raw(width as u32, height as u32, pixels.clone());
    match oriented {
        Ok(orientation) if orientation != image::metadata::Orientation::NoTransforms => {
            let Some(picture) = whole() else { return Picture::from_rgb(width, height, pixels) };
            let mut picture = DynamicImage::from(picture);
            picture.apply_orientation(orientation);
            let picture = picture.into_rgb8();
            Picture::from_rgb(picture.width() as usize, picture.height() as usize, picture.into_raw())
        }
        _ => Picture::from_rgb(width, height, pixels),
    }
}

/// A picture from a file's bytes, without the orientation that a camera noted; `None` where they are no
/// picture that can be decoded. One that is too large is an error.
pub(crate) fn decoded(bytes: &[u8]) -> Result<Option<Picture>> {
    let picture = |(width, height, pixels)| Picture::from_rgb(width, height, pixels);
    let made = if bytes.starts_with(jpeg::MAGIC) {
        jpeg::decode(bytes).and_then(picture)
    } else if jpeg2000::is_one(bytes) {
        jpeg2000::decode(bytes).and_then(picture)
    } else {
        let Ok(mut reader) = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format() else {
            return Ok(None);
        };
        reader.limits(limits());
        decode(reader, false)
    };
    match made {
        Err(error) if error.kind() == ErrorKind::File => Ok(None),
        other => other.map(Some),
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    limits.max_alloc = Some(MAX_BYTES);
    limits
}

/// The errors don't know the file yet. `oriented`: the orientation that a camera noted is applied.
fn decode<R: std::io::BufRead + std::io::Seek>(reader: ImageReader<R>, oriented: bool) -> Result<Picture> {
    let problem = |problem: image::ImageError| {
        let (kind, message) = match problem {
            image::ImageError::Limits(limit) => {
                (ErrorKind::Memory, format!("the picture is too large: {limit}"))
            }
            other => (ErrorKind::File, format!("not a picture that can be decoded: {other}")),
        };
        Error::new(kind, message)
            .remedy("give a PNG, JPEG, WebP, BMP, TIFF or PNM file with sides up to 16384 pixels")
    };
    let mut decoder = reader.into_decoder().map_err(problem)?;
    if decoder.total_bytes() > MAX_BYTES {
        return Err(Error::memory(format!("the picture takes {} bytes when decoded", decoder.total_bytes()))
            .remedy("give one that takes 512 MiB at most"));
    }
    let orientation = decoder.orientation().map_err(problem)?;
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(problem)?;
    if oriented {
        decoded.apply_orientation(orientation);
    }
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let pixels = match decoded {
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        deep @ (DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_)) => {
            deep.into_rgb16().into_raw().into_iter().map(|level| (level >> 8) as u8).collect()
        }
        other => other.into_rgb8().into_raw(),
    };
    Picture::from_rgb(width, height, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_bytes(bytes: &[u8]) -> Result<Picture> {
        decode(ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().unwrap(), true)
    }

    fn png(picture: DynamicImage) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(vec![]);
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn alpha_is_dropped_and_16_bits_keep_the_high_byte() {
        let clear = image::RgbaImage::from_raw(1, 1, vec![10, 20, 30, 0]).unwrap();
        assert_eq!(from_bytes(&png(clear.into())).unwrap().rgb(), [10, 20, 30]);
        let deep =
            image::ImageBuffer::<image::Rgb<u16>, _>::from_raw(1, 1, vec![0x12ff, 0xffff, 0x0080]).unwrap();
        assert_eq!(from_bytes(&png(deep.into())).unwrap().rgb(), [0x12, 0xff, 0]);
        let gray = image::GrayImage::from_raw(2, 1, vec![7, 200]).unwrap();
        let gray = from_bytes(&png(gray.into())).unwrap();
        assert_eq!((gray.rgb(), gray.luma().unwrap()), (&[7, 7, 7, 200, 200, 200][..], vec![7, 200]));
    }

    #[test]
    fn luma_is_pillows() {
        let (shape, picture) = crate::image::golden::<u8>("picture");
        let picture = Picture::from_rgb(shape[1], shape[0], picture).unwrap();
        assert_eq!(picture.luma().unwrap(), crate::image::golden::<u8>("gray").1);
    }

    #[test]
    fn what_is_no_picture_is_an_error_naming_the_file() {
        let missing = load("no/such.png").unwrap_err().to_string();
        assert!(missing.starts_with("no/such.png: ") && missing.contains("check the path"), "{missing}");
        let script = load("models/digits/train.py").unwrap_err().to_string();
        assert!(script.starts_with("models/digits/train.py: ") && script.contains("PNG, JPEG"), "{script}");
        assert!(load("models/digits").is_err());
        let whole = std::fs::read("models/digits/7.png").unwrap();
        for length in [0, 1, 8, 20, whole.len() / 2] {
            assert!(from_bytes(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(Picture::from_rgb(0, 1, vec![]).is_err() && Picture::from_rgb(2, 1, vec![0; 5]).is_err());
    }
}
