//! The pictures that a model got wrong, or that two devices disagree on, as one HTML file.

use super::samples::Sample;
use base64::Engine;
use maud::{DOCTYPE, Markup, html};
use std::path::Path;

/// The longest side of a picture in the file, in pixels.
const SIDE: u32 = 160;

/// A picture with what was said of it.
pub struct Shown<'a> {
    pub sample: &'a Sample,
    pub expected: String,
    /// What each device said, with its probability: the device first.
    pub said: Vec<(String, String, f32)>,
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: light-dark(#16191d, #e9ecf0); --soft: light-dark(#5a6370, #a0a9b5);
  --ground: light-dark(#fff, #14171b); --line: light-dark(#d9dde3, #343b45); }
body { margin: 0 auto; max-width: 1280px; padding: 16px; background: var(--ground); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 26px 0 8px; }
.soft { color: var(--soft); }
ul { list-style: none; padding: 0; display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 200px), 1fr)); }
li { border: 1px solid var(--line); border-radius: 8px; padding: 10px; overflow-wrap: anywhere; break-inside: avoid; }
img { display: block; max-width: 100%; margin: 0 auto 8px; image-rendering: pixelated; }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: 0 10px; font-variant-numeric: tabular-nums; }
dt { color: var(--soft); } dd { margin: 0; }
";

/// The file: a title, lines below it, and lists of pictures, each with how many it has in all.
pub fn page(title: &str, facts: &[String], lists: &[(String, usize, Vec<Shown>)]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                title { (title) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                @for fact in facts { p.soft { (fact) } }
                @for (heading, all, shown) in lists {
                    h2 { (heading) }
                    @if *all > shown.len() { p.soft { "The first " (shown.len()) " of " (all) "." } }
                    @if shown.is_empty() { p { "None." } }
                    ul { @for one in shown { li { (item(one)) } } }
                }
            }
        }
    };
    page.into_string()
}

fn item(one: &Shown) -> Markup {
    html! {
        @match picture(&one.sample.path) {
            Some(data) => { img src=(data) alt=(one.sample.path.display()); }
            None => { p.soft { "(no picture)" } }
        }
        dl {
            dt { "labelled" } dd { strong { (one.expected) } }
            @for (device, class, probability) in &one.said {
                dt { (device) } dd { (class) ", " (format!("{:.1} %", probability * 100.0)) }
            }
            dt { "file" } dd { (one.sample.path.display()) }
        }
    }
}

/// A small PNG as a data URI; small pictures are enlarged, so that they can be seen. `None` of what is none.
fn picture(path: &Path) -> Option<String> {
    let picture = sardonyx::image::load(path).ok()?;
    let (width, height) = (u32::try_from(picture.width()).ok()?, u32::try_from(picture.height()).ok()?);
    let whole = image::RgbImage::from_raw(width, height, picture.rgb().to_vec())?;
    let scale = f64::from(SIDE) / f64::from(width.max(height).max(1));
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let filter = if scale > 1.0 {
        image::imageops::FilterType::Nearest
    } else {
        image::imageops::FilterType::Triangle
    };
    let small = image::imageops::resize(&whole, side(width), side(height), filter);
    let mut png = std::io::Cursor::new(vec![]);
    small.write_to(&mut png, image::ImageFormat::Png).ok()?;
    Some(format!(
        "data:image/png;base64,{}",
        base64::engine::general_purpose::STANDARD.encode(png.into_inner())
    ))
}
