//! What the inputs and outputs of a decoder of an encoder's states are, by the names that optimum gives them.

use super::ports::present_of;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::tensor::{self, DType, Tensor};
use crate::text::Port;

/// Keys or values that a run takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    pub port: Port,
    /// The output that is its next, whether or not the model has it.
    pub present: String,
    /// Whether they are of the encoder's states, and so the same in every run.
    pub cross: bool,
}

/// The axis of the tokens, of keys and values `[batch, heads, tokens, size]`.
pub(super) const TOKENS: usize = 2;

impl Past {
    /// Keys or values of so many tokens, all 0.
    ///
    /// Errors: sizes that the model leaves open; memory.
    pub fn zeros(&self, count: usize) -> Result<Tensor> {
        let port = &self.port;
        let size = |axis: usize| {
            port.sizes.get(axis).copied().flatten().ok_or_else(|| {
                Error::unsupported(format!("the model doesn't say the size of axis {axis}"))
                    .at_tensor(&port.name)
                    .remedy("export it with the sizes of its heads")
            })
        };
        let shape = vec![1, size(1)?, count, size(3)?];
        let bytes = tensor::element_count(&shape)?.checked_mul(port.dtype.size());
        let bytes = bytes.ok_or_else(|| Error::memory(format!("a cache of shape {shape:?} is too large")))?;
        Tensor::from_byte_vector(port.dtype, shape, tensor::zeros::<u8>(bytes)?)
    }
}

/// The inputs and outputs of one of the decoder's graphs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CrossPorts {
    pub ids: Port,
    /// The encoder's states.
    pub states: Option<Port>,
    /// Which of the encoder's tokens count.
    pub mask: Option<Port>,
    pub pasts: Vec<Past>,
    /// The first token's place, where the model asks for it.
    pub places: Option<Port>,
    /// The input that says which of two graphs in one runs: `use_cache_branch`.
    pub switch: Option<String>,
    pub logits: String,
    pub vocabulary: Option<usize>,
    /// All outputs that are keys and values.
    pub presents: Vec<String>,
}

impl CrossPorts {
    /// What a model has.
    ///
    /// Errors: what isn't recognised, by name.
    pub fn of(graph: &Graph) -> Result<Self> {
        let (mut ids, mut states, mut mask, mut places, mut switch) = (None, None, None, None, None);
        let mut pasts = vec![];
        for &id in &graph.inputs {
            let port = Port::of(graph, id);
            match &*port.name {
                "input_ids" | "decoder_input_ids" => ids = Some(port.of_integers(2)?),
                "encoder_hidden_states" => states = Some(port),
                "encoder_attention_mask" => mask = Some(port.of_integers(2)?),
                "cache_position" => places = Some(port.of_integers(1)?),
                "use_cache_branch" if port.dtype == DType::Bool => switch = Some(port.name),
                name if name.starts_with("past") && port.dtype.is_float() => pasts.push(past(port)?),
                name => {
                    return Err(Error::unsupported("what this input is for isn't known")
                        .at_tensor(name)
                        .remedy(
                            "the decoder of an encoder takes input_ids, encoder_hidden_states, \
                         encoder_attention_mask, past_key_values…, cache_position and use_cache_branch",
                        ));
                }
            }
        }
        let listed = |ids: &[crate::graph::ValueId]| {
            let names: Vec<&str> = ids.iter().take(5).map(|&id| &*graph.value(id).name).collect();
            names.join(", ")
        };
        let ids = ids.ok_or_else(|| {
            let first = listed(&graph.inputs);
            Error::unsupported(format!("no input is called input_ids; the first are: {first}"))
                .remedy("export the decoder with the names that optimum gives it")
        })?;
        let outputs: Vec<Port> = graph.outputs.iter().map(|&id| Port::of(graph, id)).collect();
        let logits = outputs.iter().find(|port| port.name == "logits").ok_or_else(|| {
            let first = listed(&graph.outputs);
            Error::unsupported(format!("no output is called logits; the first are: {first}"))
                .remedy("export the decoder with its scores")
        })?;
        let presents = outputs.iter().filter(|port| port.name.starts_with("present"));
        Ok(Self {
            ids,
            states,
            mask,
            pasts,
            places,
            switch,
            logits: logits.name.clone(),
            vocabulary: logits.sizes.last().copied().flatten(),
            presents: presents.map(|port| port.name.clone()).collect(),
        })
    }
}

/// Keys or values as an input.
fn past(port: Port) -> Result<Past> {
    if port.sizes.len() != 4 {
        return Err(Error::unsupported(format!("a cache of rank {}; 4 is known", port.sizes.len()))
            .at_tensor(&port.name)
            .remedy("export the model with caches [batch, heads, tokens, size]"));
    }
    let cross = port.name.contains(".encoder.") || port.name.contains("_cross_");
    Ok(Past { present: present_of(&port.name), cross, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx;
    use std::path::Path;

    fn ports(name: &str) -> Result<CrossPorts> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
        CrossPorts::of(&onnx::read(&path).unwrap().graph)
    }

    #[test]
    fn both_of_optimums_layouts_are_recognised() {
        let merged = ports("t5/merged/decoder_model_merged.onnx").unwrap();
        assert_eq!((merged.switch.as_deref(), merged.pasts.len()), (Some("use_cache_branch"), 8));
        assert_eq!(merged.pasts.iter().filter(|past| past.cross).count(), 4);
        assert_eq!(merged.pasts[0].zeros(3).unwrap().shape(), [1, 4, 3, 8]);
        let first = ports("t5/pair/decoder_model.onnx").unwrap();
        assert!(first.pasts.is_empty() && first.states.is_some() && first.presents.len() == 8);
        let next = ports("t5/pair/decoder_with_past_model.onnx").unwrap();
        assert_eq!((next.pasts.len(), next.presents.len()), (8, 4));
        assert_eq!(next.pasts[2].present, "present.0.encoder.key");
        let told = ports("text/plain/model.onnx").unwrap_err().to_string();
        assert!(told.contains("'attention_mask'") && told.contains("encoder_hidden_states"), "{told}");
    }
}
