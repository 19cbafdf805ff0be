//! A graph as SVG: nodes as boxes, coloured by where they run.

use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::geometry::Point;
use layout::core::style::{LineStyleKind, StyleAttr};
use layout::std_shapes::shapes::{Arrow, Element, LineEndKind, ShapeKind};
use layout::topo::layout::VisualGraph;
use sardonyx::graph::{Graph, ValueId};
use std::collections::HashMap;

/// A larger drawing takes minutes and shows nothing.
pub const MOST_NODES: usize = 400;

/// Letters of a label, at most.
const MOST_LETTERS: usize = 28;

/// The colours of places, by what a plan calls them; what is not placed is white.
pub const COLOURS: &[(&str, u32)] =
    &[("gpu", 0xcfe3f7ff), ("view", 0xe8f1e4ff), ("plan", 0xeeeeeeff), ("cpu", 0xf9d9c4ff)];

/// Draws a graph. `place` says where a node runs. `None` where it has too many nodes, or none.
pub fn draw(graph: &Graph, place: impl Fn(usize) -> Option<&'static str>) -> Option<String> {
    if graph.nodes.is_empty() || graph.nodes.len() > MOST_NODES {
        return None;
    }
    let mut drawing = VisualGraph::new(Orientation::TopToBottom);
    let look = |place: Option<&str>| {
        let colour =
            COLOURS.iter().find(|(name, _)| Some(*name) == place).map_or(0xffffffff, |(_, colour)| *colour);
        StyleAttr::new(Color::new(0x555555ff), 1, Some(Color::new(colour)), 4, 13)
    };
    let mut add = |label: &str, look: StyleAttr| {
        let size = Point::new(label.chars().count().max(3) as f64 * 8.0 + 18.0, 30.0);
        drawing.add_node(Element::create(ShapeKind::new_box(label), look, Orientation::TopToBottom, size))
    };
    let mut makers = HashMap::new();
    for &id in &graph.inputs {
        makers.insert(id, add(&short(&graph.value(id).name), look(Some("input"))));
    }
    let mut edges = vec![];
    let mut handles = vec![];
    for (index, node) in graph.nodes.iter().enumerate() {
        let handle = add(&short(&node.op_type), look(place(index)));
        makers.extend(node.outputs.iter().flatten().map(|&id: &ValueId| (id, handle)));
        handles.push(handle);
    }
    for (node, &handle) in graph.nodes.iter().zip(&handles) {
        // Constants have no maker, and would be most of the picture.
        edges.extend(node.inputs.iter().flatten().filter_map(|id| Some((*makers.get(id)?, handle))));
    }
    for &id in &graph.outputs {
        let handle = add(&short(&graph.value(id).name), look(Some("output")));
        edges.extend(makers.get(&id).map(|&maker| (maker, handle)));
    }
    edges.dedup();
    for (from, to) in edges {
        let line = StyleAttr::new(Color::new(0x888888ff), 1, None, 0, 11);
        let ends = (LineEndKind::None, LineEndKind::Arrow);
        drawing.add_edge(
            Arrow::new(ends.0, ends.1, LineStyleKind::Normal, "", &line, &None, &None),
            from,
            to,
        );
    }
    let mut writer = SVGWriter::new();
    drawing.do_it(false, false, false, &mut writer);
    let svg = writer.finalize();
    // Inside of a page there is no declaration.
    Some(svg.split_once("<svg").map_or(svg.clone(), |(_, rest)| format!("<svg{rest}")))
}

/// Text of a few letters that no markup is made of.
fn short(text: &str) -> String {
    let plain = |c: char| match c {
        '<' | '>' | '&' | '"' | '\'' => '_',
        c if c.is_control() => '_',
        c => c,
    };
    let mut letters: Vec<char> = text.chars().map(plain).collect();
    if letters.len() > MOST_LETTERS {
        letters.drain(..letters.len() - MOST_LETTERS + 1);
        letters.insert(0, '…');
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_hold_no_markup() {
        assert_eq!(short("<a & \"b\">"), "_a _ _b__");
        let long = short(&"x".repeat(100));
        assert!(long.chars().count() == MOST_LETTERS && long.starts_with('…'));
    }
}
