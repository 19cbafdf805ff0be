//! Ctrl-C: once ends an answer, twice or between answers the process.

use std::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const ANSWERING: u8 = 1;
const WANTED: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// Hears interruptions from now on.
pub fn hear() {
    let heard = ctrlc::set_handler(|| {
        let begun = STATE.compare_exchange(ANSWERING, WANTED, Ordering::Relaxed, Ordering::Relaxed);
        if begun.is_err() {
            std::process::exit(130);
        }
    });
    // Without a handler an interruption ends the process, as it always did.
    drop(heard);
}

/// An answer is being made as long as this lives.
pub fn answering() -> impl Drop {
    struct Answering;
    impl Drop for Answering {
        fn drop(&mut self) {
            STATE.store(IDLE, Ordering::Relaxed);
        }
    }
    STATE.store(ANSWERING, Ordering::Relaxed);
    Answering
}

/// Whether the answer is to end.
pub fn wanted() -> bool {
    STATE.load(Ordering::Relaxed) == WANTED
}
