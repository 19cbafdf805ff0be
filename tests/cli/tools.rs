//! The kernel laboratory, tuning and compiled models on the command line.

use super::{BRANCHES, DIGITS, command, folder, json, refused, text};
use serde_json::Value;

const MLP: &str = "models/tiny/mlp/model.onnx";

fn gpu() -> bool {
    sardonyx::gpu::test_device().is_some()
}

#[test]
fn a_kernel_is_measured() {
    refused(&["bench", "--kernel", "matmul", "--device", "cpu"], &["--device gpu"]);
    refused(&["bench", "--kernel", "wheel", "--device", "gpu"], &["no kernel 'wheel'", "matmul", "resize"]);
    refused(&["bench", "--kernel", "matmul", "--shape", "4xfour", "--device", "gpu"], &["--shape 4xfour"]);
    refused(&["bench", DIGITS, "--kernel", "matmul"], &["--kernel"]);
    refused(&["bench", "--shape", "4x4x4"], &["error"]);
    if !gpu() {
        return;
    }
    refused(
        &["bench", "--kernel", "matmul", "--shape", "4x4", "--device", "gpu"],
        &["rows x inner x columns"],
    );
    refused(&["bench", "--kernel", "softmax", "--shape", "4x0", "--device", "gpu"], &["rows x length"]);
    refused(
        &["bench", "--kernel", "softmax", "--shape", "99999999x99999999", "--device", "gpu"],
        &["beyond"],
    );
    refused(
        &["bench", "--kernel", "matmul", "--shape", "40x16x64", "--variant", "5", "--device", "gpu"],
        &["no variant '5'"],
    );
    refused(
        &["bench", "--kernel", "softmax", "--shape", "4x8", "--variant", "8", "--device", "gpu"],
        &["no variants"],
    );
    let measured = json(&[
        "bench",
        "--kernel",
        "matmul",
        "--shape",
        "40x16x64",
        "--variant",
        "all",
        "--device",
        "gpu",
        "--json",
        "-",
    ]);
    assert_eq!(measured["schema"], 1);
    assert!(measured["peaks"]["fma_gflops"].as_f64().unwrap() > 0.0 && measured["adapter"].is_string());
    let rows = measured["kernels"].as_array().unwrap();
    assert!(rows.len() > 1 && rows.iter().filter(|row| row["rule"] == true).count() == 1, "{rows:?}");
    for row in rows {
        assert_eq!(
            (&row["kernel"], &row["shape"], &row["flops"]),
            (&Value::from("matmul"), &Value::from("40x16x64"), &Value::from(2 * 40 * 16 * 64))
        );
        assert!(
            row["ms"].as_f64().unwrap() > 0.0
                && row["share"].as_f64().unwrap() > 0.0
                && row["needed"].as_f64().unwrap() <= 4.0,
            "{row}"
        );
    }
    assert!(measured["rule_behind_best"]["worst"].as_f64().unwrap() >= 1.0);
}

/// Every family at a small, odd shape.
#[test]
fn every_family_has_a_kernel() {
    if !gpu() {
        return;
    }
    let shapes = [
        ("matmul_batch", "2x5x6x7"),
        ("matmul_nbits", "3x70x9x4x32"),
        ("conv", "5x9x11x6x3x2"),
        ("depthwise", "6x9x11x3x1"),
        ("softmax", "3x37"),
        ("layer_norm", "3x37"),
        ("reduce", "3x37"),
        ("global_pool", "5x9x11"),
        ("transpose", "2x3x5x7"),
        ("elementwise", "3x5x7"),
        ("gather", "11x6x5"),
        ("pool", "5x9x11x3x2"),
        ("resize", "5x9x11x2"),
    ];
    for (kernel, shape) in shapes {
        let row = json(&["bench", "--kernel", kernel, "--shape", shape, "--device", "gpu", "--json", "-"])["kernels"][0].clone();
        assert!(row["ms"].as_f64().unwrap() > 0.0 && row["bytes"].as_u64().unwrap() > 0, "{kernel}: {row}");
    }
}

#[test]
fn what_was_tuned_is_used_again() {
    if !gpu() {
        return;
    }
    let cache = folder("tune");
    let talk = |verb: &[&str]| {
        let output = command(verb).env("XDG_CACHE_HOME", &cache).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    // A batch of 16 rows: the matrix product has several tiles for it.
    let run = ["run", MLP, "--set", "batch=16", "--device", "gpu", "--tune"];
    let first = talk(&run);
    assert!(first.contains(" 0 were known, ") && !first.contains(" 0 measured"), "{first}");
    let second = talk(&["bench", MLP, "--set", "batch=16", "--device", "gpu", "--tune", "--runs", "1"]);
    assert!(second.contains(" 0 measured"), "{second}");
    let kept = std::fs::read_dir(cache.join("sardonyx")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&kept, "not JSON").unwrap();
    let third = talk(&run);
    assert!(third.contains("is ignored") && third.contains(" 0 were known, "), "{third}");
    // On the CPU there is nothing to choose.
    assert!(!talk(&["run", DIGITS, "--device", "cpu", "--tune"]).contains("choices"));
}

#[test]
fn a_compiled_model_is_taken_like_an_onnx_file() {
    let folder = folder("compile");
    let file = folder.join("digits.sdx");
    let file = file.to_str().unwrap();
    let device = if gpu() { "gpu" } else { "cpu" };
    let written = json(&["compile", DIGITS, "-o", file, "--device", device, "--json", "-"]);
    assert!(
        written["schema"] == 1
            && written["weights"].as_u64().unwrap() > 0
            && written["file_bytes"].as_u64().unwrap() > 0,
        "{written}"
    );
    // Noise follows the file beside the model that says how pictures become inputs.
    std::fs::copy("models/digits/digits.toml", folder.join("digits.toml")).unwrap();
    let outputs = |model: &str| json(&["run", model, "--device", device, "--json", "-"])["outputs"].clone();
    assert_eq!(outputs(file), outputs(DIGITS));
    assert_eq!(json(&["compare", file, "--device", device, "--per-node", "--json", "-"])["verdict"], "same");
    assert!(json(&["inspect", file, "--json", "-"])["parameters"].as_u64().unwrap() > 0);
    let bench = json(&["bench", file, "--device", device, "--runs", "1", "--json", "-"]);
    assert!(bench["results"][0]["accuracy"]["max_rel"].as_f64().unwrap() < 1e-4);
    refused(&["compile", file, "-o", file, "--device", "cpu"], &["would replace"]);
    refused(
        &["compile", file, "-o", folder.join("again.sdx").to_str().unwrap(), "--device", "cpu"],
        &["compiled already"],
    );
    refused(
        &["compile", BRANCHES, "-o", folder.join("none/x.sdx").to_str().unwrap(), "--device", "cpu"],
        &["can't be written"],
    );
    std::fs::write(folder.join("bad.sdx"), b"sardonyx and more").unwrap();
    refused(
        &["run", folder.join("bad.sdx").to_str().unwrap(), "--device", "cpu"],
        &["bad.sdx", "not a compiled model"],
    );
}
