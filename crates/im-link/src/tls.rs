//! TLS from files. One crypto provider, chosen here and passed everywhere, so that a second one in
//! the dependency tree could never be picked by accident.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::cert_slot::CertSlot;
use crate::network::BoxIo;

/// The name in every route's certificate: tiers dial addresses, and check for this.
pub const ROUTE_SERVER_NAME: &str = "sim-route";

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds no such PEM section.
    #[error("{}: {why}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate, key or roots do not fit together.
    #[error("TLS configuration: {0}")]
    Config(String),
}

/// A certificate chain with its key, as two PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The leaf's private key, PKCS#8.
    pub key: PathBuf,
}

/// The provider of everything TLS here. X25519 stands before the hybrid X25519MLKEM768, which costs
/// a third more CPU per handshake; AES-128-GCM before the 256-bit suites, which buy nothing for a
/// session key. Peers that insist on the others get them.
pub fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::{cipher_suite as suite, kx_group as kx};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx::X25519, kx::SECP256R1, kx::SECP384R1, kx::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    })
}

/// For a listener that clients dial: no client certificates.
pub fn server_config(files: &CertFiles) -> Result<ServerConfig, TlsError> {
    let (chain, key) = load_identity(files)?;
    let config = server_builder()?.with_no_client_auth().with_single_cert(chain, key).map_err(config_error)?;
    Ok(without_resumption(config))
}

/// The same with a certificate that can be replaced.
pub fn server_config_of(slot: Arc<CertSlot>) -> Result<ServerConfig, TlsError> {
    Ok(without_resumption(server_builder()?.with_no_client_auth().with_cert_resolver(slot)))
}

/// Behind a balancer a client comes back to any gate, so tickets would need a key that all gates share
/// and change; a stolen one opens what was said under them. What they would save is one signature, a
/// sixth of a login. What they cost at every login, resumed or not, is two records more and a place in a
/// cache of 256 sessions that a busy gate has turned over within a second.
fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config
}

/// For a listener that tiers dial: only certificates of the cluster's authority are let in.
pub fn cluster_server_config(files: &CertFiles, ca: &Path) -> Result<ServerConfig, TlsError> {
    let (chain, key) = load_identity(files)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(load_roots(ca)?), provider())
        .build()
        .map_err(|error| TlsError::Config(error.to_string()))?;
    server_builder()?.with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(config_error)
}

/// For dialling: the authority to trust, and a certificate to show where the peer asks for one.
pub fn client_config(ca: &Path, identity: Option<&CertFiles>) -> Result<ClientConfig, TlsError> {
    let builder = client_builder(ca)?;
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(files) => {
            let (chain, key) = load_identity(files)?;
            builder.with_client_auth_cert(chain, key).map_err(config_error)
        }
    }
}

fn client_builder(ca: &Path) -> Result<rustls::ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(config_error)?;
    Ok(builder.with_root_certificates(load_roots(ca)?))
}

fn server_builder() -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, TlsError> {
    ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(config_error)
}

fn config_error(error: rustls::Error) -> TlsError {
    TlsError::Config(error.to_string())
}

pub(crate) fn load_identity(
    files: &CertFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = load_certs(&files.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| file_error(&files.key, &error))?;
    Ok((chain, key))
}

fn load_roots(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in load_certs(ca)? {
        roots.add(cert).map_err(|error| file_error(ca, &error))?;
    }
    Ok(roots)
}

fn load_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certs: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| file_error(path, &error))?;
    if certs.is_empty() {
        return Err(file_error(path, &"holds no certificate"));
    }
    Ok(certs)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| file_error(path, &error))
}

fn file_error(path: &Path, why: &dyn ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), why: why.to_string() }
}

/// How links between tiers are protected.
#[derive(Clone)]
pub enum LinkTls {
    /// Not at all: for simulated networks, whose wires nobody else holds.
    Plain,
    /// Mutual TLS, on the dialling side.
    Dial(TlsConnector),
    /// Mutual TLS, on the accepting side.
    Accept(TlsAcceptor),
}

impl LinkTls {
    /// The dialling side, from the cluster's authority and this tier's certificate.
    pub fn dial(files: &CertFiles, ca: &Path) -> Result<Self, TlsError> {
        Ok(Self::Dial(TlsConnector::from(Arc::new(client_config(ca, Some(files))?))))
    }

    /// The dialling side with a certificate that can be replaced.
    pub fn dial_as(slot: Arc<CertSlot>, ca: &Path) -> Result<Self, TlsError> {
        let config = client_builder(ca)?.with_client_cert_resolver(slot);
        Ok(Self::Dial(TlsConnector::from(Arc::new(config))))
    }

    /// The accepting side.
    pub fn accept_from(files: &CertFiles, ca: &Path) -> Result<Self, TlsError> {
        Ok(Self::Accept(TlsAcceptor::from(Arc::new(cluster_server_config(files, ca)?))))
    }

    pub(crate) async fn connect(&self, stream: BoxIo) -> io::Result<BoxIo> {
        match self {
            Self::Plain => Ok(stream),
            Self::Dial(connector) => {
                let name = ServerName::try_from(ROUTE_SERVER_NAME).map_err(io::Error::other)?;
                Ok(Box::new(connector.connect(name, stream).await?))
            }
            Self::Accept(_) => Err(io::Error::other("a listener's TLS configuration cannot dial")),
        }
    }

    pub(crate) async fn accept(&self, stream: BoxIo) -> io::Result<BoxIo> {
        match self {
            Self::Plain => Ok(stream),
            Self::Accept(acceptor) => Ok(Box::new(acceptor.accept(stream).await?)),
            Self::Dial(_) => Err(io::Error::other("a dialler's TLS configuration cannot accept")),
        }
    }
}
