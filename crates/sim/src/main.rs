//! `sim`: the user's and operator's tool.
//!
//! * [`cli`]: the commands, their profile folder and their output.
//! * [`chat`]: the terminal chat.
//! * [`standalone`], [`demo`]: all tiers in this process, which [`tiers`] starts.

mod chat;
mod cli;
mod demo;
mod standalone;
mod tiers;

fn main() -> std::process::ExitCode {
    cli::main()
}
