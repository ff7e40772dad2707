//! TCP sockets by state, as `netstat -n | awk '/^tcp/ {++S[$NF]} END {for (a in S) print a, S[a]}'`
//! counts them, without the two programs: at half a million connections netstat takes minutes,
//! because it looks up the owner of each.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;

/// How many sockets are in each state, by netstat's names. Listening sockets are left out, as netstat
/// leaves them out unless asked.
pub(crate) type StateCounts = BTreeMap<&'static str, u64>;

/// The kernel's tables of TCP sockets, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// All of this network namespace, both ends of a connection within the machine among them.
    pub(crate) all: StateCounts,
    /// Those whose own address is a server's: one per connection.
    pub(crate) at_servers: StateCounts,
}

impl Table {
    /// Counts; `servers` are the addresses that clients connect to.
    pub(crate) fn read(servers: &HashSet<SocketAddr>) -> anyhow::Result<Self> {
        let mut table = Self::default();
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            match File::open(path) {
                Ok(file) => table.count(BufReader::with_capacity(1 << 20, file), servers).with_context(|| path)?,
                // A machine without IPv6 has only one of them.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).context(path),
            }
        }
        Ok(table)
    }

    fn count(&mut self, mut lines: impl BufRead, servers: &HashSet<SocketAddr>) -> anyhow::Result<()> {
        let mut line = Vec::with_capacity(256);
        while lines.read_until(b'\n', &mut line)? > 0 {
            if let Some((local, state)) = parse(&line).filter(|&(_, state)| state != LISTEN) {
                let name = name(state);
                *self.all.entry(name).or_default() += 1;
                if servers.contains(&local) {
                    *self.at_servers.entry(name).or_default() += 1;
                }
            }
            line.clear();
        }
        Ok(())
    }
}

const LISTEN: u8 = 10;

/// Own address and state of a line like `  12: 0100007F:1F90 0100007F:C350 01 …`; nothing for the head.
fn parse(line: &[u8]) -> Option<(SocketAddr, u8)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let (ip, port) = local.split_once(':')?;
    let ip = match ip.len() {
        8 => IpAddr::from(word(ip)?),
        // Four words, each as this machine has it in memory.
        32 => {
            let mut octets = [0; 16];
            for (place, octets) in octets.chunks_exact_mut(4).enumerate() {
                octets.copy_from_slice(&word(ip.get(place * 8..place * 8 + 8)?)?);
            }
            IpAddr::from(octets)
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(ip, port), u8::from_str_radix(state, 16).ok()?))
}

/// Four octets of an address, which the kernel prints as a number of this machine's order.
fn word(digits: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
}

/// netstat's names of the kernel's numbers (`include/net/tcp_states.h`).
fn name(state: u8) -> &'static str {
    match state {
        1 => "ESTABLISHED",
        2 => "SYN_SENT",
        // 12 is a handshake whose socket is not made yet, which netstat calls the same.
        3 | 12 => "SYN_RECV",
        4 => "FIN_WAIT1",
        5 => "FIN_WAIT2",
        6 => "TIME_WAIT",
        7 => "CLOSE",
        8 => "CLOSE_WAIT",
        9 => "LAST_ACK",
        LISTEN => "LISTEN",
        11 => "CLOSING",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, TcpStream};

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 126 1
   1: 0100007F:07E8 0200007F:B050 01 00000000:00000000 00:00000000 00000000     0        0 127 1
   2: 0200007F:07E8 0100007F:07E8 01 00000000:00000000 00:00000000 00000000     0        0 128 1
   3: 020200C0:D1B6 507100CB:0050 06 00000000:00000000 03:00001494 00000000     0        0 0 3
100000: 020200C0:D1B7 507100CB:0050 08 00000000:00000000 03:00001494 00000000     0        0 0 3
";

    #[test]
    fn states_are_counted_as_netstat_names_them_and_listeners_are_not() {
        let mut table = Table::default();
        table.count(TABLE.as_bytes(), &HashSet::from([SocketAddr::from(([127, 0, 0, 1], 2024))])).unwrap();
        assert_eq!(table.all, StateCounts::from([("CLOSE_WAIT", 1), ("ESTABLISHED", 2), ("TIME_WAIT", 1)]));
        assert_eq!(table.at_servers, StateCounts::from([("ESTABLISHED", 1)]));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read_with_their_octets_in_order() {
        let line = "   0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C350 01 00000000:0";
        assert_eq!(parse(line.as_bytes()), Some(("[::ffff:127.0.0.1]:8080".parse().unwrap(), 1)));
        let line = "   0: 0200017F:1F90 0100007F:C350 01 00000000:0";
        assert_eq!(parse(line.as_bytes()), Some(("127.1.0.2:8080".parse().unwrap(), 1)));
    }

    #[test]
    fn a_connection_of_this_process_is_in_the_table() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        let servers: Vec<_> = (0..3).map(|_| listener.accept().unwrap()).collect();
        let table = Table::read(&HashSet::from([address])).unwrap();
        assert_eq!(table.at_servers, StateCounts::from([("ESTABLISHED", 3)]));
        assert!(table.all["ESTABLISHED"] >= 6, "both ends: {table:?}");
        drop((clients, servers));
    }
}
