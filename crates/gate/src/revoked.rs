//! Access tokens that were taken back before they ran out: nobody logs in with one, and who is logged in
//! with one is let go, within a second of the revocation.
//!
//! Routes tell of them; a link that comes up begins with all that still count. The logins to be ended
//! are looked for among all of this gate's, since an index by user would cost memory for every
//! connection and serve a few an hour. A look takes some 10 ms per 100,000 logins, so revocations that
//! come close together share one.

use std::sync::Arc;
use std::time::Duration;

use im_auth::Claims;
use im_link::link;
use im_proto::client::KickReason;
use im_proto::link::Revoke;
use im_proto::{Refusal, RefusalCode};
use im_session::Revocations;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::info;

use crate::sessions::{Client, Login, Sessions};

/// Revocations that come this close together share one look at the logins.
const GATHERED_FOR: Duration = Duration::from_millis(250);

/// What was taken back, as one gate knows it.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    known: Mutex<Revocations>,
    news: Notify,
}

impl Revoked {
    /// A route tells of a revocation.
    pub(crate) fn add(&self, revoke: Revoke) {
        if self.known.lock().add(link::now(), revoke) {
            metrics::counter!("sim_gate_revocations_total").increment(1);
            self.news.notify_one();
        }
    }

    /// What to say to whoever shows this token, if it was taken back.
    pub(crate) fn refusal(&self, claims: &Claims) -> Option<Refusal> {
        let reason = self.known.lock().voids(link::now(), &claims.user, claims.generation, claims.login)?;
        Some(match reason {
            KickReason::Forbidden => RefusalCode::Banned.into(),
            // It was good once: a client that still has a login at the accounts gets another one there.
            _ => Refusal::new(RefusalCode::ExpiredToken, "the token was taken back"),
        })
    }

    /// Lets go of a client whose token was taken back; says whether it was.
    pub(crate) fn end(&self, client: &Client) -> bool {
        let reason = client.login().and_then(|login| self.void(login));
        if let Some(reason) = reason {
            client.kick(reason);
        }
        reason.is_some()
    }

    fn void(&self, login: &Login) -> Option<KickReason> {
        self.known.lock().voids(link::now(), &login.user, login.generation, login.account_login)
    }

    /// Lets go of those who are logged in with what was taken back, each time there is news.
    pub(crate) async fn end_logins(self: Arc<Self>, sessions: Arc<Sessions>) {
        loop {
            self.news.notified().await;
            sleep(GATHERED_FOR).await;
            let mut ended = 0;
            sessions.for_each(|client| ended += usize::from(self.end(client)));
            info!(ended, "logins whose tokens were taken back have ended");
        }
    }
}
