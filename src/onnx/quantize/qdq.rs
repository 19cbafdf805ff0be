//! Weights and activations in 8 bits: QuantizeLinear and DequantizeLinear around operators of floats, as
//! onnxruntime's static quantiser writes them.
//!
//! *Given* `y = Relu(Conv(x, W, b))` → *Result* `xf = DequantizeLinear(QuantizeLinear(x)); y = Conv(xf,
//! DequantizeLinear(Wq), DequantizeLinear(bq))`, and the same of y for what reads it. Activations are uint8 over
//! their ranges, weights int8 around 0, a bias int32 in units of x's scale times W's.

use super::bytes::{self, Choice, Codes, Scaling};
use super::edit::{Edit, int};
use super::marks::{Marks, Weights};
use super::{Port, Rewritten, Source};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use onnx_protobuf::NodeProto;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

struct Writer<'a> {
    source: &'a Source,
    marks: &'a Marks<'a>,
    edit: Edit,
    /// Scale and zero point by the tensor whose they are.
    scalings: HashMap<String, [String; 2]>,
    /// What stands for a tensor before it is quantised, where that has another name, and after it.
    before: HashMap<String, String>,
    after: HashMap<String, String>,
    /// Floats of a node's weights and bias by place and input.
    own: HashMap<(usize, usize), String>,
    /// Bytes of a node's weights and bias.
    bytes: HashMap<usize, u64>,
}

/// The graph with what is marked quantised.
pub fn rewritten(source: &Source, marks: Marks<'_>) -> Result<Rewritten> {
    let mut graph = source.graph()?.clone();
    let nodes = std::mem::take(&mut graph.node);
    let maps = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut writer = Writer {
        source,
        marks: &marks,
        edit: Edit::of(source.graph()?),
        scalings: HashMap::new(),
        before: maps.0,
        after: maps.1,
        own: HashMap::new(),
        bytes: maps.2,
    };
    let outputs: HashSet<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let own = &marks;
    let results = |node: &NodeProto| node.output.clone();
    let made: HashSet<String> = nodes.iter().flat_map(results).map(|name| own.result(&name).into()).collect();
    for name in &marks.order {
        writer.names(name, made.contains(name) && outputs.contains(name.as_str()));
    }
    writer.weights()?;
    for name in &marks.order {
        if source.constants.contains_key(name) {
            writer.constant(name)?;
        } else if !made.contains(name) {
            writer.quantize(name)?;
        }
    }
    for (at, node) in nodes.into_iter().enumerate() {
        writer.node(at, node)?;
    }
    let Writer { edit, before, after, bytes, .. } = writer;
    let mut layers = marks.layers.clone();
    for layer in &mut layers {
        let port = |names: &HashMap<String, String>, name: &str| Port {
            was: name.into(),
            is: names.get(name).map_or(name, String::as_str).into(),
        };
        layer.inputs = layer.inputs.iter().map(|input| port(&before, &input.was)).collect();
        layer.output = port(&after, &layer.output.was);
    }
    for weights in &marks.weights {
        if let Some(layer) = layers.get_mut(weights.layer)
            && let Some(bytes) = bytes.get(&weights.at)
        {
            layer.after = *bytes;
        }
    }
    Ok(Rewritten { graph: edit.applied(graph), layers, left: marks.left })
}

impl Writer<'_> {
    /// Names what stands for a tensor: an output of the model is what comes behind.
    fn names(&mut self, name: &str, output: bool) {
        if output {
            let before = self.edit.fresh(&format!("{name}_QuantizeLinear_Input"));
            self.before.insert(name.into(), before);
            self.after.insert(name.into(), name.into());
        } else {
            let after = self.edit.fresh(&format!("{name}_DequantizeLinear_Output"));
            self.after.insert(name.into(), after);
        }
    }

    /// The names of a marked tensor's scale and zero point.
    fn scaling(&mut self, name: &str) -> Result<[String; 2]> {
        let root = self.marks.root(name).to_string();
        if let Some(names) = self.scalings.get(&root) {
            return Ok(names.clone());
        }
        let own = self.marks.scaling(&root).ok_or_else(|| Error::internal("a tensor without a scale"))?;
        let zero = Tensor::from_byte_vector(DType::U8, vec![], vec![own.zero as u8])?;
        let names = [
            self.edit.constant(&format!("{root}_scale"), &Tensor::scalar(own.scale))?,
            self.edit.constant(&format!("{root}_zero_point"), &zero)?,
        ];
        self.scalings.insert(root, names.clone());
        Ok(names)
    }

    /// Adds the pair behind a tensor.
    fn quantize(&mut self, name: &str) -> Result<()> {
        let [scale, zero] = self.scaling(name)?;
        let from = self.before.get(name).cloned().unwrap_or_else(|| name.to_string());
        let to = self.after.get(name).cloned().unwrap_or_default();
        let made = format!("{name}_QuantizeLinear");
        let inputs = [from.as_str(), &scale, &zero];
        let integers = self.edit.node("QuantizeLinear", &made, &inputs, &format!("{made}_Output"));
        let back = format!("{name}_DequantizeLinear");
        self.edit.node_to("DequantizeLinear", &back, &[&integers, &scale, &zero], &[&to]);
        Ok(())
    }

    /// A constant among activations, in their type.
    fn constant(&mut self, name: &str) -> Result<()> {
        let floats = self.source.floats(name).ok_or_else(|| Error::internal("a constant went missing"))?;
        let codes = Codes::of(floats, &Choice { signed: false, axis: None, least: &[] })?;
        let [codes, scale, zero] = self.edit.codes(name, &codes)?;
        let to = self.after.get(name).cloned().unwrap_or_default();
        let back = format!("{name}_DequantizeLinear");
        self.edit.node_to("DequantizeLinear", &back, &[&codes, &scale, &zero], &[&to]);
        self.scalings.insert(name.into(), [scale, zero]);
        Ok(())
    }

    /// Weights and biases: those that several nodes read once, with the largest scale that one of them needs
    /// for its bias.
    fn weights(&mut self) -> Result<()> {
        type Key<'k> = (&'k str, Option<usize>);
        let mut least: HashMap<Key<'_>, Vec<f64>> = HashMap::new();
        let marks = self.marks;
        for weights in &marks.weights {
            let Some((bias, x)) = self.bias(weights)? else { continue };
            let own = bytes::least_scales(bias.as_slice()?, x, weights.axis.is_some());
            let all = least.entry((&weights.name, weights.axis)).or_insert_with(|| vec![0.0; own.len()]);
            all.iter_mut().zip(own).for_each(|(all, own)| *all = all.max(own));
        }
        let mut made: HashMap<Key<'_>, (Codes, String)> = HashMap::new();
        for weights in &marks.weights {
            let key = (weights.name.as_str(), weights.axis);
            let (codes, floats) = match made.entry(key) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(place) => {
                    let least = least.get(&key).map(Vec::as_slice).unwrap_or_default();
                    let choice = Choice { signed: true, axis: weights.axis, least };
                    let missing = || Error::internal("weights went missing");
                    let floats = self.source.floats(&weights.name).ok_or_else(missing)?;
                    let named = |error: Error| error.at_tensor(&weights.name);
                    let codes = Codes::of(floats, &choice).map_err(named)?;
                    let names = self.edit.codes(&weights.name, &codes)?;
                    let to = self.back(&weights.name, &names, weights.axis.map(|axis| axis as i64));
                    place.insert((codes, to))
                }
            };
            self.own.insert((weights.at, 1), floats.clone());
            let mut bytes = codes.bytes();
            if let (Some((bias, x)), Some(name)) = (self.bias(weights)?, &weights.bias) {
                let [integers, units] =
                    bytes::bias(bias.as_slice()?, x, codes).map_err(|error| error.at_tensor(name))?;
                let each = units.rank() == 1;
                bytes += ((integers.len() + units.len()) * 4) as u64;
                let zero = Tensor::new(units.shape(), vec![0i32; units.len()])?;
                let names = [
                    self.edit.constant(&format!("{name}_quantized"), &integers)?,
                    self.edit.constant(&format!("{name}_quantized_scale"), &units)?,
                    self.edit.constant(&format!("{name}_quantized_zero_point"), &zero)?,
                ];
                let to = self.back(name, &names, each.then_some(0));
                self.own.insert((weights.at, 2), to);
            }
            self.bytes.insert(weights.at, bytes);
        }
        Ok(())
    }

    /// A node's bias and the scaling of what it multiplies, where it has one.
    fn bias(&self, weights: &Weights) -> Result<Option<(Tensor, Scaling)>> {
        let Some(name) = &weights.bias else { return Ok(None) };
        let bias = self.source.floats(name).cloned();
        let found = bias.zip(self.marks.scaling(&weights.x));
        found.map(Some).ok_or_else(|| Error::internal("a bias or a scale went missing").at_tensor(name))
    }

    /// Adds what makes floats of a constant's codes; returns their name.
    fn back(&mut self, name: &str, [codes, scale, zero]: &[String; 3], axis: Option<i64>) -> String {
        let node = format!("{name}_DequantizeLinear");
        let result = self.edit.fresh(&format!("{node}_Output"));
        let made = self.edit.node_to("DequantizeLinear", &node, &[codes, scale, zero], &[&result]);
        made.attribute = axis.map(|axis| int("axis", axis)).into_iter().collect();
        result
    }

    /// A node over what its inputs became, and the pairs behind it.
    fn node(&mut self, at: usize, mut node: NodeProto) -> Result<()> {
        if self.marks.gone.contains(&at) {
            return Ok(());
        }
        for (index, name) in node.input.iter_mut().enumerate() {
            let own = self.own.get(&(at, index)).or_else(|| self.after.get(name));
            if let Some(own) = own {
                name.clone_from(own);
            }
        }
        let mut results = vec![];
        for name in &mut node.output {
            let result = self.marks.result(name).to_string();
            name.clone_from(self.before.get(&result).unwrap_or(&result));
            if self.marks.of.contains_key(&result) {
                results.push(result);
            }
        }
        self.edit.nodes.push(node);
        results.iter().try_for_each(|name| self.quantize(name))
    }
}
