//! Operators, one file for each; this module is their registry.

pub mod attributes;
pub mod case;
pub mod control;
mod engine;
pub mod loss;
pub mod matrix;
pub mod ml;
pub mod nn;
mod operator;
pub mod pointwise;
pub mod quantized;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod sequence;
pub mod shape;
pub mod signal;
mod single;
pub mod text;
pub mod training;
pub mod values;
pub mod vision;

pub use attributes::{Attribute, Input, NodeView};
pub use engine::{ChannelsLast, Engine};
pub use operator::{
    EPILOGUE_OPERANDS, Located, Lower, OpDef, Operator, Product, Reads, Repacked, RepackedInput, Spread,
};
pub use values::{Body, OnValues};

/// The registry: an operator is known because its row is here, or in one of the tables of operators that share a
/// file.
static OPERATORS: &[&OpDef] = &[
    &control::if_::DEF,
    &control::loop_::DEF,
    &control::scan::DEF,
    &control::sequence_map::DEF,
    &ml::cast_map::DEF,
    &ml::dict_vectorizer::DEF,
    &ml::zip_map::DEF,
    &loss::cross_entropy::DEF,
    &loss::negative_log_likelihood::DEF,
    &matrix::det::DEF,
    &matrix::einsum::DEF,
    &matrix::gemm::DEF,
    &matrix::inverse::DEF,
    &matrix::matmul::DEF,
    &matrix::matmul_bnb4::DEF,
    &matrix::matmul_nbits::DEF,
    &ml::array_feature_extractor::DEF,
    &ml::binarizer::DEF,
    &ml::feature_vectorizer::DEF,
    &ml::imputer::DEF,
    &ml::label_encoder::DEF,
    &ml::linear_classifier::DEF,
    &ml::linear_regressor::DEF,
    &ml::normalizer::DEF,
    &ml::one_hot_encoder::DEF,
    &ml::scaler::DEF,
    &ml::svm_classifier::DEF,
    &ml::svm_regressor::DEF,
    &ml::tree_ensemble::DEF,
    &ml::tree_ensemble_classifier::DEF,
    &ml::tree_ensemble_regressor::DEF,
    &nn::attention::DEF,
    &nn::batch_normalization::DEF,
    &nn::causal_conv::DEF,
    &nn::conv::DEF,
    &nn::conv_transpose::DEF,
    &nn::flex_attention::DEF,
    &nn::global_pool::AVERAGE,
    &nn::global_pool::MAX,
    &nn::hardmax::DEF,
    &nn::instance_normalization::GROUP,
    &nn::instance_normalization::INSTANCE,
    &nn::layer_normalization::LAYER,
    &nn::layer_normalization::RMS,
    &nn::linear_attention::DEF,
    &nn::lp_normalization::MEAN_VARIANCE,
    &nn::lp_normalization::NORMALIZATION,
    &nn::lp_normalization::POOL,
    &nn::lrn::DEF,
    &nn::max_unpool::DEF,
    &nn::pool::AVERAGE,
    &nn::pool::LP,
    &nn::pool::MAX,
    &nn::resize::RESIZE,
    &nn::resize::UPSAMPLE,
    &nn::rotary_embedding::DEF,
    &nn::softmax::LOG_SOFTMAX,
    &nn::softmax::SOFTMAX,
    &pointwise::cast_like::DEF,
    &quantized::conv_integer::DEF,
    &quantized::dequantize_linear::DEF,
    &quantized::dynamic_quantize_linear::DEF,
    &quantized::gather_block_quantized::DEF,
    &quantized::matmul_integer::DEF,
    &quantized::qlinear_conv::DEF,
    &quantized::qlinear_matmul::DEF,
    &quantized::quantize_linear::DEF,
    &recurrent::gru::DEF,
    &recurrent::lstm::DEF,
    &recurrent::rnn::DEF,
    &random::bernoulli::DEF,
    &random::multinomial::DEF,
    &random::normal_and_uniform::NORMAL,
    &random::normal_and_uniform::NORMAL_LIKE,
    &random::normal_and_uniform::UNIFORM,
    &random::normal_and_uniform::UNIFORM_LIKE,
    &reduce::cum_prod::DEF,
    &reduce::cum_sum::DEF,
    &reduce::arg::MAX,
    &reduce::arg::MIN,
    &reduce::top_k::DEF,
    &sequence::concat_from::DEF,
    &sequence::construct::CONSTRUCT,
    &sequence::construct::EMPTY,
    &sequence::edit::AT,
    &sequence::edit::ERASE,
    &sequence::edit::INSERT,
    &sequence::edit::LENGTH,
    &sequence::optional::GET,
    &sequence::optional::HAS,
    &sequence::optional::OPTIONAL,
    &sequence::split_to::DEF,
    &shape::bit_cast::DEF,
    &shape::blocks::DEPTH_TO_SPACE,
    &shape::blocks::SPACE_TO_DEPTH,
    &shape::center_crop_pad::DEF,
    &shape::compress::DEF,
    &shape::concat::DEF,
    &shape::constant::DEF,
    &shape::dropout::DEF,
    &shape::eye_like::DEF,
    &shape::expand::EXPAND,
    &shape::expand::TILE,
    &shape::gather::ELEMENTS,
    &shape::gather::GATHER,
    &shape::gather::ND,
    &shape::generate::CONSTANT_OF_SHAPE,
    &shape::generate::RANGE,
    &shape::non_zero::DEF,
    &shape::one_hot::DEF,
    &shape::pad::DEF,
    &shape::reshape::FLATTEN,
    &shape::reshape::RESHAPE,
    &shape::reshape::SQUEEZE,
    &shape::reshape::UNSQUEEZE,
    &shape::reverse_sequence::DEF,
    &shape::scatter::ELEMENTS,
    &shape::scatter::ND,
    &shape::scatter::SCATTER,
    &shape::shape_of::SHAPE,
    &shape::shape_of::SIZE,
    &shape::slice::DEF,
    &shape::split::DEF,
    &shape::tensor_scatter::DEF,
    &shape::transpose::DEF,
    &shape::trilu::DEF,
    &text::regex_full_match::DEF,
    &text::string_concat::DEF,
    &text::string_normalizer::DEF,
    &text::string_split::DEF,
    &text::tf_idf_vectorizer::DEF,
    &shape::unique::DEF,
    &signal::dft::DEF,
    &signal::mel_weight_matrix::DEF,
    &signal::stft::DEF,
    &signal::window::BLACKMAN,
    &signal::window::HAMMING,
    &signal::window::HANN,
    &training::adagrad::DEF,
    &training::adam::DEF,
    &training::momentum::DEF,
    &vision::affine_grid::DEF,
    &vision::col2im::DEF,
    &vision::deform_conv::DEF,
    &vision::grid_sample::DEF,
    &vision::image_decoder::DEF,
    &vision::max_roi_pool::DEF,
    &vision::non_max_suppression::DEF,
    &vision::roi_align::DEF,
];

/// Every operator that a model may use.
pub fn operators() -> impl Iterator<Item = &'static OpDef> {
    OPERATORS.iter().chain(pointwise::DEFS).chain(reduce::reduce::DEFS).copied()
}

/// The registry row of an ONNX operator. The domain "ai.onnx" is the same as the empty one.
pub fn find(domain: &str, name: &str) -> Option<&'static OpDef> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    operators().find(|def| def.domain == domain && def.name == name)
}
