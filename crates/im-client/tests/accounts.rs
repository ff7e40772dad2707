//! The account client and the refreshing token source against a hand-written HTTP server in memory.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use im_client::accounts::{Accounts, AccountsError};
use im_client::{Dial, RefreshingToken, TokenError, TokenSource};
use im_link::network::{BoxFuture, BoxIo};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers each connection's one request with the next prepared answer, and writes the request down.
#[derive(Clone, Default)]
struct Http {
    answers: Arc<Mutex<VecDeque<String>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Http {
    fn answering(answers: &[(&str, &str)]) -> Self {
        let answers = answers.iter().map(|(status, body)| {
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            if *status == LOST.0 { String::new() } else { answer }
        });
        Self { answers: Arc::new(Mutex::new(answers.collect())), ..Self::default() }
    }

    fn accounts(&self) -> Accounts {
        Accounts::over(Arc::new(self.clone()), "accounts.example:8000")
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

impl Dial for Http {
    fn dial<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<BoxIo>> {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let this = self.clone();
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !is_whole(&request) {
                if far.read_buf(&mut request).await.unwrap() == 0 {
                    return;
                }
            }
            this.requests.lock().push(String::from_utf8(request).unwrap());
            let answer = this.answers.lock().pop_front().unwrap_or_default();
            far.write_all(answer.as_bytes()).await.unwrap();
        });
        Box::pin(async move { Ok(Box::new(near) as BoxIo) })
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// The connection ends without an answer.
const LOST: (&str, &str) = ("lost", "");
const SESSION: &str = r#"{"user":"a","accessToken":"access-2","expiresIn":600,"refreshToken":"refresh-2"}"#;
const EXPIRED: &str =
    r#"{"code":401,"reason":"REFRESH_INVALID","message":"the refresh token is not valid","metadata":{}}"#;

#[tokio::test]
async fn a_login_sends_credentials_and_reads_the_session() {
    let http = Http::answering(&[("200 OK", SESSION)]);
    let login = http.accounts().login("a", "secret").await.unwrap();
    assert_eq!((&*login.access_token, login.expires_in), ("access-2", 600));
    assert!(!format!("{login:?}").contains("access-2"), "tokens do not print");
    let request = http.requests().remove(0);
    assert!(request.starts_with("POST /user/login HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("host: accounts.example:8000\r\n"), "{request}");
    assert!(request.ends_with(r#"{"user":"a","password":"secret"}"#), "{request}");
}

#[tokio::test]
async fn a_refusal_keeps_status_reason_and_sentence() {
    let http = Http::answering(&[("401 Unauthorized", EXPIRED), ("502 Bad Gateway", "<html>")]);
    let refused = http.accounts().refresh("refresh-1").await;
    let Err(AccountsError::Refused { status: 401, reason, message }) = refused else { panic!("{refused:?}") };
    assert_eq!((&*reason, &*message), ("REFRESH_INVALID", "the refresh token is not valid"));
    assert!(http.requests()[0].contains("Bearer refresh-1"));
    let refused = http.accounts().info("access").await;
    let Err(AccountsError::Refused { status: 502, message, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(message, "502 Bad Gateway", "an answer that is no problem document still says something");
}

#[tokio::test]
async fn a_logout_has_no_body() {
    let http = Http::answering(&[("204 No Content", "")]);
    http.accounts().logout("refresh-1").await.unwrap();
    assert!(http.requests()[0].ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn nonsense_and_silence_are_told_apart_from_refusals() {
    let http = Http::answering(&[("200 OK", "{}")]);
    assert!(matches!(http.accounts().login("a", "b").await, Err(AccountsError::BadAnswer { .. })));
    assert!(matches!(http.accounts().login("a", "b").await, Err(AccountsError::Unreachable { .. })));
}

const TAKEN: (&str, &str) = ("409 Conflict", r#"{"reason":"USER_EXISTS","message":"a is taken"}"#);
const AWAY: (&str, &str) = ("503 Service Unavailable", "");

#[tokio::test(start_paused = true)]
async fn an_account_is_made_however_often_it_takes() {
    // The last answer but two is lost, and it was the one that made the account.
    let http = Http::answering(&[AWAY, LOST, TAKEN, ("200 OK", SESSION)]);
    let login = http.accounts().register_within("a", "secret", Duration::from_secs(20)).await.unwrap();
    assert_eq!(login.access_token, "access-2");
    let asked = http.requests();
    let asked: Vec<_> = asked.iter().map(|request| request.split(' ').nth(1).unwrap()).collect();
    assert_eq!(asked, ["/user/register", "/user/register", "/user/register", "/user/login"]);
}

#[tokio::test(start_paused = true)]
async fn only_what_may_pass_is_tried_again() {
    // Somebody else was faster.
    let http = Http::answering(&[AWAY, TAKEN, ("401 Unauthorized", "")]);
    let taken = http.accounts().register_within("a", "secret", Duration::from_secs(20)).await;
    assert!(matches!(taken, Err(AccountsError::Refused { status: 409, .. })), "{taken:?}");

    for refusal in [TAKEN, ("400 Bad Request", ""), ("200 OK", "{}")] {
        let http = Http::answering(&[refusal]);
        http.accounts().register_within("a", "secret", Duration::from_secs(20)).await.unwrap_err();
        assert_eq!(http.requests().len(), 1, "{refusal:?}");
    }
    let http = Http::answering(&[AWAY; 5]);
    let gone = http.accounts().register_within("a", "secret", Duration::from_secs(1)).await;
    assert!(matches!(gone, Err(AccountsError::Refused { status: 503, .. })), "{gone:?}");
    assert_eq!(http.requests().len(), 3, "at 0, at half a second and at one");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_exchanged_when_rejected_or_stale_and_not_before() {
    let again = SESSION.replace("-2", "-3");
    let http = Http::answering(&[("200 OK", SESSION), ("200 OK", &again), ("503 Busy", "{}"), ("401 No", EXPIRED)]);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let source = RefreshingToken::new(
        http.accounts(),
        "access-1".into(),
        "refresh-1".into(),
        Box::new(move |login| keep.lock().push(login.refresh_token.clone())),
    );
    assert_eq!(source.token(None).await.unwrap(), "access-1");
    assert_eq!(source.token(Some("access-1")).await.unwrap(), "access-2");
    // Somebody else's late news: that token was replaced already.
    assert_eq!(source.token(Some("access-1")).await.unwrap(), "access-2");
    assert_eq!(http.requests().len(), 1);
    tokio::time::advance(Duration::from_secs(599)).await;
    assert_eq!(source.token(None).await.unwrap(), "access-3", "replaced before it runs out");
    assert!(http.requests()[1].contains("Bearer refresh-2"), "each refresh token is used once");
    assert_eq!(*kept.lock(), ["refresh-2", "refresh-3"]);
    assert!(matches!(source.token(Some("access-3")).await, Err(TokenError::Unavailable(_))));
    assert!(matches!(source.token(Some("access-3")).await, Err(TokenError::LoginNeeded(_))));
}
