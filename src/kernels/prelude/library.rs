//! The functions of `shaders/lib/` that any shader may call: a prelude takes those that are mentioned, and
//! what these mention.

use std::collections::BTreeSet;

/// The library's declarations: (name, text), in the order of the files. `subgroups`: which of two ways sums
/// over a group are made.
pub(super) fn library(subgroups: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    const FILES: [&str; 7] = [
        include_str!("../../../shaders/lib/address.wgsl"),
        include_str!("../../../shaders/lib/math.wgsl"),
        include_str!("../../../shaders/lib/int64.wgsl"),
        include_str!("../../../shaders/lib/lanes.wgsl"),
        include_str!("../../../shaders/lib/small_floats.wgsl"),
        include_str!("../../../shaders/lib/status.wgsl"),
        include_str!("../../../shaders/lib/window.wgsl"),
    ];
    const GROUPS: [&str; 2] = [
        include_str!("../../../shaders/lib/reduction_group.wgsl"),
        include_str!("../../../shaders/lib/group_subgroups.wgsl"),
    ];
    const BEGINNINGS: [&str; 5] = ["const ", "fn ", "struct ", "var<private> ", "var<workgroup> "];
    FILES.into_iter().chain([GROUPS[subgroups as usize]]).flat_map(|file| {
        let begins = |at: &usize| BEGINNINGS.iter().any(|beginning| file[*at..].starts_with(beginning));
        let starts: Vec<usize> = file.match_indices('\n').map(|(at, _)| at + 1).filter(begins).collect();
        let mut parts = vec![];
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(file.len());
            let text = &file[start..end];
            // What stands between two functions is the next one's comment.
            let text = text.rfind("}\n").map_or(text, |close| &text[..close + 1]);
            let text = if text.starts_with("var") || text.starts_with("const") {
                text.lines().next().unwrap_or(text)
            } else {
                text
            };
            let name = BEGINNINGS.iter().find_map(|beginning| text.strip_prefix(beginning)).unwrap_or(text);
            let name = &name[..name.find(['(', ':', ' ']).unwrap_or(name.len())];
            parts.push((name, text));
        }
        parts
    })
}

/// The library names that a text mentions, and those that these mention.
pub(super) fn collect_calls(text: &str, subgroups: bool, wanted: &mut BTreeSet<&'static str>) {
    for (name, body) in library(subgroups) {
        let mentioned = text.match_indices(name).any(|(at, _)| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            !text[..at].ends_with(word) && !text[at + name.len()..].starts_with(word)
        });
        if mentioned && wanted.insert(name) {
            collect_calls(body, subgroups, wanted);
        }
    }
}
