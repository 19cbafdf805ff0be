//! Loops written out, for drivers whose compiler leaves every loop a loop: what an invocation keeps in an
//! array is then found by constant indices, and so in registers rather than lane by lane in memory
//! (docs/performance.md). A kernel may ask for it for some loops whatever the driver (`Prelude::turns`).

/// The most turns of a loop that is written out.
const MOST: u32 = 16;

/// A shader with its loops `for (var NAME = 0u; NAME < END; NAME++) { … }` as blocks `{ const NAME = 0u; … }
/// { const NAME = 1u; … }`, where `value` knows END, at most 16, and the body neither leaves its turn nor the
/// loop. Lines stay where they are: copies stand on the last line of the first.
pub(super) fn unrolled(shader: &str, value: &dyn Fn(&str) -> Option<u32>) -> String {
    let mut text = String::with_capacity(2 * shader.len());
    let mut rest = shader;
    while let Some(at) = rest.find("for (var ") {
        let (before, from) = rest.split_at(at);
        text += before;
        match Loop::read(from) {
            Some(found) => {
                let body = unrolled(found.body, value);
                let turns = value(found.end).filter(|&turns| (1..=MOST).contains(&turns) && !found.leaves());
                match turns {
                    Some(turns) => {
                        text += &format!("{{ const {} = 0u;{body}}}", found.name);
                        let copy = on_one_line(&body);
                        (1..turns).for_each(|turn| {
                            text += &format!(" {{ const {} = {turn}u; {copy}}}", found.name)
                        });
                    }
                    None => text += &format!("{}{body}}}", found.head),
                }
                rest = found.behind;
            }
            None => {
                text += &from[.."for (var ".len()];
                rest = &from["for (var ".len()..];
            }
        }
    }
    text + rest
}

/// A loop that counts up from 0 to what an expression says.
struct Loop<'a> {
    /// `for (…) {`
    head: &'a str,
    name: &'a str,
    end: &'a str,
    body: &'a str,
    behind: &'a str,
}

impl<'a> Loop<'a> {
    /// Reads the loop at the start of a text; `None` for one of another form.
    fn read(text: &'a str) -> Option<Self> {
        let (name, rest) = text.strip_prefix("for (var ")?.split_once(" = 0u; ")?;
        let (end, _) = rest.strip_prefix(name)?.strip_prefix(" < ")?.split_once("; ")?;
        let head = format!("for (var {name} = 0u; {name} < {end}; {name}++) {{");
        let inside = text.strip_prefix(&*head)?;
        let mut depth = 1;
        for (at, letter) in inside.char_indices() {
            depth += match letter {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            if depth == 0 {
                return Some(Self {
                    head: &text[..head.len()],
                    name,
                    end,
                    body: &inside[..at],
                    behind: &inside[at + 1..],
                });
            }
        }
        None
    }
    /// Whether the body jumps: a block is no loop to be left.
    fn leaves(&self) -> bool {
        ["continue;", "break;"].iter().any(|jump| self.body.contains(jump))
    }
}

/// A text without comments and line breaks.
fn on_one_line(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(line).trim())
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_of_known_length_are_written_out_and_lines_stay() {
        let value = |name: &str| match name {
            "ROWS" => Some(3),
            "2u" => Some(2),
            _ => None,
        };
        let shader = "for (var r = 0u; r < ROWS; r++) {\n    for (var k = 0u; k < 2u; k++) { a[r] += b[k]; } // twice\n}\nfor (var i = 0u; i < p.n; i++) { c(i); }\n";
        let text = unrolled(shader, &value);
        assert_eq!(text.lines().count(), shader.lines().count());
        assert_eq!(text.matches("a[r] += b[k];").count(), 6, "{text}");
        assert!(
            text.contains("{ const r = 2u; { const k = 0u;")
                && text.contains("for (var i = 0u; i < p.n; i++) { c(i); }"),
            "{text}"
        );
    }

    #[test]
    fn a_body_that_jumps_stays_a_loop() {
        let shader = "for (var r = 0u; r < ROWS; r++) { if x { continue; } y(r); }";
        assert_eq!(unrolled(shader, &|_| Some(4)), shader);
    }
}
