//! The kernel families that the laboratory knows: for some sizes a small graph, with seeded inputs.

use crate::error::{Error, Result};
use crate::graph::{Declared, Graph, Node, ValueId};
use crate::ops::case::draws;
use crate::ops::{self, Attribute, Input, NodeView};
use crate::tensor::{Tensor, allocate, element_count};
use std::collections::HashMap;
use std::sync::Arc;

/// The operators' version in the graphs.
const VERSION: i64 = 23;

/// The most elements of a tensor here: sizes come from the command line.
const MOST: usize = 1 << 28;

/// A family: its name for `--kernel`, what its sizes mean, and the graph that it makes of them.
pub struct Family {
    pub name: &'static str,
    pub sizes: &'static str,
    make: fn(&mut Maker, &[usize]) -> Result<ValueId>,
    /// Bytes that must move where it isn't each tensor once.
    pub moved: Option<fn(&[usize]) -> u64>,
}

const fn family(
    name: &'static str,
    sizes: &'static str,
    make: fn(&mut Maker, &[usize]) -> Result<ValueId>,
) -> Family {
    Family { name, sizes, make, moved: None }
}

/// Every family.
pub static FAMILIES: &[Family] = &[
    family("matmul", "rows x inner x columns: by weights", |at, sizes| {
        let [m, k, n] = exactly(sizes)?;
        let (a, b) = (at.input(&[m, k])?, at.weights(&[k, n])?);
        at.node("MatMul", &[], &[a, b])
    }),
    family(
        "matmul_nbits",
        "rows x inner x columns x bits x block: by weights of 2, 4 or 8 bits",
        |at, sizes| {
            let [m, k, n, bits, block] = exactly(sizes)?;
            at.matmul_nbits([m, k, n], bits, block)
        },
    ),
    family("matmul_batch", "batch x rows x inner x columns: of activations, as in attention", |at, sizes| {
        let [batch, m, k, n] = exactly(sizes)?;
        let (a, b) = (at.input(&[batch, m, k])?, at.input(&[batch, k, n])?);
        at.node("MatMul", &[], &[a, b])
    }),
    family("conv", "in channels x height x width x out channels x kernel x stride", |at, sizes| {
        let [c, h, w, o, k, stride] = exactly(sizes)?;
        at.conv([c, h, w], [o, c], k, stride, 1)
    }),
    family("depthwise", "channels x height x width x kernel x stride", |at, sizes| {
        let [c, h, w, k, stride] = exactly(sizes)?;
        at.conv([c, h, w], [c, 1], k, stride, c)
    }),
    family("softmax", "rows x length", |at, sizes| {
        let x = at.input(&exactly::<2>(sizes)?)?;
        at.node("Softmax", &[("axis", Attribute::Int(-1))], &[x])
    }),
    family("attention", "heads x queries x keys x elements of a head", |at, sizes| {
        let [heads, queries, keys, depth] = exactly(sizes)?;
        let (q, k, v) = (
            at.input(&[1, heads, queries, depth])?,
            at.input(&[1, heads, keys, depth])?,
            at.input(&[1, heads, keys, depth])?,
        );
        at.node("Attention", &[], &[q, k, v])
    }),
    family("layer_norm", "rows x length", |at, sizes| {
        let [rows, length] = exactly(sizes)?;
        let (x, scale, shift) = (at.input(&[rows, length])?, at.weights(&[length])?, at.weights(&[length])?);
        at.node("LayerNormalization", &[("axis", Attribute::Int(-1))], &[x, scale, shift])
    }),
    family("reduce", "rows x length: the mean of each row", |at, sizes| {
        let (x, axes) = (at.input(&exactly::<2>(sizes)?)?, at.constant(Tensor::int64s([1])));
        at.node("ReduceMean", &[], &[x, axes])
    }),
    family("global_pool", "channels x height x width", |at, sizes| {
        let [c, h, w] = exactly(sizes)?;
        let x = at.input(&[1, c, h, w])?;
        at.node("GlobalAveragePool", &[], &[x])
    }),
    family("transpose", "a x b x c x d: to a x c x b x d", |at, sizes| {
        let x = at.input(&exactly::<4>(sizes)?)?;
        at.node("Transpose", &[("perm", Attribute::Ints(vec![0, 2, 1, 3]))], &[x])
    }),
    family("elementwise", "any sizes: sigmoid(x + y) * y in one pass", |at, sizes| {
        let (x, y) = (at.input(sizes)?, at.input(sizes)?);
        let sum = at.node("Add", &[], &[x, y])?;
        let gate = at.node("Sigmoid", &[], &[sum])?;
        at.node("Mul", &[], &[gate, y])
    }),
    Family {
        name: "gather",
        sizes: "rows of the table x width x rows taken",
        make: |at, sizes| {
            let [table, width, taken] = exactly(sizes)?;
            let (x, index) = (at.weights(&[table, width])?, at.indices(taken, table)?);
            at.node("Gather", &[], &[x, index])
        },
        // The rows taken, read and written, and their int64 indices.
        moved: Some(|sizes| match sizes {
            [_, width, taken] => (*taken as u64).saturating_mul(*width as u64 * 8 + 8),
            _ => 0,
        }),
    },
    family("pool", "channels x height x width x kernel x stride: the largest", |at, sizes| {
        let [c, h, w, k, stride] = exactly(sizes)?;
        let x = at.input(&[1, c, h, w])?;
        let attributes = [
            ("kernel_shape", ints(&[k; 2])?),
            ("strides", ints(&[stride; 2])?),
            ("pads", ints(&[k / 2; 4])?),
        ];
        at.node("MaxPool", &attributes, &[x])
    }),
    family("resize", "channels x height x width x factor: bilinear", |at, sizes| {
        let [c, h, w, factor] = exactly(sizes)?;
        let x = at.input(&[1, c, h, w])?;
        let scales = at.constant(Tensor::new([4], vec![1.0, 1.0, factor as f32, factor as f32])?);
        at.node_of("Resize", &[("mode", Attribute::String("linear".into()))], &[Some(x), None, Some(scales)])
    }),
];

/// The family of a name.
pub fn find(name: &str) -> Result<&'static Family> {
    let names = || FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ");
    let found = FAMILIES.iter().find(|family| family.name == name);
    found.ok_or_else(|| {
        Error::usage(format!("there is no kernel '{name}'")).remedy(format!("choose one of all, {}", names()))
    })
}

impl Family {
    /// The graph for these sizes and its inputs, the same for the same seed.
    ///
    /// Errors: another number of sizes than the family takes, a size of 0, a tensor beyond 2²⁸ elements.
    pub fn graph(&self, sizes: &[usize], seed: u64) -> Result<(Graph, HashMap<ValueId, Tensor>)> {
        let wrong =
            |error: Error| error.at_operator(self.name).remedy(format!("its sizes are: {}", self.sizes));
        if sizes.is_empty() || sizes.contains(&0) {
            return Err(wrong(Error::usage(format!("{sizes:?} are no sizes"))));
        }
        let mut maker = Maker { graph: Graph::default(), given: HashMap::new(), seed };
        let output = (self.make)(&mut maker, sizes).map_err(wrong)?;
        maker.graph.outputs.push(output);
        maker.graph.verify()?;
        Ok((maker.graph, maker.given))
    }
}

fn exactly<const N: usize>(sizes: &[usize]) -> Result<[usize; N]> {
    sizes.try_into().map_err(|_| Error::usage(format!("{} sizes where {N} are needed", sizes.len())))
}

fn ints(list: &[usize]) -> Result<Attribute> {
    let one = |&size: &usize| {
        i64::try_from(size).map_err(|_| Error::usage(format!("the size {size} is too large")))
    };
    Ok(Attribute::Ints(list.iter().map(one).collect::<Result<_>>()?))
}

/// A graph in the making.
struct Maker {
    graph: Graph,
    given: HashMap<ValueId, Tensor>,
    seed: u64,
}

impl Maker {
    /// Floats in [−1, 1).
    fn floats(&mut self, shape: &[usize]) -> Result<Tensor> {
        let count = element_count(shape)?;
        if count > MOST {
            return Err(Error::usage(format!("a tensor of shape {shape:?} is beyond 2²⁸ elements")));
        }
        self.seed = self.seed.wrapping_add(1);
        let mut draw = draws(self.seed << 32);
        let mut list = allocate(count)?;
        list.extend((0..count).map(|_| draw() as f32 / (1 << 23) as f32 - 1.0));
        Tensor::new(shape, list)
    }
    fn given(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("x{}", self.graph.values.len());
        let declared = Declared { dtype: tensor.dtype(), dims: None };
        let id = self.graph.add_value(name, Some(declared), None);
        self.graph.inputs.push(id);
        self.given.insert(id, tensor);
        id
    }
    fn input(&mut self, shape: &[usize]) -> Result<ValueId> {
        let tensor = self.floats(shape)?;
        Ok(self.given(tensor))
    }
    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant("w", tensor)
    }
    fn weights(&mut self, shape: &[usize]) -> Result<ValueId> {
        let tensor = self.floats(shape)?;
        Ok(self.constant(tensor))
    }
    /// Bytes of all values, a constant.
    fn codes(&mut self, shape: &[usize]) -> Result<ValueId> {
        let count = element_count(shape)?;
        if count > MOST {
            return Err(Error::usage(format!("weights of shape {shape:?} are beyond 2²⁸ bytes")));
        }
        self.seed = self.seed.wrapping_add(1);
        let mut draw = draws(self.seed << 32);
        let mut list = allocate(count)?;
        list.extend((0..count).map(|_| draw() as u8));
        Ok(self.constant(Tensor::new(shape, list)?))
    }
    fn matmul_nbits(&mut self, [m, k, n]: [usize; 3], bits: usize, block: usize) -> Result<ValueId> {
        if ![2, 4, 8].contains(&bits) || block < 16 || !block.is_power_of_two() {
            return Err(Error::usage(format!("{bits} bits in blocks of {block}")));
        }
        let blocks = k.div_ceil(block);
        let (a, b, scales) =
            (self.input(&[m, k])?, self.codes(&[n, blocks, block * bits / 8])?, self.weights(&[n, blocks])?);
        let sizes = [("K", k), ("N", n), ("bits", bits), ("block_size", block)];
        let attributes = sizes.map(|(name, size)| (name, Attribute::Int(size as i64)));
        self.node_in("com.microsoft", "MatMulNBits", &attributes, &[Some(a), Some(b), Some(scales)])
    }
    /// `count` indices below `limit`, given at run time.
    fn indices(&mut self, count: usize, limit: usize) -> Result<ValueId> {
        if count > MOST {
            return Err(Error::usage(format!("{count} indices are beyond 2²⁸")));
        }
        let mut draw = draws(self.seed);
        let mut list = allocate(count)?;
        list.extend((0..count).map(|_| (draw() as usize % limit.max(1)) as i64));
        let tensor = Tensor::new([count], list)?;
        Ok(self.given(tensor))
    }
    /// A padded convolution with a bias and Relu behind it.
    fn conv(
        &mut self,
        [c, h, w]: [usize; 3],
        [out, of_group]: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> Result<ValueId> {
        let (x, filters, bias) = (
            self.input(&[1, c, h, w])?,
            self.weights(&[out, of_group, kernel, kernel])?,
            self.weights(&[out])?,
        );
        let group = i64::try_from(groups).map_err(|_| Error::usage("too many groups"))?;
        let attributes = [
            ("strides", ints(&[stride; 2])?),
            ("pads", ints(&[kernel / 2; 4])?),
            ("group", Attribute::Int(group)),
        ];
        let sum = self.node("Conv", &attributes, &[x, filters, bias])?;
        self.node("Relu", &[], &[sum])
    }
    fn node(
        &mut self,
        op_type: &str,
        attributes: &[(&str, Attribute)],
        inputs: &[ValueId],
    ) -> Result<ValueId> {
        self.node_of(op_type, attributes, &inputs.iter().copied().map(Some).collect::<Vec<_>>())
    }
    fn node_of(
        &mut self,
        op_type: &str,
        attributes: &[(&str, Attribute)],
        inputs: &[Option<ValueId>],
    ) -> Result<ValueId> {
        self.node_in("", op_type, attributes, inputs)
    }
    fn node_in(
        &mut self,
        domain: &str,
        op_type: &str,
        attributes: &[(&str, Attribute)],
        inputs: &[Option<ValueId>],
    ) -> Result<ValueId> {
        let def =
            ops::find(domain, op_type).ok_or_else(|| Error::internal(format!("no operator {op_type}")))?;
        let named = |id: &Option<ValueId>| {
            id.map_or(Input::Absent, |id| Input::Named(self.graph.value(id).name.clone()))
        };
        let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let mut view =
            NodeView::new(op_type, op_type, VERSION, attributes, inputs.iter().map(named).collect(), 1);
        let op = (def.parse)(&mut view)?;
        let output = self.graph.add_value(format!("y{}", self.graph.values.len()), None, None);
        let node = Node {
            name: op_type.into(),
            op_type: op_type.into(),
            op: Arc::clone(&op),
            inputs: inputs.to_vec(),
            outputs: vec![Some(output)],
            fused: vec![],
        };
        self.graph.nodes.push(node);
        Ok(output)
    }
}
