//! Tokens from signer to verifier, good and bad, on a clock of the tests' own.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use im_auth::{Claims, KEYS_MAX, KeyError, LEEWAY, PublicKey, Signer, TokenError, Verifier};
use im_proto::limits::TOKEN_LEN_MAX;
use im_proto::{RefusalCode, UserId};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const LIFETIME: Duration = Duration::from_secs(600);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn pkcs8() -> Vec<u8> {
    let pair = Ed25519KeyPair::generate().unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    der.as_ref().to_vec()
}

fn signer() -> Signer {
    Signer::from_pkcs8(&pkcs8()).unwrap()
}

fn verifier(signers: &[&Signer]) -> Verifier {
    Verifier::new(signers.iter().map(|signer| signer.public_key().clone())).unwrap()
}

fn anna() -> UserId {
    UserId::new("anna").unwrap()
}

/// Signs any header and claims with a given key, as somebody would who does not use our signer.
fn forge(der: &[u8], header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_ed_der(der), Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

fn claims() -> Value {
    json!({"sub": "anna", "name": "Anna", "iat": 1_800_000_000, "exp": 1_800_000_600, "jti": "x", "iss": "sim"})
}

#[test]
fn a_token_says_what_was_signed() {
    let signer = signer();
    let issued = signer.issue(anna(), "Anna 安娜", 3, now(), LIFETIME);
    let claims = verifier(&[&signer]).verify(&issued.token, now()).unwrap();
    assert_eq!(claims, issued.claims);
    assert_eq!(
        claims,
        Claims {
            user: anna(),
            name: "Anna 安娜".into(),
            issued_at: 1_800_000_000,
            expires_at: 1_800_000_600,
            id: issued.claims.id.clone(),
            generation: 3,
            login: 0,
        }
    );
    let other = signer.issue(anna(), "Anna", 3, now(), LIFETIME);
    assert_ne!(other.claims.id, claims.id, "every token has an id of its own");
}

#[test]
fn a_token_may_name_the_login_that_it_was_made_for() {
    let signer = signer();
    let issued = signer.issue_for(u64::MAX - 1, anna(), "Anna", 3, now(), LIFETIME);
    assert_eq!(verifier(&[&signer]).verify(&issued.token, now()).unwrap().login, u64::MAX - 1);
    let payload = URL_SAFE_NO_PAD.decode(issued.token.split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload["sid"], "fffffffffffffffe");
}

/// Tokens outlive a release: this one is written down, with the fields' names.
#[test]
fn the_form_of_a_token_is_fixed() {
    let der = pkcs8();
    let signer = Signer::from_pkcs8(&der).unwrap();
    let header = json!({"typ": "JWT", "alg": "EdDSA", "kid": signer.public_key().id().to_string()});
    let verifier = verifier(&[&signer]);
    let claims_read = verifier.verify(&forge(&der, &header, &claims()), now()).unwrap();
    assert_eq!((claims_read.user, claims_read.generation), (anna(), 0));

    let token = signer.issue(anna(), "Anna", 0, now(), LIFETIME).token;
    let part = |index: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
    };
    assert_eq!(part(0), header);
    let mut written = part(1);
    written["jti"] = json!("x");
    assert_eq!(written, claims());
}

#[test]
fn time_begins_and_ends() {
    let signer = signer();
    let verifier = verifier(&[&signer]);
    let token = signer.issue(anna(), "Anna", 0, now(), LIFETIME).token;
    let second = Duration::from_secs(1);
    let verify = |time| verifier.verify(&token, time).map(|claims| claims.user);

    assert_eq!(verify(now() - LEEWAY), Ok(anna()));
    assert_eq!(verify(now() - LEEWAY - second), Err(TokenError::NotYet { at: 1_800_000_000 }));
    assert_eq!(verify(now() + LIFETIME + LEEWAY - second), Ok(anna()));
    let expired = TokenError::Expired { user: anna(), at: 1_800_000_600 };
    assert_eq!(verify(now() + LIFETIME + LEEWAY), Err(expired.clone()));
    assert_eq!(verify(UNIX_EPOCH - second), Err(TokenError::NotYet { at: 1_800_000_000 }));

    assert_eq!(expired.code(), RefusalCode::ExpiredToken);
    assert_eq!(TokenError::NotYet { at: 0 }.code(), RefusalCode::BadToken);
    assert_eq!(TokenError::BadSignature.code(), RefusalCode::BadToken);
}

#[test]
fn keys_rotate() {
    let (old, new, strange) = (signer(), signer(), signer());
    let both = verifier(&[&old, &new]);
    for signer in [&old, &new] {
        let token = signer.issue(anna(), "Anna", 0, now(), LIFETIME).token;
        assert!(both.verify(&token, now()).is_ok());
    }
    let token = strange.issue(anna(), "Anna", 0, now(), LIFETIME).token;
    assert_eq!(both.verify(&token, now()), Err(TokenError::UnknownKey));
    let token = old.issue(anna(), "Anna", 0, now(), LIFETIME).token;
    assert_eq!(verifier(&[&new]).verify(&token, now()), Err(TokenError::UnknownKey));
}

/// A token that names our key and is signed by another.
#[test]
fn a_key_id_alone_is_worth_nothing() {
    let signer = signer();
    let header = json!({"typ": "JWT", "alg": "EdDSA", "kid": signer.public_key().id().to_string()});
    let token = forge(&pkcs8(), &header, &claims());
    assert_eq!(verifier(&[&signer]).verify(&token, now()), Err(TokenError::BadSignature));
}

/// Neither `none` nor a MAC keyed with the public key, the classic forgeries, is looked at.
#[test]
fn the_algorithm_is_not_the_tokens_choice() {
    let signer = signer();
    let verifier = verifier(&[&signer]);
    let kid = signer.public_key().id().to_string();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for signature in ["", "AAAA"] {
        let token = format!("{}.{}.{signature}", part(&json!({"alg": "none", "kid": kid})), part(&claims()));
        assert_eq!(verifier.verify(&token, now()), Err(TokenError::Malformed));
    }
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid);
    let mac_key = EncodingKey::from_secret(signer.public_key().to_pem().as_bytes());
    let token = jsonwebtoken::encode(&header, &claims(), &mac_key).unwrap();
    assert_eq!(verifier.verify(&token, now()), Err(TokenError::Malformed));
}

#[test]
fn well_signed_claims_are_still_checked() {
    let der = pkcs8();
    let signer = Signer::from_pkcs8(&der).unwrap();
    let verifier = verifier(&[&signer]);
    let header = json!({"typ": "JWT", "alg": "EdDSA", "kid": signer.public_key().id().to_string()});
    let verify = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        verifier.verify(&forge(&der, &header, &claims), now()).map(|_| ())
    };
    assert_eq!(verify(&|_| ()), Ok(()));
    assert_eq!(verify(&|claims| claims["later"] = json!("unknown fields are skipped")), Ok(()));
    assert_eq!(verify(&|claims| claims["iss"] = json!("other")), Err(TokenError::BadIssuer));
    for sub in ["", "a:b", "a\nb", &"x".repeat(65)] {
        assert_eq!(verify(&|claims| claims["sub"] = json!(sub)), Err(TokenError::BadSubject), "{sub:?}");
    }
    for field in ["sub", "name", "iat", "exp", "jti", "iss"] {
        let missing = verify(&|claims| {
            claims.as_object_mut().unwrap().remove(field).unwrap();
        });
        assert_eq!(missing, Err(TokenError::Malformed), "without {field}");
    }
    for exp in [json!("1800000600"), json!(-1), json!(1e300), json!(null)] {
        assert_eq!(verify(&|claims| claims["exp"] = exp.clone()), Err(TokenError::Malformed), "{exp}");
    }
    assert_eq!(verify(&|claims| claims["exp"] = json!(u64::MAX)), Ok(()));
    assert_eq!(verify(&|claims| claims["iat"] = json!(u64::MAX)), Err(TokenError::NotYet { at: u64::MAX }));
}

/// Every cut and every changed character is refused, and nothing panics.
#[test]
fn damage_is_refused() {
    let signer = signer();
    let verifier = verifier(&[&signer]);
    let token = signer.issue(anna(), "Anna", 0, now(), LIFETIME).token;
    for end in 0..token.len() {
        assert!(verifier.verify(&token[..end], now()).is_err(), "cut at {end}");
    }
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let damaged = String::from_utf8(bytes).unwrap();
        assert!(verifier.verify(&damaged, now()).is_err(), "changed at {at}");
    }
    for text in ["", ".", "..", "...", "a.b.c", "🦀.🦀.🦀", "{}.{}.{}"] {
        assert_eq!(verifier.verify(text, now()), Err(TokenError::Malformed), "{text:?}");
    }
}

#[test]
fn long_tokens_are_not_even_parsed() {
    let signer = signer();
    let verifier = verifier(&[&signer]);
    let token = signer.issue(anna(), &"n".repeat(TOKEN_LEN_MAX as usize), 0, now(), LIFETIME).token;
    assert_eq!(verifier.verify(&token, now()), Err(TokenError::Malformed));
    // The longest id fits with a name that is three times as long and all escapes.
    let user = UserId::new("u".repeat(64)).unwrap();
    let token = signer.issue(user, &"\u{1}".repeat(192), u64::MAX, now(), LIFETIME).token;
    assert!(verifier.verify(&token, now()).is_ok(), "{} bytes", token.len());
}

#[test]
fn a_verifier_has_some_keys_and_not_many() {
    assert!(matches!(Verifier::new([]), Err(KeyError::None)));
    let keys: Vec<PublicKey> = (0..=KEYS_MAX).map(|_| signer().public_key().clone()).collect();
    assert!(matches!(Verifier::new(keys.clone()), Err(KeyError::TooMany(count)) if count == KEYS_MAX + 1));
    assert!(Verifier::new(keys[..KEYS_MAX].to_vec()).is_ok());
    let twice = Verifier::new([keys[0].clone(), keys[0].clone()]).unwrap();
    assert_eq!(twice.key_ids().collect::<Vec<_>>(), [keys[0].id()]);
}

#[test]
fn nothing_secret_is_printed() {
    let der = pkcs8();
    let signer = Signer::from_pkcs8(&der).unwrap();
    let printed = format!("{signer:?}");
    assert_eq!(printed, format!("Signer {{ key: {}, .. }}", signer.public_key().id()));
}
