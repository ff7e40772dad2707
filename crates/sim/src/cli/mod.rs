//! The command line: arguments in, one task's work, an exit code out.

mod account;
mod accounts;
mod codegen;
mod connect;
mod failure;
mod groups;
pub(crate) mod home;
mod messages;
mod operator;
mod output;
mod route;
mod servers;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub(crate) use connect::{Connected, parse_target};
pub(crate) use failure::{Failure, Kind};
use home::Home;
use output::Output;
pub(crate) use output::{content, harmless};

/// Instant messaging in layers: register, log in, talk.
#[derive(Debug, Parser)]
#[command(name = "sim", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
To begin:       sim register alice          makes an account and logs in
                sim --as alice send bob hi  sends to a user
                sim --as alice chat         a chat in the terminal

Exit codes:     0 done   1 refused or failed   2 wrong usage   3 log in first   4 server not reached   5 store not clean";

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Where profiles and sync positions are kept.
    #[arg(long, global = true, env = "SIM_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Which of the users that are logged in here; the last one to log in when left out.
    #[arg(long = "as", global = true, env = "SIM_AS", value_name = "USER")]
    user: Option<String>,
    /// One JSON object per line instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Seconds to wait for the server.
    #[arg(long, global = true, default_value_t = 20, value_name = "SECONDS")]
    timeout: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an account and log in.
    Register(accounts::LoginArgs),
    /// Log in; the login is kept for the other commands.
    Login(accounts::LoginArgs),
    /// End the login, and forget it here.
    Logout,
    /// Send a message to a user, or to a group as `group:ID`.
    Send(messages::SendArgs),
    /// Print what is new since the last sync, and remember where it ended.
    Sync(messages::SyncArgs),
    /// Print what is new, and then what comes.
    Tail(messages::TailArgs),
    /// Print a conversation's history.
    History(messages::HistoryArgs),
    /// List conversations with unread counts.
    Conversations,
    /// Say that a conversation has been read.
    Read(messages::ReadArgs),
    /// Make, change and list groups.
    #[command(subcommand)]
    Group(groups::GroupCommand),
    /// A chat in the terminal.
    Chat,
    /// Check, export or import a store that no server has open.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// See and move the role of master among a region's routes.
    #[command(subcommand)]
    Route(route::RouteCommand),
    /// See, close and open accounts, and end their logins.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Run all tiers in this process, until Ctrl-C.
    Standalone(servers::StandaloneArgs),
    /// Watch four people talk through all tiers, and have what they see checked.
    Demo(servers::DemoArgs),
    /// Make the keys and certificates that tiers of their own need.
    Keys(servers::KeysArgs),
    /// Write the protocol's messages, codec and tables in another language.
    Codegen(codegen::CodegenArgs),
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(Kind::Failed, format!("start the runtime: {error}")).report(json),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    let output = Output::new(global.json);
    // Made only where a command needs it: an operator's commands leave no folder behind.
    let home = || Home::open(global.home.as_deref());
    match command {
        Command::Register(args) => accounts::register(&home()?, &output, args).await,
        Command::Login(args) => accounts::login(&home()?, &output, args).await,
        Command::Logout => accounts::logout(&home()?, &global, &output).await,
        Command::Send(args) => messages::send(&home()?, &global, &output, args).await,
        Command::Sync(args) => messages::sync(&home()?, &global, &output, args).await,
        Command::Tail(args) => messages::tail(&home()?, &global, &output, args).await,
        Command::History(args) => messages::history(&home()?, &global, &output, args).await,
        Command::Conversations => messages::conversations(&home()?, &global, &output).await,
        Command::Read(args) => messages::read(&home()?, &global, &output, args).await,
        Command::Group(command) => groups::run(&home()?, &global, &output, command).await,
        Command::Chat => crate::chat::run(&home()?, &global).await,
        Command::Store(command) => store::run(command, &output).await,
        Command::Route(command) => route::run(command, &global, &output).await,
        Command::Account(command) => account::run(command, &global, &output).await,
        Command::Standalone(args) => servers::run_standalone(args, &home()?, global.json).await,
        Command::Demo(args) => servers::run_demo(&args).await,
        Command::Keys(args) => servers::run_keys(&args, &output),
        Command::Codegen(args) => codegen::run(&args, &output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
