//! The record layer of TLS 1.3 after the handshake (RFC 8446, section 5), as a server needs it: its
//! keys, and a few bytes of state.
//!
//! The handshake is rustls'. Behind it a client may still send data, `KeyUpdate` and alerts; anything
//! else ends the connection, as does a record that is not authentic, with the alert that the RFC names.

use rustls::{AlertDescription, ContentType, HandshakeType};

use super::held::Held;
use super::keys::{Keys, TAG_LEN};
use super::session::{Opened, Sink};

const HEADER_LEN: usize = 5;

/// Data, or parts of messages, in one record.
const CONTENT_LEN_MAX: usize = 1 << 14;

/// What stands behind a header: content, its type, padding, and the tag.
const BODY_LEN_MAX: usize = CONTENT_LEN_MAX + 256;

/// Records in a row that bring no data. Each costs as much work as one that does; the number is
/// BoringSSL's, for empty records as for key updates.
const WITHOUT_DATA_MAX: u8 = 32;

/// `KeyUpdate`: type, length in three bytes, and whether it asks for the same in return.
const KEY_UPDATE_LEN: usize = 5;
const UPDATE_NOT_REQUESTED: u8 = 0;
const UPDATE_REQUESTED: u8 = 1;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// A connection of TLS 1.3 whose handshake is done.
pub(super) struct Records {
    read: Keys,
    write: Keys,
    /// Records that may be sealed before keys are changed.
    records_max: u64,
    /// The peer has asked for other keys: they come before the next data.
    owes_update: bool,
    peer_closed: bool,
    /// Records in a row that brought no data.
    without_data: u8,
    /// The part of a `KeyUpdate` that has come. A message may come in several records.
    message: [u8; KEY_UPDATE_LEN],
    message_len: u8,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("the peer has ended the connection: {0:?}")]
    Alert(AlertDescription),
    #[error("a record is not authentic")]
    NotAuthentic,
    #[error("a record is too long")]
    TooLong,
    #[error("a record that does not belong here")]
    Unexpected,
    #[error("a message of TLS that is none")]
    Malformed,
    #[error("a key update that asks for nothing known")]
    BadKeyUpdate,
    #[error("too many records without data")]
    NoData,
}

impl RecordError {
    /// What to tell the peer.
    fn alert(self) -> Option<AlertDescription> {
        Some(match self {
            Self::Alert(_) => return None,
            Self::NotAuthentic => AlertDescription::BadRecordMac,
            Self::TooLong => AlertDescription::RecordOverflow,
            Self::Unexpected | Self::NoData => AlertDescription::UnexpectedMessage,
            Self::Malformed => AlertDescription::DecodeError,
            Self::BadKeyUpdate => AlertDescription::IllegalParameter,
        })
    }
}

impl Records {
    pub(super) fn new(read: Keys, write: Keys, peer_closed: bool) -> Self {
        let records_max = write.suite().records_max();
        Self {
            read,
            write,
            records_max,
            owes_update: false,
            peer_closed,
            without_data: 0,
            message: [0; KEY_UPDATE_LEN],
            message_len: 0,
        }
    }

    pub(super) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Opens whole records as far as there is room for their data, and stops behind one that is not
    /// simply data.
    pub(super) fn open(&mut self, incoming: &mut [u8], sink: &mut Sink<'_, '_>) -> Result<Opened, RecordError> {
        if whole_record(incoming)?.is_none() {
            return Ok(Opened { consumed: 0, starved: true });
        }
        let (mut consumed, mut keys) = (0, self.read.ready());
        let (content_type, content) = loop {
            let Some((header, body)) = whole_record(&mut incoming[consumed..])? else {
                return Ok(Opened { consumed, starved: true });
            };
            consumed += HEADER_LEN + body.len();
            let (content_type, content) = without_padding(keys.open(header, body).ok_or(RecordError::NotAuthentic)?)?;
            if content_type != ContentType::ApplicationData || self.message_len > 0 || content.is_empty() {
                break (content_type, content);
            }
            self.without_data = 0;
            sink.plain(content);
            if sink.room.remaining() == 0 {
                return Ok(Opened { consumed, starved: false });
            }
        };
        self.on_other(content_type, content)?;
        Ok(Opened { consumed, starved: false })
    }

    /// A record that is not simply data.
    fn on_other(&mut self, content_type: ContentType, content: &[u8]) -> Result<(), RecordError> {
        self.without_data += 1;
        if self.without_data > WITHOUT_DATA_MAX {
            return Err(RecordError::NoData);
        }
        match content_type {
            ContentType::Handshake => self.on_message_part(content),
            // "Handshake messages MUST NOT be interleaved with other record types."
            _ if self.message_len > 0 => Err(RecordError::Unexpected),
            ContentType::ApplicationData => Ok(()),
            ContentType::Alert => self.on_alert(content),
            _ => Err(RecordError::Unexpected),
        }
    }

    fn on_alert(&mut self, content: &[u8]) -> Result<(), RecordError> {
        let &[_level, description] = content else { return Err(RecordError::Malformed) };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => self.peer_closed = true,
            // It says that a close follows, and nothing else.
            AlertDescription::UserCanceled => {}
            // "All the alerts listed in Section 6.2 MUST be sent with AlertLevel=fatal and when received
            // MUST be treated as error alerts regardless of the AlertLevel in the message."
            description => return Err(RecordError::Alert(description)),
        }
        Ok(())
    }

    /// The only message of a handshake that a client may still send is a `KeyUpdate`.
    fn on_message_part(&mut self, part: &[u8]) -> Result<(), RecordError> {
        let have = usize::from(self.message_len);
        // A part may not be empty, and nothing may stand behind a change of keys in the same record.
        let room = self.message.get_mut(have..have + part.len()).ok_or(RecordError::Unexpected)?;
        if part.is_empty() {
            return Err(RecordError::Unexpected);
        }
        room.copy_from_slice(part);
        self.message_len += part.len() as u8;
        if HandshakeType::from(self.message[0]) != HandshakeType::KeyUpdate {
            return Err(RecordError::Unexpected);
        }
        if usize::from(self.message_len) < KEY_UPDATE_LEN {
            return Ok(());
        }
        self.message_len = 0;
        match self.message {
            [_, 0, 0, 1, UPDATE_NOT_REQUESTED] => {}
            [_, 0, 0, 1, UPDATE_REQUESTED] => self.owes_update = true,
            [_, 0, 0, 1, _] => return Err(RecordError::BadKeyUpdate),
            _ => return Err(RecordError::Malformed),
        }
        self.read.advance();
        Ok(())
    }

    /// Makes records of `plain` in `out`, and tells how long they are.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> usize {
        let mut len = 0;
        for part in plain.chunks(CONTENT_LEN_MAX) {
            if self.owes_update || self.write.sequence() >= self.records_max {
                len += self.seal_key_update(&mut out[len..]);
            }
            len += seal_one(&mut self.write, ContentType::ApplicationData, part, &mut out[len..]);
        }
        len
    }

    /// "[...] prior to sending its next Application Data record": one is enough for any number asked for.
    fn seal_key_update(&mut self, out: &mut [u8]) -> usize {
        self.owes_update = false;
        let update = [HandshakeType::KeyUpdate.into(), 0, 0, 1, UPDATE_NOT_REQUESTED];
        let len = seal_one(&mut self.write, ContentType::Handshake, &update, out);
        self.write.advance();
        len
    }

    /// Says that nothing more comes.
    pub(super) fn seal_close(&mut self, out: &mut [u8]) -> usize {
        seal_one(&mut self.write, ContentType::Alert, &[WARNING, AlertDescription::CloseNotify.into()], out)
    }

    /// Puts the alert that explains an error where it will be sent from.
    pub(super) fn seal_alert_for(&mut self, error: &RecordError, held: &mut Held) {
        let Some(alert) = error.alert() else { return };
        let mut out = [0; HEADER_LEN + 2 + 1 + TAG_LEN];
        let len = seal_one(&mut self.write, ContentType::Alert, &[FATAL, alert.into()], &mut out);
        held.keep_outgoing(&out[..len]);
    }
}

type Header = [u8; HEADER_LEN];

/// Header and body of the first record, if all its bytes are there.
fn whole_record(incoming: &mut [u8]) -> Result<Option<(Header, &mut [u8])>, RecordError> {
    let Some((header, rest)) = incoming.split_first_chunk_mut::<HEADER_LEN>() else { return Ok(None) };
    let header = *header;
    // The version in it says nothing any more: "MUST be ignored for all purposes".
    let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if ContentType::from(header[0]) != ContentType::ApplicationData {
        return Err(RecordError::Unexpected);
    }
    if len > BODY_LEN_MAX {
        return Err(RecordError::TooLong);
    }
    Ok(rest.get_mut(..len).map(|body| (header, body)))
}

/// The type stands behind the content, and behind it any number of zeros.
fn without_padding(plain: &[u8]) -> Result<(ContentType, &[u8]), RecordError> {
    let end = plain.iter().rposition(|byte| *byte != 0).ok_or(RecordError::Unexpected)?;
    if end > CONTENT_LEN_MAX || plain.len() > CONTENT_LEN_MAX + 1 {
        return Err(RecordError::TooLong);
    }
    Ok((ContentType::from(plain[end]), &plain[..end]))
}

/// Writes one record, and tells how long it is.
fn seal_one(keys: &mut Keys, content_type: ContentType, content: &[u8], out: &mut [u8]) -> usize {
    let body_len = content.len() + 1 + TAG_LEN;
    let [high, low] = (body_len as u16).to_be_bytes();
    let header = [ContentType::ApplicationData.into(), 3, 3, high, low];
    let (front, body) = out[..HEADER_LEN + body_len].split_at_mut(HEADER_LEN);
    front.copy_from_slice(&header);
    body[..content.len()].copy_from_slice(content);
    body[content.len()] = content_type.into();
    keys.ready().seal(header, body);
    HEADER_LEN + body_len
}

#[cfg(test)]
mod tests;
