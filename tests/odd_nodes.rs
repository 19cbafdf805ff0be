//! Every operator with attributes, shapes, types and values that nobody means: an answer or an error, never a
//! panic.
//!
//! Each operator's cases are taken apart by a seeded draw: integers become extremes, lists grow and shrink,
//! inputs change their rank and type or go missing. Sizes are small or beyond counting, so that nothing is
//! allocated that a machine could hold but shouldn't.

use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::graph::{Declared, Graph, Node, ValueId};
use sardonyx::onnx::{Model, ModelInfo};
use sardonyx::ops::case::{Case, Operand};
use sardonyx::ops::{Attribute, Input, NodeView, OpDef, operators};
use sardonyx::plan::Capabilities;
use sardonyx::random::SplitMix64;
use sardonyx::tensor::{DType, cast};
use sardonyx::{Session, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// A tame draw has elements of ordinary size, so that results can be compared.
struct Draw(SplitMix64, bool);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0.next()
    }
    fn below(&mut self, count: u64) -> u64 {
        (self.next() >> 11) % count
    }
    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
    fn integer(&mut self) -> i64 {
        self.pick(&[
            0,
            1,
            -1,
            2,
            -2,
            3,
            4,
            5,
            -3,
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            i64::MIN + 1,
            1 << 62,
            -(1 << 61),
            1 << 60,
            1 << 59,
        ])
    }
    fn element(&mut self) -> i64 {
        if self.1 { self.below(9) as i64 - 4 } else { self.integer() }
    }
    fn float(&mut self) -> f32 {
        if self.1 {
            return self.below(4001) as f32 / 1000.0 - 2.0;
        }
        self.pick(&[
            0.0,
            1.0,
            -1.0,
            0.5,
            2.0,
            -0.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e30,
            -1e30,
            1e-30,
        ])
    }
    fn integers(&mut self, from: &[i64]) -> Vec<i64> {
        let mut list: Vec<i64> =
            from.iter().map(|&x| if self.one_in(3) { self.integer() } else { x }).collect();
        match self.below(6) {
            0 => drop(list.pop()),
            1 => list.push(self.integer()),
            2 => list.reverse(),
            _ => {}
        }
        list
    }
    fn attribute(&mut self, from: Attribute) -> Attribute {
        match from {
            Attribute::Int(_) => Attribute::Int(self.integer()),
            Attribute::Float(_) => Attribute::Float(self.float()),
            Attribute::Ints(list) => Attribute::Ints(self.integers(&list)),
            Attribute::Floats(list) => Attribute::Floats(list.iter().map(|_| self.float()).collect()),
            Attribute::String(_) => Attribute::String(
                self.pick(&["", "nonsense", "reflect", "linear", "cubic", "SAME_UPPER", "max", "é"])
                    .to_string(),
            ),
            other => other,
        }
    }
    /// Elements of a type in a shape; for integers extremes among small ones.
    fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        if dtype == DType::String {
            return Tensor::strings(shape, vec!["a".into(); count]).unwrap();
        }
        if dtype.is_float() {
            let floats = Tensor::new(shape, (0..count).map(|_| self.float()).collect()).unwrap();
            return cast(&floats, dtype, true).unwrap();
        }
        // As a size, 250 in several dimensions is more than a test should take.
        let element =
            |draw: &mut Self| if dtype == DType::U8 { draw.below(6) as i64 } else { draw.element() };
        cast(&Tensor::new(shape, (0..count).map(|_| element(self)).collect::<Vec<_>>()).unwrap(), dtype, true)
            .unwrap()
    }
    fn shape(&mut self) -> Vec<usize> {
        (0..self.below(6)).map(|_| self.pick(&[1, 2, 3, 4, 5, 0])).collect()
    }
    fn operand(&mut self, operand: Operand) -> Option<Tensor> {
        let own = operand.tensor(self.next()).unwrap();
        match (self.below(6), own) {
            (0, _) => None,
            (1, Some(tensor)) => {
                let shape = self.shape();
                Some(self.tensor(tensor.dtype(), &shape))
            }
            (2, Some(tensor)) => {
                let dtype = self.pick(&[
                    DType::F64,
                    DType::F16,
                    DType::I64,
                    DType::I32,
                    DType::U8,
                    DType::Bool,
                    DType::String,
                    DType::BF16,
                    DType::U64,
                ]);
                Some(self.tensor(dtype, tensor.shape()))
            }
            (3, Some(tensor)) if tensor.dtype() == DType::I64 => {
                let list = self.integers(&tensor.to_i64s().unwrap());
                Some(Tensor::int64s(list))
            }
            (_, own) => own,
        }
    }
}

/// A graph of one node, and what it is given; `None` where `parse` refuses it.
fn odd(def: &OpDef, case: &Case, draw: &mut Draw) -> Option<(Graph, Vec<(String, Tensor)>)> {
    let version = if draw.one_in(4) {
        1 + draw.below(24) as i64
    } else {
        [24, case.version][usize::from(case.version != 0)]
    };
    let mut attributes = BTreeMap::new();
    for (name, value) in case.attributes {
        let value = value.attribute();
        match draw.below(4) {
            0 => {}
            1 => drop(attributes.insert(name.to_string(), draw.attribute(value))),
            _ => drop(attributes.insert(name.to_string(), value)),
        }
    }
    let mut tensors: Vec<(Option<Tensor>, bool)> =
        case.inputs.iter().map(|&operand| (draw.operand(operand), operand.is_constant())).collect();
    if draw.one_in(8) {
        let shape = draw.shape();
        tensors.push((Some(draw.tensor(DType::F32, &shape)), false));
    }
    let names = tensors
        .iter()
        .enumerate()
        .map(|(k, (tensor, _))| if tensor.is_some() { Input::Named(format!("x{k}")) } else { Input::Absent })
        .collect();
    let outputs = if draw.one_in(6) { 1 + draw.below(4) as usize } else { case.outputs };
    let mut view = NodeView::new("node", def.name, version, attributes, names, outputs);
    let op = (def.parse)(&mut view).ok()?;
    let mut graph = Graph::default();
    let (mut given, mut ids): (Vec<(String, Tensor)>, BTreeMap<String, ValueId>) = Default::default();
    for (k, (tensor, constant)) in tensors.into_iter().enumerate() {
        let (Some(tensor), name) = (tensor, format!("x{k}")) else { continue };
        // Now and then a run gives what a model mostly holds.
        let constant = constant && !draw.one_in(4);
        let id = graph.add_value(
            &name,
            Some(Declared { dtype: tensor.dtype(), dims: None }),
            constant.then(|| tensor.clone()),
        );
        ids.insert(name.clone(), id);
        if !constant {
            graph.inputs.push(id);
            given.push((name, tensor));
        }
    }
    let input = |graph: &mut Graph, input: &Input| match input {
        Input::Absent => None,
        Input::Named(name) => Some(ids[name]),
        Input::Constant(tensor) => Some(graph.add_constant("attribute", tensor.clone())),
    };
    let inputs = view.inputs.iter().map(|one| input(&mut graph, one)).collect();
    graph.outputs = (0..outputs).map(|k| graph.add_value(format!("y{k}"), None, None)).collect();
    let outputs = graph.outputs.iter().copied().map(Some).collect();
    graph.nodes.push(Node {
        name: "node".into(),
        op_type: def.name.into(),
        op,
        inputs,
        outputs,
        fused: vec![],
    });
    Some((graph, given))
}

/// Runs it on the CPU, and plans it for a GPU. Returns whether it ran.
fn attempt(graph: Graph, given: &[(String, Tensor)]) -> bool {
    let named: Vec<(&str, Tensor)> =
        given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let Ok(session) = Session::builder().build(Model { graph, info: ModelInfo::default() }) else {
        return false;
    };
    let ran = session.run(&named);
    if let Err(error) = &ran {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let values = session.bind(&named).unwrap();
    let planned = session.plan_for(&values, &Capabilities::webgpu());
    // What a plan knows beforehand of a run is what the run makes.
    if let (Ok(outputs), Ok(prepared)) = (&ran, &planned)
        && let Some(plan) = &prepared.plan
    {
        for (id, (_, tensor)) in plan.graph.outputs.iter().zip(outputs) {
            let fact = plan.facts[id.0 as usize].as_ref().unwrap();
            assert_eq!(
                (fact.dtype, &fact.shape[..]),
                (tensor.dtype(), tensor.shape()),
                "infer and eval disagree"
            );
        }
    }
    ran.is_ok()
}

/// How many draws of each case: more by SARDONYX_ODD_ROUNDS.
fn rounds(few: u64) -> u64 {
    std::env::var("SARDONYX_ODD_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// What the CPU takes and computes in finite numbers, the GPU gives too.
#[test]
fn the_gpu_gives_the_cpus_answer() {
    if let Some(device) = test_device() {
        on_device(&device, 1);
    }
}

#[test]
fn and_under_the_limits_of_webgpu() {
    if test_device().is_some() {
        on_device(&GpuDevice::open(&Selection::Gpu, &LimitsOption::WebGpu).unwrap().unwrap(), 2);
    }
}

/// Each seed draws other cases.
fn on_device(device: &GpuDevice, seed: u64) {
    let (mut ran, mut wrong) = (0, vec![]);
    for (index, def) in operators().enumerate() {
        for (k, case) in def.cases.iter().enumerate() {
            for round in 0..rounds(3) {
                let mut draw =
                    Draw(SplitMix64(seed << 60 | (index as u64) << 40 | (k as u64) << 20 | round), true);
                let Some((graph, given)) = odd(def, case, &mut draw) else { continue };
                let label = || {
                    format!(
                        "{} case {k} round {round}: {:?} over {:?}",
                        def.name,
                        graph.nodes[0].op,
                        shapes(&graph)
                    )
                };
                // What is drawn at random is another draw each time.
                if graph.nodes.iter().any(|node| node.op.is_random()) {
                    continue;
                }
                let model = || Model { graph: graph.clone(), info: ModelInfo::default() };
                let named: Vec<(&str, Tensor)> =
                    given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
                let Ok(expected) = Session::builder().build(model()).and_then(|session| session.run(&named))
                else {
                    continue;
                };
                match Session::builder()
                    .device(Some(device.clone()))
                    .build(model())
                    .and_then(|session| session.run(&named))
                {
                    Err(error) => wrong.push(format!("{}: {error}", label())),
                    Ok(results) => wrong.extend(
                        results
                            .iter()
                            .zip(&expected)
                            .filter_map(|(x, y)| Some(format!("{}: {}", label(), differs(&x.1, &y.1)?))),
                    ),
                }
                ran += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {ran} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn shapes(graph: &Graph) -> Vec<String> {
    let text = |value: &sardonyx::graph::Value| match (&value.constant, &value.declared) {
        (Some(tensor), _) => format!("{}{:?}", tensor.dtype(), tensor.shape()),
        (None, Some(declared)) => format!("{} given", declared.dtype),
        _ => "made".to_string(),
    };
    graph.values.iter().map(text).collect()
}

/// As in tests/operators.rs, with results that aren't finite, or are rounded up or down to integers, left out.
fn differs(got: &Tensor, want: &Tensor) -> Option<String> {
    if (got.dtype(), got.shape()) != (want.dtype(), want.shape()) {
        return Some(format!(
            "{} {:?} instead of {} {:?}",
            got.dtype(),
            got.shape(),
            want.dtype(),
            want.shape()
        ));
    }
    let (Ok(x), Ok(y)) = (got.to_f64s(), want.to_f64s()) else {
        return (got != want).then(|| "other strings".to_string());
    };
    let epsilon = if matches!(want.dtype(), DType::F16 | DType::BF16) { 1e-2 } else { 1e-4 };
    let scale = y.iter().filter(|y| y.is_finite()).fold(1.0f64, |high, y| high.max(y.abs()));
    let bad = x.iter().zip(&y).position(|(x, y)| y.is_finite() && (x - y).abs() > epsilon * scale)?;
    Some(format!(
        "element {bad} is {} instead of {}: {:?} instead of {:?}",
        x[bad],
        y[bad],
        &x[..x.len().min(8)],
        &y[..y.len().min(8)]
    ))
}

#[test]
fn an_answer_or_an_error() {
    static PANICS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    thread_local! { static NAME: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) }; }
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map_or(String::new(), |place| format!("{}:{}", place.file(), place.line()));
        let text = panic.payload_as_str().unwrap_or_default().lines().take(3).collect::<Vec<_>>().join(" ");
        PANICS.lock().unwrap().insert(NAME.with_borrow(|name| format!("{name} at {place}: {text}")));
    }));
    let (mut ran, mut tried) = (0, 0);
    for (index, def) in operators().enumerate() {
        // Elementwise operators share their code: fewer of each.
        for (k, case) in def.cases.iter().enumerate() {
            for round in 0..rounds(60) {
                let mut draw = Draw(SplitMix64((index as u64) << 40 | (k as u64) << 20 | round), false);
                NAME.set(def.name.to_string());
                tried += 1;
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    odd(def, case, &mut draw).is_some_and(|(graph, given)| attempt(graph, &given))
                }));
                ran += usize::from(outcome.unwrap_or(false));
            }
        }
    }
    drop(std::panic::take_hook());
    let panics = PANICS.lock().unwrap().iter().cloned().collect::<Vec<_>>();
    assert!(panics.is_empty(), "{} panics in {tried} tries:\n{}", panics.len(), panics.join("\n"));
    // The draw is odd, not hopeless.
    assert!(ran * 10 > tried, "{ran} of {tried} ran");
}
