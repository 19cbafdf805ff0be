// Windows of convolutions and pools, as parts of parameter blocks (kernels/window.rs).

struct Window {
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    pad_h: i32, pad_w: i32, dilation_h: u32, dilation_w: u32,
}

// The sizes that a window goes over, and the window, along each axis, the outermost first; axes that there
// aren't come before the others, of size 1.
struct WindowNd {
    input: vec4<u32>, output: vec4<u32>, kernel: vec4<u32>,
    stride: vec4<u32>, dilation: vec4<u32>, pad: vec4<u32>,
}

// A place of images of these sizes, counted from the innermost axis: its coordinates, and its image.
struct PlaceNd { at: vec4<u32>, image: u32 }
fn place_nd(index: u32, sizes: vec4<u32>) -> PlaceNd {
    var place = PlaceNd(vec4(0u), index);
    for (var d = 4u; d > 0u; d--) {
        place.at[d - 1u] = place.image % sizes[d - 1u];
        place.image /= sizes[d - 1u];
    }
    return place;
}
