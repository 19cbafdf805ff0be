//! `inspect --plan --limits`: plans for adapters that aren't at hand.

use super::{DIGITS, folder, json, refused, sardonyx, text};

#[test]
fn plans_for_adapters_that_are_not_at_hand() {
    for name in ["webgpu", "vulkan-mobile", "Metal-Apple7", "dx12"] {
        let document = json(&["inspect", DIGITS, "--plan", "--limits", name, "--json", "-"]);
        let plan = &document["plan"];
        assert_eq!(plan["assumed"], true);
        assert_eq!(plan["profile"]["name"], name.to_lowercase());
        assert!(plan["profile"]["source"].as_str().unwrap().contains("https://"));
        let fallbacks = plan["fallbacks"].as_array().unwrap();
        if name == "vulkan-mobile" {
            // Convolutions with a bias and a residual bind five buffers.
            assert!(fallbacks[0]["reason"].as_str().unwrap().contains("the adapter allows 4"), "{plan}");
        } else {
            assert!(fallbacks.is_empty(), "{plan}");
        }
        let shaders = &plan["translations"];
        let count = shaders["shaders"].as_u64().unwrap();
        assert!(count > 0);
        for target in ["spirv", "msl", "hlsl"] {
            assert_eq!(shaders[target].as_u64(), Some(count), "{name}: {shaders}");
        }
        if name == "webgpu" {
            assert_eq!(shaders["webgpu"].as_u64(), Some(count), "{shaders}");
            assert!(shaders["problems"].as_array().unwrap().is_empty());
        }
    }
    let output = sardonyx(&["inspect", DIGITS, "--plan", "--limits", "dx12", "--precision", "f16"]);
    let shown = text(&output.stdout);
    assert!(
        shown.contains("shaders: ") && shown.contains("webgpu: takes shader-f16 beyond the core"),
        "{shown}"
    );
    assert!(text(&output.stderr).contains("planned for: dx12 (DirectX 12"));
}

#[test]
fn a_small_adapter_and_a_wrong_file() {
    let folder = folder("elsewhere");
    let file = folder.join("small.json");
    let small = r#"{"about": "a small one", "limits": {"max_storage_buffer_binding_size": 65536, "max_buffer_size": 65536}}"#;
    std::fs::write(&file, small).unwrap();
    let document = json(&[
        "inspect",
        DIGITS,
        "--plan",
        "--set",
        "batch=100",
        "--limits",
        file.to_str().unwrap(),
        "--json",
        "-",
    ]);
    let fallbacks = document["plan"]["fallbacks"].to_string();
    assert!(fallbacks.contains("65536") || fallbacks.contains("64 KiB"), "{fallbacks}");
    std::fs::write(&file, r#"{"limits": {"max_bufer_size": 1}}"#).unwrap();
    refused(
        &["inspect", DIGITS, "--plan", "--limits", file.to_str().unwrap()],
        &["max_bufer_size", "small.json"],
    );
    refused(&["inspect", DIGITS, "--plan", "--limits", "metal-apple99"], &["metal-apple7", "vulkan-mobile"]);
}

#[test]
fn a_plan_as_a_page() {
    let folder = folder("page");
    let page = folder.join("plan.html");
    let written = sardonyx(&[
        "inspect",
        "models/tiny/branches/model.onnx",
        "--plan",
        "--limits",
        "webgpu",
        "--html",
        page.to_str().unwrap(),
    ]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    let html = std::fs::read_to_string(&page).unwrap();
    for part in [
        "<!DOCTYPE html>",
        "The graph as planned",
        "The graph as read",
        "Where each node runs",
        "activations that live at each of",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // Two drawings and the chart of memory.
    assert_eq!(html.matches("<svg").count(), 3);
    assert!(
        !html.contains("http://")
            || html.matches("http://").count() == html.matches("http://www.w3.org/").count()
    );
    refused(&["inspect", DIGITS, "--html", "x.html"], &["--plan"]);
    let nowhere = "no/such/folder/plan.html";
    refused(&["inspect", DIGITS, "--plan", "--limits", "webgpu", "--html", nowhere], &[nowhere]);
}
