//! [Resize](https://onnx.ai/onnx/operators/onnx__Resize.html), versions 10, 11, 13, 18, 19, and its
//! forerunner [Upsample](https://onnx.ai/onnx/operators/onnx__Upsample.html), versions 1, 7, 9: interpolation
//! along any axes.
//!
//! Inputs: X, roi, scales (float32) or sizes (int64). The size that scales give is ⌊size · scale⌋; as
//! onnxruntime and ONNX's reference do, it doesn't depend on the roi.

use crate::base::resample::{Axis, Coordinates, Interpolation, Nearest, Sampling, Taps, taps};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms, Unsupported};
use crate::cpu_kernels::resample;
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Input, Lower, NodeView, OpDef, Operator};
use crate::tensor::index::{axes, strides};
use crate::tensor::{DType, Real, Tensor, cast};
use std::sync::Arc;

pub const RESIZE: OpDef =
    OpDef { domain: "", name: "Resize", since: 10, parse: parse_resize, cases: RESIZE_CASES };
pub const UPSAMPLE: OpDef =
    OpDef { domain: "", name: "Upsample", since: 1, parse: parse_upsample, cases: UPSAMPLE_CASES };

/// What becomes of wanted sizes that would change the proportions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AspectRatio {
    Stretch,
    NotLarger,
    NotSmaller,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    pub sampling: Sampling,
    pub extrapolation: f32,
    /// The axes that roi, scales and sizes are for; `None`: all.
    pub axes: Option<Vec<i64>>,
    pub aspect_ratio: AspectRatio,
}

const OLD: Sampling = Sampling {
    interpolation: Interpolation::Nearest(Nearest::Outward),
    coordinates: Coordinates::Asymmetric,
    antialias: false,
    exclude_outside: false,
};

/// Version 10 and Upsample: nearest or linear, `x / scale`, rounded down where an axis grows, and up where it
/// shrinks: ONNX's text doesn't say, its test of version 1.5 (test_resize_downsample_nearest) does.
fn parse_old(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let names = if node.version < 7 { ["nearest", "bilinear"] } else { ["nearest", "linear"] };
    let linear = node.choice("mode", names[0], &names)? == names[1];
    let sampling = if linear { Sampling { interpolation: Interpolation::Linear, ..OLD } } else { OLD };
    node.inputs.insert(1.min(node.inputs.len()), Input::Absent);
    Ok(Arc::new(Resize { sampling, extrapolation: 0.0, axes: None, aspect_ratio: AspectRatio::Stretch }))
}

fn parse_upsample(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    if node.version < 7 {
        // Of images alone.
        let scale = |name: &str| {
            let missing = || Error::model(format!("attribute '{name}' is missing"));
            node.optional_float(name)?.ok_or_else(missing)
        };
        let scales = vec![1.0, 1.0, scale("height_scale")?, scale("width_scale")?];
        node.set_constant(1, Tensor::new([4], scales)?);
    }
    if let Some(scales) = node.floats("scales")? {
        node.set_constant(1, Tensor::new([scales.len()], scales)?);
    }
    node.expect_inputs(2..=2)?;
    parse_old(node)
}

fn parse_resize(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    if node.version < 11 {
        node.expect_inputs(2..=2)?;
        return parse_old(node);
    }
    node.expect_inputs(2..=4)?;
    let cubic = Interpolation::Cubic(node.float("cubic_coeff_a", -0.75)? as f64);
    let nearest = match node
        .choice(
            "nearest_mode",
            "round_prefer_floor",
            &["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
        )?
        .as_str()
    {
        "round_prefer_ceil" => Nearest::PreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        _ => Nearest::PreferFloor,
    };
    let interpolation = match node.choice("mode", "nearest", &["nearest", "linear", "cubic"])?.as_str() {
        "linear" => Interpolation::Linear,
        "cubic" => cubic,
        _ => Interpolation::Nearest(nearest),
    };
    // The last of them is of version 11 alone.
    let modes = [
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
        "tf_half_pixel_for_nn",
    ];
    let modes = if node.version < 13 { &modes[..] } else { &modes[..modes.len() - 1] };
    let coordinates = match node.choice("coordinate_transformation_mode", "half_pixel", modes)?.as_str() {
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_crop_and_resize" => Coordinates::CropAndResize,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNearest,
        _ => Coordinates::HalfPixel,
    };
    let aspect_ratio = match node
        .choice("keep_aspect_ratio_policy", "stretch", &["stretch", "not_larger", "not_smaller"])?
        .as_str()
    {
        "not_larger" => AspectRatio::NotLarger,
        "not_smaller" => AspectRatio::NotSmaller,
        _ => AspectRatio::Stretch,
    };
    let sampling = Sampling {
        interpolation,
        coordinates,
        antialias: node.flag("antialias", false)?,
        exclude_outside: node.flag("exclude_outside", false)?,
    };
    let axes = node.ints("axes")?.filter(|axes| !axes.is_empty());
    Ok(Arc::new(Resize {
        sampling,
        extrapolation: node.float("extrapolation_value", 0.0)?,
        axes,
        aspect_ratio,
    }))
}

impl Resize {
    /// Every axis of a tensor of this shape, from the values of roi, scales and sizes.
    fn plan(
        &self,
        shape: &[usize],
        roi: Option<&Tensor>,
        scales: Option<&Tensor>,
        sizes: Option<&Tensor>,
    ) -> Result<Vec<Axis>> {
        let list: Vec<i64> = self.axes.clone().unwrap_or_else(|| (0..shape.len() as i64).collect());
        let named = axes(&list, shape.len())?;
        let full = |values: Vec<f64>, count: usize, name: &str| {
            let length = values.len();
            if length == count {
                Ok(values)
            } else {
                Err(Error::model(format!("'{name}' has {length} elements; {count} are needed")))
            }
        };
        let mut all: Vec<Axis> = shape
            .iter()
            .map(|&size| Axis { input: size, output: size, scale: 1.0, roi: (0.0, 1.0) })
            .collect();
        if let Some(roi) = roi.filter(|_| self.sampling.coordinates == Coordinates::CropAndResize) {
            let roi = full(roi.to_f64s()?, 2 * named.len(), "roi")?;
            for (k, &axis) in named.iter().enumerate() {
                all[axis].roi = (roi[k], roi[named.len() + k]);
            }
        }
        let bad = |name: &str, value: f64| {
            Error::model(format!("'{name}' holds {value}: sizes and scales must be positive"))
                .remedy("check the Resize's inputs")
        };
        match (scales.filter(|scales| !scales.is_empty()), sizes.filter(|sizes| !sizes.is_empty())) {
            (Some(scales), None) => {
                for (&scale, &axis) in full(scales.to_f64s()?, named.len(), "scales")?.iter().zip(&named) {
                    // The product is taken in float32, as exporters and onnxruntime take it.
                    let size = (scale as f32 * shape[axis] as f32).floor();
                    if !(scale > 0.0 && size <= i32::MAX as f32) {
                        return Err(bad("scales", scale));
                    }
                    all[axis] = Axis { scale, output: size as usize, ..all[axis] };
                }
            }
            (None, Some(sizes)) => {
                for (&size, &axis) in full(sizes.to_f64s()?, named.len(), "sizes")?.iter().zip(&named) {
                    if !(0.0..=i32::MAX as f64).contains(&size) || shape[axis] == 0 && size > 0.0 {
                        return Err(bad("sizes", size));
                    }
                    all[axis] = Axis {
                        scale: if shape[axis] == 0 { 1.0 } else { size / shape[axis] as f64 },
                        output: size as usize,
                        ..all[axis]
                    };
                }
                if self.aspect_ratio != AspectRatio::Stretch {
                    let better =
                        if self.aspect_ratio == AspectRatio::NotLarger { f64::min } else { f64::max };
                    let scale = named.iter().map(|&axis| all[axis].scale).reduce(better).unwrap_or(1.0);
                    for &axis in &named {
                        all[axis] = Axis {
                            scale,
                            output: (scale * shape[axis] as f64 + 0.5).floor() as usize,
                            ..all[axis]
                        };
                    }
                }
            }
            _ => return Err(Error::model("needs either scales or sizes")),
        }
        Ok(all)
    }

    fn plan_of(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Axis>, Infer> {
        let value = |index: usize| match inputs.optional(index) {
            None => Ok(None),
            Some(fact) if fact.count() == 0 => Ok(None),
            Some(fact) => fact.value.as_ref().map(Some).ok_or(Infer::NeedsValue(index)),
        };
        let roi = if self.sampling.coordinates == Coordinates::CropAndResize { value(1)? } else { None };
        Ok(self.plan(&inputs.required(0)?.shape, roi, value(2)?, value(3)?)?)
    }

    /// Whether results are elements of the input.
    fn moves_only(&self) -> bool {
        matches!(self.sampling.interpolation, Interpolation::Nearest(_))
            && self.sampling.coordinates != Coordinates::CropAndResize
    }

    /// The resized tensor, with every weight and the extrapolation value as `of` makes them.
    fn resample(&self, inputs: Operands<'_, Tensor>, of: fn(f64) -> f64) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let plan = self.plan(x.shape(), inputs.optional(1), inputs.optional(2), inputs.optional(3))?;
        let taps = plan.iter().map(|axis| taps(axis, &self.sampling)).collect::<Result<Vec<Taps>>>()?;
        let shape: Vec<usize> = plan.iter().map(|axis| axis.output).collect();
        if self.moves_only() {
            let sources: Vec<Vec<Option<usize>>> = taps
                .iter()
                .map(|taps| (0..taps.outside.len()).map(|out| Some(taps.of(out)[0].0)).collect())
                .collect();
            return Ok(vec![x.gather_axes(&sources, None)?]);
        }
        Ok(vec![match x.dtype() {
            DType::F32 => Tensor::new(shape, self.weighted::<f32>(x, x.as_slice()?.to_vec(), &taps, of)?)?,
            dtype => {
                let mut values = self.weighted(x, x.to_f64s()?, &taps, of)?;
                if dtype.is_integer() {
                    values.iter_mut().for_each(|value| *value = whole(*value));
                }
                cast(&Tensor::new(shape, values)?, dtype, true)?
            }
        }])
    }

    /// The weighted sums, axis by axis, the innermost first.
    fn weighted<T: Real>(
        &self,
        x: &Tensor,
        mut values: Vec<T>,
        taps: &[Taps],
        of: fn(f64) -> f64,
    ) -> Result<Vec<T>> {
        let mut shape = x.shape().to_vec();
        for axis in (0..shape.len()).rev().filter(|&axis| !taps[axis].is_identity(x.shape()[axis])) {
            let (before, inner) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
            values = resample::along_axis(&values, [before, shape[axis], inner], &taps[axis], of)?;
            shape[axis] = taps[axis].outside.len();
        }
        if taps.iter().any(|taps| taps.outside.contains(&true)) {
            let own = strides(&shape);
            for (index, value) in values.iter_mut().enumerate() {
                if (0..shape.len()).any(|axis| taps[axis].outside[index / own[axis] % shape[axis]]) {
                    *value = T::of(of(self.extrapolation as f64));
                }
            }
        }
        Ok(values)
    }
}

impl Operator for Resize {
    fn by_value(&self, index: usize) -> bool {
        index > 0
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let plan = self.plan_of(inputs)?;
        Ok(vec![Fact::new(
            inputs.required(0)?.dtype,
            plan.iter().map(|axis| axis.output).collect::<Vec<_>>(),
        )])
    }

    /// Every type is resized: nearest picks, the others compute in float64.
    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        self.resample(inputs, |weight| weight)
    }

    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Magnitude(self.clone())))
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let _ = inputs;
        if self.moves_only() { Bound::Exact } else { Bound::Sum { length: 16, terms: Terms::Elements } }
    }
}

impl Lower for Resize {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let shape = at.fact(0)?.shape.clone();
        let value = |index: usize| at.constant(index).filter(|value| !value.is_empty());
        let plan = self.plan(&shape, value(1), value(2), value(3))?;
        let taps = plan.iter().map(|axis| taps(axis, &self.sampling)).collect::<Result<Vec<Taps>>>()?;
        crate::kernels::resize::emit(at, &taps, self.extrapolation)
    }
}

/// A value that was meant to be whole, before it is truncated to an integer: sums of products of weights such
/// as 1/3 miss it by a last bit.
fn whole(value: f64) -> f64 {
    let nearest = value.round();
    if (value - nearest).abs() <= f64::exp2(-16.0) { nearest } else { value }
}

/// A Resize whose weights are all positive.
#[derive(Debug)]
struct Magnitude(Resize);

impl Operator for Magnitude {
    fn by_value(&self, index: usize) -> bool {
        self.0.by_value(index)
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        self.0.infer(inputs)
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        self.0.resample(inputs, f64::abs)
    }
}

const RESIZE_CASES: &[Case] = &[
    case(&[("mode", Text("linear"))], &[Floats(&[1, 3, 4, 5]), Absent, Absent, Known(&[1, 3, 7, 11])]),
    case(
        &[("mode", Text("linear")), ("coordinate_transformation_mode", Text("align_corners"))],
        &[Floats(&[2, 5, 6, 7]), Absent, Absent, Known(&[2, 5, 3, 4])],
    ),
    case(
        &[("coordinate_transformation_mode", Text("asymmetric")), ("nearest_mode", Text("floor"))],
        &[Floats(&[1, 6, 3, 1]), Absent, Absent, Known(&[1, 6, 6, 2])],
    ),
    case(
        &[("nearest_mode", Text("ceil")), ("axes", Ints(&[3, 2]))],
        &[Floats(&[1, 1, 5, 4]), Absent, Absent, Known(&[3, 9])],
    ),
    case(
        &[("mode", Text("cubic")), ("exclude_outside", Int(1))],
        &[Floats(&[1, 2, 5, 6]), Absent, Absent, Known(&[1, 2, 9, 4])],
    ),
    case(
        &[("mode", Text("linear")), ("antialias", Int(1))],
        &[Floats(&[1, 3, 9, 12]), Absent, Absent, Known(&[1, 3, 4, 5])],
    ),
    case(&[("mode", Text("linear"))], &[Floats(&[2, 3, 5]), Absent, Absent, Known(&[2, 3, 9])]),
    case(
        &[("keep_aspect_ratio_policy", Text("not_larger")), ("axes", Ints(&[2, 3]))],
        &[Floats(&[1, 2, 4, 3]), Absent, Absent, Known(&[9, 9])],
    ),
    case(&[("mode", Text("linear"))], &[Floats(&[1, 4, 3, 5]), Factors(&[1.0, 1.0, 2.0, 0.6])]).at(10),
    case(&[], &[Floats(&[1, 2, 5, 6]), Factors(&[1.0, 1.0, 1.5, 0.6])]).at(10),
    case(
        &[("mode", Text("cubic")), ("coordinate_transformation_mode", Text("pytorch_half_pixel"))],
        &[Floats(&[2, 3, 5, 6]), Absent, Factors(&[1.0, 1.0, 0.25, 1.5])],
    ),
    case(
        &[
            ("coordinate_transformation_mode", Text("tf_crop_and_resize")),
            ("mode", Text("linear")),
            ("extrapolation_value", Float(10.0)),
        ],
        &[
            Floats(&[1, 2, 4, 5]),
            Factors(&[0.0, 0.0, 0.4, 0.6, 1.0, 1.0, 1.2, 1.7]),
            Absent,
            Known(&[1, 2, 3, 6]),
        ],
    ),
    case(&[("mode", Text("linear"))], &[Floats(&[4, 6]), Absent, Absent, Known(&[7, 5])]).runs("cpu"),
    case(&[("mode", Text("linear"))], &[Floats(&[1, 2, 3, 4]), Absent, Absent, Known(&[1, 3, 3, 4])])
        .runs("cpu"),
    case(
        &[("coordinate_transformation_mode", Text("tf_half_pixel_for_nn")), ("nearest_mode", Text("floor"))],
        &[Floats(&[1, 2, 4, 5]), Factors(&[]), Factors(&[]), Known(&[1, 2, 7, 3])],
    )
    .at(11),
];
const UPSAMPLE_CASES: &[Case] = &[
    case(&[], &[Floats(&[1, 3, 3, 5]), Factors(&[1.0, 1.0, 2.0, 3.0])]).at(9),
    case(&[("mode", Text("linear")), ("scales", Reals(&[1.0, 1.0, 2.0, 1.5]))], &[Floats(&[2, 5, 3, 4])])
        .at(7),
    case(
        &[("height_scale", Float(2.0)), ("width_scale", Float(1.5)), ("mode", Text("bilinear"))],
        &[Floats(&[1, 3, 2, 4])],
    )
    .at(1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Attribute;
    use crate::tensor::DType;

    fn resized(attributes: &[(&str, &str)], dtype: DType, list: &[i64], sizes: &[i64]) -> Vec<i64> {
        let attributes = attributes
            .iter()
            .map(|(name, text)| (name.to_string(), Attribute::String(text.to_string())))
            .collect();
        let named = |name: &str| Input::Named(name.into());
        let inputs = vec![named("x"), Input::Absent, Input::Absent, named("sizes")];
        let op = (RESIZE.parse)(&mut NodeView::new("node", "Resize", 19, attributes, inputs, 1)).unwrap();
        let mut shape = vec![1; sizes.len() - 1];
        shape.push(list.len());
        if sizes.len() == 2 {
            shape = vec![2, list.len() / 2];
        }
        let x = cast(&Tensor::new(shape, list.to_vec()).unwrap(), dtype, true).unwrap();
        let sizes = Tensor::int64s(sizes.iter().copied());
        let given = [Some(&x), None, None, Some(&sizes)];
        op.eval(Operands::new(&given), EvalPrecision::Declared).unwrap()[0].to_i64s().unwrap()
    }

    /// Between elements `step` apart in `parts` parts, the k-th value is step · k / parts, truncated.
    #[test]
    fn integers_are_truncated_but_whole_values_are_kept() {
        let corners = ("coordinate_transformation_mode", "align_corners");
        for parts in 1..200 {
            for (dtype, step) in
                [(DType::U8, 198), (DType::I8, -100), (DType::I32, 1_000_000_007), (DType::U8, 3)]
            {
                let wanted: Vec<i64> = (0..=parts).map(|k| step * k / parts).collect();
                let found = resized(&[("mode", "linear"), corners], dtype, &[0, step], &[1, 1, parts + 1]);
                assert_eq!(found, wanted, "{dtype} 0 to {step} in {parts}");
                // Two axes: whole along one, parts along the other.
                let both =
                    resized(&[("mode", "linear"), corners], dtype, &[0, step, 0, step], &[4, parts + 1]);
                assert_eq!(both, wanted.repeat(4), "{dtype} 0 to {step} in {parts}, four rows");
            }
        }
        // Equal elements stay what they are, whatever the weights' sum is rounded to.
        for mode in ["linear", "cubic"] {
            for size in 2..90 {
                assert_eq!(
                    resized(&[("mode", mode)], DType::U8, &[201; 7], &[1, 1, size]),
                    vec![201; size as usize],
                    "{mode} to {size}"
                );
            }
        }
    }
}
