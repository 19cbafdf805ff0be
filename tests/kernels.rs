//! Every variant of every kernel, without a device: it parses and validates, its parameter block has the
//! members of the Rust struct, and it becomes SPIR-V, MSL and, but for cooperative matrices, HLSL.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use sardonyx::kernels::block::{Scalar, Word, words};
use sardonyx::kernels::variants::{Variant, shaders};
use sardonyx::kernels::{KERNELS, Member, PARAMS_WINDOW, WgslFlavor};
use std::process::Command;

/// The 32-bit words of a WGSL struct: each with its member's name, offset and type.
fn words_of(
    module: &naga::Module,
    members: &[naga::StructMember],
) -> Result<Vec<(String, usize, Scalar)>, String> {
    let mut all = vec![];
    for member in members {
        let name = member.name.clone().unwrap_or_default();
        if let naga::TypeInner::Struct { ref members, .. } = module.types[member.ty].inner {
            let inner = words_of(module, members)?;
            all.extend(
                inner
                    .into_iter()
                    .map(|(of, at, scalar)| (format!("{name}_{of}"), member.offset as usize + at, scalar)),
            );
            continue;
        }
        let size = module.types[member.ty].inner.size(module.to_ctx());
        let mut inner = &module.types[member.ty].inner;
        while let naga::TypeInner::Array { base, .. } = inner {
            inner = &module.types[*base].inner;
        }
        let scalar = match inner.scalar().map(|scalar| (scalar.kind, scalar.width)) {
            Some((naga::ScalarKind::Uint, 4)) => Scalar::U32,
            Some((naga::ScalarKind::Sint, 4)) => Scalar::I32,
            Some((naga::ScalarKind::Float, 4)) => Scalar::F32,
            _ => return Err(format!("the member '{name}' isn't of 32-bit words")),
        };
        let words = (0..size).step_by(4).map(|at| (name.clone(), (member.offset + at) as usize, scalar));
        all.extend(words);
    }
    Ok(all)
}

/// Whether the words of a WGSL struct are those of the Rust one. WGSL may name the words of an array each:
/// `kernel: [u32; 2]` is `kernel_h` and `kernel_w`.
fn same_words(wgsl: &[(String, usize, Scalar)], rust: &[Word]) -> Result<(), String> {
    if wgsl.len() != rust.len() {
        return Err(format!(
            "the parameter block has {} words in WGSL and {} in Rust",
            wgsl.len(),
            rust.len()
        ));
    }
    for ((name, offset, scalar), word) in wgsl.iter().zip(rust) {
        let named = *name == word.name || word.array && name.starts_with(&word.name);
        if !named || *offset != word.offset || *scalar != word.scalar {
            return Err(format!("'{name}' is {scalar:?} at {offset} in WGSL; in Rust there is {word:?}"));
        }
    }
    Ok(())
}

#[test]
fn a_block_whose_members_are_swapped_is_found() {
    let word = |name: &str, offset, scalar, array| Word { name: name.into(), offset, scalar, array };
    let rust = [
        word("rows", 0, Scalar::U32, false),
        word("pad", 4, Scalar::I32, true),
        word("pad", 8, Scalar::I32, true),
    ];
    let wgsl = |names: [&str; 3], scalars: [Scalar; 3]| -> Vec<(String, usize, Scalar)> {
        (0..3).map(|at| (names[at].into(), 4 * at, scalars[at])).collect()
    };
    let scalars = [Scalar::U32, Scalar::I32, Scalar::I32];
    assert!(same_words(&wgsl(["rows", "pad_h", "pad_w"], scalars), &rust).is_ok());
    assert!(same_words(&wgsl(["pad_h", "rows", "pad_w"], scalars), &rust).is_err());
    assert!(same_words(&wgsl(["rows", "pad_h", "pad_w"], [Scalar::U32; 3]), &rust).is_err());
    assert!(same_words(&wgsl(["rows", "pad_h", "pad_w"], scalars)[..2], &rust).is_err());
}

fn check(name: &str, source: &str, params: &[Member]) -> Result<(), String> {
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
    let naga::TypeInner::Struct { ref members, .. } = module.types[block.1.ty].inner else {
        return Err("the parameter block is no struct".into());
    };
    let rust = words(params);
    same_words(&words_of(&module, members)?, &rust)?;
    if 4 * rust.len() > PARAMS_WINDOW {
        return Err(format!(
            "the parameter block has {} words; it may have {}",
            rust.len(),
            PARAMS_WINDOW / 4
        ));
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
    let all = shaders(WgslFlavor::Naga);
    let mut failures: Vec<(&str, String)> = all
        .iter()
        .filter_map(|shader| {
            let problem = check(shader.kernel, &shader.text, shader.params).err()?;
            Some((shader.kernel, format!("{}.{}: {problem}", shader.kernel, shader.number)))
        })
        .collect();
    let count = failures.len();
    failures.dedup_by_key(|failure| failure.0);
    let first: Vec<String> = failures.into_iter().map(|failure| failure.1).collect();
    assert_eq!(count, 0, "of {}, each kernel's first:\n{}", all.len(), first.join("\n"));
    println!("{} shaders", all.len());
}

/// What Khronos' validator says against these shaders as SPIR-V.
fn judged_by_spirv_val(shaders: &[&Variant], folder: &std::path::Path) -> Vec<String> {
    let judge = |shader: &&Variant| {
        let module = naga::front::wgsl::parse_str(&shader.text).unwrap();
        let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).unwrap();
        let options = spv::Options { lang_version: (1, 6), ..Default::default() };
        let words = spv::write_vec(&module, &info, &options, None).unwrap();
        let path = folder.join(format!("{}.{}.spv", shader.kernel, shader.number));
        std::fs::write(&path, words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        let done = Command::new("spirv-val").args(["--target-env", "vulkan1.3"]).arg(&path).output().unwrap();
        std::fs::remove_file(&path).unwrap();
        let said = || format!("{}: {}", path.display(), String::from_utf8_lossy(&done.stderr).trim());
        (!done.status.success()).then(said)
    };
    shaders.iter().filter_map(judge).collect()
}

/// What wgpu hands a Vulkan 1.3 driver is valid by Khronos' own validator. Without `spirv-val` this says that
/// it was left out, and fails with SARDONYX_REQUIRE_SPIRV_VAL=1. Cooperative matrices are of an extension
/// that Debian's doesn't know yet.
#[test]
fn spirv_val_accepts_every_variant() {
    if Command::new("spirv-val").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("SARDONYX_REQUIRE_SPIRV_VAL").is_none(),
            "no spirv-val, and SARDONYX_REQUIRE_SPIRV_VAL is set"
        );
        eprintln!("skipped: no spirv-val");
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("spirv");
    std::fs::create_dir_all(&folder).unwrap();
    let all = shaders(WgslFlavor::Naga);
    let given: Vec<&Variant> = all.iter().filter(|shader| !shader.needs.cooperative).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let part = given.len().div_ceil(threads).max(1);
        let folder = &folder;
        let judge = |part| scope.spawn(move || judged_by_spirv_val(part, folder));
        let parts: Vec<_> = given.chunks(part).map(judge).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let given = given.len();
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
