// 64-bit words from and to 32-bit ones, for adapters that load as few components as they can.

fn words(v: vec2<u64>) -> vec4<u32> { return vec4(u32(v.x), u32(v.x >> 32u), u32(v.y), u32(v.y >> 32u)); }
fn word(v: vec2<u32>) -> u64 { return u64(v.x) | (u64(v.y) << 32u); }
fn from_words(v: vec4<u32>) -> vec2<u64> { return vec2(word(v.xy), word(v.zw)); }
