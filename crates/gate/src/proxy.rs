//! The PROXY protocol: a balancer says first for whom it dials, and TLS comes behind that. Whoever may say
//! it could also lie, so it is heard from configured ranges alone. From those it must come; from everybody
//! else it is never looked for, and its bytes are a TLS handshake that fails.

use std::fmt::{self, Display};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use im_runtime::settings::{Invalid, SettingValue};
use ipnet::IpNet;
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How a header of version 2 begins; no TLS record and no text does.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and family, and the length of what follows.
const V2_FIXED_LEN: usize = 16;

/// The longest line of version 1 by its specification, which has room for the worst pair of addresses.
const V1_LEN_MAX: usize = 107;

/// The longest header taken. Addresses need 52 bytes; balancers that also tell names and identities of
/// theirs in it stay under 300, and the specification asks for room for 536.
const HEADER_LEN_MAX: usize = 1024;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange(IpNet);

impl IpRange {
    /// Whether an address is in it, in either spelling.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        // A socket that listens on [::] shows IPv4 peers as ::ffff:a.b.c.d.
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for IpRange {
    type Err = Invalid;

    /// `10.0.0.0/8`, or one address.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let net = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical())));
        net.map(Self).map_err(|_| Invalid::text(text, Self::KIND))
    }
}

impl Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SettingValue for IpRange {
    const KIND: &'static str = "a range of addresses such as 10.0.0.0/8";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        text.parse()
    }

    fn to_toml(&self) -> String {
        self.to_string().to_toml()
    }
}

/// Which peers speak for others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Balancers(Vec<IpRange>);

/// Why a balancer's connection is closed before TLS. Ours to log: the peer is told nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The connection failed or ended inside the header.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// These bytes are no header.
    #[error("no PROXY header, or a malformed one")]
    Malformed,
    /// The header claims to be longer than any should be.
    #[error("a PROXY header of {0} bytes, more than {HEADER_LEN_MAX}")]
    TooLong(usize),
}

impl Balancers {
    pub(crate) fn new(ranges: Vec<IpRange>) -> Self {
        Self(ranges)
    }

    /// Whether this peer speaks for others, and a header must come from it.
    pub(crate) fn include(&self, peer: SocketAddr) -> bool {
        self.0.iter().any(|range| range.contains(peer.ip()))
    }
}

/// Reads the header, and no byte behind it. The client's address; `None` where the balancer speaks for
/// itself, as health checks do, or does not say for whom.
///
/// Not cancellation-safe: whoever gives up drops the stream.
pub(crate) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut buf = [0; HEADER_LEN_MAX];
    // No header of either version is shorter than this signature.
    let mut len = V2_SIGNATURE.len();
    stream.read_exact(&mut buf[..len]).await?;
    if buf[..len] == V2_SIGNATURE {
        stream.read_exact(&mut buf[len..V2_FIXED_LEN]).await?;
        len = V2_FIXED_LEN + usize::from(u16::from_be_bytes([buf[14], buf[15]]));
        let rest = buf.get_mut(V2_FIXED_LEN..len).ok_or(ProxyError::TooLong(len))?;
        stream.read_exact(rest).await?;
    } else if buf.starts_with(b"PROXY ") {
        // A line ends where it ends: a read of more could take the first bytes of TLS. One system call
        // for each byte of one line; version 2 needs three.
        while !buf[..len].ends_with(b"\r\n") {
            if len == V1_LEN_MAX {
                return Err(ProxyError::Malformed);
            }
            buf[len] = stream.read_u8().await?;
            len += 1;
        }
    } else {
        return Err(ProxyError::Malformed);
    }
    client_of(&buf[..len])
}

fn client_of(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, len)) if len == header.len() => match parsed.proxied_address() {
            None => Ok(None),
            Some(proxied) if proxied.protocol == Protocol::Stream => Ok(Some(proxied.source)),
            Some(_) => Err(ProxyError::Malformed),
        },
        Ok(_) | Err(_) => Err(ProxyError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proxy_header::{ProxiedAddress, Tlv};
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn stream(from: &str, to: &str) -> ProxyHeader<'static> {
        ProxyHeader::with_address(ProxiedAddress::stream(address(from), address(to)))
    }

    fn v2(header: &ProxyHeader<'_>) -> Vec<u8> {
        let mut buf = [0; 4096];
        let len = header.encode_to_slice_v2(&mut buf).unwrap();
        buf[..len].to_vec()
    }

    /// What is read when the bytes come, and then the end.
    async fn read(bytes: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
        let mut stream = bytes;
        read_header(&mut stream).await
    }

    /// Headers, and for whom they speak.
    fn headers() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
        let four = address("203.0.113.7:51234");
        let six = address("[2001:db8::7]:51234");
        let mut with_extras = stream("203.0.113.7:51234", "192.0.2.1:8910");
        with_extras.append_tlv(Tlv::Authority("gate.example".into()));
        with_extras.append_tlv(Tlv::UniqueId(vec![7; 128].into()));
        let mut unix = V2_SIGNATURE.to_vec();
        unix.extend_from_slice(&[0x21, 0x31, 0, 216]);
        unix.resize(V2_FIXED_LEN + 216, 0);
        vec![
            (b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 8910\r\n".to_vec(), Some(four)),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 8910\r\n".to_vec(), Some(six)),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), None),
            (v2(&stream("203.0.113.7:51234", "192.0.2.1:8910")), Some(four)),
            (v2(&stream("[2001:db8::7]:51234", "[2001:db8::1]:8910")), Some(six)),
            (v2(&with_extras), Some(four)),
            (v2(&ProxyHeader::with_local()), None),
            (unix, None),
        ]
    }

    #[tokio::test]
    async fn a_header_is_read_and_nothing_behind_it() {
        for (header, client) in headers() {
            let mut bytes = header.clone();
            bytes.extend_from_slice(b"\x16\x03\x01 the first bytes of TLS");
            let mut stream = &bytes[..];
            assert_eq!(read_header(&mut stream).await.unwrap(), client, "{header:?}");
            assert_eq!(stream, &bytes[header.len()..], "{header:?}");
        }
    }

    #[tokio::test]
    async fn a_header_may_come_in_any_two_pieces_and_byte_by_byte() {
        for (header, client) in headers() {
            for cut in 0..header.len() {
                let (mut near, mut far) = duplex(4096);
                let writing = async {
                    near.write_all(&header[..cut]).await.unwrap();
                    // The reader has had its turn before the rest comes.
                    tokio::task::yield_now().await;
                    near.write_all(&header[cut..]).await.unwrap();
                };
                let (read, ()) = tokio::join!(read_header(&mut far), writing);
                assert_eq!(read.unwrap(), client, "cut at {cut}: {header:?}");
            }
            let (mut near, mut far) = duplex(1);
            let (read, wrote) = tokio::join!(read_header(&mut far), near.write_all(&header));
            wrote.unwrap();
            assert_eq!(read.unwrap(), client, "byte by byte: {header:?}");
        }
    }

    #[tokio::test]
    async fn a_header_that_ends_early_is_an_error_at_every_length() {
        for (header, _) in headers() {
            for len in 0..header.len() {
                let ended = read(&header[..len]).await;
                assert!(matches!(ended, Err(ProxyError::Io(_))), "{len} bytes of {header:?}: {ended:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let datagram = ProxiedAddress::datagram(address("203.0.113.7:1"), address("192.0.2.1:2"));
        let mut bad_version = v2(&ProxyHeader::with_local());
        bad_version[12] = 0x11;
        let mut bad_family = v2(&stream("203.0.113.7:1", "192.0.2.1:2"));
        bad_family[13] = 0x41;
        let mut lying_length = v2(&stream("203.0.113.7:1", "192.0.2.1:2"));
        lying_length[15] = 4;
        let cases: Vec<Vec<u8>> = vec![
            // TLS without a header, HTTP, and the client protocol itself.
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".iter().chain([&0; 40]).copied().collect(),
            b"GET / HTTP/1.1\r\nhost: gate\r\n\r\n".to_vec(),
            b"SIM!C\x01\x00\x00 and more of it".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 51234\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.700 192.0.2.1 51234 8910\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 2001:db8::1 51234 8910\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 65536\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.7 192.0.2.1 51234 8910\r\n".to_vec(),
            b"proxy TCP4 203.0.113.7 192.0.2.1 51234 8910\r\n".to_vec(),
            v2(&ProxyHeader::with_address(datagram)),
            bad_version,
            bad_family,
            lying_length,
        ];
        for bytes in cases {
            let refused = read(&bytes).await;
            assert!(matches!(refused, Err(ProxyError::Malformed)), "{bytes:?}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_header_without_end_is_given_up_at_its_bound() {
        let mut line = b"PROXY TCP4 ".to_vec();
        line.resize(10_000, b'1');
        let mut stream = &line[..];
        assert!(matches!(read_header(&mut stream).await, Err(ProxyError::Malformed)));
        assert_eq!(stream.len(), line.len() - V1_LEN_MAX);

        let mut claim = v2(&ProxyHeader::with_local());
        claim[14..].copy_from_slice(&u16::MAX.to_be_bytes());
        claim.resize(V2_FIXED_LEN + usize::from(u16::MAX), 0);
        let mut stream = &claim[..];
        assert!(matches!(read_header(&mut stream).await, Err(ProxyError::TooLong(65_551))));
        assert_eq!(stream.len(), usize::from(u16::MAX), "refused by its claim, before a byte of it is read");

        // The longest that is taken: room for addresses and what balancers add.
        let mut longest = v2(&ProxyHeader::with_local());
        let rest = HEADER_LEN_MAX - V2_FIXED_LEN;
        longest[14..].copy_from_slice(&u16::try_from(rest).unwrap().to_be_bytes());
        longest.resize(HEADER_LEN_MAX, 0);
        assert_eq!(read(&longest).await.unwrap(), None);
    }

    #[test]
    fn ranges_hold_whom_they_name() {
        let ranges = ["10.1.0.0/16", "192.0.2.7", "2001:db8::/32"];
        let balancers = Balancers::new(ranges.iter().map(|range| range.parse().unwrap()).collect());
        for inside in ["10.1.255.1:1", "192.0.2.7:1", "[2001:db8:1::9]:1", "[::ffff:10.1.2.3]:1"] {
            assert!(balancers.include(address(inside)), "{inside}");
        }
        for outside in ["10.2.0.1:1", "192.0.2.8:1", "[2001:db9::1]:1", "[::ffff:10.2.0.1]:1", "[::1]:1"] {
            assert!(!balancers.include(address(outside)), "{outside}");
        }
        assert!(!Balancers::default().include(address("127.0.0.1:1")));
        for bad in ["", "10.0.0.0/33", "10.0.0", "balancer.example"] {
            assert!(bad.parse::<IpRange>().is_err(), "{bad:?}");
        }
    }
}
