//! TLS as the yardstick speaks it: 1.3, AES-128-GCM, X25519, nothing else. The clients of every
//! scenario offer only this, so that two runs to be compared do the same cryptography.

use std::sync::Arc;

use anyhow::Context;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The name in the certificates of loopback servers.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("localhost is a DNS name")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

/// A server with a certificate of its own making, and that certificate for its clients.
pub(crate) fn server() -> anyhow::Result<(ServerConfig, CertificateDer<'static>)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).context("make a certificate")?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    // Nobody comes back, so tickets would only be bytes that land in the middle of the measurement.
    config.send_tls13_tickets = 0;
    Ok((config, certificate))
}

/// A client that trusts these certificates and no others.
pub(crate) fn client(trusted: impl IntoIterator<Item = CertificateDer<'static>>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate).context("trust the server's certificate")?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Every login pays for a whole handshake, as a first login does.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
