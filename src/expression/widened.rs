//! An expression of 16-bit floats over operands that are held in float32: the same roundings as steps of its
//! own, so that one loop over float32 takes them all.

use super::{Arg, Pointwise, Row, Step, table};
use crate::tensor::DType;

/// The step that rounds a float32 to what a type of 16 bits holds; `None` for another type.
pub fn rounding(dtype: DType) -> Option<&'static Row> {
    match dtype {
        DType::F16 => Some(&table::TO_F16),
        DType::BF16 => Some(&table::TO_BF16),
        _ => None,
    }
}

/// Whether the results of a step are among what it was given, or are whole numbers or signs of that.
fn keeps(step: &Step, dtype: DType) -> bool {
    const KEEP: [&Row; 10] = [
        &table::ABS,
        &table::NEG,
        &table::SIGN,
        &table::CEIL,
        &table::FLOOR,
        &table::ROUND,
        &table::RELU,
        &table::MIN,
        &table::MAX,
        &table::WHERE,
    ];
    let held = |arg: &Arg| match *arg {
        Arg::Const(number) => round(number as f32, dtype).to_bits() == (number as f32).to_bits(),
        _ => true,
    };
    step.row == &table::IDENTITY || KEEP.contains(&step.row) && step.args.iter().all(held)
}

/// Whether a step's arguments are of several types, which no function takes but a power.
fn mixed(step: &Step, declared: &dyn Fn(&Arg) -> Option<DType>) -> bool {
    let condition = usize::from(step.row == &table::WHERE);
    let mut types = step.args.iter().skip(condition).filter_map(declared);
    let first = types.next();
    step.row != &table::POW && types.any(|dtype| Some(dtype) != first)
}

/// A float32 rounded to what a type of 16 bits holds.
fn round(x: f32, dtype: DType) -> f32 {
    let mut rounded = [x];
    if let Some(float) = rounding(dtype).and_then(|row| row.float.as_ref()) {
        (float.f32)(&[&[x]], &mut rounded);
    }
    rounded[0]
}

impl Pointwise {
    /// The expression of `operands` with those of 16-bit floats held in float32, and so its result. What each
    /// step comes to is rounded as it was; with `rounds_first`, so is operand 0 before the first step.
    ///
    /// `None`: the expression doesn't take these types, which its evaluation says.
    pub fn widened(&self, operands: &[DType], rounds_first: bool) -> Option<Pointwise> {
        let types = self.types(operands).ok()?;
        let mut wide = Pointwise { operands: self.operands, steps: vec![] };
        let first = match rounding(*operands.first()?).filter(|_| rounds_first) {
            Some(row) => wide.push(row, vec![Arg::Operand(0)]),
            None => Arg::Operand(0),
        };
        // Where each step's result is, and the type of an argument as it was.
        let mut made: Vec<Arg> = Vec::with_capacity(self.steps.len());
        let declared = |arg: &Arg| match *arg {
            Arg::Operand(k) => operands.get(k).copied(),
            Arg::Step(k) => types.get(k).copied(),
            Arg::Const(_) => None,
        };
        for (step, &dtype) in self.steps.iter().zip(&types) {
            let args = step.args.iter().map(|arg| match *arg {
                Arg::Operand(0) => Some(first),
                Arg::Step(k) => made.get(k).copied(),
                other => Some(other),
            });
            let args = args.collect::<Option<Vec<Arg>>>()?;
            let from = step.args.iter().find_map(declared)?;
            if mixed(step, &declared) {
                return None;
            }
            let result = if step.row == &table::CAST {
                let value = *args.first()?;
                let wide_already = from == DType::F32 || rounding(from).is_some();
                match (rounding(dtype), wide_already) {
                    (Some(_), true) if from == dtype => value,
                    (Some(row), true) => wide.push(row, vec![value]),
                    // Rounded once, by the cast.
                    (Some(_), false) => {
                        let narrow = wide.push_cast(value, dtype);
                        wide.push_cast(narrow, DType::F32)
                    }
                    (None, _) if dtype == DType::F32 && rounding(from).is_some() => value,
                    (None, _) => wide.push_cast(value, dtype),
                }
            } else {
                let result = wide.push(step.row, args);
                match rounding(dtype).filter(|_| !keeps(step, dtype)) {
                    Some(row) => wide.push(row, vec![result]),
                    None => result,
                }
            };
            made.push(result);
        }
        // The value is the last step's.
        let value = made.last().copied().unwrap_or(first);
        if value != wide.result() {
            wide.push(&table::IDENTITY, vec![value]);
        }
        Some(wide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::EvalPrecision;
    use crate::tensor::{Tensor, cast};

    /// Every float16, every bfloat16 and what lies between two of them.
    #[test]
    fn rounds_as_a_cast_does() {
        for dtype in [DType::F16, DType::BF16] {
            let shift = if dtype == DType::F16 { 13 } else { 16 };
            let halves = (0..=u16::MAX).map(|bits| match dtype {
                DType::F16 => half::f16::from_bits(bits).to_f32(),
                _ => half::bf16::from_bits(bits).to_f32(),
            });
            let near = halves.flat_map(|x| {
                let half = 1u32 << (shift - 1);
                [0, 1, half - 1, half, half + 1].map(|by| f32::from_bits(x.to_bits().wrapping_add(by)))
            });
            let tiny = (0..4096).map(|k| k as f32 * 2f32.powi(-30));
            let xs: Vec<f32> = near
                .chain(tiny)
                .chain([65519.9, 65520.0, 1e9, f32::MAX, -65520.0, f32::NAN, 1e-45])
                .collect();
            let given = Tensor::new([xs.len()], xs.clone()).unwrap();
            let right = cast(&cast(&given, dtype, true).unwrap(), DType::F32, true).unwrap();
            let e = Pointwise::of(rounding(dtype).unwrap(), 1, &[]);
            let made = e.eval(&[&given], EvalPrecision::Declared).unwrap();
            for ((x, y), z) in
                xs.iter().zip(made.as_slice::<f32>().unwrap()).zip(right.as_slice::<f32>().unwrap())
            {
                assert!(
                    y.to_bits() == z.to_bits() || (y.is_nan() && z.is_nan()),
                    "{dtype}: {x:e}: {y:e}, not {z:e}"
                );
            }
        }
    }

    /// The results are those of the expression on 16-bit floats, to the bit.
    #[test]
    fn the_same_to_the_bit() {
        let mut e = Pointwise { operands: 3, steps: vec![] };
        let sum = e.push(&table::ADD, vec![Arg::Operand(0), Arg::Operand(1)]);
        let gelu = e.push(&table::GELU, vec![sum]);
        let bounded = e.push(&table::MIN, vec![gelu, Arg::Const(0.3)]);
        let wide = e.push_cast(bounded, DType::F32);
        let scaled = e.push(&table::MUL, vec![wide, Arg::Operand(2)]);
        let whole = e.push_cast(scaled, DType::I64);
        let back = e.push_cast(whole, DType::F16);
        let other = e.push_cast(scaled, DType::F16);
        let sign = e.push(&table::LESS, vec![other, Arg::Const(0.1)]);
        e.push(&table::WHERE, vec![sign, back, other]);
        let number = |at: usize| ((at * 7919 + 13) % 997) as f32 / 166.0 - 3.0;
        let draw = |skip: usize, dtype: DType| {
            let list =
                Tensor::new([500], (0..500).map(|at| number(at + skip)).collect::<Vec<f32>>()).unwrap();
            cast(&list, dtype, true).unwrap()
        };
        let given = [draw(0, DType::F16), draw(70, DType::F16), draw(300, DType::F32)];
        let types = given.each_ref().map(Tensor::dtype);
        for rounds_first in [false, true] {
            let widened = e.widened(&types, rounds_first).unwrap();
            let held = given.each_ref().map(|tensor| cast(tensor, DType::F32, true).unwrap());
            let made = widened.eval(&held.each_ref(), EvalPrecision::Declared).unwrap();
            let right = e.eval(&given.each_ref(), EvalPrecision::Declared).unwrap();
            assert_eq!(right.dtype(), DType::F16);
            assert_eq!(made.bytes(), cast(&right, DType::F32, true).unwrap().bytes());
        }
        // Types that don't go together stay what they are: an error.
        assert!(e.widened(&[DType::F16, DType::BF16, DType::F32], false).is_none());
        assert!(e.widened(&[DType::F16, DType::F16, DType::BF16], false).is_none());
        // Nothing to round, and what rounds alone.
        let identity = Pointwise::identity();
        assert_eq!(identity.widened(&[DType::F16], false).unwrap(), identity);
        assert_eq!(identity.widened(&[DType::F16], true).unwrap().describe(), "ToF16");
    }
}
