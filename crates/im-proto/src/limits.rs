//! Every named maximum of the protocol. A reader enforces them before it reserves memory; a sender
//! checks them before it fills a field.

use proto_codec::Codec;

/// Bytes of an id (user, group, device, client message id), UTF-8.
pub const ID_LEN_MAX: u32 = 64;
/// Bytes of a conversation id: two ids and the colon between them.
pub const CONVERSATION_ID_LEN_MAX: u32 = 2 * ID_LEN_MAX + 1;
/// Bytes of one message's payload. Pictures and files travel by reference.
pub const PAYLOAD_LEN_MAX: u32 = 16 * 1024;
/// Bytes of the payload of an online-only signal.
pub const SIGNAL_LEN_MAX: u32 = 1024;
/// Bytes of an access token.
pub const TOKEN_LEN_MAX: u32 = 2048;
/// Bytes of a free text: names, refusal details, addresses.
pub const TEXT_LEN_MAX: u32 = 256;

/// Rows of one page, of messages or of anything else that is listed.
pub const PAGE_ROWS_MAX: u32 = 200;
/// Members of a group that is fanned out on write.
pub const GROUP_MEMBERS_MAX: u32 = 1000;
/// Codecs that a client may offer.
pub const CODECS_MAX: u32 = 8;
/// Body encryptions that a client may offer.
pub const SUITES_MAX: u32 = 8;
/// Bytes of an X25519 public key; a key share has exactly these or none.
pub const KEY_SHARE_LEN: u32 = 32;
/// Bytes of an Ed25519 signature; exactly these or none.
pub const SIGNATURE_LEN: u32 = 64;
/// Gate addresses in a redirect.
pub const GATES_MAX: u32 = 16;

/// Body of a frame from a client: one message with its ids fits twice over.
pub const CLIENT_FRAME_LEN_MAX: u32 = 64 * 1024;
/// Body of a frame to a client, and the bytes after which a page of messages is cut.
/// A full page (a row over the cut, ids included) stays under it.
pub const SERVER_FRAME_LEN_MAX: u32 = 512 * 1024;
/// How many times longer a body may be in another codec than in the binary one. The worst is a list
/// of short ids in JSON: two bytes are five there (`"x",` or `"\"",`), and the names of the fields of a
/// full page of rows come to less than a fifth of the maximum.
pub const CODED_GROWTH_MAX: u32 = 4;

/// [`SERVER_FRAME_LEN_MAX`] on a connection in that codec.
pub const fn server_frame_len_max(codec: Codec) -> u32 {
    match codec {
        Codec::Binary => SERVER_FRAME_LEN_MAX,
        _ => CODED_GROWTH_MAX * SERVER_FRAME_LEN_MAX,
    }
}

/// Payload bytes after which a page of messages is cut short; `has_more` then says so.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Body of a frame between tiers: an answer to a client with its envelope.
pub const LINK_FRAME_LEN_MAX: u32 = 1024 * 1024;
/// Receivers named in one frame between tiers.
pub const LINK_TARGETS_MAX: u32 = GROUP_MEMBERS_MAX + 1;
/// Users who come or go in one frame between routes: 8 bytes each, so that two lists fit a frame.
pub const LINK_PRESENCE_MAX: u32 = 32 * 1024;
/// Body of a client's frame, or of an answer to it, inside an envelope between tiers.
pub const LINK_BODY_LEN_MAX: u32 = SERVER_FRAME_LEN_MAX;
