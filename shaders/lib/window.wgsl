// The window of a convolution or a pooling, as a part of a parameter block (kernels/window.rs).

struct Window {
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    pad_h: i32, pad_w: i32, dilation_h: u32, dilation_w: u32,
}
