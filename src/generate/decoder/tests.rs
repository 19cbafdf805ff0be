//! Text in pieces, caches that are cut, the context's end.

use super::*;
use crate::generate::ModelConfig;

fn decoder(form: &str, context: usize) -> Decoder {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/text").join(form).join("model.onnx");
    let mut decoder = Decoder::open(&path, Session::builder(), &ModelConfig::default()).unwrap();
    decoder.reserve(context).unwrap();
    decoder
}
fn some(count: usize) -> Vec<u32> {
    (0..count).map(|at| 20 + (at * 37 % 200) as u32).collect()
}
fn near(a: &[f32], b: &[f32]) -> bool {
    let scale = a.iter().fold(1.0f32, |most, x| most.max(x.abs()));
    // Sums of 64 to 140 terms in another order, eight of them in a row through two layers.
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= scale * f32::EPSILON * 140.0 * 8.0)
}

/// In pieces of any length, filled up or not, the scores are those of one run over all tokens.
#[test]
fn pieces_are_as_good_as_the_whole() {
    let tokens = some(140);
    for form in ["plain", "genai"] {
        let mut once = decoder(form, 160);
        let whole = once.feed_for_all(&tokens).unwrap();
        let last = once.feed(&some(1)).unwrap();
        for piece in [1, 3, 8, 50, 129] {
            let mut decoder = decoder(form, 160);
            let mut scores = vec![];
            for part in tokens.chunks(piece) {
                scores.extend(decoder.feed_for_all(part).unwrap());
            }
            assert!(near(&whole, &scores), "{form} by {piece}");
            assert!(near(&last, &decoder.feed(&some(1)).unwrap()), "{form} by {piece}");
        }
    }
}

#[test]
fn a_cache_is_cut_where_it_can_be() {
    let tokens = some(40);
    for (form, left) in [("genai", 25), ("plain", 0)] {
        let mut decoder = decoder(form, 64);
        let first = decoder.feed(&tokens).unwrap();
        assert_eq!(decoder.truncate(25).unwrap(), left, "{form}");
        let again = decoder.feed(&tokens[left..]).unwrap();
        assert!(near(&first, &again), "{form}");
    }
}

#[test]
fn the_contexts_end_is_no_panic() {
    for form in ["genai", "plain"] {
        let mut decoder = decoder(form, 20);
        assert!(decoder.feed(&[]).unwrap_err().to_string().contains("no tokens"));
        let told = decoder.feed(&some(21)).unwrap_err().to_string();
        assert!(told.contains("21 tokens are beyond the context of 20"), "{told}");
        decoder.feed(&some(19)).unwrap();
        decoder.feed(&some(1)).unwrap();
        assert!(decoder.feed(&some(1)).is_err());
    }
}

/// All decode steps of a cache with a capacity are one plan's, and memory doesn't depend on how many.
#[test]
fn a_decode_step_is_one_plan() {
    let mut decoder = decoder("genai", 64);
    decoder.feed(&some(9)).unwrap();
    decoder.feed(&some(1)).unwrap();
    let first = decoder.prepared().unwrap().clone();
    for _ in 0..20 {
        decoder.feed(&some(1)).unwrap();
        assert!(Arc::ptr_eq(&first, decoder.prepared().unwrap()));
    }
}

#[test]
fn a_piece_is_no_longer_than_the_cache() {
    let mut decoder = decoder("genai", 100);
    decoder.most = Some(100);
    decoder.reserve(100).unwrap();
    assert_eq!(decoder.rows, 100);
    assert_eq!([1, 2, 8, 9, 33].map(|left| decoder.length_of_piece(left, true)), [1, 8, 8, 32, 32]);
    decoder.feed(&some(97)).unwrap();
    assert_eq!(decoder.length_of_piece(3, true), 1);
    decoder.feed(&some(3)).unwrap();
}

/// A prompt is read without scores but for the last token's, and those are the same.
#[test]
fn scores_are_made_where_they_are_wanted() {
    let tokens = some(60);
    for form in ["plain", "genai"] {
        let mut all = decoder(form, 64);
        let scores = all.feed_for_all(&tokens).unwrap();
        let mut last = decoder(form, 64);
        let got = last.feed(&tokens).unwrap();
        assert!(near(&scores[scores.len() - got.len()..], &got), "{form}");
        // A run of one token: the others' made none.
        let names: Vec<&str> = last.ports.caches.iter().map(|cache| &*cache.present).collect();
        let mut without = decoder(form, 64);
        assert!(without.step(&tokens[..32], 32, false).unwrap().is_none(), "{form}");
        assert_eq!(without.prepared().unwrap().outputs().count(), names.len(), "{form}");
        assert_eq!(last.prepared().unwrap().outputs().count(), names.len() + 1, "{form}");
    }
}
