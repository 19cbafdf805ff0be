//! `bench --kernel all --shaders DIR`: the shaders as text, for other compilers to judge.

use crate::cli::Outcome;
use crate::cli::emit::{JsonOption, SCHEMA};
use sardonyx::error::{Error, Result};
use sardonyx::kernels::variants::{Variant, shaders};
use sardonyx::kernels::{KERNELS, WgslFlavor};
use sardonyx::replace::write_whole;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    folder: &'a Path,
    /// Shaders that were written.
    written: usize,
    /// Of each kernel.
    kernels: BTreeMap<&'static str, usize>,
    /// Shaders that were not, since an adapter with these limits can't get them.
    left_out: usize,
}

/// Writes the distinct shaders of the kernel with this stem, or of all, in the standard's WGSL.
///
/// Errors: an unknown kernel or other limits than WebGPU's (usage), a folder that can't be written.
pub fn write(kernel: &str, folder: &Path, limits: Option<&str>, json: &JsonOption) -> Result<Outcome> {
    let webgpu = match limits {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("webgpu") => true,
        Some(_) => {
            return Err(Error::usage("--shaders knows the limits 'webgpu' alone")
                .remedy("use --limits webgpu, or leave it out"));
        }
    };
    if kernel != "all" && !KERNELS.iter().any(|known| known.stem == kernel) {
        let stems: Vec<&str> = KERNELS.iter().map(|known| known.stem).collect();
        return Err(Error::usage(format!("there is no kernel '{kernel}'"))
            .remedy(format!("use all, or one of {}", stems.join(", "))));
    }
    std::fs::create_dir_all(folder)
        .map_err(|problem| Error::file(folder, format!("can't be made: {problem}")))?;
    let (mut kernels, mut left_out, mut index) =
        (BTreeMap::new(), 0, String::from("file\tprelude_lines\tneeds\n"));
    for shader in
        shaders(WgslFlavor::Standard).iter().filter(|shader| kernel == "all" || shader.kernel == kernel)
    {
        if webgpu && !shader.is_webgpus()? {
            left_out += 1;
            continue;
        }
        let name = format!("{}.{}.wgsl", shader.kernel, shader.number);
        write_whole(&folder.join(&name), shader.text.as_bytes())?;
        index += &format!("{name}\t{}\t{}\n", shader.prelude_lines, needs(shader));
        *kernels.entry(shader.kernel).or_insert(0) += 1;
    }
    write_whole(&folder.join("shaders.tsv"), index.as_bytes())?;
    let document = Document { schema: SCHEMA, folder, written: kernels.values().sum(), kernels, left_out };
    json.emit(&document, || {
        format!(
            "{} shaders of {} kernels written to {}; {left_out} left out\n",
            document.written,
            document.kernels.len(),
            folder.display()
        )
    })?;
    Ok(Outcome::Good)
}

/// What a shader takes beyond WebGPU's core, by the names of `enable` or of naga's extensions.
fn needs(shader: &Variant) -> String {
    let standard = [("f16", shader.needs.f16), ("subgroups", shader.needs.subgroups)];
    let standard = standard.into_iter().filter(|of| of.1).map(|of| of.0.to_string());
    standard
        .chain(shader.needs.extensions_of_naga().iter().map(|name| format!("naga: {name}")))
        .collect::<Vec<_>>()
        .join(", ")
}
