//! Outputs that a run leaves out: the others are the same, and nothing is computed that only they need.

use super::*;

/// An output of a run on its way, of one that others need, and one whose shape depends on data.
fn some_model() -> onnx::Model {
    let nodes = vec![
        node("Relu x -> base", &[]),
        node("Exp base -> far", &[]),
        node("Sqrt base -> near", &[]),
        node("NonZero near -> places", &[]),
    ];
    model(&[("x", &[3, 4])], nodes, vec![], &["base", "far", "near", "places"])
}

#[test]
fn the_others_are_the_same() {
    let all = ["base", "far", "near", "places"];
    for device in devices() {
        for precision in [Precision::F32, Precision::F16] {
            let build = || Session::builder().device(device.clone()).precision(precision);
            let session = build().build(some_model()).unwrap();
            let x = tensor(&[3, 4]);
            let expected = session.run(&[("x", x.clone())]).unwrap();
            for choice in 0..1 << all.len() {
                let out: Vec<&str> =
                    (0..all.len()).filter(|at| choice >> at & 1 == 1).map(|at| all[at]).collect();
                let bindings = Bindings::new().input("x", x.clone());
                let bindings = out.iter().fold(bindings, |bindings, name| bindings.leave_out(*name));
                let prepared = session.prepare_with(&bindings).unwrap();
                let wanted: Vec<_> =
                    expected.iter().filter(|(name, _)| !out.contains(&name.as_str())).collect();
                let runs = [
                    session.run_with(&prepared, &bindings).unwrap(),
                    session.run_taking(&prepared, bindings).unwrap(),
                ];
                for found in runs {
                    assert_eq!(found.len(), wanted.len(), "{device} {precision:?} without {out:?}");
                    for ((name, value), (same, tensor)) in found.into_iter().zip(&wanted) {
                        assert_eq!(&name, same, "{device} {precision:?} without {out:?}");
                        assert_eq!(bits(&value.into_tensor().unwrap()), bits(tensor), "{name}");
                    }
                }
            }
            assert_eq!(session.run(&[("x", x)]).unwrap().len(), all.len());
        }
    }
}

#[test]
fn what_only_they_need_is_not_computed() {
    let Some(device) = test_device() else { return };
    let nodes = vec![node("Exp x -> far", &[]), node("Sin far -> farther", &[]), node("Cos x -> near", &[])];
    let model = model(&[("x", &[5])], nodes, vec![], &["farther", "near"]);
    let session = Session::builder().device(device).build(model).unwrap();
    let dispatches = |bindings: Bindings| {
        let prepared = session.prepare_with(&bindings.input("x", tensor(&[5]))).unwrap();
        prepared.plan.as_ref().unwrap().dispatches().count()
    };
    let (near, all) = (dispatches(Bindings::new().leave_out("farther")), dispatches(Bindings::new()));
    assert!(near == 1 && all > near, "{near} of {all}");
}

#[test]
fn a_name_that_is_not_there_is_said() {
    let session = Session::builder().build(some_model()).unwrap();
    let bindings = Bindings::new().input("x", tensor(&[3, 4])).leave_out("nothing");
    let told = session.prepare_with(&bindings).err().unwrap().to_string();
    assert!(told.contains("'nothing'") && told.contains("its outputs are: base, far"), "{told}");
}
