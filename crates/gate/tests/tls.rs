//! The door as clients find it: TLS in front of the protocol.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Client, World, preamble};
use im_link::FrameIo;
use im_link::certs::ClusterCerts;
use im_link::server_tls::{Acceptor, RecordLayer};
use im_link::tls;
use im_proto::RefusalCode as Code;
use im_proto::limits::SERVER_FRAME_LEN_MAX;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

/// A connection that begins with TLS after `wait`.
async fn dial(world: &World, config: &Arc<ClientConfig>, wait: Duration) -> Client {
    let stream = world.network.dial("gate").await.unwrap();
    sleep(wait).await;
    let host = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::clone(config)).connect(host, stream).await.unwrap();
    Client { io: FrameIo::new(Box::new(stream), SERVER_FRAME_LEN_MAX), sequence: 0 }
}

async fn login(world: &World, config: &Arc<ClientConfig>, name: &str) -> Client {
    let mut client = dial(world, config, Duration::ZERO).await;
    client.greet().await;
    client.login(&world.token(name), "first").await;
    client
}

#[tokio::test(start_paused = true)]
async fn logins_go_over_tls_and_what_is_none_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let certs = ClusterCerts::load_or_create(dir.path(), &[]).unwrap();
    let server = tls::server_config(&certs.gate_server()).unwrap();
    let world = World::with(|config| config.client_tls = Some(Acceptor::new(&server, RecordLayer::Lean))).await;
    let config = Arc::new(tls::client_config(&certs.ca(), None).unwrap());
    let mut bystander = login(&world, &config, "bystander").await;

    let mut plain = world.dial().await;
    plain.say(&preamble()).await;
    let hello = plain.io.read_frame().await;
    assert!(hello.is_err(), "no TLS, and yet {hello:?}");
    bystander.is_well().await;

    // Who says nothing has the time of a login for the TLS handshake alone.
    let since = Instant::now();
    world.dial().await.ended().await;
    assert_eq!(since.elapsed(), Duration::from_secs(10));
    let mut half = world.dial().await;
    half.say(&[0x16, 0x03, 0x01]).await;
    half.ended().await;
    assert_eq!(since.elapsed(), Duration::from_secs(20));

    // Nor does the handshake gain another ten seconds for the login behind it.
    let since = Instant::now();
    let mut late = dial(&world, &config, Duration::from_secs(6)).await;
    late.refused(0, 0, Code::TooSlow).await;
    late.ended().await;
    assert_eq!(since.elapsed().as_secs(), 10);

    bystander.is_well().await;
    login(&world, &config, "a").await.is_well().await;
}
