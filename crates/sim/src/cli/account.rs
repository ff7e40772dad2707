//! `account show | ban | unban | end-logins | set-password`: what operators do with accounts.

use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use im_proto::UserId;
use serde_json::{Value, json};

use super::operator::Operator;
use super::output::{Output, harmless};
use super::{Failure, Global};

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Show whether an account is open.
    Show(Whose),
    /// Close an account: its logins end, live connections within a second.
    Ban(Whose),
    /// Open an account again; its user has to log in anew.
    Unban(Whose),
    /// End every login of a user, who may log in again.
    EndLogins(Whose),
    /// Set another password, and end every login.
    SetPassword {
        #[command(flatten)]
        whose: Whose,
        /// The new one.
        #[arg(long, env = "SIM_PASSWORD", hide_env_values = true, value_name = "TEXT")]
        password: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Whose {
    /// The user's name.
    user: String,
    /// Where an im-service answers operators.
    #[arg(long, default_value = "127.0.0.1:8931", value_name = "HOST:PORT")]
    at: String,
    #[command(flatten)]
    operator: Operator,
}

const HINT: &str =
    "name where the im-service answers operators: --at HOST:PORT, its admin_listen, by default 127.0.0.1:8931";

pub(super) async fn run(command: AccountCommand, global: &Global, output: &Output) -> Result<(), Failure> {
    let patience = Duration::from_secs(global.timeout);
    let (whose, method, what, body) = match command {
        AccountCommand::Show(whose) => (whose, Method::GET, "", None),
        AccountCommand::Ban(whose) => (whose, Method::PUT, "/ban", None),
        AccountCommand::Unban(whose) => (whose, Method::DELETE, "/ban", None),
        AccountCommand::EndLogins(whose) => (whose, Method::DELETE, "/logins", None),
        AccountCommand::SetPassword { whose, password } => {
            (whose, Method::PUT, "/password", Some(json!({ "password": password })))
        }
    };
    let user: UserId = whose.user.parse()?;
    let path = format!("/accounts/{}{what}", in_path(user.as_str()));
    let asked = whose.operator.ask(&whose.at, method, &path, body.as_ref(), patience).await;
    let account = asked.map_err(|failure| failure.with_hint_if_unreachable(HINT))?;
    output.line(|| text(&account), || account.clone())
}

/// `ann: banned; all logins were ended 2 times`.
fn text(account: &Value) -> String {
    let user = harmless(account["user"].as_str().unwrap_or("?"));
    let standing = if account["banned"] == true { "banned" } else { "open" };
    let ended = match account["generation"].as_str() {
        None | Some("0") => return format!("{user}: {standing}"),
        Some("1") => "once".to_owned(),
        Some(times) => format!("{} times", harmless(times)),
    };
    format!("{user}: {standing}; all logins were ended {ended}")
}

/// A name as a segment of a path (RFC 3986, section 2.3).
fn in_path(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => path += &format!("%{byte:02X}"),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_segment() {
        assert_eq!(in_path("ann-1.x_~"), "ann-1.x_~");
        assert_eq!(in_path("a/../b?c#d e%"), "a%2F..%2Fb%3Fc%23d%20e%25");
        assert_eq!(in_path("安"), "%E5%AE%89");
    }

    #[test]
    fn an_account_is_one_line() {
        let account = |banned, generation| json!({ "user": "ann", "banned": banned, "generation": generation });
        assert_eq!(text(&account(false, "0")), "ann: open");
        assert_eq!(text(&account(true, "1")), "ann: banned; all logins were ended once");
        assert_eq!(text(&account(false, "7")), "ann: open; all logins were ended 7 times");
    }
}
