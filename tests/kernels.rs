//! Every variant of every kernel, without a device: it parses and validates, its parameter block has the size
//! of the Rust struct, and it becomes SPIR-V, MSL and, but for cooperative matrices, HLSL.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use sardonyx::kernels::variants::shaders;
use sardonyx::kernels::{Dialect, KERNELS, PARAMS_WINDOW};
use std::process::Command;

fn check(name: &str, source: &str, params: usize) -> Result<(), String> {
    let module =
        naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string_with_path(source, name))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| error.emit_to_string_with_path(source, name))?;
    let block = module
        .global_variables
        .iter()
        .find(|(_, variable)| variable.space == naga::AddressSpace::Uniform)
        .ok_or("no parameter block")?;
    let naga::TypeInner::Struct { span, .. } = module.types[block.1.ty].inner else {
        return Err("the parameter block is no struct".into());
    };
    if span as usize != params || params > PARAMS_WINDOW {
        return Err(format!("the parameter block has {span} bytes in WGSL and {params} in Rust"));
    }
    spv::write_vec(&module, &info, &spv::Options { lang_version: (1, 3), ..Default::default() }, None)
        .map_err(|error| format!("SPIR-V: {error}"))?;
    let options = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .map_err(|error| format!("MSL: {error}"))?;
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
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .map_err(|error| format!("HLSL: {error}"))?;
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
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        all.len(),
        failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n")
    );
    println!("{} shaders", all.len());
}

/// What wgpu hands a Vulkan 1.3 driver is valid by Khronos' own validator. Without `spirv-val` this says that
/// it was left out, and fails with SARDONYX_REQUIRE_SPIRV_VAL=1. Cooperative matrices are of an extension
/// that Debian's doesn't know yet.
#[test]
fn spirv_val_accepts_every_variant() {
    let validator = || Command::new("spirv-val");
    if validator().arg("--version").output().is_err() {
        assert!(
            std::env::var_os("SARDONYX_REQUIRE_SPIRV_VAL").is_none(),
            "no spirv-val, and SARDONYX_REQUIRE_SPIRV_VAL is set"
        );
        eprintln!("skipped: no spirv-val");
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("spirv");
    std::fs::create_dir_all(&folder).unwrap();
    let (all, mut given, mut failures) = (shaders(Dialect::Naga), 0, vec![]);
    for shader in all.iter().filter(|shader| !shader.needs.cooperative) {
        let module = naga::front::wgsl::parse_str(&shader.text).unwrap();
        let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).unwrap();
        let words = spv::write_vec(
            &module,
            &info,
            &spv::Options { lang_version: (1, 6), ..Default::default() },
            None,
        )
        .unwrap();
        let path = folder.join(format!("{}.{}.spv", shader.kernel, shader.number));
        std::fs::write(&path, words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        let done = validator().args(["--target-env", "vulkan1.3"]).arg(&path).output().unwrap();
        given += 1;
        if !done.status.success() {
            failures.push(format!("{}: {}", path.display(), String::from_utf8_lossy(&done.stderr).trim()));
        }
        std::fs::remove_file(&path).unwrap();
    }
    println!(
        "spirv-val: {given} shaders, {} errors; {} with cooperative matrices not given",
        failures.len(),
        all.len() - given
    );
    assert!(
        failures.is_empty(),
        "{} of {given}:\n{}",
        failures.len(),
        failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn every_shader_has_its_kernel() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).unwrap() {
        let path = entry.unwrap().path();
        let Some(stem) = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .filter(|_| path.extension().is_some_and(|end| end == "wgsl"))
        else {
            continue;
        };
        assert!(
            stem.starts_with("measure_") || KERNELS.iter().any(|kernel| kernel.stem == stem),
            "{stem}.wgsl belongs to no kernel"
        );
    }
}
