//! What a decoder's inputs and outputs are, by the names that exporters give them.

use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, ValueId};
use crate::text::{Port, embedding};

/// A cache: what a run takes, and the output that is the next run's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cache {
    pub past: Port,
    pub present: String,
    /// Its sizes for one sequence, 0 along `axis`.
    pub shape: Vec<usize>,
    /// The axis of the tokens.
    pub axis: usize,
}

/// A decoder's inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports {
    pub ids: Port,
    pub mask: Option<Port>,
    pub positions: Option<Port>,
    pub caches: Vec<Cache>,
    pub logits: String,
    /// The scores' last axis, where the model says it.
    pub vocabulary: Option<usize>,
    /// Whether there are scores for the last token alone.
    pub last_alone: bool,
    /// Rows of the embedding, where it is a table that tokens are gathered from.
    pub embedding: Option<usize>,
    /// Whether the caches that come out are longer than those that went in by the new tokens; otherwise new
    /// tokens are written into them.
    pub growing: bool,
}

impl Ports {
    /// What a model has. Sizes that it leaves open are those given: heads of keys, and numbers in a key.
    ///
    /// Errors: what isn't recognised, by name.
    pub fn of(graph: &Graph, [heads, size]: [Option<usize>; 2]) -> Result<Self> {
        let (mut ids, mut mask, mut positions, mut caches) = (None, None, None, vec![]);
        for &id in &graph.inputs {
            let port = Port::of(graph, id);
            match &*port.name {
                "input_ids" => ids = Some(port.of_integers(2)?),
                "attention_mask" => mask = Some(port.of_integers(2)?),
                "position_ids" => positions = Some(port.of_integers(2)?),
                name if name.starts_with("past") && port.dtype.is_float() => {
                    caches.push(cache(graph, id, port, [heads, size])?);
                }
                name => return Err(unknown(name)),
            }
        }
        let ids = ids.ok_or_else(|| {
            let names: Vec<&str> = graph.inputs.iter().map(|&id| &*graph.value(id).name).collect();
            Error::unsupported(format!("no input is called input_ids; there are: {}", names.join(", ")))
                .remedy("generation takes a decoder of text, with the names that exporters give it")
        })?;
        let logits = graph.outputs.iter().copied().find(|&id| graph.value(id).name == "logits");
        let logits = logits.ok_or_else(|| {
            let names: Vec<&str> = graph.outputs.iter().map(|&id| &*graph.value(id).name).collect();
            let shown = names[..names.len().min(5)].join(", ");
            Error::unsupported(format!("no output is called logits; the first are: {shown}"))
                .remedy("generation takes a decoder that gives scores of tokens")
        })?;
        let sizes = Port::of(graph, logits).sizes;
        let vocabulary = sizes.last().copied().flatten();
        let last_alone = sizes.len() == 2 || sizes.get(1) == Some(&Some(1));
        let growing = !caches.iter().all(|cache| written_into(graph, &cache.present));
        let embedding = embedding(graph, &ids.name);
        let logits = graph.value(logits).name.clone();
        Ok(Self { ids, mask, positions, caches, logits, vocabulary, last_alone, embedding, growing })
    }
}

fn unknown(name: &str) -> Error {
    let (what, remedy) = match name {
        "use_cache_branch" => (
            "the model is two in one, by use_cache_branch",
            "name the folder with encoder_model.onnx too, or export it without merging",
        ),
        "encoder_hidden_states" | "encoder_attention_mask" => (
            "the model is the decoder of an encoder's states",
            "name the folder with encoder_model.onnx and decoder_model_merged.onnx",
        ),
        "inputs_embeds" => ("the model takes embeddings, not tokens", "export it with its embedding"),
        _ => (
            "what this input is for isn't known",
            "generation takes input_ids, attention_mask, position_ids and past…",
        ),
    };
    Error::unsupported(what).at_tensor(name).remedy(remedy)
}

/// The cache of an input: `[batch, heads, tokens, size]`, or both of a layer at once,
/// `[2, batch, heads, tokens, size]`.
fn cache(graph: &Graph, id: ValueId, past: Port, given: [Option<usize>; 2]) -> Result<Cache> {
    let dims = Port::dims(graph, id);
    let axis = match dims.len() {
        4 => 2,
        5 => 3,
        rank => {
            return Err(Error::unsupported(format!("a cache of rank {rank}; 4 and 5 are known"))
                .at_tensor(&past.name)
                .remedy("export the model with caches [batch, heads, tokens, size]"));
        }
    };
    let mut shape = vec![];
    for (at, dim) in dims.iter().enumerate() {
        let open = match at {
            _ if at == axis => Some(0),
            _ if at + 2 == axis => Some(1),
            _ if at + 1 == axis => given[0],
            _ if at == axis + 1 => given[1],
            _ => Some(2),
        };
        let size = match dim {
            Dim::Known(_) if at == axis => {
                return Err(Error::unsupported(format!("the cache has a fixed length on axis {axis}"))
                    .at_tensor(&past.name)
                    .remedy("export the model with a cache of open length"));
            }
            Dim::Known(size) => Some(*size),
            _ => open,
        };
        shape.push(size.ok_or_else(|| {
            Error::unsupported(format!("neither the model nor its config.json says the size of axis {at}"))
                .at_tensor(&past.name)
                .remedy("put the model's config.json beside it")
        })?);
    }
    let present = present_of(&past.name);
    match graph.outputs.iter().any(|&id| graph.value(id).name == present) {
        true => Ok(Cache { past, present, shape, axis }),
        false => Err(Error::unsupported(format!("there is no output '{present}' that goes with it"))
            .at_tensor(&past.name)
            .remedy("export the model with its caches as outputs")),
    }
}

/// The output that goes with a cache: past_key_values.0.key and present.0.key, past_0 and present_0.
pub(super) fn present_of(past: &str) -> String {
    match past.strip_prefix("past_key_values") {
        Some(rest) => format!("present{rest}"),
        None => past.replacen("past", "present", 1),
    }
}

/// Whether an output is a cache that new entries were written into, at places that are data.
fn written_into(graph: &Graph, output: &str) -> bool {
    let mut id = graph.find(output);
    // What only passes a value on.
    for _ in 0..8 {
        let Some(value) = id else { return false };
        let Some(node) = graph.nodes.iter().find(|node| node.outputs.contains(&Some(value))) else {
            return false;
        };
        match &*node.op_type {
            "Identity" | "Cast" => id = node.inputs.first().copied().flatten(),
            // As GroupQueryAttention's body does.
            other => return other == "TensorScatter",
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx;
    use std::path::Path;

    fn ports(name: &str) -> Result<Ports> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name).join("model.onnx");
        Ports::of(&onnx::read(&path).unwrap().graph, [None, None])
    }

    #[test]
    fn both_layouts_are_recognised() {
        let genai = ports("text/genai").unwrap();
        assert!(!genai.growing && genai.positions.is_none() && genai.mask.is_some());
        assert_eq!((genai.caches.len(), &*genai.caches[0].present), (4, "present.0.key"));
        assert_eq!((genai.caches[0].shape.as_slice(), genai.caches[0].axis), ([1, 2, 0, 16].as_slice(), 2));
        assert_eq!(genai.vocabulary, genai.embedding);
        let plain = ports("text/plain").unwrap();
        assert!(plain.growing && plain.positions.is_some());
        assert_eq!(plain.caches, genai.caches);
    }

    #[test]
    fn what_is_no_decoder_is_said() {
        let told = ports("tiny/mlp").unwrap_err().to_string();
        assert!(told.contains("'input'"), "{told}");
        let told = unknown("use_cache_branch").to_string();
        assert!(told.contains("use_cache_branch") && told.contains("encoder_model.onnx"), "{told}");
    }

    #[test]
    fn caches_go_by_name() {
        assert_eq!(present_of("past_key_values.3.key"), "present.3.key");
        assert_eq!(present_of("past_0"), "present_0");
        assert_eq!(present_of("past.0.value"), "present.0.value");
        assert_eq!(present_of("past_key_self_0"), "present_key_self_0");
    }
}
