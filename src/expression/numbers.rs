//! Numbers of an expression as parameters. The scales and zero points of a quantised model differ from node
//! to node: as text each pair of them would make a shader, and a pipeline, of its own.

use super::{Arg, Pointwise, table};
use crate::tensor::DType;

/// The most numbers that a shader has as parameters.
pub const MAX_NUMBERS: usize = 8;

/// The member of a parameter block that holds them: two vectors in WGSL.
pub fn block(numbers: &[f32]) -> [f32; MAX_NUMBERS] {
    let mut block = [0.0; MAX_NUMBERS];
    block.iter_mut().zip(numbers).for_each(|(to, &number)| *to = number);
    block
}

/// The first so many of them as a shader reads them, `member` being what it calls that.
pub fn arguments(member: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |at| format!("{member}[{}][{}]", at / 4, at % 4))
}

impl Pointwise {
    /// An expression that rounds or casts, with the constants of its steps in float32 as operands behind its
    /// own, up to so many, and what they are; others as they are.
    pub fn with_numbers(&self, operands: &[DType], most: usize) -> (Self, Vec<f32>) {
        let (mut lifted, mut numbers) = (self.clone(), vec![]);
        let quantises = self.steps.iter().any(|step| step.row == &table::ROUND || step.row == &table::CAST);
        let Some(types) = self.types(operands).ok().filter(|_| quantises) else { return (lifted, numbers) };
        let type_of = |arg: &Arg| match *arg {
            Arg::Operand(at) => operands.get(at).copied(),
            Arg::Step(at) => types.get(at).copied(),
            Arg::Const(_) => None,
        };
        for step in &mut lifted.steps {
            if step.args.iter().find_map(type_of) != Some(DType::F32) || step.row == &table::CAST {
                continue;
            }
            for arg in &mut step.args {
                let Arg::Const(number) = *arg else { continue };
                let number = number as f32;
                let at = numbers.iter().position(|other: &f32| other.to_bits() == number.to_bits());
                let at = at.unwrap_or(numbers.len());
                if at < most {
                    numbers.resize(numbers.len().max(at + 1), number);
                    *arg = Arg::Operand(self.operands + at);
                }
            }
        }
        lifted.operands += numbers.len();
        (lifted, numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_floats_alone() {
        let mut e = Pointwise { operands: 1, steps: vec![] };
        let whole = e.push(&table::ADD, vec![Arg::Operand(0), Arg::Const(1.0)]);
        let value = e.push_cast(whole, DType::F32);
        let scaled = e.push(&table::MUL, vec![value, Arg::Const(0.1)]);
        e.push(&table::MAX, vec![scaled, Arg::Const(0.1)]);
        let (lifted, numbers) = e.with_numbers(&[DType::I32], 8);
        assert_eq!((numbers, lifted.operands), (vec![0.1f32], 2));
        assert_eq!(lifted.steps[0].args[1], Arg::Const(1.0));
        assert_eq!([&lifted.steps[2], &lifted.steps[3]].map(|step| step.args[1]), [Arg::Operand(1); 2]);
        // Beyond what there is room for, and without anything that quantises, they stay.
        assert!(e.with_numbers(&[DType::I32], 0).1.is_empty());
        let plain = Pointwise::of(&table::MUL, 1, &[0.3]);
        assert_eq!(plain.with_numbers(&[DType::F32], 8), (plain.clone(), vec![]));
    }
}
