//! The command line's verbs, one a file, and what they share.
//!
//! Standard output is data, standard error is talk. Exit codes: 0 done and good, 1 done and not good
//! (different, wrong), 2 could not run, with one line on standard error.

mod bench;
mod bundle;
mod ci;
mod classify;
mod compare;
mod compile;
mod devices;
mod embed;
mod emit;
mod eval;
mod generate;
mod inputs;
mod inspect;
mod junit;
mod missing;
mod noise;
mod options;
mod outputs;
mod process;
mod quantize;
mod report;
mod run;
mod run_values;
mod transcribe;
mod verify;
mod verify_case;
mod verify_pool;
mod verify_worker;
mod vocabulary;

use clap::{Parser, Subcommand};
use sardonyx::error::Result;
use std::process::ExitCode;
use std::time::Instant;

/// ONNX inference on any GPU that Vulkan, Metal or DirectX 12 reaches, on the CPU where there is none, and a
/// comparison of the two.
#[derive(Parser)]
#[command(name = "sardonyx", version, arg_required_else_help = false, disable_help_subcommand = true)]
struct Cli {
    /// Say more on standard error: -v what is done, -vv in detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Devices(devices::Devices),
    Inspect(inspect::Inspect),
    Run(run::Run),
    Classify(classify::Classify),
    Bench(bench::Bench),
    Ci(ci::Ci),
    Compare(compare::Compare),
    Compile(compile::Compile),
    Eval(eval::Eval),
    Quantize(quantize::Quantize),
    Generate(generate::Generate),
    Embed(embed::Embed),
    Transcribe(transcribe::Transcribe),
    Report(report::Report),
    Verify(verify::Verify),
    #[command(hide = true)]
    VerifyWorker(verify_worker::VerifyWorker),
}

/// Whether what was done turned out good: the difference between exit codes 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Good,
    NotGood,
}

/// Parses the arguments and does what they say. `start` is when the process began.
pub fn main(start: Instant) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) if !answer.use_stderr() => {
            // A reader that has gone away is no failure of --help.
            let _ = answer.print();
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{}", usage_line(&problem.to_string()));
            return ExitCode::from(2);
        }
    };
    log(cli.verbose);
    std::panic::set_hook(Box::new(|panic| {
        eprintln!(
            "error: {}; this is a defect of sardonyx: please report it with the model",
            emit::one_line(&panic.to_string())
        );
    }));
    let done = std::panic::catch_unwind(|| cli.verb.run(start));
    match done {
        Ok(Ok(Outcome::Good)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::NotGood)) => ExitCode::from(1),
        Ok(Err(error)) => {
            eprintln!("error: {}", emit::told(&error));
            if error.kind() == sardonyx::ErrorKind::Timeout {
                leave(2);
            }
            ExitCode::from(2)
        }
        // The hook has said why.
        Err(_) => ExitCode::from(2),
    }
}

impl Verb {
    fn run(self, start: Instant) -> Result<Outcome> {
        match self {
            Verb::Devices(verb) => verb.run(),
            Verb::Inspect(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Bench(verb) => verb.run(start),
            Verb::Ci(verb) => verb.run(),
            Verb::Classify(verb) => verb.run(),
            Verb::Compare(verb) => verb.run(),
            Verb::Compile(verb) => verb.run(),
            Verb::Eval(verb) => verb.run(),
            Verb::Quantize(verb) => verb.run(),
            Verb::Generate(verb) => verb.run(),
            Verb::Embed(verb) => verb.run(),
            Verb::Transcribe(verb) => verb.run(),
            Verb::Report(verb) => verb.run(),
            Verb::Verify(verb) => verb.run(),
            Verb::VerifyWorker(verb) => verb.run(),
        }
    }
}

/// Ends the process at once: a driver that was given up is still at work on a thread of its own, and what it
/// would undo at an orderly end it may be in the middle of.
fn leave(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: it takes no memory and returns nowhere. Standard error has no buffer, and standard output is
    // flushed wherever it is written.
    unsafe {
        libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}

/// clap's message as one line: what is wrong without its tips and the usage.
fn usage_line(message: &str) -> String {
    let what = message.split("\n\n").next().unwrap_or_default();
    let what = if what.starts_with("error:") && !what.contains("requires a subcommand") {
        emit::one_line(what)
    } else {
        "error: no verb is given".to_string()
    };
    format!("{what}; see sardonyx --help")
}

fn log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let filter = match verbose {
        0 => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off")),
        1 => EnvFilter::new("sardonyx=info"),
        2 => EnvFilter::new("sardonyx=debug"),
        _ => EnvFilter::new("trace"),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
