//! TLS as the yardstick speaks it: 1.3, AES-128-GCM, X25519, nothing else. The clients of every
//! scenario offer only this, so that two runs to be compared do the same cryptography.

use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

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
    let web = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let verifier = OncePerCertificate { web, verified: Mutex::default() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Every login pays for a whole handshake, as a first login does.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Verifies who signed a certificate when it sees that for the first time. A real client is one of a
/// million devices and does it once; a worker that plays 15,000 of them would spend a fifth of its time
/// on the same answer, on processors that it shares with the servers. That the server has the
/// certificate's key is verified in every handshake.
#[derive(Debug)]
struct OncePerCertificate {
    web: Arc<WebPkiServerVerifier>,
    /// The last certificate, and the name that it was verified for.
    verified: Mutex<Option<(CertificateDer<'static>, ServerName<'static>)>>,
}

impl ServerCertVerifier for OncePerCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.verified.lock().as_ref().is_some_and(|(known, name)| known == end_entity && name == server_name) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.web.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        *self.verified.lock() = Some((end_entity.clone().into_owned(), server_name.to_owned()));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.web.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.web.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.web.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn verifier(trusted: &CertificateDer<'static>) -> OncePerCertificate {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let web = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        OncePerCertificate { web, verified: Mutex::default() }
    }

    #[test]
    fn a_stranger_is_refused_also_after_a_friend_was_let_in() {
        let (friend, stranger) = (server().unwrap().1, server().unwrap().1);
        let verifier = verifier(&friend);
        let verify = |certificate, name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now())
        };
        assert!(verify(&stranger, "localhost").is_err());
        for _ in 0..2 {
            assert!(verify(&friend, "localhost").is_ok());
            assert!(verify(&stranger, "localhost").is_err());
            assert!(verify(&friend, "elsewhere").is_err());
        }
    }
}
