use sardonyx::gpu::{Device, LimitsOption, Selection};
use sardonyx::{Session, Tensor, cpu, onnx, ops::Mode, plan};
use std::collections::HashMap;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let device = Device::open(&"gpu".parse::<Selection>().unwrap(), &LimitsOption::Adapter).unwrap();
    let session = Session::builder().device(device).load(format!("{}/model.onnx", args[1])).unwrap();
    let ports = session.inputs();
    let named: Vec<(&str, Tensor)> = ports
        .iter()
        .enumerate()
        .map(|(k, p)| (p.name.as_str(), onnx::read_pb(format!("{}/test_data_set_0/input_{k}.pb", args[1]).as_ref()).unwrap().1))
        .collect();
    let values = session.bind(&named).unwrap();
    let prepared = session.prepare(&values).unwrap();
    let mut reference = HashMap::new();
    cpu::run(session.original(), &values, Mode::Declared, &mut |id, t| {
        reference.insert(id, t.clone());
    })
    .unwrap();
    let plan = prepared.plan.clone().unwrap();
    println!("fallbacks {:?}", prepared.fallbacks());
    let mut ex = session.lease(&prepared, &plan).unwrap();
    let eval = |op: &dyn sardonyx::ops::Operator, o: &[Option<&Tensor>]| cpu::eval_node(op, o, Mode::Declared);
    ex.run_probed(&values, &eval, &mut |step, written| {
        let s = &plan.steps[step];
        for w in written {
            let (id, bytes) = (w.0, &w.1);
            let place = plan.place(id);
            let Some(v) = place.value else {
                println!("{step} {} {} scratch", s.label, s.op_type);
                continue;
            };
            let got = plan::decode(bytes, place.fact.dtype, &place.fact.shape, place.layout, place.storage).unwrap();
            if let Some(want) = reference.get(&v) {
                let (a, b) = (got.to_f64s().unwrap(), want.to_f64s().unwrap());
                let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                println!(
                    "{step} {} {} {:?} {:?} worst {worst:e} of {:e}",
                    s.label,
                    s.op_type,
                    place.fact.shape,
                    place.layout,
                    b.iter().fold(0.0f64, |m, x| m.max(x.abs()))
                );
            } else {
                println!("{step} {} {} {} no reference", s.label, s.op_type, place.label);
            }
        }
        Ok(())
    })
    .unwrap();
}
