//! The stream against rustls' own client, over wires that split and stall as they like.
#![allow(clippy::unwrap_used)]

use std::pin::Pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, SupportedCipherSuite, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, duplex};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::certs::ClusterCerts;
use crate::tls;

mod wire;

use wire::Wire;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// Of the provider's suites, those that go with the test's certificate: three of each version. The others
/// differ in how the server signs.
const SUITES: usize = 6;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

struct Certs {
    server: Acceptor,
    ca: CertificateDer<'static>,
}

static CERTS: LazyLock<Certs> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let certs = ClusterCerts::load_or_create(dir.path(), &[]).unwrap();
    Certs {
        server: Acceptor::new(&tls::server_config(&certs.gate_server()).unwrap(), RecordLayer::Lean),
        ca: CertificateDer::from_pem_file(certs.ca()).unwrap(),
    }
});

fn roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CERTS.ca.clone()).unwrap();
    roots
}

fn client_config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(tls::provider()).with_protocol_versions(&[version]).unwrap();
    builder.with_root_certificates(roots()).with_no_client_auth()
}

fn suite_config(suite: SupportedCipherSuite) -> ClientConfig {
    let provider = CryptoProvider { cipher_suites: vec![suite], ..CryptoProvider::clone(&tls::provider()) };
    let builder = ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(&[suite.version()]);
    builder.unwrap().with_root_certificates(roots()).with_no_client_auth()
}

async fn connect<I: crate::network::Io>(config: ClientConfig, wire: I) -> io::Result<TlsStream<I>> {
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), wire).await
}

async fn handshaken(io: impl crate::network::Io) -> io::Result<ServerStream> {
    CERTS.server.handshake(Box::new(io)).await?.shrink()
}

/// Both ends of a connection whose handshake is done, over a wire that holds `room` bytes each way.
async fn pair(version: &'static SupportedProtocolVersion, room: usize) -> (TlsStream<Wire>, ServerStream) {
    let (near, far) = duplex(room);
    let (client, server) =
        tokio::join!(connect(client_config(version), Wire::straight(near)), handshaken(Wire::straight(far)));
    (client.unwrap(), server.unwrap())
}

/// Bytes that differ from their neighbours and from those of another seed.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed).collect()
}

fn patterns(lengths: &[usize]) -> Vec<Vec<u8>> {
    lengths.iter().enumerate().map(|(index, len)| pattern(*len, index as u8)).collect()
}

/// Says everything, shuts down, and reads up to the peer's last word: all in one task, as the owner of
/// a connection does. `before` is called before each of the messages.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    messages: Vec<Vec<u8>>,
    reads: &[usize],
    mut before: impl FnMut(&mut S, usize),
) -> io::Result<Vec<u8>> {
    let mut messages = messages.into_iter().enumerate();
    let (mut saying, mut at, mut shut, mut ended) = (Vec::new(), 0, false, false);
    let (mut got, mut reads) = (Vec::new(), reads.iter().cycle());
    poll_fn(|cx| {
        let mut stream = Pin::new(&mut *stream);
        while !shut {
            if at < saying.len() {
                let Poll::Ready(written) = stream.as_mut().poll_write(cx, &saying[at..])? else { break };
                at += written;
            } else if stream.as_mut().poll_flush(cx)?.is_pending() {
                break;
            } else if let Some((index, message)) = messages.next() {
                before(&mut stream, index);
                (saying, at) = (message, 0);
            } else if stream.as_mut().poll_shutdown(cx)?.is_ready() {
                shut = true;
            } else {
                break;
            }
        }
        while !ended {
            let mut buf = vec![0; *reads.next().expect("a cycle has no end")];
            let mut room = ReadBuf::new(&mut buf);
            let Poll::Ready(()) = stream.as_mut().poll_read(cx, &mut room)? else { return Poll::Pending };
            ended = room.filled().is_empty();
            got.extend_from_slice(room.filled());
        }
        if shut { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
    .map(|()| got)
}

#[derive(Clone, Debug)]
struct Talk {
    /// Each is of one version of TLS.
    suite: usize,
    /// Bytes that are under way at once.
    room: usize,
    near: Vec<u8>,
    far: Vec<u8>,
    up: Vec<usize>,
    down: Vec<usize>,
    /// How much the server has room for when it reads.
    reads: Vec<usize>,
    /// Before which of its messages the client changes its keys.
    updates: Vec<bool>,
}

fn talks() -> impl Strategy<Value = Talk> {
    let script = || vec(any::<u8>(), 2..40);
    let lengths = || vec(prop_oneof![4 => 1..200_usize, 1 => 1..100_000_usize], 0..6);
    let reads = vec(prop_oneof![1..40_usize, 1..70_000_usize], 1..6);
    (0..SUITES, 1..40_000_usize, script(), script(), lengths(), lengths(), reads, vec(any::<bool>(), 6)).prop_map(
        |(suite, room, near, far, up, down, reads, updates)| Talk { suite, room, near, far, up, down, reads, updates },
    )
}

async fn hold(talk: &Talk) {
    let (near, far) = duplex(talk.room);
    let client = async {
        let suite = tls::provider().cipher_suites[talk.suite];
        let mut stream = connect(suite_config(suite), Wire::new(near, talk.near.clone())).await.unwrap();
        let got = converse(&mut stream, patterns(&talk.up), &[10_000], |stream, index| {
            if talk.updates[index] && suite.tls13().is_some() {
                stream.get_mut().1.refresh_traffic_keys().unwrap();
            }
        });
        assert!(got.await.unwrap() == patterns(&talk.down).concat(), "downwards");
    };
    let server = async {
        let mut stream = handshaken(Wire::new(far, talk.far.clone())).await.unwrap();
        let got = converse(&mut stream, patterns(&talk.down), &talk.reads, |_, _| {});
        assert!(got.await.unwrap() == patterns(&talk.up).concat(), "upwards");
        assert_eq!(stream.held_len(), 0);
    };
    timeout(PATIENCE, async { tokio::join!(client, server) }).await.expect("both come to their end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_wires_do_the_same_bytes_come_out(talk in talks()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(hold(&talk));
    }
}

/// What a client says right behind its part of the handshake is in the same segment.
#[tokio::test]
async fn bytes_that_come_with_the_end_of_the_handshake_are_read() {
    for version in VERSIONS {
        let (near, far) = duplex(64 * 1024);
        let client = async {
            let mut stream = connect(client_config(version), Wire::straight(near)).await.unwrap();
            stream.write_all(b"early").await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        };
        // The client goes as far as it can before the server looks again.
        let (stream, server) = tokio::join!(client, handshaken(Wire::straight(far)));
        let mut got = Vec::new();
        server.unwrap().read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"early");
        drop(stream);
    }
}

#[tokio::test]
async fn an_idle_stream_holds_nothing() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 4096).await;
        assert_eq!(server.held_len(), 0, "after the handshake");
        for len in [1, 100, 16_384, 16_385, 200_000] {
            let (there, back) = (pattern(len, 1), pattern(len, 2));
            let (mut got_there, mut got_back) = (vec![0; len], vec![0; len]);
            tokio::join!(
                async {
                    client.write_all(&there).await.unwrap();
                    client.flush().await.unwrap();
                    client.read_exact(&mut got_back).await.unwrap();
                },
                async {
                    server.read_exact(&mut got_there).await.unwrap();
                    server.write_all(&back).await.unwrap();
                    server.flush().await.unwrap();
                }
            );
            assert!(there == got_there && back == got_back);
            assert_eq!(server.held_len(), 0, "after {len} bytes each way");
        }
    }
}

#[tokio::test]
async fn each_side_ends_for_itself() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 64 * 1024).await;
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0, "and it stays so");
        server.write_all(b"goodbye").await.unwrap();
        server.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"goodbye", "{version:?}");
        assert_eq!(server.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn an_end_without_the_word_for_it_is_an_error() {
    for version in VERSIONS {
        // Between two records, and in the middle of one.
        for missing in [0, 1, 20] {
            let (mut client, mut server) = pair(version, 64 * 1024).await;
            client.write_all(b"whole").await.unwrap();
            client.flush().await.unwrap();
            if missing > 0 {
                let record = sealed(&mut client, b"the last one");
                let pipe = client.get_mut().0;
                pipe.write_all(&record[..record.len() - missing]).await.unwrap();
            }
            drop(client);
            let mut buf = [0; 64];
            assert_eq!(server.read(&mut buf).await.unwrap(), 5);
            let error = server.read(&mut buf).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{version:?}, {missing} bytes missing");
        }
    }
}

/// What the client would send for `plain`, not sent.
fn sealed(client: &mut TlsStream<Wire>, plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let connection = client.get_mut().1;
    connection.writer().write_all(plain).unwrap();
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// The alert that ended a client's connection.
async fn alert_of(client: &mut TlsStream<Wire>) -> AlertDescription {
    let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("an alert was to come, but {error}"),
    }
}

#[tokio::test]
async fn a_forged_record_ends_the_connection_with_an_alert() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 64 * 1024).await;
        let mut record = sealed(&mut client, b"pay bob");
        *record.last_mut().unwrap() ^= 1;
        client.get_mut().0.write_all(&record).await.unwrap();
        let error = server.read(&mut [0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(server.read(&mut [0; 64]).await.is_err(), "nothing comes after it");
        assert!(server.write(b"x").await.is_err());
        assert_eq!(alert_of(&mut client).await, AlertDescription::BadRecordMac);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_a_bounded_number_of_bytes() {
    for version in VERSIONS {
        const LEN: usize = 400_000;
        let (mut client, mut server) = pair(version, 1024).await;
        let said = pattern(LEN, 7);
        let mut at = 0;
        poll_fn(|cx| {
            while let Poll::Ready(written) = Pin::new(&mut server).poll_write(cx, &said[at..]) {
                at += written.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        assert!(at < LEN && server.held_len() <= 33 * 1024, "{at} bytes taken, {} held", server.held_len());
        let mut got = vec![0; LEN];
        tokio::join!(
            async {
                server.write_all(&said[at..]).await.unwrap();
                server.flush().await.unwrap();
            },
            async { client.read_exact(&mut got).await.unwrap() }
        );
        assert!(got == said);
        assert_eq!(server.held_len(), 0);
    }
}

/// A reader that takes little leaves the rest where it came from.
#[tokio::test]
async fn a_server_that_does_not_read_costs_a_bounded_number_of_bytes() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 256 * 1024).await;
        let said = pattern(200_000, 9);
        client.write_all(&said).await.unwrap();
        client.flush().await.unwrap();
        let mut got = Vec::new();
        while got.len() < said.len() {
            let mut few = [0; 1000];
            let len = server.read(&mut few).await.unwrap();
            got.extend_from_slice(&few[..len]);
            assert!(server.held_len() <= stream::SCRATCH_LEN + 16 * 1024, "{} held", server.held_len());
        }
        assert!(got == said);
        assert_eq!(server.held_len(), 0);
    }
}

async fn refused(opening: &[u8]) -> (io::Error, Vec<u8>) {
    let (mut near, far) = duplex(256 * 1024);
    near.write_all(opening).await.unwrap();
    let error = handshaken(far).await.map(|_| ()).unwrap_err();
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    (error, answer)
}

#[tokio::test]
async fn what_is_no_handshake_is_refused_with_an_alert() {
    let (error, answer) = refused(b"GET / HTTP/1.1\r\nhost: gate\r\n\r\n").await;
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!((answer[0], answer.len()), (21, 7), "{answer:?} is to be one alert");
}

#[tokio::test]
async fn a_client_with_nothing_in_common_is_told_so() {
    let (near, far) = duplex(64 * 1024);
    let mut config = client_config(&rustls::version::TLS13);
    config.alpn_protocols = vec![b"other".to_vec()];
    let mut strict = ServerConfig::clone(&CERTS.server.0);
    strict.alpn_protocols = vec![b"sim".to_vec()];
    let strict = Acceptor::new(&strict, RecordLayer::Lean);
    let server = strict.accept(Box::new(far));
    let (client, server) = tokio::join!(connect(config, Wire::straight(near)), server);
    let error = client.unwrap_err();
    let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert_eq!(alert, Some(&rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
    assert!(server.is_err());
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_server_says_so() {
    for version in VERSIONS {
        let (near, far) = duplex(64 * 1024);
        let builder = ClientConfig::builder_with_provider(tls::provider()).with_protocol_versions(&[version]).unwrap();
        let config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let (client, server) = tokio::join!(connect(config, near), handshaken(far));
        assert!(client.is_err());
        let error = server.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("UnknownCA"), "{error}");
    }
}

/// A handshake message announces its length, and then comes record by record of one byte.
#[tokio::test]
async fn a_handshake_without_an_end_is_refused() {
    let mut endless = vec![22, 3, 1, 0, 4, 1, 0, 0xff, 0xff];
    for _ in 0..40_000 {
        endless.extend_from_slice(&[22, 3, 1, 0, 1, 0]);
    }
    let (error, _) = refused(&endless).await;
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let (mut near, far) = duplex(64 * 1024);
    near.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
    drop(near);
    let error = handshaken(far).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "a hello that is cut off");
}

fn parts(told: &rustls::ConnectionTrafficSecrets) -> (&[u8], &[u8]) {
    use rustls::ConnectionTrafficSecrets as Told;
    match told {
        Told::Aes128Gcm { key, iv } | Told::Aes256Gcm { key, iv } | Told::Chacha20Poly1305 { key, iv } => {
            (key.as_ref(), iv.as_ref())
        }
        _ => panic!("a suite of another version"),
    }
}

/// rustls can change keys, too, if it keeps what it needs for that: to the same ones.
#[tokio::test]
async fn keys_change_to_those_that_rustls_changes_to() {
    for suite in tls::provider().cipher_suites.iter().filter(|suite| suite.tls13().is_some()) {
        let (near, far) = duplex(64 * 1024);
        let client = async { connect(suite_config(*suite), near).await.unwrap() };
        let server = async { CERTS.server.handshake(Box::new(far)).await.unwrap().into_session() };
        let (_client, session) = tokio::join!(client, server);
        let Session::Rustls(session) = session else { panic!("nobody has shrunk it") };
        let Ok((mut read, mut write, mut kernel)) = session.into_keys().unwrap() else { panic!("no secrets") };
        for _ in 0..3 {
            read.advance();
            write.advance();
            assert!(read.parts() == parts(&kernel.update_rx_secret().unwrap().1), "{suite:?}, reading");
            assert!(write.parts() == parts(&kernel.update_tx_secret().unwrap().1), "{suite:?}, writing");
            assert_eq!((read.sequence(), write.sequence()), (0, 0));
        }
    }
}
