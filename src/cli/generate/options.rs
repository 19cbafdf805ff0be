//! How tokens are chosen, by options, and by the model's own files where these are silent.

use clap::Args;
use sardonyx::generate::{ModelConfig, Options, Sampling};

#[derive(Args, Debug, Clone)]
pub struct SamplingOptions {
    /// Draw tokens by their probabilities, scores divided by T; 0 takes the likeliest [default: 0, or what the
    /// model's generation_config.json says]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Draw from the K likeliest tokens; 0 is all
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that together have this probability
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Draw from tokens at least this likely, relative to the likeliest
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Divide the scores of tokens that were there already, in the prompt too
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f32>,
    /// Lower the scores of tokens that are in the answer
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Lower them for each time that they are in it
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// What random numbers begin with
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Say the N likeliest tokens for each, in --json
    #[arg(long, value_name = "N", default_value_t = 0)]
    logprobs: usize,
    /// End the answer before this text; repeatable
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on behind a token that ends a text, to measure
    #[arg(long)]
    ignore_eos: bool,
}

impl SamplingOptions {
    /// The options of an answer, but for its length.
    pub fn options(&self, config: &ModelConfig) -> Options {
        Options {
            sampling: self.sampling(config),
            seed: self.seed,
            max_tokens: None,
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
        }
    }

    pub fn sampling(&self, config: &ModelConfig) -> Sampling {
        let search = &config.search;
        let advised = search.do_sample == Some(true);
        let asked = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        let drawn = if asked || advised { search.temperature.unwrap_or(1.0) } else { 0.0 };
        let plain = Sampling::default();
        Sampling {
            temperature: self.temperature.unwrap_or(drawn),
            top_k: self.top_k.or(search.top_k.filter(|_| advised)).unwrap_or(plain.top_k),
            top_p: self.top_p.or(search.top_p.filter(|_| advised)).unwrap_or(plain.top_p),
            min_p: self.min_p.or(search.min_p.filter(|_| advised)).unwrap_or(plain.min_p),
            repetition: self.repetition_penalty.or(search.repetition_penalty).unwrap_or(plain.repetition),
            presence: self.presence_penalty,
            frequency: self.frequency_penalty,
            logprobs: self.logprobs,
        }
    }

    /// What of it the model's own files say.
    pub fn note(&self, config: &ModelConfig) -> Option<String> {
        let search = &config.search;
        let drawn = search.do_sample == Some(true) && self.temperature.is_none();
        let penalty = search.repetition_penalty.filter(|x| *x != 1.0 && self.repetition_penalty.is_none());
        if !drawn && penalty.is_none() {
            return None;
        }
        let Sampling { temperature, top_k, top_p, min_p, repetition, .. } = self.sampling(config);
        Some(format!(
            "note: by the model's own files: temperature {temperature}, top-k {top_k}, top-p {top_p}, min-p \
             {min_p}, repetition penalty {repetition}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use sardonyx::generate::SearchConfig;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: SamplingOptions,
    }
    fn sampling(arguments: &[&str], search: SearchConfig) -> Sampling {
        let line = Line::try_parse_from([&["x"], arguments].concat()).unwrap();
        line.options.sampling(&ModelConfig { search, ..ModelConfig::default() })
    }

    #[test]
    fn options_come_before_the_models_files() {
        let silent = SearchConfig::default();
        assert_eq!(sampling(&[], silent), Sampling::default());
        assert_eq!(sampling(&["--top-p", "0.9"], silent).temperature, 1.0);
        let advised = SearchConfig {
            do_sample: Some(true),
            temperature: Some(0.2),
            top_p: Some(0.9),
            top_k: Some(50),
            ..silent
        };
        let found = sampling(&["--top-k", "3"], advised);
        assert_eq!((found.temperature, found.top_k, found.top_p), (0.2, 3, 0.9));
        assert_eq!(sampling(&["--temperature", "0"], advised).temperature, 0.0);
        // What is only named isn't what is advised.
        let named = SearchConfig { do_sample: Some(false), ..advised };
        assert_eq!(sampling(&[], named), Sampling::default());
    }
}
