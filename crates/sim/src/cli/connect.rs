//! From a profile to a running client.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use im_client::{
    CallError, Client, ClientConfig, Events, FilePosition, MemoryPosition, PositionStore, RefreshingToken, State,
    TlsDial,
};
use im_proto::client::Platform;
use im_proto::{DeviceId, GroupId, Target, UserId};

use super::accounts::accounts_at;
use super::home::{Home, Profile};
use super::{Failure, Global, Kind};

/// A client with the events it tells.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) events: Events,
    pub(crate) user: UserId,
    patience: Duration,
}

impl Connected {
    /// For one question: a device of its own for this run, so that nobody who syncs is replaced, and
    /// no timeline is pulled.
    pub(crate) async fn for_a_question(home: &Home, global: &Global) -> Result<Self, Failure> {
        let device = format!("once-{}", uuid::Uuid::new_v4());
        Self::start(home, global, &device, Arc::new(MemoryPosition::default())).await
    }

    /// For the timeline, resuming where this purpose has got to.
    pub(crate) async fn for_the_timeline(home: &Home, global: &Global, purpose: &str) -> Result<Self, Failure> {
        let profile = home.profile(global.user.as_deref())?;
        let position = FilePosition::new(home.position_path(&profile.user, purpose));
        Self::start(home, global, &format!("{}-{purpose}", profile.device), Arc::new(position)).await
    }

    /// For the timeline from its beginning; moves no position.
    pub(crate) async fn from_the_beginning(home: &Home, global: &Global, purpose: &str) -> Result<Self, Failure> {
        let profile = home.profile(global.user.as_deref())?;
        let device = format!("{}-{purpose}", profile.device);
        Self::start(home, global, &device, Arc::new(MemoryPosition::default())).await
    }

    async fn start(
        home: &Home,
        global: &Global,
        device: &str,
        positions: Arc<dyn PositionStore>,
    ) -> Result<Self, Failure> {
        let profile = home.profile(global.user.as_deref())?;
        let user = UserId::new(&profile.user)?;
        let dial = tls_dial(&profile.ca)?;
        let mut config = ClientConfig::new(profile.gates.clone(), DeviceId::new(device)?);
        config.app_id = "sim".into();
        config.platform = Platform::Desktop;
        let tokens = Arc::new(tokens(home.clone(), profile)?);
        let (client, events) = Client::start(config, Arc::new(dial), tokens, positions).await?;
        Ok(Self { client, events, user, patience: Duration::from_secs(global.timeout) })
    }

    /// Waits for a login.
    pub(crate) async fn online(&self) -> Result<(), Failure> {
        self.in_time(async { Ok(self.client.online().await?) }).await.map(drop)
    }

    /// Asks for something, but not longer than the user wants to wait.
    pub(crate) async fn ask<T>(&self, question: impl Future<Output = Result<T, CallError>>) -> Result<T, Failure> {
        self.online().await?;
        self.in_time(async { Ok(question.await?) }).await
    }

    /// Waits, but not longer than the user wants to.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.patience, work).await {
            Ok(result) => result,
            Err(_) => Err(self.unreachable()),
        }
    }

    /// Why nothing came in time, as far as the connection knows.
    pub(crate) fn unreachable(&self) -> Failure {
        match self.client.state() {
            State::Offline { why, .. } => Failure::new(Kind::Unreachable, why),
            State::Connecting { gate } => Failure::new(Kind::Unreachable, format!("{gate} does not answer")),
            State::Online { .. } => Failure::new(Kind::Unreachable, "the server does not answer in time"),
            State::Ended(cause) => cause.into(),
        }
    }
}

/// TLS that trusts the authority in that file.
pub(super) fn tls_dial(ca: &Path) -> Result<TlsDial, Failure> {
    TlsDial::new(ca).map_err(|error| {
        Failure::new(Kind::Failed, error.to_string())
            .with_hint("the server's authority is chosen at login: sim login USER --ca FILE")
    })
}

fn tokens(home: Home, profile: Profile) -> Result<RefreshingToken, Failure> {
    let accounts = accounts_at(&profile.accounts, &profile.ca)?;
    let (access, refresh) = (profile.access_token.clone(), profile.refresh_token.clone());
    let user = profile.user;
    Ok(RefreshingToken::new(
        accounts,
        access,
        refresh,
        Box::new(move |login| {
            let saved = home.profile(Some(&user)).and_then(|mut profile| {
                profile.set_tokens(login);
                home.save(&profile)
            });
            // This run goes on with the new token; the next one may have to log in again.
            if let Err(failure) = saved {
                failure.context("keep the new tokens").report(false);
            }
        }),
    ))
}

/// `group:ID` is a group, anything else a user: a user's id has no colon.
pub(crate) fn parse_target(text: &str) -> Result<Target, String> {
    match text.strip_prefix("group:") {
        Some(group) => GroupId::new(group).map(Target::Group).map_err(|error| error.to_string()),
        None => UserId::new(text).map(Target::User).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart_by_the_prefix() {
        assert!(matches!(parse_target("group_a"), Ok(Target::User(user)) if user.as_str() == "group_a"));
        assert!(matches!(parse_target("group:a"), Ok(Target::Group(group)) if group.as_str() == "a"));
        assert!(parse_target("a:b").is_err() && parse_target("").is_err() && parse_target("group:").is_err());
    }
}
