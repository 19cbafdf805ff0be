//! Nodes that move elements: shapes, parts, orders, indices.

use super::grow::Grower;
use super::proto::{float, int, ints, text};
use sardonyx::{DType, Tensor};

const ANY: [DType; 9] = [
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F16,
    DType::I64,
    DType::U8,
    DType::I32,
    DType::Bool,
    DType::I16,
];

fn with_rank(at: &mut Grower, least: usize) -> Option<String> {
    at.find(|tensor| tensor.rank() >= least && ANY.contains(&tensor.dtype()))
}

/// A shape of as many elements.
pub fn refactored(at: &mut Grower, count: usize) -> Vec<i64> {
    let (mut left, mut shape) = (count, vec![]);
    while left > 1 && shape.len() < 4 {
        let divisors: Vec<usize> = (2..=left).filter(|size| left % size == 0).collect();
        let size = divisors[at.draw.below(divisors.len())];
        shape.push(size as i64);
        left /= size;
    }
    if left > 1 {
        shape.push(left as i64);
    }
    while shape.len() < 5 && at.draw.one_in(3) {
        let place = at.draw.below(shape.len() + 1);
        shape.insert(place, 1);
    }
    shape
}

pub fn reshape(at: &mut Grower) -> Option<()> {
    let x = at.find(|_| true)?;
    let own = at.shape(&x);
    let count: usize = own.iter().product();
    let mut attributes = vec![];
    let shape = if count == 0 {
        attributes = vec![int("allowzero", 1)];
        own.iter().rev().map(|&size| size as i64).collect()
    } else {
        let mut shape = refactored(at, count);
        if !shape.is_empty() && at.draw.one_in(2) {
            let place = at.draw.below(shape.len());
            shape[place] = -1;
        }
        for (place, size) in shape.iter_mut().enumerate() {
            if own.get(place).is_some_and(|&own| own as i64 == *size) && at.draw.one_in(2) {
                *size = 0;
            }
        }
        shape
    };
    let shape = at.list(&shape);
    at.one("Reshape", &[&x, &shape], attributes).map(drop)
}

pub fn flat(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 0)?;
    let rank = at.shape(&x).len();
    let axis = at.draw.between(-(rank as i64), rank as i64);
    at.one("Flatten", &[&x], vec![int("axis", axis)]).map(drop)
}

pub fn squeeze(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 1)?;
    let shape = at.shape(&x);
    let ones: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] == 1).collect();
    if ones.is_empty() || at.draw.one_in(2) {
        let rank = shape.len() + 1 + at.draw.below(2);
        let order = at.draw.order(rank);
        let axes: Vec<i64> =
            order[..rank - shape.len()].iter().map(|&axis| at.draw.signed(axis, rank)).collect();
        let axes = at.list(&axes);
        return at.one("Unsqueeze", &[&x, &axes], vec![]).map(drop);
    }
    if at.draw.one_in(4) {
        return at.one("Squeeze", &[&x], vec![]).map(drop);
    }
    let axis = ones[at.draw.below(ones.len())];
    let axis = at.draw.signed(axis, shape.len());
    let axes = at.list(&[axis]);
    at.one("Squeeze", &[&x, &axes], vec![]).map(drop)
}

pub fn transpose(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 0)?;
    let order: Vec<i64> = at.draw.order(at.tensor(&x).rank()).into_iter().map(|axis| axis as i64).collect();
    let attributes = if at.draw.one_in(4) { vec![] } else { vec![ints("perm", &order)] };
    at.one("Transpose", &[&x], attributes).map(drop)
}

pub fn slice(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 1)?;
    let shape = at.shape(&x);
    let mut axes = at.draw.axes(shape.len());
    if axes.is_empty() {
        axes.push(0);
    }
    let (mut starts, mut ends, mut steps) = (vec![], vec![], vec![]);
    for &axis in &axes {
        let size = shape[axis.rem_euclid(shape.len() as i64) as usize] as i64;
        let step = at.draw.pick(&[1, 1, 1, 2, 3, -1, -2]);
        let (a, b) = (at.draw.between(0, size), at.draw.between(0, size));
        let (low, high) = (a.min(b), a.max(b));
        let (start, end) = if step > 0 { (low, high) } else { (high - 1, low - 1) };
        let signed = |at: &mut Grower, place: i64| {
            if place >= 0 && place < size && at.draw.one_in(2) { place - size } else { place }
        };
        starts.push(signed(at, start.max(0)));
        ends.push(match at.draw.below(4) {
            0 => [i64::MAX, i64::MIN + 1][usize::from(step < 0)],
            _ if end < 0 => -size - 1,
            _ => signed(at, end),
        });
        steps.push(step);
    }
    let [starts, ends, axes, steps] = [starts, ends, axes, steps].map(|values| at.list(&values));
    at.one("Slice", &[&x, &starts, &ends, &axes, &steps], vec![]).map(drop)
}

pub fn split(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 1)?;
    let shape = at.shape(&x);
    let (axis, signed) = at.draw.axis(shape.len());
    let count = 1 + at.draw.below(shape[axis].clamp(1, 4));
    if at.draw.one_in(2) {
        let attributes = vec![int("axis", signed), int("num_outputs", count as i64)];
        return at.node("Split", &[&x], attributes, count).map(drop);
    }
    let mut left = shape[axis];
    let mut parts: Vec<i64> = (1..count)
        .map(|_| {
            let part = at.draw.below(left + 1);
            left -= part;
            part as i64
        })
        .collect();
    parts.push(left as i64);
    let parts = at.list(&parts);
    at.node("Split", &[&x, &parts], vec![int("axis", signed)], count).map(drop)
}

pub fn concat(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 1)?;
    let (dtype, shape) = (at.dtype(&x), at.shape(&x));
    let (axis, signed) = at.draw.axis(shape.len());
    let mut parts = vec![x];
    for _ in 0..at.draw.below(4) {
        let alike = |y: &Tensor| {
            let (a, b) = (y.shape(), &shape);
            let sizes = |k: usize| k == axis || a[k] == b[k];
            y.dtype() == dtype && a.len() == b.len() && (0..a.len()).all(sizes)
        };
        let found = at.find(alike).filter(|_| !at.draw.one_in(3));
        parts.push(match found {
            Some(name) => name,
            None => {
                let mut shape = shape.clone();
                shape[axis] = at.draw.below(5);
                let tensor = at.draw.tensor(dtype, &shape);
                at.operand(tensor)
            }
        });
    }
    let turned = at.draw.order(parts.len());
    let parts: Vec<&str> = turned.iter().map(|&k| parts[k].as_str()).collect();
    at.one("Concat", &parts, vec![int("axis", signed)]).map(drop)
}

pub fn pad(at: &mut Grower) -> Option<()> {
    let x = at.find(|x| x.rank() >= 1 && x.dtype() != DType::Bool && ANY.contains(&x.dtype()))?;
    let shape = at.shape(&x);
    let mode = at.draw.pick(&["constant", "constant", "reflect", "edge", "wrap"]);
    let axes = if at.draw.one_in(2) { at.draw.axes(shape.len()) } else { vec![] };
    let all: Vec<i64> = if axes.is_empty() { (0..shape.len() as i64).collect() } else { axes.clone() };
    let rank = shape.len() as i64;
    let sizes: Vec<i64> = all.iter().map(|axis| shape[axis.rem_euclid(rank) as usize] as i64).collect();
    let one = |at: &mut Grower, size: i64| match mode {
        "constant" => at.draw.between(-(size.min(2)) / 2, 3),
        "edge" => at.draw.between(0, 3),
        _ => at.draw.between(0, (size - 1).clamp(0, 3)),
    };
    let (low, high): (Vec<i64>, Vec<i64>) = sizes.iter().map(|&size| (one(at, size), one(at, size))).unzip();
    let pads = at.list(&[low, high].concat());
    let value = if mode == "constant" && at.draw.one_in(2) {
        let tensor = at.draw.tensor(at.dtype(&x), &[]);
        at.operand(tensor)
    } else {
        String::new()
    };
    let axes = if axes.is_empty() { String::new() } else { at.list(&axes) };
    at.one("Pad", &[&x, &pads, &value, &axes], vec![text("mode", mode)]).map(drop)
}

pub fn expand(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 0)?;
    let shape = at.shape(&x);
    if at.draw.one_in(2) {
        let repeats: Vec<i64> = shape.iter().map(|_| at.draw.pick(&[1, 1, 2, 3, 0, 1])).collect();
        let repeats = at.list(&repeats);
        return at.one("Tile", &[&x, &repeats], vec![]).map(drop);
    }
    let mut to: Vec<i64> = shape
        .iter()
        .map(|&size| if size == 1 { at.draw.pick(&[1, 2, 3, 5]) } else { at.draw.pick(&[1, size as i64]) })
        .collect();
    if at.draw.one_in(2) {
        to.insert(0, at.draw.pick(&[1, 2, 3]));
    }
    let to = at.list(&to);
    at.one("Expand", &[&x, &to], vec![]).map(drop)
}

/// Indices below a size, some counted from the end.
fn indices(at: &mut Grower, shape: &[usize], size: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let size = size as i64;
    let list: Vec<i64> = (0..count).map(|_| at.draw.between(-size, size - 1)).collect();
    let tensor = Tensor::new(shape, list).unwrap();
    let narrow = at.draw.one_in(3);
    if narrow { sardonyx::tensor::cast(&tensor, DType::I32, true).unwrap() } else { tensor }
}

pub fn gather(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 1)?;
    let shape = at.shape(&x);
    let (axis, signed) = at.draw.axis(shape.len());
    if shape[axis] == 0 {
        return None;
    }
    if at.draw.one_in(2) {
        let rank = at.draw.below(3);
        let own = at.draw.shape(rank);
        let places = indices(at, &own, shape[axis]);
        let places = at.operand(places);
        return at.one("Gather", &[&x, &places], vec![int("axis", signed)]).map(drop);
    }
    let own: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(k, &size)| if k == axis { at.draw.size() } else { at.draw.between(1, size as i64) as usize })
        .collect();
    if own.iter().zip(&shape).enumerate().any(|(k, (own, size))| k != axis && own > size) {
        return None;
    }
    let places = indices(at, &own, shape[axis]);
    let places = at.operand(places);
    at.one("GatherElements", &[&x, &places], vec![int("axis", signed)]).map(drop)
}

/// Index tuples of GatherND and ScatterND.
fn tuples(at: &mut Grower, shape: &[usize], distinct: bool) -> Option<(Tensor, usize)> {
    let depth = 1 + at.draw.below(shape.len().min(3));
    let places: usize = shape[..depth].iter().product();
    if places == 0 {
        return None;
    }
    let count = 1 + at.draw.below(places.min(5));
    let order = at.draw.order(places);
    let mut list = vec![];
    for &drawn in &order[..count] {
        let mut place = if distinct { drawn } else { at.draw.below(places) };
        let mut tuple = vec![];
        for &size in shape[..depth].iter().rev() {
            let index = (place % size) as i64;
            tuple.push(if at.draw.one_in(4) { index - size as i64 } else { index });
            place /= size;
        }
        list.extend(tuple.into_iter().rev());
    }
    Some((Tensor::new([count, depth], list).unwrap(), depth))
}

pub fn gather_nd(at: &mut Grower) -> Option<()> {
    let x = with_rank(at, 1)?;
    let (places, _) = tuples(at, &at.shape(&x), false)?;
    let places = at.operand(places);
    at.one("GatherND", &[&x, &places], vec![]).map(drop)
}

pub fn scatter(at: &mut Grower) -> Option<()> {
    let x =
        at.find(|x| x.rank() >= 1 && matches!(x.dtype(), DType::F32 | DType::I64 | DType::I32 | DType::F16))?;
    let (dtype, shape) = (at.dtype(&x), at.shape(&x));
    let reduction = at.draw.pick(&["none", "none", "add", "mul", "max", "min"]);
    let attribute = text("reduction", reduction);
    if at.draw.one_in(2) {
        let (places, depth) = tuples(at, &shape, reduction == "none")?;
        let own: Vec<usize> = [&places.shape()[..1], &shape[depth..]].concat();
        let updates = at.draw.tensor(dtype, &own);
        let (places, updates) = (at.operand(places), at.operand(updates));
        return at.one("ScatterND", &[&x, &places, &updates], vec![attribute]).map(drop);
    }
    let (axis, signed) = at.draw.axis(shape.len());
    if shape.contains(&0) {
        return None;
    }
    let own: Vec<usize> = shape.iter().map(|&size| at.draw.between(1, size as i64) as usize).collect();
    let places = if reduction == "none" {
        // Each index once in a line, or which update stands is open.
        let order = at.draw.order(shape[axis]);
        let inner: usize = own[axis + 1..].iter().product();
        let count: usize = own.iter().product();
        let list = (0..count).map(|k| order[k / inner % own[axis]] as i64).collect();
        Tensor::new(own.clone(), list).unwrap()
    } else {
        indices(at, &own, shape[axis])
    };
    let updates = at.draw.tensor(dtype, &own);
    let (places, updates) = (at.operand(places), at.operand(updates));
    at.one("ScatterElements", &[&x, &places, &updates], vec![int("axis", signed), attribute]).map(drop)
}

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
