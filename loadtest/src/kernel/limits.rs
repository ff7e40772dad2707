//! Limits of the system that end a large run before memory does. They are told beforehand with the
//! command that raises them; this tool changes nothing by itself.

use std::fs;

use crate::hold::CLIENTS_PER_ADDRESS;

/// Files that everything else on the machine has open.
const SPARE_FILES: u64 = 20_000;
/// TCP connections that everybody else has tracked.
const SPARE_TRACKED: u64 = 10_000;

/// What has to be raised before this machine can have so many sockets more, each with the command.
pub(crate) fn too_low(sockets: u64) -> Vec<String> {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
        text.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()
    };
    judge(sockets, &read)
}

fn judge(sockets: u64, read: &impl Fn(&str) -> Option<Vec<u64>>) -> Vec<String> {
    let first = |name| read(name)?.first().copied();
    let mut found = Vec::new();
    let mut need = |name: &str, has: Option<u64>, needed: u64, why: &str| {
        if has.is_some_and(|has| has < needed) {
            found.push(format!("{why}: sysctl -w {name}={needed}"));
        }
    };
    let files = sockets + SPARE_FILES;
    need("fs.file-max", first("fs.file-max"), files, "all processes together may not open so many files");
    // Nothing is tracked unless a firewall asks for it, which the number of tracked ones shows.
    if first("net.netfilter.nf_conntrack_count").is_some_and(|count| count > 0) {
        let name = "net.netfilter.nf_conntrack_max";
        need(name, first(name), sockets / 2 + SPARE_TRACKED, "the firewall tracks connections, and not so many");
    }
    // Those who dial share an address, and each wants a port of it.
    if let Some([low, high]) = read("net.ipv4.ip_local_port_range").as_deref() {
        let ports = high.saturating_sub(*low);
        if ports < u64::from(CLIENTS_PER_ADDRESS) {
            let name = "net.ipv4.ip_local_port_range";
            found.push(format!("{ports} ports per address are too few: sysctl -w {name}=\"32768 60999\""));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(sockets: u64, settings: &[(&str, &[u64])]) -> Vec<String> {
        judge(sockets, &|name| settings.iter().find(|(known, _)| *known == name).map(|(_, values)| values.to_vec()))
    }

    #[test]
    fn what_suffices_is_not_mentioned_and_neither_is_what_cannot_be_read() {
        let enough: &[(&str, &[u64])] = &[
            ("fs.file-max", &[2_470_938]),
            ("net.netfilter.nf_conntrack_count", &[0]),
            ("net.netfilter.nf_conntrack_max", &[100]),
            ("net.ipv4.ip_local_port_range", &[32_768, 60_999]),
        ];
        assert_eq!(judged(2_000_000, enough), Vec::<String>::new());
        assert_eq!(judged(2_000_000, &[]), Vec::<String>::new());
    }

    #[test]
    fn what_is_too_low_is_told_with_its_command() {
        let found = judged(
            3_000_000,
            &[
                ("fs.file-max", &[2_470_938]),
                ("net.netfilter.nf_conntrack_count", &[7]),
                ("net.netfilter.nf_conntrack_max", &[262_144]),
                ("net.ipv4.ip_local_port_range", &[60_000, 60_010]),
            ],
        );
        let commands = ["fs.file-max=3020000", "nf_conntrack_max=1510000", "ip_local_port_range=\"32768 60999\""];
        assert_eq!(found.len(), commands.len(), "{found:?}");
        assert!(found.iter().zip(commands).all(|(found, command)| found.ends_with(command)), "{found:?}");
    }
}
