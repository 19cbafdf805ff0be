//! `report` and `report diff` on files of results.

use super::{folder, json, refused, sardonyx, text};
use serde_json::{Value, json as value};
use std::path::Path;

const DESK: &str = "tests/report/desk.json";
const LAPTOP: &str = "tests/report/laptop.json";

/// A file with what a change makes of tests/report/desk.json.
fn changed(path: &Path, change: impl FnOnce(&mut Value)) -> String {
    let mut document: Value = serde_json::from_slice(&std::fs::read(DESK).unwrap()).unwrap();
    change(&mut document);
    std::fs::write(path, document.to_string()).unwrap();
    path.to_str().unwrap().to_string()
}

/// Multiplies the times of the cells at these places.
fn scale(document: &mut Value, places: &[usize], factor: f64) {
    for &place in places {
        let cell = &mut document["results"][place];
        for round in cell["rounds_ms"].as_array_mut().unwrap() {
            round
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .for_each(|time| *time = value!(time.as_f64().unwrap() * factor));
        }
    }
}

#[test]
fn a_report_is_one_file_that_loads_nothing() {
    let folder = folder("report");
    let page = folder.join("report.html");
    let output = sardonyx(&["report", DESK, LAPTOP, "-o", page.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("Example GX 900 · f16 is the fastest"), "{}", text(&output.stdout));
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{}", page.len());
    for load in ["http://", "https://", "<link", "<iframe", "src=\"", "@import", "url("] {
        assert!(!page.contains(load), "{load}");
    }
    // What a file holds stays text.
    assert!(!page.contains("<img") && page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert!(!page.contains("<i>&") && page.contains("on battery &lt;i&gt;&amp; warm&lt;/i&gt;"));
    // Models of one name are told apart; two called model.onnx go by their folders.
    for name in ["zoo/resnet50", "other/resnet50", ">bert<", ">vit<", "digits, batch 8"] {
        assert!(page.contains(name), "{name}");
    }
    for told in [
        "the driver was lost",
        "2.1 GiB of device memory",
        "NonMaxSuppression",
        "k depends on data",
        "llvmpipe (LLVM 19.1.7, 256 bits)",
        "Measured peaks: 21\u{202f}000 GFLOP/s, 640 GB/s",
        "cold shader cache",
        "Debian 12",
        "2026-",
    ] {
        assert!(page.contains(told), "{told}");
    }
}

#[test]
fn a_report_as_data() {
    let document = json(&["report", DESK, LAPTOP, "--json", "-"]);
    assert_eq!((&document["schema"], &document["baseline"]), (&1.into(), &"CPU Example Zen 9".into()));
    assert_eq!(document["common_models"], value!(["zoo/resnet50", "bert"]));
    let devices = document["devices"].as_array().unwrap();
    let labels: Vec<&str> = devices.iter().map(|device| device["device"].as_str().unwrap()).collect();
    let order = [
        "Example GX 900 · f16",
        "Example GX 900",
        "Sample Iris 12",
        "CPU Example Zen 9",
        "CPU Sample Lake 7",
        "llvmpipe (LLVM 19.1.7, 256 bits)",
        "Sample Iris 12 · f16",
    ];
    assert_eq!(labels, order);
    // 31.4 ÷ 2.08 and 98.7 ÷ 4.95, about: their geometric mean.
    let speed = devices[1]["speed"].as_f64().unwrap();
    assert!((16.0..19.0).contains(&speed), "{speed}");
    assert_eq!(devices[2]["verdicts"], value!({"OK": 4, "ROUNDING": 0, "DIFFERENT": 1}));
    let failed: Vec<&Value> =
        document["results"].as_array().unwrap().iter().filter(|row| !row["error"].is_null()).collect();
    assert_eq!(failed.len(), 2);
    let other = json(&["report", DESK, LAPTOP, "--baseline-device", "llvmpipe", "--json", "-"]);
    assert_eq!(other["baseline"], "llvmpipe (LLVM 19.1.7, 256 bits)");

    let table = text(&sardonyx(&["report", DESK, "--csv", "-"]).stdout);
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let medians = rows.headers().unwrap().iter().position(|name| name == "median_ms").unwrap();
    let medians: Vec<String> = rows.records().map(|row| row.unwrap()[medians].to_string()).collect();
    assert_eq!((medians.len(), medians.iter().filter(|median| median.is_empty()).count()), (18, 1));

    let markdown = text(&sardonyx(&["report", DESK, LAPTOP, "--markdown", "-"]).stdout);
    assert!(markdown.starts_with("**Example GX 900 · f16 is the fastest"), "{markdown}");
    assert!(
        markdown.len() < 65_536 && markdown.contains(r"&lt;img src=x onerror=alert(1)&gt;"),
        "{markdown}"
    );
    // Every row of a table has as many fields as its header.
    let fields = |line: &str| line.replace(r"\|", "").matches('|').count();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with('|') {
            assert!(
                lines.peek().is_none_or(|next| !next.starts_with('|') || fields(next) == fields(line)),
                "{line}"
            );
        }
    }
}

/// The same measured again: the newest counts, the older one is told.
#[test]
fn what_was_measured_again_counts_once() {
    let folder = folder("report-again");
    let newer = changed(&folder.join("newer.json"), |document| {
        document["context"]["unix_time"] = value!(1_900_000_000);
        for cell in
            document["results"].as_array_mut().unwrap().iter_mut().filter(|cell| cell["error"].is_null())
        {
            cell["latency_ms"]["median"] = value!(cell["latency_ms"]["median"].as_f64().unwrap() * 2.0);
        }
    });
    for files in [[DESK, &newer], [&newer, DESK]] {
        let document = json(&["report", files[0], files[1], "--json", "-"]);
        let rows = document["results"].as_array().unwrap();
        let median = |superseded: bool| {
            let found =
                rows.iter().find(|row| row["model"] == "bert" && row["superseded"] == superseded).unwrap();
            found["median_ms"].as_f64().unwrap()
        };
        assert!((median(false) / median(true) - 2.0).abs() < 1e-6);
        assert!(document["warnings"].to_string().contains("measured again later"), "{document}");
    }
}

#[test]
fn a_file_of_today_is_read() {
    let folder = folder("report-real");
    let file = folder.join("bench.json");
    let file = file.to_str().unwrap();
    let bench = ["bench", super::DIGITS, "--device", "cpu", "--runs", "10", "--warmup", "0", "--json", file];
    assert!(sardonyx(&bench).status.success());
    let document = json(&["report", file, "--json", "-"]);
    assert!(document["results"][0]["median_ms"].as_f64().unwrap() > 0.0, "{document}");
    let page = folder.join("page.html");
    assert!(sardonyx(&["report", file, "-o", page.to_str().unwrap()]).status.success());
    // Of a build that isn't optimised nothing is judged, unless that is passed over.
    if cfg!(debug_assertions) {
        refused(&["report", "diff", file, file], &["not optimised", "--ignore"]);
    }
    let same = json(&["report", "diff", file, file, "--ignore", "build", "--json", "-"]);
    assert_eq!(same["cells"][0]["judgement"], "no difference", "{same}");
}

#[test]
fn what_is_no_result_is_refused() {
    let folder = folder("report-bad");
    let file = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_string()
    };
    let half = std::fs::read(DESK).unwrap();
    let half = file("half.json", &half[..half.len() / 2]);
    refused(&["report"], &["FILE"]);
    refused(&["report", "no-such.json"], &["no-such.json", "can't be read"]);
    refused(&["report", &half], &["half.json", "not one whole JSON document"]);
    refused(&["report", DESK, &half], &["half.json"]);
    refused(&["report", &file("schema.json", br#"{"schema":7,"results":[]}"#)], &["schema 7", "schema 1"]);
    refused(&["report", &file("none.json", br#"{"schema":1,"results":[]}"#)], &["holds no results"]);
    refused(&["report", &file("kernels.json", br#"{"schema":1,"kernels":[]}"#)], &["kernels, not models"]);
    refused(&["report", &file("binary.json", &[0xff, 0, 1])], &["binary.json"]);
    refused(&["report", &file("deep.json", "[".repeat(100_000).as_bytes())], &["deep.json"]);
    refused(&["report", folder.to_str().unwrap()], &["can't be read"]);
    refused(&["report", DESK, "--baseline-device", "voodoo"], &["voodoo", "Example GX 900"]);
    refused(&["report", DESK, "--csv", "-", "--json", "-"], &["one document"]);
    refused(&["report", DESK, "-o", "no/such/folder/x.html"], &["can't be written"]);
    // A page that could not be made leaves nothing behind.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 6);
}

#[test]
fn a_change_is_found_and_the_same_is_not() {
    let folder = folder("diff");
    let after = changed(&folder.join("after.json"), |document| {
        scale(document, &[0, 6], 1.5);
        scale(document, &[2], 0.5);
        document["results"][8]["verdict"] = value!("DIFFERENT");
        document["results"][9] = value!({"model": document["results"][9]["model"].clone(),
            "model_sha256": document["results"][9]["model_sha256"].clone(), "device": "gpu",
            "adapter": "Example GX 900", "precision": "f32", "batch": 1, "error": "out of memory"});
        document["results"].as_array_mut().unwrap().remove(17);
    });
    let output = sardonyx(&["report", "diff", DESK, &after, "--json", "-"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = value!({"faster": 1, "slower": 2, "no_difference": 12, "fails_now": 1, "wrong_now": 1, "not_comparable": 1});
    assert_eq!(document["counts"], expected, "{document}");
    let first = &document["cells"][0];
    assert_eq!((&first["judgement"], &first["model"]), (&"slower".into(), &"zoo/resnet50".into()));
    let (low, high) = (first["interval"][0].as_f64().unwrap(), first["interval"][1].as_f64().unwrap());
    assert!(low > 1.02 && low < 1.5 && high > 1.5, "{first}");
    assert_eq!(document["cells"][17]["reason"], "only the first file has it");
    // The other way round it is no regression but for what was faster.
    let back = sardonyx(&["report", "diff", &after, DESK]);
    assert_eq!(back.status.code(), Some(1));
    assert!(text(&back.stdout).contains("1 slower, 2 faster"), "{}", text(&back.stdout));
    let same = sardonyx(&["report", "diff", DESK, DESK]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stdout));
    // What doesn't count is left alone.
    let patient = sardonyx(&["report", "diff", &after, DESK, "--min-change", "150"]);
    assert_eq!(patient.status.code(), Some(0), "{}", text(&patient.stdout));
    let markdown = text(&sardonyx(&["report", "diff", DESK, &after, "--markdown", "-"]).stdout);
    assert!(
        markdown.contains("| zoo/resnet50 | cpu | f32 | 1 |") && markdown.contains("2 slower"),
        "{markdown}"
    );
}

#[test]
fn what_is_not_alike_is_not_compared() {
    let folder = folder("diff-alike");
    refused(&["report", "diff", DESK, LAPTOP], &["can be compared", "the machine was desk, is laptop"]);
    refused(&["report", "diff", DESK], &["AFTER"]);
    refused(&["report", "diff", DESK, "no-such.json"], &["no-such.json"]);
    refused(&["report", "diff", DESK, DESK, "--min-change", "2000"], &["--min-change", "2000"]);
    let driver = changed(&folder.join("driver.json"), |document| {
        for cell in document["results"].as_array_mut().unwrap() {
            if cell["adapter"] == "Example GX 900" {
                cell["driver"] = value!("exdrv 6.0.0");
            }
        }
    });
    let document = json(&["report", "diff", DESK, &driver, "--json", "-"]);
    assert_eq!(
        (&document["counts"]["not_comparable"], &document["counts"]["no_difference"]),
        (&10.into(), &8.into())
    );
    let reason = document["cells"][6]["reason"].as_str().unwrap();
    assert_eq!(reason, "the driver was exdrv 5.2.1, is exdrv 6.0.0");
    let passed = json(&["report", "diff", DESK, &driver, "--ignore", "driver", "--json", "-"]);
    assert_eq!(passed["counts"]["not_comparable"], 1);
    assert!(passed["cells"][6]["reason"].as_str().unwrap().starts_with("passed over: the driver"));
    for (change, told) in
        [(value!({"optimised": false}), "not optimised"), (value!({"limits": "webgpu"}), "--limits")]
    {
        let other = changed(&folder.join("other.json"), |document| {
            for (key, value) in change.as_object().unwrap() {
                document["context"][key] = value.clone();
            }
        });
        refused(&["report", "diff", DESK, &other], &[told]);
    }
    let model = changed(&folder.join("model.json"), |document| {
        for cell in document["results"].as_array_mut().unwrap() {
            cell["model_sha256"] = value!("ab".repeat(32));
        }
    });
    refused(&["report", "diff", DESK, &model], &["the model's hash was", "is abababababab"]);
}
