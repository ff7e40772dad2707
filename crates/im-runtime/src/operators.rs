//! Who may ask what is not for everybody: names of users, addresses, orders.
//!
//! Whoever asks from this machine has an account on it and is let in. Everybody else shows the
//! operator's token, and as long as none is set nobody else is let in; there is no default token. A
//! request that something on this machine has passed on counts as somebody else's.

use std::hint::black_box;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::{Problem, settings::Secret};

/// The rule of one listener.
#[derive(Clone, Debug)]
pub struct Operators {
    token: Secret,
}

/// Headers that a proxy adds.
const FORWARDED: [&str; 2] = ["forwarded", "x-forwarded-for"];

impl Operators {
    /// Those who show this token; nobody from elsewhere where it is not set.
    #[must_use]
    pub fn new(token: Secret) -> Self {
        Self { token }
    }

    /// The routes, for operators alone. Serve them with [`http::serve`](crate::http::serve), which tells
    /// who asks.
    pub fn guard<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        router.layer(middleware::from_fn_with_state(self.clone(), check))
    }

    fn admit(&self, request: &Request) -> Result<(), Problem> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let is_here = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
        if is_here && FORWARDED.iter().all(|name| !request.headers().contains_key(*name)) {
            return Ok(());
        }
        if !self.token.is_set() {
            let why = "this is for operators, and as long as no operator_token is set they ask from the machine itself";
            return Err(Problem::new(StatusCode::FORBIDDEN, "OPERATOR_TOKEN_NOT_SET", why));
        }
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if is_same(shown.as_bytes(), self.token.expose().as_bytes()) {
            return Ok(());
        }
        let why = "this is for operators: Authorization: Bearer and the operator's token";
        Err(Problem::new(StatusCode::UNAUTHORIZED, "OPERATOR_TOKEN_NEEDED", why))
    }
}

async fn check(State(operators): State<Operators>, request: Request, next: Next) -> Response {
    match operators.admit(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Takes the same time wherever the two differ.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |sum, (left, right)| black_box(sum | (left ^ right)));
    left.len() == right.len() && differences == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;
    use crate::settings::SettingValue as _;

    async fn ask(token: &str, from: &str, headers: &[(&str, &str)]) -> StatusCode {
        let operators = Operators::new(Secret::from_text(token).unwrap());
        let router = operators.guard(Router::new().route("/names", get(|| async { "anna" })));
        let mut request = Request::builder().uri("/names");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
        router.oneshot(request).await.unwrap().status()
    }

    const TOKEN: &str = "correct horse";

    #[tokio::test]
    async fn the_machine_itself_is_let_in_and_others_show_the_token() {
        for here in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            assert_eq!(ask("", here, &[]).await, StatusCode::OK);
            assert_eq!(ask(TOKEN, here, &[]).await, StatusCode::OK);
            let passed_on = [("X-Forwarded-For", "192.0.2.1")];
            assert_eq!(ask(TOKEN, here, &passed_on).await, StatusCode::UNAUTHORIZED);
        }
        let there = "192.0.2.1:9";
        for wrong in ["", "Bearer ", "Bearer correct hors", "Bearer correct horses", "Basic correct horse", TOKEN] {
            assert_eq!(ask(TOKEN, there, &[("Authorization", wrong)]).await, StatusCode::UNAUTHORIZED, "{wrong:?}");
            assert_eq!(ask("", there, &[("Authorization", wrong)]).await, StatusCode::FORBIDDEN, "{wrong:?}");
        }
        assert_eq!(ask(TOKEN, there, &[("Authorization", "Bearer correct horse")]).await, StatusCode::OK);
    }
}
