//! What an encoder's inputs and outputs are, by the names that exporters give them.

use super::config::EmbedConfig;
use super::embedder::Source;
use super::pooling::Pooling;
use crate::error::{Error, Result, Setting};
use crate::graph::Graph;
use crate::text::Port;

/// An encoder's inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports {
    pub ids: Port,
    pub mask: Option<Port>,
    pub types: Option<Port>,
    pub positions: Option<Port>,
}

impl Ports {
    /// What a model has.
    ///
    /// Errors: what isn't recognised, by name.
    pub fn of(graph: &Graph) -> Result<Self> {
        let (mut ids, mut mask, mut types, mut positions) = (None, None, None, None);
        for &id in &graph.inputs {
            let port = Port::of(graph, id);
            let place = match &*port.name {
                "input_ids" => &mut ids,
                "attention_mask" => &mut mask,
                "token_type_ids" => &mut types,
                "position_ids" => &mut positions,
                name => {
                    return Err(Error::unsupported("what this input is for isn't known").at_tensor(name).remedy(
                        "sentence vectors take input_ids, attention_mask, token_type_ids and position_ids",
                    ));
                }
            };
            *place = Some(port.of_integers(2)?);
        }
        let ids = ids.ok_or_else(|| {
            Error::unsupported("no input is called input_ids").remedy("name an encoder of text")
        })?;
        Ok(Self { ids, mask, types, positions })
    }

    /// A size that the model fixes, of all its inputs' axis.
    pub fn fixed(&self, axis: usize) -> Option<usize> {
        let others = [&self.mask, &self.types, &self.positions].into_iter().flatten();
        std::iter::once(&self.ids).chain(others).find_map(|port| port.sizes.get(axis).copied().flatten())
    }
}

/// Which output the vectors come from: what is asked for, else the output `sentence_embedding`, else that of
/// the tokens by the pooling that lies beside the model, else the only output that has a vector a text.
///
/// Errors: no pooling is known, or no output that it could take.
pub(super) fn source(
    graph: &Graph,
    config: &EmbedConfig,
    asked: Option<&[Pooling]>,
) -> Result<(Port, Source)> {
    let outputs: Vec<Port> = graph.outputs.iter().map(|&id| Port::of(graph, id)).collect();
    let outputs: Vec<Port> = outputs.into_iter().filter(|port| port.dtype.is_float()).collect();
    let of_rank = |rank: usize| outputs.iter().filter(move |port| port.sizes.len() == rank);
    let named = |names: &[&str]| {
        names.iter().find_map(|name| outputs.iter().find(|port| port.name == *name)).cloned()
    };
    let whole = named(&["sentence_embedding"]);
    if let (Some(port), None) = (&whole, asked) {
        return Ok((port.clone(), Source::Model(port.name.clone())));
    }
    let tokens = named(&["last_hidden_state", "token_embeddings"]).or_else(|| of_rank(3).next().cloned());
    let own: Vec<&Port> = of_rank(2).collect();
    let listed = || {
        let names: Vec<String> =
            outputs.iter().map(|port| format!("{} of rank {}", port.name, port.sizes.len())).collect();
        names.join(", ")
    };
    let poolings = asked.or(config.pooling.as_ref().map(|(_, found)| &**found));
    match (poolings, tokens, &*own) {
        (Some(poolings), Some(port), _) => {
            if let Some((file, module)) = config.unknown.as_ref().filter(|_| asked.is_none()) {
                return Err(Error::unsupported(format!("names a module '{module}' behind the encoder"))
                    .in_file(file)
                    .remedy("export the model with it, as its output sentence_embedding"));
            }
            Ok((port, Source::Pooled(poolings.to_vec())))
        }
        (None, _, [port]) => Ok(((*port).clone(), Source::Model(port.name.clone()))),
        (Some(_), None, [port]) if asked.is_none() => Ok(((*port).clone(), Source::Model(port.name.clone()))),
        (None, Some(_), _) => Err(Error::unsupported(
            "nothing says how tokens' vectors become a text's: there is no \
             1_Pooling/config.json beside the model, and no output sentence_embedding",
        )
        .remedy_by("put that file beside the model, or give {}, such as mean", &[Setting::Pooling])),
        _ => Err(Error::unsupported(format!(
            "no output has vectors [batch, tokens, width] or [batch, width]; there are: {}",
            listed()
        ))
        .remedy("name an encoder of text, such as sentence-transformers has")),
    }
}
