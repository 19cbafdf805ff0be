//! JPEG 2000 (ISO/IEC 15444-1), grey and RGB of 8 bits a channel. Reversible transforms are exact; the others
//! are in floating point, where decoders may differ by a level.

use super::picture::{MAX_BYTES, MAX_SIDE};
use crate::error::{Error, ErrorKind, Result};
use hayro_jpeg2000::{ColorSpace, DecodeSettings, DecoderContext, Image};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the files begin with: in their container, and as a bare stream.
const MAGICS: [&[u8]; 2] = [b"\0\0\0\x0cjP  ", &[0xff, 0x4f, 0xff, 0x51]];

pub(super) fn is_one(file: &[u8]) -> bool {
    MAGICS.iter().any(|magic| file.starts_with(magic))
}

/// Decodes a whole file; alpha is dropped.
///
/// Errors: of kind `File` where it is broken, `Unsupported` where it is of a kind that isn't decoded, `Memory`
/// where it is too large.
pub(super) fn decode(file: &[u8]) -> Result<super::jpeg::Pixels> {
    // Whatever a broken file makes of the decoder, it ends in an error of the picture.
    catch_unwind(AssertUnwindSafe(|| decoded(file))).unwrap_or_else(|_| Err(broken("it contradicts itself")))
}

fn broken(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::File, format!("not a picture that can be decoded: JPEG 2000, {why}"))
        .remedy("give a whole file")
}

fn decoded(file: &[u8]) -> Result<super::jpeg::Pixels> {
    let settings = DecodeSettings { strict: true, ..DecodeSettings::default() };
    let image = Image::new(file, &settings).map_err(broken)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let channels = usize::from(image.color_space().num_channels()) + usize::from(image.has_alpha());
    // Held as float32 on the way.
    let bytes = (width * height).saturating_mul(channels * size_of::<f32>());
    if width > MAX_SIDE || height > MAX_SIDE || bytes as u64 > MAX_BYTES {
        return Err(Error::memory(format!("the picture is too large: {width}x{height} pixels"))
            .remedy("give one with sides up to 16384 pixels that takes 512 MiB at most"));
    }
    let refused =
        |what: String| Error::unsupported(format!("a picture in JPEG 2000 {what}")).remedy("give it as PNG");
    if image.original_bit_depth() != 8 {
        return Err(refused(format!("of {} bits a channel", image.original_bit_depth())));
    }
    let colours = match image.color_space() {
        ColorSpace::Gray | ColorSpace::Icc { num_channels: 1, .. } => 1,
        ColorSpace::RGB | ColorSpace::Icc { num_channels: 3, .. } => 3,
        other => return Err(refused(format!("of {} channels", other.num_channels()))),
    };
    let mut context = DecoderContext::default();
    let samples = image.decode(&mut context).map_err(broken)?.data_u8();
    if samples.len() != width * height * channels {
        return Err(broken("its channels are of several sizes"));
    }
    let mut rgb = crate::tensor::allocate(width * height * 3)?;
    for pixel in samples.chunks_exact(channels) {
        rgb.extend_from_slice(&if colours == 1 { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] });
    }
    Ok((width, height, rgb))
}
