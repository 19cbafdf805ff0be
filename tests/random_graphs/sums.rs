//! Reductions, normalisations and products.

use super::grow::Grower;
use super::proto::{float, int};
use sardonyx::{DType, Tensor};

const FLOATS: [DType; 4] = [DType::F32, DType::F32, DType::F32, DType::F16];

pub fn reduce(at: &mut Grower) -> Option<()> {
    let op = at.draw.pick(&[
        "ReduceSum",
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSum",
        "ReduceLogSumExp",
    ]);
    let floats = matches!(op, "ReduceLogSum" | "ReduceLogSumExp" | "ReduceL2" | "ReduceMean");
    let whole = !floats && at.draw.one_in(3);
    let mut x = if whole { at.of(&[DType::I32, DType::I64]) } else { at.of(&FLOATS) };
    if op == "ReduceLogSum" {
        x = at.one("Abs", &[&x], vec![])?;
    }
    let axes = at.draw.axes(at.tensor(&x).rank());
    let keep = at.draw.between(0, 1);
    let mut attributes = vec![int("keepdims", keep)];
    if at.draw.one_in(3) {
        attributes.push(int("noop_with_empty_axes", 1));
    }
    let axes = if axes.is_empty() && at.draw.one_in(2) { String::new() } else { at.list(&axes) };
    at.one(op, &[&x, &axes], attributes).map(drop)
}

pub fn places(at: &mut Grower) -> Option<()> {
    let x =
        at.find(|x| x.rank() >= 1 && matches!(x.dtype(), DType::F32 | DType::F16 | DType::I32 | DType::I64))?;
    let shape = at.shape(&x);
    let (axis, signed) = at.draw.axis(shape.len());
    if at.draw.one_in(2) {
        let op = at.draw.pick(&["ArgMax", "ArgMin"]);
        let [keep, last] = [at.draw.between(0, 1), at.draw.between(0, 1)];
        let attributes = vec![int("axis", signed), int("keepdims", keep), int("select_last_index", last)];
        return at.one(op, &[&x], attributes).map(drop);
    }
    let k = at.draw.between(0, shape[axis] as i64);
    let k = at.list(&[k]);
    let largest = at.draw.between(0, 1);
    at.node("TopK", &[&x, &k], vec![int("axis", signed), int("largest", largest)], 2).map(drop)
}

pub fn softmax(at: &mut Grower) -> Option<()> {
    let x = at.find(|x| x.rank() >= 1 && FLOATS.contains(&x.dtype()))?;
    let op = at.draw.pick(&["Softmax", "Softmax", "LogSoftmax", "Hardmax"]);
    let (_, axis) = at.draw.axis(at.tensor(&x).rank());
    at.one(op, &[&x], vec![int("axis", axis)]).map(drop)
}

pub fn normalization(at: &mut Grower) -> Option<()> {
    let x = at.find(|x| x.rank() >= 1 && FLOATS.contains(&x.dtype()))?;
    let (dtype, shape) = (at.dtype(&x), at.shape(&x));
    let (axis, signed) = at.draw.axis(shape.len());
    let epsilon = at.draw.pick(&[1e-5, 1e-3, 0.1]);
    let parameter = |at: &mut Grower, shape: &[usize]| {
        let tensor = at.draw.tensor(dtype, shape);
        at.operand(tensor)
    };
    match at.draw.below(7) {
        0 | 1 => {
            let scale = parameter(at, &shape[axis..]);
            let bias = if at.draw.one_in(2) { String::new() } else { parameter(at, &shape[axis..]) };
            let attributes = vec![int("axis", signed), float("epsilon", epsilon)];
            at.one("LayerNormalization", &[&x, &scale, &bias], attributes).map(drop)
        }
        2 => {
            let scale = parameter(at, &shape[axis..]);
            let attributes = vec![int("axis", signed), float("epsilon", epsilon)];
            at.one("RMSNormalization", &[&x, &scale], attributes).map(drop)
        }
        3 => {
            let p = at.draw.between(1, 2);
            at.one("LpNormalization", &[&x], vec![int("axis", signed), int("p", p)]).map(drop)
        }
        other => {
            let channels = *shape.get(1)?;
            if shape.len() < 3 {
                return None;
            }
            let vector = [channels];
            let (scale, bias) = (parameter(at, &vector), parameter(at, &vector));
            if other == 4 {
                let inputs = [x.as_str(), &scale, &bias];
                return at.one("InstanceNormalization", &inputs, vec![float("epsilon", epsilon)]).map(drop);
            }
            if other == 5 {
                let groups: Vec<usize> = (1..=channels).filter(|count| channels % count == 0).collect();
                if groups.is_empty() {
                    return None;
                }
                let groups = at.draw.pick(&groups) as i64;
                let attributes = vec![int("num_groups", groups), float("epsilon", epsilon)];
                return at.one("GroupNormalization", &[&x, &scale, &bias], attributes).map(drop);
            }
            let mean = parameter(at, &vector);
            let count = channels;
            let list: Vec<f64> = (0..count).map(|_| at.draw.real(0.2, 2.0)).collect();
            let variance = sardonyx::tensor::cast(&Tensor::new(vector, list).unwrap(), dtype, true).unwrap();
            let variance = at.operand(variance);
            let inputs = [x.as_str(), &scale, &bias, &mean, &variance];
            at.one("BatchNormalization", &inputs, vec![float("epsilon", epsilon)]).map(drop)
        }
    }
}

pub fn matmul(at: &mut Grower) -> Option<()> {
    let x = at.find(|x| x.rank() >= 1 && matches!(x.dtype(), DType::F32 | DType::F16 | DType::I32))?;
    let (dtype, shape) = (at.dtype(&x), at.shape(&x));
    let k = *shape.last()?;
    let columns = at.draw.size();
    let own: Vec<usize> = match at.draw.below(5) {
        0 => vec![k],
        1 if shape.len() > 2 => [&shape[..shape.len() - 2], &[k, columns]].concat(),
        2 if shape.len() > 2 => [&vec![1; shape.len() - 2][..], &[k, columns]].concat(),
        _ => vec![k, columns],
    };
    let fits = |y: &Tensor| y.dtype() == dtype && y.rank() >= 2 && y.shape()[y.rank() - 2] == k;
    let y = match at.find(fits).filter(|_| at.draw.one_in(2)) {
        Some(name) => name,
        None => {
            let tensor = at.draw.tensor(dtype, &own);
            at.operand(tensor)
        }
    };
    let made = at.one("MatMul", &[&x, &y], vec![])?;
    if at.draw.one_in(2) {
        let shape = at.shape(&made);
        let bias = at.draw.tensor(dtype, &shape[shape.len().saturating_sub(1)..]);
        let bias = at.operand(bias);
        let made = at.one("Add", &[&made, &bias], vec![])?;
        if dtype != DType::I32 && at.draw.one_in(2) {
            let op = at.draw.pick(&["Relu", "Sigmoid", "Tanh", "Gelu"]);
            at.one(op, &[&made], vec![])?;
        }
    }
    Some(())
}

pub fn gemm(at: &mut Grower) -> Option<()> {
    let x = at.find(|x| x.rank() == 2 && matches!(x.dtype(), DType::F32 | DType::F16))?;
    let (dtype, shape) = (at.dtype(&x), at.shape(&x));
    let [turned_a, turned_b] = [at.draw.one_in(2), at.draw.one_in(2)];
    let (m, k) = if turned_a { (shape[1], shape[0]) } else { (shape[0], shape[1]) };
    let n = at.draw.size();
    let b = at.draw.tensor(dtype, &if turned_b { [n, k] } else { [k, n] });
    let b = at.operand(b);
    let c = match at.draw.below(6) {
        0 => String::new(),
        which => {
            let shape = [vec![], vec![n], vec![1, n], vec![m, 1], vec![m, n]][which - 1].clone();
            let tensor = at.draw.tensor(dtype, &shape);
            at.operand(tensor)
        }
    };
    let [alpha, beta] = [at.draw.pick(&[1.0, 0.5, -1.25]), at.draw.pick(&[1.0, 0.0, 2.0])];
    let mut attributes = vec![int("transA", turned_a.into()), int("transB", turned_b.into())];
    attributes.extend([float("alpha", alpha), float("beta", beta)]);
    at.one("Gemm", &[&x, &b, &c], attributes).map(drop)
}
