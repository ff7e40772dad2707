//! Key files: made once, kept, refused when open to others.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use im_auth::keys::{PRIVATE_FILE, PUBLIC_FILE, load_or_create, public_file};
use im_auth::{KeyError, PublicKey, Verifier};
use im_proto::UserId;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_first_start_makes_the_keys_and_later_ones_keep_them() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("keys").join("token");
    let first = load_or_create(&dir).unwrap();
    assert_eq!(names(&dir), [PRIVATE_FILE, PUBLIC_FILE].map(str::to_owned), "and no temporary file");
    assert_eq!(mode(&dir.join(PRIVATE_FILE)), 0o600);
    assert_eq!(mode(&dir), 0o700);

    let second = load_or_create(&dir).unwrap();
    assert_eq!(second.public_key(), first.public_key());
    let verifier = Verifier::from_files([public_file(&dir)]).unwrap();
    let now = SystemTime::now();
    let issued = second.issue(UserId::new("anna").unwrap(), "anna", 0, now, Duration::from_secs(600));
    assert_eq!(verifier.verify(&issued.token, now), Ok(issued.claims));

    let other = tempfile::tempdir().unwrap();
    assert_ne!(load_or_create(other.path()).unwrap().public_key(), first.public_key(), "no key is built in");
}

#[test]
fn services_that_start_together_end_with_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let together = Barrier::new(8);
    let keys: Vec<PublicKey> = std::thread::scope(|scope| {
        let start = || {
            together.wait();
            load_or_create(dir.path()).unwrap().public_key().clone()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(PublicKey::from_file(&public_file(dir.path())).unwrap(), keys[0]);
    assert_eq!(names(dir.path()).len(), 2);
}

#[test]
fn a_private_key_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    load_or_create(dir.path()).unwrap();
    let private = dir.path().join(PRIVATE_FILE);
    for open in [0o604, 0o644, 0o660, 0o602, 0o777] {
        set_mode(&private, open);
        let error = load_or_create(dir.path()).unwrap_err();
        assert!(matches!(&error, KeyError::OpenPermissions { mode, .. } if *mode == open), "{open:o}: {error}");
        let sentence = error.to_string();
        assert!(sentence.contains("chmod 600") && sentence.contains(private.to_str().unwrap()), "{sentence}");
    }
    for fine in [0o600, 0o400, 0o440] {
        set_mode(&private, fine);
        assert!(load_or_create(dir.path()).is_ok(), "{fine:o}");
    }
}

#[test]
fn a_damaged_private_key_stops_the_start_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join(PRIVATE_FILE);
    load_or_create(dir.path()).unwrap();
    let good = fs::read_to_string(&private).unwrap();
    let public = fs::read_to_string(public_file(dir.path())).unwrap();
    let half = &good[..good.len() / 2];
    for bad in ["", "no PEM", half, &public, &good.replace("PRIVATE", "EC PRIVATE")] {
        fs::write(&private, bad).unwrap();
        let error = load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, KeyError::NotAKey { .. }), "{bad:?}: {error}");
        assert!(error.to_string().contains(PRIVATE_FILE), "{error}");
        assert_eq!(fs::read_to_string(&private).unwrap(), bad, "a damaged key is never replaced");
    }
}

#[test]
fn the_public_file_follows_the_private_one() {
    let dir = tempfile::tempdir().unwrap();
    let signer = load_or_create(dir.path()).unwrap();
    let public = public_file(dir.path());
    let spoil: [fn(&Path); 2] = [|path| fs::remove_file(path).unwrap(), |path| fs::write(path, "old").unwrap()];
    for spoil in spoil {
        spoil(&public);
        load_or_create(dir.path()).unwrap();
        assert_eq!(PublicKey::from_file(&public).unwrap(), *signer.public_key());
    }
}

#[test]
fn verifiers_name_the_file_that_is_no_public_key() {
    let dir = tempfile::tempdir().unwrap();
    load_or_create(dir.path()).unwrap();
    let absent = dir.path().join("absent.pem");
    let error = Verifier::from_files([&absent]).unwrap_err();
    assert!(matches!(&error, KeyError::Io { path, .. } if *path == absent), "{error}");
    let private = dir.path().join(PRIVATE_FILE);
    let error = Verifier::from_files([&private]).unwrap_err();
    assert!(matches!(&error, KeyError::NotAKey { path, .. } if *path == private), "{error}");
}

/// The same key as `openssl pkey -pubout` prints it (RFC 8410, section 10.1).
#[test]
fn a_public_key_has_the_standard_form() {
    let text = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    assert_eq!(PublicKey::from_pem(text).unwrap().to_pem(), text);
}
