//! `route status | switch`: what routes are to their region, and which of them is master.

use std::time::Duration;

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::operator::Operator;
use super::output::{Output, harmless};
use super::{Failure, Global, Kind};

#[derive(Debug, Subcommand)]
pub(super) enum RouteCommand {
    /// Show role, links and users of routes.
    Status {
        /// Where the routes answer over HTTP.
        #[arg(default_value = "127.0.0.1:8921", value_name = "HOST:PORT")]
        routes: Vec<String>,
        #[command(flatten)]
        operator: Operator,
    },
    /// Make a route the master of its region, and wait until everybody who can sends there.
    Switch {
        /// Where the route answers over HTTP.
        #[arg(value_name = "HOST:PORT")]
        to: String,
        #[command(flatten)]
        operator: Operator,
    },
}

/// Between two looks at whether the senders have followed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn run(command: RouteCommand, global: &Global, output: &Output) -> Result<(), Failure> {
    let patience = Duration::from_secs(global.timeout);
    match command {
        RouteCommand::Status { routes, operator } => {
            let mut failed = None;
            for route in &routes {
                // One that is down is no reason not to show the others.
                match ask(route, Method::GET, "/status", &operator, patience).await {
                    Ok(status) => show(output, route, &status)?,
                    Err(failure) if routes.len() == 1 => return Err(failure),
                    Err(failure) => {
                        output.line(
                            || format!("{route}  {failure}"),
                            || serde_json::json!({ "at": route, "error": failure.to_string() }),
                        )?;
                        failed = Some(failure);
                    }
                }
            }
            failed.map_or(Ok(()), Err)
        }
        RouteCommand::Switch { to, operator } => {
            let deadline = Instant::now() + patience;
            let mut status = ask(&to, Method::PUT, "/master", &operator, patience).await?;
            while status["senders_here"] != status["senders"] || status["role"] != "master" {
                if Instant::now() >= deadline {
                    show(output, &to, &status)?;
                    let why =
                        "it is master, but not everybody sends there: a route without an im-service is passed over";
                    return Err(Failure::new(Kind::Failed, why));
                }
                sleep(LOOK_EVERY).await;
                status = ask(&to, Method::GET, "/status", &operator, patience).await?;
            }
            show(output, &to, &status)
        }
    }
}

fn show(output: &Output, route: &str, status: &Value) -> Result<(), Failure> {
    output.line(
        || text(route, status),
        || {
            let mut status = status.clone();
            status["at"] = route.into();
            status
        },
    )
}

/// `route-1 (eu) is master for 3 min: 4 of 4 senders here; 2 gates, 2 im-services, 120 users, 150 logins`.
fn text(route: &str, status: &Value) -> String {
    let word = |key: &str| harmless(status[key].as_str().unwrap_or("?"));
    let number = |key: &str| status[key].as_u64().unwrap_or(0);
    let master = match status["role"].as_str() {
        Some("standby") => format!(" of {}", word("master")),
        _ => String::new(),
    };
    let mut text = format!(
        "{route}  {} ({}) is {}{master} for {}: {} of {} senders here; {} gates, {} im-services, {} users, {} logins",
        word("name"),
        word("region"),
        word("role"),
        lasting(number("role_for_seconds")),
        number("senders_here"),
        number("senders"),
        number("gates"),
        number("im_services"),
        number("users"),
        number("logins"),
    );
    if status["serves"] == false {
        text += "; no im-service can be reached";
    }
    text += &lease(&status["lease"]);
    for peer in status["peers"].as_array().into_iter().flatten() {
        let word = |key: &str| harmless(peer[key].as_str().unwrap_or("?"));
        let users = peer["users"]
            .as_u64()
            .map_or_else(|| "more users than it can remember".to_owned(), |n| format!("{n} users"));
        let role = if peer["is_master"] == true { "master" } else { "standby" };
        text += &format!("\n    linked with {} {} ({role}), {users}", word("region"), word("name"));
    }
    text
}

/// What a status says of the lease in Redis; nothing where none is kept.
fn lease(lease: &Value) -> String {
    let holder = lease["holder"].as_str().map(harmless);
    let held = match holder {
        _ if lease.is_null() => return String::new(),
        Some(holder) => format!("; {holder} has the lease"),
        None => "; nobody has the lease".to_owned(),
    };
    match lease["trouble"].as_str() {
        Some(trouble) => format!("{held} as far as is known: Redis: {}", harmless(trouble)),
        None => held,
    }
}

fn lasting(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

async fn ask(
    route: &str,
    method: Method,
    path: &str,
    operator: &Operator,
    patience: Duration,
) -> Result<Value, Failure> {
    operator.ask(route, method, path, None, patience).await.map_err(|failure| failure.with_hint_if_unreachable(HINT))
}

const HINT: &str = "name where the route answers over HTTP: its http_listen, by default 127.0.0.1:8921";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_one_line_and_one_for_each_peer() {
        let status = json!({
            "name": "route-2", "region": "eu", "role": "standby", "master": "route-1", "role_for_seconds": 180,
            "senders_here": 0, "senders": 4, "gates": 2, "im_services": 2, "users": 120, "logins": 150, "serves": true,
            "peers": [
                { "region": "us", "name": "route-1", "is_master": true, "users": 9 },
                { "region": "us", "name": "x\u{1b}[2J", "is_master": false, "users": null },
            ],
        });
        let lines = text("[::1]:8921", &status);
        let lines: Vec<_> = lines.lines().collect();
        let expected = [
            "[::1]:8921  route-2 (eu) is standby of route-1 for 3 min: 0 of 4 senders here; 2 gates, 2 im-services, 120 users, 150 logins",
            "    linked with us route-1 (master), 9 users",
            "    linked with us x\\u{1b}[2J (standby), more users than it can remember",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_status_tells_of_the_lease() {
        assert_eq!(lease(&json!(null)), "");
        assert_eq!(lease(&json!({ "holder": "route-1", "mine": true, "trouble": null })), "; route-1 has the lease");
        let away = json!({ "holder": null, "mine": false, "trouble": "no answer within 2s" });
        assert_eq!(lease(&away), "; nobody has the lease as far as is known: Redis: no answer within 2s");
    }
}
