//! `register`, `login`, `logout`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use im_client::accounts::{Accounts, Login};
use im_proto::UserId;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal;
use serde_json::json;

use super::connect::tls_dial;
use super::home::{Home, Profile};
use super::output::Output;
use super::{Failure, Global, Kind};

/// Who, and where the server is.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// The user's name.
    user: String,
    /// The password; asked for, or read from standard input, when left out.
    #[arg(long, env = "SIM_PASSWORD", hide_env_values = true, value_name = "TEXT")]
    password: Option<String>,
    /// A gate; may be given several times. Kept for the other commands.
    #[arg(
        long = "gate",
        env = "SIM_GATE",
        value_delimiter = ',',
        default_value = "127.0.0.1:8910",
        value_name = "HOST:PORT"
    )]
    gates: Vec<String>,
    /// The server's accounts, over HTTP or HTTPS. Kept for the other commands.
    #[arg(long, env = "SIM_ACCOUNTS", default_value = "http://127.0.0.1:8000", value_name = "URL")]
    accounts: String,
    /// The authority that the gate's certificate comes from, as PEM; a development server on this
    /// machine leaves its own in the state folder. Kept for the other commands.
    #[arg(long, env = "SIM_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

pub(super) async fn register(home: &Home, output: &Output, args: LoginArgs) -> Result<(), Failure> {
    let (user, password) = (user(&args)?, password(&args)?);
    let login = accounts_at(&args.accounts, &ca(home, &args)?)?.register(user.as_str(), &password).await?;
    keep(home, &args, &login)?;
    output.line(|| format!("registered and logged in as {user}"), || json!({ "registered": user.as_str() }))
}

pub(super) async fn login(home: &Home, output: &Output, args: LoginArgs) -> Result<(), Failure> {
    let (user, password) = (user(&args)?, password(&args)?);
    let login = accounts_at(&args.accounts, &ca(home, &args)?)?.login(user.as_str(), &password).await?;
    keep(home, &args, &login)?;
    output.line(|| format!("logged in as {user}"), || json!({ "loggedIn": user.as_str() }))
}

pub(super) async fn logout(home: &Home, global: &Global, output: &Output) -> Result<(), Failure> {
    let profile = home.profile(global.user.as_deref())?;
    let told = accounts_at(&profile.accounts, &profile.ca)?.logout(&profile.refresh_token).await;
    // Forgotten here in any case: whoever logs out wants no token left on this machine.
    home.forget(&profile.user)?;
    if let Err(error) = told {
        output.note(|| format!("forgotten here, but the server could not be told: {error}"));
    }
    output.line(|| format!("logged out {}", profile.user), || json!({ "loggedOut": profile.user }))
}

fn user(args: &LoginArgs) -> Result<UserId, Failure> {
    Ok(UserId::new(&args.user)?)
}

fn ca(home: &Home, args: &LoginArgs) -> Result<PathBuf, Failure> {
    Ok(match &args.ca {
        Some(ca) => std::path::absolute(ca)?,
        None => home.dev_ca(),
    })
}

/// The accounts at `http://host:port`, `https://host:port` or `host:port`. `https` trusts the same
/// authority as the gate does.
pub(super) fn accounts_at(url: &str, ca: &Path) -> Result<Accounts, Failure> {
    let (tls, address) = match url.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        None => (false, url),
        Some((scheme, _)) => {
            return Err(Failure::new(Kind::Usage, format!("accounts: {scheme} is neither http nor https")));
        }
    };
    let address = address.trim_end_matches('/');
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !has_port || address.contains('/') {
        return Err(Failure::new(Kind::Usage, format!("accounts: {url} is not like http://host:port")));
    }
    Ok(if tls { Accounts::over(Arc::new(tls_dial(ca)?), address) } else { Accounts::new(address) })
}

fn keep(home: &Home, args: &LoginArgs, login: &Login) -> Result<(), Failure> {
    // A login that is known here keeps its device, and with it the server's idea of what it has.
    let device = match home.profile(Some(&login.user)) {
        Ok(known) => known.device,
        Err(_) => format!("sim-{}", uuid::Uuid::new_v4()),
    };
    let mut profile = Profile {
        user: login.user.clone(),
        gates: args.gates.clone(),
        accounts: args.accounts.clone(),
        ca: ca(home, args)?,
        device,
        access_token: String::new(),
        refresh_token: String::new(),
    };
    profile.set_tokens(login);
    home.save(&profile)?;
    home.make_current(&profile.user)
}

fn password(args: &LoginArgs) -> Result<String, Failure> {
    if let Some(password) = &args.password {
        return Ok(password.clone());
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return ask_password(&args.user);
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::new(Kind::Usage, "no password").with_hint("give it on standard input, or as --password"));
    }
    Ok(password.to_owned())
}

/// Reads a password from the terminal without showing it.
fn ask_password(user: &str) -> Result<String, Failure> {
    eprint!("Password of {user}: ");
    io::stderr().flush()?;
    terminal::enable_raw_mode()?;
    let typed = type_password();
    terminal::disable_raw_mode()?;
    eprintln!();
    typed?.ok_or_else(|| Failure::new(Kind::Usage, "no password"))
}

/// `None` when the user gave up.
fn type_password() -> io::Result<Option<String>> {
    let mut password = String::new();
    loop {
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match key.code {
            KeyCode::Enter => return Ok(Some(password)),
            KeyCode::Esc => return Ok(None),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(None),
            KeyCode::Char(c) => password.push(c),
            KeyCode::Backspace => drop(password.pop()),
            _ => {}
        }
    }
}
