//! Plans as text, against what was approved (`tests/snapshots`). No device is touched: a change of a plan is
//! seen on any machine.
//!
//! After a change that is meant (a kernel's tiles, a fusion): `INSTA_UPDATE=always cargo test --test plans`,
//! then read the diff.

use proptest::prelude::*;
use sardonyx::gpu::{GpuDevice, LimitsOption, Selection};
use sardonyx::graph::{Dim, ValueId};
use sardonyx::plan::{Capabilities, Plan, Precision};
use sardonyx::{Session, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The models, and the symbolic sizes that they are planned with.
const MODELS: &[(&str, &str, usize)] = &[
    ("digits", "digits/digits.onnx", 1),
    ("mlp", "tiny/mlp/model.onnx", 2),
    ("conv_odd", "tiny/conv_odd/model.onnx", 1),
    ("branches", "tiny/branches/model.onnx", 2),
    ("cpu_step", "tiny/cpu_step/model.onnx", 1),
    ("decoder", "tiny/decoder/model.onnx", 1),
    ("joined", "tiny/joined/model.onnx", 2),
    ("heads", "tiny/heads/model.onnx", 2),
    ("contrib", "tiny/contrib/model.onnx", 1),
];

fn path(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model)
}

/// A software adapter: what Mesa's offers beyond WebGPU's promise, and kernels of its own.
fn software() -> Capabilities {
    Capabilities {
        software: true,
        translates_late: true,
        shader_f16: true,
        max_storage_buffers: 16,
        max_workgroup_bytes: 32 << 10,
        max_invocations: 1024,
        ..Capabilities::webgpu()
    }
}

/// The inputs as zeros, each symbolic size as `batch`: only types and shapes reach the plan.
fn inputs(session: &Session, batch: usize) -> HashMap<ValueId, Tensor> {
    let zeros = |port: sardonyx::session::InputOutputInfo| {
        let shape: Vec<usize> = port
            .dims
            .iter()
            .flatten()
            .map(|dim| if let Dim::Known(size) = dim { *size } else { batch })
            .collect();
        let tensor = Tensor::new(shape.clone(), vec![0f32; shape.iter().product()]).unwrap();
        (port.name, sardonyx::tensor::cast(&tensor, port.dtype, true).unwrap())
    };
    let named: Vec<(String, Tensor)> = session.inputs().into_iter().map(zeros).collect();
    session
        .bind(&named.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect::<Vec<_>>())
        .unwrap()
}

fn made(
    model: &str,
    batch: usize,
    capabilities: &Capabilities,
    precision: Precision,
) -> std::sync::Arc<Plan> {
    let session = Session::builder().precision(precision).load(path(model)).unwrap();
    session.plan_for(&inputs(&session, batch), capabilities).unwrap().plan.unwrap()
}

fn snapshot(kind: &str, capabilities: &Capabilities, precision: Precision) {
    for (name, model, batch) in MODELS {
        let plan = made(model, *batch, capabilities, precision);
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("{name}-{kind}"), plan.to_string());
        });
    }
}

#[test]
fn under_the_limits_of_webgpu() {
    snapshot("webgpu", &Capabilities::webgpu(), Precision::F32);
}

#[test]
fn on_a_software_adapter() {
    snapshot("software", &software(), Precision::F32);
}

#[test]
fn in_f16_on_a_software_adapter() {
    let plan = made("tiny/conv_odd/model.onnx", 1, &software(), Precision::F16);
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("conv_odd-software-f16", plan.to_string());
    });
}

/// A map's order would show: each map of a process has an order of its own.
#[test]
fn a_plan_is_the_same_every_time() {
    for (_, model, batch) in MODELS {
        let text = || made(model, *batch, &Capabilities::webgpu(), Precision::F32).to_string();
        let first = text();
        (0..4).for_each(|_| assert_eq!(text(), first, "{model}"));
    }
}

/// What is planned without a device is what a device under the same limits gets.
#[test]
fn the_capabilities_of_webgpu_are_those_of_a_device_under_its_limits() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let device = GpuDevice::open(&Selection::Gpu, &LimitsOption::WebGpu).unwrap().unwrap();
    let opened = device.capabilities();
    // Alignment, budget and the kind of adapter are the device's own.
    let same = Capabilities {
        software: opened.software,
        translates_late: opened.translates_late,
        unrolls: opened.unrolls,
        uniform_alignment: opened.uniform_alignment,
        memory_budget: opened.memory_budget,
        ..Capabilities::webgpu()
    };
    assert_eq!(*opened, same);
}

/// The steps of a plan obey its own memory: places that live at once have slots of their own, of enough
/// bytes.
#[test]
fn slots_hold_what_lives() {
    use sardonyx::plan::Allocation;
    for (name, model, batch) in MODELS {
        let plan = made(model, *batch, &software(), Precision::F32);
        let mut tenants: HashMap<usize, Vec<(usize, usize, usize)>> = HashMap::new();
        for (index, place) in plan.buffers.iter().enumerate() {
            let Allocation::Slot(slot) = place.allocation else { continue };
            assert!(plan.slots[slot] >= place.bytes(), "{name}: place {index}");
            if let Some(part) = &place.part {
                // It lives where and as long as the whole, which is looked at by itself.
                assert_eq!(
                    (plan.buffer(part.of).allocation.clone(), plan.buffer(part.of).bytes()),
                    (place.allocation.clone(), place.bytes()),
                    "{name}: place {index}"
                );
                continue;
            }
            let touches = |step: &sardonyx::plan::Step| {
                step.reads.iter().chain(&step.writes).any(|&id| plan.parent_of(id).0 as usize == index)
            };
            let (first, last) =
                (plan.steps.iter().position(touches).unwrap(), plan.steps.iter().rposition(touches).unwrap());
            for &(other, from, to) in tenants.entry(slot).or_default().iter() {
                assert!(last < from || to < first, "{name}: places {index} and {other} share slot {slot}");
            }
            tenants.entry(slot).or_default().push((index, first, last));
        }
        // What a run binds is nobody else's, and its inputs are only read.
        let mut bound = vec![0; plan.externals.len()];
        for place in &plan.buffers {
            let Allocation::External(index) = place.allocation else { continue };
            assert!(plan.externals[index] >= place.bytes(), "{name}: {}", place.label);
            bound[index] += usize::from(place.part.is_none());
        }
        assert!(bound.iter().all(|&count| count == 1), "{name}: {bound:?}");
        for input in &plan.inputs {
            let written = plan.steps.iter().any(|step| step.writes.contains(&input.buffer));
            assert!(!written, "{name}: {}", plan.buffer(input.buffer).label);
        }
        let text = plan.to_string();
        assert!(text.contains("steps:") && !text.contains("nowhere"), "{name}\n{text}");
    }
}

/// Limits as a driver may give them: nothing, little, a lot, and what a wrong conversion makes.
fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), (0u32..32).prop_map(|power| 1 << power), Just(65_535), Just(u32::MAX)]
}

fn long_limit() -> impl Strategy<Value = u64> {
    prop_oneof![limit().prop_map(u64::from), (0u32..64).prop_map(|power| 1 << power), Just(u64::MAX)]
}

/// One or two limits wrong: with all of them so, nothing passes the check.
fn wrong_capabilities() -> impl Strategy<Value = Capabilities> {
    let one = (0..8usize, limit(), long_limit());
    (any::<bool>(), proptest::collection::vec(one, 1..4)).prop_map(|(soft, wrong)| {
        let mut all =
            if soft { software() } else { Capabilities { subgroups: true, ..Capabilities::webgpu() } };
        for (which, says, long) in wrong {
            match which {
                0 => all.max_storage_buffers = says,
                1 => all.max_binding_bytes = long,
                2 => all.max_buffer_bytes = long,
                3 => all.max_workgroup_bytes = says,
                4 => all.max_invocations = says,
                5 => all.max_grid = says,
                6 => all.uniform_alignment = says,
                _ => all.max_immediate_bytes = says,
            }
        }
        all
    })
}

/// Plans with wrong limits, and those that are refused outright: neither may panic, and what is planned keeps
/// within the limits.
#[test]
fn wrong_limits_are_errors_or_kept() {
    let sessions = MODELS.iter().map(|(name, model, batch)| {
        let session = Session::builder().load(path(model)).unwrap();
        (*name, inputs(&session, *batch), session)
    });
    let sessions: Vec<_> = sessions.collect();
    let (mut refused, mut planned) = (0, 0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let mut hold = |(drawn, at): (Capabilities, usize)| {
        let checked = match drawn.checked("'A' (vulkan)") {
            Ok(checked) => checked,
            Err(error) => {
                refused += 1;
                prop_assert!(error.message().starts_with("'A' (vulkan) says that its "), "{}", error);
                return Ok(());
            }
        };
        let (name, inputs, session) = &sessions[at % sessions.len()];
        let plan = session
            .plan_for(inputs, &checked)
            .map_err(|error| TestCaseError::fail(format!("{name}: {error}")))?
            .plan;
        planned += 1;
        for (_, dispatch) in plan.iter().flat_map(|plan| plan.dispatches()) {
            let extent =
                sardonyx::kernels::Extent::of(&dispatch.shader.source().text).map_err(TestCaseError::fail)?;
            prop_assert!(
                extent.invocations <= checked.max_invocations.into(),
                "{}: {}",
                name,
                dispatch.kernel
            );
            prop_assert!(
                extent.workgroup_bytes <= checked.max_workgroup_bytes.into(),
                "{}: {}",
                name,
                dispatch.kernel
            );
            prop_assert!(
                extent.buffers <= checked.max_storage_buffers as usize,
                "{}: {}",
                name,
                dispatch.kernel
            );
            prop_assert!(
                dispatch.grid.iter().all(|&groups| groups <= checked.max_grid),
                "{}: {}",
                name,
                dispatch.kernel
            );
            prop_assert!(
                dispatch.params_offset.is_multiple_of(checked.uniform_alignment),
                "{}: {}",
                name,
                dispatch.kernel
            );
        }
        Ok(())
    };
    let cells = std::cell::RefCell::new(&mut hold);
    runner.run(&(wrong_capabilities(), 0..MODELS.len()), |drawn| (cells.borrow_mut())(drawn)).unwrap();
    assert!(refused > 0 && planned > 0, "{refused} refused, {planned} planned");
}
