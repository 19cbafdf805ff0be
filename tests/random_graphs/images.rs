//! Convolutions, pools and resizes of images, sequences and volumes.

use super::cases::adapted;
use super::grow::Grower;
use super::proto::{float, int, ints, text};
use sardonyx::{DType, Tensor};

/// Images (or sequences, or volumes) of a few channels: of a value where there is one.
fn image(at: &mut Grower, channels: usize) -> Option<String> {
    let axes = at.draw.pick(&[1, 2, 2, 2, 2, 3]);
    let mut shape = vec![at.draw.pick(&[1, 1, 2]), channels];
    shape.extend((0..axes).map(|_| at.draw.pick(&[3usize, 4, 5, 6, 7, 9])));
    if axes == 3 {
        shape[2..].iter_mut().for_each(|size| *size = (*size).min(4));
    }
    if let Some(found) = at.find(|x| x.dtype() == DType::F32 && x.rank() >= 3 && x.shape()[1] == channels) {
        return Some(found);
    }
    match at.find(|x| x.dtype() == DType::F32 && !x.is_empty()).filter(|_| at.draw.one_in(2)) {
        Some(found) => adapted(at, &found, DType::F32, &shape),
        None => {
            let tensor = at.draw.tensor(DType::F32, &shape);
            Some(at.given(tensor))
        }
    }
}

/// A window's attributes over so many axes.
fn window(at: &mut Grower, sizes: &[usize], pool: bool) -> (Vec<i64>, Vec<onnx_protobuf::AttributeProto>) {
    let axes = sizes.len();
    let kernel: Vec<i64> = sizes.iter().map(|&size| at.draw.between(1, (size as i64).min(3))).collect();
    let strides: Vec<i64> = (0..axes).map(|_| at.draw.pick(&[1, 1, 2, 3])).collect();
    let mut attributes = vec![];
    if at.draw.one_in(2) {
        attributes.push(ints("strides", &strides));
    }
    if at.draw.one_in(3) {
        let dilations: Vec<i64> = kernel
            .iter()
            .zip(sizes)
            .map(|(&k, &size)| if (k - 1) * 2 < size as i64 { at.draw.between(1, 2) } else { 1 })
            .collect();
        attributes.push(ints("dilations", &dilations));
    }
    match at.draw.below(5) {
        0 => {
            let mode = at.draw.pick(&["SAME_UPPER", "SAME_LOWER", "VALID"]);
            attributes.push(text("auto_pad", mode));
        }
        1 | 2 => {
            let most: Vec<i64> =
                [&kernel[..], &kernel[..]].concat().iter().map(|&k| if pool { k - 1 } else { 2 }).collect();
            let pads: Vec<i64> = most.iter().map(|&most| at.draw.between(0, most.min(2))).collect();
            attributes.push(ints("pads", &pads));
        }
        _ => {}
    }
    (kernel, attributes)
}

pub fn convolution(at: &mut Grower) -> Option<()> {
    let channels = at.draw.pick(&[1usize, 2, 3, 4, 6, 8]);
    let x = image(at, channels)?;
    let shape = at.shape(&x);
    let divisors: Vec<usize> = (1..=channels).filter(|count| channels.is_multiple_of(*count)).collect();
    let group = if at.draw.one_in(2) { 1 } else { at.draw.pick(&divisors) };
    let filters = group * at.draw.pick(&[1usize, 2, 3, 5]);
    let turned = at.draw.one_in(4);
    let (kernel, mut attributes) = window(at, &shape[2..], false);
    let sizes: Vec<usize> = kernel.iter().map(|&size| size as usize).collect();
    let mut own = if turned { vec![channels, filters / group] } else { vec![filters, channels / group] };
    own.extend(sizes);
    let w = at.draw.tensor(DType::F32, &own);
    let w = at.operand(w);
    let bias = if at.draw.one_in(2) {
        let tensor = at.draw.tensor(DType::F32, &[filters]);
        at.operand(tensor)
    } else {
        String::new()
    };
    attributes.push(int("group", group as i64));
    if at.draw.one_in(2) {
        attributes.push(ints("kernel_shape", &kernel));
    }
    if turned {
        let strided = attributes.iter().any(|one| one.name == "strides");
        if strided && at.draw.one_in(3) {
            let extra: Vec<i64> = attributes
                .iter()
                .find(|one| one.name == "strides")?
                .ints
                .iter()
                .map(|&stride| at.draw.between(0, stride - 1))
                .collect();
            attributes.push(ints("output_padding", &extra));
        }
        return at.one("ConvTranspose", &[&x, &w, &bias], attributes).map(drop);
    }
    let made = at.one("Conv", &[&x, &w, &bias], attributes)?;
    if at.draw.one_in(2) {
        let op = at.draw.pick(&["Relu", "Sigmoid", "HardSwish", "LeakyRelu"]);
        at.one(op, &[&made], vec![])?;
    }
    Some(())
}

pub fn pool(at: &mut Grower) -> Option<()> {
    let channels = at.draw.pick(&[1, 2, 3, 4, 5, 8]);
    let x = image(at, channels)?;
    let shape = at.shape(&x);
    let op = at.draw.pick(&[
        "MaxPool",
        "MaxPool",
        "AveragePool",
        "AveragePool",
        "LpPool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GlobalLpPool",
    ]);
    if op.starts_with("Global") {
        return at.one(op, &[&x], vec![]).map(drop);
    }
    if shape[2..].contains(&0) {
        return None;
    }
    let (kernel, mut attributes) = window(at, &shape[2..], true);
    attributes.push(ints("kernel_shape", &kernel));
    if at.draw.one_in(2) {
        attributes.push(int("ceil_mode", 1));
    }
    if op == "AveragePool" && at.draw.one_in(2) {
        attributes.push(int("count_include_pad", 1));
    }
    if op == "LpPool" {
        attributes.push(int("p", at.draw.between(1, 3)));
    }
    let outputs = if op == "MaxPool" && at.draw.one_in(3) { 2 } else { 1 };
    at.node(op, &[&x], attributes, outputs).map(drop)
}

pub fn resize(at: &mut Grower) -> Option<()> {
    let x = image(at, 3)?;
    let shape = at.shape(&x);
    let mode = at.draw.pick(&["nearest", "linear", "linear", "cubic"]);
    if mode == "cubic" && shape.len() != 4 || shape.contains(&0) {
        return None;
    }
    let place = at.draw.pick(&["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]);
    let mut attributes = vec![text("mode", mode), text("coordinate_transformation_mode", place)];
    if mode == "nearest" {
        let round = at.draw.pick(&["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]);
        attributes.push(text("nearest_mode", round));
    }
    if mode == "cubic" && at.draw.one_in(2) {
        attributes.extend([float("cubic_coeff_a", -0.5), int("exclude_outside", 1)]);
    }
    let to: Vec<usize> = shape[2..].iter().map(|_| at.draw.size()).collect();
    if at.draw.one_in(2) {
        let sizes: Vec<i64> = [&shape[..2], &to].concat().iter().map(|&size| size as i64).collect();
        let sizes = at.list(&sizes);
        return at.one("Resize", &[&x, "", "", &sizes], attributes).map(drop);
    }
    let factor = |at: &mut Grower| at.draw.pick(&[0.5f32, 0.75, 1.0, 1.5, 2.0, 2.5]);
    let mut scales = vec![1.0, 1.0];
    scales.extend(to.iter().map(|_| factor(at)));
    let scales = at.operand(Tensor::new([scales.len()], scales).unwrap());
    at.one("Resize", &[&x, "", &scales], attributes).map(drop)
}
