// What a dispatch reports of indices outside their axes (src/plan/report.rs). The buffer `status` is bound
// by the kernels that may meet one, behind their own bindings.

struct Status { number: atomic<u32>, entry: u32, low: u32, high: u32 }
// Writes the dispatch's number, the index's position in its tuple, and the index. The first report of a run
// stays: the invocation that writes the number has the other words for itself.
fn tell(number: u32, entry: u32, index: vec2<u32>) {
    while atomicLoad(&status.number) == 0u {
        if atomicCompareExchangeWeak(&status.number, 0u, number).exchanged {
            status.entry = entry;
            status.low = index.x;
            status.high = index.y;
        }
    }
}
