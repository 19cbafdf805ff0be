//! Horizontal bars of parts one after another.

use super::{Scale, WIDTH, figure, p};
use maud::{Markup, html};

pub struct Stack {
    pub label: String,
    /// In the order of the legend; what is 0 isn't drawn.
    pub parts: Vec<f64>,
    /// The whole, which may be more than the parts.
    pub whole: f64,
    pub text: String,
    pub title: String,
}

const ROW: f64 = 31.0;
const LEFT: f64 = 2.0;

/// Rows of parts; the part of number i has the class `t{i}`, the rest of the whole `rest`.
pub fn stacked(name: &str, stacks: &[Stack]) -> Markup {
    let longest = stacks.iter().map(|stack| stack.whole.max(stack.parts.iter().sum())).fold(0.0, f64::max);
    let x = Scale::linear(longest, LEFT, WIDTH - 76.0);
    let bottom = stacks.len() as f64 * ROW + 4.0;
    figure(
        name,
        bottom + 16.0,
        html! {
            @for (place, label) in x.ticks() {
                line class="grid" x1=(p(place)) x2=(p(place)) y1="0" y2=(p(bottom)) {}
                text class="tick" x=(p(place)) y=(p(bottom + 12.0)) text-anchor=(if place < 6.0 { "start" } else { "middle" }) { (label) }
            }
            @for (index, stack) in stacks.iter().enumerate() { (row(stack, index as f64 * ROW, &x)) }
        },
    )
}

fn row(stack: &Stack, top: f64, x: &Scale) -> Markup {
    let mut from = 0.0;
    let mut places = vec![];
    for (index, part) in stack.parts.iter().enumerate() {
        places.push((format!("part t{index}"), x.at(from), x.at(from + part)));
        from += part;
    }
    places.push(("part rest".to_string(), x.at(from), x.at(stack.whole)));
    let end = places.iter().map(|(_, _, to)| *to).fold(LEFT, f64::max);
    html! {
        g {
            title { (stack.title) }
            text class="label" x=(p(LEFT)) y=(p(top + 11.0)) { (super::super::units::shortened(&stack.label, 54)) }
            @for (class, from, to) in places.iter().filter(|(_, from, to)| to - from > 0.05) {
                rect class=(class) x=(p(*from)) y=(p(top + 15.0)) width=(p(to - from)) height="12" {}
            }
            text class="value" x=(p(end + 6.0)) y=(p(top + 25.0)) { (stack.text) }
        }
    }
}
