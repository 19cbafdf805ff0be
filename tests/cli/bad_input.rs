//! What can't be run: one line that says what and what to do, exit code 2, nothing on standard output,
//! nothing half-written.

use super::models::*;
use super::*;
use std::path::Path;

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Refused by every verb that reads a model and takes no more than it.
fn no_model(path: &Path, parts: &[&str]) {
    for verb in ["run", "inspect", "bench", "compare"] {
        refused(&[verb, text_of(path)], parts);
    }
}

#[test]
fn files_that_are_cut_off() {
    let folder = folder("cut");
    let whole = std::fs::read(DIGITS).unwrap();
    for (index, length) in [1, 2, 7, 100, whole.len() / 3, whole.len() - 1].into_iter().enumerate() {
        let path = folder.join(format!("cut{index}.onnx"));
        std::fs::write(&path, &whole[..length]).unwrap();
        let (outputs, json) = (folder.join("out"), folder.join("result.json"));
        refused(
            &["run", text_of(&path), "--outputs", text_of(&outputs), "--json", text_of(&json)],
            &["cut", "onnx", "; "],
        );
        assert!(!outputs.exists() && !json.exists());
    }
    std::fs::write(folder.join("picture.onnx"), std::fs::read("models/digits/7.png").unwrap()).unwrap();
    no_model(&folder.join("picture.onnx"), &["picture.onnx", "ONNX"]);
}

#[test]
fn operators_that_are_not_known() {
    let folder = folder("unknown-operator");
    let path = folder.join("model.onnx");
    let named = onnx_protobuf::NodeProto { name: "the node".into(), ..node("Frobnicate", &["x"], &["y"]) };
    save(&path, vec![named], vec![value("x", &["3"])], vec![value("y", &["3"])], vec![]);
    no_model(&path, &["model.onnx", "the node", "Frobnicate"]);
    let foreign = onnx_protobuf::NodeProto { domain: "com.example".into(), ..node("Relu", &["x"], &["y"]) };
    save(&path, vec![foreign], vec![value("x", &["3"])], vec![value("y", &["3"])], vec![]);
    no_model(&path, &["model.onnx", "com.example", "Relu"]);
    // An attribute that nobody reads would be a wrong answer, not a refused one.
    let strange = with_int(node("Relu", &["x"], &["y"]), "strangeness", 1);
    save(&path, vec![strange], vec![value("x", &["3"])], vec![value("y", &["3"])], vec![]);
    no_model(&path, &["strangeness"]);
    save(
        &path,
        vec![node("Relu", &["nowhere"], &["y"])],
        vec![value("x", &["3"])],
        vec![value("y", &["3"])],
        vec![],
    );
    no_model(&path, &["nowhere"]);
}

/// Of a model that lacks several things all are listed, and it can't be inspected all the same.
#[test]
fn inspect_lists_all_that_is_missing() {
    let folder = folder("missing");
    let path = folder.join("model.onnx");
    let nodes = vec![
        node("Frobnicate", &["x"], &["a"]),
        with_int(node("Relu", &["a"], &["b"]), "strangeness", 1),
        node("Frobnicate", &["b"], &["y"]),
    ];
    save(&path, nodes, vec![value("x", &["3"])], vec![value("y", &["3"])], vec![]);
    let output = sardonyx(&["inspect", text_of(&path)]);
    assert_eq!(output.status.code(), Some(2));
    let list = text(&output.stdout);
    assert!(list.contains("2 × Frobnicate: ") && list.contains("'strangeness'"), "{list}");
    assert!(text(&output.stderr).contains("3 of the model's nodes can't be run"), "{}", text(&output.stderr));
    let output = sardonyx(&["inspect", text_of(&path), "--json", "-"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &document["missing"][0]["count"]), (Some(2), &Value::from(2)));
    refused(&["run", text_of(&path)], &["Frobnicate", "model.onnx"]);
}

#[test]
fn external_data_that_are_missing_or_elsewhere() {
    let folder = folder("external");
    let path = folder.join("inner/model.onnx");
    let make = |location: &str| {
        let add = node("Add", &["x", "w"], &["y"]);
        save(
            &path,
            vec![add],
            vec![value("x", &["3"])],
            vec![value("y", &["3"])],
            vec![external("w", &[3], location)],
        );
    };
    make("gone.bin");
    no_model(&path, &["model.onnx", "'w'", "gone.bin", "beside the model"]);
    std::fs::write(folder.join("outside.bin"), [0; 12]).unwrap();
    for location in ["../outside.bin", "/etc/passwd", "a/../../outside.bin"] {
        make(location);
        no_model(&path, &["outside the model's folder", location]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.join("outside.bin"), folder.join("inner/link.bin")).unwrap();
        make("link.bin");
        no_model(&path, &["outside the model's folder"]);
    }
    make("short.bin");
    std::fs::write(folder.join("inner/short.bin"), [0; 8]).unwrap();
    no_model(&path, &["'w'", "12"]);
    // And by a bare name from its own folder, whole.
    make("whole.bin");
    std::fs::write(folder.join("inner/whole.bin"), [0; 12]).unwrap();
    let output = command(&["run", "model.onnx", "--device", "cpu"])
        .current_dir(folder.join("inner"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn sizes_beyond_counting() {
    let folder = folder("sizes");
    let path = folder.join("model.onnx");
    let (input, output) = (|| vec![value("x", &["1"])], || vec![value("y", &["n"])]);
    let huge = i64::MAX / 2;
    for shape in [vec![huge, huge], vec![huge], vec![1 << 20, 1 << 20, 1 << 20]] {
        // By the model's constants, and by an input that only a run knows.
        for known in [true, false] {
            for op in ["Expand", "ConstantOfShape", "Tile"] {
                let made = if op == "ConstantOfShape" {
                    node(op, &["s"], &["y"])
                } else {
                    node(op, &["r", "s"], &["y"])
                };
                let rank = shape.len().to_string();
                let (ones, of) = (int64s("ones", &vec![1; shape.len()]), typed("s", INT64 as i32, &[&rank]));
                let (inputs, constants) = if known {
                    (input(), vec![ones, int64s("s", &shape)])
                } else {
                    ([input(), vec![of]].concat(), vec![ones])
                };
                save(&path, vec![node("Reshape", &["x", "ones"], &["r"]), made], inputs, output(), constants);
                floats(&folder.join("x.npy"), &[1]);
                sardonyx::onnx::write_npy(
                    &folder.join("s.npy"),
                    &sardonyx::Tensor::int64s(shape.iter().copied()),
                )
                .unwrap();
                for device in ["cpu", "auto"] {
                    refused(
                        &["run", text_of(&path), "--device", device, "--inputs", text_of(&folder)],
                        &["model.onnx"],
                    );
                }
            }
        }
        let claims = onnx_protobuf::TensorProto {
            name: "w".into(),
            data_type: FLOAT,
            dims: shape,
            raw_data: vec![0; 8],
            ..Default::default()
        };
        save(&path, vec![node("Add", &["x", "w"], &["y"])], input(), output(), vec![claims]);
        no_model(&path, &["'w'"]);
    }
    save(&path, vec![node("Relu", &["x"], &["y"])], vec![value("x", &["a", "b", "c"])], output(), vec![]);
    refused(
        &["run", text_of(&path), "--set", "a=4294967296", "--set", "b=4294967296", "--set", "c=4294967296"],
        &["'x'", "4294967296"],
    );
    save(&path, vec![node("Relu", &["x"], &["y"])], vec![typed("x", FLOAT, &["-3"])], output(), vec![]);
    let talk = text(&sardonyx(&["run", text_of(&path), "--device", "cpu"]).stderr);
    assert!(!talk.contains("panicked"), "{talk}");
}

#[test]
fn pictures_that_are_none() {
    let folder = folder("pictures");
    let (empty, cut, other) = (folder.join("empty.png"), folder.join("cut.png"), folder.join("other.png"));
    let whole = std::fs::read("models/digits/7.png").unwrap();
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    std::fs::write(&other, "GIF89a").unwrap();
    for (path, name) in [(&empty, "empty.png"), (&cut, "cut.png"), (&other, "other.png")] {
        refused(&["classify", DIGITS, text_of(path)], &[name]);
        // One that is wrong among others: no half of an answer.
        refused(&["classify", DIGITS, "models/digits/7.png", text_of(path), "--json", "-"], &[name]);
        refused(&["run", DIGITS, "-i", &format!("image={}", text_of(path))], &[name]);
    }
    refused(&["classify", DIGITS, "no/such.png"], &["no/such.png"]);
    refused(&["classify", DIGITS, "models/digits/7.png", "--preset", "wrong"], &["wrong", "imagenet"]);
    refused(&["classify", DIGITS, "models/digits/7.png", "--labels", "no/such.txt"], &["no/such.txt"]);
    refused(&["classify", "models/tiny/mlp/model.onnx", "models/digits/7.png"], &["7.png", "dimensions"]);
}

#[test]
fn tensor_files_that_are_none() {
    let folder = folder("tensors");
    let path = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        format!("input={}", text_of(&path))
    };
    floats(&folder.join("right.npy"), &[1, 2, 3, 5]);
    let whole = std::fs::read(folder.join("right.npy")).unwrap();
    refused(&["run", BRANCHES, "-i", &path("empty.npy", b"")], &["empty.npy"]);
    refused(&["run", BRANCHES, "-i", &path("cut.npy", &whole[..whole.len() - 5])], &["cut.npy"]);
    refused(&["run", BRANCHES, "-i", &path("cut.npz", b"PK\x03\x04")], &["cut.npz"]);
    refused(&["run", BRANCHES, "-i", &path("cut.pb", b"\x0a\xff")], &["cut.pb"]);
    refused(&["run", BRANCHES, "-i", &path("none.txt", b"1 2 3")], &["none.txt", ".npy"]);
    let two = [
        ("a".to_string(), sardonyx::Tensor::scalar(1f32)),
        ("b".to_string(), sardonyx::Tensor::scalar(1f32)),
    ];
    sardonyx::onnx::write_npz(&folder.join("two.npz"), &two).unwrap();
    refused(
        &["run", BRANCHES, "-i", &format!("input={}", text_of(&folder.join("two.npz")))],
        &["two.npz", "a, b"],
    );
}

#[test]
fn places_that_cannot_be_written() {
    let folder = folder("unwritable");
    floats(&folder.join("file"), &[1]);
    let below = folder.join("file/below");
    refused(&["run", BRANCHES, "--device", "cpu", "--outputs", text_of(&below)], &["below"]);
    let json = folder.join("none/result.json");
    let output = sardonyx(&["run", BRANCHES, "--device", "cpu", "--json", text_of(&json)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("result.json"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn without_a_driver_every_verb_says_so() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let hidden = |arguments: &[&str]| {
        command(arguments)
            .env("VK_ICD_FILENAMES", "/dev/null")
            .env("VK_DRIVER_FILES", "/dev/null")
            .output()
            .unwrap()
    };
    for arguments in [
        &["run", BRANCHES, "--device", "gpu"][..],
        &["bench", BRANCHES, "--device", "gpu:0"],
        &["compare", BRANCHES, "--device", "llvmpipe"],
        &["verify", "models/tiny", "--device", "gpu"],
        &["classify", DIGITS, "models/digits/7.png", "--device", "gpu"],
    ] {
        let output = hidden(arguments);
        let talk = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {talk}");
        assert!(
            talk.trim_end().lines().count() == 1 && talk.contains("--device cpu") && output.stdout.is_empty(),
            "{arguments:?}: {talk}"
        );
    }
    for arguments in [
        &["verify", "models/tiny"][..],
        &["compare", BRANCHES],
        &["inspect", BRANCHES, "--plan"],
        &["devices"],
    ] {
        let output = hidden(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    }
}
