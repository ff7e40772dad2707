//! Who may call: whoever shows one of the operator's service tokens.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use axum::http::{HeaderMap, header};

use crate::ApiError;

/// Characters of a token at least: what a program draws, not what a person thinks of.
const TOKEN_LEN_MIN: usize = 32;

/// Tokens of one file: one per calling system, and two while one is being replaced.
const TOKENS_MAX: usize = 1000;

/// Who may call.
#[derive(Clone)]
pub enum Auth {
    /// Everybody: for development.
    Open,
    /// Who shows a token of which this is the digest.
    Tokens(Vec<[u8; SHA256_OUTPUT_LEN]>),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Tokens(tokens) => write!(f, "Tokens({})", tokens.len()),
        }
    }
}

/// Why tokens could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A line is no token.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
}

impl Auth {
    /// Reads tokens, one per line of at least 32 characters; empty lines and those that begin
    /// with `#` are passed over.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path).map_err(|error| TokenError::Read { path: path.to_owned(), error })?;
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let bad = |why| TokenError::Line { path: path.to_owned(), line: index + 1, why };
            let token = line.trim();
            if token.is_empty() || token.starts_with('#') {
                continue;
            }
            if token.len() < TOKEN_LEN_MIN {
                return Err(bad("a token has at least 32 characters"));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(bad("a token has letters, digits and signs of ASCII and no spaces"));
            }
            if tokens.len() == TOKENS_MAX {
                return Err(bad("too many tokens"));
            }
            tokens.push(hashed(token));
        }
        if tokens.is_empty() {
            return Err(TokenError::Line { path: path.to_owned(), line: 1, why: "there is no token in it" });
        }
        Ok(Self::Tokens(tokens))
    }

    /// Whether a request with these headers may go on.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Self::Tokens(tokens) = self else { return Ok(()) };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        let key = headers.get("x-api-key").and_then(|value| value.to_str().ok());
        let shown = hashed(bearer.or(key).ok_or(ApiError::NoToken)?);
        // Digests of secrets are compared: how long that takes tells nothing about the secrets.
        if tokens.contains(&shown) { Ok(()) } else { Err(ApiError::NoToken) }
    }
}

fn hashed(token: &str) -> [u8; SHA256_OUTPUT_LEN] {
    let mut hashed = [0; SHA256_OUTPUT_LEN];
    hashed.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hashed
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn auth(text: &str) -> Result<Auth, TokenError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Auth::from_file(file.path())
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_token_lets_in_by_either_header_and_nothing_else_does() {
        let auth = auth(&format!("# shop\n\n{TOKEN}\n")).unwrap();
        for good in [headers("authorization", &format!("bEARER {TOKEN}")), headers("x-api-key", TOKEN)] {
            assert_eq!(auth.admit(&good), Ok(()));
        }
        for bad in [
            HeaderMap::new(),
            headers("authorization", TOKEN),
            headers("authorization", "Bearer "),
            headers("authorization", &format!("Basic {TOKEN}")),
            headers("x-api-key", &TOKEN[1..]),
            headers("x-api-key", "# shop"),
        ] {
            assert_eq!(auth.admit(&bad), Err(ApiError::NoToken), "{bad:?}");
        }
        assert_eq!(Auth::Open.admit(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn a_file_with_a_bad_line_is_refused_by_its_number() {
        for (text, line) in [("", 1), ("# only words", 1), (&format!("{TOKEN}\nshort"), 2), (&format!("{TOKEN} x"), 1)]
        {
            let error = auth(text).unwrap_err();
            assert!(matches!(error, TokenError::Line { line: at, .. } if at == line), "{text:?}: {error}");
        }
        let none = Auth::from_file(Path::new("/nonexistent/tokens")).unwrap_err();
        assert!(none.to_string().contains("/nonexistent/tokens"), "{none}");
    }

    #[test]
    fn tokens_are_not_printed() {
        let auth = auth(TOKEN).unwrap();
        assert_eq!(format!("{auth:?}"), "Tokens(1)");
    }
}
