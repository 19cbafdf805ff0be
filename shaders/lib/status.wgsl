// What a run tells of indices outside their axes (src/plan/report.rs). `status` is bound by the kernels that
// may meet one.

struct Status { number: atomic<u32>, entry: u32, low: u32, high: u32 }
// Of all that happened in a run the first is told: who writes the number has the other words for itself.
fn tell(number: u32, entry: u32, index: vec2<u32>) {
    while atomicLoad(&status.number) == 0u {
        if atomicCompareExchangeWeak(&status.number, 0u, number).exchanged {
            status.entry = entry;
            status.low = index.x;
            status.high = index.y;
        }
    }
}
