//! The command line: `sardonyx VERB …`. What scripts may rely on is in README.md and each verb's `--help`.

mod cli;

fn main() -> std::process::ExitCode {
    // Before anything else: the first inference is timed from here.
    cli::main(std::time::Instant::now())
}
