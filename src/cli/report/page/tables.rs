//! Tables that the page's script makes sortable and filterable, and that are whole without it.

use maud::{Markup, html};

pub struct Column {
    pub name: &'static str,
    /// Below the name.
    pub unit: &'static str,
    /// Aligned at the right, and sorted by value.
    pub number: bool,
}

/// A column of words.
pub const fn text(name: &'static str) -> Column {
    Column { name, unit: "", number: false }
}
/// A column of numbers.
pub const fn number(name: &'static str, unit: &'static str) -> Column {
    Column { name, unit, number: true }
}

/// What a field shows, and what it is sorted by.
pub enum Field {
    Text(String),
    Number(String, Option<f64>),
    Verdict(Option<String>),
    /// A device with its colour and marker.
    Device(usize, String),
}

/// A table with a name for the script and for who hears the page. The first column stays in sight where the
/// table is wider than the screen.
pub fn table(id: &str, caption: &str, columns: &[Column], rows: Vec<Vec<Field>>) -> Markup {
    let named = format!("{id}-caption");
    html! {
        div.frame {
            p.caption id=(named) { (caption) }
            div.scroll {
                table.data id=(id) aria-labelledby=(named) {
                    thead { tr {
                        @for column in columns {
                            th scope="col" class=(if column.number { "number" } else { "" }) {
                                (column.name)
                                @if !column.unit.is_empty() { " " span.unit { (column.unit) } }
                            }
                        }
                    } }
                    tbody {
                        @for row in rows { tr { @for field in row { (cell(field)) } } }
                    }
                }
            }
        }
    }
}

fn cell(field: Field) -> Markup {
    let value = |value: Option<f64>| value.filter(|value| value.is_finite()).map(|value| value.to_string());
    match field {
        Field::Text(text) => html! { td { (text) } },
        Field::Number(text, sorted) => html! { td.number data-value=[value(sorted)] { (text) } },
        Field::Verdict(told) => html! { td { (verdict(told.as_deref())) } },
        Field::Device(index, label) => html! { td.device { (super::super::plot::key(index, &label)) } },
    }
}

/// A verdict by word, sign and colour.
pub fn verdict(told: Option<&str>) -> Markup {
    let (class, sign) = match told {
        Some("OK") => ("ok", "✓"),
        Some("ROUNDING") => ("rounding", "≈"),
        Some("DIFFERENT") => ("different", "✗"),
        Some(_) => ("", ""),
        None => return html! { "–" },
    };
    html! { span class=(format!("verdict {class}")) { (sign) " " (told.unwrap_or_default()) } }
}
