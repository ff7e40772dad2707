//! What operators' commands share: who asks, and how a tier is asked over HTTP.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::output::harmless;
use super::{Failure, Kind};

/// Longest answer: a route has some hundred peers at most.
const ANSWER_LEN_MAX: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Operator {
    /// The operators' token, which a tier on another machine asks for.
    #[arg(long, env = "SIM_OPERATOR_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
}

impl Operator {
    /// Asks a tier, `host:port`, and gives the object that it answers.
    pub(super) async fn ask(
        &self,
        tier: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value, Failure> {
        let unreachable = |why: String| Failure::new(Kind::Unreachable, format!("{tier}: {why}"));
        let answered = timeout(patience, self.exchange(tier, method, path, body)).await;
        let (status, body) = answered.map_err(|_| unreachable("no answer in time".into()))?.map_err(unreachable)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() && body.is_object() {
            return Ok(body);
        }
        let why = body["message"].as_str().map_or_else(|| status.to_string(), harmless);
        Err(Failure::new(Kind::Failed, format!("{tier}: {why}")))
    }

    async fn exchange(
        &self,
        tier: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), String> {
        let told = |error: &dyn Display| error.to_string();
        let stream = TcpStream::connect(tier).await.map_err(|error| told(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, tier);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::new(body)).map_err(|error| told(&error))?;
        let mut answered = pin!(async {
            let response = sender.send_request(request).await.map_err(|error| told(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
            Ok((status, body.map_err(|error| told(&error))?.to_bytes()))
        });
        // The connection lives as long as this exchange; what it has brought by its end can still be read.
        tokio::select! {
            biased;
            answer = &mut answered => answer,
            _ = connection => answered.await,
        }
    }
}
