//! Keys and their files: of access tokens, and of gates that encrypt bodies.
//!
//! The service's key lies in two files of one folder: [`PRIVATE_FILE`], which must never leave it, and
//! [`PUBLIC_FILE`], which gates get a copy of. The private key is the truth; the public file is derived
//! and rewritten when it does not match. Files appear whole or not at all, and an existing private key is
//! never replaced, so two services that start in the same folder at the same moment end with one key.
//! A gate's identity lies beside it in the same manner: [`IDENTITY_PRIVATE_FILE`] for gates,
//! [`IDENTITY_PUBLIC_FILE`] for clients.

mod files;
mod public;

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use pem::Pem;
use zeroize::Zeroizing;

pub use public::{KeyId, PublicKey};

use crate::error::KeyError;
use crate::signer::Signer;

/// The private key, PKCS#8 in PEM, readable by its owner only.
pub const PRIVATE_FILE: &str = "token-ed25519.pem";
/// The public key, SubjectPublicKeyInfo in PEM.
pub const PUBLIC_FILE: &str = "token-ed25519.pub.pem";

/// The identity that gates prove to clients, PKCS#8 in PEM, readable by its owner only.
pub const IDENTITY_PRIVATE_FILE: &str = "identity-ed25519.pem";
/// The identity's public key, SubjectPublicKeyInfo in PEM.
pub const IDENTITY_PUBLIC_FILE: &str = "identity-ed25519.pub.pem";

const PRIVATE_TAG: &str = "PRIVATE KEY";
const PRIVATE_KIND: &str = "an Ed25519 private key in PKCS#8 PEM";

/// The signer whose keys lie in `dir`; at the first start both are made.
pub fn load_or_create(dir: &Path) -> Result<Signer, KeyError> {
    let private = create_missing(dir, PRIVATE_FILE)?;
    let signer = load(&private)?;
    publish(&dir.join(PUBLIC_FILE), signer.public_key())?;
    Ok(signer)
}

/// The gates' identity in `dir`; at the first start it is made. Gives what clients pin.
pub fn load_or_create_identity(dir: &Path) -> Result<PublicKey, KeyError> {
    let private = create_missing(dir, IDENTITY_PRIVATE_FILE)?;
    let signer = load(&private)?;
    publish(&dir.join(IDENTITY_PUBLIC_FILE), signer.public_key())?;
    Ok(signer.public_key().clone())
}

fn create_missing(dir: &Path, name: &str) -> Result<PathBuf, KeyError> {
    files::create_dir(dir)?;
    let private = dir.join(name);
    if !files::exists(&private)? {
        files::create(&private, generate()?.as_bytes(), files::PRIVATE_MODE)?;
    }
    Ok(private)
}

fn publish(path: &Path, key: &PublicKey) -> Result<(), KeyError> {
    let text = key.to_pem();
    if files::read_text(path).ok().as_deref() != Some(&text) {
        files::replace(path, text.as_bytes(), files::PUBLIC_MODE)?;
    }
    Ok(())
}

/// The signer of one private key file.
pub fn load(private: &Path) -> Result<Signer, KeyError> {
    Signer::from_pkcs8(&load_pkcs8(private)?).map_err(|_| not_a_key(private))
}

/// The PKCS#8 of an identity's private key file.
pub fn load_identity(private: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    load_pkcs8(private)
}

fn load_pkcs8(private: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    files::refuse_open_permissions(private)?;
    let text = Zeroizing::new(files::read_text(private)?);
    let pem = pem::parse(text.as_bytes()).ok().filter(|pem| pem.tag() == PRIVATE_TAG);
    Ok(Zeroizing::new(pem.ok_or_else(|| not_a_key(private))?.into_contents()))
}

fn not_a_key(path: &Path) -> KeyError {
    KeyError::NotAKey { path: path.to_path_buf(), expected: PRIVATE_KIND }
}

/// Where [`load_or_create`] puts the public key.
pub fn public_file(dir: &Path) -> PathBuf {
    dir.join(PUBLIC_FILE)
}

/// A new private key. Version 1 of PKCS#8, which every tool reads; version 2 would only add the
/// public key.
fn generate() -> Result<String, KeyError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NoRandom)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::NoRandom)?;
    Ok(public::encode(&Pem::new(PRIVATE_TAG, der.as_ref())))
}
