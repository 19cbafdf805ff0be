//! Nodes that move elements: shapes, parts, orders.

use super::grow::Grower;
use super::proto::{int, ints, text};
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

pub fn with_rank(at: &mut Grower, least: usize) -> Option<String> {
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
