#![allow(clippy::unwrap_used)]
use std::{net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use clap::Command;

use super::{ByteSize, Environment, FlagStyle, Loaded, Loader, Secret, SettingsError};

crate::setting_choice! {
    enum Finish { Plain = "plain", Glazed = "glazed" }
}

crate::settings! {
    /// Settings of the kiln.
    struct Kiln("kiln") {
        /// Address for orders.
        /// Loopback unless told otherwise.
        listen: SocketAddr = "127.0.0.1:7000",
        /// How long a firing takes.
        firing: Duration = "180s" in Duration::from_secs(1)..=Duration::from_secs(3600),
        /// Pots per firing.
        pots: u32 = "16" in 1..=64,
        /// Keep the fire overnight.
        overnight: bool = "false",
        /// Largest pot.
        largest: ByteSize = "64KiB",
        /// Where to keep the book.
        book: Option<PathBuf> = "",
        /// Helpers' names.
        helpers: Vec<String> = "ann, bob",
        /// Surface of the pots.
        finish: Finish = "plain",
        /// Word that opens the door.
        password: Secret = "",
        /// What the kiln says.
        greeting: String = "hello" env "SIM_GREETING",
    }
}

crate::settings! {
    /// Settings of the shop.
    struct Shop("pot-shop") {
        /// Address of the shop.
        listen: SocketAddr = "127.0.0.1:7001",
    }
}

const KNOWN: &[&str] = &["kiln", "pot-shop", "market"];
const FILE: &str = "pots.toml";

fn loader() -> Loader {
    Loader::new("sim-kiln", KNOWN)
}

fn from_text(text: &str) -> Result<Loaded<Kiln>, SettingsError> {
    loader().load_text(Path::new(FILE), text, &Environment::default())
}

fn complaint(text: &str) -> String {
    from_text(text).unwrap_err().to_string()
}

/// All three layers above the defaults; the file is a real one.
fn layered(file: Option<&str>, environment: &[(&str, &str)], flags: &[&str]) -> Result<Kiln, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["sim-kiln".to_owned()];
    if let Some(text) = file {
        let path = folder.path().join(FILE);
        std::fs::write(&path, text).unwrap();
        arguments.extend(["--config".to_owned(), path.to_str().unwrap().to_owned()]);
    }
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let matches = loader().arguments::<Kiln>(Command::new("sim-kiln")).try_get_matches_from(arguments).unwrap();
    let environment = environment.iter().copied().collect();
    loader().load::<Kiln>(&matches, &environment).map(|loaded| loaded.settings)
}

#[test]
fn the_stronger_layer_wins_in_every_combination() {
    // Bit 0: file, bit 1: environment, bit 2: flag; each layer says its own number.
    for layers in 0..8u32 {
        let file = (layers & 1 != 0).then_some("[kiln]\npots = 1\n");
        let environment: &[_] = if layers & 2 != 0 { &[("SIM_KILN_POTS", "2")] } else { &[] };
        let flags: &[_] = if layers & 4 != 0 { &["--pots", "3"] } else { &[] };
        let expected = match layers {
            0 => 16,
            1 => 1,
            2 | 3 => 2,
            _ => 3,
        };
        assert_eq!(layered(file, environment, flags).unwrap().pots, expected, "layers {layers:03b}");
    }
}

#[test]
fn every_type_reads_from_every_layer() {
    let expected = Kiln {
        listen: "[::1]:9".parse().unwrap(),
        firing: Duration::from_millis(1500),
        pots: 33,
        overnight: true,
        largest: ByteSize::mib(2),
        book: Some(PathBuf::from("/var/book")),
        helpers: vec!["cy".to_owned()],
        finish: Finish::Glazed,
        password: Secret::default(),
        greeting: "say \"hi\"\n\\ \u{1}é".to_owned(),
    };
    let toml = "[kiln]\nlisten='[::1]:9'\nfiring='1500ms'\npots=0x21\novernight=true\n\
                largest='2MiB'\nbook='/var/book'\nhelpers=['cy']\nfinish='glazed'\n\
                greeting=\"say \\\"hi\\\"\\n\\\\ \\u0001é\"\n";
    assert_eq!(layered(Some(toml), &[], &[]).unwrap(), expected);
    let texts = [
        ("LISTEN", "[::1]:9"),
        ("FIRING", "1500ms"),
        ("POTS", "33"),
        ("OVERNIGHT", "true"),
        ("LARGEST", "2MiB"),
        ("BOOK", "/var/book"),
        ("HELPERS", "cy"),
        ("FINISH", "glazed"),
    ];
    let names: Vec<String> = texts.iter().map(|(key, _)| format!("SIM_KILN_{key}")).collect();
    let mut variables: Vec<(&str, &str)> =
        names.iter().zip(texts).map(|(name, (_, value))| (name.as_str(), value)).collect();
    variables.push(("SIM_GREETING", &expected.greeting));
    assert_eq!(layered(None, &variables, &[]).unwrap(), expected);
    let mut flags: Vec<String> = texts.iter().map(|(key, value)| format!("--{}={value}", key.to_lowercase())).collect();
    flags.push(format!("--greeting={}", expected.greeting));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(layered(None, &[], &flags).unwrap(), expected);
}

#[test]
fn a_switch_needs_no_value_and_can_be_turned_off() {
    let on = "[kiln]\novernight = true\n";
    assert!(layered(None, &[], &["--overnight"]).unwrap().overnight);
    assert!(!layered(Some(on), &[], &["--overnight=false"]).unwrap().overnight);
}

#[test]
fn an_empty_text_takes_an_optional_value_back() {
    let file = Some("[kiln]\nbook = '/var/book'\nhelpers = ['x']\n");
    let kiln = layered(file, &[("SIM_KILN_BOOK", ""), ("SIM_KILN_HELPERS", "")], &[]).unwrap();
    assert_eq!((kiln.book, kiln.helpers), (None, vec![]));
}

#[test]
fn all_problems_of_all_layers_are_reported_at_once() {
    let file = "[kilm]\n\
                [kiln]\n\
                pots = 65\n\
                keepalive = 1\n\
                firing = 180\n\
                listenn = 'x'\n\
                [market]\n\
                anything = 'is for the market to judge'\n";
    let environment = [
        ("SIM_KILN_LARGEST", "64KB"),
        ("SIM_KILN_OVERNITE", "true"),
        ("SIM_MARKET_STALLS", "not ours to judge"),
        ("SIM_OTHER", "not a section"),
    ];
    let flags = ["--listen", "localhost", "--finish", "shiny", "--pots", "3"];
    let error = layered(Some(file), &environment, &flags).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().map(|line| line.rsplit_once(FILE).map_or(line, |(_, tail)| tail)).collect();
    assert_eq!(
        lines,
        [
            ":1: unknown table [kilm]; did you mean [kiln]?",
            ":4: [kiln] has no setting \"keepalive\"",
            ":6: [kiln] has no setting \"listenn\"; did you mean listen?",
            "environment SIM_KILN_OVERNITE: no such setting; did you mean SIM_KILN_OVERNIGHT?",
            "flag --listen: [kiln] listen: \"localhost\" is not an address such as 127.0.0.1:8910",
            ":5: [kiln] firing: expected a duration such as 500ms, 30s, 5m, 12h or 7d, found 180",
            // Reported although the flag covers it.
            ":3: [kiln] pots: 65 must be at least 1 and at most 64",
            "environment SIM_KILN_LARGEST: [kiln] largest: \"64KB\" is not a size such as 512B, \
             64KiB, 16MiB or 1GiB",
            "flag --finish: [kiln] finish: \"shiny\" is not one of plain glazed",
        ]
    );
}

#[test]
fn the_file_path_leads_each_line() {
    assert_eq!(complaint("\n\n[kiln]\npotz = 1"), "pots.toml:4: [kiln] has no setting \"potz\"; did you mean pots?");
}

#[test]
fn misplaced_keys_and_tables_are_named() {
    assert_eq!(
        complaint("pots = 1"),
        "pots.toml:1: \"pots\" stands outside any table; the tables are [kiln], [pot-shop], [market]"
    );
    assert_eq!(complaint("kiln = 1"), "pots.toml:1: [kiln] must be a table");
    assert_eq!(complaint("[[kiln]]"), "pots.toml:1: [kiln] must be a table");
    assert_eq!(
        complaint("[kiln.pots]"),
        "pots.toml:1: [kiln] pots: expected a whole number from 0 to 4294967295, found a table"
    );
}

#[test]
fn syntax_errors_name_their_lines() {
    let error = complaint("[kiln]\npots = \nfiring = '1s'\nlisten 5\n");
    assert!(error.starts_with("pots.toml:2: not TOML: "), "{error}");
    assert!(error.contains("\npots.toml:4: not TOML: "), "{error}");
}

#[test]
fn an_unreadable_file_is_one_problem() {
    let matches = loader()
        .arguments::<Kiln>(Command::new("sim-kiln"))
        .try_get_matches_from(["sim-kiln", "--config", "/nonexistent/pots.toml"])
        .unwrap();
    let error = loader().load::<Kiln>(&matches, &Environment::default()).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/pots.toml: cannot be read: "), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn the_environment_can_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    std::fs::write(&path, "[kiln]\npots = 5\n").unwrap();
    let matches = loader().arguments::<Kiln>(Command::new("sim-kiln")).try_get_matches_from(["sim-kiln"]).unwrap();
    let environment = Environment::from_iter([("SIM_CONFIG", path.as_os_str())]);
    let loaded = loader().load::<Kiln>(&matches, &environment).unwrap();
    assert_eq!((loaded.settings.pots, loaded.file), (5, Some(path)));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_a_problem() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = std::ffi::OsString::from_vec(vec![0xff]);
    let environment = Environment::from_iter([("SIM_KILN_POTS", bytes)]);
    let error = loader().load_text::<Kiln>(Path::new(FILE), "", &environment).unwrap_err().to_string();
    assert_eq!(error, "environment SIM_KILN_POTS: the value is not UTF-8");
}

#[test]
fn secrets_never_show() {
    let secret = "hunter2";
    let environment = Environment::from_iter([("SIM_KILN_PASSWORD", secret)]);
    let loaded = loader().load_text::<Kiln>(Path::new(FILE), "", &environment).unwrap();
    assert_eq!(loaded.settings.password.expose(), secret);
    assert!(!format!("{:?}", loaded.settings).contains(secret));
    assert!(!loaded.printed.contains(secret));
    assert!(loaded.printed.contains("# Set by environment SIM_KILN_PASSWORD, not shown.\npassword = \"\"\n"));
    // A list in the file is a mistake that must not be repeated in the message either.
    assert!(!complaint("[kiln]\npassword = ['hunter2']\n").contains(secret));
    // And there is no flag for it.
    let given =
        loader().arguments::<Kiln>(Command::new("sim-kiln")).try_get_matches_from(["sim-kiln", "--password", secret]);
    assert!(given.is_err());
}

#[test]
fn the_printed_file_is_golden() {
    let text = "[kiln]\npots = 64\nhelpers = []\n";
    let environment = Environment::from_iter([("SIM_GREETING", "hi")]);
    let loaded = loader().load_text::<Kiln>(Path::new(FILE), text, &environment).unwrap();
    assert_eq!(loaded.printed, include_str!("testdata/printed.toml"));
}

#[test]
fn the_printed_file_loads_back() {
    let text = "[kiln]\nlisten='[::1]:9'\nfiring='1500ms'\npots=33\novernight=true\n\
                largest='2MiB'\nbook='/var/book \\ \"quoted\"'\nhelpers=['cy', 'é, comma']\n\
                finish='glazed'\ngreeting=\"tab\\tline\\nbell\\u0007\"\n";
    let first = from_text(text).unwrap();
    let second = from_text(&first.printed).unwrap();
    assert_eq!(first.settings, second.settings);
    assert_ne!(first.settings, Kiln::default());
    let defaults = from_text("").unwrap();
    assert_eq!(from_text(&defaults.printed).unwrap().settings, Kiln::default());
}

#[test]
fn several_sections_load_together_with_prefixed_flags() {
    let loader = loader().flag_style(FlagStyle::SectionAndKey);
    let matches = loader
        .arguments::<(Kiln, Shop)>(Command::new("sim"))
        .try_get_matches_from(["sim", "--kiln-listen", "127.0.0.1:1"])
        .unwrap();
    let environment = Environment::from_iter([("SIM_POT_SHOP_LISTEN", "127.0.0.1:2")]);
    let loaded = loader.load::<(Kiln, Shop)>(&matches, &environment).unwrap();
    let (kiln, shop) = loaded.settings;
    assert_eq!((kiln.listen.port(), shop.listen.port()), (1, 2));
    assert!(loaded.printed.contains("\n[pot-shop]\n"));
    assert!(loaded.printed.contains("flag --pot-shop-listen"));
}

#[test]
fn a_bad_section_does_not_hide_the_next() {
    let environment = Environment::from_iter([("SIM_KILN_POTS", "0"), ("SIM_POT_SHOP_LISTEN", "x")]);
    let error = loader().load_text::<(Kiln, Shop)>(Path::new(FILE), "", &environment).unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
}

#[test]
fn clap_accepts_the_flags() {
    loader().arguments::<Kiln>(Command::new("sim-kiln")).debug_assert();
}

#[test]
fn quantities_refuse_what_could_be_misread() {
    use super::SettingValue;
    for bad in ["", "180", "s", "1.5s", "-1s", "1 parsec", "1s 2s", "99999999999999999999s"] {
        assert!(Duration::from_text(bad).is_err(), "{bad:?}");
    }
    for (text, millis) in [("500ms", 500), ("30 s", 30_000), ("7d", 604_800_000), ("0s", 0)] {
        assert_eq!(Duration::from_text(text), Ok(Duration::from_millis(millis)));
    }
    for bad in ["64", "64KB", "64kib", "-1B", "20000000TiB"] {
        assert!(ByteSize::from_text(bad).is_err(), "{bad:?}");
    }
    assert_eq!(ByteSize::from_text("64KiB").map(ByteSize::as_u64), Ok(65_536));
    assert_eq!(ByteSize::bytes(0).to_string(), "0B");
    assert_eq!(Duration::ZERO.to_toml(), "\"0s\"");
}
