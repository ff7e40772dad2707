//! The rules of accounts, on the records of a store.
//!
//! Every change of a record names the value it was made from, so any number of instances may serve the
//! same user. Methods may be dropped half-way: what was committed stays, nothing is half done.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use im_auth::{Claims, Signer, TokenError, Verifier};
use im_proto::UserId;
use im_timeline::{Change, CommitError, Expect, Store, Table, user_key};
use tokio::sync::broadcast;

use super::attempts::{Attempts, address_key};
use super::config::{AccountsConfig, Clock};
use super::error::AccountError;
use super::passwords::{Password, Passwords};
use super::profile::{Profile, ProfileChange};
use super::record::{Account, Family, Stored};
use super::refresh::{Exchange, FAMILIES_MAX, RefreshToken};
use super::revocation::{REVOCATIONS_MAX, Revocation, RevocationCause};

/// How often a change is made again because somebody else changed the same record meanwhile. Each
/// round one of the contenders gets through, so this many would have to contend for one user.
const CHANGE_TRIES: usize = 16;

/// What a login gives. Prints its user only.
#[derive(Clone)]
pub struct Session {
    /// Who logged in.
    pub user: UserId,
    /// For gates and for this API.
    pub access_token: String,
    /// How long the access token is good.
    pub expires_in: Duration,
    /// To be exchanged for the next session, once.
    pub refresh_token: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What an operator sees of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is closed.
    pub banned: bool,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// How often all its logins were ended.
    pub generation: u64,
}

/// Accounts and their logins.
pub struct Accounts {
    store: Arc<dyn Store>,
    signer: Signer,
    verifier: Verifier,
    passwords: Passwords,
    config: AccountsConfig,
    clock: Clock,
    failures_by_user: Attempts,
    failures_by_address: Attempts,
    registrations_by_address: Attempts,
    revocations: broadcast::Sender<Revocation>,
}

impl Accounts {
    /// Accounts in that store, with tokens by that signer. Takes the time of one password hash.
    pub fn new(store: Arc<dyn Store>, signer: Signer, config: AccountsConfig) -> Result<Self, AccountError> {
        let verifier = Verifier::new([signer.public_key().clone()])
            .map_err(|_| AccountError::Internal("one key makes a verifier"))?;
        Ok(Self {
            passwords: Passwords::new(&config)?,
            failures_by_user: Attempts::new(config.failures_per_user),
            failures_by_address: Attempts::new(config.failures_per_address),
            registrations_by_address: Attempts::new(config.registrations_per_address),
            clock: Arc::new(SystemTime::now),
            revocations: broadcast::Sender::new(REVOCATIONS_MAX),
            store,
            signer,
            verifier,
            config,
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Hears of every [`Revocation`] by this instance from now on.
    pub fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.revocations.subscribe()
    }

    /// Makes an account and logs in. `address` is where the request came from, if known.
    pub async fn register(
        &self,
        user: &str,
        password: String,
        profile: ProfileChange,
        address: Option<IpAddr>,
    ) -> Result<Session, AccountError> {
        if user != user.trim() {
            return Err(AccountError::BlankName);
        }
        let user = UserId::new(user)?;
        let password = Password::new(password)?;
        profile.check()?;
        if let Some(address) = address {
            let charged = self.registrations_by_address.charge(address_key(address), self.now_ms());
            charged.map_err(|retry_after| {
                metrics::counter!("sim_service_limited_total", "limit" => "registrations_per_address").increment(1);
                AccountError::TooManyRegistrations { retry_after }
            })?;
        }
        // Before the expensive part. Whether the name is still free is decided by the commit.
        if self.account(&user).await?.is_some() {
            return Err(AccountError::UserExists);
        }
        let mut account = Account {
            password_hash: self.passwords.hash(password).await?,
            profile: Profile::default(),
            banned: false,
            created_ms: self.now_ms(),
            generation: 0,
        };
        profile.apply(&mut account.profile);
        let (login, token) = self.login_row(&user, account.generation);
        let name = put(Table::Account, user.as_str(), &account, Expect::Absent);
        match self.store.commit(vec![name, login]).await {
            Ok(()) => Ok(self.session(token, account.generation)),
            Err(CommitError::Conflict(_)) => Err(AccountError::UserExists),
            Err(error) => Err(error.into()),
        }
    }

    /// Logs in. `address` is where the request came from, if known.
    pub async fn login(&self, user: &str, password: String, address: Option<IpAddr>) -> Result<Session, AccountError> {
        let user = UserId::new(user)?;
        let account = self.check_password(&user, password, address).await?;
        self.open_login(user, &account).await
    }

    /// Exchanges a refresh token for a new session.
    pub async fn refresh(&self, token: &str) -> Result<Session, AccountError> {
        let presented = RefreshToken::parse(token).ok_or(AccountError::RefreshInvalid)?;
        for _ in 0..CHANGE_TRIES {
            let (family, stored) = self.family(&presented).await?;
            let account = self.account(&presented.user).await?.ok_or(AccountError::RefreshInvalid)?.0;
            if account.banned {
                return Err(AccountError::Banned);
            }
            let next = presented.next();
            let exchange = match family.generation == account.generation {
                true => family.exchange(presented.hash(), next.hash(), self.now_ms(), self.config.refresh_lifetime),
                false => Exchange::Expired,
            };
            let key = presented.key();
            let change = match &exchange {
                Exchange::Next(family) => put(Table::Refresh, &key, family, Expect::Value(stored)),
                Exchange::Expired | Exchange::Reused => delete(key, Expect::Value(stored)),
            };
            match self.store.commit(vec![change]).await {
                Ok(()) => {}
                Err(CommitError::Conflict(_)) => continue,
                Err(error) => return Err(error.into()),
            }
            return match exchange {
                Exchange::Next(_) => Ok(self.session(next, account.generation)),
                Exchange::Expired => Err(AccountError::RefreshInvalid),
                Exchange::Reused => {
                    tracing::warn!(user = %presented.user, "a refresh token was used twice; its login was ended");
                    self.revoke_login(&presented, account.generation, RevocationCause::TokenReused);
                    Err(AccountError::RefreshReused)
                }
            };
        }
        Err(AccountError::Busy)
    }

    /// Whose access token this is. Unlike a gate, this looks at the account too.
    pub async fn authenticate(&self, token: &str) -> Result<Claims, AccountError> {
        let claims = self.verifier.verify(token, (self.clock)()).map_err(|error| match error {
            TokenError::Expired { .. } => AccountError::AccessExpired,
            _ => AccountError::AccessInvalid,
        })?;
        let (account, _) = self.account(&claims.user).await?.ok_or(AccountError::AccessInvalid)?;
        if account.banned {
            return Err(AccountError::Banned);
        }
        if account.generation != claims.generation {
            return Err(AccountError::AccessInvalid);
        }
        Ok(claims)
    }

    /// Sets another password, ends every login and opens a new one for the caller.
    pub async fn change_password(
        &self,
        user: &UserId,
        old: String,
        new: String,
        address: Option<IpAddr>,
    ) -> Result<Session, AccountError> {
        let new = Password::new(new)?;
        let checked = self.check_password(user, old, address).await?;
        let hash = self.passwords.hash(new).await?;
        let account = self
            .change(user, |account| {
                // Somebody else was faster with another new password: the old one is wrong now.
                if account.password_hash != checked.password_hash {
                    return Err(AccountError::WrongPassword);
                }
                account.password_hash.clone_from(&hash);
                account.generation += 1;
                Ok(())
            })
            .await?;
        self.revoke(user, account.generation, RevocationCause::PasswordChanged);
        self.open_login(user.clone(), &account).await
    }

    /// Sets another password without knowing the old one, for an operator. Ends every login.
    pub async fn reset_password(&self, user: &UserId, new: String) -> Result<(), AccountError> {
        let hash = self.passwords.hash(Password::new(new)?).await?;
        let account = self
            .change(user, |account| {
                account.password_hash.clone_from(&hash);
                account.generation += 1;
                Ok(())
            })
            .await?;
        self.revoke(user, account.generation, RevocationCause::PasswordChanged);
        Ok(())
    }

    /// Ends every login of a user, for an operator.
    pub async fn end_logins(&self, user: &UserId) -> Result<(), AccountError> {
        let account = self
            .change(user, |account| {
                account.generation += 1;
                Ok(())
            })
            .await?;
        self.revoke(user, account.generation, RevocationCause::EndedByOperator);
        Ok(())
    }

    /// What an operator sees of an account.
    pub async fn standing(&self, user: &UserId) -> Result<Standing, AccountError> {
        let (account, _) = self.account(user).await?.ok_or(AccountError::NoSuchUser)?;
        let Account { banned, created_ms, generation, .. } = account;
        Ok(Standing { banned, created_ms, generation })
    }

    /// Closes or opens an account, for an operator. Closing ends every login.
    pub async fn set_banned(&self, user: &UserId, banned: bool) -> Result<(), AccountError> {
        let account = self
            .change(user, |account| {
                account.generation += u64::from(banned && !account.banned);
                account.banned = banned;
                Ok(())
            })
            .await?;
        if banned {
            self.revoke(user, account.generation, RevocationCause::Banned);
        }
        Ok(())
    }

    /// Ends the login that the refresh token belongs to, or all of the user's.
    pub async fn logout(&self, token: &str, everywhere: bool) -> Result<(), AccountError> {
        let presented = RefreshToken::parse(token).ok_or(AccountError::RefreshInvalid)?;
        let (family, _) = self.family(&presented).await?;
        if !family.knows(presented.hash()) {
            return Err(AccountError::RefreshInvalid);
        }
        let (account, _) = self.account(&presented.user).await?.ok_or(AccountError::RefreshInvalid)?;
        if family.generation != account.generation {
            return Err(AccountError::RefreshInvalid);
        }
        self.store.commit(vec![delete(presented.key(), Expect::Any)]).await?;
        if everywhere {
            let account = self
                .change(&presented.user, |account| {
                    account.generation += 1;
                    Ok(())
                })
                .await?;
            self.revoke(&presented.user, account.generation, RevocationCause::LoggedOutEverywhere);
        } else {
            self.revoke_login(&presented, account.generation, RevocationCause::LoggedOut);
        }
        Ok(())
    }

    /// What a user tells of itself, and when it registered (milliseconds since 1970).
    pub async fn profile(&self, user: &UserId) -> Result<(Profile, u64), AccountError> {
        let (account, _) = self.account(user).await?.ok_or(AccountError::AccessInvalid)?;
        Ok((account.profile, account.created_ms))
    }

    /// Changes what a user tells of itself.
    pub async fn change_profile(&self, user: &UserId, change: ProfileChange) -> Result<(Profile, u64), AccountError> {
        change.check()?;
        let account = self
            .change(user, |account| {
                change.clone().apply(&mut account.profile);
                Ok(())
            })
            .await?;
        Ok((account.profile, account.created_ms))
    }

    /// The account, if the password is its. Costs the same, and says the same, when there is none.
    async fn check_password(
        &self,
        user: &UserId,
        password: String,
        address: Option<IpAddr>,
    ) -> Result<Account, AccountError> {
        self.charge(user, address)?;
        let account = self.account(user).await?.map(|(account, _)| account);
        let stored = account.as_ref().map(|account| account.password_hash.as_str());
        let verified = match Password::claimed(password) {
            Some(password) => self.passwords.verify(password, stored).await,
            None => Ok(false),
        };
        // Only an answer to a guess costs one.
        if verified != Ok(false) {
            self.forgive(user, address);
        }
        let same = verified?;
        match account.filter(|_| same) {
            None => Err(AccountError::WrongPassword),
            Some(account) if account.banned => Err(AccountError::Banned),
            Some(account) => Ok(account),
        }
    }

    fn charge(&self, user: &UserId, address: Option<IpAddr>) -> Result<(), AccountError> {
        let now_ms = self.now_ms();
        let too_many = |limit: &'static str| {
            move |retry_after| {
                metrics::counter!("sim_service_limited_total", "limit" => limit).increment(1);
                AccountError::TooManyAttempts { retry_after }
            }
        };
        if let Some(address) = address {
            let charged = self.failures_by_address.charge(address_key(address), now_ms);
            charged.map_err(too_many("login_failures_per_address"))?;
        }
        self.failures_by_user.charge(user.as_str(), now_ms).map_err(|retry_after| {
            if let Some(address) = address {
                self.failures_by_address.forgive(address_key(address));
            }
            too_many("login_failures_per_user")(retry_after)
        })
    }

    fn forgive(&self, user: &UserId, address: Option<IpAddr>) {
        self.failures_by_user.forgive(user.as_str());
        if let Some(address) = address {
            self.failures_by_address.forgive(address_key(address));
        }
    }

    /// Stores a login, and drops those that are over or too many.
    async fn open_login(&self, user: UserId, account: &Account) -> Result<Session, AccountError> {
        let mut changes = self.logins_to_drop(&user, account.generation).await?;
        let (login, token) = self.login_row(&user, account.generation);
        changes.push(login);
        self.store.commit(changes).await?;
        Ok(self.session(token, account.generation))
    }

    fn login_row(&self, user: &UserId, generation: u64) -> (Change, RefreshToken) {
        let token = RefreshToken::first(user.clone());
        let family = Family::new(token.hash(), generation, self.now_ms(), self.config.refresh_lifetime);
        (put(Table::Refresh, &token.key(), &family, Expect::Absent), token)
    }

    /// So that with one more there are at most [`FAMILIES_MAX`]. Twice as many are looked at: logins at the
    /// same moment may overshoot a little. A row that does not parse is not ours to judge, and stays.
    async fn logins_to_drop(&self, user: &UserId, generation: u64) -> Result<Vec<Change>, AccountError> {
        let now_ms = self.now_ms();
        let page = self.store.records(Table::Refresh, &user_key(user, ""), "", 2 * FAMILIES_MAX).await?;
        let parsed = page.records.into_iter().filter_map(|row| Some((Family::from_bytes(&row.value).ok()?, row.key)));
        let (mut live, mut over): (Vec<_>, Vec<_>) =
            parsed.partition(|(family, _)| family.generation == generation && family.expires_ms > now_ms);
        live.sort_by_key(|(family, _)| family.expires_ms);
        let surplus = (live.len() + 1).saturating_sub(FAMILIES_MAX);
        over.extend(live.drain(..surplus));
        Ok(over.into_iter().map(|(_, key)| delete(key, Expect::Any)).collect())
    }

    fn session(&self, refresh: RefreshToken, generation: u64) -> Session {
        let user = refresh.user.clone();
        let lifetime = self.config.access_lifetime;
        let login = refresh.login();
        let issued = self.signer.issue_for(login, user.clone(), user.as_str(), generation, (self.clock)(), lifetime);
        Session { user, access_token: issued.token, expires_in: lifetime, refresh_token: refresh.text() }
    }

    /// Changes an account from whatever it is at that moment.
    async fn change(
        &self,
        user: &UserId,
        change: impl Fn(&mut Account) -> Result<(), AccountError>,
    ) -> Result<Account, AccountError> {
        for _ in 0..CHANGE_TRIES {
            let (mut account, stored) = self.account(user).await?.ok_or(AccountError::NoSuchUser)?;
            change(&mut account)?;
            match self.store.commit(vec![put(Table::Account, user.as_str(), &account, Expect::Value(stored))]).await {
                Ok(()) => return Ok(account),
                Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AccountError::Busy)
    }

    async fn account(&self, user: &UserId) -> Result<Option<(Account, Bytes)>, AccountError> {
        let Some(stored) = self.store.record(Table::Account, user.as_str()).await? else { return Ok(None) };
        Ok(Some((Account::from_bytes(&stored)?, stored)))
    }

    async fn family(&self, token: &RefreshToken) -> Result<(Family, Bytes), AccountError> {
        let stored = self.store.record(Table::Refresh, &token.key()).await?.ok_or(AccountError::RefreshInvalid)?;
        Ok((Family::from_bytes(&stored)?, stored))
    }

    /// Nobody listening is no error: tokens are checked against the account anyway.
    fn revoke(&self, user: &UserId, generation: u64, cause: RevocationCause) {
        let _ = self.revocations.send(Revocation { user: user.clone(), generation, login: 0, cause });
    }

    /// The same for one login; the account's other ones go on.
    fn revoke_login(&self, token: &RefreshToken, generation: u64, cause: RevocationCause) {
        let revocation = Revocation { user: token.user.clone(), generation, login: token.login(), cause };
        let _ = self.revocations.send(revocation);
    }

    fn now_ms(&self) -> u64 {
        (self.clock)()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("signer", &self.signer).field("config", &self.config).finish_non_exhaustive()
    }
}

fn put(table: Table, key: &str, record: &impl Stored, expect: Expect) -> Change {
    Change::Put { table, key: key.to_owned(), value: record.to_bytes(), expect }
}

fn delete(key: String, expect: Expect) -> Change {
    Change::Delete { table: Table::Refresh, key, expect }
}
