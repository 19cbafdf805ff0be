//! Model-local [functions](https://onnx.ai/onnx/repo-docs/IR.html#model-functions), replaced by their bodies.
//!
//! *Given* `y = F(x)` named `call` and `F(a) -> b: t = Relu(a); b = Neg(t)`
//! → *Result* `call/t = Relu(x); y = Neg(call/t)`.
//!
//! Names of a body get the calling node's name before them. An operator that is in the registry is left to it,
//! function or not.

use super::Find;
use super::bodies;
use super::contrib::{self, Known};
use crate::error::{Error, Result};
use onnx_protobuf::{AttributeProto, FunctionProto, Message, NodeProto, OperatorSetIdProto};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// How deep functions may call each other.
const MAX_CALLS: usize = 32;
/// A few functions that call each other twice can stand for any number of nodes: these bounds end it.
const MAX_NODES: usize = 1 << 20;
const MAX_BYTES: u64 = 1 << 30;

/// Versions of operator sets by domain.
pub type Opsets = BTreeMap<String, i64>;

/// The operator sets that a model or a function imports.
pub fn opsets(imports: &[OperatorSetIdProto]) -> Opsets {
    let mut all = Opsets::new();
    for import in imports {
        let version = all.entry(domain(&import.domain).to_string()).or_insert(import.version);
        *version = import.version.max(*version);
    }
    all
}

/// A domain's one name: "ai.onnx" is the empty one.
pub fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// A node's name, or that of its first output where it has none.
pub fn node_name(node: &NodeProto) -> &str {
    let first = || node.output.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
    if node.name.is_empty() { first() } else { &node.name }
}

/// A node, the operator sets that hold for it, and the functions that it was made by.
pub struct Versioned {
    pub node: NodeProto,
    pub opsets: Rc<Opsets>,
    /// What the node's graphs read of those around them.
    pub captures: Vec<String>,
    pub calls: Rc<[Key]>,
}

impl Versioned {
    fn new(node: NodeProto, opsets: Rc<Opsets>, calls: &[Key]) -> Self {
        let captures = bodies::captures(&node);
        Self { node, opsets, captures, calls: calls.into() }
    }
}

/// A function: its domain, name and overload.
pub type Key = (String, String, String);

/// What the expansion of functions has cost so far, in a model with all its graphs.
#[derive(Default)]
pub struct Cost {
    nodes: Cell<usize>,
    bytes: Cell<u64>,
}

impl Cost {
    fn add(&self, node: &NodeProto) -> Result<()> {
        self.nodes.set(self.nodes.get().saturating_add(1));
        self.bytes.set(self.bytes.get().saturating_add(node.compute_size()));
        if self.nodes.get() > MAX_NODES || self.bytes.get() > MAX_BYTES { Err(too_many()) } else { Ok(()) }
    }
}

fn too_many() -> Error {
    Error::memory("the model's functions expand to more than may be held")
        .remedy("export the model without functions")
}

/// What a graph's nodes are read with.
pub struct Scope<'a> {
    pub functions: &'a [FunctionProto],
    pub opsets: Rc<Opsets>,
    /// The functions that the graph lies in.
    pub calls: Rc<[Key]>,
    pub cost: &'a Cost,
    pub find: Find,
    /// Where what isn't supported is gathered, instead of ending the reading.
    pub missing: Option<&'a RefCell<Vec<Error>>>,
}

struct Inliner<'a> {
    functions: HashMap<Key, &'a FunctionProto>,
    find: Find,
    /// Value names that are taken.
    names: HashSet<String>,
    /// What the model declares of a value, and what is known of the values of bodies.
    declared: &'a dyn Fn(&str) -> Known,
    ranks: HashMap<String, usize>,
    /// What nodes that are constants make.
    constants: HashSet<String>,
    done: Vec<Versioned>,
    cost: &'a Cost,
    /// So many nodes at least does a call of a function become.
    sizes: HashMap<Key, usize>,
}

/// Replaces calls of functions by the functions' nodes, over and over, and onnxruntime's operators by
/// standard ones ([`contrib`]). `names` are the value names of the graph, `declared` is what is said of one.
pub fn inline(
    nodes: Vec<NodeProto>,
    scope: &Scope,
    names: HashSet<String>,
    declared: &dyn Fn(&str) -> Known,
) -> Result<Vec<Versioned>> {
    let key = |function: &FunctionProto| {
        (domain(&function.domain).to_string(), function.name.clone(), function.overload.clone())
    };
    let functions = scope.functions.iter().map(|function| (key(function), function)).collect();
    let mut inliner = Inliner {
        functions,
        find: scope.find,
        names,
        declared,
        ranks: HashMap::new(),
        constants: HashSet::new(),
        done: vec![],
        cost: scope.cost,
        sizes: HashMap::new(),
    };
    for node in nodes {
        inliner.node(node, &scope.opsets, &mut scope.calls.to_vec())?;
    }
    Ok(inliner.done)
}

impl Inliner<'_> {
    fn node(&mut self, node: NodeProto, opsets: &Rc<Opsets>, calls: &mut Vec<Key>) -> Result<()> {
        let domain = domain(&node.domain);
        let key = (domain.to_string(), node.op_type.clone(), node.overload.clone());
        let Some(&function) =
            self.functions.get(&key).filter(|_| (self.find)(domain, &node.op_type).is_none())
        else {
            return self.plain(node, opsets, calls);
        };
        let at_call = |error: Error| error.at_node(node_name(&node)).at_operator(&node.op_type);
        if calls.contains(&key) {
            return Err(at_call(
                Error::model("the function calls itself").remedy("ONNX allows no recursion"),
            ));
        }
        if calls.len() >= MAX_CALLS {
            return Err(at_call(Error::unsupported(format!(
                "functions call each other more than {MAX_CALLS} deep"
            ))));
        }
        if node.input.len() > function.input.len() || node.output.len() > function.output.len() {
            return Err(at_call(Error::model("passes more inputs or outputs than its function declares")));
        }
        // Said before the first million of them is made.
        if self.size(&key, 0) > MAX_NODES {
            return Err(at_call(too_many()));
        }
        calls.push(key);
        self.call(&node, function, opsets, calls).map_err(at_call)?;
        calls.pop();
        Ok(())
    }

    /// How many nodes a call becomes: at least so many, as what functions call beyond [`MAX_CALLS`] and what graphs
    /// within nodes hold isn't counted.
    fn size(&mut self, key: &Key, depth: usize) -> usize {
        if let Some(&size) = self.sizes.get(key) {
            return size;
        }
        let Some(&function) = self.functions.get(key).filter(|_| depth < MAX_CALLS) else { return 0 };
        // What calls itself is told of where it does.
        self.sizes.insert(key.clone(), 0);
        let mut size = function.node.len();
        for node in &function.node {
            let domain = domain(&node.domain);
            if (self.find)(domain, &node.op_type).is_none() {
                let called = (domain.to_string(), node.op_type.clone(), node.overload.clone());
                size = size.saturating_add(self.size(&called, depth + 1));
            }
        }
        self.sizes.insert(key.clone(), size);
        size
    }

    /// A node that calls no function: as it is, or as the body of standard operators that stands for it.
    fn plain(&mut self, node: NodeProto, opsets: &Rc<Opsets>, calls: &[Key]) -> Result<()> {
        let known = (self.find)(domain(&node.domain), &node.op_type).is_some();
        let (declared, ranks, names, constants) =
            (self.declared, &self.ranks, &mut self.names, &self.constants);
        let of = |name: &str| {
            let known = declared(name);
            let constant = known.constant || constants.contains(name);
            Known { rank: ranks.get(name).copied().or(known.rank), constant, ..known }
        };
        let plain = known && !contrib::has_graphs_to_inline(&node) && !contrib::varies(&node, &of);
        let body = if plain { None } else { contrib::body(&node, &mut |hint| fresh(names, hint), &of) };
        let Some(body) = body else {
            // A Reshape to a constant shape says how many axes there are then, which models don't declare of
            // every value.
            if let ("Reshape", [_, shape, ..], [result, ..]) =
                (node.op_type.as_str(), &node.input[..], &node.output[..])
                && let Some(rank) = of(shape).length
            {
                self.ranks.insert(result.clone(), rank);
            }
            if node.op_type == "Constant" {
                self.constants.extend(node.output.iter().cloned());
            }
            self.done.push(Versioned::new(node, opsets.clone(), calls));
            return Ok(());
        };
        let body = body.map_err(|error| error.at_node(node_name(&node)).at_operator(&node.op_type))?;
        self.ranks.extend(body.ranks);
        if body.around {
            // What the model's own graphs hold may call its functions.
            for node in body.nodes {
                self.cost.add(&node)?;
                self.node(node, opsets, &mut calls.to_vec())?;
            }
            return Ok(());
        }
        let opsets = Rc::new(Opsets::from([(String::new(), contrib::VERSION)]));
        self.done.extend(body.nodes.into_iter().map(|node| Versioned::new(node, opsets.clone(), calls)));
        Ok(())
    }

    fn call(
        &mut self,
        node: &NodeProto,
        function: &FunctionProto,
        outer: &Opsets,
        calls: &mut Vec<Key>,
    ) -> Result<()> {
        // What a function doesn't import it takes from the model.
        let mut opsets = outer.clone();
        opsets.extend(self::opsets(&function.opset_import));
        let opsets = Rc::new(opsets);
        let prefix = format!("{}/", node_name(node));
        // Every name of the body: the caller's for inputs and outputs, a fresh one for the rest.
        let mut names: HashMap<String, String> = HashMap::new();
        for (index, name) in function.input.iter().enumerate() {
            names.insert(name.clone(), node.input.get(index).cloned().unwrap_or_default());
        }
        let mut copies = vec![];
        for (name, result) in
            function.output.iter().zip(&node.output).filter(|(_, result)| !result.is_empty())
        {
            match names.get(name) {
                Some(source) => copies.push((source.clone(), result.clone())),
                None => drop(names.insert(name.clone(), result.clone())),
            }
        }
        for inner in &function.node {
            self.cost.add(inner)?;
            let captures = bodies::captures(inner);
            for name in
                inner.input.iter().chain(&inner.output).chain(&captures).filter(|name| !name.is_empty())
            {
                if !names.contains_key(name) {
                    names.insert(name.clone(), fresh(&mut self.names, format!("{prefix}{name}")));
                }
            }
            let renamed = |list: &[String]| {
                list.iter().map(|name| names.get(name).cloned().unwrap_or_default()).collect()
            };
            let body = NodeProto {
                input: renamed(&inner.input),
                output: renamed(&inner.output),
                name: if inner.name.is_empty() { String::new() } else { format!("{prefix}{}", inner.name) },
                op_type: inner.op_type.clone(),
                domain: inner.domain.clone(),
                overload: inner.overload.clone(),
                attribute: inner
                    .attribute
                    .iter()
                    .filter_map(|attribute| resolve(attribute, node, function))
                    .map(|attribute| {
                        let resolved = |inner: &AttributeProto| resolve(inner, node, function);
                        bodies::renamed(attribute, &names, &resolved)
                    })
                    .collect(),
                ..Default::default()
            };
            self.node(body, &opsets, calls)?;
        }
        // An output that is an input, or another output, as it is.
        for (source, result) in copies {
            let identity = NodeProto {
                input: vec![source],
                output: vec![result],
                op_type: "Identity".into(),
                ..Default::default()
            };
            self.done.push(Versioned::new(identity, opsets.clone(), calls));
        }
        Ok(())
    }
}

/// A value name that is not taken, made from `hint`, and now is.
fn fresh(names: &mut HashSet<String>, hint: String) -> String {
    let mut name = hint.clone();
    let mut count = 1;
    while !names.insert(name.clone()) {
        count += 1;
        name = format!("{hint}.{count}");
    }
    name
}

/// An attribute of a body's node. One that refers to the function's takes the caller's value, else the
/// default, else is left out.
fn resolve(
    attribute: &AttributeProto,
    caller: &NodeProto,
    function: &FunctionProto,
) -> Option<AttributeProto> {
    if attribute.ref_attr_name.is_empty() {
        return Some(attribute.clone());
    }
    let mut candidates = caller.attribute.iter().chain(&function.attribute_proto);
    let value = candidates.find(|candidate| candidate.name == attribute.ref_attr_name)?;
    Some(AttributeProto { name: attribute.name.clone(), ..value.clone() })
}
