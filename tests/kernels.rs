//! Every variant of every kernel, without a device: it parses and validates, its parameter block has the size of the
//! Rust struct, and it becomes SPIR-V, MSL and, but for cooperative matrices, HLSL.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use sardonyx::kernels::variants::shaders;
use sardonyx::kernels::{Dialect, KERNELS, PARAMS_WINDOW};

fn check(name: &str, source: &str, params: usize) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string_with_path(source, name))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).map_err(|error| error.emit_to_string_with_path(source, name))?;
    let block = module.global_variables.iter().find(|(_, variable)| variable.space == naga::AddressSpace::Uniform).ok_or("no parameter block")?;
    let naga::TypeInner::Struct { span, .. } = module.types[block.1.ty].inner else { return Err("the parameter block is no struct".into()) };
    if span as usize != params || params > PARAMS_WINDOW {
        return Err(format!("the parameter block has {span} bytes in WGSL and {params} in Rust"));
    }
    spv::write_vec(&module, &info, &spv::Options { lang_version: (1, 3), ..Default::default() }, None).map_err(|error| format!("SPIR-V: {error}"))?;
    let options = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).map_err(|error| format!("MSL: {error}"))?;
    if source.contains("enable wgpu_cooperative_matrix;") {
        return Ok(());
    }
    let options = hlsl::Options {
        fake_missing_bindings: true,
        shader_model: hlsl::ShaderModel::V6_2,
        immediates_target: Some(hlsl::BindTarget::default()),
        ..Default::default()
    };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(&module, &info, None).map_err(|error| format!("HLSL: {error}"))?;
    Ok(())
}

#[test]
fn every_variant_translates() {
    assert!(KERNELS.iter().all(|kernel| !(kernel.variants)().is_empty()), "a kernel has no variants");
    let all = shaders(Dialect::Naga);
    let failures: Vec<String> = all
        .iter()
        .filter_map(|shader| {
            let problem = check(shader.kernel, &shader.text, shader.params_size).err()?;
            Some(format!("{}.{}: {problem}", shader.kernel, shader.number))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), all.len(), failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n"));
    println!("{} shaders", all.len());
}

#[test]
fn every_shader_has_its_kernel() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).unwrap() {
        let path = entry.unwrap().path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| path.extension().is_some_and(|end| end == "wgsl")) else { continue };
        assert!(stem.starts_with("measure_") || KERNELS.iter().any(|kernel| kernel.stem == stem), "{stem}.wgsl belongs to no kernel");
    }
}
