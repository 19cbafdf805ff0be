//! Blocks of channels, what is made of shapes, and moves that are none of a view's: Trilu, CumSum, OneHot, NonZero.

use super::grow::Grower;
use super::moves::with_rank;
use super::proto::{float, int, text};
use sardonyx::{DType, Tensor};

pub fn blocks(at: &mut Grower) -> Option<()> {
    let rank = 4;
    let x = at.find(|x| x.rank() == rank && x.dtype() == DType::F32);
    let (batch, block) = (1 + at.draw.below(2), 2);
    let (op, shape) = if at.draw.one_in(2) {
        ("DepthToSpace", [batch, 4 * (1 + at.draw.below(3)), 3, 2])
    } else {
        ("SpaceToDepth", [batch, 3, 4, 2 * (1 + at.draw.below(3))])
    };
    let x = match x {
        Some(name) => super::cases::adapted(at, &name, DType::F32, &shape)?,
        None => {
            let tensor = at.draw.tensor(DType::F32, &shape);
            at.given(tensor)
        }
    };
    let mut attributes = vec![int("blocksize", block)];
    if op == "DepthToSpace" && at.draw.one_in(2) {
        attributes.push(text("mode", "CRD"));
    }
    at.one(op, &[&x], attributes).map(drop)
}

pub fn made_of_shapes(at: &mut Grower) -> Option<()> {
    let x = at.find(|x| x.rank() <= 4)?;
    let rank = at.shape(&x).len() as i64;
    match at.draw.below(4) {
        0 => {
            let (start, end) = (at.draw.between(-rank, rank), at.draw.between(-rank, rank));
            at.one("Shape", &[&x], vec![int("start", start), int("end", end)]).map(drop)
        }
        1 => at.one("Size", &[&x], vec![]).map(drop),
        2 => {
            let shape = at.one("Shape", &[&x], vec![])?;
            let dtype = at.draw.dtype();
            let value = at.draw.tensor(dtype, &[1]);
            let value = super::proto::attribute("value", sardonyx::ops::Attribute::Tensor(value));
            at.one("ConstantOfShape", &[&shape], vec![value]).map(drop)
        }
        _ => {
            // A shape by way of another's.
            let shape = at.one("Shape", &[&x], vec![])?;
            let y = with_rank(at, 0)?;
            let shape = if at.draw.one_in(2) {
                let one = at.list(&[1]);
                at.one("Concat", &[&one, &shape], vec![int("axis", 0)])?
            } else {
                shape
            };
            at.one("Expand", &[&y, &shape], vec![]).map(drop)
        }
    }
}

pub fn odd_ones(at: &mut Grower) -> Option<()> {
    match at.draw.below(6) {
        0 => {
            let x = with_rank(at, 2)?;
            let k = at.draw.between(-3, 3);
            let k = at.operand(Tensor::scalar(k));
            let upper = at.draw.between(0, 1);
            at.one("Trilu", &[&x, &k], vec![int("upper", upper)]).map(drop)
        }
        1 => {
            let x =
                at.find(|x| matches!(x.dtype(), DType::F32 | DType::I32 | DType::I64) && x.rank() >= 1)?;
            let axis = at.draw.axis(at.tensor(&x).rank()).1;
            let axis = at.operand(Tensor::scalar(axis));
            let [exclusive, reverse] = [at.draw.between(0, 1), at.draw.between(0, 1)];
            at.one("CumSum", &[&x, &axis], vec![int("exclusive", exclusive), int("reverse", reverse)])
                .map(drop)
        }
        2 => {
            let x = at.find(|x| x.dtype() == DType::I64 && x.len() <= 60)?;
            let depth = at.draw.between(2, 9);
            let depth = at.operand(Tensor::scalar(depth));
            let dtype = at.draw.pick(&[DType::F32, DType::I64, DType::F16]);
            let values = at.draw.tensor(dtype, &[2]);
            let values = at.operand(values);
            let rank = at.shape(&x).len() as i64;
            let axis = at.draw.between(-rank - 1, rank);
            at.one("OneHot", &[&x, &depth, &values], vec![int("axis", axis)]).map(drop)
        }
        3 => {
            let x = with_rank(at, 1)?;
            at.one("NonZero", &[&x], vec![]).map(drop)
        }
        4 => {
            let x = with_rank(at, 1)?;
            let size = at.shape(&x)[0];
            let condition = at.draw.tensor(DType::Bool, &[size]);
            let condition = at.operand(condition);
            at.one("Compress", &[&x, &condition], vec![int("axis", 0)]).map(drop)
        }
        _ => {
            let x = at.find(|x| x.dtype() == DType::F32)?;
            let (a, b) = (at.draw.real(-2.0, 0.0) as f32, at.draw.real(0.5, 2.0) as f32);
            let y = at.one("HardSigmoid", &[&x], vec![float("alpha", b), float("beta", a)])?;
            at.one("Dropout", &[&y], vec![]).map(drop)
        }
    }
}
