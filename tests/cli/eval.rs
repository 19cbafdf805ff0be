//! `eval` on the digits' pictures.

use super::{DIGITS, folder, json, refused, sardonyx, text};
use serde_json::{Value, json as value};
use std::path::{Path, PathBuf};

/// The ten pictures in folders of these labels.
fn digits(name: &str, label: impl Fn(usize) -> String) -> PathBuf {
    let folder = folder(name);
    for digit in 0..10 {
        let target = folder.join(label(digit));
        std::fs::create_dir_all(&target).unwrap();
        std::fs::copy(format!("models/digits/{digit}.png"), target.join(format!("{digit}.png"))).unwrap();
    }
    folder
}

fn string(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn subfolders_are_labels() {
    let folder = digits("eval", |digit| digit.to_string());
    std::fs::write(folder.join("3/notes.txt"), "no picture").unwrap();
    for batch in ["1", "4"] {
        let arguments = ["eval", DIGITS, string(&folder), "--device", "cpu", "--batch", batch, "--json", "-"];
        let document = json(&arguments);
        assert_eq!(
            (&document["schema"], &document["evaluated"], &document["device"]),
            (&1.into(), &10.into(), &"cpu".into())
        );
        let found = &document["classification"];
        assert_eq!(
            (found["correct_top1"].as_u64(), found["top5"].as_f64()),
            (Some(10), Some(1.0)),
            "{document}"
        );
        assert_eq!(found["confusion"].as_array().unwrap().len(), 10);
    }
    // A wrong label is a wrong answer: 7 among the 1s.
    std::fs::rename(folder.join("7/7.png"), folder.join("1/seven.png")).unwrap();
    let output = sardonyx(&["eval", DIGITS, string(&folder), "--device", "cpu", "--min-top1", "95"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.contains("Top-1 90.00 % (9 of 10)"), "{printed}");
    assert!(text(&output.stderr).contains("notes.txt"), "{}", text(&output.stderr));
    let document = json(&["eval", DIGITS, string(&folder), "--device", "cpu", "--json", "-"]);
    let ones =
        document["classification"]["per_class"].as_array().unwrap().iter().find(|class| class["class"] == 1);
    assert_eq!(ones.unwrap()["top1"], 0.5);
    let mistake = value!({"expected": 1, "predicted": 7, "count": 1});
    assert!(document["classification"]["confusion"].as_array().unwrap().contains(&mistake), "{document}");
}

#[test]
fn a_csv_file_labels() {
    let folder = folder("eval-csv");
    let file = folder.join("labels.csv");
    let rows: String = (0..10).map(|digit| format!("{digit}.png,{digit}\n")).collect();
    std::fs::write(&file, format!("\u{feff}file,label\n{rows}")).unwrap();
    let arguments =
        ["eval", DIGITS, "models/digits", "--labels", string(&file), "--device", "cpu", "--json", "-"];
    assert_eq!(json(&arguments)["classification"]["top1"], 1.0);
    let refused_with = |content: &str, parts: &[&str]| {
        std::fs::write(&file, content).unwrap();
        refused(&arguments[..7], parts);
    };
    refused_with("file,label\n0.png,0\n1.png,\n", &["labels.csv", "row 3", "1.png", "no label"]);
    refused_with("file,label\n", &["no rows"]);
    refused_with("picture,label\n0.png,0\n", &["no column 'file'"]);
    refused_with("file\n0.png\n", &["no column beside"]);
    refused_with("file,label\n0.png,zero\n", &["'zero' is no class"]);
    refused_with("file,label\n0.png,0\nmissing.png,1\n", &["missing.png"]);
    refused_with("file,label\n0.png,0,1\n", &["labels.csv"]);
}

#[test]
fn what_can_not_be_evaluated_is_refused() {
    let empty = folder("eval-empty");
    refused(&["eval", DIGITS, string(&empty), "--device", "cpu"], &["holds no picture"]);
    refused(&["eval", DIGITS, "no/such/folder", "--device", "cpu"], &["no/such/folder"]);
    refused(&["eval", "no-such.onnx", "models/digits", "--device", "cpu"], &["error"]);
    refused(&["eval", DIGITS, "models/digits", "--device", "cpu"], &["has no label"]);
    let folder = digits("eval-bad", |digit| digit.to_string());
    refused(&["eval", DIGITS, string(&folder), "--batch", "0"], &["--batch"]);
    refused(
        &["eval", DIGITS, string(&folder), "--device", "cpu", "--output", "nothing"],
        &["no output 'nothing'"],
    );
    refused(&["eval", DIGITS, string(&folder), "--device", "cpu", "--task", "number"], &["--labels"]);
    std::fs::write(folder.join("4/broken.png"), b"\x89PNG\r\n\x1a\nno more").unwrap();
    refused(&["eval", DIGITS, string(&folder), "--device", "cpu"], &["4/broken.png", "--skip-bad"]);
    let document = json(&["eval", DIGITS, string(&folder), "--device", "cpu", "--skip-bad", "--json", "-"]);
    assert_eq!((&document["evaluated"], document["skipped"].as_array().unwrap().len()), (&10.into(), 1));
    assert!(document["skipped"][0]["file"].as_str().unwrap().ends_with("broken.png"));
    let other = digits("eval-names", |digit| format!("digit-{digit}"));
    refused(&["eval", DIGITS, string(&other), "--device", "cpu"], &["'digit-0' is no class", "9 more"]);
    // A file of classes of these names makes them classes.
    let names = other.join("classes.txt");
    std::fs::write(&names, (0..10).map(|digit| format!("digit-{digit}\n")).collect::<String>()).unwrap();
    let document = json(&[
        "eval",
        DIGITS,
        string(&other),
        "--classes",
        string(&names),
        "--device",
        "cpu",
        "--json",
        "-",
    ]);
    assert_eq!(document["classification"]["per_class"][3]["label"], "digit-3");
}

/// The other device is the same one, so nothing differs; wrong labels are shown.
#[test]
fn two_devices_are_set_against_each_other() {
    let folder = digits("eval-against", |digit| ((digit + 1) % 10).to_string());
    let page = folder.join("page.html");
    let device = if sardonyx::gpu::test_device().is_some() { "gpu" } else { "cpu" };
    let arguments = [
        "eval",
        DIGITS,
        string(&folder),
        "--device",
        device,
        "--against",
        "cpu",
        "--html",
        string(&page),
        "--json",
        "-",
    ];
    let document = json(&arguments);
    assert_eq!(document["against"]["disagreements"], 0, "{document}");
    assert_eq!(
        (&document["against"]["device"], &document["against"]["agreement"]),
        (&"cpu".into(), &value!(1.0))
    );
    assert_eq!(document["classification"]["top1"], 0.0);
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 10);
    assert!(page.contains("Classified differently") && !page.contains("The first "), "{}", page.len());
    let few = folder.join("few.html");
    let few_text = few.to_str().unwrap();
    let arguments =
        ["eval", DIGITS, string(&folder), "--device", "cpu", "--html", few_text, "--max-pictures", "3"];
    assert!(sardonyx(&arguments).status.success());
    let page = std::fs::read_to_string(&few).unwrap();
    assert!(page.matches("src=\"data:").count() == 3 && page.contains("The first 3 of 10."));
}

#[test]
fn numbers_distributions_and_tokens() {
    let folder = folder("eval-tasks");
    let outputs: Vec<Vec<f64>> = (0..10)
        .map(|digit| {
            let picture = format!("models/digits/{digit}.png");
            let found: Value =
                json(&["classify", DIGITS, &picture, "--device", "cpu", "--top", "10", "--json", "-"]);
            let mut all: Vec<(u64, f64)> = found[0]["top"]
                .as_array()
                .unwrap()
                .iter()
                .map(|class| (class["index"].as_u64().unwrap(), class["probability"].as_f64().unwrap()))
                .collect();
            all.sort_by_key(|class| class.0);
            all.into_iter().map(|class| class.1).collect()
        })
        .collect();
    let file = folder.join("expected.csv");
    let header: String = (0..10).map(|class| format!(",p{class}")).collect();
    let write = |off: f64| {
        let row = |(digit, row): (usize, &Vec<f64>)| {
            let numbers: String = row.iter().map(|number| format!(",{}", number + off)).collect();
            format!("{digit}.png{numbers}\n")
        };
        let rows: String = outputs.iter().enumerate().map(row).collect();
        std::fs::write(&file, format!("file{header}\n{rows}")).unwrap();
    };
    let eval = |task: &str| {
        json(&[
            "eval",
            DIGITS,
            "models/digits",
            "--labels",
            string(&file),
            "--task",
            task,
            "--device",
            "cpu",
            "--json",
            "-",
        ])
    };
    write(0.0);
    let distribution = &eval("distribution")["distribution"];
    assert!(distribution["kl_divergence"].as_f64().unwrap().abs() < 1e-6, "{distribution}");
    write(0.25);
    let regression = &eval("number")["regression"];
    for name in ["mean_absolute_error", "root_mean_square_error"] {
        assert!((regression[name].as_f64().unwrap() - 0.25).abs() < 1e-6, "{regression}");
    }
    assert_eq!(regression["count"], 100);
    // A row too short is told.
    std::fs::write(&file, "file,y\n0.png,1\n").unwrap();
    let arguments =
        ["eval", DIGITS, "models/digits", "--labels", string(&file), "--task", "number", "--device", "cpu"];
    refused(&arguments, &["10 numbers", "1 columns"]);
    std::fs::write(&file, "file,y\n0.png,many\n").unwrap();
    refused(&arguments, &["'many'", "no number"]);
    std::fs::write(&file, "file,tokens\n0.png,1 2 3\n").unwrap();
    let tokens =
        ["eval", DIGITS, "models/digits", "--labels", string(&file), "--task", "tokens", "--device", "cpu"];
    refused(&tokens, &["no sequence of tokens"]);
}
