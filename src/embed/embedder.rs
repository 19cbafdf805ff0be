//! An encoder with its tokenizer, and texts through it in batches.

use super::config::EmbedConfig;
use super::pooling::{Pooling, normalized};
use super::ports::{self, Ports};
use crate::compiled;
use crate::error::{Error, Result};
use crate::onnx;
use crate::session::{Bindings, Prepared, Session, SessionBuilder};
use crate::tensor::{self, DType, Tensor};
use crate::text::{Encoded, ModelFiles, Port, Tokenizer};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What is to be otherwise than the files beside a model say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How tokens' vectors become a text's; several are put side by side.
    pub pooling: Option<Vec<Pooling>>,
    /// Whether vectors are brought to length 1.
    pub normalize: Option<bool>,
    /// The most tokens of a text, special ones included.
    pub max_tokens: Option<usize>,
}

/// Where vectors come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From this output of the model, as they are.
    Model(String),
    /// From its tokens' vectors.
    Pooled(Vec<Pooling>),
}

/// A text's vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The vector.
    pub vector: Vec<f32>,
    /// How many tokens of the text were read, special ones included.
    pub tokens: usize,
    /// How many it has: more, where it was cut off.
    pub whole: usize,
}

/// An encoder of texts.
pub struct Embedder {
    session: Session,
    tokenizer: Tokenizer,
    ports: Ports,
    output: Port,
    source: Source,
    normalize: bool,
    most: Option<usize>,
    filling: u32,
    /// The length of the tokens' vectors by the files beside the model, and the file.
    width: Option<(std::path::PathBuf, usize)>,
    files: ModelFiles,
    prepared: Mutex<Option<Arc<Prepared>>>,
}

/// Texts of one run, and tokens of one run, at most.
const BATCH: usize = 32;
const TOKENS: usize = 16_384;

impl Embedder {
    /// Loads an encoder by its folder or its file, for a session that is made so.
    ///
    /// Errors: those of loading a model; no `tokenizer.json`; a file beside it that can't be read; inputs and
    /// outputs that aren't an encoder's, by name; nothing that says how tokens' vectors become a text's.
    pub fn load(path: impl AsRef<Path>, builder: SessionBuilder, options: &Options) -> Result<Self> {
        let files = ModelFiles::find(path)?;
        let tokenizer = Tokenizer::beside(&files)?;
        let config = EmbedConfig::read(&files, &tokenizer)?;
        let file = &files.model;
        let session = if compiled::is_compiled(file) {
            builder.load(file)?
        } else {
            builder.build(onnx::read(file)?).map_err(|error| error.in_file(file))?
        };
        let told = |error: Error| if error.path().is_some() { error } else { error.in_file(file) };
        let ports = Ports::of(session.original()).map_err(told)?;
        let (output, source) =
            ports::source(session.original(), &config, options.pooling.as_deref()).map_err(told)?;
        // A model's fixed length is one too.
        let limits = [options.max_tokens.or(config.most), ports.fixed(1)];
        Ok(Self {
            normalize: options.normalize.unwrap_or(config.normalize),
            most: limits.into_iter().flatten().min(),
            filling: config.filling.unwrap_or(0),
            width: config.pooling.map(|(path, _)| path).zip(config.width),
            session,
            tokenizer,
            ports,
            output,
            source,
            files,
            prepared: Mutex::new(None),
        })
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }
    /// Where vectors come from.
    pub fn source(&self) -> &Source {
        &self.source
    }
    /// Whether vectors are brought to length 1.
    pub fn normalizes(&self) -> bool {
        self.normalize
    }
    /// The most tokens of a text, special ones included; longer ones are cut off.
    pub fn max_tokens(&self) -> Option<usize> {
        self.most
    }
    /// What the last run was prepared as.
    pub fn prepared(&self) -> Option<Arc<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The texts' vectors, in the texts' order.
    ///
    /// Errors: an empty text, by its place; a text that the tokenizer can't take; those of a run; vectors
    /// that aren't as long as the files beside the model say.
    pub fn embed(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Embedding>> {
        let mut all = vec![];
        for (at, text) in texts.iter().enumerate() {
            let text = text.as_ref();
            if text.trim().is_empty() {
                return Err(Error::input(format!("text {} of {} is empty", at + 1, texts.len()))
                    .remedy("leave it out"));
            }
            let encoded = self.tokenizer.encode_within(text, self.most)?;
            if encoded.ids.is_empty() {
                return Err(Error::input(format!("text {} of {} has no tokens", at + 1, texts.len()))
                    .remedy("leave it out"));
            }
            all.push(encoded);
        }
        // Texts of like lengths together: less is filled up.
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(all[at].ids.len()));
        let mut found: Vec<Option<Embedding>> = vec![None; all.len()];
        let mut rest = order.as_slice();
        while let Some(&longest) = rest.first() {
            let length = self.ports.fixed(1).unwrap_or(all[longest].ids.len());
            let (batch, behind) = rest.split_at(self.batch(rest, &all, length));
            rest = behind;
            let members: Vec<&Encoded> = batch.iter().map(|&at| &all[at]).collect();
            let vectors = self.run(&members, length).map_err(|error| match error.path() {
                Some(_) => error,
                None => error.in_file(&self.files.model),
            })?;
            for (&at, vector) in batch.iter().zip(vectors) {
                let (tokens, whole) = (all[at].ids.len(), all[at].whole);
                found[at] = Some(Embedding { vector, tokens, whole });
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// How many of these texts, longest first, go into one run.
    fn batch(&self, rest: &[usize], all: &[Encoded], length: usize) -> usize {
        let most = self.ports.fixed(0).unwrap_or(BATCH).min(TOKENS / length.max(1)).max(1);
        match &self.ports.mask {
            Some(_) => rest.len().min(most),
            // Nothing tells the model what was filled up.
            None => rest.iter().take(most).take_while(|&&at| all[at].ids.len() == length).count().max(1),
        }
    }

    /// One run over texts of at most `length` tokens; their vectors.
    fn run(&self, texts: &[&Encoded], length: usize) -> Result<Vec<Vec<f32>>> {
        let rows = self.ports.fixed(0).unwrap_or(texts.len());
        if self.ports.mask.is_none() && texts.iter().any(|text| text.ids.len() != length) {
            return Err(Error::unsupported(format!(
                "the model takes {length} tokens and has no attention_mask"
            ))
            .remedy("export it with open lengths or with that input"));
        }
        let bindings = self.bindings(texts, rows, length)?;
        let prepared = self.session.prepare_with(&bindings)?;
        let outputs = self.session.run_with(&prepared, &bindings)?;
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared);
        let output = outputs.into_iter().find(|(name, _)| *name == self.output.name);
        let (_, output) = output
            .ok_or_else(|| Error::internal("the vectors were not made").at_tensor(&self.output.name))?;
        let output = output.into_tensor()?;
        let output =
            if output.dtype() == DType::F32 { output } else { tensor::cast(&output, DType::F32, true)? };
        let shape = output.shape();
        let wrong = |expected: &str| {
            Error::model(format!("the vectors have shape {shape:?}; {expected} is expected"))
                .at_tensor(&self.output.name)
                .remedy("name an encoder of text, such as sentence-transformers has")
        };
        let elements = output.as_slice::<f32>()?;
        let width = shape.last().copied().unwrap_or(0);
        let pick = |vector: Vec<f32>| if self.normalize { normalized(vector) } else { vector };
        match &self.source {
            Source::Model(_) => {
                if shape.len() != 2 || shape[0] != rows || width == 0 {
                    return Err(wrong(&format!("[{rows}, width]")));
                }
                let vectors = elements.chunks_exact(width).take(texts.len());
                Ok(vectors.map(|vector| pick(vector.to_vec())).collect())
            }
            Source::Pooled(poolings) => {
                if shape.len() != 3 || shape[..2] != [rows, length] || width == 0 {
                    return Err(wrong(&format!("[{rows}, {length}, width]")));
                }
                self.check_width(width)?;
                let vectors = elements.chunks_exact(length * width).zip(texts).map(|(tokens, text)| {
                    let own = &tokens[..text.ids.len() * width];
                    pick(poolings.iter().flat_map(|pooling| pooling.apply(own, width)).collect())
                });
                Ok(vectors.collect())
            }
        }
    }

    fn check_width(&self, width: usize) -> Result<()> {
        match &self.width {
            Some((file, said)) if *said != width => Err(Error::file(
                file,
                format!("word_embedding_dimension is {said}, but the model's vectors have {width} numbers"),
            )
            .remedy("take the file that came with the model")),
            _ => Ok(()),
        }
    }

    /// The inputs of a run: texts filled up on the right to `length` tokens, and to `rows` texts.
    fn bindings(&self, texts: &[&Encoded], rows: usize, length: usize) -> Result<Bindings> {
        let shape = [rows, length];
        tensor::element_count(&shape)?;
        let filled = |port: &Port, list: &dyn Fn(&Encoded) -> Vec<i64>, filling: i64| -> Result<Tensor> {
            let mut values = tensor::allocate(rows * length)?;
            for text in texts {
                let own = list(text);
                values.extend(own.into_iter().chain(std::iter::repeat(filling)).take(length));
            }
            values.resize(rows * length, filling);
            port.integers(shape, values.into_iter())
        };
        let wide = |list: &[u32]| list.iter().map(|id| i64::from(*id)).collect();
        let ids = filled(&self.ports.ids, &|text| wide(&text.ids), i64::from(self.filling))?;
        let mut bindings = Bindings::new().input(&self.ports.ids.name, ids);
        if let Some(mask) = &self.ports.mask {
            bindings = bindings.input(&mask.name, filled(mask, &|text| vec![1; text.ids.len()], 0)?);
        }
        if let Some(types) = &self.ports.types {
            bindings = bindings.input(&types.name, filled(types, &|text| wide(&text.types), 0)?);
        }
        if let Some(places) = &self.ports.positions {
            let each = (0..rows).flat_map(|_| 0..length as i64);
            bindings = bindings.input(&places.name, places.integers(shape, each)?);
        }
        // What isn't asked for stays where it is made.
        let others = self.session.outputs().into_iter().filter(|port| port.name != self.output.name);
        Ok(others.fold(bindings, |all, port| all.keep(port.name)))
    }
}
