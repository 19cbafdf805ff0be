//! The report's page in a real browser: it runs without an error, and sorts, filters and changes its colours
//! by a click. Left out where no Chromium is found, unless SARDONYX_REQUIRE_CHROMIUM=1; `.ci/chromium.sh`
//! installs Debian's. SARDONYX_SCREENSHOTS=FOLDER writes pictures of the page there, to be looked at.
#![cfg(feature = "cli")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Before the page's own script: what goes wrong from here on.
const LISTEN: &str = r#"<script>
window.problems = [];
addEventListener("error", (event) => problems.push(String(event.message || event.target.outerHTML)), true);
addEventListener("securitypolicyviolation", (event) => problems.push("policy: " + event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(level + ": " + words.join(" "));
</script>"#;

/// Behind everything: uses the page as a reader would, and leaves what it saw as JSON.
const USE: &str = r##"<script>
const seen = { problems };
try {
  const table = document.querySelector("#results-table");
  const heading = [...table.tHead.rows[0].cells].find((cell) => cell.textContent.startsWith("Median"));
  const column = heading.cellIndex;
  const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
  seen.before = values();
  heading.querySelector("button").click();
  seen.up = values();
  seen.sorted = heading.getAttribute("aria-sort");
  heading.querySelector("button").click();
  seen.down = values();
  const input = table.closest(".frame").querySelector("input[type=search]");
  const shown = () => [...table.tBodies[0].rows].filter((row) => row.getClientRects().length > 0).map((row) => row.textContent);
  const type = (words) => { input.value = words; input.dispatchEvent(new Event("input")); return shown(); };
  seen.all = shown().length;
  seen.filtered = type("resnet50 llvmpipe");
  seen.count = table.closest(".frame").querySelector("output").textContent;
  seen.none = type("no such words").length;
  seen.again = type("").length;
  const ground = () => getComputedStyle(document.body).backgroundColor;
  seen.light = ground();
  document.querySelector("#theme").click();
  seen.dark = ground();
  document.querySelector("#theme").click();
  seen.lightAgain = ground();
  seen.width = [document.documentElement.scrollWidth, innerWidth];
  seen.plots = document.querySelectorAll("figure > svg").length;
  seen.empty = [...document.querySelectorAll("figure > svg")].filter((plot) => !(plot.getBBox().height > 20)).length;
  seen.links = [...document.querySelectorAll("nav a")].filter((link) => !document.querySelector(link.getAttribute("href"))).length;
  seen.images = document.querySelectorAll("img").length;
  const places = [...document.querySelectorAll("svg *")].map((item) => item.outerHTML);
  seen.nan = places.filter((text) => /NaN|inf/.test(text.replace(/<title>.*<\/title>/s, ""))).length;
  seen.title = document.title;
} catch (problem) {
  problems.push(String(problem));
}
const out = document.createElement("script");
out.type = "application/json";
out.id = "seen";
out.textContent = JSON.stringify(seen).replaceAll("<", "\\u003c");
document.body.append(out);
</script>"##;

/// The browser, unless there is none.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("SARDONYX_CHROMIUM").map(PathBuf::from);
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let found = named.or_else(|| {
        names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|path| path.is_file())
    });
    if found.is_none() {
        let required = std::env::var("SARDONYX_REQUIRE_CHROMIUM").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "SARDONYX_REQUIRE_CHROMIUM=1, and there is no Chromium; .ci/chromium.sh installs one"
        );
        println!("left out: no Chromium is there (.ci/chromium.sh installs one)");
    }
    found
}

fn browse(browser: &Path, folder: &Path, arguments: &[&str], page: &Path) -> Output {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    // As root, as in a container, Chromium has no sandbox of its own.
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--enable-logging=stderr",
        &profile,
    ]);
    let output = command.args(arguments).arg(format!("file://{}", page.display())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The page of tests/report, as a file.
fn report(folder: &Path) -> PathBuf {
    let page = folder.join("report.html");
    let status = Command::new(env!("CARGO_BIN_EXE_sardonyx"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["report", "tests/report/desk.json", "tests/report/laptop.json", "-o"])
        .arg(&page)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    page
}

/// What the page's reader saw at a size of the window.
fn seen(browser: &Path, folder: &Path, page: &Path, size: &str) -> Value {
    let text = std::fs::read_to_string(page).unwrap();
    assert_eq!((text.matches("<head>").count(), text.matches("</body>").count()), (1, 1));
    let text =
        text.replace("<head>", &format!("<head>{LISTEN}")).replace("</body>", &format!("{USE}</body>"));
    let used = folder.join("used.html");
    std::fs::write(&used, text).unwrap();
    let output = browse(browser, folder, &[size, "--virtual-time-budget=5000", "--dump-dom"], &used);
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!talk.contains("CONSOLE"), "{talk}");
    let dom = String::from_utf8(output.stdout).unwrap();
    let after =
        dom.split(r#"id="seen">"#).nth(1).unwrap_or_else(|| panic!("the test's script didn't end: {talk}"));
    serde_json::from_str(after.split("</script>").next().unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = chromium() else { return };
    let folder = folder("works");
    let page = report(&folder);
    let seen = seen(&browser, &folder, &page, "--window-size=1400,1000");
    assert_eq!(seen["problems"], serde_json::json!([]), "{seen}");
    // Sorting.
    let (before, up, down) = (numbers(&seen["before"]), numbers(&seen["up"]), numbers(&seen["down"]));
    let mut sorted = before.clone();
    sorted.sort_by(f64::total_cmp);
    assert!(before.len() > 20 && before != sorted && up == sorted, "{seen}");
    sorted.reverse();
    assert_eq!((down, &seen["sorted"]), (sorted, &"ascending".into()));
    // Filtering: a row has to hold every word.
    let rows = before.len();
    let filtered = seen["filtered"].as_array().unwrap();
    assert!(filtered.iter().all(|row| row.as_str().unwrap().contains("resnet50")));
    assert!((1..4).contains(&filtered.len()), "{filtered:?}");
    assert_eq!(seen["count"], format!("{} of {rows} rows", filtered.len()));
    let counts = ["all", "none", "again"].map(|name| seen[name].as_u64().unwrap() as usize);
    assert_eq!(counts, [rows, 0, rows]);
    // Light and dark.
    assert!(seen["light"] != seen["dark"] && seen["light"] == seen["lightAgain"], "{seen}");
    assert_eq!((&seen["light"], &seen["dark"]), (&"rgb(255, 255, 255)".into(), &"rgb(20, 23, 27)".into()));
    // The plots are there, every entry of the contents leads somewhere, and a file's text makes no elements.
    assert!(seen["plots"].as_u64().unwrap() >= 20, "{seen}");
    let zeros = ["empty", "links", "images", "nan"].map(|name| seen[name].as_u64());
    assert_eq!(zeros, [Some(0); 4], "{seen}");
    assert!(seen["title"].as_str().unwrap().contains("Example GX 900"), "{seen}");
}

#[test]
fn the_page_fits_a_phone() {
    let Some(browser) = chromium() else { return };
    let folder = folder("phone");
    let page = report(&folder);
    // Chromium's own windows are no narrower than 500 pixels: a frame of a phone's width is, and its page is
    // told that width.
    let frame = folder.join("frame.html");
    let script = r#"<script>onload = () => { const inner = document.querySelector("iframe").contentDocument.documentElement;
document.body.dataset.seen = inner.scrollWidth + "/" + inner.clientWidth; };</script>"#;
    let text = format!(
        r#"<body style="margin:0"><iframe src="{}" style="border:0;width:360px;height:800px"></iframe>{script}"#,
        page.file_name().unwrap().to_string_lossy()
    );
    std::fs::write(&frame, text).unwrap();
    let arguments = [
        "--window-size=800,900",
        "--allow-file-access-from-files",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ];
    let output = browse(&browser, &folder, &arguments, &frame);
    let dom = String::from_utf8(output.stdout).unwrap();
    assert!(
        dom.contains(r#"data-seen="360/360""#),
        "the page is wider than a phone: {}",
        &dom[dom.len().saturating_sub(200)..]
    );
    let Some(pictures) = std::env::var_os("SARDONYX_SCREENSHOTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&pictures).unwrap();
    for (name, width, height, dark) in
        [("wide", 1400, 5200, false), ("dark", 1400, 5200, true), ("phone", 360, 6000, false)]
    {
        let mut page_text = std::fs::read_to_string(&page).unwrap();
        if dark {
            page_text = page_text.replace("<html lang=\"en\">", "<html lang=\"en\" data-theme=\"dark\">");
        }
        let (shown, inner) = (folder.join(format!("{name}.html")), folder.join(format!("{name}-inner.html")));
        std::fs::write(&inner, page_text).unwrap();
        let source = inner.file_name().unwrap().to_string_lossy().into_owned();
        let frame = format!(
            r#"<body style="margin:0"><iframe src="{source}" style="border:0;width:{width}px;height:{height}px"></iframe>"#
        );
        std::fs::write(&shown, frame).unwrap();
        let picture = format!("--screenshot={}", pictures.join(format!("{name}.png")).display());
        let size = format!("--window-size={},{height}", width.max(500));
        browse(&browser, &folder, &[&size, "--allow-file-access-from-files", &picture], &shown);
    }
}
