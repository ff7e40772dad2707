//! Real TLS over pipes: who gets in, who does not, and with which versions.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use im_link::certs::ClusterCerts;
use im_link::testing::{LinkEvents, MemoryNetwork, Recorder};
use im_link::tls::{self, LinkTls, ROUTE_SERVER_NAME};
use im_link::{FrameIo, Identity, LinkConfig, Network, link};
use im_proto::BootId;
use im_proto::limits::LINK_FRAME_LEN_MAX;
use im_proto::link::{Hello, LinkCommand, Tier};
use proto_codec::{BytesMut, Flags, Frame, Hop, Preamble};
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

fn certs() -> (TempDir, ClusterCerts) {
    let dir = tempfile::tempdir().unwrap();
    let certs = ClusterCerts::load_or_create(dir.path(), &["gate.example".into()]).unwrap();
    (dir, certs)
}

fn identity(tier: Tier) -> Identity {
    Identity { tier, name: "n".into(), boot: BootId(7), region: "here".into() }
}

fn opening() -> BytesMut {
    let hello = Hello { tier: Tier::Gate, name: "g1".into(), boot: BootId(7), region: "here".into() };
    let mut bytes = BytesMut::from(&Preamble::current(Hop::Link).encode()[..]);
    Frame::encode_message(LinkCommand::Hello.number(), Flags::NONE, 1, &hello, &mut bytes);
    bytes
}

async fn route(network: &Arc<MemoryNetwork>, address: &str, tls: LinkTls) -> LinkEvents {
    let listener = network.listen(address).await.unwrap();
    let (handler, events) = Recorder::new();
    let stop = CancellationToken::new();
    tokio::spawn(link::serve(listener, tls, identity(Tier::Route), LinkConfig::default(), handler, stop));
    events
}

fn dial(network: &Arc<MemoryNetwork>, address: &str, tls: LinkTls) -> LinkEvents {
    let (handler, events) = Recorder::new();
    let network = Arc::clone(network) as Arc<dyn Network>;
    let (stop, identity) = (CancellationToken::new(), identity(Tier::Gate));
    tokio::spawn(link::maintain(network, address.into(), tls, identity, LinkConfig::default(), handler, stop));
    events
}

/// Whether a peer with this TLS configuration gets a welcome from the route.
async fn is_welcome(network: &MemoryNetwork, config: ClientConfig) -> bool {
    let stream = network.dial("route").await.unwrap();
    let name = ServerName::try_from(ROUTE_SERVER_NAME).unwrap();
    let Ok(stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await else { return false };
    let mut io = FrameIo::new(Box::new(stream), LINK_FRAME_LEN_MAX);
    // TLS 1.3 tells a client that its certificate is not good only when it reads.
    io.write(&opening()).await.is_ok() && io.read_frame().await.is_ok()
}

#[tokio::test]
async fn only_certificates_of_the_clusters_authority_are_let_in() {
    let (_dir, ours) = certs();
    let (_other_dir, other) = certs();
    let network = MemoryNetwork::new();
    let mut accepted = route(&network, "route", LinkTls::accept_from(&ours.route(), &ours.ca()).unwrap()).await;

    let foreign = tls::client_config(&ours.ca(), Some(&other.gate_link())).unwrap();
    assert!(!is_welcome(&network, foreign).await, "a certificate of another authority");
    let nobody = tls::client_config(&ours.ca(), None).unwrap();
    assert!(!is_welcome(&network, nobody).await, "no certificate");
    let server = tls::client_config(&ours.ca(), Some(&ours.gate_server())).unwrap();
    assert!(!is_welcome(&network, server).await, "a certificate that is for clients to trust, not for tiers to show");
    let mut plain = FrameIo::new(network.dial("route").await.unwrap(), LINK_FRAME_LEN_MAX);
    plain.write(&opening()).await.unwrap();
    assert!(plain.read_frame().await.is_err(), "no TLS at all");
    assert!(accepted.now().is_none(), "none of them was a link");

    for files in [ours.gate_link(), ours.im_service_link()] {
        assert!(is_welcome(&network, tls::client_config(&ours.ca(), Some(&files)).unwrap()).await);
        accepted.up().await;
        accepted.down().await;
    }
    let mut dialled = dial(&network, "route", LinkTls::dial(&ours.gate_link(), &ours.ca()).unwrap());
    let near = dialled.up().await;
    accepted.up().await;
    near.tell(LinkCommand::Forward, &Hello { tier: Tier::Gate, name: "x".into(), boot: BootId(1), region: "y".into() })
        .unwrap();
    assert_eq!(accepted.frame().await.1.command, LinkCommand::Forward.number());
}

#[tokio::test(start_paused = true)]
async fn the_dialler_gives_nothing_to_a_route_that_it_cannot_trust() {
    let (_dir, ours) = certs();
    let (_other_dir, other) = certs();
    let network = MemoryNetwork::new();
    let tls = || LinkTls::dial(&ours.gate_link(), &ours.ca()).unwrap();
    // Of another authority, though it would take this side's certificate; of this authority, though
    // made for another role.
    for (address, files) in [("foreign", other.route()), ("gate", ours.gate_server())] {
        let mut accepted = route(&network, address, LinkTls::accept_from(&files, &ours.ca()).unwrap()).await;
        let mut dialled = dial(&network, address, tls());
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        assert!(dialled.now().is_none() && accepted.now().is_none(), "{address}: a link came up");
    }
    let mut accepted = route(&network, "route", LinkTls::accept_from(&ours.route(), &ours.ca()).unwrap()).await;
    let mut dialled = dial(&network, "route", tls());
    dialled.up().await;
    accepted.up().await;
}

fn client_of(ca: &Path, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(cert.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(tls::provider()).with_protocol_versions(&[version]).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

#[tokio::test]
async fn clients_speak_tls_1_3_and_1_2() {
    let (_dir, certs) = certs();
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&certs.gate_server()).unwrap()));
    for (version, spoken) in
        [(&rustls::version::TLS13, ProtocolVersion::TLSv1_3), (&rustls::version::TLS12, ProtocolVersion::TLSv1_2)]
    {
        for host in ["localhost", "127.0.0.1", "::1", "gate.example"] {
            let (near, far) = duplex(64 * 1024);
            let connector = TlsConnector::from(Arc::new(client_of(&certs.ca(), version)));
            let name = ServerName::try_from(host).unwrap();
            let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            assert_eq!(client.get_ref().1.protocol_version(), Some(spoken));
            client.write_all(b"ping").await.unwrap();
            client.flush().await.unwrap();
            let mut buf = [0; 4];
            server.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"ping");
        }
        let (near, far) = duplex(64 * 1024);
        let connector = TlsConnector::from(Arc::new(client_of(&certs.ca(), version)));
        let name = ServerName::try_from("elsewhere.example").unwrap();
        let (client, _) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        assert!(client.is_err(), "the certificate is not for that name");
    }
}

/// A second crypto provider in the tree would make rustls panic where none is named; here every
/// configuration names one, so all of them build whatever else is linked in.
#[test]
fn every_configuration_builds() {
    let (_dir, certs) = certs();
    tls::server_config(&certs.gate_server()).unwrap();
    tls::cluster_server_config(&certs.route(), &certs.ca()).unwrap();
    tls::client_config(&certs.ca(), None).unwrap();
    for files in [certs.gate_link(), certs.im_service_link()] {
        tls::client_config(&certs.ca(), Some(&files)).unwrap();
    }
    assert!(rustls::crypto::CryptoProvider::get_default().is_none(), "nothing relies on a default of the process");
}

#[test]
fn files_are_made_once_with_private_keys_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, certs) = certs();
    let ca = std::fs::read(certs.ca()).unwrap();
    let again = ClusterCerts::load_or_create(dir.path(), &[]).unwrap();
    assert_eq!(again, certs);
    assert_eq!(std::fs::read(again.ca()).unwrap(), ca, "the second start uses what is there");
    for files in [certs.gate_server(), certs.gate_link(), certs.route(), certs.im_service_link()] {
        assert_eq!(
            std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            files.key.display()
        );
    }
    let error = tls::client_config(&certs.route().key, None).unwrap_err();
    assert!(error.to_string().contains("route.key.pem"), "{error}");
    assert!(tls::server_config(&ClusterCerts::at(dir.path().join("nowhere")).gate_server()).is_err());
}
