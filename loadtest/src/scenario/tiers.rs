//! The tiers to be measured: those that the command line names.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use im_auth::{Signer, keys};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::args::TiersArgs;
use crate::coordinator::Endpoint;

/// Gates that can be reached, with what it takes to log in there.
#[derive(Debug)]
pub(super) struct Tiers {
    endpoint: Endpoint,
    signer: Signer,
    pids: Vec<u32>,
}

impl Tiers {
    pub(super) async fn find(args: &TiersArgs) -> anyhow::Result<Self> {
        Self::named(args)
    }

    fn named(args: &TiersArgs) -> anyhow::Result<Self> {
        let (Some(ca), Some(token_key)) = (&args.ca, &args.token_key) else {
            anyhow::bail!("--gate, --ca and --token-key say where to send to");
        };
        let certificate = CertificateDer::from_pem_file(ca).with_context(|| format!("read {}", ca.display()))?;
        let endpoint = Endpoint { addresses: resolve(&args.gate)?, certificate: BASE64_STANDARD.encode(certificate) };
        let signer = keys::load(token_key).context("load the key that signs tokens")?;
        Ok(Self { endpoint, signer, pids: args.server_pid.clone() })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The processes whose CPU is counted.
    pub(super) fn pids(&self) -> anyhow::Result<Vec<u32>> {
        Ok(self.pids.clone())
    }
}

fn resolve(gates: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for gate in gates {
        addresses.extend(gate.to_socket_addrs().with_context(|| format!("resolve {gate}"))?);
    }
    ensure!(!addresses.is_empty(), "no gate has an address");
    Ok(addresses)
}
