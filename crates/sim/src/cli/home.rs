//! The state folder: who is logged in here, where their server is, how far they have synced.
//!
//! ```text
//! <home>/current                     the user who logged in last
//! <home>/dev-ca.pem                  the authority of a development server on this machine
//! <home>/users/alice.json            profile with tokens, readable by its owner alone
//! <home>/users/alice.position.json   how far `sim sync` and `sim tail` have got
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use im_client::accounts::Login;
use serde::{Deserialize, Serialize};

use super::{Failure, Kind};

/// What is remembered of one user's login.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) user: String,
    pub(crate) gates: Vec<String>,
    pub(crate) accounts: String,
    pub(crate) ca: PathBuf,
    /// This installation, drawn at the first login.
    pub(crate) device: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl Profile {
    pub(crate) fn set_tokens(&mut self, login: &Login) {
        self.access_token.clone_from(&login.access_token);
        self.refresh_token.clone_from(&login.refresh_token);
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    /// The chosen folder, or the usual one.
    pub(crate) fn open(chosen: Option<&Path>) -> Result<Self, Failure> {
        let dir = match chosen {
            Some(dir) => dir.to_owned(),
            None => default_dir().ok_or_else(|| {
                Failure::new(Kind::Usage, "neither XDG_STATE_HOME nor HOME is set")
                    .with_hint("choose a folder: --home DIR")
            })?,
        };
        create_private_dir(&dir.join("users")).map_err(|error| at(&dir, &error))?;
        Ok(Self { dir })
    }

    /// Where a development server on this machine leaves the authority of its certificate.
    pub(crate) fn dev_ca(&self) -> PathBuf {
        self.dir.join("dev-ca.pem")
    }

    /// The profile of that user, or of the one who logged in last.
    pub(crate) fn profile(&self, user: Option<&str>) -> Result<Profile, Failure> {
        let user = match user {
            Some(user) => user.to_owned(),
            None => fs::read_to_string(self.current())
                .map_err(|_| Failure::new(Kind::LoginNeeded, "nobody is logged in here"))?,
        };
        let path = self.profile_path(&user);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| at(&path, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Failure::new(Kind::LoginNeeded, format!("{user} is not logged in here")))
            }
            Err(error) => Err(at(&path, &error)),
        }
    }

    /// Writes a profile.
    pub(crate) fn save(&self, profile: &Profile) -> Result<(), Failure> {
        let path = self.profile_path(&profile.user);
        let mut bytes = serde_json::to_vec_pretty(profile).map_err(|error| at(&path, &error))?;
        bytes.push(b'\n');
        replace_private(&path, &bytes).map_err(|error| at(&path, &error))
    }

    /// Makes a user the one who is meant when none is named.
    pub(crate) fn make_current(&self, user: &str) -> Result<(), Failure> {
        let path = self.current();
        replace_private(&path, user.as_bytes()).map_err(|error| at(&path, &error))
    }

    /// Forgets a user's login. The sync position stays, so that a later login goes on from there.
    pub(crate) fn forget(&self, user: &str) -> Result<(), Failure> {
        let path = self.profile_path(user);
        fs::remove_file(&path).map_err(|error| at(&path, &error))?;
        if fs::read_to_string(self.current()).is_ok_and(|current| current == user) {
            fs::remove_file(self.current()).map_err(|error| at(&self.current(), &error))?;
        }
        Ok(())
    }

    /// The file of a user's position, for one purpose.
    pub(crate) fn position_path(&self, user: &str, purpose: &str) -> PathBuf {
        self.dir.join("users").join(format!("{}.{purpose}.json", file_name(user)))
    }

    fn profile_path(&self, user: &str) -> PathBuf {
        self.dir.join("users").join(format!("{}.json", file_name(user)))
    }

    fn current(&self) -> PathBuf {
        self.dir.join("current")
    }
}

fn default_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state"))).map(|dir| dir.join("sim"))
}

/// A user id as a file name: letters and digits of any script stay, everything else is written `%XX`,
/// dots too, so that no id reaches another folder or another user's files.
fn file_name(user: &str) -> String {
    let mut name = String::new();
    for c in user.chars() {
        if c.is_alphanumeric() || c == '-' || c == '_' {
            name.push(c);
        } else {
            let mut utf8 = [0; 4];
            name.extend(c.encode_utf8(&mut utf8).bytes().map(|byte| format!("%{byte:02X}")));
        }
    }
    name
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Kind::Failed, format!("{}: {error}", path.display()))
}

#[cfg(unix)]
fn create_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

/// Replaces a file in one step; only its owner can ever read it.
fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // A file that a crash left behind may have other permissions.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(new, path)
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn profile(user: &str) -> Profile {
        Profile {
            user: user.into(),
            gates: vec!["127.0.0.1:8910".into()],
            accounts: "http://127.0.0.1:8000".into(),
            ca: "ca.pem".into(),
            device: "d".into(),
            access_token: "a".into(),
            refresh_token: "r".into(),
        }
    }

    #[test]
    fn several_users_live_side_by_side_and_the_last_is_current() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path())).unwrap();
        assert!(home.profile(None).is_err());
        for user in ["a", "../b", "吃"] {
            home.save(&profile(user)).unwrap();
            home.make_current(user).unwrap();
        }
        assert_eq!(home.profile(None).unwrap().user, "吃");
        assert_eq!(home.profile(Some("../b")).unwrap().user, "../b");
        home.forget("吃").unwrap();
        assert!(home.profile(None).is_err() && home.profile(Some("吃")).is_err());
        assert_eq!(home.profile(Some("a")).unwrap().user, "a");
    }

    #[test]
    fn ids_never_leave_the_folder_or_meet() {
        let names = ["..", "a.position", "a/b", "a%2Fb", "a", "A"].map(file_name);
        assert!(names.iter().all(|name| !name.contains(['/', '.', '\\'])), "{names:?}");
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[cfg(unix)]
    #[test]
    fn tokens_are_readable_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path())).unwrap();
        home.save(&profile("a")).unwrap();
        fs::set_permissions(home.profile_path("a"), fs::Permissions::from_mode(0o644)).unwrap();
        home.save(&profile("a")).unwrap();
        let mode = fs::metadata(home.profile_path("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
