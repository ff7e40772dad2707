//! Keys and their files.
//!
//! The service's key lies in two files of one folder: [`PRIVATE_FILE`], which must never leave it, and
//! [`PUBLIC_FILE`], which gates get a copy of. The private key is the truth; the public file is derived
//! and rewritten when it does not match. Files appear whole or not at all, and an existing private key is
//! never replaced, so two services that start in the same folder at the same moment end with one key.

mod files;
mod public;

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use pem::Pem;

pub use public::{KeyId, PublicKey};

use crate::error::KeyError;
use crate::signer::Signer;

/// The private key, PKCS#8 in PEM, readable by its owner only.
pub const PRIVATE_FILE: &str = "token-ed25519.pem";
/// The public key, SubjectPublicKeyInfo in PEM.
pub const PUBLIC_FILE: &str = "token-ed25519.pub.pem";

const PRIVATE_TAG: &str = "PRIVATE KEY";
const PRIVATE_KIND: &str = "an Ed25519 private key in PKCS#8 PEM";

/// The signer whose keys lie in `dir`; at the first start both are made.
pub fn load_or_create(dir: &Path) -> Result<Signer, KeyError> {
    files::create_dir(dir)?;
    let private = dir.join(PRIVATE_FILE);
    if !files::exists(&private)? {
        files::create(&private, generate()?.as_bytes(), files::PRIVATE_MODE)?;
    }
    let signer = load(&private)?;
    let public = dir.join(PUBLIC_FILE);
    let text = signer.public_key().to_pem();
    if files::read_text(&public).ok().as_deref() != Some(&text) {
        files::replace(&public, text.as_bytes(), files::PUBLIC_MODE)?;
    }
    Ok(signer)
}

/// The signer of one private key file.
pub fn load(private: &Path) -> Result<Signer, KeyError> {
    files::refuse_open_permissions(private)?;
    let text = files::read_text(private)?;
    let not_a_key = || KeyError::NotAKey { path: private.to_path_buf(), expected: PRIVATE_KIND };
    let pem = pem::parse(text).ok().filter(|pem| pem.tag() == PRIVATE_TAG).ok_or_else(not_a_key)?;
    Signer::from_pkcs8(pem.contents()).map_err(|_| not_a_key())
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
