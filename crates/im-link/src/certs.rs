//! Certificates for a development cluster: an authority of its own, made at first start, with one
//! certificate per role. Nothing of it is known in advance, so nothing of it is a default secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::tls::{CertFiles, ROUTE_SERVER_NAME};

/// Where a folder's certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterCerts {
    dir: PathBuf,
}

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The folder cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The generator refused, for instance a host name that is none.
    #[error("make certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl ClusterCerts {
    /// The certificates of `dir`, whether or not they are there yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The certificates of `dir`, made if the folder has none. Client-facing certificates are good
    /// for `localhost`, the loopback addresses, and `hosts`.
    pub fn load_or_create(dir: impl Into<PathBuf>, hosts: &[String]) -> Result<Self, CertError> {
        let certs = Self::at(dir);
        if !certs.ca().exists() {
            certs.create(hosts)?;
        }
        Ok(certs)
    }

    /// The authority that tiers trust, and clients of the development gate.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("dev-ca.pem")
    }

    /// A gate's certificate towards clients.
    pub fn gate_server(&self) -> CertFiles {
        self.files("gate-server")
    }

    /// A gate's certificate towards routes.
    pub fn gate_link(&self) -> CertFiles {
        self.files("gate-link")
    }

    /// A route's certificate towards other tiers.
    pub fn route(&self) -> CertFiles {
        self.files("route")
    }

    /// An im-service's certificate towards routes.
    pub fn im_service_link(&self) -> CertFiles {
        self.files("im-service-link")
    }

    fn files(&self, role: &str) -> CertFiles {
        CertFiles { cert: self.dir.join(format!("{role}.pem")), key: self.dir.join(format!("{role}.key.pem")) }
    }

    fn create(&self, hosts: &[String]) -> Result<(), CertError> {
        fs::create_dir_all(&self.dir).map_err(|error| CertError::Io { path: self.dir.clone(), error })?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "sim development authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let client_hosts: Vec<_> =
            ["localhost", "127.0.0.1", "::1"].map(String::from).into_iter().chain(hosts.iter().cloned()).collect();
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        issue(&authority, &self.gate_server(), client_hosts, std::slice::from_ref(&server))?;
        // Routes dial the routes of other regions.
        issue(&authority, &self.route(), vec![ROUTE_SERVER_NAME.into()], &[server, client.clone()])?;
        issue(&authority, &self.gate_link(), vec!["sim-gate".into()], std::slice::from_ref(&client))?;
        issue(&authority, &self.im_service_link(), vec!["sim-im-service".into()], &[client])?;
        // Last, because its presence says that the others are there. The authority's key is not
        // kept: who needs a further certificate makes a new folder.
        write(&self.ca(), authority.pem().as_bytes(), false)
    }
}

fn issue(
    authority: &CertifiedIssuer<'_, KeyPair>,
    files: &CertFiles,
    names: Vec<String>,
    purposes: &[ExtendedKeyUsagePurpose],
) -> Result<(), CertError> {
    let key = KeyPair::generate()?;
    let common_name = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = purposes.to_vec();
    let cert = params.signed_by(&key, authority)?;
    write(&files.key, key.serialize_pem().as_bytes(), true)?;
    write(&files.cert, cert.pem().as_bytes(), false)
}

fn write(path: &Path, bytes: &[u8], secret: bool) -> Result<(), CertError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mode = if secret { 0o600 } else { 0o644 };
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| CertError::Io { path: path.to_owned(), error })
}
