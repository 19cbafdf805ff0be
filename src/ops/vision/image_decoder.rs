//! [ImageDecoder](https://onnx.ai/onnx/operators/onnx__ImageDecoder.html), version 20: a picture's file,
//! decoded to `[height, width, channels]` of uint8. What is no picture is one without pixels.
//!
//! BMP, JPEG, JPEG 2000, PNG, PNM, TIFF and WebP are decoded; JPEG as libjpeg-turbo does it, as ONNX's text
//! asks of its colours (`src/image/jpeg/`), and refused where it isn't (arithmetic coding, CMYK). The
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
