//! TCP sockets by state, as `netstat -n | awk '/^tcp/ {++S[$NF]} END {for (a in S) print a, S[a]}'`
//! counts them, without the two programs: at half a million connections netstat takes minutes,
//! because it looks up the owner of each.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};

use anyhow::Context;

/// How many sockets are in each state, by netstat's names. Listening sockets are left out, as netstat
/// leaves them out unless asked.
pub(crate) type StateCounts = BTreeMap<&'static str, u64>;

/// The kernel's tables of TCP sockets, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// All of this network namespace, both ends of a connection within the machine among them.
    pub(crate) all: StateCounts,
    /// Those whose own port is a server's: one per connection.
    pub(crate) at_servers: StateCounts,
}

impl Table {
    /// Counts; `server_ports` are the ports that servers listen on.
    pub(crate) fn read(server_ports: &HashSet<u16>) -> anyhow::Result<Self> {
        let mut table = Self::default();
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            match File::open(path) {
                Ok(file) => table.count(BufReader::with_capacity(1 << 20, file), server_ports).with_context(|| path)?,
                // A machine without IPv6 has only one of them.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).context(path),
            }
        }
        Ok(table)
    }

    fn count(&mut self, mut lines: impl BufRead, server_ports: &HashSet<u16>) -> anyhow::Result<()> {
        let mut line = Vec::with_capacity(256);
        while lines.read_until(b'\n', &mut line)? > 0 {
            if let Some((port, state)) = parse(&line).filter(|&(_, state)| state != LISTEN) {
                let name = name(state);
                *self.all.entry(name).or_default() += 1;
                if server_ports.contains(&port) {
                    *self.at_servers.entry(name).or_default() += 1;
                }
            }
            line.clear();
        }
        Ok(())
    }
}

const LISTEN: u8 = 10;

/// Own port and state of a line like `  12: 0100007F:1F90 0100007F:C350 01 …`; nothing for the head.
fn parse(line: &[u8]) -> Option<(u16, u8)> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let port = local.rsplit(|&byte| byte == b':').next()?;
    Some((hex(port)?, u8::try_from(hex(state)?).ok()?))
}

fn hex(digits: &[u8]) -> Option<u16> {
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
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
   2: 0200007F:B050 0100007F:07E8 01 00000000:00000000 00:00000000 00000000     0        0 128 1
   3: 020200C0:D1B6 507100CB:0050 06 00000000:00000000 03:00001494 00000000     0        0 0 3
100000: 020200C0:D1B7 507100CB:0050 08 00000000:00000000 03:00001494 00000000     0        0 0 3
";

    #[test]
    fn states_are_counted_as_netstat_names_them_and_listeners_are_not() {
        let mut table = Table::default();
        table.count(TABLE.as_bytes(), &HashSet::from([2024])).unwrap();
        assert_eq!(table.all, StateCounts::from([("CLOSE_WAIT", 1), ("ESTABLISHED", 2), ("TIME_WAIT", 1)]));
        assert_eq!(table.at_servers, StateCounts::from([("ESTABLISHED", 1)]));
    }

    #[test]
    fn a_connection_of_this_process_is_in_the_table() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let servers: Vec<_> = (0..3).map(|_| listener.accept().unwrap()).collect();
        let table = Table::read(&HashSet::from([port])).unwrap();
        assert_eq!(table.at_servers, StateCounts::from([("ESTABLISHED", 3)]));
        assert!(table.all["ESTABLISHED"] >= 6, "both ends: {table:?}");
        drop((clients, servers));
    }
}
