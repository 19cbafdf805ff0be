//! 16-bit floats as the CPU holds them in float32, against the same nodes in 16 bits: to the bit, since what is
//! rounded is the same.

use super::{number, random};
use onnx_protobuf::Message;
use sardonyx::base::{EvalPrecision, Fact};
use sardonyx::cpu::{self, weights::Weights, widened};
use sardonyx::plan::{Inference, infer};
use sardonyx::{DType, Session, Tensor, onnx};
use std::collections::HashMap;

/// These have float64 at hand for 16 bits, or a form for float32 that sums in another order.
const OTHERWISE: &[&str] = &["Attention", "LayerNormalization", "RMSNormalization"];

#[test]
fn sixteen_bits_in_float32_are_the_same_to_the_bit() {
    let (first, count) = (number("SARDONYX_RANDOM_SEED", 0), number("SARDONYX_RANDOM_GRAPHS", 1000));
    let (mut narrow, mut nodes) = (0, 0);
    for seed in first..first + count {
        let random = random(seed);
        let bytes = random.model().write_to_bytes().unwrap();
        let session = Session::builder().build(onnx::read_bytes(&bytes, None, "random").unwrap()).unwrap();
        let inputs = random.inputs();
        let named: Vec<(&str, Tensor)> = inputs.iter().map(|(name, x)| (name.as_str(), x.clone())).collect();
        let values = session.bind(&named).unwrap();
        let mut graph = session.planned().clone();
        let known: HashMap<_, _> = values.iter().map(|(&id, tensor)| (id, Fact::of(tensor))).collect();
        let Inference::Complete(mut facts) = infer(&graph, &known).unwrap() else { continue };
        let small = |facts: &[Option<Fact>]| {
            facts.iter().flatten().filter(|fact| matches!(fact.dtype, DType::F16 | DType::BF16)).count()
        };
        if small(&facts) == 0 || graph.nodes.iter().any(|node| OTHERWISE.contains(&node.op_type.as_str())) {
            continue;
        }
        let before = cpu::run(&graph, &values, EvalPrecision::Declared, &mut |_, _| {}).unwrap();
        let as_written = graph.nodes.len();
        widened::rewrite(&mut graph, &mut facts, &Weights::default()).unwrap();
        graph.verify().unwrap();
        let after = cpu::run(&graph, &values, EvalPrecision::Declared, &mut |_, _| {}).unwrap();
        for (index, (before, after)) in before.iter().zip(&after).enumerate() {
            assert_eq!((before.dtype(), before.shape()), (after.dtype(), after.shape()), "seed {seed}");
            let same = match (before.to_f64s(), after.to_f64s()) {
                (Ok(x), Ok(y)) => {
                    x.iter().zip(&y).all(|(x, y)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan())
                }
                _ => before == after,
            };
            assert!(same, "seed {seed}, output {index}: {before:?}, in float32 {after:?}");
        }
        narrow += 1;
        nodes += graph.nodes.len() - as_written;
    }
    println!("{narrow} graphs with 16 bits; {nodes} nodes for casts and roundings");
    assert!(narrow * 10 > count, "{narrow} of {count} graphs");
}
