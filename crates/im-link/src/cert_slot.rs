//! A certificate that can be replaced while it is shown: handshakes that begin later show the new one,
//! connections that are there keep theirs.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::{CertFiles, TlsError, load_identity, provider};

/// What a TLS configuration shows; it asks anew in each handshake.
#[derive(Debug)]
pub struct CertSlot(RwLock<Arc<CertifiedKey>>);

/// A chain with the key that fits it.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<CertifiedKey>);

impl Certificate {
    /// Reads both files; an error names the one that is wrong.
    pub fn load(files: &CertFiles) -> Result<Self, TlsError> {
        let (chain, key) = load_identity(files)?;
        // Checks that key and chain belong together.
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| TlsError::File { path: files.key.clone(), why: error.to_string() })?;
        Ok(Self(Arc::new(key)))
    }
}

impl CertSlot {
    /// A slot that shows the certificate of these files.
    pub fn load(files: &CertFiles) -> Result<Arc<Self>, TlsError> {
        let Certificate(key) = Certificate::load(files)?;
        Ok(Arc::new(Self(RwLock::new(key))))
    }

    /// Shows another one from now on.
    pub fn replace(&self, certificate: Certificate) {
        *self.0.write() = certificate.0;
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read())
    }
}

impl ResolvesServerCert for CertSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

impl ResolvesClientCert for CertSlot {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::certs::ClusterCerts;

    #[test]
    fn a_key_of_another_certificate_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let certs = ClusterCerts::load_or_create(dir.path(), &[]).unwrap();
        Certificate::load(&certs.gate_server()).unwrap();
        let mixed = CertFiles { cert: certs.gate_server().cert, key: certs.route().key };
        let error = Certificate::load(&mixed).unwrap_err();
        assert!(error.to_string().contains("route.key.pem"), "{error}");
    }
}
