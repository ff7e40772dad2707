//! Password hashes: expensive on purpose, so they run beside the async workers, few at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::AccountsConfig;
use super::error::AccountError;

/// Characters of a password at least, as NIST SP 800-63B asks.
pub const PASSWORD_LEN_MIN: usize = 8;
/// Bytes of a password at most: a sentence fits, and hashing it stays cheap beside argon2 itself.
pub const PASSWORD_LEN_MAX: usize = 256;

/// Passes over the memory; OWASP's companion of 19 MiB.
const PASSES: u32 = 2;
/// One lane: parallelism comes from several hashes in flight.
const LANES: u32 = 1;

/// A password as somebody typed it. Does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// One that is to be set.
    pub fn new(text: String) -> Result<Self, AccountError> {
        if text.len() > PASSWORD_LEN_MAX || text.chars().count() < PASSWORD_LEN_MIN {
            return Err(AccountError::BadPassword);
        }
        Ok(Self(text))
    }

    /// One that is to be checked against an account's. `None` when it is longer than any can be.
    pub fn claimed(text: String) -> Option<Self> {
        (text.len() <= PASSWORD_LEN_MAX).then_some(Self(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Makes and checks argon2id hashes in PHC form.
pub(super) struct Passwords {
    argon2: Argon2<'static>,
    /// One permit per hash that runs or waits; without one the caller is told *busy* at once.
    admitted: Arc<Semaphore>,
    /// One permit per hash that runs.
    running: Arc<Semaphore>,
    patience: Duration,
    /// What a login is checked against when there is no such user, at the same cost.
    nobody: Arc<str>,
}

impl Passwords {
    /// Computes one hash on the spot, so this belongs to a start, not to a request.
    pub(super) fn new(config: &AccountsConfig) -> Result<Self, AccountError> {
        let params = Params::new(config.hash_memory_kib, PASSES, LANES, None)
            .map_err(|_| AccountError::Internal("argon2 takes no such amount of memory"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let in_flight = config.hashes_in_flight.max(1);
        Ok(Self {
            nobody: hash(&argon2, &Password(String::new()))?.into(),
            argon2,
            admitted: Arc::new(Semaphore::new(in_flight + config.hashes_waiting)),
            running: Arc::new(Semaphore::new(in_flight)),
            patience: config.hash_patience,
        })
    }

    /// The hash to store.
    pub(super) async fn hash(&self, password: Password) -> Result<String, AccountError> {
        let argon2 = self.argon2.clone();
        self.run(move || hash(&argon2, &password)).await?
    }

    /// Whether the password is the account's. Takes as long without an account.
    pub(super) async fn verify(&self, password: Password, stored: Option<&str>) -> Result<bool, AccountError> {
        let argon2 = self.argon2.clone();
        let exists = stored.is_some();
        let stored: Arc<str> = stored.map_or_else(|| Arc::clone(&self.nobody), Arc::from);
        let same = self.run(move || verify(&argon2, &password, &stored)).await??;
        Ok(same && exists)
    }

    /// The permits go with the work, not with the caller: a request that is dropped half-way still
    /// counts until its hash is done.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, AccountError> {
        let permits = self.admit().await?;
        tokio::task::spawn_blocking(move || {
            let _permits = permits;
            work()
        })
        .await
        .map_err(|_| AccountError::Internal("a password hash did not finish"))
    }

    async fn admit(&self) -> Result<[OwnedSemaphorePermit; 2], AccountError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| AccountError::Busy)?;
        let running = tokio::time::timeout(self.patience, Arc::clone(&self.running).acquire_owned()).await;
        match running {
            Ok(Ok(running)) => Ok([admitted, running]),
            _ => Err(AccountError::Busy),
        }
    }
}

fn hash(argon2: &Argon2<'_>, password: &Password) -> Result<String, AccountError> {
    argon2
        .hash_password(password.0.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| AccountError::Internal("argon2 gave no hash"))
}

/// The cost is the stored hash's own. The comparison takes the same time whatever differs.
fn verify(argon2: &Argon2<'_>, password: &Password, stored: &str) -> Result<bool, AccountError> {
    let stored = PasswordHash::new(stored).map_err(|_| AccountError::Internal("a stored hash does not parse"))?;
    match argon2.verify_password(password.0.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(AccountError::Internal("argon2 could not check a stored hash")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;

    fn passwords(hashes_in_flight: usize, hashes_waiting: usize) -> Passwords {
        let config = AccountsConfig { hash_memory_kib: 8, hashes_in_flight, hashes_waiting, ..Default::default() };
        Passwords::new(&config).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::claimed(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn a_hash_knows_its_password() {
        let passwords = passwords(1, 1);
        let stored = passwords.hash(password("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=8,t=2,p=1$"), "{stored}");
        assert_eq!(passwords.verify(password("correct horse"), Some(&stored)).await, Ok(true));
        assert_eq!(passwords.verify(password("wrong horse"), Some(&stored)).await, Ok(false));
        assert_ne!(passwords.hash(password("correct horse")).await.unwrap(), stored, "salted");
        let damaged = passwords.verify(password("correct horse"), Some("no hash")).await;
        assert_eq!(damaged, Err(AccountError::Internal("a stored hash does not parse")));
    }

    /// The empty password is the one of the hash that stands for nobody.
    #[tokio::test]
    async fn nobody_has_no_password() {
        assert_eq!(passwords(1, 1).verify(password(""), None).await, Ok(false));
    }

    #[tokio::test]
    async fn hashes_in_flight_and_waiting_are_bounded() {
        let passwords = Arc::new(passwords(2, 1));
        let (release, gate) = mpsc::sync_channel::<()>(8);
        let gate = Arc::new(parking_lot::Mutex::new(gate));
        let (start, started) = mpsc::sync_channel(8);
        let blocked = |passwords: &Arc<Passwords>| {
            let (passwords, gate, start) = (Arc::clone(passwords), Arc::clone(&gate), start.clone());
            let work = move || {
                start.send(()).unwrap();
                gate.lock().recv().unwrap();
            };
            async move { passwords.run(work).await }
        };
        let mut three = [blocked(&passwords), blocked(&passwords), blocked(&passwords)].map(Box::pin);
        // Polling once starts two and leaves the third in the queue.
        for task in &mut three {
            assert!(futures_poll_once(task.as_mut()).await.is_none());
        }
        started.recv().unwrap();
        started.recv().unwrap();
        assert_eq!(passwords.running.available_permits(), 0);
        assert_eq!(passwords.admitted.available_permits(), 0);
        assert_eq!(passwords.hash(password("correct horse")).await, Err(AccountError::Busy));

        // A caller that goes away leaves its hash running, and its place taken.
        let [first, second, third] = three;
        drop(first);
        assert_eq!(passwords.running.available_permits(), 0);
        for _ in 0..3 {
            release.send(()).unwrap();
        }
        second.await.unwrap();
        third.await.unwrap();
        assert!(passwords.hash(password("correct horse")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let passwords = passwords(1, 1);
        let _running = Arc::clone(&passwords.running).acquire_owned().await.unwrap();
        let start = tokio::time::Instant::now();
        assert_eq!(passwords.hash(password("correct horse")).await, Err(AccountError::Busy));
        assert_eq!(start.elapsed(), passwords.patience);
        assert_eq!(passwords.admitted.available_permits(), 2, "the place in the queue is free again");
    }

    async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[test]
    fn lengths_of_a_new_password() {
        let new = |text: &str| Password::new(text.to_owned()).is_ok();
        assert!(!new("1234567") && new("12345678"));
        assert!(new("吃了吗吃了吗吃吃"), "eight characters");
        assert!(new(&"x".repeat(256)) && !new(&"x".repeat(257)));
        assert_eq!(format!("{:?}", password("secret")), "Password(…)");
    }
}
