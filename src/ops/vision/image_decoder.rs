//! [ImageDecoder](https://onnx.ai/onnx/operators/onnx__ImageDecoder.html), version 20: a picture's file,
//! decoded to `[height, width, channels]` of uint8. What is no picture is one without pixels.
//!
//! BMP, PNG, PNM, TIFF and WebP are decoded. JPEG is refused: ONNX fixes how its colours are interpolated, as
//! libjpeg-turbo does it, and the decoder here is off by up to two levels. JPEG 2000 has no decoder. The
//! orientation that a camera noted is not applied. The output's size depends on the elements.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "ImageDecoder", since: 20, parse, cases: CASES };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageDecoder {
    Rgb,
    Bgr,
    Grayscale,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(match node.choice("pixel_format", "RGB", &["RGB", "BGR", "Grayscale"])?.as_str() {
        "BGR" => ImageDecoder::Bgr,
        "Grayscale" => ImageDecoder::Grayscale,
        _ => ImageDecoder::Rgb,
    }))
}

impl ImageDecoder {
    #[cfg(feature = "image")]
    fn channels(self) -> usize {
        if self == ImageDecoder::Grayscale { 1 } else { 3 }
    }

    #[cfg(feature = "image")]
    fn decoded(self, stream: &[u8]) -> Result<Tensor> {
        // What the files of each begin with; of JPEG 2000 also a bare stream.
        const REFUSED: [(&[u8], &str); 3] = [
            (&[0xff, 0xd8, 0xff], "JPEG, whose pixels would be off by up to two levels"),
            (b"\0\0\0\x0cjP  ", "JPEG 2000"),
            (&[0xff, 0x4f, 0xff, 0x51], "JPEG 2000"),
        ];
        if let Some((_, name)) = REFUSED.iter().find(|row| stream.starts_with(row.0)) {
            return Err(Error::unsupported(format!("a picture in {name}")).remedy("give it as PNG"));
        }
        let Some(picture) = crate::image::decoded(stream)? else {
            return Tensor::new([0, 0, self.channels()], Vec::<u8>::new());
        };
        let pixels = match self {
            ImageDecoder::Rgb => picture.rgb().to_vec(),
            ImageDecoder::Bgr => picture.rgb().chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect(),
            ImageDecoder::Grayscale => picture.luma()?,
        };
        Tensor::new([picture.height(), picture.width(), self.channels()], pixels)
    }

    #[cfg(not(feature = "image"))]
    fn decoded(self, _stream: &[u8]) -> Result<Tensor> {
        Err(Error::unsupported("pictures: this build is without the feature 'image'")
            .remedy("build sardonyx with it, or decode the picture before"))
    }

    fn stream(x: &Fact) -> Result<()> {
        if x.dtype == DType::U8 && x.rank() == 1 {
            return Ok(());
        }
        Err(Error::model(format!("an input of {}{:?}; a list of uint8 is needed", x.dtype, x.shape)))
    }
}

impl Operator for ImageDecoder {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        Self::stream(x)?;
        let stream = x.value.as_ref().ok_or(Infer::NeedsValue(0))?;
        Ok(vec![Fact::new(DType::U8, self.decoded(stream.as_slice()?)?.shape())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        Ok(vec![self.decoded(inputs.required(0)?.as_slice()?)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

/// A PNM file of two by one pixels.
const PNM: &[u8] = b"P6 2 1 255\n\x0a\x14\x1e\xc8\x96\x64";
const CASES: &[Case] = &[
    case(&[], &[Octets(PNM)]).runs("plan"),
    case(&[("pixel_format", Text("BGR"))], &[Octets(PNM)]).runs("plan"),
    case(&[("pixel_format", Text("Grayscale"))], &[Octets(PNM)]).runs("plan"),
];
