//! The records of TLS 1.3 behind the handshake (RFC 8446, section 5), for a client that is held: the
//! keys of both directions and nothing else. What rustls keeps for a connection is 4 KB, and a million
//! of those are not there.
//!
//! It knows the one suite that this tool offers, opens data, passes over session tickets, and follows no
//! change of keys: a gate asks for one after 2^24 records, and a held client sees a few hundred.

use anyhow::{Context, bail, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::BytesMut;
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, ExtractedSecrets, HandshakeType};

const HEADER_LEN: usize = 5;
const TAG_LEN: usize = 16;
const KEY_LEN: usize = 16;
/// Content of one record.
const CONTENT_LEN_MAX: usize = 1 << 14;
/// A record whole: content, its type, padding and tag.
pub(super) const RECORD_LEN_MAX: usize = HEADER_LEN + CONTENT_LEN_MAX + 256;

type Header = [u8; HEADER_LEN];

/// A connection's keys.
pub(super) struct Records {
    read: Direction,
    write: Direction,
}

/// The keys of one direction, and how many records they have seen.
struct Direction {
    key: [u8; KEY_LEN],
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

/// What was in a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened<'a> {
    Data(&'a [u8]),
    /// Nothing that a held client needs.
    Nothing,
    /// Nothing comes after it.
    Close,
}

impl Records {
    pub(super) fn new(secrets: ExtractedSecrets) -> anyhow::Result<Self> {
        let direction = |(sequence, secrets)| {
            let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
                bail!("not the suite that was offered")
            };
            Ok(Direction { key: key.as_ref().try_into()?, iv: iv.as_ref().try_into()?, sequence })
        };
        Ok(Self { read: direction(secrets.rx)?, write: direction(secrets.tx)? })
    }

    /// Opens the first record in place; how long it is, and what was in it. `None`: it is not all there.
    pub(super) fn open<'a>(&mut self, incoming: &'a mut [u8]) -> anyhow::Result<Option<(usize, Opened<'a>)>> {
        let Some((&header, rest)) = incoming.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let [content_type, _, _, high, low] = header;
        let body_len = usize::from(u16::from_be_bytes([high, low]));
        ensure!(ContentType::from(content_type) == ContentType::ApplicationData, "a record that does not belong here");
        ensure!(HEADER_LEN + body_len <= RECORD_LEN_MAX, "a TLS record is too long");
        if rest.len() < body_len {
            return Ok(None);
        }
        let length = HEADER_LEN + body_len;
        let plain = self.read.open(header, &mut incoming[HEADER_LEN..length])?;
        // The type stands behind the content, and behind it any number of zeros.
        let end = plain.iter().rposition(|&byte| byte != 0).context("a record without a type")?;
        let (content, content_type) = (&plain[..end], ContentType::from(plain[end]));
        let opened = match content_type {
            ContentType::ApplicationData => Opened::Data(content),
            ContentType::Handshake => {
                let message = content.first().map(|&message| HandshakeType::from(message));
                ensure!(
                    message == Some(HandshakeType::NewSessionTicket),
                    "the gate goes on with the handshake: {message:?}"
                );
                Opened::Nothing
            }
            ContentType::Alert => match content.get(1).map(|&alert| AlertDescription::from(alert)) {
                Some(AlertDescription::CloseNotify) => Opened::Close,
                alert => bail!("the gate complains about TLS: {alert:?}"),
            },
            other => bail!("a record of {other:?}"),
        };
        Ok(Some((length, opened)))
    }

    /// Appends records with `plain` in them.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut BytesMut) {
        for part in plain.chunks(CONTENT_LEN_MAX) {
            let body_len = part.len() + 1 + TAG_LEN;
            let [high, low] = (body_len as u16).to_be_bytes();
            let header = [ContentType::ApplicationData.into(), 3, 3, high, low];
            out.extend_from_slice(&header);
            let body = out.len();
            out.extend_from_slice(part);
            out.extend_from_slice(&[ContentType::ApplicationData.into()]);
            let tag = self.write.seal(header, &mut out[body..]);
            out.extend_from_slice(&tag);
        }
    }
}

impl Direction {
    fn open<'b>(&mut self, header: Header, body: &'b mut [u8]) -> anyhow::Result<&'b [u8]> {
        let nonce = self.nonce();
        let plain = self.ready().open_in_place(nonce, Aad::from(header), body);
        Ok(&*plain.ok().context("a record is not authentic")?)
    }

    fn seal(&mut self, header: Header, body: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = self.nonce();
        let tag = self.ready().seal_in_place_separate_tag(nonce, Aad::from(header), body);
        let tag = tag.expect("a record is far below what the suite takes");
        tag.as_ref().try_into().expect("the suite's tags have 16 bytes")
    }

    /// The expanded key is ten times as large, and takes 0.2 µs to make: it is made for each record.
    fn ready(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &self.key).expect("the key is as long as the suite says"))
    }

    /// The nonce of the next record, which no other record of these keys has.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn pair() -> (Records, Records) {
        let direction = |of: u8| Direction { key: [of; KEY_LEN], iv: [of; NONCE_LEN], sequence: 7 };
        (Records { read: direction(1), write: direction(2) }, Records { read: direction(2), write: direction(1) })
    }

    #[test]
    fn what_is_sealed_is_opened_once_it_is_all_there() {
        let (mut here, mut there) = pair();
        let (first, second) = (vec![1; CONTENT_LEN_MAX + 1], b"second".to_vec());
        let mut wire = BytesMut::new();
        here.seal(&first, &mut wire);
        here.seal(&second, &mut wire);
        assert_eq!(there.open(&mut wire[..HEADER_LEN + 20]).unwrap(), None);
        let (mut at, mut plain) = (0, Vec::new());
        while let Some((length, opened)) = there.open(&mut wire[at..]).unwrap() {
            let Opened::Data(data) = opened else { panic!("{opened:?}") };
            plain.extend_from_slice(data);
            at += length;
        }
        assert_eq!((at, plain), (wire.len(), [first, second].concat()));
    }

    #[test]
    fn a_changed_a_repeated_and_a_foreign_record_are_refused() {
        let (mut here, mut there) = pair();
        let mut wire = BytesMut::new();
        here.seal(b"one", &mut wire);
        let original = wire.clone();
        wire[HEADER_LEN] ^= 1;
        assert!(there.open(&mut wire).is_err(), "changed");
        let (mut here, mut there) = pair();
        assert!(there.open(&mut original.clone()).is_ok());
        assert!(there.open(&mut original.clone()).is_err(), "repeated");
        assert!(here.open(&mut original.clone()).is_err(), "its own");
    }

    #[test]
    fn a_ticket_is_passed_over_a_close_is_told_and_a_change_of_keys_ends_it() {
        let send = |content: &[u8], content_type: ContentType| {
            let (mut here, mut there) = pair();
            let body_len = (content.len() + 1 + TAG_LEN) as u8;
            let header = [ContentType::ApplicationData.into(), 3, 3, 0, body_len];
            // Padding may follow the type; here it is none.
            let mut body = [content, &[content_type.into()]].concat();
            let tag = here.write.seal(header, &mut body);
            let mut wire = [&header[..], &body, &tag].concat();
            there.open(&mut wire).map(|opened| match opened.unwrap().1 {
                Opened::Data(data) => format!("{data:?}"),
                other => format!("{other:?}"),
            })
        };
        assert_eq!(send(&[4, 0, 0, 0], ContentType::Handshake).unwrap(), "Nothing");
        assert_eq!(send(&[1, 0], ContentType::Alert).unwrap(), "Close");
        assert!(send(&[24, 0, 0, 1, 0], ContentType::Handshake).is_err());
        assert!(send(&[2, 20], ContentType::Alert).is_err());
    }
}
