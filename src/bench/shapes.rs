//! The shapes that `bench --kernel all` measures: those in which the nine benchmark models spend their time,
//! and those of larger language models.

/// A shape of a kernel family (see [`super::families`] for what the sizes mean), and where it is from.
pub struct Shape {
    pub family: &'static str,
    pub sizes: &'static [usize],
    pub from: &'static str,
}

const fn shape(family: &'static str, sizes: &'static [usize], from: &'static str) -> Shape {
    Shape { family, sizes, from }
}

/// The list.
pub static SHAPES: &[Shape] = &[
    // Weights by activations: a sequence of 128, one token, a classifier's last layer.
    shape("matmul", &[128, 768, 768], "bert_base: query, key, value"),
    shape("matmul", &[128, 768, 3072], "bert_base: feed-forward, first"),
    shape("matmul", &[128, 3072, 768], "bert_base: feed-forward, second"),
    shape("matmul", &[197, 768, 3072], "vit_b_16: feed-forward, first"),
    shape("matmul", &[128, 384, 1536], "minilm_l6: feed-forward, first"),
    shape("matmul", &[128, 288, 768], "llama15m: feed-forward"),
    shape("matmul", &[128, 288, 32000], "llama15m: vocabulary"),
    shape("matmul", &[784, 192, 768], "convnext_tiny: second stage"),
    shape("matmul", &[1, 2048, 1000], "resnet50: classifier"),
    shape("matmul", &[1, 2048, 5632], "TinyLlama 1.1B: feed-forward, one token"),
    shape("matmul", &[1, 2048, 32000], "TinyLlama 1.1B: vocabulary, one token"),
    shape("matmul", &[32, 2048, 2048], "TinyLlama 1.1B: query, a prompt of 32"),
    shape("matmul_batch", &[12, 128, 64, 128], "bert_base: scores"),
    shape("matmul_batch", &[12, 128, 128, 64], "bert_base: by values"),
    shape("matmul_batch", &[12, 197, 64, 197], "vit_b_16: scores"),
    shape("conv", &[3, 224, 224, 64, 7, 2], "resnet50: first"),
    shape("conv", &[64, 56, 56, 64, 3, 1], "resnet50: stage 1"),
    shape("conv", &[64, 56, 56, 256, 1, 1], "resnet50: stage 1, out"),
    shape("conv", &[128, 28, 28, 128, 3, 1], "resnet50: stage 2"),
    shape("conv", &[256, 14, 14, 256, 3, 1], "resnet50: stage 3"),
    shape("conv", &[1024, 14, 14, 256, 1, 1], "resnet50: stage 3, in"),
    shape("conv", &[512, 7, 7, 512, 3, 1], "resnet50: stage 4"),
    shape("conv", &[3, 224, 224, 64, 3, 2], "squeezenet1_1: first"),
    shape("conv", &[64, 27, 27, 256, 3, 1], "squeezenet1_1: expand"),
    shape("conv", &[96, 56, 56, 24, 1, 1], "mobilenet_v2: project"),
    shape("conv", &[320, 7, 7, 1280, 1, 1], "mobilenet_v2: last"),
    shape("conv", &[240, 14, 14, 40, 1, 1], "efficientnet_b0: project"),
    shape("depthwise", &[32, 112, 112, 3, 1], "mobilenet_v2: first"),
    shape("depthwise", &[96, 112, 112, 3, 2], "mobilenet_v2: second"),
    shape("depthwise", &[384, 14, 14, 3, 1], "mobilenet_v2: middle"),
    shape("depthwise", &[480, 14, 14, 5, 1], "efficientnet_b0: middle"),
    shape("depthwise", &[96, 56, 56, 7, 1], "convnext_tiny: first stage"),
    shape("depthwise", &[384, 14, 14, 7, 1], "convnext_tiny: third stage"),
    shape("softmax", &[1536, 128], "bert_base: scores"),
    shape("softmax", &[2364, 197], "vit_b_16: scores"),
    shape("softmax", &[1, 32000], "llama15m: next token"),
    shape("attention", &[12, 128, 128, 64], "bert_base"),
    shape("attention", &[12, 197, 197, 64], "vit_b_16"),
    shape("attention", &[6, 128, 128, 48], "llama15m"),
    shape("attention", &[32, 1, 2048, 128], "Llama 7B: one token behind 2047"),
    shape("layer_norm", &[128, 768], "bert_base"),
    shape("layer_norm", &[3136, 96], "convnext_tiny: first stage"),
    shape("layer_norm", &[32, 4096], "Llama 7B: a prompt of 32"),
    shape("reduce", &[128, 288], "llama15m: mean of squares"),
    shape("reduce", &[3136, 96], "convnext_tiny"),
    shape("global_pool", &[1280, 7, 7], "mobilenet_v2"),
    shape("global_pool", &[96, 112, 112], "efficientnet_b0: squeeze"),
    shape("transpose", &[1, 128, 12, 64], "bert_base: heads"),
    shape("transpose", &[1, 197, 12, 64], "vit_b_16: heads"),
    shape("elementwise", &[1, 128, 3072], "bert_base: activation"),
    shape("elementwise", &[1, 96, 112, 112], "efficientnet_b0: activation"),
    shape("gather", &[30522, 768, 128], "bert_base: embedding"),
    shape("gather", &[32000, 288, 128], "llama15m: embedding"),
    shape("pool", &[64, 112, 112, 3, 2], "resnet50"),
    shape("resize", &[64, 28, 28, 2], "a decoder's upsampling"),
];
