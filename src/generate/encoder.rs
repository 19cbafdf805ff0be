//! An encoder's session: tokens or features in, states out, which stay where they are made.

use crate::error::{Error, Result};
use crate::onnx;
use crate::session::{AnyTensor, Bindings, Session, SessionBuilder};
use crate::tensor::Tensor;
use crate::text::{Port, embedding};
use std::path::{Path, PathBuf};

/// An encoder of text or of sound.
pub struct Encoder {
    session: Session,
    ids: Option<Port>,
    mask: Option<Port>,
    features: Option<Port>,
    output: Port,
    embedding: Option<usize>,
    file: PathBuf,
}

impl Encoder {
    /// Makes a session of an encoder's file.
    ///
    /// Errors: those of loading; inputs and outputs that aren't an encoder's, by name.
    pub fn open(file: &Path, builder: SessionBuilder) -> Result<Self> {
        let model = onnx::read(file)?;
        let told = |error: Error| error.in_file(file);
        let graph = &model.graph;
        let (mut ids, mut mask, mut features) = (None, None, None);
        for &id in &graph.inputs {
            let port = Port::of(graph, id);
            match &*port.name {
                "input_ids" => ids = Some(port.of_integers(2).map_err(told)?),
                "attention_mask" => mask = Some(port.of_integers(2).map_err(told)?),
                "input_features" if port.dtype.is_float() => features = Some(port),
                name => {
                    return Err(Error::unsupported("what this input is for isn't known")
                        .in_file(file)
                        .at_tensor(name)
                        .remedy("an encoder takes input_ids and attention_mask, or input_features"));
                }
            }
        }
        let output = graph.outputs.iter().map(|&id| Port::of(graph, id));
        let output = output.into_iter().find(|port| port.name == "last_hidden_state").ok_or_else(|| {
            Error::unsupported("no output is called last_hidden_state")
                .in_file(file)
                .remedy("export the encoder with its states as output")
        })?;
        let embedding = ids.as_ref().and_then(|ids| embedding(graph, &ids.name));
        let session = builder.build(model).map_err(told)?;
        Ok(Self { session, ids, mask, features, output, embedding, file: file.to_path_buf() })
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }
    /// Its file.
    pub fn file(&self) -> &Path {
        &self.file
    }
    pub(crate) fn output(&self) -> &Port {
        &self.output
    }
    /// How many rows its embedding has, if it has one that is seen.
    pub fn embedding(&self) -> Option<usize> {
        self.embedding
    }

    /// Errors where it doesn't read text.
    pub(super) fn check_text(&self) -> Result<()> {
        match (&self.ids, &self.features) {
            (Some(_), _) => Ok(()),
            (None, Some(port)) => Err(Error::unsupported("the model reads features of sound, not text")
                .in_file(&self.file)
                .at_tensor(&port.name)
                .remedy("use `transcribe`")),
            (None, None) => Err(Error::unsupported("no input is called input_ids").in_file(&self.file)),
        }
    }

    /// The features that it reads, `[batch, features, frames]`.
    ///
    /// Errors where it doesn't read sound.
    pub(crate) fn features(&self) -> Result<&Port> {
        self.features.as_ref().ok_or_else(|| {
            Error::unsupported("no input is called input_features: the model doesn't read sound")
                .in_file(&self.file)
                .remedy("name a model of speech in Whisper's shape")
        })
    }

    /// The states of a text's tokens.
    ///
    /// Errors: those of a run.
    pub(super) fn read(&self, tokens: &[u32]) -> Result<AnyTensor> {
        let shape = [1, tokens.len()];
        let ids = self.ids.as_ref().ok_or_else(|| Error::internal("the encoder reads no tokens"))?;
        let tensor = ids.integers(shape, tokens.iter().map(|id| i64::from(*id)))?;
        let mut bindings = Bindings::new().input(&ids.name, tensor);
        if let Some(mask) = &self.mask {
            bindings = bindings.input(&mask.name, mask.integers(shape, tokens.iter().map(|_| 1))?);
        }
        self.run(bindings)
    }

    /// The states of a sound's features `[1, features, frames]`.
    ///
    /// Errors: those of a run.
    #[cfg(feature = "audio")]
    pub(crate) fn hear(&self, features: Tensor) -> Result<AnyTensor> {
        let port = self.features()?;
        let features = match port.dtype == features.dtype() {
            true => features,
            false => crate::tensor::cast(&features, port.dtype, true)?,
        };
        self.run(Bindings::new().input(&port.name, features))
    }

    fn run(&self, bindings: Bindings) -> Result<AnyTensor> {
        let told = |error: Error| if error.path().is_some() { error } else { error.in_file(&self.file) };
        let bindings = bindings.keep(&self.output.name);
        let prepared = self.session.prepare_with(&bindings).map_err(told)?;
        let outputs = self.session.run_with(&prepared, &bindings).map_err(told)?;
        let states = outputs.into_iter().find(|(name, _)| *name == self.output.name);
        let missing = || Error::internal("the states were not made").at_tensor(&self.output.name);
        states.map(|(_, states)| states).ok_or_else(missing)
    }
}
