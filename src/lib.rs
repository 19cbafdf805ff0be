//! Runs ONNX models on any GPU that Vulkan, Metal or DirectX 12 reaches, through [wgpu](https://wgpu.rs); on
//! the CPU where there is none; and says, node by node, whether the GPU was right.
//!
//! A [`Session`] is a model on a [`Device`]. It takes [`Tensor`]s by name and gives tensors by name:
//!
//! ```
//! use sardonyx::{Device, Session, Tensor};
//!
//! fn main() -> sardonyx::Result<()> {
//!     // A model of handwritten digits: pictures of 8 × 8 levels, in batches of any size.
//!     let device = Device::auto()?;
//!     let session = Session::builder().device(device).load("models/digits/digits.onnx")?;
//!     let pictures = Tensor::new([2, 1, 8, 8], vec![0.5f32; 2 * 64])?;
//!     let outputs = session.run(&[("image", pictures)])?;
//!     let (name, scores) = &outputs[0];
//!     println!("{name} {:?}: {:?}", scores.shape(), scores.as_slice::<f32>()?);
//!     assert_eq!(scores.shape(), [2, 10]);
//!     Ok(())
//! }
//! ```
//!
//! `run` takes `&self`, so that one session runs from many threads at once. The first run with inputs of new
//! shapes makes a plan for them, which the session keeps.
//!
//! What stays on the device between runs, a language model's cache or one model's output that is another's
//! input, is a [`DeviceTensor`]: [`session::Bindings`] has an example. A size that grows from run to run, such as
//! that cache's length, may be given a [`capacity`](session::SessionBuilder::capacity), so that all its runs share
//! memory.
//!
//! # Devices
//!
//! [`Device::auto`] is a discrete GPU, then an integrated one, else the CPU; never a software adapter.
//! [`Device::gpu`] takes a software adapter too where there is no other, and [`Device::named`] takes a part
//! of an adapter's name. The CPU is [`Device::Cpu`], and what a session runs on unless it is told otherwise.
//! [`device::adapters`] lists what there is.
//!
//! What has no kernel runs on the CPU, and is said: [`Prepared::fallbacks`](session::Prepared::fallbacks)
//! names the nodes and the reasons, and [`SessionBuilder::strict`](session::SessionBuilder::strict) makes
//! them errors.
//!
//! # Precision
//!
//! Inputs and outputs have the types that the model declares. With [`Precision::F32`], the default, every
//! tensor is stored as declared. With [`Precision::F16`] float32 activations and weights are stored as
//! float16 and summed in float32, on every adapter: one without float16 arithmetic unpacks them.
//!
//! # Whether the GPU is right
//!
//! [`compare`](compare::compare) runs a session's plan beside a reference on the CPU and measures every step
//! by itself and as it runs, against tolerances that follow from how a right implementation rounds:
//!
//! ```
//! use sardonyx::compare::{Options, Verdict, compare};
//! use sardonyx::{Session, Tensor};
//!
//! # fn main() -> sardonyx::Result<()> {
//! let session = Session::builder().load("models/digits/digits.onnx")?;
//! let inputs = session.bind(&[("image", Tensor::new([1, 1, 8, 8], vec![0.5f32; 64])?)])?;
//! let options = Options { per_node: true, ..Options::default() };
//! let report = compare(&session, &inputs, &options)?;
//! if let Some(first) = &report.first_different {
//!     println!("the first node that is wrong: '{}' ({})", first.node, first.op);
//! }
//! assert_eq!(report.verdict, Verdict::Same);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! Nothing here panics on a model, an input or a picture. What can fail returns [`Result`], and an [`Error`]
//! is one line: the file, the node, the operator and the tensor where they are known, what was found, and
//! what to do about it. A program decides by its [`ErrorKind`]; [`source`](std::error::Error::source) is the
//! system's error, where there is one.
//!
//! # Where to find what
//!
//! | module | what |
//! | --- | --- |
//! | [`session`] | loading a model, running it, looking at what will run |
//! | [`tensor`] | arrays on the host, and their types |
//! | [`device`] | adapters, and what a device is asked for |
//! | [`onnx`] | reading models from memory; tensors in `.npy`, `.npz` and `.pb` files |
//! | [`compare`](mod@compare) | a device against a reference |
//! | [`bench`](mod@bench) | repeated runs, and what their times come to |
//! | [`tune`] | kernels' variants measured for a model's sizes, and kept per adapter |
//! | `generate` | text from language models (feature `generate`) |
//! | `embed` | sentence vectors (feature `generate`) |
//! | `text` | tokenizers, and the files of models of text (feature `generate`) |
//! | `transcribe` | text of speech (feature `audio`) |
//! | `audio` | WAV files, and the features of sound that models of speech read (feature `audio`) |
//! | `image` | pictures to inputs, outputs to labels (feature `image`) |
//! | [`error`] | errors and their kinds |
//!
//! # Features
//!
//! - `generate` (default): tokenizers, chat templates and the loop that makes text; sentence vectors.
//! - `audio` (default): WAV files, features of sound, text of speech.
//! - `image` (default): decoding and preprocessing of pictures.
//! - `cli` (default): the command `sardonyx`. A program that embeds the library goes without it:
//!   `default-features = false`.

// rustdoc asks whether each type may go to another thread, through all of wgpu's types.
#![recursion_limit = "256"]
#![warn(missing_docs)]

#[cfg(feature = "audio")]
pub mod audio;
pub mod bench;
pub mod compare;
pub mod device;
#[cfg(feature = "generate")]
pub mod embed;
pub mod error;
#[cfg(feature = "generate")]
pub mod generate;
#[cfg(feature = "image")]
pub mod image;
pub mod onnx;
pub mod session;
pub mod tensor;
#[cfg(feature = "generate")]
pub mod text;
#[cfg(feature = "audio")]
pub mod transcribe;
pub mod tune;
pub mod value;

// The parts that the above are made of. They are public for this project's own tests and its command line,
// are no stable interface, and change without notice.
#[doc(hidden)]
pub mod base;
#[doc(hidden)]
pub mod compiled;
#[doc(hidden)]
pub mod cpu;
#[doc(hidden)]
pub mod cpu_kernels;
#[doc(hidden)]
pub mod expression;
#[doc(hidden)]
pub mod gpu;
#[doc(hidden)]
pub mod graph;
#[doc(hidden)]
pub mod kernels;
#[doc(hidden)]
pub mod ops;
#[doc(hidden)]
pub mod passes;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod random;
#[doc(hidden)]
pub mod replace;
#[doc(hidden)]
pub mod simd;
mod threads;

pub use base::Precision;
pub use device::{Device, DeviceTensor};
pub use error::{Error, ErrorKind, Result};
pub use graph::{Dim, ValueId};
pub use session::Session;
pub use tensor::{DType, Tensor};
pub use value::{Value, ValueType};
